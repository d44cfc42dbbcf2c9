//! Token buckets for any number of keys in a fixed piece of memory.
//!
//! The table is 8-way set-associative: a key's hash names one set of eight buckets, and the key lives in one of them or
//! nowhere. A bucket is given to another key only when it is full again, because a full bucket and no bucket say the
//! same. So a flood of keys can neither grow the table nor wash a penalty out of it; a key that finds its set taken is
//! told so ([`Take::SetFull`]) and the caller charges a wider key.
//!
//! The rate is an argument of every charge and no property of a bucket: rules may change under a live table. What was
//! taken under another rate stays owed, unless the table is [adapted](BucketTable::adapt) to the rate. The arithmetic is governor's GCRA over a state store of one cell; absent are governor's keyed stores, which grow with
//! every key ever seen.

use std::cell::Cell;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::PoisonError;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::sync::{Mutex, MutexGuard};
use crate::units::Rate;

/// Buckets of one set.
const WAYS: usize = 8;

/// The longest time in which an empty bucket fills: rates and bursts beyond it are cut, so that sums of times cannot
/// overflow.
const LONGEST_FILL: Duration = Duration::from_secs(365 * 24 * 3600);

/// A key, hashed with the process's random seed.
///
/// Only the hash is kept. Two keys with the same 64 bits share a bucket or a counter; who does not know the seed
/// cannot look for such a pair, and among a million keys there is one with a chance below 1 in 10^7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

impl Key {
    /// The key of `value` under `seed`.
    pub(super) fn new(seed: &RandomState, value: &impl Hash) -> Self {
        Self(seed.hash_one(value))
    }

    /// Which of `count` equal parts the key belongs to.
    pub(super) fn part(self, count: usize) -> usize {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.0.checked_rem(count).and_then(|part| usize::try_from(part).ok()).unwrap_or(0)
    }
}

/// How a charge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// The bucket had a token, which is spent.
    Taken,
    /// The bucket is empty; it has a token after this time.
    Empty(Duration),
    /// All buckets of the key's set belong to other keys and are not full again.
    SetFull,
}

/// How much of a table is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Buckets that are not full again.
    pub spent: usize,
    /// Buckets that there are.
    pub total: usize,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    key: u64,
    /// When the bucket is full again, in nanoseconds of the table's clock (GCRA's theoretical arrival time).
    full_at: u64,
}

/// A fixed number of token buckets.
pub(super) struct BucketTable {
    sets: Box<[Mutex<[Bucket; WAYS]>]>,
}

impl BucketTable {
    /// A table of about `buckets` buckets; each takes 16 bytes, whether used or not.
    pub(super) fn new(buckets: usize) -> Self {
        let sets = buckets.div_ceil(WAYS).max(1);
        Self { sets: (0..sets).map(|_| Mutex::default()).collect() }
    }

    /// Takes one token from the bucket of `key` at time `now`, counted from the table's birth.
    pub(super) fn take(&self, key: Key, quota: Quota, now: Nanos) -> Take {
        let Some(mut set) = self.set(key) else { return Take::SetFull };
        let now_nanos = now.as_u64();
        let own = set.iter().position(|bucket| bucket.key == key.0);
        let place = own.or_else(|| set.iter().position(|bucket| bucket.full_at <= now_nanos));
        let Some(bucket) = place.and_then(|place| set.get_mut(place)) else { return Take::SetFull };
        if bucket.key != key.0 {
            *bucket = Bucket { key: key.0, full_at: 0 };
        }
        let fills_in = Nanos::new(bucket.full_at.saturating_sub(now_nanos));
        match charge(fills_in, quota) {
            Ok(fills_in) => {
                bucket.full_at = now_nanos.saturating_add(fills_in.as_u64());
                Take::Taken
            }
            Err(wait) => Take::Empty(wait),
        }
    }

    /// Returns one token to the bucket of `key`, which must have been taken under the same quota.
    pub(super) fn give_back(&self, key: Key, quota: Quota) {
        let Some(mut set) = self.set(key) else { return };
        let interval = Nanos::from(quota.replenish_interval()).as_u64();
        if let Some(bucket) = set.iter_mut().find(|bucket| bucket.key == key.0) {
            bucket.full_at = bucket.full_at.saturating_sub(interval);
        }
    }

