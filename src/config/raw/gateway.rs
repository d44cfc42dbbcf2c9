//! gateway.toml as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::choices::{Encoded, Format, Proxy, Reload, TextOr, TlsMin, Unknown};
use super::words::{At, Count, CountOrAuto, Net, Pace, Size, Socket, SocketOrOff, Text, Time, Why};
use super::{Key, List};

/// Where the gateway listens, who issues tokens, and the bounds that hold for everybody.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawGateway {
    /// Policy files; `*` stands for any part of a file's name. Default: ["policies/*.toml"].
    pub policies: List<Text>,
    /// From SIGTERM to the hard end. Default: "25s".
    pub drain: Key<Time>,
    /// How long the listeners still accept behind SIGTERM, with readiness false already; part of `drain`. Default: a fifth of `drain`, at most "5s".
    pub drain_lead: Key<Time>,
    /// The folder in which revocations outlive a restart. Default: none, and they do not.
    pub state: Key<Text>,
    /// A watched file that lists what is revoked, one entry a line. Default: none.
    pub revocations: Key<Text>,
    /// Whether all is read again when it is asked for alone, or also when this file, a policy or `authorities` changed and has stood still for a second. Default: "on_request".
    pub reload: Key<Reload>,
    /// Worker threads. Default: one per core.
    pub threads: Key<Count>,
    /// The health listener: /healthz, /readyz and /metrics.
    pub health: RawHealth,
    /// The admin listener: all that changes something.
    pub admin: RawAdmin,
    /// Where connections come in.
    pub listener: Vec<At<RawListener>>,
    /// Bounds of the whole gateway.
    pub capacity: RawCapacity,
    /// Bounds of one IPv4 address or one IPv6 /64.
    pub address: RawAddress,
    /// Bounds in time and size of one handshake.
    pub admission: RawAdmission,
    /// How logs are written.
    pub log: RawLog,
    /// Who issues tokens, by a name that policies use.
    pub issuer: BTreeMap<String, At<RawIssuer>>,
    /// What no policy may exceed.
    pub ceiling: RawCeiling,
}

/// The health listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawHealth {
    /// An address and a port, or "off". Default: "127.0.0.1:9090".
    pub address: Key<SocketOrOff>,
}

/// The admin listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawAdmin {
    /// A unix socket that only its owner may open. Default: none.
    pub socket: Key<Text>,
}

/// One `[[listener]]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawListener {
    /// Where it listens, for example `[::]:8443`.
    pub address: Key<Socket>,
    /// Whose word is taken for the client's address. Default: "none".
    pub proxy: Key<Proxy>,
    /// Networks of the proxies whose word is taken.
    pub trusted: List<Net>,
    /// Certificates; the first is shown to clients that name no host.
    pub certificates: Vec<At<RawCertificate>>,
    /// The oldest TLS version. Default: "1.2".
    pub tls_min: Key<TlsMin>,
    /// What a client gets that names a host without certificate. Default: "refuse".
    pub unknown_name: Key<Unknown>,
    /// Why this listener may speak without TLS to others than this machine.
    pub danger_plaintext: Key<Why>,
}

/// A certificate chain and its key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawCertificate {
    /// PEM of the chain, the server's own certificate first.
    pub chain: Key<Text>,
    /// PEM of the key.
    pub key: Option<At<RawSecret>>,
}

/// Where a secret is read from: a file or an environment variable.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawSecret {
    /// A file.
    pub file: Key<Text>,
    /// The name of an environment variable.
    pub env: Key<Text>,
    /// How the variable's value is written. Default: "plain".
    pub encoding: Key<Encoded>,
}

/// Bounds of the whole gateway.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawCapacity {
    /// Live sessions; "auto" computes them from the file limit. Default: "auto".
    pub sessions: Key<CountOrAuto>,
    /// Connections that are not yet admitted. Default: 2048.
    pub pending: Key<Count>,
    /// TLS handshakes computed at a time; "auto" is half as many as worker threads. Default: "auto".
    pub tls_handshakes: Key<CountOrAuto>,
    /// Handshakes under way at a time; the others wait in order before any byte of TLS is read; "auto" is 256 for each worker thread. Default: "auto".
    pub handshakes: Key<CountOrAuto>,
    /// Sessions admitted. Default: "500/s burst 2000".
    pub admissions: Key<Pace>,
}

