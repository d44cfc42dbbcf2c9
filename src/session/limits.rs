//! How fast one side may send: token buckets for messages, control frames and bytes.
//!
//! Messages and control frames are counted where they begin and stop at the one that is over. Bytes may go into debt
//! by one read, because a sender cannot know a byte rate: the debt is paid by not reading. With `over = "close"` the
//! first byte over the rate is the violation.

use std::time::Duration;

use super::deadlines::Tick;
use super::rules::{DirectionRules, Overrun, SessionRules};
use crate::units::{ByteRate, Rate};

/// What a charge comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// Within the rate.
    Paid,
    /// Over it: wait this long.
    Wait(Duration),
    /// Over it, and that ends the session.
    Over,
}

/// The buckets of one side, and how long it has been over one of them.
#[derive(Debug)]
pub(super) struct Limits {
    messages: Bucket,
    control: Bucket,
    bytes: Bucket,
    refilled: Tick,
    overrun: Option<Overrunning>,
}

/// A side that is again and again over a count.
#[derive(Clone, Copy, Debug)]
struct Overrunning {
    since: Tick,
    until: Tick,
}

impl Limits {
    /// Waits less than this apart are one overrun.
    const APART: Duration = Duration::from_secs(1);

    /// Full buckets.
    pub(super) fn new(rules: &DirectionRules) -> Self {
        let full = |quota: Option<Quota>| quota.map_or(Bucket(0), Bucket::full);
        Self {
            messages: full(rules.messages.map(Quota::from)),
            control: full(rules.control.map(Quota::from)),
            bytes: full(rules.bytes.map(Quota::from)),
            refilled: Tick::START,
            overrun: None,
        }
    }

    /// Puts into the buckets what has come back since.
    pub(super) fn refill(&mut self, rules: &DirectionRules, now: Tick) {
        let elapsed = now.since(self.refilled);
        if elapsed.is_zero() {
            return;
        }
        self.refilled = now;
        for (bucket, quota) in [
            (&mut self.messages, rules.messages.map(Quota::from)),
            (&mut self.control, rules.control.map(Quota::from)),
            (&mut self.bytes, rules.bytes.map(Quota::from)),
        ] {
            if let Some(quota) = quota {
                bucket.refill(quota, elapsed);
            }
        }
    }

    /// Goes on under another rate: what is in a bucket stays, up to the burst, and a rate where there was none begins
    /// with all of it.
    pub(super) fn adopt(&mut self, before: &DirectionRules, after: &DirectionRules, now: Tick) {
        self.refill(before, now);
        for (bucket, old, new) in [
            (&mut self.messages, before.messages.map(Quota::from), after.messages.map(Quota::from)),
            (&mut self.control, before.control.map(Quota::from), after.control.map(Quota::from)),
            (&mut self.bytes, before.bytes.map(Quota::from), after.bytes.map(Quota::from)),
        ] {
            if let Some(new) = new.filter(|_| old != new) {
                *bucket = old.map_or(Bucket::full(new), |old| bucket.moved(old, new));
            }
        }
    }

    /// Charges one message.
    pub(super) fn message(&mut self, rules: &DirectionRules, now: Tick) -> Charge {
        let charge = count(&mut self.messages, rules.messages, rules.over);
        self.judge(charge, rules, now)
    }

    /// Charges one control frame.
    pub(super) fn control(&mut self, rules: &DirectionRules, now: Tick) -> Charge {
        let charge = count(&mut self.control, rules.control, rules.over);
        self.judge(charge, rules, now)
    }

    /// How many of `wanted` bytes may pass at this moment.
    pub(super) fn bytes_allowed(&self, rules: &DirectionRules, wanted: u64) -> u64 {
        match (rules.bytes, rules.over) {
            (Some(rate), Overrun::Close) => wanted.min(self.bytes.whole(Quota::from(rate))),
            _ => wanted,
        }
    }

    /// Takes bytes that pass.
    pub(super) fn take_bytes(&mut self, rules: &DirectionRules, count: u64) {
        if let Some(rate) = rules.bytes {
            self.bytes.take(Quota::from(rate), count);
        }
    }

