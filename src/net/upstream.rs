//! The way to a backend: round robin over a policy's servers, one retry on another in the connect phase only, and a
//! handshake of our own whose answer is verified whole.
//!
//! No connection is pooled: each belongs to one session, and is dropped with whatever was not a valid 101.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use super::http;
use super::tls::{BackendStream, ClientTls};
use crate::policy::forward::{Server, ServerHost, Upstream, UpstreamRequest};
use crate::policy::{Reason, Refusal};
use crate::ws::head::HeadLimits;
use crate::ws::opening::{self, Accepted, WebSocketKey};

/// Servers that one handshake tries to connect to.
const CONNECT_ATTEMPTS: usize = 2;

/// A backend's answer is held to the bounds that a client's head has by default.
const ANSWER_LIMITS: HeadLimits = HeadLimits { bytes: 16 << 10, fields: 64, target: 8 << 10 };

/// A backend connection whose 101 was verified whole. `P` is the slot of the server that took it.
#[derive(Debug)]
pub struct UpstreamConnection<P> {
    /// The connection.
    pub stream: BackendStream,
    /// Bytes that came glued behind the 101: the first frames.
    pub glued: Vec<u8>,
    /// What the backend chose.
    pub accepted: Accepted,
    /// The server, as the policy names it.
    pub server: String,
    /// The server's slot.
    pub permit: P,
}

/// The servers of one policy.
#[derive(Debug)]
pub struct Dialer {
    servers: Vec<Target>,
    next: AtomicUsize,
    tls: Option<ClientTls>,
    connect_timeout: Duration,
    handshake_timeout: Duration,
}

/// One server, with what its name resolved to.
#[derive(Debug)]
struct Target {
    server: Server,
    resolved: Mutex<Resolved>,
}

/// The addresses that a name had at a time; none before its first lookup.
#[derive(Debug, Default)]
struct Resolved {
    addresses: Vec<SocketAddr>,
    at: Option<Instant>,
}

impl Dialer {
    /// A dialer for a policy's `[upstream]`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the authorities for `wss://` servers.
    pub fn new(upstream: &Upstream) -> Result<Self, String> {
        let needs_tls = upstream.servers.iter().any(|server| server.tls);
        let tls = needs_tls.then(|| ClientTls::new(upstream.authorities_pem.as_deref())).transpose();
        let target = |server: &Server| Target { server: server.clone(), resolved: Mutex::default() };
        Ok(Self {
            servers: upstream.servers.iter().map(target).collect(),
            next: AtomicUsize::new(0),
            tls: tls.map_err(|error| error.to_string())?,
            connect_timeout: upstream.connect_timeout,
            handshake_timeout: upstream.handshake_timeout,
        })
    }

    /// Connects to a server that `reserve` has a slot for and opens a WebSocket on it with the head that `request`
    /// builds for that server.
    ///
    /// # Errors
    ///
    /// The refusal that the client gets: `backend_*`.
    pub async fn dial<P>(
        &self,
        key: &WebSocketKey,
        reserve: impl Fn(&Server) -> Result<P, Refusal>,
        request: impl FnOnce(&Server) -> Result<UpstreamRequest, Refusal>,
    ) -> Result<UpstreamConnection<P>, Refusal> {
        let (target, permit, stream) = self.connect_any(reserve).await?;
        let deadline = Instant::now() + self.handshake_timeout;
        let request = request(&target.server)?;
        let named = |refusal: Refusal| name_server(refusal, &target.server);
        let (stream, glued, accepted) = open(stream, key, &request, deadline).await.map_err(named)?;
        Ok(UpstreamConnection { stream, glued, accepted, server: target.server.name.clone(), permit })
    }