    /// Leaves no bucket emptier than empty by this rate: who waits for an hour's token by a strict rate waits no longer
    /// than the lax one that replaces it asks for. Walks the table.
    pub(super) fn adapt(&self, quota: Quota, now: Nanos) {
        let empty = now.as_u64().saturating_add(Nanos::from(quota.burst_size_replenished_in()).as_u64());
        for set in &self.sets {
            lock(set).iter_mut().for_each(|bucket| bucket.full_at = bucket.full_at.min(empty));
        }
    }

    /// How much of the table is in use at time `now`. Walks the table.
    pub(super) fn fill(&self, now: Nanos) -> Fill {
        let spent_in =
            |set: &Mutex<[Bucket; WAYS]>| lock(set).iter().filter(|bucket| bucket.full_at > now.as_u64()).count();
        Fill { spent: self.sets.iter().map(spent_in).sum(), total: self.sets.len().saturating_mul(WAYS) }
    }

    fn set(&self, key: Key) -> Option<MutexGuard<'_, [Bucket; WAYS]>> {
        self.sets.get(key.part(self.sets.len())).map(lock)
    }
}

fn lock(set: &Mutex<[Bucket; WAYS]>) -> MutexGuard<'_, [Bucket; WAYS]> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A rate as governor takes it, with `times` its count and its burst; a factor of zero counts as one.
pub(super) fn quota(rate: Rate, times: u32) -> Quota {
    let times = NonZeroU32::new(times).unwrap_or(NonZeroU32::MIN);
    let count = rate.count.saturating_mul(times);
    let interval = rate.period.checked_div(count.get()).unwrap_or(rate.period);
    let interval = interval.clamp(Duration::from_nanos(1), LONGEST_FILL);
    let most = LONGEST_FILL.as_nanos().checked_div(interval.as_nanos()).unwrap_or(1);
    let most = u32::try_from(most).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
    let burst = rate.burst.saturating_mul(times).min(most);
    Quota::with_period(interval).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst)
}

/// Takes one token from a bucket that is full again in `fills_in`; returns when it is full again after that, or how
/// long it stays empty.
fn charge(fills_in: Nanos, quota: Quota) -> Result<Nanos, Duration> {
    let at = Nanos::new(0);
    let limiter = RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(quota, OneCell(Cell::new(fills_in)), Moment(at));
    limiter.check().map_err(|not_until| not_until.wait_time_from(at))?;
    Ok(limiter.into_state_store().0.get())
}

/// One bucket's state, held by the table's lock.
struct OneCell(Cell<Nanos>);

impl StateStore for OneCell {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = decide(Some(self.0.get()))?;
        self.0.set(next);
        Ok(outcome)
    }
}

/// A clock that stands at the time of the charge.
#[derive(Clone, Copy, Debug)]
struct Moment(Nanos);

impl Clock for Moment {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn per_second(text: &str) -> Quota {
        quota(text.parse().unwrap(), 1)
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let table = BucketTable::new(8);
        let key = Key(7);
        let two = per_second("1/s burst 2");
        // Time in tenths of a second, and what a charge then gets.
        let steps = [
            (0, Take::Taken),
            (0, Take::Taken),
            (0, Take::Empty(Duration::from_secs(1))),
            (9, Take::Empty(Duration::from_millis(100))),
            (10, Take::Taken),
            (10, Take::Empty(Duration::from_secs(1))),
            (1000, Take::Taken),
            (1000, Take::Taken),
            (1000, Take::Empty(Duration::from_secs(1))),
        ];
        for (tenths, expected) in steps {
            assert_eq!(table.take(key, two, Nanos::new(tenths * SECOND / 10)), expected, "{tenths}");
        }
        table.give_back(key, two);
        assert_eq!(table.take(key, two, Nanos::new(100 * SECOND)), Take::Taken, "given back");
    }

    #[test]
    fn a_bucket_is_emptied_by_one_rate_and_fills_at_another() {
        let table = BucketTable::new(8);
        let (strict, lax) = (per_second("1/h burst 4"), per_second("1/s burst 2"));
        let take = |quota, seconds: u64| table.take(Key(7), quota, Nanos::new(seconds * SECOND));
        (0..4).for_each(|_| assert_eq!(take(strict, 0), Take::Taken));
        assert_eq!(take(strict, 0), Take::Empty(Duration::from_secs(3600)), "the twin: the rate stays");
        assert!(
            matches!(take(lax, 0), Take::Empty(wait) if wait > Duration::from_secs(3600)),
            "what is owed stays owed"
        );
        table.adapt(lax, Nanos::new(0));
        assert_eq!(take(lax, 0), Take::Empty(Duration::from_secs(1)), "empty, and no more than that");
        assert_eq!(take(lax, 1), Take::Taken);
        assert_eq!(take(strict, 1), Take::Taken, "one that took two seconds' worth has nearly all of an hour's");
    }