    /// How long the side is not read until its debt of bytes is paid; zero: it has none.
    pub(super) fn debt(&self, rules: &DirectionRules) -> Duration {
        rules.bytes.and_then(|rate| self.bytes.until(Quota::from(rate), 0)).unwrap_or_default()
    }

    /// Ends an overrun that is as old as it may be at a refusal. A wait is never cut short: one message in excess of a
    /// rare rate waits for its turn. A wait for bytes at the same time is no rest.
    fn judge(&mut self, charge: Charge, rules: &DirectionRules, now: Tick) -> Charge {
        let Charge::Wait(wait) = charge else { return charge };
        let since = match self.overrun {
            Some(last) if now.since(last.until) < Self::APART => last.since,
            _ => now,
        };
        if now.since(since) >= SessionRules::OVERRUN_LIMIT {
            return Charge::Over;
        }
        self.overrun = Some(Overrunning { since, until: now.after(wait.max(self.debt(rules))) });
        Charge::Wait(wait)
    }
}

fn count(bucket: &mut Bucket, rate: Option<Rate>, over: Overrun) -> Charge {
    let Some(quota) = rate.map(Quota::from) else { return Charge::Paid };
    match (bucket.until(quota, 1), over) {
        (None, _) => {
            bucket.take(quota, 1);
            Charge::Paid
        }
        (Some(wait), Overrun::Slow) => Charge::Wait(wait),
        (Some(_), Overrun::Close) => Charge::Over,
    }
}

/// `count` come back in every `period` microseconds, `burst` at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quota {
    count: i64,
    period: i64,
    burst: i64,
}

impl From<Rate> for Quota {
    fn from(rate: Rate) -> Self {
        let period = i64::try_from(rate.period.as_micros()).unwrap_or(i64::MAX);
        Self { count: i64::from(rate.count.get()), period, burst: i64::from(rate.burst.get()) }
    }
}

impl From<ByteRate> for Quota {
    fn from(rate: ByteRate) -> Self {
        let whole = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        Self { count: whole(rate.per_second.as_u64()), period: 1_000_000, burst: whole(rate.burst.as_u64()) }
    }
}

/// What is in a bucket, in units of 1 / `period`, so that nothing is rounded; below zero is debt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket(i64);

impl Bucket {
    fn full(quota: Quota) -> Self {
        Self(quota.burst.saturating_mul(quota.period))
    }

    fn refill(&mut self, quota: Quota, elapsed: Duration) {
        let elapsed = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        let back = elapsed.saturating_mul(quota.count);
        self.0 = self.0.saturating_add(back).min(Self::full(quota).0);
    }