    async fn connect_any<P>(
        &self,
        reserve: impl Fn(&Server) -> Result<P, Refusal>,
    ) -> Result<(&Target, P, BackendStream), Refusal> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let turn = self.servers.iter().cycle().skip(start % self.servers.len().max(1)).take(self.servers.len());
        let mut refusal = Refusal::new(Reason::BackendFull);
        let mut attempts = 0;
        for target in turn {
            let permit = match reserve(&target.server) {
                Ok(permit) => permit,
                Err(full) if attempts == 0 => {
                    refusal = full;
                    continue;
                }
                Err(_) => continue,
            };
            match self.connect(target).await {
                Ok(stream) => return Ok((target, permit, stream)),
                Err(error) => refusal = name_server(error, &target.server),
            }
            attempts += 1;
            if attempts == CONNECT_ATTEMPTS {
                break;
            }
        }
        Err(refusal)
    }

    async fn connect(&self, target: &Target) -> Result<BackendStream, Refusal> {
        let deadline = Instant::now() + self.connect_timeout;
        let late = |_| Refusal::new(Reason::BackendConnectTimeout);
        let tcp = timeout_at(deadline, target.connect_tcp(deadline)).await.map_err(late)?.map_err(connect_refusal)?;
        tcp.set_nodelay(true).map_err(connect_refusal)?;
        match (&self.tls, target.server.tls) {
            (Some(tls), true) => {
                let name = target.server.host_name();
                let handshake = tls.connect(&name, tcp);
                let stream = timeout_at(deadline, handshake).await.map_err(late)?;
                stream.map_err(|error| Refusal::new(Reason::BackendTls).with_detail(error.to_string()))
            }
            (None, true) => Err(Refusal::new(Reason::Internal)),
            (_, false) => Ok(BackendStream::Plain(tcp)),
        }
    }
}

impl Target {
    async fn connect_tcp(&self, deadline: Instant) -> io::Result<TcpStream> {
        let addresses = self.addresses().await?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for (tried, address) in addresses.iter().enumerate() {
            // An address that swallows packets leaves the others their share of the time.
            let left = u32::try_from(addresses.len().saturating_sub(tried)).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / left.max(1);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    /// What the name resolves to; where that fails or takes too long, what it resolved to last. One lookup runs at a
    /// time, and its answer serves every dial for [`FRESH`]: a slow resolver is not asked once per handshake.
    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let name = match &self.server.host {
            ServerHost::Address(address) => return Ok(vec![*address]),
            ServerHost::Name(name) => name,
        };
        let mut known = self.resolved.lock().await;
        let lasts = if known.addresses.is_empty() { FRESH_FAILURE } else { FRESH };
        if known.at.is_none_or(|at| at.elapsed() >= lasts) {
            if let Ok(addresses) = resolve(name, self.server.port).await {
                known.addresses = addresses;
            }
            known.at = Some(Instant::now());
        }
        if known.addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "its name does not resolve"));
        }
        Ok(known.addresses.clone())
    }
}

async fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, port))).await??;
    let addresses: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
    if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
}

/// How long the answer of a lookup serves.
const FRESH: Duration = Duration::from_secs(10);

/// How long the failure of a name's first lookups serves.
const FRESH_FAILURE: Duration = Duration::from_secs(1);

/// How long a lookup may take; what was known before serves then.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Writes the handshake and verifies its answer.
async fn open(
    mut stream: BackendStream,
    key: &WebSocketKey,
    request: &UpstreamRequest,
    deadline: Instant,
) -> Result<(BackendStream, Vec<u8>, Accepted), Refusal> {
    let write = async {
        stream.write_all(&request.bytes).await?;
        stream.flush().await
    };
    match timeout_at(deadline, write).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(Refusal::new(Reason::BackendClosed).with_detail(error.to_string())),
        Err(_) => return Err(Reason::BackendHandshakeTimeout.into()),
    }
    let (head, glued) = http::read_response_head(&mut stream, &ANSWER_LIMITS, deadline).await?;
    let accepted = opening::judge_response(&head, key, &request.offered_subprotocols, &request.offered_extensions);
    Ok((stream, glued, accepted?))
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` takes")]
fn connect_refusal(error: io::Error) -> Refusal {
    let exhausted = [Errno::ADDRNOTAVAIL, Errno::MFILE, Errno::NFILE];
    let out_of_sockets = Errno::from_io_error(&error).is_some_and(|errno| exhausted.contains(&errno));
    let reason = match error.kind() {
        _ if out_of_sockets => Reason::BackendNoSocket,
        io::ErrorKind::TimedOut => Reason::BackendConnectTimeout,
        _ => Reason::BackendUnreachable,
    };
    Refusal::new(reason).with_detail(error.to_string())
}

fn name_server(refusal: Refusal, server: &Server) -> Refusal {
    let detail = match &refusal.detail {
        Some(detail) => format!("{}: {detail}", server.name),
        None => server.name.clone(),
    };
    refusal.with_detail(detail)
}