    #[test]
    fn a_known_network_gets_its_rate_and_burst_times_over() {
        let rate: Rate = "20/s burst 400".parse().unwrap();
        let ten = quota(rate, 10);
        assert_eq!(ten.burst_size().get(), 4000);
        assert_eq!(ten.replenish_interval(), Duration::from_millis(5));
        assert_eq!(quota(rate, 1).burst_size().get(), 400);
    }

    #[test]
    fn absurd_rates_are_cut_and_do_not_overflow() {
        let cases = ["1/h burst 4294967295", "4294967295/s burst 4294967295", "4294967295/s burst 1", "1/h"];
        for text in cases {
            let absurd = quota(text.parse().unwrap(), u32::MAX);
            assert!(absurd.burst_size_replenished_in() <= LONGEST_FILL + Duration::from_secs(3600), "{text}");
            assert_eq!(BucketTable::new(8).take(Key(1), absurd, Nanos::new(u64::MAX)), Take::Taken, "{text}");
        }
    }

    #[test]
    fn rx09_more_keys_than_buckets_do_not_grow_the_table() {
        let table = BucketTable::new(1024);
        let slow = per_second("1/s");
        let seed = RandomState::new();
        let outcomes: Vec<Take> =
            (0..100_000_u32).map(|n| table.take(Key::new(&seed, &n), slow, Nanos::new(0))).collect();
        let taken = outcomes.iter().filter(|take| **take == Take::Taken).count();
        assert_eq!(table.fill(Nanos::new(0)), Fill { spent: 1024, total: 1024 });
        assert_eq!(taken, 1024, "each bucket served one key");
        assert!(outcomes.iter().all(|take| matches!(take, Take::Taken | Take::SetFull)));
        assert_eq!(table.fill(Nanos::new(SECOND)).spent, 0, "all are full again");
        assert_eq!(table.take(Key::new(&seed, &100_001), slow, Nanos::new(SECOND)), Take::Taken, "the twin");
    }

    #[test]
    fn rx11_keys_that_collide_under_one_seed_are_spread_by_another() {
        const SETS: usize = 1024;
        const KEYS: usize = 64;
        let (known, secret) = (RandomState::new(), RandomState::new());
        let collide = |n: &u32| Key::new(&known, n).part(SETS) == 0;
        let chosen: Vec<u32> = (0..).filter(collide).take(KEYS).collect();
        let slow = per_second("1/s");
        let served = |seed: &RandomState| {
            let table = BucketTable::new(SETS * WAYS);
            let take = |n: &&u32| table.take(Key::new(seed, n), slow, Nanos::new(0)) == Take::Taken;
            chosen.iter().filter(take).count()
        };
        assert_eq!(served(&known), WAYS, "who knew the seed could fill a set");
        assert_eq!(served(&secret), KEYS, "the twin: who does not know it finds no two in each other's way");
    }

    #[test]
    fn rx10_churn_evicts_no_penalty() {
        let table = BucketTable::new(64);
        let seed = RandomState::new();
        let slow = per_second("1/s burst 60");
        let fast = per_second("1000/s burst 1");
        let victim = Key::new(&seed, &"victim");
        for _ in 0..60 {
            assert_eq!(table.take(victim, slow, Nanos::new(0)), Take::Taken);
        }
        let mut turned_over = 0;
        for n in 0..20_000_u64 {
            // Half a millisecond apart: most buckets of the churn are full again and turn over, the victim's is not.
            let now = Nanos::new(n * SECOND / 2000);
            turned_over += usize::from(table.take(Key::new(&seed, &n), fast, now) == Take::Taken);
            if n == 1_000 {
                assert!(matches!(table.take(victim, slow, Nanos::new(SECOND / 2)), Take::Empty(_)));
            }
        }
        assert!(turned_over > 10_000, "{turned_over}");
        // Ten seconds later ten tokens have come back, and not sixty.
        let now = Nanos::new(10 * SECOND);
        let back = (0..60).filter(|_| table.take(victim, slow, now) == Take::Taken).count();
        assert_eq!(back, 10);
        assert_eq!(table.take(victim, slow, Nanos::new(100 * SECOND)), Take::Taken, "the twin: time mends it");
    }
}
