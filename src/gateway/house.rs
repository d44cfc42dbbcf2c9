//! What every connection shares, and the door through which it came in.

use std::collections::HashMap;
use std::hash::RandomState;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use arc_swap::ArcSwap;
use governor::clock::MonotonicClock;
use ipnet::IpNet;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::sessions::Sessions;
use super::snapshot::Snapshot;
use super::{End, StartError};
use crate::config::{AdmissionRules, Config, GatewayConfig, ListenerConfig, ProxyMode};
use crate::event::{Event, Level, Notice, SharedObserver};
use crate::limits::{Bounds, Limits};
use crate::net::http::LINGER_SLOTS;
use crate::net::tls::ServerTls;
use crate::net::upstream::Dialer;
use crate::policy::auth::keys::{Issuer, Keys};
use crate::policy::auth::token::TokenTable;
use crate::policy::screen::PolicySet;
use crate::session::Cause;

/// What every connection shares.
pub(super) struct House {
    pub(super) snapshot: ArcSwap<Snapshot>,
    pub(super) limits: Limits,
    pub(super) observer: SharedObserver,
    pub(super) rules: AdmissionRules,
    pub(super) tls_turns: Semaphore,
    pub(super) lingering: Semaphore,
    pub(super) sessions: Sessions,
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
    pub(super) chains: Vec<PathBuf>,
}

impl House {
    pub(super) fn new(config: Config, observer: SharedObserver) -> Result<Self, StartError> {
        let Config { gateway, policies, keys, .. } = config;
        let mut dialers = HashMap::new();
        for policy in &policies {
            let dialer = Dialer::new(&policy.upstream)
                .map_err(|error| StartError::Unusable(format!("upstream of policy {}: {error}", policy.name)))?;
            dialers.insert(policy.name.clone(), Arc::new(dialer));
        }
        let policies = PolicySet::new(policies).map_err(|error| StartError::Unusable(error.to_string()))?;
        let tls_turns = tls_turns(&gateway);
        Ok(Self {
            snapshot: ArcSwap::from_pointee(Snapshot { generation: 1, policies, dialers, keys }),
            limits: Limits::new(
                Bounds::new(&gateway.capacity, &gateway.address, file_limit()),
                RandomState::new(),
                MonotonicClock,
            ),
            observer,
            rules: gateway.admission,
            tls_turns: Semaphore::new(tls_turns),
            lingering: Semaphore::new(LINGER_SLOTS),
            sessions: Sessions::default(),
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

    /// Judges handshakes from here on with these in place of what was read before; the rest stays.
    pub(super) fn replace_keys(
        &self,
        issuers: HashMap<Arc<str>, Arc<Issuer>>,
        token_tables: HashMap<PathBuf, Arc<TokenTable>>,
    ) {
        let current = self.snapshot.load();
        let mut keys = Keys::clone(&current.keys);
        keys.issuers.extend(issuers);
        keys.token_tables.extend(token_tables);
        self.snapshot.store(Arc::new(current.with_keys(keys)));
    }

    pub(super) fn notice(&self, level: Level, code: &'static str, text: String) {
        self.observer.observe(&Event::Notice(Notice { level, code, text }));
    }
}

impl Door {
    pub(super) fn new(config: &ListenerConfig, tls: Option<ServerTls>) -> Self {
        let certificates = config.tls.iter().flat_map(|tls| tls.certificates.iter());
        Self {
            address: config.address,
            proxy: config.proxy,
            trusted: config.trusted.clone(),
            tls,
            chains: certificates.map(|source| source.chain.clone()).collect(),
        }
    }

    /// What X-Forwarded-Proto says. A proxy in front of a door without TLS has ended TLS there.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() || self.proxy != ProxyMode::None { "https" } else { "http" }
    }
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
