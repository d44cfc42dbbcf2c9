//! A TCP stream with or without TLS on it.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::ProtocolVersion;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::records::{EXPANSION, Endpoint, RECORD_BYTES, Records};
use crate::net::abandon::Abandon;
use crate::net::waiting::Waiting;

/// The most ciphertext that one read takes, and the most plaintext that one write encrypts.
const CHUNK_BYTES: usize = 64 << 10;

/// The least ciphertext that one read asks for, however little plaintext is wanted.
const LEAST_READ_BYTES: usize = 4 << 10;

/// Ciphertext that goes out in one write with what is encrypted next: a ticket, an answered key update.
const JOINED_BYTES: usize = 4 << 10;

/// Reads that bring no plaintext in one poll, before other connections get their turn.
const ROUNDS: usize = 4;

/// Buffers of a worker thread, lent to one connection for the length of one call.
struct Scratch {
    /// Room for an incomplete record, and behind it for one read.
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        incoming: vec![0; RECORD_BYTES + CHUNK_BYTES],
        outgoing: vec![0; JOINED_BYTES + CHUNK_BYTES + EXPANSION],
    });
}

/// The stream to a client.
pub type ClientStream = Stream<UnbufferedServerConnection>;

/// The stream to a backend.
pub type BackendStream = Stream<UnbufferedClientConnection>;

/// A TCP stream with or without TLS on it.
///
/// Shutting it down sends `close_notify` (RFC 8446 section 6.1) where it has TLS. An end without one is read as
/// `UnexpectedEof`. After a write it must be flushed until that is ready: ciphertext may wait inside.
pub enum Stream<E> {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<E>>),
}

impl<E> Stream<E> {
    /// Whether there is TLS on it.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl<E> Abandon for Stream<E> {
    fn abandon(&self) {
        match self {
            Self::Plain(tcp) => tcp.abandon(),
            Self::Tls(tls) => tls.tcp.abandon(),
        }
    }
}

impl<E> fmt::Debug for Stream<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(tcp) => f.debug_tuple("Plain").field(tcp).finish(),
            Self::Tls(tls) => f.debug_tuple("Tls").field(&tls.tcp).finish(),
        }
    }
}

impl ClientStream {
    /// The name that the client asked for in its TLS handshake (SNI, RFC 6066 section 3), in lower case.
    pub fn server_name(&self) -> Option<&str> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.server_name.as_deref(),
        }
    }
}

/// TLS over TCP. It owns no buffer while nothing waits: what is read is decrypted, and what is written is encrypted,
/// in the worker thread's. What reading calls for in return, an alert say, goes out with the next write or flush.
pub struct TlsStream<E> {
    tcp: TcpStream,
    records: Records<E>,
    pub(super) server_name: Option<Box<str>>,
    /// Plaintext that its reader had no room for.
    unread: Waiting,
    /// Ciphertext that the socket has not taken.
    unsent: Waiting,
    state: State,
    close_notify_sent: bool,
}

/// How the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The socket ended without close_notify.
    Cut,
    /// TLS failed; the peer was told by an alert.
    Failed,
}

impl<E: Endpoint> TlsStream<E> {
    pub(super) fn new(tcp: TcpStream, endpoint: E) -> Self {
        let (unread, unsent) = (Waiting::default(), Waiting::default());
        let records = Records::new(endpoint);
        Self { tcp, records, server_name: None, unread, unsent, state: State::Open, close_notify_sent: false }
    }

    /// The socket below, for what has to be done about a handshake that failed.
    pub(super) fn into_tcp(self) -> TcpStream {
        self.tcp
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.records.is_handshaking()
    }

    /// The version that the handshake agreed on.
    pub(super) fn version(&self) -> Option<ProtocolVersion> {
        self.records.version()
    }

