//! What goes to the backend: an allow-list, built anew.

use std::net::SocketAddr;
use std::time::Duration;

use super::balance::Balancing;
use crate::session::rules::Extensions;

pub mod request;

pub use request::{ForwardFacts, UpstreamRequest, build_check, build_request, is_reserved_header};

/// The `[upstream]` table of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The servers.
    pub servers: Vec<Server>,
    /// How they share the handshakes.
    pub balancing: Balancing,
    /// What `Host` the backend sees.
    pub host: HostHeader,
    /// What path the backend sees.
    pub path: PathRule,
    /// Names (lower case) of client headers passed on beside the handshake's own.
    pub headers: Vec<String>,
    /// Names of cookies passed on.
    pub cookies: Vec<String>,
    /// What becomes of a verified token.
    pub credential: CredentialForwarding,
    /// Header name (lower case) to a JSON pointer into the verified claims.
    pub identity: Vec<(String, String)>,
    /// What becomes of `Sec-WebSocket-Extensions`.
    pub extensions: Extensions,
    /// Sessions that one server takes; `None`: no cap.
    pub connections_per_server: Option<u32>,
    /// To a connected socket, TLS included.
    pub connect_timeout: Duration,
    /// From the connected socket to a whole 101.
    pub handshake_timeout: Duration,
    /// PEM of the authorities that may sign a `wss://` server; `None`: the system's.
    pub authorities_pem: Option<Vec<u8>>,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `ws://10.0.0.11:9001`, as written: what logs and metrics call it.
    pub name: String,
    /// Whether it is spoken to over TLS (`wss://`).
    pub tls: bool,
    /// A literal address or a name to resolve.
    pub host: ServerHost,
    /// The port; 80 or 443 where none was written.
    pub port: u16,
}

impl Server {
    /// The host as its certificate names it: a DNS name, or an address without brackets.
    pub fn host_name(&self) -> String {
        match &self.host {
            ServerHost::Address(address) => address.ip().to_string(),
            ServerHost::Name(name) => name.clone(),
        }
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerHost {
    /// At this address.
    Address(SocketAddr),
    /// Wherever this name resolves to.
    Name(String),
}

/// What `Host` the backend sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// As the client sent it: backends compare it with Origin.
    Client,
    /// The server's own host and port.
    Server,
    /// This one.
    Fixed(String),
}

/// What path the backend sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// Byte for byte as sent.
    AsSent,
    /// Without this prefix.
    Strip(String),
}

/// What becomes of a verified token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialForwarding {
    /// The backend does not see it.
    Strip,
    /// It moves to `Authorization: Bearer`.
    Authorization,
    /// It stays where the client put it.
    AsSent,
}
