//! What every connection shares, and the door through which it came in.

use std::hash::RandomState;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::available_parallelism;
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::clock::MonotonicClock;
use ipnet::IpNet;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::backends;
use super::ledger::Ledger;
use super::queue::Queue;
use super::sessions::{Resident, Sessions};
use super::snapshot::Snapshot;
use super::till::Till;
use super::{End, StartError, tell};
use crate::config::{AdmissionRules, Capacity, Config, GatewayConfig, ListenerConfig, ProxyMode};
use crate::event::{Event, Level, Notice, SharedObserver};
use crate::limits::{Bounds, Limits};
use crate::net::http::LINGER_SLOTS;
use crate::net::tls::ServerTls;
use crate::policy::standing::Standing;

/// What every connection shares.
pub(super) struct House {
    pub(super) snapshot: ArcSwap<Snapshot>,
    /// Whether the last reload was good.
    pub(super) reloaded: AtomicBool,
    pub(super) limits: Limits,
    pub(super) observer: SharedObserver,
    pub(super) rules: AdmissionRules,
    pub(super) queue: Queue,
    pub(super) tls_turns: Semaphore,
    pub(super) lingering: Semaphore,
    pub(super) sessions: Sessions,
    /// The accept loops.
    pub(super) doors: TaskTracker,
    /// What is revoked.
    pub(super) ledger: Ledger,
    pub(super) till: Till,
    /// Places for those who are told of a refusal by a Close frame.
    pub(super) telling: Semaphore,
    /// The tasks that watch over servers.
    watches: TaskTracker,
    /// The tasks of handshakes and sessions.
    pub(super) connections: TaskTracker,
    /// Cancelled when the listeners are to stop.
    pub(super) closing: End,
    /// Cancelled when another process serves what only one can, health and administration; and with `end`.
    pub(super) relieved: End,
    /// Cancelled when whatever is left is to end at once; sessions are cut by their controls.
    pub(super) end: End,
}

/// One listener: whose word is taken for a client's address, and its certificates.
#[derive(Debug)]
pub(super) struct Door {
    /// The address as configured.
    pub(super) address: SocketAddr,
    pub(super) proxy: ProxyMode,
    pub(super) trusted: Vec<IpNet>,
    pub(super) tls: Option<ServerTls>,
    /// The files of its certificates, in the order in which they are shown.
    pub(super) chains: ArcSwap<Vec<PathBuf>>,
}

impl House {
    pub(super) fn new(config: Config, ledger: Ledger, observer: SharedObserver) -> Result<Self, StartError> {
        let Config { gateway, policies, keys, .. } = config;
        let sessions = Sessions::default();
        let ground = backends::ground(&observer, &sessions);
        let snapshot =
            Snapshot::first(policies, &keys, gateway.address.rules.clone(), ground).map_err(StartError::Unusable)?;
        let tls_turns = tls_turns(&gateway);
        let end = End::new();
        let queue = Queue::new(handshakes(&gateway), gateway.admission.queue);
        Ok(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            reloaded: AtomicBool::new(true),
            limits: Limits::new(bounds(&gateway), RandomState::new(), MonotonicClock),
            observer,
            rules: gateway.admission,
            queue,
            tls_turns: Semaphore::new(tls_turns),
            lingering: Semaphore::new(LINGER_SLOTS),
            sessions,
            doors: TaskTracker::new(),
            ledger,
            till: Till::new(),
            telling: Semaphore::new(tell::SLOTS),
            watches: TaskTracker::new(),
            connections: TaskTracker::new(),
            closing: End::new(),
            relieved: end.child_token(),
            end,
        })
    }

    /// The longest time that a session of the policies as they are has to close.
    pub(super) fn close_time(&self) -> Duration {
        let snapshot = self.snapshot.load();
        snapshot.policies.iter().map(|policy| policy.session.close_timeout).max().unwrap_or_default()
    }

    /// Ends at once whatever is left.
    pub(super) fn end_now(&self) {
        self.end.cancel();
        self.sessions.cut_all();
    }

    /// Begins to watch over the servers of the first snapshot.
    pub(super) fn watch_backends(&self) {
        self.snapshot.load().dialers.values().for_each(|dialer| dialer.watch(&self.watches, &self.end));
    }

    /// Judges by `next` from here on; the sessions that it may judge otherwise than `current` did.
    pub(super) fn replace(
        &self,
        current: &Snapshot,
        next: Arc<Snapshot>,
    ) -> impl Iterator<Item = Arc<Resident>> + Send + use<> {
        let touched = current.touched_by(&next);
        backends::only_of(current, &next).for_each(|dialer| dialer.retire());
        backends::only_of(&next, current).for_each(|dialer| dialer.watch(&self.watches, &self.end));
        self.snapshot.store(Arc::clone(&next));
        let all = current.has_other_networks(&next);
        let is_touched = move |standing: &Standing| {
            all || touched.contains(standing.policy()) || !standing.is_served_by_its_policy(&next.policies)
        };
        self.sessions.all().into_iter().filter(move |resident| is_touched(&resident.standing))
    }

    pub(super) fn notice(&self, level: Level, code: &'static str, text: String) {
        self.observer.observe(&Event::Notice(Notice { level, code, text }));
    }
}

