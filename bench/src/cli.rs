//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::fault::Outcome;
use crate::{drop, echo, floor, load, naive, relay};

/// The load, the echo backend and the yardsticks of wsgate's benchmark.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A plain ws:// backend that sends every message back.
    Echo {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Yardstick: a bare TCP relay, no TLS, one read and one write each way.
    Floor {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        to: SocketAddr,
    },
    /// Yardstick: TLS and tokio's `copy_bidirectional`.
    Naive {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        to: SocketAddr,
        /// The certificate chain, in PEM.
        #[arg(long, value_name = "FILE")]
        cert: PathBuf,
        /// Its key, in PEM.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Yardstick: accepts and drops.
    Drop {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// wsgate's relay in this process: what `bench/instructions` counts.
    Relay(relay::Echoes),
    /// Loads a target and measures it; the last line is one JSON object.
    #[command(subcommand)]
    Load(load::Load),
}

/// Does what the command line says.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "what was measured, and why nothing was")]
pub(crate) fn run() -> ExitCode {
    match obey(&Cli::parse().command) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("wsgate-bench: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn obey(command: &Command) -> Outcome<String> {
    match command {
        Command::Echo { listen } => echo::run(*listen),
        Command::Floor { listen, to } => floor::run(*listen, *to),
        Command::Naive { listen, to, cert, key } => naive::run(*listen, *to, cert, key),
        Command::Drop { listen } => drop::run(*listen),
        Command::Relay(echoes) => relay::run(echoes),
        Command::Load(load) => return load::run(load).map(|measured| measured.to_string()),
    }
    .map(|()| String::new())
}
