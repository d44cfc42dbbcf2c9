//! What people and machines learn of the gateway: log lines and metrics, both made of [`Event`]s.
//!
//! Observing never waits: the log queues bounded lines for one writer thread, the metrics count with atomics. There is
//! no logging framework and no level filter: an event is either worth a line or it is not an event.

pub mod clock;
pub mod line;
pub mod log;
pub mod metrics;
pub mod notices;
pub mod queue;
pub mod sampler;
pub mod text;

use std::sync::Arc;

use crate::event::{Event, Observer, SharedObserver, Traffic};
use crate::session::Direction;
use metrics::Metrics;

/// Tells the metrics and another observer, in this order.
pub struct Fanout {
    metrics: Arc<Metrics>,
    next: SharedObserver,
}

impl Fanout {
    /// An observer that tells both.
    pub fn new(metrics: Arc<Metrics>, next: SharedObserver) -> Self {
        Self { metrics, next }
    }
}

impl Observer for Fanout {
    fn observe(&self, event: &Event) {
        self.metrics.observe(event);
        self.next.observe(event);
    }

    fn traffic(&self, direction: Direction, delta: Traffic) {
        self.metrics.traffic(direction, delta);
        self.next.traffic(direction, delta);
    }

    fn untold(&self) -> u64 {
        self.next.untold()
    }
}
