//! The operator's words to typed values; every mistake at once, with file, line and remedy.
//!
//! `raw` holds the files as they are written, `build` judges them, `diagnostic` says what was wrong and what would be
//! right. `material` and `credentials` read certificates, keys and tables, at load and again when the watch asks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::sign::CertifiedKey;

use crate::policy::auth::algorithm::Algorithm;
use crate::policy::auth::keys::Keys;
use crate::policy::quota::NetworkRules;
use crate::policy::revocation::RevocationSet;
use crate::policy::{Policy, PolicyName};
use crate::units::Rate;
use crate::ws::head::HeadLimits;

mod build;
pub mod credentials;
pub mod described;
pub mod diagnostic;
pub mod example;
#[cfg(test)]
pub(crate) mod fixture;
pub mod material;
pub mod raw;
mod read;
mod restart;
pub mod schema;
mod scope;
mod stamp;
#[cfg(test)]
mod tests;

pub use build::files::PolicyPatterns;
pub use build::{Loaded, admin_socket, attempt, load};
pub use diagnostic::{Diagnostic, Diagnostics};
pub use example::Example;
pub use material::MaterialError;
pub use restart::needs_restart;
pub use scope::Setting;
pub use stamp::{Files, Stamp, Stamps};

/// Everything read, built and checked.
#[derive(Debug)]
pub struct Config {
    /// The path of gateway.toml, as it was given.
    pub path: PathBuf,
    /// gateway.toml.
    pub gateway: GatewayConfig,
    /// The files in `policies/`, in the order of their names.
    pub policies: Vec<Arc<Policy>>,
    /// The file of each policy.
    pub policy_files: BTreeMap<PolicyName, PathBuf>,
    /// Keys and token tables as they were read; the watch replaces them.
    pub keys: Arc<Keys>,
    /// The `[[example]]`s of each policy.
    pub examples: BTreeMap<PolicyName, Vec<Example>>,
    /// What the file of revocations lists.
    pub revoked: RevocationSet,
    /// Every effective value and where it came from, in the order of reading.
    pub settings: Vec<Setting>,
    /// What was read.
    pub files: Files,
}

impl Config {
    /// What weakens it, with the operator's reasons: one sentence each.
    pub fn dangers(&self) -> Vec<String> {
        let gateway = self.gateway.dangers.iter().map(|(key, reason)| format!("gateway: {key} = {reason:?}"));
        let policies = self.policies.iter().flat_map(|policy| {
            policy.dangers.iter().map(|(key, reason)| format!("policy {}: {key} = {reason:?}", policy.name))
        });
        gateway.chain(policies).collect()
    }
}

/// gateway.toml as values.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where connections come in.
    pub listeners: Vec<ListenerConfig>,
    /// From SIGTERM to the hard end.
    pub drain: Duration,
    /// How long a gateway that is not ready any longer goes on accepting; part of `drain`.
    pub drain_lead: Duration,
    /// The health listener; `None`: switched off.
    pub health: Option<SocketAddr>,
    /// The unix socket of the admin listener; `None`: there is none.
    pub admin: Option<PathBuf>,
    /// The folder in which it keeps what outlives a restart; `None`: nothing does.
    pub state: Option<PathBuf>,
    /// The watched file that lists what is revoked.
    pub revocations: Option<PathBuf>,
    /// Whether a change of what is read makes the gateway read all of it again.
    pub reloads_on_change: bool,
    /// Bounds of the whole gateway.
    pub capacity: Capacity,
    /// Bounds of one client network.
    pub address: AddressRules,
    /// Bounds in time and size of one admission.
    pub admission: AdmissionRules,
    /// How logs are written.
    pub log: LogConfig,
    /// Worker threads; `None`: one per core.
    pub threads: Option<usize>,
    /// Who issues tokens, and where their keys are read again.
    pub issuers: Vec<IssuerConfig>,
    /// What weakens the gateway, with the operator's reason.
    pub dangers: BTreeMap<String, String>,
}

/// One `[[listener]]`.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whose word is taken for the client's address.
    pub proxy: ProxyMode,
    /// Peers whose word is taken.
    pub trusted: Vec<IpNet>,
    /// `None`: no TLS.
    pub tls: Option<TlsConfig>,
}

/// Whose word is taken for the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    /// The socket's.
    None,
    /// A PROXY protocol header, version 1 or 2, before anything else.
    ProxyProtocol,
    /// X-Forwarded-For, read from the right to the first address that is not trusted.
    XForwardedFor,
}

/// TLS of one listener.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Certificates in the order in which they are written; the first is shown to clients without SNI.
    pub certificates: Vec<CertificateSource>,
    /// Whether TLS 1.2 is refused.
    pub tls13_only: bool,
    /// What a client gets that asks for a name no certificate has.
    pub unknown_name: UnknownName,
}

