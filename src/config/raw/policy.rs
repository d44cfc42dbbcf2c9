//! A file of `policies/` as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::choices::{By, Extension, Forwarding, Missing, OneOrMany, Orphaned, Over, Tell, TextOr};
use super::words::{At, BytePace, CloseCode, Count, Net, Pace, Size, Text, Time, Why};
use super::{Key, List};

/// What one service allows.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawPolicy {
    /// Which handshakes belong to this policy.
    pub route: Option<At<RawRoute>>,
    /// Where they go, and what goes with them.
    pub upstream: Option<At<RawUpstream>>,
    /// Which pages may open a socket.
    pub origin: Option<At<RawOrigin>>,
    /// Ways to prove who one is; any one of them.
    pub auth: Vec<At<RawAuth>>,
    /// How many, how often, from where.
    pub limits: RawLimits,
    /// What a session is held to.
    pub session: RawSession,
    /// Handshakes that this policy must judge so; `wsgate check` runs them.
    pub example: Vec<At<RawExample>>,
}

/// Which handshakes belong to this policy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawRoute {
    /// Hosts; "*.example.com" is one label. The port is not compared.
    pub hosts: List<Text>,
    /// Paths: "/chat" exactly, "/chat/*" all below.
    pub paths: List<Text>,
    /// Subprotocols that may be offered to the backend. Default: whatever the client offers, tokens excepted.
    pub subprotocols: List<Text>,
}

/// Where handshakes go, and what goes with them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawUpstream {
    /// "ws://10.0.0.11:9001", "wss://chat.internal".
    pub servers: List<Text>,
    /// How one of several servers is chosen: "round_robin", "least_sessions" or `{ hash = "address" }`. Default:
    /// "round_robin".
    pub balance: Option<At<TextOr<RawHash>>>,
    /// A server that was added, or came back, grows into its share over this time. Default: "30s".
    pub slow_start: Key<Time>,
    /// When a server at which handshakes fail is left alone for a while, or "never".
    pub eject: Option<At<TextOr<RawEject>>>,
    /// How servers are asked whether they are well. Default: they are not asked.
    pub health: Option<At<RawHealth>>,
    /// What becomes of the sessions of a server that a reload takes out: "keep" or "close". Default: "keep".
    pub removed: Key<Orphaned>,
    /// The Host that the backend sees: "client", "server" or `{ fixed = "chat.internal" }`. Default: "client".
    pub host: Option<At<TextOr<RawFixedHost>>>,
    /// The path that the backend sees: "as_sent" or `{ strip = "/chat" }`. Default: "as_sent".
    pub path: Option<At<TextOr<RawStrip>>>,
    /// Client headers passed on beside the handshake's own.
    pub headers: List<Text>,
    /// Cookies passed on, by name.
    pub cookies: List<Text>,
    /// What becomes of a verified token. Default: "strip".
    pub credential: Key<Forwarding>,
    /// Header name to JSON pointer into the verified claims; "/sub" is the subject.
    pub identity: Option<At<BTreeMap<String, At<String>>>>,
    /// What becomes of Sec-WebSocket-Extensions. Default: "strip".
    pub extensions: Key<Extension>,
    /// Sessions that one server takes. Default: no cap.
    pub connections_per_server: Key<Count>,
    /// To a connected socket, TLS included. Default: "5s".
    pub connect_timeout: Key<Time>,
    /// From the connected socket to a whole 101. Default: "10s".
    pub handshake_timeout: Key<Time>,
    /// PEM of the authorities that may sign a wss:// server. Default: the system's.
    pub authorities: Key<Text>,
    /// Why a query token may stay in the URL that the backend sees, and logs.
    pub danger_query_token_as_sent: Key<Why>,
}

/// `balance = { hash = "cookie:session" }`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawHash {
    /// "address", "subject", "cookie:NAME" or "header:NAME": who has the same comes to the same server. Who has none is
    /// told by the address.
    pub hash: Key<Text>,
}

/// `eject = { failures = 5, time = "10s", longest = "5m" }`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawEject {
    /// Handshakes that fail on end, those that came as far as an answer counted once for each client network. Default: 5.
    pub failures: Key<Count>,
    /// For how long the first time; each further time on end is twice as long. Default: "10s".
    pub time: Key<Time>,
    /// The longest time. Default: "5m".
    pub longest: Key<Time>,
}

