//! A backend that plays a script and records every byte: honest ones echo, the others lie.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::client::Io;
use super::frames::{self, Frame};
use super::within;

/// One act of a backend on one connection.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads a request head.
    Head,
    /// Writes these bytes; `{accept}` in them becomes the right Sec-WebSocket-Accept.
    Send(Vec<u8>),
    /// Writes these bytes one by one, one in each period.
    Drip(Vec<u8>, Duration),
    /// Answers every frame with itself, a Close too, until the client side ends.
    Echo,
    /// Reads until the other side ends.
    Swallow,
    /// Reads until this many bytes came after the head.
    Until(usize),
    /// Waits for [`Backend::release`].
    Gate,
    /// Ends its own stream and goes on.
    HalfClose,
    /// Neither reads nor writes for as long as the test lives.
    Hold,
    /// Cuts the connection with a TCP reset.
    Reset,
}

/// The head of an honest 101.
pub const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n";

/// What one connection to the backend brought.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The bytes of the request head.
    pub head: Vec<u8>,
    /// The bytes behind it.
    pub after: Vec<u8>,
    /// Whether the gateway ended the connection.
    pub ended: bool,
}

/// A request head as a backend read it.
#[derive(Clone, Debug)]
pub struct SeenRequest {
    /// The request line.
    pub line: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
}

impl SeenRequest {
    /// The values of every header called `name`.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of the only header called `name`; `None` where there is none.
    pub fn one(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "the backend saw {name} {} times", values.len());
        values.first().copied()
    }
}

impl Seen {
    /// The head, read as strictly as a backend may.
    pub fn request(&self) -> SeenRequest {
        let text = std::str::from_utf8(&self.head).expect("a head of ASCII");
        let text = text.strip_suffix("\r\n\r\n").expect("a whole head");
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no header: {line:?}"));
            (name.to_ascii_lowercase(), value.to_owned())
        });
        SeenRequest { line, headers: headers.collect() }
    }

    /// The frames behind the head.
    pub fn frames(&self) -> Vec<Frame> {
        let mut bytes = self.after.clone();
        std::iter::from_fn(|| Frame::take(&mut bytes)).collect()
    }
}

/// A backend on a port of its own.
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    seen: Mutex<Vec<Seen>>,
    changed: watch::Sender<u64>,
    gate: Semaphore,
    script: Mutex<Vec<Step>>,
}

impl Backend {
    /// An honest service: answers 101 and echoes.
    pub async fn echo() -> Self {
        Self::playing(echo()).await
    }

    /// A service that plays this script on every connection.
    pub async fn playing(script: Vec<Step>) -> Self {
        Self::start(SocketAddr::from(([127, 0, 0, 1], 0)), script, None).await
    }

    /// A service at an address at which nobody listens.
    pub async fn playing_at(address: SocketAddr, script: Vec<Step>) -> Self {
        Self::start(address, script, None).await
    }

    /// The same behind TLS.
    pub async fn playing_over_tls(script: Vec<Step>, tls: Arc<ServerConfig>) -> Self {
        Self::start(SocketAddr::from(([127, 0, 0, 1], 0)), script, Some(TlsAcceptor::from(tls))).await
    }

    async fn start(address: SocketAddr, script: Vec<Step>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            changed: watch::Sender::new(0),
            gate: Semaphore::new(0),
            script: Mutex::new(script),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared), tls));
        Self { address, shared, _tasks: tasks }
    }

    /// Connections from here on play another script.
    pub fn play(&self, script: Vec<Step>) {
        *self.shared.script.lock().unwrap() = script;
    }

    /// Lets one connection go on that waits at [`Step::Gate`].
    pub fn release(&self) {
        self.shared.gate.add_permits(1);
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// What a connection brought, counted from 0.
    pub fn seen(&self, connection: usize) -> Seen {
        self.shared.seen.lock().unwrap().get(connection).cloned().unwrap_or_default()
    }

    /// What the last connection brought.
    pub fn last(&self) -> Seen {
        self.shared.seen.lock().unwrap().last().cloned().expect("a connection to the backend")
    }

    /// Every byte of every connection.
    pub fn all_bytes(&self) -> Vec<u8> {
        let seen = self.shared.seen.lock().unwrap();
        seen.iter().flat_map(|seen| [seen.head.clone(), seen.after.clone()]).flatten().collect()
    }

    /// Waits until what came satisfies `holds`.
    pub async fn wait(&self, what: &str, holds: impl Fn(&[Seen]) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        within(what, async {
            while !holds(&self.shared.seen.lock().unwrap()) {
                changed.changed().await.unwrap();
            }
        })
        .await;
    }
}

