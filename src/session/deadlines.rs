//! When a session must be woken: a table of deadlines, of which the next is told.
//!
//! A clock that judges a side's silence stops while that side is not read: its deadlines are left out of the table and
//! moved by as long as the pause was. Activity moves no deadline; a deadline that comes asks how long ago it was.

use std::time::{Duration, Instant};

use super::Side;

/// Microseconds since the session began. Half the size of an `Instant`, and never before the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(u64);

impl Tick {
    pub(super) const START: Self = Self(0);
    const NEVER: Self = Self(u64::MAX);

    /// `now` as counted from `start`.
    pub(super) fn between(start: Instant, now: Instant) -> Self {
        Self::START.after(now.saturating_duration_since(start))
    }

    /// This much later.
    pub(super) fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero where it is later.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Where that is after `start`; `None`: never.
    fn instant(self, start: Instant) -> Option<Instant> {
        (self != Self::NEVER).then(|| start.checked_add(Duration::from_micros(self.0))).flatten()
    }
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The session's greatest age, or the end of its credential.
    Age,
    /// No message either way, nor a byte of one.
    Idle,
    /// The client's first message is not whole.
    FirstMessage,
    /// The closing handshake.
    Close,
    /// One side ended, the other goes on.
    HalfClose,
    /// A side is to be pinged, or has not answered.
    Liveness(Side),
    /// A side's frame header or control frame is unfinished.
    PartialHeader(Side),
    /// A side's data frame is unfinished.
    SlowFrame(Side),
    /// A side over its rate may be read again.
    Throttle(Side),
    /// A side takes no bytes.
    WriteStall(Side),
}

/// What can stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// A side that is not read cannot be heard.
    Of(Side),
    /// While either is not read, messages may wait unseen.
    OfBoth,
}

impl Timer {
    const ALL: [Self; 15] = [
        Self::Age,
        Self::Idle,
        Self::FirstMessage,
        Self::Close,
        Self::HalfClose,
        Self::Liveness(Side::Client),
        Self::PartialHeader(Side::Client),
        Self::SlowFrame(Side::Client),
        Self::Throttle(Side::Client),
        Self::WriteStall(Side::Client),
        Self::Liveness(Side::Backend),
        Self::PartialHeader(Side::Backend),
        Self::SlowFrame(Side::Backend),
        Self::Throttle(Side::Backend),
        Self::WriteStall(Side::Backend),
    ];

    fn slot(self) -> usize {
        let of = |side, client, backend| match side {
            Side::Client => client,
            Side::Backend => backend,
        };
        match self {
            Self::Age => 0,
            Self::Idle => 1,
            Self::FirstMessage => 2,
            Self::Close => 3,
            Self::HalfClose => 4,
            Self::Liveness(side) => of(side, 5, 10),
            Self::PartialHeader(side) => of(side, 6, 11),
            Self::SlowFrame(side) => of(side, 7, 12),
            Self::Throttle(side) => of(side, 8, 13),
            Self::WriteStall(side) => of(side, 9, 14),
        }
    }

