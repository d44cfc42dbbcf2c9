//! What a side sent, judged: which bytes pass, and what stops them.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::boundary::Ping;
use super::cause::Cause;
use super::closing::Intake;
use super::deadlines::{Tick, Timer};
use super::limits::Charge;
use super::policer::{Control, Finished, Grammar, Next, wide};
use super::short_frame::ShortFrame;
use super::{Phase, Session, Side};
use crate::ws::frame::{Header, Opcode};

/// What becomes of bytes that were received. To be passed on: `first`, then `pass`.
#[derive(Debug)]
pub struct Step {
    /// Bytes that came earlier and were kept: the beginning of what `pass` goes on with.
    pub first: ShortFrame,
    /// The part of the input that passes.
    pub pass: Range<usize>,
    /// How much of the input is done with. What is left is offered again after [`Session::poll_transmit`], and once
    /// [`Session::wants_read`].
    pub consumed: usize,
}

/// Why a walk through the input ended.
enum Stop {
    /// All was looked at, or a frame of ours is to be inserted, or one of theirs was swallowed.
    Here,
    /// A rate ran out.
    Wait(Duration),
    /// The side's Close frame.
    Close(Option<u16>),
    /// A rule was broken.
    Violation(Cause),
}

impl Step {
    fn pass_nothing() -> Self {
        Self { first: ShortFrame::EMPTY, pass: 0..0, consumed: 0 }
    }

    /// Lets `taken` bytes pass, behind what was kept.
    fn extend(&mut self, kept: ShortFrame, taken: usize) {
        if !kept.is_empty() {
            self.first = kept;
        }
        self.consumed = self.consumed.saturating_add(taken);
        self.pass.end = self.consumed;
    }

    /// Leaves `taken` bytes out, in front of what passes.
    fn skip(&mut self, taken: usize) {
        self.consumed = self.consumed.saturating_add(taken);
        self.pass = self.consumed..self.consumed;
    }

    fn passes_nothing(&self) -> bool {
        self.first.is_empty() && self.pass.is_empty()
    }

    fn length(&self) -> u64 {
        wide(self.pass.len().saturating_add(self.first.len()))
    }
}

impl Session {
    /// Judges bytes of one side. Frames that pass and touch each other make one range.
    ///
    /// It stops where a frame of ours is to be inserted, where a rate runs out, behind a Close frame and before a
    /// violation; bytes of a side that is not to be read are not consumed.
    pub fn receive(&mut self, from: Side, input: &[u8], now: Instant) -> Step {
        let mut step = Step::pass_nothing();
        if !self.wants_read(from) || input.is_empty() {
            return step;
        }
        let tick = self.tick(now);
        self.note_life(from, tick);
        if self.party(from).intake != Intake::Open {
            step.consumed = input.len();
            self.charge_thrown_away(from, wide(input.len()), tick);
            return step;
        }
        let rules = self.rules.clone();
        let grammar = Grammar { side: from, extensions: self.extensions, rules: rules.of(from) };
        self.party_mut(from).limits.refill(grammar.rules, tick);
        let messages = self.party(from).traffic.messages;
        let stop = self.walk(grammar, input, tick, &mut step);
        if self.party(from.opposite()).outlet.is_open() {
            let traffic = &mut self.party_mut(from).traffic;
            traffic.bytes = traffic.bytes.saturating_add(step.length());
        } else {
            self.party_mut(from).traffic.messages = messages;
            step = Step { consumed: step.consumed, ..Step::pass_nothing() };
        }
        self.watch_unfinished(from, tick);
        let debt = self.party(from).limits.debt(grammar.rules);
        match stop {
            Stop::Violation(cause) => {
                let rest = wide(input.len().saturating_sub(step.consumed));
                step.consumed = input.len();
                self.fail_side(from, cause, now);
                self.charge_thrown_away(from, rest, tick);
            }
            Stop::Close(code) => self.note_close(from, code, now),
            Stop::Wait(wait) => self.throttle(from, debt.max(wait), tick),
            Stop::Here if debt.is_zero() => {}
            Stop::Here => self.throttle(from, debt, tick),
        }
        step
    }

    /// Any byte is life: a ping is answered by it, and the next is due when the side has been silent for so long again.
    fn note_life(&mut self, from: Side, now: Tick) {
        let next = now.after(self.rules.ping_interval);
        let party = self.party_mut(from);
        party.heard = now;
        if party.outlet.ping == Ping::Sent {
            party.outlet.ping = Ping::Idle;
            if self.phase == Phase::Open {
                self.deadlines.set(Timer::Liveness(from), next);
            }
        }
    }

    /// What is read only to be thrown away is paid for like what passes: an offence buys nobody a faster line.
    fn charge_thrown_away(&mut self, from: Side, count: u64, now: Tick) {
        let rules = self.rules.clone();
        let limits = &mut self.party_mut(from).limits;
        limits.refill(rules.of(from), now);
        limits.take_bytes(rules.of(from), count);
        let debt = limits.debt(rules.of(from));
        if !debt.is_zero() {
            self.throttle(from, debt, now);
        }
    }

