//! `wsgate audit`: attacks a running endpoint, wsgate or not, and tells what stands and what falls.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::exit::Exit;
use super::{could_not_run, unix_now};
use crate::audit::dos::{Bounds, Consent, may_attack};
use crate::audit::{self, Canary, Exam, Outcome, Patience, Scorecard, Suite};
use crate::policy::auth::algorithm::Algorithm;
use crate::policy::credential::Carrier;
use crate::units::{format_duration, parse_duration};

mod files;
mod from_policy;
mod progress;
mod signing;
mod target;

use files::Files;
use progress::{Place, Told};
use target::Described;

/// `wsgate audit`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct AuditArgs {
    /// What is tried
    #[arg(value_name = "SUITE")]
    suite: Chosen,
    /// Where: wss://HOST[:PORT]/PATH or ws://HOST[:PORT]/PATH; with --policy it may be left out
    url: Option<String>,
    /// A policy of wsgate, from which URL, origins, carriers and limits are taken
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The gateway.toml of that policy; else the one beside or above it
    #[arg(long, value_name = "FILE", requires = "policy")]
    config: Option<PathBuf>,
    /// An origin that may open a socket there; further ones are listed too
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// A file with a good token; else the environment variable WSGATE_AUDIT_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where the token travels: authorization, subprotocol:NAME, cookie:NAME or query:NAME
    #[arg(long, value_name = "PLACE")]
    carrier: Option<Carrier>,
    /// A subprotocol that a good client offers; may be repeated
    #[arg(long = "subprotocol", value_name = "NAME")]
    subprotocols: Vec<String>,
    /// A PEM file of the authorities to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How long it may take in all; then what was found is told
    #[arg(long, value_name = "TIME", default_value = "2h", value_parser = parse_duration)]
    within: Duration,
    #[command(flatten)]
    beside: Beside,
    #[command(flatten)]
    files: Files,
}

/// What lets more be seen.
#[derive(Args, Debug)]
#[command(next_help_heading = "What lets more be seen")]
struct Beside {
    /// Be the target's backend at this address, and judge what reaches it
    #[arg(long, value_name = "ADDRESS")]
    canary: Option<SocketAddr>,
    /// The issuer's private key, for forged claims; good tokens are minted with it too
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// The algorithm of the signing key; a policy knows it
    #[arg(long, value_name = "ALG", requires = "signing_key")]
    alg: Option<Algorithm>,
    /// The id of the signing key, where the issuer has one
    #[arg(long, requires = "signing_key")]
    kid: Option<String>,
    /// A claim of a good token, NAME=JSON or NAME=TEXT; may be repeated; a policy knows the necessary ones
    #[arg(long = "claim", value_name = "NAME=VALUE", requires = "signing_key")]
    claims: Vec<String>,
    /// The target's process on this machine, whose memory, descriptors and processor time are watched
    #[arg(long)]
    pid: Option<u32>,
    /// The target's log, in which no token may stand
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Open pages in headless Chromium, found on PATH or at this place
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, require_equals = true)]
    browser: Option<Option<PathBuf>>,
    /// Flood a target that is neither on this machine nor in a private network: say so only of your own
    #[arg(long)]
    target_is_mine: bool,
    /// How much the floods are
    #[arg(long, value_name = "SIZE", default_value = "default")]
    floods: Floods,
}

const AFTER_HELP: &str = "Attack only what is yours, or what you were asked to attack.\n\
    Ctrl-C ends it and tells what was found; twice, at once and without a report.\n\
    Exit codes: 0 all that was tried held, 1 something fell, 2 something could not be decided or run, or nothing was tried, \
    78 configuration.";

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Chosen {
    /// Every suite
    All,
    /// Opening handshakes that are none, and the HTTP around them
    Handshake,
    /// Pages of other sites
    Cswsh,
    /// Credentials, missing and forged
    Auth,
    /// What is sent behind the 101
    Frames,
    /// Versions, names and protocols of TLS
    Tls,
    /// Floods, slowness, and what an honest session feels of them
    Dos,
}

impl Chosen {
    fn suites(self) -> &'static [Suite] {
        match self {
            Self::All => &Suite::ALL,
            Self::Handshake => &[Suite::Handshake],
            Self::Cswsh => &[Suite::Cswsh],
            Self::Auth => &[Suite::Auth],
            Self::Frames => &[Suite::Frames],
            Self::Tls => &[Suite::Tls],
            Self::Dos => &[Suite::Dos],
        }
    }
}

/// How much the floods are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Floods {
    /// Five minutes in all, where silence is ended soon
    Default,
    /// As much as descriptors and patience allow
    Long,
}

impl From<Floods> for Bounds {
    fn from(floods: Floods) -> Self {
        match floods {
            Floods::Default => Self::default(),
            Floods::Long => Self::long(),
        }
    }
}

/// Runs the suites and tells what they found.
pub fn run(args: &AuditArgs, out: &mut dyn Write) -> Exit {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return could_not_run(error),
    };
    let exit = runtime.block_on(audit(args, out));
    runtime.shutdown_background();
    exit
}