impl Door {
    pub(super) fn new(config: &ListenerConfig, tls: Option<ServerTls>) -> Self {
        Self {
            address: config.address,
            proxy: config.proxy,
            trusted: config.trusted.clone(),
            tls,
            chains: ArcSwap::from_pointee(chains(config)),
        }
    }

    /// Shows the certificates of this configuration, which were tried before.
    pub(super) fn show(&self, config: &ListenerConfig) {
        let (Some(tls), Some(written)) = (&self.tls, &config.tls) else { return };
        let loaded: Vec<_> = written.certificates.iter().map(|source| Arc::clone(&source.loaded)).collect();
        if tls.replace(&loaded).is_ok() {
            self.chains.store(Arc::new(chains(config)));
        }
    }

    /// What X-Forwarded-Proto says. A proxy in front of a door without TLS has ended TLS there.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() || self.proxy != ProxyMode::None { "https" } else { "http" }
    }
}

/// The files of a listener's certificates.
fn chains(config: &ListenerConfig) -> Vec<PathBuf> {
    let certificates = config.tls.iter().flat_map(|tls| tls.certificates.iter());
    certificates.map(|source| source.chain.clone()).collect()
}

/// What everybody is held to, where this process may open so many files.
pub(super) fn bounds(gateway: &GatewayConfig) -> Bounds {
    Bounds::new(&gateway.capacity, &gateway.address, file_limit())
}

/// How many TLS handshakes are computed at a time.
fn tls_turns(gateway: &GatewayConfig) -> usize {
    let written = gateway.capacity.tls_handshakes.and_then(|turns| usize::try_from(turns).ok());
    written.unwrap_or_else(|| threads(gateway) / 2).clamp(1, Semaphore::MAX_PERMITS)
}

/// How many handshakes are under way at a time.
fn handshakes(gateway: &GatewayConfig) -> usize {
    let written = gateway.capacity.handshakes.and_then(|places| usize::try_from(places).ok());
    let auto = || threads(gateway).saturating_mul(Capacity::HANDSHAKES_PER_THREAD);
    written.unwrap_or_else(auto).clamp(1, Semaphore::MAX_PERMITS)
}

fn threads(gateway: &GatewayConfig) -> usize {
    gateway.threads.or_else(|| available_parallelism().ok().map(NonZeroUsize::get)).unwrap_or(1)
}

/// Descriptors that the process may have open; more than a million are not counted on.
fn file_limit() -> u64 {
    const MOST: u64 = 1 << 20;
    getrlimit(Resource::Nofile).current.unwrap_or(MOST).min(MOST)
}
