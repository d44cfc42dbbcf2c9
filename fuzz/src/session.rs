//! One session: both directions in pieces, time that passes, sides that take nothing, ends, and drains.
//!
//! The input is read as a [`Script`].

mod script;
mod stream;

use std::sync::Arc;
use std::time::Instant;

use wsgate::session::{By, Cause, EndKind, Ended, Session, ShortFrame, Side, Traffic};

use super::Verdict;
use script::{CLOSE_TIMEOUT, Event, MAX_AGE, PING, PING_INTERVAL, Script};

/// More steps than a script can take.
const STEPS: usize = 100_000;

/// Whatever happens, both sides see streams of frames without fault; what passes is what came, in order, but for the
/// answers to our own pings; ours are few; the session ends in its time, and never waits for nothing. Bytes in other
/// pieces make no difference, where no rate of bytes is set.
pub fn session(bytes: &[u8]) -> Verdict {
    let Ok(script) = Script::read(bytes) else { return Verdict::Refused };
    let whole = Rig::run(&script, usize::MAX);
    whole.judge(&script);
    for piece in [1, 7] {
        let pieces = Rig::run(&script, piece);
        pieces.judge(&script);
        if !script.has_byte_rates() {
            assert_eq!(pieces.outcome(), whole.outcome(), "the verdict depends on the cut: {piece}");
        }
    }
    let is_nobodys_fault = |ended: Ended| ended.cause == Cause::Closed || ended.by == By::Gateway;
    if whole.ended_in_script.is_none_or(is_nobodys_fault) { Verdict::Accepted } else { Verdict::Refused }
}

/// A session with its clock, and a relay's worth of what surrounds it.
struct Rig {
    session: Session,
    start: Instant,
    now: Instant,
    /// The most bytes of one read.
    piece: usize,
    client: Wire,
    backend: Wire,
    ended: Option<Ended>,
    /// How it ended, where it did so while the script ran.
    ended_in_script: Option<Ended>,
    steps: usize,
}

/// One side.
#[derive(Default)]
struct Wire {
    /// All that it sent.
    sent: Vec<u8>,
    /// How much of that was judged.
    judged: usize,
    end: Option<EndKind>,
    is_blocked: bool,
    /// What went toward it.
    out: Vec<u8>,
    /// What of that came from the other side.
    passed: Vec<u8>,
    pings: u32,
    closes: u32,
    write_ended: bool,
}

impl Wire {
    fn send(&mut self, bytes: &[u8]) {
        assert!(!self.write_ended || bytes.is_empty(), "bytes behind the end");
        self.out.extend(bytes);
    }
}

type Outcome<'r> = (Option<Ended>, &'r [u8], &'r [u8], std::time::Duration);

impl Rig {
    fn run(script: &Script, piece: usize) -> Self {
        let now = Instant::now();
        let session =
            Session::new(Arc::new(script.rules.clone()), script.extensions, script.lease, now, |b| b.fill(PING[0]));
        let (client, backend) = <(Wire, Wire)>::default();
        let mut rig =
            Self { session, start: now, now, piece, client, backend, ended: None, ended_in_script: None, steps: 0 };
        for event in &script.events {
            rig.pass_on();
            if rig.ended.is_none() {
                rig.happen(event);
            }
        }
        rig.pass_on();
        rig.ended_in_script = rig.ended;
        // Nobody says or takes anything any more: the deadlines alone must end it.
        let last = (rig.start + MAX_AGE).max(rig.now) + CLOSE_TIMEOUT;
        while rig.ended.is_none() {
            let at = rig.session.poll_timeout().expect("an open session has a deadline");
            rig.expire(at);
        }
        assert!(rig.now <= last, "it ended {:?} late", rig.now - last);
        rig
    }

