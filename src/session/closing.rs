//! How a session ends: the table of close codes, the closing handshake, and lost sides.

use std::time::Instant;

use super::boundary::Seal;
use super::deadlines::Timer;
use super::{By, Cause, CloseCodes, Session, SessionRules, Side, Traffic};
use crate::ws::close::NO_STATUS;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub cause: Cause,
    /// Whose doing it was.
    pub by: By,
    /// The close code that the client saw or sent, 1005 for a Close frame without one; `None`: no Close frame.
    pub code: Option<u16>,
    /// What the client sent and was passed on.
    pub from_client: Traffic,
    /// What the backend sent and was passed on.
    pub from_backend: Traffic,
}

impl Ended {
    /// A session that ended before it carried a frame.
    pub fn before_any_frame(cause: Cause, by: By) -> Self {
        Self { cause, by, code: None, from_client: Traffic::default(), from_backend: Traffic::default() }
    }
}

/// How a side's stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndKind {
    /// In order: it sends no more, and may still read.
    Clean,
    /// By a reset, or a TLS stream without `close_notify`: it is gone.
    Abrupt,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Frames go both ways.
    Open,
    /// A Close frame was seen, a side was lost, or the gateway ends it.
    Closing,
    /// Over.
    Closed,
}

/// What a side's bytes are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    /// Frames.
    Open,
    /// Nothing: its Close frame was the last (RFC 6455 section 5.5.1).
    CloseSeen,
    /// Nothing: it broke the grammar, and its frames cannot be told apart any longer.
    Failed,
    /// There are none.
    Ended,
}

const PROTOCOL_ERROR: u16 = 1002;
const NOT_UTF8: u16 = 1007;
const POLICY_VIOLATION: u16 = 1008;
const TOO_BIG: u16 = 1009;
const INTERNAL_ERROR: u16 = 1011;
const GOING_AWAY: u16 = 1001;
const NORMAL: u16 = 1000;

/// The one table: what (the client, the backend) is told.
///
/// A backend is told nothing of a client's offence but that the client goes away; a client is told nothing of a
/// backend's but that something failed behind the gateway. Codes that may not be sent do not occur.
pub(super) fn codes(cause: Cause, by: By, chosen: &CloseCodes) -> (u16, u16) {
    let blame = |client: u16, backend: u16, behind: u16| match by {
        By::Client | By::Gateway => (client, GOING_AWAY),
        By::Backend => (behind, backend),
    };
    match cause {
        Cause::MaskMissing
        | Cause::MaskUnexpected
        | Cause::RsvSet
        | Cause::OpcodeReserved
        | Cause::LengthNotMinimal
        | Cause::LengthInvalid
        | Cause::ControlFragmented
        | Cause::ControlTooLong
        | Cause::ContinuationUnexpected
        | Cause::MessageInterleaved
        | Cause::CloseInvalid => blame(PROTOCOL_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR),
        Cause::CloseNotUtf8 => blame(NOT_UTF8, NOT_UTF8, INTERNAL_ERROR),
        Cause::MessageTooBig => blame(TOO_BIG, TOO_BIG, INTERNAL_ERROR),
        Cause::TooManyFragments | Cause::MessageRate | Cause::ByteRate | Cause::ControlRate => {
            blame(chosen.policy, POLICY_VIOLATION, INTERNAL_ERROR)
        }
        Cause::PartialHeader
        | Cause::SlowFrame
        | Cause::FirstMessageTimeout
        | Cause::PongTimeout
        | Cause::WriteStall
        | Cause::HalfCloseTimeout
        | Cause::CloseTimeout => blame(chosen.policy, POLICY_VIOLATION, chosen.backend_lost),
        Cause::IdleTimeout => (chosen.idle, GOING_AWAY),
        Cause::CredentialExpired | Cause::MaxAge => (chosen.expired, GOING_AWAY),
        Cause::Revoked => (chosen.revoked, GOING_AWAY),
        Cause::Drain => (chosen.drain, GOING_AWAY),
        Cause::BackendLost | Cause::ServerDown | Cause::ServerRemoved => (chosen.backend_lost, GOING_AWAY),
        Cause::ClientLost => (GOING_AWAY, GOING_AWAY),
        Cause::Internal => (INTERNAL_ERROR, GOING_AWAY),
        Cause::Closed => (NORMAL, NORMAL),
    }
}