    /// The clock that it runs by; `None`: it never stands still.
    fn clock(self) -> Option<Clock> {
        match self {
            Self::Liveness(side) | Self::PartialHeader(side) | Self::SlowFrame(side) => Some(Clock::Of(side)),
            Self::FirstMessage => Some(Clock::Of(Side::Client)),
            Self::Idle => Some(Clock::OfBoth),
            Self::Age | Self::Close | Self::HalfClose | Self::Throttle(_) | Self::WriteStall(_) => None,
        }
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Deadlines {
    at: [Tick; 15],
    paused: [Tick; 3],
}

impl Deadlines {
    pub(super) const NONE: Self = Self { at: [Tick::NEVER; 15], paused: [Tick::NEVER; 3] };

    /// Sets a deadline, in the place of an earlier one.
    pub(super) fn set(&mut self, timer: Timer, at: Tick) {
        if let Some(slot) = self.at.get_mut(timer.slot()) {
            *slot = at;
        }
    }

    /// Sets a deadline where none is set.
    pub(super) fn set_once(&mut self, timer: Timer, at: Tick) {
        if !self.is_set(timer) {
            self.set(timer, at);
        }
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.set(timer, Tick::NEVER);
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.get(timer) != Tick::NEVER
    }

    /// A deadline that is set.
    pub(super) fn at(&self, timer: Timer) -> Option<Tick> {
        Some(self.get(timer)).filter(|at| *at != Tick::NEVER)
    }

    /// What is left when a session is closing: the deadlines that end it, and those that let a side be read again. A
    /// credential that runs out does so while one side still hears the other, too.
    pub(super) fn keep_closing(&mut self) {
        for timer in Timer::ALL {
            if !matches!(timer, Timer::Age | Timer::Close | Timer::HalfClose | Timer::Throttle(_)) {
                self.clear(timer);
            }
        }
    }

    /// The next deadline of a clock that runs.
    pub(super) fn next(&self, start: Instant) -> Option<Instant> {
        if self.paused == [Tick::NEVER; 3] {
            return self.at.into_iter().min()?.instant(start);
        }
        Timer::ALL.into_iter().filter(|timer| self.runs(*timer)).map(|timer| self.get(timer)).min()?.instant(start)
    }

    /// Takes one deadline that has come.
    pub(super) fn pop(&mut self, now: Tick) -> Option<Timer> {
        let due = |timer: &Timer| self.get(*timer) <= now && self.is_set(*timer) && self.runs(*timer);
        let timer = Timer::ALL.into_iter().find(due)?;
        self.clear(timer);
        Some(timer)
    }

    /// Stops a clock that runs.
    pub(super) fn pause(&mut self, clock: Clock, now: Tick) {
        if let Some(since) = self.paused.get_mut(clock.slot())
            && *since == Tick::NEVER
        {
            *since = now;
        }
    }

    /// Lets a clock go on and says how long it stood still.
    pub(super) fn resume(&mut self, clock: Clock, now: Tick) -> Duration {
        let Some(since) = self.paused.get_mut(clock.slot()) else { return Duration::ZERO };
        let pause = now.since(std::mem::replace(since, Tick::NEVER));
        for timer in Timer::ALL.into_iter().filter(|timer| timer.clock() == Some(clock)) {
            if self.is_set(timer) {
                self.set(timer, self.get(timer).after(pause));
            }
        }
        pause
    }

    fn get(&self, timer: Timer) -> Tick {
        self.at.get(timer.slot()).copied().unwrap_or(Tick::NEVER)
    }

    fn runs(&self, timer: Timer) -> bool {
        let paused = timer.clock().and_then(|clock| self.paused.get(clock.slot()));
        paused.is_none_or(|since| *since == Tick::NEVER)
    }
}

impl Clock {
    fn slot(self) -> usize {
        match self {
            Self::Of(Side::Client) => 0,
            Self::Of(Side::Backend) => 1,
            Self::OfBoth => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timer_has_a_slot_of_its_own() {
        let slots: Vec<usize> = Timer::ALL.into_iter().map(Timer::slot).collect();
        assert_eq!(slots, (0..15).collect::<Vec<_>>());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a time to count from")]
    fn a_clock_that_stands_still_moves_its_deadlines() {
        let second = |count| Tick::START.after(Duration::from_secs(count));
        let start = Instant::now();
        let mut table = Deadlines::NONE;
        table.set(Timer::Liveness(Side::Client), second(10));
        table.set(Timer::Liveness(Side::Backend), second(20));
        assert_eq!(table.next(start), second(10).instant(start));
        table.pause(Clock::Of(Side::Client), second(4));
        table.pause(Clock::Of(Side::Client), second(9));
        assert_eq!(table.next(start), second(20).instant(start));
        assert_eq!(table.pop(second(15)), None);
        assert_eq!(table.resume(Clock::Of(Side::Client), second(15)), Duration::from_secs(11));
        assert_eq!(table.resume(Clock::Of(Side::Client), second(16)), Duration::ZERO);
        assert_eq!(table.pop(second(20)), Some(Timer::Liveness(Side::Backend)));
        assert_eq!(table.pop(second(20)), None);
        assert_eq!(table.next(start), second(21).instant(start));
        assert_eq!(table.pop(second(21)), Some(Timer::Liveness(Side::Client)));
        assert_eq!(table.next(start), None);
    }
}
