//! Carries both streams, with the session as their judge.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{sleep_until, timeout};
use wsgate::session::{Cause, EndKind, Session, Side};

use super::frames::{Cutter, Piece};
use super::{Backend, Client, Duplex, FOREVER, Fault, Gate, LINGER};

/// What one read takes.
const READ: usize = 16 << 10;

/// One side: its stream, what came from it and is not judged, and what is for it and not sent.
struct Half {
    reader: ReadHalf<Box<dyn Duplex>>,
    writer: WriteHalf<Box<dyn Duplex>>,
    buffer: Vec<u8>,
    cutter: Cutter,
    pieces: VecDeque<Piece>,
    /// Since when a header has been unfinished of which the session knows nothing.
    holding: Option<Instant>,
    out: Vec<u8>,
    is_unflushed: bool,
    is_ended: bool,
    /// It was cut off, and nobody cares.
    is_lost: bool,
    /// It is not ended before it goes silent.
    stays: bool,
}

impl Half {
    fn new(gate: &Gate, side: Side, stream: Box<dyn Duplex>) -> Self {
        let (reader, writer) = split(stream);
        let cutter = Cutter::new(gate.fault, side);
        let (buffer, pieces, out) = (vec![0; READ], VecDeque::new(), Vec::new());
        Self {
            reader,
            writer,
            buffer,
            cutter,
            pieces,
            holding: None,
            out,
            is_unflushed: false,
            is_ended: false,
            is_lost: false,
            stays: side == Side::Client && gate.has(Fault::ClosedStays),
        }
    }

    fn take(&mut self, bytes: &[u8], now: Instant) {
        if !bytes.is_empty() {
            self.pieces.extend(self.cutter.cut(bytes));
        }
        self.holding = self.cutter.is_holding().then(|| self.holding.unwrap_or(now));
    }

    fn has_to_write(&self) -> bool {
        !self.out.is_empty() || self.is_unflushed
    }

    /// Notes what became of a [`push`].
    fn pushed(&mut self, count: io::Result<usize>) -> io::Result<()> {
        self.is_unflushed = !self.out.is_empty();
        self.out.drain(..count?);
        Ok(())
    }
}

/// Writes some of `out`, or flushes where there is none.
async fn push(writer: &mut (impl AsyncWrite + Unpin), out: &[u8]) -> io::Result<usize> {
    if out.is_empty() { writer.flush().await.map(|()| 0) } else { writer.write(out).await }
}

/// Carries until the session is over, and ends both streams.
pub(super) async fn carry(gate: &Gate, client: Client, backend: Backend, mut session: Session) {
    let mut here = Half::new(gate, Side::Client, client.stream);
    let mut there = Half::new(gate, Side::Backend, Box::new(backend.stream));
    there.take(&backend.glued, Instant::now());
    let keeps_all = gate.has(Fault::UnboundedBuffer);
    loop {
        let now = Instant::now();
        session.handle_timeout(now);
        judge(&mut session, &mut here, &mut there, now).await;
        if session.poll_closed().is_some() {
            break;
        }
        let patience = gate.policy.session.partial_header;
        let held = [here.holding, there.holding].into_iter().flatten().map(|since| since + patience).min();
        let wake = [held, session.poll_timeout()].into_iter().flatten().min().unwrap_or(now + FOREVER);
        let reads_client =
            !here.is_lost && here.pieces.is_empty() && there.out.is_empty() && session.wants_read(Side::Client);
        let reads_backend =
            there.pieces.is_empty() && (here.out.is_empty() || keeps_all) && session.wants_read(Side::Backend);
        tokio::select! {
            read = here.reader.read(&mut here.buffer), if reads_client => {
                here.is_lost = match read {
                    Ok(1..) => false,
                    Ok(0) if gate.has(Fault::ClientEndIgnored) => true,
                    _ => gate.has(Fault::LostClientKept),
                };
                took(&mut session, Side::Client, &mut here, &read);
            }
            read = there.reader.read(&mut there.buffer), if reads_backend => {
                took(&mut session, Side::Backend, &mut there, &read);
            }
            sent = push(&mut here.writer, &here.out), if here.has_to_write() => {
                sent_to(&mut session, Side::Client, &mut here, sent);
            }
            sent = push(&mut there.writer, &there.out), if there.has_to_write() => {
                sent_to(&mut session, Side::Backend, &mut there, sent);
            }
            () = sleep_until(wake.into()) => {
                if held.is_some_and(|held| held <= Instant::now()) {
                    session.begin_close(Cause::PartialHeader, Instant::now());
                    (here.holding, there.holding) = (None, None);
                }
            }
        }
    }
    let _ = timeout(LINGER, end(&mut there)).await;
    if here.stays {
        let _ = timeout(LINGER, send(&mut here)).await;
        while let Ok(Ok(1..)) = timeout(LINGER, here.reader.read(&mut here.buffer)).await {}
    }
    let _ = timeout(LINGER, end(&mut here)).await;
    let _ = timeout(LINGER, tokio::io::copy(&mut here.reader, &mut tokio::io::sink())).await;
}