    fn take(&mut self, quota: Quota, count: u64) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.0 = self.0.saturating_sub(count.saturating_mul(quota.period));
    }

    /// As many whole units, or as deep a debt, under another quota.
    fn moved(self, old: Quota, new: Quota) -> Self {
        let units = self.0.checked_div(old.period).unwrap_or(0);
        Self(units.min(new.burst).saturating_mul(new.period))
    }

    /// Whole units that are there.
    fn whole(self, quota: Quota) -> u64 {
        u64::try_from(self.0.checked_div(quota.period).unwrap_or(0)).unwrap_or(0)
    }

    /// How long until this many are there; `None`: they are.
    fn until(self, quota: Quota, count: i64) -> Option<Duration> {
        let lacking = count.saturating_mul(quota.period).saturating_sub(self.0);
        let lacking = u64::try_from(lacking).ok().filter(|lacking| *lacking > 0)?;
        let per_microsecond = u64::try_from(quota.count).ok().filter(|count| *count > 0)?;
        Some(Duration::from_micros(lacking.div_ceil(per_microsecond)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(over: Overrun) -> DirectionRules {
        DirectionRules {
            messages: "10/s burst 5".parse().ok(),
            bytes: "1KiB/s burst 4KiB".parse().ok(),
            over,
            ..SessionRules::default().from_client
        }
    }

    fn millis(count: u64) -> Tick {
        Tick::START.after(Duration::from_millis(count))
    }

    #[test]
    fn a_count_over_its_rate_waits_or_closes() {
        let outcomes = [(Overrun::Slow, Charge::Wait(Duration::from_millis(100))), (Overrun::Close, Charge::Over)];
        for (over, outcome) in outcomes {
            let rules = rules(over);
            let mut limits = Limits::new(&rules);
            for _ in 0..5 {
                assert_eq!(limits.message(&rules, millis(0)), Charge::Paid, "FR11");
            }
            assert_eq!(limits.message(&rules, millis(0)), outcome, "FR11");
            limits.refill(&rules, millis(99));
            assert_ne!(limits.message(&rules, millis(99)), Charge::Paid);
            limits.refill(&rules, millis(100));
            assert_eq!(limits.message(&rules, millis(100)), Charge::Paid);
        }
    }

    /// Sends as fast as it may, with a rest of `rest` after every refusal, for two minutes.
    fn ends_after(rest: Duration) -> Option<Duration> {
        let rules = rules(Overrun::Slow);
        let mut limits = Limits::new(&rules);
        let mut now = Tick::START;
        while now < millis(120_000) {
            limits.refill(&rules, now);
            match limits.message(&rules, now) {
                Charge::Paid => {}
                Charge::Wait(wait) => now = now.after(wait).after(rest),
                Charge::Over => return Some(now.since(Tick::START)),
            }
        }
        None
    }

    #[test]
    fn an_overrun_ends_after_thirty_seconds_and_one_with_rests_does_not() {
        assert_eq!(ends_after(Duration::ZERO), Some(SessionRules::OVERRUN_LIMIT), "FR11");
        assert_eq!(ends_after(Duration::from_millis(1_000)), None);
    }

    #[test]
    fn one_message_in_excess_of_a_rare_rate_waits_and_those_that_go_on_end() {
        let rules = DirectionRules { messages: "1/m burst 1".parse().ok(), ..rules(Overrun::Slow) };
        let mut limits = Limits::new(&rules);
        assert_eq!(limits.message(&rules, millis(0)), Charge::Paid);
        assert_eq!(limits.message(&rules, millis(0)), Charge::Wait(Duration::from_secs(60)), "FR11");
        limits.refill(&rules, millis(60_000));
        assert_eq!(limits.message(&rules, millis(60_000)), Charge::Paid, "FR11");
        assert_eq!(limits.message(&rules, millis(60_000)), Charge::Over, "FR11: on end");
    }

    #[test]
    fn a_wait_for_bytes_is_no_rest() {
        // A second of debt for bytes behind every message that is over its count: forty of that are one overrun.
        let rules = rules(Overrun::Slow);
        let mut limits = Limits::new(&rules);
        limits.take_bytes(&rules, 4_096);
        let mut now = Tick::START;
        for _ in 0..40 {
            limits.refill(&rules, now);
            limits.take_bytes(&rules, 2_048);
            let charge = loop {
                let charge = limits.message(&rules, now);
                if charge != Charge::Paid {
                    break charge;
                }
            };
            match charge {
                Charge::Wait(wait) => now = now.after(wait.max(limits.debt(&rules))),
                _ => break,
            }
        }
        assert_eq!(now.since(Tick::START), SessionRules::OVERRUN_LIMIT, "FR11");
    }

    #[test]
    fn bytes_go_into_debt_or_stop_at_the_byte() {
        let slow = rules(Overrun::Slow);
        let mut limits = Limits::new(&slow);
        assert_eq!(limits.bytes_allowed(&slow, 5_120), 5_120);
        limits.take_bytes(&slow, 5_120);
        assert_eq!(limits.debt(&slow), Duration::from_secs(1));
        limits.refill(&slow, millis(1_000));
        assert_eq!(limits.debt(&slow), Duration::ZERO);

        let close = rules(Overrun::Close);
        let mut limits = Limits::new(&close);
        assert_eq!(limits.bytes_allowed(&close, 5_120), 4_096);
        limits.take_bytes(&close, 4_096);
        assert_eq!(limits.bytes_allowed(&close, 1), 0);
        limits.refill(&close, millis(1_000));
        assert_eq!(limits.bytes_allowed(&close, 5_120), 1_024);
    }
}