impl Session {
    /// Ends the session for a cause of the gateway's: each side gets a Close frame at the next boundary, and has
    /// `close_timeout` for the rest. A session in its closing handshake goes on with that: it has no longer either.
    ///
    /// Where access was taken away, no byte of the client passes from here on, not even the rest of a frame, and all is
    /// over within [`SessionRules::REVOKED_LIMIT`]; that holds in a closing handshake, too.
    pub fn begin_close(&mut self, cause: Cause, now: Instant) {
        if self.phase == Phase::Open || self.is_half_closed() {
            self.fail(cause, By::Gateway, now);
        }
        if cause == Cause::Revoked && self.phase == Phase::Closing {
            self.silence_client(now);
        }
    }

    fn silence_client(&mut self, now: Instant) {
        let limit = SessionRules::REVOKED_LIMIT.min(self.rules.close_timeout);
        let end = self.tick(now).after(limit);
        let ends_in_time = self.deadlines.at(Timer::Close).is_some_and(|due| due <= end);
        if ends_in_time && self.client.intake != Intake::Open {
            return;
        }
        if self.client.intake == Intake::Open {
            self.client.intake = Intake::Failed;
        }
        if !ends_in_time {
            self.deadlines.set(Timer::Close, end);
        }
        self.seal_unreachable();
        self.settle();
    }

    /// Whether the client ended its stream and nothing else happened: it may still read, until the backend ends or
    /// something else ends the session, and that is the cause then.
    pub(super) fn is_half_closed(&self) -> bool {
        self.phase == Phase::Closing && matches!(self.cause, Some((Cause::ClientLost, _)))
    }

    /// A side's stream ended.
    pub fn handle_end(&mut self, from: Side, kind: EndKind, now: Instant) {
        let before = std::mem::replace(&mut self.party_mut(from).intake, Intake::Ended);
        if before == Intake::Ended || self.phase == Phase::Closed {
            return;
        }
        if kind == EndKind::Abrupt {
            self.party_mut(from).outlet.end(Seal::Cut);
        }
        if before == Intake::Open && self.cause.is_none() {
            if self.closer.is_some() && self.party(from).policer.is_at_boundary() {
                self.answer_for(from);
            } else {
                self.lose(from, kind, now);
            }
        }
        let outlet = &mut self.party_mut(from.opposite()).outlet;
        if outlet.close.is_none() {
            outlet.end(Seal::Ended);
        }
        self.seal_unreachable();
        self.settle();
    }

    /// Bytes cannot be written to this side. What it still has to say is read until its stream ends.
    pub fn handle_write_error(&mut self, to: Side, now: Instant) {
        self.party_mut(to).outlet.end(Seal::Cut);
        let end = self.tick(now).after(self.rules.half_close);
        self.deadlines.set_once(Timer::HalfClose, end);
        self.settle();
    }

    /// A side that was told Close ended its stream instead of saying Close too: no loss, for nothing was under way. The
    /// other gets its own code back (RFC 6455 section 5.5.1).
    fn answer_for(&mut self, from: Side) {
        let code = self.code.filter(|code| *code != NO_STATUS).unwrap_or(NORMAL);
        self.party_mut(from.opposite()).outlet.request_close(code);
    }

    /// A side ended its stream without a Close frame, and the session had no cause to end.
    ///
    /// A lost backend is told to the client, whose bytes pass on until it has said Close too. A lost client can be told
    /// to nobody: the backend sees an end without a Close frame, and what it sends passes on until it has ended.
    fn lose(&mut self, from: Side, kind: EndKind, now: Instant) {
        match from {
            Side::Backend => {
                self.cause = Some((Cause::BackendLost, By::Backend));
                self.begin_handshake(now);
                let (client, _) = codes(Cause::BackendLost, By::Backend, &self.rules.close);
                self.client.outlet.request_close(client);
            }
            Side::Client => {
                self.cause = Some((Cause::ClientLost, By::Client));
                self.phase = Phase::Closing;
                self.deadlines.keep_closing();
                let end = self.tick(now).after(self.rules.half_close);
                self.deadlines.set_once(Timer::HalfClose, end);
                let seal = if kind == EndKind::Clean { Seal::Ended } else { Seal::Cut };
                self.backend.outlet.end(seal);
            }
        }
    }