async fn send(half: &mut Half) -> io::Result<()> {
    half.writer.write_all(&std::mem::take(&mut half.out)).await?;
    half.writer.flush().await
}

async fn end(half: &mut Half) -> io::Result<()> {
    send(half).await?;
    half.writer.shutdown().await
}

fn took(session: &mut Session, from: Side, half: &mut Half, read: &io::Result<usize>) {
    let now = Instant::now();
    match read {
        Ok(0) | Err(_) if half.is_lost => {}
        Ok(0) => session.handle_end(from, EndKind::Clean, now),
        Err(_) => session.handle_end(from, EndKind::Abrupt, now),
        Ok(count) => {
            let bytes = half.buffer[..*count].to_vec();
            half.take(&bytes, now);
        }
    }
}

fn sent_to(session: &mut Session, to: Side, half: &mut Half, sent: io::Result<usize>) {
    let now = Instant::now();
    match half.pushed(sent) {
        Ok(()) => session.handle_progress(to, now),
        Err(_) => {
            (half.out, half.is_unflushed) = (Vec::new(), false);
            session.handle_write_error(to, now);
        }
    }
}

/// Judges what came from both sides, and tells the session who takes nothing.
async fn judge(session: &mut Session, here: &mut Half, there: &mut Half, now: Instant) {
    forward(session, Side::Client, here, there, now);
    forward(session, Side::Backend, there, here, now);
    for (side, half) in [(Side::Client, here), (Side::Backend, there)] {
        if half.has_to_write() {
            session.handle_blocked(side, now);
        } else {
            session.handle_unblocked(side, now);
            if session.write_ended(side) && !half.stays && !std::mem::replace(&mut half.is_ended, true) {
                let _ = timeout(LINGER, half.writer.shutdown()).await;
            }
        }
    }
}

fn forward(session: &mut Session, from: Side, source: &mut Half, sink: &mut Half, now: Instant) {
    insert(session, from.opposite(), sink, now);
    while let Some(piece) = source.pieces.front_mut() {
        let is_done = match piece {
            Piece::Passed(bytes) => {
                sink.out.append(bytes);
                true
            }
            Piece::Judged(bytes) => {
                let step = session.receive(from, bytes, now);
                sink.out.extend_from_slice(step.first.as_slice());
                sink.out.extend_from_slice(&bytes[step.pass]);
                bytes.drain(..step.consumed);
                let is_done = bytes.is_empty();
                if !insert(session, from.opposite(), sink, now) && step.consumed == 0 {
                    return;
                }
                is_done
            }
        };
        if is_done {
            source.pieces.pop_front();
        }
    }
}

/// Adds the session's own frames; says whether there were any.
fn insert(session: &mut Session, to: Side, sink: &mut Half, now: Instant) -> bool {
    let before = sink.out.len();
    while let Some(frame) = session.poll_transmit(to, now) {
        sink.out.extend_from_slice(frame.as_slice());
    }
    sink.out.len() > before
}
