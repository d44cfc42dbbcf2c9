//! `wsgate run`: from a configuration file to a gateway that serves until it is told to stop.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use listenfd::ListenFd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Exit;
use super::{complain, could_not_run, environment, unix_now};
use crate::config::diagnostic::{Style, render};
use crate::config::{self, Config, GatewayConfig};
use crate::event::{Event, Level, Notice, Observer, SharedObserver};
use crate::gateway::Gateway;
use crate::gateway::handover::Inherited;
use crate::telemetry::clock::system_clock;
use crate::telemetry::log::Log;

/// How long sessions that a second signal cuts may take to tell their end.
const LAST_RECORDS: Duration = Duration::from_secs(1);

/// How long the log's last lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The most open files that are asked for and counted on. Containers often allow 2^30 of them, and what is reserved by
/// that number is not there.
const MOST_FILES: u64 = 1 << 20;

/// `wsgate run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The configuration of the gateway, which names the files of the policies
    #[arg(short, long, value_name = "FILE", default_value = "gateway.toml", env = "WSGATE_CONFIG")]
    config: PathBuf,
    /// Take the listeners over from the gateway that serves the admin socket, and let it drain; without one, just run
    #[arg(long)]
    take_over: bool,
}

/// Serves until a signal ends it; log lines go to standard output.
pub fn run(args: &RunArgs) -> Exit {
    let config = match config::load(&args.config, &environment, unix_now()) {
        Ok((config, warnings)) => {
            if !warnings.is_empty() {
                complain(render(&warnings, Style::Plain).trim_end());
            }
            config
        }
        Err(mistakes) => {
            complain(mistakes);
            return Exit::Configuration;
        }
    };
    let activated = match activated() {
        Ok(activated) => activated,
        Err(error) => return could_not_run(error),
    };
    match start(&config.gateway) {
        Ok((runtime, log, writer)) => {
            let exit = runtime.block_on(serve(config, Arc::new(log), activated, args.take_over));
            runtime.shutdown_timeout(LAST_RECORDS);
            // Lines that a blocked reader does not take are lost with the process.
            let _ = writer.finish(LAST_LINES);
            exit
        }
        Err(error) => could_not_run(format_args!("cannot start a thread: {error}")),
    }
}

fn start(config: &GatewayConfig) -> io::Result<(Runtime, Log, crate::telemetry::queue::WriterGuard)> {
    let runtime = runtime(config)?;
    let (log, writer) = Log::start(&config.log, system_clock(), io::stdout())?;
    Ok((runtime, log, writer))
}

/// The worker threads.
pub(super) fn runtime(config: &GatewayConfig) -> io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.threads {
        builder.worker_threads(threads.max(1));
    }
    builder.thread_name("wsgate-worker").enable_all().build()
}

async fn serve(config: Config, observer: SharedObserver, activated: Inherited, take_over: bool) -> Exit {
    let (Ok(mut terminate), Ok(mut interrupt), Ok(hangup)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
    else {
        return could_not_run("cannot listen for signals");
    };
    let files = raise_file_limit();
    tell(observer.as_ref(), Level::Info, "file_limit", format!("{files} open files"));
    for danger in config.dangers() {
        tell(observer.as_ref(), Level::Warning, "danger", danger);
    }
    let admin = config.gateway.admin.clone();
    let inherited = match inherited(&config, activated, take_over).await {
        Ok(inherited) => inherited,
        Err(error) => return could_not_run(error),
    };
    let gateway = match Gateway::start_with(config, Arc::clone(&observer), inherited).await {
        Ok(gateway) => gateway,
        Err(error) => return could_not_run(error),
    };
    if let Some(address) = gateway.health_address() {
        tell(observer.as_ref(), Level::Info, "listening", format!("listening on {address} for health and metrics"));
    }
    if let Some(socket) = admin {
        let text = format!("listening on {} for administration", socket.display());
        tell(observer.as_ref(), Level::Info, "listening", text);
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = gateway.drain_asked() => {}
        () = answer_hangups(hangup, &gateway) => {}
    }
    tokio::select! {
        () = gateway.drain() => {}
        // A second signal ends what is left at once.
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Exit::Well
}

/// The sockets that the service manager listens on for this process: LISTEN_FDS of sd_listen_fds(3).
fn activated() -> io::Result<Inherited> {
    let mut passed = ListenFd::from_env();
    let sockets = (0..passed.len()).filter_map(|index| passed.take_tcp_listener(index).transpose());
    Inherited::activated(sockets.collect::<io::Result<_>>()?)
}

/// What is listened on already.
async fn inherited(config: &Config, activated: Inherited, take_over: bool) -> Result<Inherited, String> {
    // Who holds the sockets for this process gives them to the next one, too.
    if !take_over || !activated.is_empty() {
        return Ok(activated);
    }
    let Some(socket) = &config.gateway.admin else {
        return Err(
            "--take-over asks the other gateway over its admin socket: write admin = { socket = \"...\" }".into()
        );
    };
    let taken = Inherited::take_over(socket).await;
    taken.map(Option::unwrap_or_default).map_err(|error| format!("cannot take over at {}: {error}", socket.display()))
}

/// SIGHUP reloads. What came of it is in the log; signals that come meanwhile are one.
async fn answer_hangups(mut hangup: Signal, gateway: &Gateway) {
    while hangup.recv().await.is_some() {
        let _ = gateway.reload().await;
    }
    std::future::pending().await
}

/// How many open files a gateway has, once [`run`] has raised its soft limit: the hard one, and at most 2^20.
pub fn file_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.map_or(MOST_FILES, |hard| hard.min(MOST_FILES))
}

/// Raises the soft file limit, and says what it is then: every session takes two descriptors.
pub(super) fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = file_limit();
    match limit.current {
        Some(current) if current < wanted => {
            let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
            setrlimit(Resource::Nofile, raised).map_or(current, |()| wanted)
        }
        _ => wanted,
    }
}

fn tell(observer: &dyn Observer, level: Level, code: &'static str, text: String) {
    observer.observe(&Event::Notice(Notice { level, code, text }));
}
