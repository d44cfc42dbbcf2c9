//! The `wsgate` binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    wsgate::cli::main()
}