    fn wire(&mut self, side: Side) -> &mut Wire {
        match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        }
    }

    fn happen(&mut self, event: &Event) {
        let now = self.now;
        match event {
            Event::Send(side, bytes) if self.wire(*side).end.is_none() => self.wire(*side).sent.extend(bytes),
            Event::Send(..) => {}
            Event::End(side, kind) => drop(self.wire(*side).end.get_or_insert(*kind)),
            Event::Block(side) => {
                self.wire(*side).is_blocked = true;
                self.session.handle_blocked(*side, now);
            }
            Event::Progress(side) => self.session.handle_progress(*side, now),
            Event::Unblock(side) => self.unblock(*side),
            Event::WriteError(side) => {
                self.session.handle_write_error(*side, now);
                self.unblock(*side);
            }
            Event::Wait(span) => {
                let end = now + *span;
                while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end && self.ended.is_none()) {
                    self.expire(at);
                }
                self.now = end;
            }
            Event::Close(cause) => self.session.begin_close(*cause, now),
        }
    }

    fn unblock(&mut self, side: Side) {
        self.wire(side).is_blocked = false;
        self.session.handle_unblocked(side, self.now);
    }

    fn expire(&mut self, at: Instant) {
        self.now = self.now.max(at);
        self.session.handle_timeout(self.now);
        let next = self.session.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "a deadline that has come stays");
        self.pass_on();
    }

    /// Carries both ways until nothing moves.
    fn pass_on(&mut self) {
        while self.ended.is_none() && Side::BOTH.map(|from| self.carry(from)).contains(&true) {}
    }

    /// Carries one way until nothing moves; says whether anything did.
    fn carry(&mut self, from: Side) -> bool {
        let mut moved = false;
        while self.turn(from) {
            moved = true;
            self.steps += 1;
            assert!(self.steps < STEPS, "it runs in circles");
        }
        self.ended = self.session.poll_closed();
        moved
    }

    fn turn(&mut self, from: Side) -> bool {
        let to = from.opposite();
        if self.wire(to).is_blocked || self.session.poll_closed().is_some() {
            return false;
        }
        if let Some(frame) = self.session.poll_transmit(to, self.now) {
            self.insert(to, &frame);
            return true;
        }
        self.wire(to).write_ended = self.session.write_ended(to);
        if !self.session.wants_read(from) {
            return false;
        }
        let now = self.now;
        let (source, sink) = match from {
            Side::Client => (&mut self.client, &mut self.backend),
            Side::Backend => (&mut self.backend, &mut self.client),
        };
        let input = &source.sent[source.judged..];
        let input = &input[..input.len().min(self.piece)];
        if input.is_empty() {
            let Some(kind) = source.end else { return false };
            self.session.handle_end(from, kind, now);
            return true;
        }
        let step = self.session.receive(from, input, now);
        assert!(step.pass.end <= step.consumed && step.consumed <= input.len());
        for passed in [step.first.as_slice(), &input[step.pass]] {
            sink.passed.extend(passed);
            sink.send(passed);
        }
        source.judged += step.consumed;
        let waits = !self.session.wants_read(from) || self.session.poll_closed().is_some();
        match self.session.poll_transmit(to, now) {
            Some(frame) => self.insert(to, &frame),
            None => assert!(step.consumed > 0 || waits, "it takes nothing and waits for nothing"),
        }
        true
    }

    fn insert(&mut self, to: Side, frame: &ShortFrame) {
        let is_close = frame.as_slice()[0] == 0x88;
        let wire = self.wire(to);
        *(if is_close { &mut wire.closes } else { &mut wire.pings }) += 1;
        wire.send(frame.as_slice());
    }

    fn outcome(&self) -> Outcome<'_> {
        (self.ended, &self.client.out, &self.backend.out, self.now - self.start)
    }

    fn judge(&self, script: &Script) {
        let ended = self.ended.expect("it ran to its end");
        for (to, wire, source, traffic) in [
            (Side::Client, &self.client, &self.backend, ended.from_backend),
            (Side::Backend, &self.backend, &self.client, ended.from_client),
        ] {
            stream::judge(to, &wire.out, script.extensions);
            let expected = without_our_pongs(&source.sent);
            assert!(expected.starts_with(&wire.passed), "{to:?}: what passes is what came: {:x?}", wire.passed);
            judge_traffic(traffic, &wire.passed);
            assert!(wire.closes <= 1, "{to:?}: {} Close frames", wire.closes);
            let intervals = (self.now - self.start).as_secs() / PING_INTERVAL.as_secs();
            assert!(u64::from(wire.pings) <= intervals, "{to:?}: {} pings in {intervals} intervals", wire.pings);
        }
    }
}

fn judge_traffic(traffic: Traffic, passed: &[u8]) {
    let whole = stream::frames(passed)
        .into_iter()
        .filter(|frame| !frame.is_control() && frame.first & 0x80 != 0 && frame.is_whole());
    assert_eq!(traffic, Traffic { messages: whole.count() as u64, bytes: passed.len() as u64 });
}

/// All that a side sent, less the answers to our own pings.
fn without_our_pongs(sent: &[u8]) -> Vec<u8> {
    let mut rest = sent;
    let mut kept = Vec::new();
    for frame in stream::frames(sent) {
        let (bytes, behind) = rest.split_at(frame.wire);
        if !frame.is_our_pong() {
            kept.extend(bytes);
        }
        rest = behind;
    }
    kept.extend(rest);
    kept
}
