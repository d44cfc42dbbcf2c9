//! One socket of a relay, with what was read from it and not judged, and what is for it and not sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::HEADROOM;
use crate::net::abandon::Abandon;
use crate::net::waiting::Waiting;

/// A stream and the bytes that wait beside it.
pub(super) struct Wire<T> {
    io: T,
    input: Waiting,
    output: Waiting,
    way: Way,
    thrown_away: usize,
    /// Whether there was nothing to read in this poll: it is asked once, and wakes the task when there is.
    pub(super) is_quiet: bool,
}

/// How far writing has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All that was written was flushed.
    Flushed,
    /// Something was written; ciphertext that the socket did not take may wait in the stream.
    Unflushed,
    /// The stream's end was written.
    Ended,
    /// Writing failed; what comes is thrown away.
    Broken,
    /// As before, and told.
    BrokenTold,
}

/// What became of the bytes that waited.
pub(super) enum Drained {
    /// None waits.
    Whole,
    /// Some wait still.
    Waits {
        /// Whether some of them went.
        progress: bool,
    },
    /// Writing failed; told once.
    Failed,
}

impl<T> Wire<T> {
    pub(super) fn new(io: T, mut input: Vec<u8>) -> Self {
        if !input.is_empty() {
            input.splice(..0, [0; HEADROOM]);
        }
        let input = Waiting::behind(HEADROOM, input);
        Self { io, input, output: Waiting::default(), way: Way::Flushed, thrown_away: 0, is_quiet: false }
    }

    /// Keeps what was read and may not be judged yet, with headroom in front of it.
    pub(super) fn keep_input(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.input = Waiting::behind(HEADROOM, [&[0; HEADROOM], rest].concat());
        }
    }

    /// Lends what was kept, and where in it the unjudged begins: it is judged where it lies, because a flood that is
    /// slowed is judged again with every message that may pass. Nothing is to be read while there is some.
    pub(super) fn lend_input(&mut self) -> Option<(Vec<u8>, usize)> {
        let (gone, bytes) = std::mem::take(&mut self.input).into_parts();
        (!bytes.is_empty()).then_some((bytes, gone))
    }

    /// Takes back what was lent, judged up to `gone`.
    pub(super) fn take_back(&mut self, bytes: Vec<u8>, gone: usize) {
        self.input = Waiting::behind(gone, bytes);
    }

    fn break_off(&mut self) {
        self.output = Waiting::default();
        if self.way != Way::BrokenTold {
            self.way = Way::Broken;
        }
    }
}

impl<T: AsyncRead + Unpin> Wire<T> {
    /// What one read brings; zero bytes are the stream's end.
    pub(super) fn poll_input(&mut self, buffer: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.is_quiet {
            return Poll::Pending;
        }
        let mut buffer = ReadBuf::new(buffer);
        let read = Pin::new(&mut self.io).poll_read(cx, &mut buffer);
        self.is_quiet = read.is_pending();
        ready!(read)?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl<T: Abandon> Wire<T> {
    /// Gives up what this side did not take, in the kernel too.
    pub(super) fn abandon(&self) {
        self.io.abandon();
    }
}

impl<T: AsyncWrite + Unpin> Wire<T> {
    /// Sends `bytes`, or keeps what does not go at once.
    pub(super) fn send(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        if bytes.is_empty() || !matches!(self.way, Way::Flushed | Way::Unflushed) {
            return;
        }
        self.way = Way::Unflushed;
        let mut sent = 0;
        if self.output.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, bytes) {
                Poll::Ready(Ok(count)) if count > 0 => sent = count,
                Poll::Ready(_) => return self.break_off(),
                Poll::Pending => {}
            }
        }
        self.output.append(bytes.get(sent..).unwrap_or_default());
    }

    /// Sends what waits, and flushes: ciphertext that the socket did not take waits in the stream.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Drained {
        let mut progress = false;
        while !self.output.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, self.output.as_slice()) {
                Poll::Pending => return Drained::Waits { progress },
                Poll::Ready(Ok(count)) if count > 0 => self.output.advance(count),
                Poll::Ready(_) => self.break_off(),
            }
            progress = true;
        }
        if self.way == Way::Unflushed {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Pending => return Drained::Waits { progress },
                Poll::Ready(Ok(())) => self.way = Way::Flushed,
                Poll::Ready(Err(_)) => self.break_off(),
            }
        }
        if self.way == Way::Broken {
            self.way = Way::BrokenTold;
            return Drained::Failed;
        }
        Drained::Whole
    }

    /// Ends the stream toward this side, once; to be asked again until it is done.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) {
        if self.way == Way::Flushed && Pin::new(&mut self.io).poll_shutdown(cx).is_ready() {
            self.way = Way::Ended;
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    /// Sends what waits, ends the stream, and throws away what comes until the other side ends too: a socket that is
    /// closed over unread bytes is reset, and the last bytes sent may be lost with it. A side that goes on sending is read
    /// no further than [`super::LINGER_BYTES`]: the time that is left is for it to read, and costs nothing here.
    pub(super) fn poll_linger(&mut self, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<()> {
        self.is_quiet = false;
        if let Drained::Waits { .. } = self.poll_drain(cx) {
            return Poll::Pending;
        }
        self.poll_end(cx);
        self.input = Waiting::default();
        for _ in 0..super::ROUNDS {
            if self.thrown_away >= super::LINGER_BYTES {
                return Poll::Pending;
            }
            match ready!(self.poll_input(scratch, cx)) {
                Ok(count) if count > 0 => self.thrown_away = self.thrown_away.saturating_add(count),
                _ if self.way == Way::Flushed => return Poll::Pending,
                _ => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