/// Bounds of one IPv4 address or one IPv6 /64, before TLS costs anything.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawAddress {
    /// Connections that are not yet admitted. Default: 128.
    pub pending: Key<Count>,
    /// Live sessions over all policies; beyond: dropped unheard. Default: 1024.
    pub sessions: Key<Count>,
    /// New connections. Default: "20/s burst 400".
    pub connects: Key<Pace>,
    /// Failed attempts. Default: "1/s burst 60".
    pub failures: Key<Pace>,
    /// Only these networks may come. Default: all.
    pub allow: List<Net>,
    /// These networks may never come.
    pub deny: List<Net>,
    /// Networks behind which many people live.
    pub networks: Vec<At<RawNetwork>>,
}

/// A network whose bounds are multiplied.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawNetwork {
    /// What you call it.
    pub name: Key<Text>,
    /// Its networks.
    pub nets: List<Net>,
    /// The factor for every per-address bound.
    pub times: Key<Count>,
}

/// Bounds in time and size of one handshake.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawAdmission {
    /// Deadline of the TLS handshake. Default: "10s".
    pub tls: Key<Time>,
    /// Deadline of the request head. Default: "10s".
    pub head: Key<Time>,
    /// Deadline of the PROXY protocol header. Default: "3s".
    pub proxy_header: Key<Time>,
    /// How long a connection may wait for its handshake to begin; beyond, it gets a 503 or is dropped. Default: "5s", and no longer than `total`.
    pub queue: Key<Time>,
    /// From accept to 101. Default: "30s".
    pub total: Key<Time>,
    /// Bytes of the request head. Default: "16KiB".
    pub head_size: Key<Size>,
    /// Header fields of the request head. Default: 64.
    pub headers: Key<Count>,
    /// Bytes of the request target, its query included. Default: "8KiB".
    pub target_size: Key<Size>,
}

/// How logs are written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawLog {
    /// "json" or "human". Default: "json".
    pub format: Key<Format>,
    /// Lines that may wait for the writer; beyond, they are counted and dropped. Default: 8192.
    pub queue: Key<Count>,
    /// Refusals written; beyond, they are counted. Default: "50/s burst 200".
    pub refusals: Key<Pace>,
}

/// Somebody who issues JSON Web Tokens.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawIssuer {
    /// The exact `iss` claim.
    pub iss: Key<Text>,
    /// JWS algorithms (RFC 7518 section 3.1); each key is bound to one.
    pub algorithms: List<Text>,
    /// Files (a public key in PEM, a key set or a secret: the content tells), or `{ file = "..." }`, or `{ env = "...", encoding = "base64" }`.
    pub keys: Option<At<Vec<At<TextOr<RawKey>>>>>,
}

/// Where a key of an issuer is read from.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawKey {
    /// A file.
    pub file: Key<Text>,
    /// The name of an environment variable.
    pub env: Key<Text>,
    /// How the variable's value is written. Default: "plain".
    pub encoding: Key<Encoded>,
    /// The `kid` of tokens that it signs. Default: a file's name without its ending, where there are several keys.
    pub id: Key<Text>,
}

/// What no policy may exceed, whoever edits it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawCeiling {
    /// Over `[limits]` of every policy.
    pub limits: RawCeilingLimits,
    /// Over `[session]` of every policy.
    pub session: RawCeilingSession,
}

/// What `[limits]` of no policy may exceed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawCeilingLimits {
    /// Live sessions of a policy; also what a policy gets that sets none.
    pub connections: Key<Count>,
    /// Live sessions of one address.
    pub connections_per_address: Key<Count>,
    /// Live sessions of one subject.
    pub connections_per_subject: Key<Count>,
}

/// What `[session]` of no policy may exceed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawCeilingSession {
    /// The greatest age of a session.
    pub max_age: Key<Time>,
    /// How long nobody may say anything.
    pub idle_timeout: Key<Time>,
    /// Payload bytes of one message from a client.
    pub message_size: Key<Size>,
}
