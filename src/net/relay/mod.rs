//! The data plane: two streams, one [`Session`] between them, one task.
//!
//! What is read is judged and written on within one poll, through a scratch buffer that the worker thread owns. A
//! direction keeps only what was read and may not be sent yet, at most [`READ_SIZE`]; while it keeps anything, that side
//! is not read: back-pressure is the absence of a queue, and an idle connection owns no buffer. A TLS stream beneath keeps
//! an incomplete record, or what it sealed of one write and the socket did not take.
//!
//! It judges nothing. Time is tokio's, so that tests can hold it still.

mod alarm;
mod control;
#[cfg(test)]
mod tests;
mod wire;

pub use control::{Control, Terms};

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{self, sleep, timeout};

use crate::event::SharedObserver;
use crate::net::abandon::Abandon;
use crate::session::{By, Cause, EndKind, Ended, Session, SessionRules, ShortFrame, Side, Traffic};
use alarm::Alarm;
use control::Asked;
use wire::{Drained, Wire};

/// The most that one read takes from a socket.
pub const READ_SIZE: usize = 64 << 10;
/// Room in front of what is read, for the bytes that a session kept.
const HEADROOM: usize = ShortFrame::CAPACITY;
/// Reads of each side in one poll, before other connections get their turn.
const ROUNDS: usize = 4;
/// How long the sockets may take to close once the session is over.
const LINGER: Duration = Duration::from_secs(2);
/// How much is thrown away of what a side sends meanwhile; beyond, it is not read.
const LINGER_BYTES: usize = 1 << 20;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; HEADROOM + READ_SIZE]);
}

/// Two streams that are to be joined, and what is needed for it.
pub struct Relay<C, B, P> {
    /// The stream to the client.
    pub client: C,
    /// The stream to the backend.
    pub backend: B,
    /// What the backend sent behind its 101 and was read with it.
    pub backend_leftover: Vec<u8>,
    /// The judge of both.
    pub session: Session,
    /// How others end it.
    pub control: Control,
    /// Who counts the traffic.
    pub observer: SharedObserver,
    /// What is given back when both sockets are closed.
    pub places: P,
}

impl<C, B, P> Relay<C, B, P>
where
    C: AsyncRead + AsyncWrite + Abandon + Unpin,
    B: AsyncRead + AsyncWrite + Abandon + Unpin,
{
    /// Carries both streams until the session ends, and closes both. `tell` is told of the end before the sockets
    /// linger, which is no part of the session.
    pub fn run(self, tell: impl FnOnce(&Ended)) -> impl Future<Output = ()> {
        let Self { client, backend, backend_leftover, session, control, observer, places } = self;
        let mut client = Wire::new(client, Vec::new());
        let mut backend = Wire::new(backend, backend_leftover);
        let mut turns = Turns { session, observer, control, revoked: None };
        // What an `async fn` takes as an argument and moves, its future holds twice.
        async move {
            let ended = turns.carry_out(&mut client, &mut backend).await;
            tell(&ended);
            linger(&mut client, &mut backend, &turns.control, turns.revoked).await;
            if ended.cause == Cause::WriteStall {
                // The side that took nothing will not take what the kernel keeps for it.
                match ended.by {
                    By::Client => client.abandon(),
                    By::Backend | By::Gateway => backend.abandon(),
                }
            }
            drop((client, backend));
            drop(places);
        }
    }
}

/// Ends both streams; a side that does not end in time, or that is cut, is dropped. Where access was taken away, `revoked`
/// says when: that session has no longer here than it had to close, and each stream's end is tried once in any case.
async fn linger<C, B>(client: &mut Wire<C>, backend: &mut Wire<B>, control: &Control, revoked: Option<Instant>)
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let closing = poll_fn(|cx| {
        let asked = control.poll(cx);
        if matches!(asked, Asked::Cut) {
            return Poll::Ready(());
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let client = client.poll_linger(scratch, cx);
            let backend = backend.poll_linger(scratch, cx);
            let is_revoked_since = revoked.is_none() && matches!(asked, Asked::End(Cause::Revoked));
            if is_revoked_since {
                return Poll::Ready(());
            }
            if client.is_ready() { backend } else { Poll::Pending }
        })
    });
    let longest = revoked.map_or(LINGER, |at| {
        let gone = time::Instant::now().into_std().saturating_duration_since(at);
        SessionRules::REVOKED_LIMIT.saturating_sub(gone)
    });
    // What waits here is tried before the time is looked at.
    let _ = timeout(longest, closing).await;
}

/// What the two directions share.
struct Turns {
    session: Session,
    observer: SharedObserver,
    /// It knows, too, what the observer was told of.
    control: Control,
    /// When it was learned that access is taken away.
    revoked: Option<Instant>,
}

/// Whether a turn changed anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moved {
    Yes,
    No,
}

