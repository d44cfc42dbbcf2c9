//! The wall clock, for what tokens say of time. It may step; timers do not use it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::units::UnixSeconds;

/// Seconds since 1970; zero where the clock stands before it, so that every token is not valid yet.
#[expect(clippy::disallowed_methods, reason = "the gateway is where wall time enters the judgements")]
pub(super) fn unix_now() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
