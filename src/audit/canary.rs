//! A backend of the suite's own: what reaches it got through.
//!
//! The operator points the target at it. It answers every handshake as it is told, echoes text and binary messages,
//! answers Ping and Close, and remembers every connection with the first bytes that came on it.

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
use tokio::time::timeout;

use super::frame::{FIN, Frame, bare, opcode};

/// What RFC 6455 section 4.2.2 appends to a key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The most connections that are remembered.
const MOST_CONTACTS: usize = 4096;

/// The most bytes that are remembered of one.
const MOST_BYTES: usize = 256 << 10;

/// The most connections that are served at a time; further ones wait.
const MOST_SERVED: usize = 2048;

/// How long one is served.
const LONGEST: Duration = Duration::from_secs(600);

/// Nothing is on its way any longer when nothing has come for so long.
const SETTLING: Duration = Duration::from_millis(50);

/// How often that is waited for, where something goes on coming.
const LOOKS: usize = 40;

/// One connection that came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// Everything that was received, at most 256 KiB: the request head, then frames.
    pub received: Vec<u8>,
    /// Whether the other side ended it.
    pub ended: bool,
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
        let mut rest = self.behind().to_vec();
        let mut sent = Sent::default();
        while let Some((masking, frame)) = take(&mut rest) {
            sent.unmasked += usize::from(masking == Masking::Bare);
            sent.frames.push(frame);
        }
        // Behind the last byte that is remembered nobody knows what came.
        let unfinished = if self.received.len() < MOST_BYTES { rest } else { Vec::new() };
        Sent { unfinished, ..sent }
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
    next: Option<Manner>,
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

    /// How many connections have come so far.
    pub fn mark(&self) -> usize {
        let seen = lock(&self.seen);
        seen.forgotten + seen.contacts.len()
    }

    /// What came since a mark, once what was on its way has arrived.
    pub async fn since(&self, mark: usize) -> Vec<Contact> {
        let mut before = 0;
        for _ in 0..LOOKS {
            tokio::time::sleep(SETTLING).await;
            let come = self.come(mark, |contacts| contacts.map(|contact| contact.received.len() + 1).sum());
            if come == before {
                break;
            }
            before = come;
        }
        self.come(mark, |contacts| contacts.cloned().collect())
    }

    /// What `look` makes of the contacts since a mark.
    fn come<T>(&self, mark: usize, look: impl FnOnce(&mut dyn Iterator<Item = &Contact>) -> T) -> T {
        let seen = lock(&self.seen);
        look(&mut seen.contacts.iter().skip(mark.saturating_sub(seen.forgotten)))
    }

    /// Answers the next connection in this manner; the ones behind it honestly.
    pub fn next(&self, manner: Manner) {
        lock(&self.seen).next = Some(manner);
    }

    /// Answers honestly again, whether the last manner was used or not.
    pub fn honest(&self) {
        lock(&self.seen).next = None;
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
        let (number, manner) = {
            let mut seen = lock(&seen);
            if seen.contacts.len() == MOST_CONTACTS {
                seen.contacts.pop_front();
                seen.forgotten += 1;
            }
            seen.contacts.push_back(Contact::default());
            (seen.forgotten + seen.contacts.len() - 1, seen.next.take().unwrap_or(Manner::Honest))
        };
        let visit = Visit { stream, seen: Arc::clone(&seen), number, kept: Vec::new() };
        served.spawn(async move {
            let _ = timeout(LONGEST, visit.serve(manner)).await;
        });
    }
}

struct Visit {
    stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
    number: usize,
    kept: Vec<u8>,
}

impl Visit {
    async fn serve(mut self, manner: Manner) -> io::Result<()> {
        let head = loop {
            if let Some(at) = self.kept.windows(4).position(|window| window == b"\r\n\r\n") {
                break self.kept.drain(..at + 4).collect::<Vec<u8>>();
            }
            if !self.read().await? {
                return Ok(());
            }
        };
        let says = match manner {
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
            while let Some((_, frame)) = take(&mut self.kept) {
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
        let mut seen = lock(&self.seen);
        let at = self.number.checked_sub(seen.forgotten);
        if let Some(contact) = at.and_then(|at| seen.contacts.get_mut(at)) {
            let room = MOST_BYTES.saturating_sub(contact.received.len());
            contact.received.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
            contact.ended = bytes.is_empty();
        }
        drop(seen);
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > MOST_KEPT {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(read? > 0)
    }
}

/// The most bytes of an unfinished frame.
const MOST_KEPT: usize = 32 << 20;

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

/// Takes a whole frame, masked or not, whatever its first byte says.
fn take(bytes: &mut Vec<u8>) -> Option<(Masking, Frame)> {
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
    bytes.drain(..end);
    Some((masking, Frame { first, payload }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::frame::masked;

    #[test]
    fn frames_are_told_apart_masked_or_not_and_unfinished() {
        let honest = masked(FIN | opcode::TEXT, b"word");
        let foul = bare(FIN | 0x0b, b"bare");
        let begun = &masked(FIN | opcode::BINARY, &[7; 300])[..9];
        let received = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(), &honest, &foul, begun].concat();
        let sent = Contact { received, ended: false }.frames();
        let frame = |first, payload: &[u8]| Frame { first, payload: payload.to_vec() };
        assert_eq!(sent.frames, [frame(0x81, b"word"), frame(0x8b, b"bare")]);
        assert_eq!((sent.unmasked, sent.unfinished.len()), (1, 9));
    }
}