/// How servers are asked whether they are well.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawHealth {
    /// "tcp" (with TLS for wss://), or `{ websocket = "/health" }`: a whole 101 at that path. Default: "tcp".
    pub check: Option<At<TextOr<RawCheck>>>,
    /// Between two checks of one server; chance shortens it by up to a fifth. Default: "5s".
    pub interval: Key<Time>,
    /// For a whole check. Default: "2s".
    pub timeout: Key<Time>,
    /// Good checks on end that bring a server up. Default: 2.
    pub rise: Key<Count>,
    /// Bad checks on end that take a server down. Default: 3.
    pub fall: Key<Count>,
    /// What becomes of the sessions of a server that goes down: "keep" or "close". Default: "keep".
    pub down: Key<Orphaned>,
}

/// `check = { websocket = "/health" }`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawCheck {
    /// The path of a handshake without Origin and credential.
    pub websocket: Key<Text>,
}

/// `host = { fixed = "chat.internal" }`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawFixedHost {
    /// This host, whatever the client sent.
    pub fixed: Key<Text>,
}

/// `path = { strip = "/chat" }`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawStrip {
    /// The path without this prefix.
    pub strip: Key<Text>,
}

/// Which pages may open a socket.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawOrigin {
    /// Origins byte for byte; "https://*.example.org" is one label; "*" needs danger_wildcard_origin.
    pub allow: List<Text>,
    /// What a handshake without Origin gets. Default: "cookieless".
    pub missing: Key<Missing>,
    /// How a page of a listed origin learns that its credential is refused: "status", which a page cannot read, or "close", a
    /// 101 and a Close frame. Default: "status".
    pub tell: Key<Tell>,
    /// Why any page may open a socket.
    pub danger_wildcard_origin: Key<Why>,
    /// Why one label may vary although browsers send a credential by themselves.
    pub danger_ambient_wildcard: Key<Why>,
}

/// One way to prove who one is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawAuth {
    /// "jwt", "token", "ticket", "backend" or "none".
    pub by: Key<By>,
    /// jwt: a name of gateway.toml's `[issuer.NAME]`.
    pub issuer: Key<Text>,
    /// jwt, token: "authorization", "subprotocol:NAME", "cookie:NAME", "query:NAME"; ticket: "query:NAME".
    pub from: List<Text>,
    /// jwt: at least one of these must be in `aud`.
    pub audience: List<Text>,
    /// jwt: JSON pointer to the word, or the words of which any, that must be there.
    pub require: Option<At<BTreeMap<String, At<OneOrMany>>>>,
    /// jwt: the header's `typ` must be this.
    pub typ: Key<Text>,
    /// jwt: how far clocks may differ, at most "5m". Default: "5s".
    pub leeway: Key<Time>,
    /// jwt: the longest life a token may have: from `iat`, else from `nbf`, else from the handshake, to `exp`.
    /// Default: "24h".
    pub max_life: Key<Time>,
    /// jwt: why tokens may live longer than 24 hours.
    pub danger_long_tokens: Key<Why>,
    /// token: the file of digests.
    pub tokens: Key<Text>,
    /// none: why everybody may come in.
    pub danger_no_auth: Key<Why>,
}

/// How many, how often, from where.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawLimits {
    /// Live sessions of this policy. Default: the ceiling's, or no cap of its own.
    pub connections: Key<Count>,
    /// Live sessions of one IPv4 address or IPv6 /64. Default: 256.
    pub connections_per_address: Key<Count>,
    /// Live sessions of one subject. Default: 20.
    pub connections_per_subject: Key<Count>,
    /// Handshakes of one subject. Default: "1/s burst 40".
    pub handshakes_per_subject: Key<Pace>,
    /// Only these networks may come. Default: all.
    pub allow: List<Net>,
    /// These networks may never come.
    pub deny: List<Net>,
}

