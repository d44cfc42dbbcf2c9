//! The commands: what a person types, and the exit codes that scripts rely on.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::diagnostic::Style;
use crate::units::UnixSeconds;

pub mod admin;
pub mod audit;
pub mod certs;
pub mod check;
pub mod connect;
pub mod demo;
pub mod exit;
pub mod explain;
mod file;
pub mod init;
pub mod revoke;
pub mod run;
pub mod schema;
pub mod token;
pub mod top;

use exit::Exit;

/// A security-hardened WebSocket gateway.
///
/// Terminates TLS, validates the opening handshake, checks Origin and credentials, enforces limits, and carries the
/// streams to the services behind it, judging every frame.
#[derive(Debug, Parser)]
#[command(name = "wsgate", version, max_term_width = 100, after_help = AFTER_HELP)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    run: run::RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str = "Without a command: run.\n\
    Exit codes: 0 all well, 1 findings, 2 could not run, 78 configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve; SIGHUP reloads, SIGTERM or SIGINT drains the sessions, a second one ends them at once
    Run(run::RunArgs),
    /// Read the configuration and report every mistake, danger and failed example
    Check(check::CheckArgs),
    /// Ask a running gateway to read its configuration again
    Reload(admin::AdminArgs),
    /// Ask a running gateway to close its sessions and end
    Drain(admin::AdminArgs),
    /// List the live sessions of a running gateway, or end one
    Sessions(admin::SessionsArgs),
    /// Take access away from a subject, a token, a session, a network or a policy, live sessions included
    Revoke(revoke::RevokeArgs),
    /// Drop whoever comes from a network, and end its live sessions
    Deny(revoke::DenyArgs),
    /// Show which live sessions of a running gateway send how much
    Top(top::TopArgs),
    /// Say why a handshake was, or would be, refused
    Explain(explain::ExplainArgs),
    /// Try the gateway on this machine: one session admitted, hostile ones refused
    Demo(demo::DemoArgs),
    /// Attack an endpoint, wsgate or not, and tell what stands and what falls
    Audit(Box<audit::AuditArgs>),
    /// Open a WebSocket and type into it
    Connect(connect::ConnectArgs),
    /// Write a commented configuration for a kind of service
    Init(init::InitArgs),
    /// Mint development tokens and their keys
    Token(token::TokenArgs),
    /// Make a development CA and a server certificate
    Certs(CertsArgs),
    /// Print the JSON Schema of the configuration files, for editors
    Schema(schema::SchemaArgs),
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `wsgate certs`.
#[derive(Args, Debug)]
struct CertsArgs {
    /// The folder that gets ca.pem, ca.key, server.pem and server.key
    #[arg(value_name = "DIR", default_value = "certs")]
    directory: PathBuf,
    /// A further name or address of the server; may be repeated
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Replace what is there
    #[arg(long)]
    force: bool,
}

/// Reads the arguments of the process and does what they say.
pub fn main() -> ExitCode {
    let Cli { run, command } = Cli::parse();
    dispatch(command.unwrap_or(Command::Run(run)), &mut io::stdout()).into()
}

fn dispatch(command: Command, out: &mut impl Write) -> Exit {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => written(check(&args, out)),
        Command::Reload(args) => admin::reload(&args, out),
        Command::Drain(args) => admin::drain(&args, out),
        Command::Sessions(args) => admin::sessions(&args, out),
        Command::Revoke(args) => revoke::revoke(&args, out),
        Command::Deny(args) => revoke::deny(&args, out),
        Command::Top(args) => top::run(&args, out),
        Command::Explain(args) => explain::run(&args, &mut io::stdin().lock(), out),
        Command::Demo(args) => demo::run(&args, out),
        Command::Audit(args) => audit::run(&args, out),
        Command::Connect(args) => connect(args, out),
        Command::Init(args) => written(init::run(&args, out, &mut io::stderr())),
        Command::Token(args) => match token::run(&args, unix_now(), &mut io::stderr()) {
            Ok(text) => written(writeln!(out, "{}", text.trim_end()).map(|()| Exit::Well)),
            Err(error) => could_not_run(error),
        },
        Command::Certs(args) => {
            let existing = if args.force { certs::Existing::Replace } else { certs::Existing::Keep };
            certs::run(&args.directory, &args.hosts, existing, unix_now(), out)
                .map_or_else(could_not_run, |()| Exit::Well)
        }
        Command::Schema(args) => written(schema::run(&args, out).map(|()| Exit::Well)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "wsgate", out);
            Exit::Well
        }
    }
}

fn check(args: &check::CheckArgs, out: &mut dyn Write) -> io::Result<Exit> {
    let style = if io::stderr().is_terminal() { Style::Coloured } else { Style::Plain };
    let around = check::Surroundings { env: &environment, now: unix_now(), style };
    check::run(args, &around, out, &mut io::stderr())
}

fn connect(args: connect::ConnectArgs, out: &mut impl Write) -> Exit {
    let options = match connect::ConnectOptions::try_from(args) {
        Ok(options) => options,
        Err(error) => return could_not_run(error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return could_not_run(error),
    };
    let exit = runtime.block_on(async {
        let socket = match connect::connect(&options).await {
            Ok(socket) => socket,
            Err(error) => {
                complain(&error);
                if let connect::ConnectError::Refused(refused) = &error
                    && let Some(id) = refused.id()
                {
                    let _ = writeln!(io::stderr(), "explain it with: wsgate explain {id} < the gateway's log");
                }
                return error.exit();
            }
        };
        let _ = writeln!(out, "connected; a line is a message, Ctrl-D closes");
        let input = tokio::io::BufReader::new(tokio::io::stdin());
        connect::talk(socket, input, out).await.unwrap_or_else(could_not_run)
    });
    // A read of the terminal that nobody answers must not hold the process.
    runtime.shutdown_background();
    exit
}

/// A reader that went away (`wsgate check | head`) is no failure of ours.
fn written(result: io::Result<Exit>) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Well,
        Err(error) => could_not_run(error),
    }
}

fn could_not_run(error: impl Display) -> Exit {
    complain(error);
    Exit::CouldNotRun
}

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "the command line is where wall time enters")]
fn unix_now() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// The environment.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Says on standard error what went wrong.
fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "wsgate: {text}");
}
