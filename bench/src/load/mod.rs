//! The load: what clients do to a gateway, and what it costs the gateway.
//!
//! One thread, and every byte that comes back is compared with the byte expected. The gateway's CPU and memory are read
//! from the kernel's accounts, directly before and after what is measured.

mod client;
mod dropped;
mod echo;
mod handshake;
mod idle;
mod target;
mod tokens;
mod visits;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::fault::{During as _, Fault, Outcome};
use crate::listen;
use crate::proc::Process;
use client::Client;
use handshake::Expected;
use target::{Target, Url};

/// How many connections are opened at a time.
const OPENING: usize = 32;
/// What a run may take beyond what it is told to.
const GRACE: Duration = Duration::from_secs(30);
/// What each connection adds to the time that opening them may take.
const GRACE_EACH: Duration = Duration::from_millis(20);
/// How long a process does next to nothing before it counts as idle.
const QUIET: Duration = Duration::from_millis(50);
/// The most CPU that it has in that time.
const NEXT_TO_NOTHING: Duration = Duration::from_micros(500);
/// How often that is looked for.
const QUIET_LOOKS: u32 = 200;

/// What every load is told.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// ws:// or wss://, an address, a port and a path.
    #[arg(long)]
    pub(crate) url: Url,
    /// The CA of a wss:// target, in PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The name in the TLS handshake and in `Host`.
    #[arg(long, default_value = "localhost")]
    pub(crate) server_name: String,
    /// The `Origin` sent, if any.
    #[arg(long)]
    pub(crate) origin: Option<String>,
    /// The process that is measured, with all its threads and descendants.
    #[arg(long)]
    pub(crate) pid: u32,
    /// A P-256 key (PKCS #8, PEM): each connection sends an ES256 token of its own.
    #[arg(long, value_name = "FILE", requires = "issuer", requires = "audience")]
    token_key: Option<PathBuf>,
    /// `iss` of the tokens.
    #[arg(long)]
    issuer: Option<String>,
    /// `aud` of the tokens.
    #[arg(long)]
    audience: Option<String>,
    /// Connect from 127.0.0.1 to 127.0.0.N in turn.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=254))]
    pub(crate) sources: u8,
    /// How long is measured; a load that counts instead may take this and 30 s more.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How long goes by before.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=600))]
    warmup: u64,
}

impl Common {
    /// What is measured.
    fn process(&self) -> Process {
        Process::new(self.pid)
    }

    /// How long is measured.
    fn window(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// How long goes by before.
    fn warmup(&self) -> Duration {
        Duration::from_secs(self.warmup)
    }

    /// A token for each of `count` connections, if tokens are sent.
    fn tokens(&self, count: usize) -> Outcome<Option<Vec<String>>> {
        let Some(key) = &self.token_key else { return Ok(None) };
        let (issuer, audience) = (self.issuer.as_deref(), self.audience.as_deref());
        tokens::mint(key, issuer.unwrap_or_default(), audience.unwrap_or_default(), count).map(Some)
    }
}

/// What is loaded upon the gateway.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Load {
    /// Messages, which come back.
    Echo(echo::EchoArgs),
    /// Connections that have spoken once and are silent.
    Idle(idle::IdleArgs),
    /// Handshakes that are admitted.
    Handshake(handshake::HandshakeArgs),
    /// The same with a foreign Origin, whatever `--origin` says: each is refused.
    Refused(handshake::HandshakeArgs),
    /// Connections beyond the cap, each closed without a word.
    Dropped(dropped::DroppedArgs),
    /// Clients that come, exchange messages and leave, in every way in which clients do: the load of a soak.
    Visits(visits::VisitsArgs),
}

/// Loads, and returns what was measured.
pub(crate) fn run(load: &Load) -> Outcome<Value> {
    listen::allow_many_files();
    listen::runtime()?.block_on(async {
        match load {
            Load::Echo(args) => echo::run(args).await,
            Load::Idle(args) => idle::run(args).await,
            Load::Handshake(args) => handshake::run(args, Expected::Admitted).await,
            Load::Refused(args) => handshake::run(args, Expected::Refused).await,
            Load::Dropped(args) => dropped::run(args).await,
            Load::Visits(args) => visits::run(args).await,
        }
    })
}

/// Opens `count` sessions, a few at a time.
async fn open_all(common: &Common, count: usize) -> Outcome<Vec<Client>> {
    let target = Arc::new(Target::new(common)?);
    let tokens = common.tokens(count)?;
    let mut tokens = tokens.map(Vec::into_iter);
    let (mut clients, mut opening) = (Vec::with_capacity(count), JoinSet::new());
    let all = async {
        for number in 0..count {
            let (target, token) = (target.clone(), tokens.as_mut().and_then(Iterator::next));
            opening.spawn(async move { Client::open(&target, number, token.as_deref()).await });
            if opening.len() >= OPENING {
                clients.extend(next(&mut opening).await?);
            }
        }
        while let Some(client) = next(&mut opening).await? {
            clients.push(client);
        }
        Ok(clients)
    };
    timeout(patience(count), all).await.during("opening the connections")?
}

/// How long `count` connections may take to open.
fn patience(count: usize) -> Duration {
    GRACE + GRACE_EACH.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Waits until the process is idle, and returns the CPU it has had by then.
async fn quiet(process: Process) -> Outcome<Duration> {
    let mut before = process.cpu()?;
    for _ in 0..QUIET_LOOKS {
        sleep(QUIET).await;
        let cpu = process.cpu()?;
        if cpu.saturating_sub(before) < NEXT_TO_NOTHING {
            return Ok(cpu);
        }
        before = cpu;
    }
    Err(Fault::new("the process that is measured does not come to rest"))
}

/// What the next task to end yields; nothing if there is none.
async fn next<T: 'static>(tasks: &mut JoinSet<Outcome<T>>) -> Outcome<Option<T>> {
    match tasks.join_next().await {
        None => Ok(None),
        Some(Ok(outcome)) => outcome.map(Some),
        Some(Err(error)) => Err(Fault::new(format!("a connection's task: {error}"))),
    }
}