    /// Reads of a handshake, and puts off the work on it.
    pub(super) fn poll_put_off(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch.incoming.get_mut(..LEAST_READ_BYTES).unwrap_or_default());
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Err(io::Error::new(ErrorKind::UnexpectedEof, "tls handshake eof")));
            }
            Poll::Ready(self.records.put_off(read.filled()).map_err(invalid))
        })
    }

    /// Works on what was put off.
    pub(super) fn resume(&mut self) -> Result<(), rustls::Error> {
        let unread = &mut self.unread;
        self.records.resume(|plaintext| unread.append(plaintext), self.unsent.tail())
    }

    /// One read and what it decrypts to; says whether that is anything for the reader, its end included.
    fn poll_receive(
        &mut self,
        scratch: &mut [u8],
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let waiting = self.records.incomplete().len();
        let room = buffer.remaining().saturating_sub(waiting).clamp(LEAST_READ_BYTES, CHUNK_BYTES);
        let end = RECORD_BYTES.saturating_add(room);
        let mut read = ReadBuf::new(scratch.get_mut(RECORD_BYTES..end).unwrap_or_default());
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut read))?;
        let count = read.filled().len();
        if count == 0 {
            self.state = State::Cut;
            return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
        }
        let start = RECORD_BYTES.saturating_sub(waiting);
        if let Some(front) = scratch.get_mut(start..RECORD_BYTES) {
            front.copy_from_slice(self.records.incomplete());
        }
        let received = scratch.get_mut(start..RECORD_BYTES.saturating_add(count)).unwrap_or_default();
        let before = buffer.filled().len();
        let unread = &mut self.unread;
        let give = |plaintext: &[u8]| {
            let (given, rest) = plaintext.split_at(plaintext.len().min(buffer.remaining()));
            buffer.put_slice(given);
            unread.append(rest);
        };
        if let Err(error) = self.records.receive(received, give, self.unsent.tail()) {
            self.state = State::Failed;
            let _ = self.poll_drain(cx);
            // What came whole before the failure is read first.
            if buffer.filled().len() == before {
                return Poll::Ready(Err(invalid(error)));
            }
        }
        Poll::Ready(Ok(buffer.filled().len() > before || self.records.peer_closed()))
    }

    /// Sends the ciphertext that waits.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.tcp).poll_write(cx, self.unsent.as_slice()))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                count => self.unsent.advance(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Encrypts `plaintext` behind what waits, and sends both in one write; what the socket does not take waits.
    fn poll_send(&mut self, plaintext: &[u8], scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waiting = self.unsent.as_slice().len();
        let (front, room) = scratch.split_at_mut_checked(waiting).ok_or(ErrorKind::Other)?;
        front.copy_from_slice(self.unsent.as_slice());
        let length = self.records.encrypt(plaintext, room).map_err(invalid)?;
        let ciphertext = scratch.get(..waiting.saturating_add(length)).unwrap_or_default();
        let sent = match Pin::new(&mut self.tcp).poll_write(cx, ciphertext) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => 0,
        };
        self.unsent = Waiting::behind(0, ciphertext.get(sent..).unwrap_or_default().to_vec());
        Poll::Ready(Ok(()))
    }
}

impl<E: Endpoint + Unpin> AsyncRead for TlsStream<E> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !this.unread.is_empty() {
            let count = buffer.remaining().min(this.unread.as_slice().len());
            buffer.put_slice(this.unread.as_slice().get(..count).unwrap_or_default());
            this.unread.advance(count);
            return Poll::Ready(Ok(()));
        }
        for _ in 0..ROUNDS {
            if this.records.peer_closed() {
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Open => {}
                State::Cut => return Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
                State::Failed => return Poll::Ready(Err(ErrorKind::InvalidData.into())),
            }
            if ready!(SCRATCH.with_borrow_mut(|scratch| this.poll_receive(&mut scratch.incoming, cx, buffer)))? {
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<E: Endpoint + Unpin> AsyncWrite for TlsStream<E> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.state == State::Failed || this.close_notify_sent {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if this.unsent.as_slice().len() > JOINED_BYTES {
            ready!(this.poll_drain(cx))?;
        }
        let chunk = bytes.get(..CHUNK_BYTES).unwrap_or(bytes);
        ready!(SCRATCH.with_borrow_mut(|scratch| this.poll_send(chunk, &mut scratch.outgoing, cx)))?;
        Poll::Ready(Ok(chunk.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_drain(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.close_notify_sent && this.state != State::Failed {
            let mut notice = [0; EXPANSION];
            let length = this.records.close(&mut notice).map_err(invalid)?;
            this.unsent.append(notice.get(..length).unwrap_or_default());
            this.close_notify_sent = true;
        }
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

impl<E: Endpoint + Unpin> AsyncRead for Stream<E> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl<E: Endpoint + Unpin> AsyncWrite for Stream<E> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}
