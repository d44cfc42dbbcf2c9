//! A backend of the suite's own: what reaches it got through.
//!
//! The operator points the target at it. It answers every handshake as it is told, echoes text and binary messages,
//! answers Ping and Close, and remembers every connection with the first bytes that came on it. A target may call by
//! itself, to see whether its backend is well: the suites' own handshakes carry [`WATCHWORD`], and only they are counted
//! and lied to. Where a target passes no query on, and for bytes that cannot carry the word, whoever sent a byte counts.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::frame::{FIN, Frame, bare, opcode};

/// What RFC 6455 section 4.2.2 appends to a key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What every handshake of the suites carries in its query.
pub const WATCHWORD: &str = "wsgate-audit";

/// The most connections that are remembered.
const MOST_CONTACTS: usize = 4096;

/// The most bytes that are remembered of one.
const MOST_BYTES: usize = 256 << 10;

/// The most bytes that are remembered of all: 64 MiB. The oldest connections are forgotten.
const MOST_BYTES_IN_ALL: usize = 64 << 20;

/// The most connections that are served at a time; further ones wait.
const MOST_SERVED: usize = 2048;

/// How long one is served.
const LONGEST: Duration = Duration::from_secs(600);

/// Nothing is on its way any longer when nothing has come for so long; behind a target on whose way a good handshake takes
/// longer, once what was sent has had as long, up to the longest.
const SETTLING: Duration = Duration::from_millis(50);
const LONGEST_SETTLING: Duration = Duration::from_secs(1);

/// How often that is waited for, where something goes on coming.
const LOOKS: usize = 40;

/// One connection that came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// Everything that was received, at most 256 KiB: the request head, then frames.
    pub received: Vec<u8>,
    /// Whether the other side ended it.
    pub ended: bool,
    /// When its first byte came.
    pub came: Option<Instant>,
}

impl Contact {
    /// The request head with its empty line; everything where there is none.
    pub fn head(&self) -> &[u8] {
        self.split().0
    }

    /// What came behind the head.
    pub fn behind(&self) -> &[u8] {
        self.split().1
    }

    /// The frames behind the head, as far as they are remembered.
    pub fn frames(&self) -> Sent {
        let mut rest = self.behind();
        let mut sent = Sent::default();
        while let Some((masking, frame, behind)) = first_frame(rest) {
            sent.unmasked += usize::from(masking == Masking::Bare);
            sent.frames.push(frame);
            rest = behind;
        }
        // Behind the last byte that is remembered nobody knows what came.
        let unfinished = if self.received.len() < MOST_BYTES { rest.to_vec() } else { Vec::new() };
        Sent { unfinished, ..sent }
    }

    /// Whether it is of the suites: the watchword stands in it.
    fn has_watchword(&self) -> bool {
        contains(&self.received, WATCHWORD.as_bytes())
    }

    /// Whether it asks for a socket, as a health check seldom does.
    fn is_handshake(&self) -> bool {
        field(self.head(), "sec-websocket-key").is_some()
    }

    fn split(&self) -> (&[u8], &[u8]) {
        let end = self.received.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        self.received.split_at_checked(end.unwrap_or(self.received.len())).unwrap_or_default()
    }
}

/// What came behind a request head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The whole frames, unmasked.
    pub frames: Vec<Frame>,
    /// How many of them came without a mask.
    pub unmasked: usize,
    /// The bytes of a frame that was begun and not ended.
    pub unfinished: Vec<u8>,
}

/// How a handshake is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// With the 101 that belongs to it, then by an echo.
    Honest,
    /// With these bytes, in which `{accept}` stands for the right Sec-WebSocket-Accept; then by an echo.
    Says(String),
    /// With the 101 that belongs to it and these bytes behind it; then by an echo.
    Sends(Vec<u8>),
    /// With these bytes, `{accept}` as above; then by the end of the connection.
    Ends(String),
    /// Not at all.
    Silent,
}

/// The backend.
#[derive(Debug)]
pub struct Canary {
    seen: Arc<Mutex<Seen>>,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Seen {
    /// How many came before the first of `contacts`.
    forgotten: usize,
    contacts: VecDeque<Contact>,
    /// Bytes of all contacts that are remembered.
    remembered: usize,
    /// Bytes of all frames that are unfinished.
    unfinished: usize,
    /// How the suites' handshakes are answered; `None`: honestly.
    manner: Option<Manner>,
    /// Who counts.
    callers: Callers,
    /// How long the last good handshake took to arrive.
    usual: Duration,
}

/// Whose connections count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Callers {
    /// Those of the suites, which carry the watchword.
    #[default]
    Suites,
    /// Those of everybody who sent a byte: the target passes no query on.
    Everybody,
}

impl Seen {
    fn since(&self, mark: usize) -> impl Iterator<Item = &Contact> {
        self.contacts.iter().skip(mark.saturating_sub(self.forgotten))
    }