/// What a session is held to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawSession {
    /// No message either way for this long ends the session. Default: "1h".
    pub idle_timeout: Key<Time>,
    /// No session is older; jitter shortens this. Default: "12h".
    pub max_age: Key<Time>,
    /// Why a session may go on when its credential has run out: `max_age` alone ends it then.
    pub danger_outlive_token: Key<Why>,
    /// A side that was silent this long is sent a ping. Default: "30s".
    pub ping_interval: Key<Time>,
    /// A pinged side that sends not one byte for this long is dead. Default: "20s".
    pub pong_timeout: Key<Time>,
    /// The client's first message must be whole by then. Default: no deadline.
    pub first_message: Key<Time>,
    /// A frame header or control frame that has begun must be whole by then. Default: "10s".
    pub partial_header: Key<Time>,
    /// A data frame older than 30 s must arrive at no less than this a second. Default: "1KiB".
    pub slow_frame: Key<Size>,
    /// Bytes for a side that takes none for this long end the session. Default: "60s".
    pub write_stall: Key<Time>,
    /// From the first Close frame to the end. Default: "5s".
    pub close_timeout: Key<Time>,
    /// From one side's end of stream to the end of the other. Default: "10s".
    pub half_close: Key<Time>,
    /// What the client may send.
    pub from_client: RawDirection,
    /// What the backend may send.
    pub from_backend: RawDirection,
    /// Close codes by cause.
    pub close: RawClose,
}

/// What one side may send.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawDirection {
    /// Payload bytes of one message. Default: "64KiB" from a client, "16MiB" from a backend.
    pub message_size: Key<Size>,
    /// Frames of one message. Default: 64, or one per KiB of message_size where that is more.
    pub fragments: Key<Count>,
    /// Messages. Default: "100/s burst 500" from a client, unbounded from a backend.
    pub messages: Key<Pace>,
    /// Bytes on the wire. Default: "256KiB/s burst 1MiB" from a client, unbounded from a backend.
    pub bytes: Key<BytePace>,
    /// Control frames. Default: "10/s burst 20" from a client, unbounded from a backend.
    pub control: Key<Pace>,
    /// Beyond a rate: "slow" does not read until it fits, and closes with 1008 whoever is over its count of messages or
    /// control frames for 30 s on end; bytes are only ever slowed. "close" closes with 1008 at once. Default: "slow".
    pub over: Key<Over>,
}

/// Close codes by cause.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawClose {
    /// The credential ran out, or the session is too old. Default: 4401.
    pub expired: Key<CloseCode>,
    /// Access was taken away. Default: 4403.
    pub revoked: Key<CloseCode>,
    /// The backend went away. Default: 1012.
    pub backend_lost: Key<CloseCode>,
    /// The gateway is shutting down. Default: 1001.
    pub drain: Key<CloseCode>,
    /// Nobody said anything for too long. Default: 1001.
    pub idle: Key<CloseCode>,
    /// A rate, a count or a deadline was exceeded. Default: 1008.
    pub policy: Key<CloseCode>,
    /// `tell = "close"`: the credential was refused. Default: 4401.
    pub unauthorized: Key<CloseCode>,
    /// `tell = "close"`: a right is missing. Default: 4403.
    pub forbidden: Key<CloseCode>,
    /// `tell = "close"`: a rate or a cap was exceeded. Default: 4429.
    pub too_many: Key<CloseCode>,
}

/// A described handshake and what becomes of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawExample {
    /// What it shows, in a person's words.
    pub name: Key<Text>,
    /// The Origin; left out: none is sent.
    pub origin: Key<Text>,
    /// The Host. Default: the policy's first.
    pub host: Key<Text>,
    /// The path with its query. Default: the policy's first.
    pub path: Key<Text>,
    /// Where a good credential travels: a carrier of `[[auth]]`. Left out: none is sent. A ticket's place holds none that
    /// was sold: name the place of what buys it.
    pub credential: Key<Text>,
    /// Claims beside `iss`, `aud`, `exp`, `iat`, `sub` and what `require` asks for.
    pub claims: Option<At<BTreeMap<String, serde_json::Value>>>,
    /// Cookies, as a browser writes them.
    pub cookie: Key<Text>,
    /// Subprotocols offered.
    pub subprotocols: List<Text>,
    /// "admitted", or a reason code such as "origin_not_allowed".
    pub expect: Key<Text>,
}