/// The script of an honest service.
pub fn echo() -> Vec<Step> {
    vec![Step::Head, Step::Send(SWITCHING.into()), Step::Echo]
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let number = {
            let mut seen = shared.seen.lock().unwrap();
            seen.push(Seen::default());
            seen.len() - 1
        };
        shared.tell();
        connections.spawn(serve(stream, tls.clone(), number, Arc::clone(&shared)));
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, number: usize, shared: Arc<Shared>) {
    let script = shared.script.lock().unwrap().clone();
    // Small answers leave at once instead of waiting for a delayed acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    if script.iter().any(|step| matches!(step, Step::Reset)) {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    let io: Box<dyn Io> = match tls {
        None => Box::new(stream),
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => Box::new(stream),
            Err(_) => return,
        },
    };
    let mut stage = Stage { io, number, shared, kept: Vec::new() };
    for step in script {
        if stage.play(step).await.is_none() {
            break;
        }
    }
}

/// One connection on which a script is played.
struct Stage {
    io: Box<dyn Io>,
    number: usize,
    shared: Arc<Shared>,
    kept: Vec<u8>,
}

impl Stage {
    /// Plays one step; `None` where the connection ended.
    async fn play(&mut self, step: Step) -> Option<()> {
        match step {
            Step::Head => self.head().await,
            Step::Send(bytes) => self.send(&self.filled(bytes)).await,
            Step::Drip(bytes, period) => {
                let mut clock = tokio::time::interval(period);
                for byte in self.filled(bytes) {
                    clock.tick().await;
                    self.send(&[byte]).await?;
                }
                Some(())
            }
            Step::Echo => self.echo().await,
            Step::Swallow => {
                while self.read().await.is_some() {}
                Some(())
            }
            Step::Until(count) => {
                while self.shared.look(self.number, |seen| seen.after.len()) < count {
                    self.read().await?;
                }
                Some(())
            }
            Step::Gate => {
                self.shared.gate.acquire().await.ok()?.forget();
                Some(())
            }
            Step::HalfClose => self.io.shutdown().await.ok(),
            Step::Hold => std::future::pending().await,
            Step::Reset => None,
        }
    }

    /// Fills in the Accept that belongs to the key of the request.
    fn filled(&self, bytes: Vec<u8>) -> Vec<u8> {
        let head = self.shared.look(self.number, |seen| seen.head.clone());
        let head = String::from_utf8_lossy(&head);
        let key = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
        });
        let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
        replace(bytes, b"{accept}", accept.as_bytes())
    }

    async fn head(&mut self) -> Option<()> {
        loop {
            let bytes = self.shared.look(self.number, |seen| seen.after.clone());
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let (head, rest) = bytes.split_at(at + 4);
                self.kept = rest.to_vec();
                self.shared.note(self.number, |seen| {
                    seen.head = head.to_vec();
                    seen.after = rest.to_vec();
                });
                return Some(());
            }
            self.read().await?;
        }
    }

    async fn echo(&mut self) -> Option<()> {
        loop {
            while let Some(frame) = Frame::take(&mut self.kept) {
                let opcode = if frame.opcode() == frames::PING { frames::PONG } else { frame.opcode() };
                if frame.opcode() != frames::PONG {
                    self.send(&frames::bare((frame.first & frames::FIN) | opcode, &frame.payload)).await?;
                }
                if frame.opcode() == frames::CLOSE {
                    return None;
                }
            }
            self.read().await?;
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.io.write_all(bytes).await.ok()?;
        self.io.flush().await.ok()
    }

    async fn read(&mut self) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        let count = self.io.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            self.shared.note(self.number, |seen| seen.ended = true);
            return None;
        }
        self.kept.extend_from_slice(&buffer[..count]);
        self.shared.note(self.number, |seen| seen.after.extend_from_slice(&buffer[..count]));
        Some(())
    }
}

impl Shared {
    fn look<T>(&self, number: usize, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap()[number])
    }

    fn note(&self, number: usize, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap()[number]);
        self.tell();
    }

    fn tell(&self) {
        self.changed.send_modify(|version| *version += 1);
    }
}

fn replace(bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    match bytes.windows(from.len()).position(|window| window == from) {
        Some(at) => [&bytes[..at], to, &bytes[at + from.len()..]].concat(),
        None => bytes,
    }
}