    fn counts(&self, contact: &Contact) -> bool {
        contact.came.is_some() && (self.callers == Callers::Everybody || contact.has_watchword())
    }

    /// Remembers a connection; gives its number.
    fn enter(&mut self) -> usize {
        if self.contacts.len() == MOST_CONTACTS {
            self.forget_oldest();
        }
        self.contacts.push_back(Contact::default());
        self.forgotten + self.contacts.len() - 1
    }

    /// Remembers what came on a connection, as far as there is room.
    fn remember(&mut self, number: usize, bytes: &[u8]) {
        let at = |forgotten: usize| number.checked_sub(forgotten);
        let Some(contact) = at(self.forgotten).and_then(|at| self.contacts.get(at)) else { return };
        let room = MOST_BYTES.saturating_sub(contact.received.len());
        let kept = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        while self.remembered + kept.len() > MOST_BYTES_IN_ALL && self.contacts.len() > 1 {
            self.forget_oldest();
        }
        let Some(contact) = at(self.forgotten).and_then(|at| self.contacts.get_mut(at)) else { return };
        if !kept.is_empty() {
            contact.came.get_or_insert_with(Instant::now);
        }
        contact.received.extend_from_slice(kept);
        contact.ended = bytes.is_empty();
        self.remembered += kept.len();
    }

    fn forget_oldest(&mut self) {
        if let Some(contact) = self.contacts.pop_front() {
            self.forgotten += 1;
            self.remembered -= contact.received.len();
        }
    }
}

