//! tokio's clock, moved by a test: what is to happen in an hour happens now, on a machine as slow as it may be.
//!
//! For a runtime of one thread (`#[tokio::test]`) and a gateway in it. The wall clock, by which tokens are judged, goes on.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{advance, pause, resume};

use super::PATIENCE;

/// As if so much time had passed.
pub async fn passes(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

/// A clock that stands still while this lives. Nothing is waited for with a deadline meanwhile; behind several times
/// [`PATIENCE`] it runs through all deadlines at once, so that a test ends.
pub struct Stopped(Option<Sender<()>>);

impl Stopped {
    /// Stops the clock.
    pub fn clock() -> Self {
        pause();
        let (held, ends) = channel();
        // While a blocking task runs tokio does not move a clock that is paused.
        drop(spawn_blocking(move || ends.recv_timeout(4 * PATIENCE)));
        Self(Some(held))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.take();
        resume();
    }
}
