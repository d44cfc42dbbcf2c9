//! The load, the echo backend and the yardsticks of wsgate's benchmark: `bench/compare` starts them.
//!
//! Every subcommand is one thread. A server prints `listening ADDRESS` and runs until it is killed; a load prints one JSON
//! object as its last line and ends with 0 only if every byte that came back was the byte expected.

mod cli;
mod drop;
mod echo;
mod fault;
mod floor;
mod frame;
mod latency;
mod listen;
mod load;
mod naive;
mod proc;
mod relay;
mod unsent;
mod upgrade;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
