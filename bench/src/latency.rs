//! Latencies, counted in buckets: exact to 0.8 %, in a bounded place however many there are.

use std::time::{Duration, Instant};

/// Buckets for each power of two.
const STEPS: u32 = 128;
/// Powers of two above the first: 2^40 ns are 18 minutes, longer than any wait.
const POWERS: u32 = 33;
/// Buckets in all.
const BUCKETS: usize = STEPS as usize * (POWERS as usize + 1);

/// The time.
#[expect(clippy::disallowed_methods, reason = "where a benchmark reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How often each latency was seen.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0 }
    }
}

impl Latencies {
    /// Counts one.
    pub(crate) fn add(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let bucket = usize::try_from(bucket_of(nanos)).unwrap_or(usize::MAX).min(BUCKETS - 1);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
            self.count += 1;
        }
    }

    /// Counts what another has counted.
    pub(crate) fn join(&mut self, other: &Self) {
        for (count, its) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += its;
        }
        self.count += other.count;
    }

    /// How many were counted.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The microseconds that `percent` of all latencies stay within; 0 if there are none.
    pub(crate) fn percentile_us(&self, percent: u64) -> f64 {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in (0_u64..).zip(&self.buckets) {
            seen += count;
            if seen >= rank {
                return middle_of(bucket) / 1000.0;
            }
        }
        0.0
    }
}

/// The bucket of a latency: linear up to `STEPS` ns, then `STEPS` to each power of two.
fn bucket_of(nanos: u64) -> u64 {
    let power = nanos.max(1).ilog2().saturating_sub(STEPS.ilog2());
    match power {
        0 if nanos < u64::from(STEPS) => nanos,
        _ => u64::from(STEPS * power) + (nanos >> power),
    }
}

/// The nanoseconds in the middle of a bucket.
fn middle_of(bucket: u64) -> f64 {
    let steps = u64::from(STEPS);
    if bucket < 2 * steps {
        return bucket as f64;
    }
    let power = bucket / steps - 1;
    let low = (steps + bucket % steps) << power;
    (low as f64) + ((1_u64 << power) as f64) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_keep_a_latency_to_one_percent() {
        let mut last = 0;
        for nanos in 0..1_000_000_u64 {
            let bucket = bucket_of(nanos);
            assert!(bucket == last || bucket == last + 1, "{nanos} ns");
            let middle = middle_of(bucket);
            assert!((middle - nanos as f64).abs() <= nanos as f64 / 100.0, "{nanos} ns are told as {middle}");
            last = bucket;
        }
    }

    #[test]
    fn the_last_bucket_is_the_last_of_the_last_power() {
        assert_eq!(bucket_of((1 << 40) - 1), BUCKETS as u64 - 1);
    }

    #[test]
    fn percentiles_are_of_the_ranks() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile_us(50), 0.0);
        for micros in 1..=100 {
            latencies.add(Duration::from_micros(micros));
        }
        assert_eq!(latencies.count(), 100);
        for (percent, micros) in [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)] {
            let told = latencies.percentile_us(percent);
            assert!((told - micros).abs() < micros / 100.0, "p{percent} is {told}");
        }
    }

    #[test]
    fn what_is_longer_than_any_wait_is_counted_in_the_last_bucket() {
        let mut latencies = Latencies::default();
        latencies.add(Duration::from_secs(1 << 40));
        assert_eq!(latencies.count(), 1);
        assert!(latencies.percentile_us(50) > 1e9);
    }
}