    fn throttle(&mut self, from: Side, wait: Duration, now: Tick) {
        self.deadlines.set(Timer::Throttle(from), now.after(wait));
        self.update_clocks(now);
    }

    fn walk(&mut self, grammar: Grammar<'_>, input: &[u8], now: Tick, step: &mut Step) -> Stop {
        let from = grammar.side;
        while let Some(rest) = input.get(step.consumed..).filter(|rest| !rest.is_empty()) {
            let policer = &self.party(from).policer;
            if policer.is_at_boundary() && self.party(from.opposite()).outlet.has_insertion() {
                return Stop::Here;
            }
            let stop = match policer.next(rest, grammar, &self.ping) {
                Err(cause) => Some(Stop::Violation(cause)),
                Ok(Next::Payload(count)) => self.payload(grammar, count, now, step),
                Ok(Next::Partial) => {
                    self.party_mut(from).policer.hold(rest);
                    step.consumed = input.len();
                    Some(Stop::Here)
                }
                Ok(Next::Data { header, taken }) => self.data(grammar, &header, taken, now, step),
                Ok(Next::Control { content, length, taken }) => {
                    self.control(grammar, content, (length, taken), now, step)
                }
            };
            if let Some(stop) = stop {
                return stop;
            }
        }
        Stop::Here
    }

    fn payload(&mut self, grammar: Grammar<'_>, count: u64, now: Tick, step: &mut Step) -> Option<Stop> {
        let party = self.party_mut(grammar.side);
        let allowed = party.limits.bytes_allowed(grammar.rules, count);
        party.limits.take_bytes(grammar.rules, allowed);
        party.slow.bytes = party.slow.bytes.saturating_add(allowed);
        step.extend(ShortFrame::EMPTY, usize::try_from(allowed).unwrap_or(usize::MAX));
        let finished = party.policer.advance(allowed);
        if allowed > 0 {
            self.last_message = now;
        }
        self.note_finished(grammar.side, finished, now);
        (allowed < count).then_some(Stop::Violation(Cause::ByteRate))
    }

    fn data(
        &mut self,
        grammar: Grammar<'_>,
        header: &Header,
        taken: usize,
        now: Tick,
        step: &mut Step,
    ) -> Option<Stop> {
        let from = grammar.side;
        let party = self.party_mut(from);
        if header.opcode != Opcode::Continuation {
            match party.limits.message(grammar.rules, now) {
                Charge::Paid => {}
                Charge::Wait(wait) => return Some(Stop::Wait(wait)),
                Charge::Over => return Some(Stop::Violation(Cause::MessageRate)),
            }
        }
        let length = wide(header.wire_len());
        if party.limits.bytes_allowed(grammar.rules, length) < length {
            return Some(Stop::Violation(Cause::ByteRate));
        }
        party.limits.take_bytes(grammar.rules, length);
        let kept = self.release(from);
        step.extend(kept, taken);
        let finished = self.party_mut(from).policer.begin(header, grammar);
        if header.opcode != Opcode::Continuation {
            self.last_message = now;
        }
        self.note_finished(from, finished, now);
        None
    }

    fn control(
        &mut self,
        grammar: Grammar<'_>,
        content: Control,
        (length, taken): (u64, usize),
        now: Tick,
        step: &mut Step,
    ) -> Option<Stop> {
        let party = self.party_mut(grammar.side);
        match party.limits.control(grammar.rules, now) {
            Charge::Paid => {}
            Charge::Wait(wait) => return Some(Stop::Wait(wait)),
            Charge::Over => return Some(Stop::Violation(Cause::ControlRate)),
        }
        if party.limits.bytes_allowed(grammar.rules, length) < length {
            return Some(Stop::Violation(Cause::ByteRate));
        }
        party.limits.take_bytes(grammar.rules, length);
        let kept = self.release(grammar.side);
        match content {
            Control::PassOn => step.extend(kept, taken),
            Control::Close(code) => {
                step.extend(kept, taken);
                return Some(Stop::Close(code));
            }
            Control::OurPong if step.passes_nothing() => step.skip(taken),
            Control::OurPong => {
                step.consumed = step.consumed.saturating_add(taken);
                return Some(Stop::Here);
            }
        }
        None
    }

    /// What was kept of a header or control frame that is whole by now; the next has a deadline of its own.
    fn release(&mut self, from: Side) -> ShortFrame {
        let kept = self.party_mut(from).policer.release();
        if !kept.is_empty() {
            self.deadlines.clear(Timer::PartialHeader(from));
        }
        kept
    }

    fn note_finished(&mut self, from: Side, finished: Finished, now: Tick) {
        if finished == Finished::Nothing {
            return;
        }
        self.deadlines.clear(Timer::SlowFrame(from));
        if finished == Finished::Message && self.phase != Phase::Closed {
            self.last_message = now;
            if from == Side::Client {
                self.deadlines.clear(Timer::FirstMessage);
            }
            let traffic = &mut self.party_mut(from).traffic;
            traffic.messages = traffic.messages.saturating_add(1);
        }
    }
}
