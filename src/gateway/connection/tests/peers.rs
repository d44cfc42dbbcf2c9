//! A client and a service that send piece by piece, and wait after each until the connection between them was polled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// What a peer sends at a time.
const PIECE: usize = 30;
/// What it sends of TLS, whose hellos are long.
const PIECE_OF_TLS: usize = 200;
/// How far the connection is.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) waits: usize,
    pub(super) is_over: bool,
}

/// Waits until the connection was polled again since `waits`, or is over; says if it is over.
async fn polled(progress: &mut watch::Receiver<Progress>, waits: usize) -> bool {
    progress.wait_for(|now| now.is_over || now.waits > waits).await.is_ok_and(|now| now.is_over)
}

/// Takes every turn of TLS that is free, and gives it back when the connection had to wait.
pub(super) async fn turnstile(turns: &Semaphore, mut progress: watch::Receiver<Progress>) {
    loop {
        let turn = turns.acquire().await.unwrap();
        let waits = progress.borrow_and_update().waits;
        let is_over = polled(&mut progress, waits).await;
        drop(turn);
        if is_over {
            return;
        }
    }
}

/// Carries what is written to `near` in pieces, each when the connection has had the one before.
async fn drip(near: DuplexStream, far: TcpStream, mut progress: watch::Receiver<Progress>, longest: usize) {
    far.set_nodelay(true).unwrap();
    let (mut written, mut read) = tokio::io::split(near);
    let (mut from, mut to) = far.into_split();
    let out = async {
        let mut piece = vec![0; longest];
        while let Ok(count @ 1..) = written.read(&mut piece).await {
            let waits = progress.borrow_and_update().waits;
            if to.write_all(&piece[..count]).await.is_err() {
                break;
            }
            polled(&mut progress, waits).await;
        }
        let _ = to.shutdown().await;
    };
    let back = async {
        let _ = tokio::io::copy(&mut from, &mut read).await;
        let _ = read.shutdown().await;
    };
    tokio::join!(out, back);
}

/// What bytes go over.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Reads up to the end of a head, or of the stream.
async fn head(io: &mut dyn Io) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = io.read_u8().await else { break };
        head.push(byte);
    }
    head
}

/// A Close frame with code 1000 as a client sends it, and as a server does.
const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
pub(super) const CLOSED: [u8; 4] = [0x88, 0x02, 0x03, 0xe8];

/// The service behind: answers a handshake, answers a Close, and counts who is connected.
pub(super) struct Service {
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) denies: AtomicBool,
    pub(super) live: AtomicUsize,
    pub(super) progress: watch::Receiver<Progress>,
}

impl Service {
    /// Serves whoever comes.
    pub(super) async fn listen(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            self.live.fetch_add(1, Ordering::SeqCst);
            let service = Arc::clone(&self);
            let longest = if self.tls.is_some() { PIECE_OF_TLS } else { PIECE };
            connections.spawn(async move {
                let (here, there) = tokio::io::duplex(64 << 10);
                tokio::join!(drip(there, tcp, service.progress.clone(), longest), service.serve(here));
                service.live.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }

    async fn serve(&self, near: DuplexStream) {
        let mut io: Box<dyn Io> = match &self.tls {
            None => Box::new(near),
            Some(tls) => match tls.accept(near).await {
                Ok(io) => Box::new(io),
                Err(_) => return,
            },
        };
        let asked = String::from_utf8(head(&mut io).await).unwrap();
        let key = asked.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let Some(accept) = key.map(|key| derive_accept_key(key.as_bytes())) else { return };
        let answer = if self.denies.load(Ordering::SeqCst) {
            String::from("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        } else {
            let fields = "Upgrade: websocket\r\nConnection: Upgrade";
            format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n")
        };
        if io.write_all(answer.as_bytes()).await.is_err() || io.read_u8().await.is_err() {
            return;
        }
        let _ = io.write_all(&CLOSED).await;
        let _ = io.read_to_end(&mut Vec::new()).await;
    }
}

/// Who asks to come in.
pub(super) struct Client {
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) progress: watch::Receiver<Progress>,
}

impl Client {
    /// Asks over `tcp`; returns what it got when its connection has ended.
    pub(super) async fn run(&self, tcp: TcpStream, preface: &str, origin: &str) -> Vec<u8> {
        let (here, there) = tokio::io::duplex(64 << 10);
        let longest = if self.tls.is_some() { PIECE_OF_TLS } else { PIECE };
        let asks = self.ask(here, preface, origin);
        tokio::join!(asks, drip(there, tcp, self.progress.clone(), longest)).0
    }

    /// What the client gets, until its connection ends.
    async fn ask(&self, near: DuplexStream, preface: &str, origin: &str) -> Vec<u8> {
        let mut io: Box<dyn Io> = match &self.tls {
            None => Box::new(near),
            Some(tls) => {
                let name = ServerName::try_from("chat.test").unwrap();
                match TlsConnector::from(Arc::clone(tls)).connect(name, near).await {
                    Ok(io) => Box::new(io),
                    Err(_) => return Vec::new(),
                }
            }
        };
        let fields = "Host: chat.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-For: 203.0.113.7";
        let start = "GET /chat?token=0123456789abcdef HTTP/1.1";
        let request = format!("{}{start}\r\n{fields}\r\nOrigin: {origin}\r\n\r\n", preface);
        if io.write_all(request.as_bytes()).await.is_err() || io.flush().await.is_err() {
            return Vec::new();
        }
        let mut answer = head(&mut io).await;
        if answer.starts_with(b"HTTP/1.1 101 ") {
            let _ = io.write_all(&CLOSE).await;
            let _ = io.read_to_end(&mut answer).await;
        }
        answer
    }
}

pub(super) type Authority = CertifiedIssuer<'static, KeyPair>;

/// Who signs every certificate here.
pub(super) fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A client that trusts it.
pub(super) fn trusting(authority: &Authority) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}