impl Canary {
    /// Listens; a port of 0 is chosen by the system.
    ///
    /// # Errors
    /// Where the address cannot be had.
    pub async fn listen(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&seen)));
        Ok(Self { seen, address, _tasks: tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says whose connections count.
    pub fn listens_to(&self, callers: Callers) {
        lock(&self.seen).callers = callers;
    }

    /// How many connections have come so far.
    pub fn mark(&self) -> usize {
        let seen = lock(&self.seen);
        seen.forgotten + seen.contacts.len()
    }

    /// Whether something that came since a mark is no longer remembered.
    pub fn has_forgotten(&self, mark: usize) -> bool {
        mark < lock(&self.seen).forgotten
    }

    /// The mark behind which the last handshake of the suites came; it is the first that stands there.
    pub fn mark_of_last(&self) -> usize {
        let seen = lock(&self.seen);
        let last = seen.contacts.iter().rposition(|contact| seen.counts(contact) && contact.is_handshake());
        seen.forgotten + last.unwrap_or(seen.contacts.len())
    }

    /// The suites' connections that came since a mark, once what was on its way has arrived.
    pub async fn since(&self, mark: usize) -> Vec<Contact> {
        self.settled(mark).await;
        let seen = lock(&self.seen);
        seen.since(mark).filter(|contact| seen.counts(contact)).cloned().collect()
    }

    /// The same of whoever called and sent a byte: for bytes that cannot carry the watchword.
    pub async fn since_of_anybody(&self, mark: usize) -> Vec<Contact> {
        self.settled(mark).await;
        lock(&self.seen).since(mark).filter(|contact| contact.came.is_some()).cloned().collect()
    }

    /// Learns from a good handshake that was sent then, and came since a mark, how long one takes to arrive.
    pub fn learn(&self, mark: usize, sent: Instant) {
        let mut seen = lock(&self.seen);
        let came = seen.since(mark).find(|contact| seen.counts(contact)).and_then(|contact| contact.came);
        if let Some(came) = came {
            seen.usual = came.saturating_duration_since(sent);
        }
    }

    /// Waits until what was on its way since a mark has arrived.
    async fn settled(&self, mark: usize) {
        let usual = lock(&self.seen).usual;
        sleep(usual.clamp(SETTLING, LONGEST_SETTLING) - SETTLING).await;
        let mut before = 0;
        for _ in 0..LOOKS {
            sleep(SETTLING).await;
            let come = lock(&self.seen).since(mark).map(|contact| contact.received.len() + 1).sum();
            if come == before {
                break;
            }
            before = come;
        }
    }

    /// Answers the suites' handshakes in this manner until [`Self::honest`], however often the target asks.
    pub fn answers(&self, manner: Manner) {
        lock(&self.seen).manner = Some(manner);
    }

    /// Answers honestly again.
    pub fn honest(&self) {
        lock(&self.seen).manner = None;
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Seen>>) {
    let mut served = JoinSet::new();
    loop {
        while served.len() >= MOST_SERVED {
            served.join_next().await;
        }
        while served.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        let number = lock(&seen).enter();
        let visit = Visit { stream, seen: Arc::clone(&seen), number, kept: Vec::new(), counted: 0 };
        served.spawn(async move {
            let _ = timeout(LONGEST, visit.serve()).await;
        });
    }
}

struct Visit {
    stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
    number: usize,
    kept: Vec<u8>,
    /// How many bytes of `kept` are counted as unfinished.
    counted: usize,
}

impl Drop for Visit {
    fn drop(&mut self) {
        lock(&self.seen).unfinished -= self.counted;
    }
}

impl Visit {
    /// How this handshake is answered.
    fn manner(&self, head: &[u8]) -> Manner {
        let seen = lock(&self.seen);
        let is_meant = seen.callers == Callers::Everybody || contains(head, WATCHWORD.as_bytes());
        seen.manner.clone().filter(|_| is_meant).unwrap_or(Manner::Honest)
    }

    async fn serve(mut self) -> io::Result<()> {
        let head = loop {
            if let Some(at) = self.kept.windows(4).position(|window| window == b"\r\n\r\n") {
                break self.kept.drain(..at + 4).collect::<Vec<u8>>();
            }
            if !self.read().await? {
                return Ok(());
            }
        };
        let says = match self.manner(&head) {
            Manner::Honest => honest_answer(&head).into_bytes(),
            Manner::Says(text) => text.replace("{accept}", &accept_for(&head)).into_bytes(),
            Manner::Sends(bytes) => [honest_answer(&head).into_bytes(), bytes].concat(),
            Manner::Ends(text) => {
                self.stream.write_all(text.replace("{accept}", &accept_for(&head)).as_bytes()).await?;
                return self.stream.shutdown().await;
            }
            Manner::Silent => {
                while self.read().await? {
                    self.kept.clear();
                }
                return Ok(());
            }
        };
        self.stream.write_all(&says).await?;
        self.echo().await
    }

    async fn echo(&mut self) -> io::Result<()> {
        loop {
            let kept = std::mem::take(&mut self.kept);
            let mut rest = kept.as_slice();
            while let Some((_, frame, behind)) = first_frame(rest) {
                rest = behind;
                let first = match frame.opcode() {
                    opcode::PONG => continue,
                    opcode::PING => FIN | opcode::PONG,
                    _ => frame.first,
                };
                self.stream.write_all(&bare(first, &frame.payload)).await?;
                if frame.opcode() == opcode::CLOSE {
                    return self.stream.shutdown().await;
                }
            }
            self.kept = rest.to_vec();
            if !self.read().await? {
                return Ok(());
            }
        }
    }

    /// Reads once and remembers it; says whether the connection goes on.
    async fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        let read = self.stream.read(&mut buffer).await;
        let bytes = buffer.get(..*read.as_ref().unwrap_or(&0)).unwrap_or_default();
        self.kept.extend_from_slice(bytes);
        let mut seen = lock(&self.seen);
        seen.remember(self.number, bytes);
        seen.unfinished = seen.unfinished - self.counted + self.kept.len();
        self.counted = self.kept.len();
        if self.kept.len() > MOST_KEPT || seen.unfinished > MOST_KEPT_IN_ALL {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        drop(seen);
        Ok(read? > 0)
    }
}

/// The most bytes of an unfinished frame, and of all that are unfinished.
const MOST_KEPT: usize = 32 << 20;
const MOST_KEPT_IN_ALL: usize = 256 << 20;

/// Whether `part` stands anywhere in `bytes`.
pub(super) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn field(head: &[u8], name: &str) -> Option<String> {
    String::from_utf8_lossy(head).lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// The Sec-WebSocket-Accept that belongs to a handshake (RFC 6455 section 4.2.2).
pub(super) fn accept_for(head: &[u8]) -> String {
    let key = field(head, "sec-websocket-key").unwrap_or_default();
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()))
}

fn honest_answer(head: &[u8]) -> String {
    let accept = accept_for(head);
    let chosen = field(head, "sec-websocket-protocol");
    let chosen = chosen.as_deref().and_then(|offer| offer.split(',').next()).map(str::trim);
    let chosen = chosen.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{chosen}\r\n"
    )
}

/// Whether a frame was masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Masking {
    Masked,
    Bare,
}

/// The frame that these bytes begin with, masked or not, whatever its first byte says, and what stands behind it.
fn first_frame(bytes: &[u8]) -> Option<(Masking, Frame, &[u8])> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (length, at) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    let length = usize::try_from(length).ok()?;
    let masking = if second & 0x80 == 0 { Masking::Bare } else { Masking::Masked };
    let (mask, at) = match masking {
        Masking::Bare => ([0; 4], at),
        Masking::Masked => (*bytes.get(at..)?.first_chunk()?, at + 4),
    };
    let end = at.checked_add(length)?;
    let payload = bytes.get(at..end)?.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Some((masking, Frame { first, payload }, bytes.get(end..)?))
}

#[cfg(test)]
mod tests;