impl Turns {
    /// Carries until the session is over.
    async fn carry_out<C, B>(&mut self, client: &mut Wire<C>, backend: &mut Wire<B>) -> Ended
    where
        C: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        let mut timer = pin!(sleep(Duration::ZERO));
        let mut alarm = Alarm::new(timer.as_mut());
        poll_fn(|cx| {
            let mut now = time::Instant::now().into_std();
            match self.control.poll(cx) {
                Asked::Nothing => {}
                Asked::Adopt(Terms { rules, credential_ends }) => self.session.adopt(rules, credential_ends, now),
                Asked::End(cause) => {
                    if cause == Cause::Revoked {
                        self.revoked.get_or_insert(now);
                    }
                    self.session.begin_close(cause, now);
                }
                Asked::Cut => return Poll::Ready(self.session.cut()),
            }
            client.is_quiet = false;
            backend.is_quiet = false;
            loop {
                SCRATCH.with_borrow_mut(|scratch| self.poll(client, backend, scratch, now, cx));
                if self.session.is_closing() {
                    self.control.closes();
                }
                if let Some(ended) = self.session.poll_closed() {
                    return Poll::Ready(ended);
                }
                if alarm.poll(self.session.poll_timeout(), now, cx).is_pending() {
                    return Poll::Pending;
                }
                now = time::Instant::now().into_std();
                self.session.handle_timeout(now);
            }
        })
        .await
    }

    /// Carries both ways what can be carried, a bounded amount of it.
    fn poll<C, B>(
        &mut self,
        client: &mut Wire<C>,
        backend: &mut Wire<B>,
        scratch: &mut [u8],
        now: Instant,
        cx: &mut Context<'_>,
    ) where
        C: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        for _ in 0..ROUNDS {
            let up = self.carry(Side::Client, client, backend, scratch, now, cx);
            let down = self.carry(Side::Backend, backend, client, scratch, now, cx);
            if self.session.poll_closed().is_some() || (up == Moved::No && down == Moved::No) {
                return self.tell();
            }
        }
        self.tell();
        cx.waker().wake_by_ref();
    }

    fn tell(&self) {
        for (side, told) in Side::BOTH.into_iter().zip(self.control.traffic()) {
            let total = self.session.traffic(side);
            let messages = total.messages.saturating_sub(told.messages);
            let bytes = total.bytes.saturating_sub(told.bytes);
            if bytes > 0 || messages > 0 {
                self.observer.traffic(side.direction(), Traffic { messages, bytes });
                self.control.passed(side, total);
            }
        }
    }

    /// One turn of one direction: what waits is sent, then one read is judged and sent.
    fn carry<X, Y>(
        &mut self,
        from: Side,
        source: &mut Wire<X>,
        sink: &mut Wire<Y>,
        scratch: &mut [u8],
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Moved
    where
        X: AsyncRead + Unpin,
        Y: AsyncWrite + Unpin,
    {
        let to = from.opposite();
        match sink.poll_drain(cx) {
            Drained::Waits { progress } => {
                if progress {
                    self.session.handle_progress(to, now);
                }
                self.session.handle_blocked(to, now);
                return Moved::No;
            }
            Drained::Failed => self.session.handle_write_error(to, now),
            Drained::Whole => {}
        }
        self.session.handle_unblocked(to, now);
        if self.insert(to, sink, now, cx) == Moved::Yes {
            return Moved::Yes;
        }
        if self.session.write_ended(to) {
            sink.poll_end(cx);
        }
        if !self.session.wants_read(from) {
            return Moved::No;
        }
        if let Some((mut bytes, at)) = source.lend_input() {
            let rest = self.forward(from, &mut bytes, at, sink, now, cx);
            source.take_back(bytes, rest);
            return Moved::Yes;
        }
        match source.poll_input(scratch.get_mut(HEADROOM..).unwrap_or_default(), cx) {
            Poll::Pending => return Moved::No,
            Poll::Ready(Err(_)) => self.session.handle_end(from, EndKind::Abrupt, now),
            Poll::Ready(Ok(0)) => self.session.handle_end(from, EndKind::Clean, now),
            Poll::Ready(Ok(length)) => {
                let end = HEADROOM.saturating_add(length);
                let rest = self.forward(from, scratch.get_mut(..end).unwrap_or_default(), HEADROOM, sink, now, cx);
                source.keep_input(scratch.get(rest..end).unwrap_or_default());
            }
        }
        Moved::Yes
    }

    /// Judges what lies in `bytes` from `at`, which has headroom in front of it, and sends on what passes; says where the
    /// unjudged rest begins.
    fn forward<Y>(
        &mut self,
        from: Side,
        bytes: &mut [u8],
        mut at: usize,
        sink: &mut Wire<Y>,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> usize
    where
        Y: AsyncWrite + Unpin,
    {
        loop {
            let step = self.session.receive(from, bytes.get(at..).unwrap_or_default(), now);
            let first = step.first.as_slice();
            let start = at.saturating_add(step.pass.start);
            let begin = start.saturating_sub(first.len());
            if let Some(place) = bytes.get_mut(begin..start) {
                place.copy_from_slice(first);
            }
            sink.send(bytes.get(begin..at.saturating_add(step.pass.end)).unwrap_or_default(), cx);
            at = at.saturating_add(step.consumed);
            let inserted = self.insert(from.opposite(), sink, now, cx);
            if at >= bytes.len() || (step.consumed == 0 && inserted == Moved::No) {
                return at;
            }
        }
    }

    /// Sends the frames of the gateway's own that may stand here.
    fn insert<Y>(&mut self, to: Side, sink: &mut Wire<Y>, now: Instant, cx: &mut Context<'_>) -> Moved
    where
        Y: AsyncWrite + Unpin,
    {
        let mut moved = Moved::No;
        while let Some(frame) = self.session.poll_transmit(to, now) {
            sink.send(frame.as_slice(), cx);
            moved = Moved::Yes;
        }
        moved
    }
}
