//! The wall clock, for what tokens say of time. It may step; timers do not use it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::units::UnixSeconds;

/// Seconds since 1970; zero where the clock stands before it, so that every token is not valid yet.
pub(super) fn unix_now() -> UnixSeconds {
    UnixSeconds(since_1970().as_secs())
}

/// How long it is until the first moment of this second.
pub(super) fn left_until(end: UnixSeconds) -> Duration {
    left(end, since_1970())
}

/// The same at a time since 1970, which is not rounded: a whole second of it would make a lease longer.
fn left(end: UnixSeconds, now: Duration) -> Duration {
    Duration::from_secs(end.0).saturating_sub(now)
}

#[expect(clippy::disallowed_methods, reason = "the gateway is where wall time enters the judgements")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn au28_a_lease_ends_at_its_second_and_not_in_it() {
        let end = UnixSeconds(1_767_225_605);
        let cases = [
            (Duration::from_millis(1_767_225_600_000), Duration::from_secs(5)),
            (Duration::from_millis(1_767_225_600_001), Duration::from_millis(4999)),
            (Duration::from_millis(1_767_225_600_999), Duration::from_millis(4001)),
            (Duration::new(1_767_225_604, 999_999_999), Duration::from_nanos(1)),
            (Duration::from_secs(1_767_225_605), Duration::ZERO),
            (Duration::from_secs(1_767_225_700), Duration::ZERO),
        ];
        for (now, expected) in cases {
            assert_eq!(left(end, now), expected, "{now:?}");
            assert!(now + left(end, now) <= Duration::from_secs(end.0).max(now), "never late");
        }
        assert_eq!(cases.len(), 6);
    }
}
