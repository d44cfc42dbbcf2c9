//! What every connection shares, and the door through which it came in.

use std::hash::RandomState;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::available_parallelism;

use arc_swap::ArcSwap;
use governor::clock::MonotonicClock;
use ipnet::IpNet;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::backends;
use super::sessions::{Resident, Sessions};
use super::snapshot::Snapshot;
use super::{End, StartError};
use crate::config::{AdmissionRules, Config, GatewayConfig, ListenerConfig, ProxyMode};
use crate::event::{Event, Level, Notice, SharedObserver};
use crate::limits::{Bounds, Limits};
use crate::net::http::LINGER_SLOTS;
use crate::net::tls::ServerTls;
use crate::session::Cause;

/// What every connection shares.
pub(super) struct House {
    pub(super) snapshot: ArcSwap<Snapshot>,
    /// Whether the last reload was good.
    pub(super) reloaded: AtomicBool,
    pub(super) limits: Limits,
    pub(super) observer: SharedObserver,
    pub(super) rules: AdmissionRules,
    pub(super) tls_turns: Semaphore,
    pub(super) lingering: Semaphore,
    pub(super) sessions: Sessions,
    /// The tasks that watch over servers.
    watches: TaskTracker,
    /// The tasks of handshakes and sessions.
    pub(super) connections: TaskTracker,
    /// Cancelled when the listeners are to stop.
    pub(super) closing: End,
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
    pub(super) fn new(config: Config, observer: SharedObserver) -> Result<Self, StartError> {
        let Config { gateway, policies, keys, .. } = config;
        let sessions = Sessions::default();
        let ground = backends::ground(&observer, &sessions);
        let snapshot = Snapshot::first(policies, &keys, ground).map_err(StartError::Unusable)?;
        let tls_turns = tls_turns(&gateway);
        Ok(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            reloaded: AtomicBool::new(true),
            limits: Limits::new(
                Bounds::new(&gateway.capacity, &gateway.address, file_limit()),
                RandomState::new(),
                MonotonicClock,
            ),
            observer,
            rules: gateway.admission,
            tls_turns: Semaphore::new(tls_turns),
            lingering: Semaphore::new(LINGER_SLOTS),
            sessions,
            watches: TaskTracker::new(),
            connections: TaskTracker::new(),
            closing: End::new(),
            end: End::new(),
        })
    }

    /// Stops the listeners and asks every session to close.
    pub(super) fn begin_drain(&self) {
        self.notice(Level::Info, "draining", format!("draining {} sessions", self.sessions.len()));
        self.closing.cancel();
        self.sessions.close_all(Cause::Drain);
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
    pub(super) fn replace(&self, current: &Snapshot, next: Arc<Snapshot>) -> Vec<Arc<Resident>> {
        let touched = current.touched_by(&next);
        backends::only_of(current, &next).for_each(|dialer| dialer.retire());
        backends::only_of(&next, current).for_each(|dialer| dialer.watch(&self.watches, &self.end));
        self.snapshot.store(next);
        self.sessions.of(&touched)
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

/// How many TLS handshakes are computed at a time.
fn tls_turns(gateway: &GatewayConfig) -> usize {
    let written = gateway.capacity.tls_handshakes.and_then(|turns| usize::try_from(turns).ok());
    let threads = || gateway.threads.or_else(|| available_parallelism().ok().map(NonZeroUsize::get)).unwrap_or(1);
    written.unwrap_or_else(|| threads() / 2).clamp(1, Semaphore::MAX_PERMITS)
}

/// Descriptors that the process may have open; more than a million are not counted on.
fn file_limit() -> u64 {
    const MOST: u64 = 1 << 20;
    getrlimit(Resource::Nofile).current.unwrap_or(MOST).min(MOST)
}