async fn audit(args: &AuditArgs, out: &mut dyn Write) -> Exit {
    let mut watch = JoinSet::new();
    watch.spawn(ended_at_once());
    let described = match target::describe(args, unix_now()).await {
        Ok(described) => described,
        Err(target::Flaw::Configuration(mistakes)) => {
            let _ = io::stderr().write_all(mistakes.as_bytes());
            return Exit::Configuration;
        }
        Err(target::Flaw::Other(why)) => return could_not_run(why),
    };
    match examine(args, described, out).await {
        Ok(exit) => exit,
        Err(why) => could_not_run(why),
    }
}

async fn examine(args: &AuditArgs, described: Described, out: &mut dyn Write) -> Result<Exit, String> {
    let Described { target, dangers } = described;
    args.files.try_places()?;
    if args.suite == Chosen::Cswsh && target.listed.is_empty() {
        return Err(String::from(
            "nothing to compare with: give --origin with an origin that the target lists, or --policy",
        ));
    }
    let suites = args.suite.suites();
    if suites.contains(&Suite::Dos) {
        let consent = if args.beside.target_is_mine { Consent::Mine } else { Consent::Unsaid };
        may_attack(target.address.ip(), consent)?;
        super::run::raise_file_limit();
    }
    let canary = match args.beside.canary {
        None => None,
        Some(address) => Some(Canary::listen(address).await.map_err(|error| {
            format!("no canary at {address}: {error}: it takes the place of the target's backend, which must not run")
        })?),
    };
    let mut card = Scorecard {
        url: target.url.clone(),
        began: jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
        given: given(args),
        dangers,
        ..Scorecard::default()
    };
    let mut exam = Exam::new(target, canary, Patience::default());
    exam.bounds = args.beside.floods.into();
    let mut told = Told::new(out, Place::of(&io::stdout()), Place::of(&io::stderr()));
    told.heads(&card);
    let began = Instant::now();
    card.cut_short = tokio::select! {
        ran = audit::run(suites, &mut exam, &mut told, &mut card.findings) => ran.map(|()| None)?,
        // What is dropped here ends with it: connections and the browser.
        () = interrupted() => Some(String::from("it was interrupted")),
        () = sleep(args.within) => Some(format!("the time of {} is up", format_duration(args.within))),
    };
    card.took = began.elapsed();
    if card.cut_short.is_some() {
        card.left = left(suites, &mut exam, &card);
    }
    told.sums_up(&card);
    args.files.write(&card)?;
    Ok(exit_of(&card))
}

/// What was given of the target, as options; a token is none of them.
fn given(args: &AuditArgs) -> Vec<String> {
    let beside = &args.beside;
    let path = |name: &str, path: &Option<PathBuf>| path.as_ref().map(|path| format!("{name} {}", path.display()));
    let paths = [
        path("--policy", &args.policy),
        path("--config", &args.config),
        path("--token-file", &args.token_file),
        path("--ca", &args.ca),
        path("--signing-key", &beside.signing_key),
        path("--log", &beside.log),
    ];
    let others = [
        args.carrier.as_ref().map(|carrier| format!("--carrier {carrier}")),
        beside.canary.map(|address| format!("--canary {address}")),
        beside.pid.map(|pid| format!("--pid {pid}")),
        beside.browser.is_some().then(|| String::from("--browser")),
        (beside.floods == Floods::Long).then(|| String::from("--floods long")),
    ];
    let origins = args.origins.iter().map(|origin| format!("--origin {origin}"));
    paths.into_iter().chain(others).flatten().chain(origins).collect()
}

/// The cases of which nothing was found.
fn left(suites: &[Suite], exam: &mut Exam, card: &Scorecard) -> Vec<(Suite, &'static str, &'static str)> {
    let mut left = Vec::new();
    for suite in suites {
        let cases = audit::cases(*suite, exam).into_iter().map(|case| (*suite, case.id, case.name));
        let is_found = |case: &(Suite, &str, &str)| {
            card.findings.iter().any(|finding| (finding.suite, finding.id, finding.name) == *case)
        };
        left.extend(cases.filter(|case| !is_found(case)));
    }
    left
}

/// Waits for SIGINT or SIGTERM.
async fn interrupted() {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}

/// Ends the process at the second signal: whoever sends two does not wait for what the first leaves to be done, nor for who
/// reads what is told.
async fn ended_at_once() {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return;
    };
    for _ in 0..2 {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
    }
    std::process::exit(i32::from(Exit::CouldNotRun.code()));
}

/// Something fell; all was tried and held; or nothing was tried, or not all could be tried or decided.
fn exit_of(card: &Scorecard) -> Exit {
    match (card.count(Outcome::Fell), card.count(Outcome::Undecided), card.count(Outcome::Held)) {
        (1.., ..) => Exit::Findings,
        (0, 0, 1..) if card.cut_short.is_none() => Exit::Well,
        _ => Exit::CouldNotRun,
    }
}