/// What a client gets that asks for a name no certificate has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownName {
    /// A fatal alert.
    Refuse,
    /// The first certificate.
    First,
}

/// A certificate, as it was read and where it is read again.
#[derive(Clone, Debug)]
pub struct CertificateSource {
    /// PEM of the chain, leaf first.
    pub chain: PathBuf,
    /// PEM of the key.
    pub key: SecretSource,
    /// What stood there at load.
    pub loaded: Arc<Certificate>,
}

/// A certificate chain with its key, and what is known of its leaf.
#[derive(Debug)]
pub struct Certificate {
    /// For rustls.
    pub certified: Arc<CertifiedKey>,
    /// DNS names of the leaf, in lower case, `*.` included.
    pub names: Vec<String>,
    /// End of the leaf's validity, seconds since 1970.
    pub not_after: u64,
    /// Begin of the leaf's validity, seconds since 1970.
    pub not_before: u64,
    /// Whether the leaf calls itself an authority: clients refuse that.
    pub authority: bool,
}

/// One `[issuer.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerConfig {
    /// Its name in policies.
    pub name: Arc<str>,
    /// The exact `iss` claim.
    pub iss: String,
    /// What its keys may be bound to.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys are.
    pub keys: Vec<KeySource>,
}

/// Where a key of an issuer is, and the id of a PEM key or a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// A file or an environment variable.
    pub from: SecretSource,
    /// What `kid` a token must have; a key set brings its own ids.
    pub id: Option<String>,
}

/// Where a secret is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Env {
        /// Its name.
        name: String,
        /// Whether its value is base64.
        base64: bool,
    },
}

/// `[capacity]`: bounds of the whole gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Live sessions; `None`: computed from the file limit.
    pub sessions: Option<u32>,
    /// Connections that are not yet admitted.
    pub pending: u32,
    /// TLS handshakes computed at a time, the others in turn behind them; `None`: half as many as worker threads, so
    /// that a flood of handshakes leaves the sessions their share.
    pub tls_handshakes: Option<u32>,
    /// Handshakes under way at a time, the others in order behind them; `None`:
    /// [so many](Capacity::HANDSHAKES_PER_THREAD) for each worker thread.
    pub handshakes: Option<u32>,
    /// Sessions admitted.
    pub admissions: Rate,
}

impl Capacity {
    /// A handshake takes three round trips: as many as a thread can compute within 300 ms, and some more.
    pub const HANDSHAKES_PER_THREAD: usize = 256;

    /// How many connections may be pending where this many files may be open: what is written, or a quarter, so that
    /// strangers who say nothing cannot take the descriptors of sessions.
    pub fn pending_bound(&self, file_limit: u64) -> u32 {
        u32::try_from(file_limit / 4).unwrap_or(u32::MAX).clamp(1, self.pending.max(1))
    }

    /// How many sessions there may be where this many files may be open: what is written, or as many as fit.
    ///
    /// A session has two sockets; a quarter at most is kept for pending connections, and a few for files.
    pub fn session_bound(&self, file_limit: u64) -> u32 {
        const KEPT_FOR_FILES: u64 = 64;
        let pending = u64::from(self.pending_bound(file_limit));
        let free = file_limit.saturating_sub(KEPT_FOR_FILES).saturating_sub(pending);
        self.sessions.unwrap_or_else(|| u32::try_from(free / 2).unwrap_or(u32::MAX).max(1))
    }
}

/// `[address]`: bounds of one IPv4 address or IPv6 /64.
#[derive(Clone, Debug)]
pub struct AddressRules {
    /// Connections that are not yet admitted.
    pub pending: u32,
    /// Live sessions over all policies.
    pub sessions: u32,
    /// New connections.
    pub connects: Rate,
    /// Failed attempts.
    pub failures: Rate,
    /// Static allow and deny lists.
    pub rules: NetworkRules,
    /// Networks whose bounds are multiplied.
    pub networks: Vec<KnownNetwork>,
}

/// A network whose bounds are multiplied: an office behind one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownNetwork {
    /// What the operator calls it.
    pub name: String,
    /// Its networks.
    pub nets: Vec<IpNet>,
    /// The factor for every per-address bound.
    pub times: u32,
}

/// `[admission]`: bounds of one handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionRules {
    /// Deadline of the TLS handshake.
    pub tls: Duration,
    /// Deadline of the request head.
    pub head: Duration,
    /// Deadline of the PROXY protocol header.
    pub proxy_header: Duration,
    /// How long a connection may wait for its handshake to begin.
    pub queue: Duration,
    /// From accept to 101.
    pub total: Duration,
    /// Bounds of the head.
    pub limits: HeadLimits,
}

/// `[log]`: how logs are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// JSON lines, or lines for people.
    pub format: LogFormat,
    /// Lines that may wait for the writer.
    pub queue: usize,
    /// Refusals written per second before they are only counted.
    pub refusals: Rate,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// One sentence a line.
    Human,
}
