//! What happens when a deadline comes.

use std::time::Instant;

use super::boundary::Ping;
use super::closing::{EndKind, Intake, Phase};
use super::deadlines::{Tick, Timer};
use super::{By, Cause, Session, SessionRules, Side};

/// How a data frame comes in that is not whole yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlowFrame {
    pub(super) pace: Pace,
    /// Bytes of it since its deadline was set.
    pub(super) bytes: u64,
}

/// Whether the pace of a frame is judged already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// It is young.
    Grace,
    /// Every window must bring its share.
    Judged,
}

impl Session {
    /// Acts on every deadline that has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let tick = self.tick(now);
        while let Some(timer) = self.deadlines.pop(tick) {
            self.expire(timer, tick, now);
        }
    }

    fn expire(&mut self, timer: Timer, tick: Tick, now: Instant) {
        match timer {
            Timer::Age if self.phase == Phase::Open => self.fail(self.age, By::Gateway, now),
            Timer::Age => self.cut_off(self.age, By::Gateway),
            Timer::Idle => {
                let due = self.last_message.after(self.rules.idle_timeout);
                if due > tick {
                    self.deadlines.set(Timer::Idle, due);
                } else {
                    self.fail(Cause::IdleTimeout, By::Gateway, now);
                }
            }
            Timer::FirstMessage => self.fail(Cause::FirstMessageTimeout, By::Client, now),
            Timer::Close => self.cut_off(Cause::CloseTimeout, self.late()),
            Timer::HalfClose => self.expire_half_close(now),
            Timer::Liveness(side) => self.expire_liveness(side, tick, now),
            Timer::PartialHeader(side) => self.fail(Cause::PartialHeader, By::from(side), now),
            Timer::SlowFrame(side) => self.expire_slow_frame(side, tick, now),
            Timer::Throttle(_) => self.update_clocks(tick),
            Timer::WriteStall(side) => self.fail(Cause::WriteStall, By::from(side), now),
        }
    }

    fn expire_liveness(&mut self, side: Side, tick: Tick, now: Instant) {
        let party = self.party(side);
        if party.intake != Intake::Open || !party.outlet.is_open() {
            return;
        }
        let due = party.heard.after(self.rules.ping_interval);
        match party.outlet.ping {
            Ping::Sent if !party.outlet.blocked => self.fail(Cause::PongTimeout, By::from(side), now),
            // The ping may wait behind bytes that the side does not take; its stall clock runs.
            Ping::Sent => self.deadlines.set(Timer::Liveness(side), tick.after(self.rules.pong_timeout)),
            Ping::Idle if due > tick => self.deadlines.set(Timer::Liveness(side), due),
            Ping::Idle | Ping::Due => self.party_mut(side).outlet.ping = Ping::Due,
        }
    }

    fn expire_slow_frame(&mut self, side: Side, tick: Tick, now: Instant) {
        let window = SessionRules::SLOW_FRAME_WINDOW;
        let share = self.rules.slow_frame.as_u64().saturating_mul(window.as_secs());
        let slow = &mut self.party_mut(side).slow;
        if slow.pace == Pace::Judged && slow.bytes < share {
            return self.fail(Cause::SlowFrame, By::from(side), now);
        }
        *slow = SlowFrame { pace: Pace::Judged, bytes: 0 };
        self.deadlines.set(Timer::SlowFrame(side), tick.after(window));
    }

    fn expire_half_close(&mut self, now: Instant) {
        let deaf = |side: &Side| !self.party(*side).outlet.is_open() && self.party(*side).intake != Intake::Ended;
        if self.phase == Phase::Open
            && let Some(side) = Side::BOTH.into_iter().find(deaf)
        {
            // It took no bytes, and had nothing more to say either.
            return self.handle_end(side, EndKind::Abrupt, now);
        }
        self.cut_off(Cause::HalfCloseTimeout, self.late());
    }

    /// The time for an orderly end is over. The cause of it counts where there is none, or none but a half close.
    fn cut_off(&mut self, cause: Cause, by: By) {
        if self.cause.is_none() || self.is_half_closed() {
            self.cause = Some((cause, by));
        }
        self.phase = Phase::Closed;
    }

    /// Who has not ended.
    fn late(&self) -> By {
        let late = Side::BOTH.into_iter().find(|side| self.party(*side).intake == Intake::Open);
        late.map_or(By::Gateway, By::from)
    }

    /// After a call of `receive`: starts and stops the clocks of what is unfinished.
    pub(super) fn watch_unfinished(&mut self, from: Side, tick: Tick) {
        if self.phase != Phase::Open {
            return;
        }
        if self.party(from).policer.is_holding() {
            let end = tick.after(self.rules.partial_header);
            self.deadlines.set_once(Timer::PartialHeader(from), end);
        } else {
            self.deadlines.clear(Timer::PartialHeader(from));
        }
        if self.party(from).policer.is_at_boundary() {
            self.deadlines.clear(Timer::SlowFrame(from));
        } else if !self.deadlines.is_set(Timer::SlowFrame(from)) {
            self.party_mut(from).slow = SlowFrame { pace: Pace::Grace, bytes: 0 };
            self.deadlines.set(Timer::SlowFrame(from), tick.after(SessionRules::SLOW_FRAME_GRACE));
        }
    }
}
