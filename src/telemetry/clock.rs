//! The two clocks that telemetry reads: the wall's for what people see, a steady one for rates.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall's time: it may jump.
    pub wall: Timestamp,
    /// The time since the clock was made: it never goes back.
    pub steady: Duration,
}

/// Reads both clocks; tests put their own in its place.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// The clocks of the machine.
#[expect(clippy::disallowed_methods, reason = "the adapter that reads the machine's clock for logs and metrics")]
pub fn system_clock() -> Clock {
    let start = Instant::now();
    Arc::new(move || Moment { wall: Timestamp::now(), steady: start.elapsed() })
}