    /// Ends the session: the first cause stays, and each side that can be told is told.
    pub(super) fn fail(&mut self, cause: Cause, by: By, now: Instant) {
        if self.phase == Phase::Closed || (self.cause.is_some() && !self.is_half_closed()) {
            return;
        }
        self.cause = Some((cause, by));
        self.begin_handshake(now);
        let (client, backend) = codes(cause, by, &self.rules.close);
        self.client.outlet.request_close(client);
        self.backend.outlet.request_close(backend);
        self.seal_unreachable();
        self.settle();
    }

    /// A side broke the grammar: what it sends further is thrown away.
    pub(super) fn fail_side(&mut self, side: Side, cause: Cause, now: Instant) {
        self.party_mut(side).intake = Intake::Failed;
        self.fail(cause, By::from(side), now);
        self.seal_unreachable();
        self.settle();
    }

    /// A side's Close frame went by.
    pub(super) fn note_close(&mut self, from: Side, code: Option<u16>, now: Instant) {
        let outlet = &mut self.party_mut(from.opposite()).outlet;
        let relayed = outlet.is_open();
        outlet.end(Seal::Closed);
        self.party_mut(from).intake = Intake::CloseSeen;
        if self.closer.is_none() {
            self.closer = Some(By::from(from));
        }
        if self.code.is_none() && (from == Side::Client || relayed) {
            self.code = Some(code.unwrap_or(NO_STATUS));
        }
        self.begin_handshake(now);
        self.settle();
    }

    fn begin_handshake(&mut self, now: Instant) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
            self.deadlines.keep_closing();
        }
        let end = self.tick(now).after(self.rules.close_timeout);
        self.deadlines.set_once(Timer::Close, end);
    }

    /// Cuts the way toward a side behind half a frame of which no more will come: no Close frame can stand there.
    fn seal_unreachable(&mut self) {
        for to in Side::BOTH {
            let from = self.party(to.opposite());
            let stuck = matches!(from.intake, Intake::Failed | Intake::Ended) && !from.policer.is_at_boundary();
            if stuck && self.party(to).outlet.is_open() {
                self.party_mut(to).outlet.end(Seal::Cut);
            }
        }
    }

    /// The session is over when nothing more is to be said to, or heard from, either side.
    pub(super) fn settle(&mut self) {
        if self.phase == Phase::Closing && Side::BOTH.into_iter().all(|side| self.is_settled(side)) {
            self.phase = Phase::Closed;
        }
    }

    pub(super) fn is_settled(&self, side: Side) -> bool {
        let party = self.party(side);
        match party.outlet.seal {
            Seal::Open => false,
            Seal::Closed | Seal::Ended => party.intake != Intake::Open,
            Seal::Cut => true,
        }
    }

    pub(super) fn ended(&self) -> Ended {
        let (cause, by) = self.cause.unwrap_or((Cause::Closed, self.closer.unwrap_or(By::Gateway)));
        Ended { cause, by, code: self.code, from_client: self.client.traffic, from_backend: self.backend.traffic }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::close::may_be_sent;

    #[test]
    fn every_cause_has_codes_that_may_be_sent() {
        let mut ran = 0;
        for cause in Cause::ALL {
            for by in [By::Client, By::Backend, By::Gateway] {
                let (client, backend) = codes(*cause, by, &CloseCodes::default());
                assert!(may_be_sent(client) && may_be_sent(backend), "{cause:?}");
                assert!(*cause == Cause::Closed || (client != NORMAL && backend != NORMAL), "BE03 {cause:?}");
                ran += 1;
            }
        }
        assert_eq!(ran, Cause::ALL.len() * 3);
    }
}
