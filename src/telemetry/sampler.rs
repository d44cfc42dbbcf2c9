//! Which refusals get a line of their own. A flood is counted exactly and told in sums; metrics see every one.
//!
//! Two buckets must both have room (GCRA, each one atomic): one for all refusals, and one of half its size for every
//! reason, so that a flood of one reason leaves lines for the others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::policy::Reason;
use crate::units::Rate;

/// What becomes of one refusal's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is written.
    Write,
    /// It is only counted.
    Count,
}

/// Chooses which refusals are written, and counts the others by reason.
#[derive(Debug)]
pub struct Sampler {
    all: Bucket,
    reasons: Vec<(Reason, Bucket, AtomicU64)>,
}

impl Sampler {
    /// A sampler that writes at most `rate`.
    pub fn new(rate: Rate) -> Self {
        let every = rate.period.checked_div(rate.count.get()).unwrap_or(rate.period);
        let burst = rate.burst.get();
        let of_reason = |reason: &Reason| {
            let bucket = Bucket::new(every.saturating_mul(2), burst.div_ceil(2));
            (*reason, bucket, AtomicU64::new(0))
        };
        Self { all: Bucket::new(every, burst), reasons: Reason::ALL.iter().map(of_reason).collect() }
    }

    /// Judges one refusal at the steady time `now`.
    pub fn judge(&self, reason: Reason, now: Duration) -> Verdict {
        let Some((_, bucket, suppressed)) = self.reasons.iter().find(|(of, _, _)| *of == reason) else {
            return Verdict::Write;
        };
        if bucket.take(now) && self.all.take(now) {
            return Verdict::Write;
        }
        suppressed.fetch_add(1, Ordering::Relaxed);
        Verdict::Count
    }

    /// Takes the counts of refusals that were not written since the last call, without the reasons that had none.
    pub fn take_suppressed(&self) -> Vec<(Reason, u64)> {
        self.reasons
            .iter()
            .map(|(reason, _, suppressed)| (*reason, suppressed.swap(0, Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

/// The generic cell rate algorithm over nanoseconds (ITU-T I.371): the time at which the bucket is full again.
#[derive(Debug)]
struct Bucket {
    full_at: AtomicU64,
    interval: u64,
    tolerance: u64,
}

impl Bucket {
    fn new(interval: Duration, burst: u32) -> Self {
        let interval = nanos(interval);
        let tolerance = interval.saturating_mul(u64::from(burst.saturating_sub(1)));
        Self { full_at: AtomicU64::new(0), interval, tolerance }
    }

    fn take(&self, now: Duration) -> bool {
        let now = nanos(now);
        let next = |full_at: u64| {
            let from = full_at.max(now);
            (from.saturating_sub(now) <= self.tolerance).then(|| from.saturating_add(self.interval))
        };
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(5);

    fn written(sampler: &Sampler, reason: Reason, count: u32, now: Duration) -> u64 {
        (0..count).map(|_| u64::from(sampler.judge(reason, now) == Verdict::Write)).sum()
    }

    #[test]
    fn rx17_a_flood_is_sampled_and_counted_exactly() {
        let sampler = Sampler::new("10/s burst 20".parse().unwrap());
        assert_eq!(written(&sampler, Reason::OriginNotAllowed, 100_000, START), 10);
        assert_eq!(written(&sampler, Reason::TokenSignature, 7, START), 7, "another reason still has lines");
        assert_eq!(written(&sampler, Reason::HeadMalformed, 7, START), 3, "all together keep to the rate");
        assert_eq!(
            sampler.take_suppressed(),
            [(Reason::HeadMalformed, 4), (Reason::OriginNotAllowed, 99_990)],
            "in the order of the table"
        );
        assert_eq!(sampler.take_suppressed(), [], "told once");
    }

    #[test]
    fn rx17_lines_come_back_with_time() {
        let sampler = Sampler::new("10/s burst 20".parse().unwrap());
        let mut lines = 0;
        for second in 0..10 {
            lines += written(&sampler, Reason::OriginNotAllowed, 1000, START + Duration::from_secs(second));
        }
        assert_eq!(lines, 10 + 9 * 5);
        let suppressed: u64 = sampler.take_suppressed().iter().map(|(_, count)| count).sum();
        assert_eq!(suppressed, 10_000 - lines);
    }

    #[test]
    fn a_quiet_gateway_writes_every_refusal() {
        let sampler = Sampler::new("2/s burst 2".parse().unwrap());
        for second in 0..20 {
            assert_eq!(written(&sampler, Reason::TlsFailed, 1, Duration::from_secs(second)), 1, "{second}");
        }
        assert_eq!(sampler.take_suppressed(), []);
    }
}
