//! One timer for all deadlines of a session.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::task::coop::has_budget_remaining;
use tokio::time::{self, Sleep};

/// Wakes the session's task at its next deadline. It is moved only to an earlier time: a deadline that was put off makes
/// it ring once for nothing, which costs less than moving it with every message.
pub(super) struct Alarm<'a> {
    sleep: Pin<&'a mut Sleep>,
    armed: Option<Armed>,
}

/// When it rings, and whom it wakes.
struct Armed {
    at: Instant,
    waker: Waker,
}

impl<'a> Alarm<'a> {
    /// Rings by `sleep`, whatever that was set to.
    pub(super) fn new(sleep: Pin<&'a mut Sleep>) -> Self {
        Self { sleep, armed: None }
    }

    /// Ready once, at or after `due`. The timer itself is asked when it may have rung, not with every message.
    pub(super) fn poll(&mut self, due: Option<Instant>, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = due else { return Poll::Pending };
        let set = self.armed.as_ref().filter(|armed| armed.at <= due);
        if set.is_some_and(|armed| now < armed.at && armed.waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let at = set.map_or(due, |armed| armed.at);
        if set.is_none() {
            self.sleep.as_mut().reset(time::Instant::from_std(at));
        }
        self.armed = None;
        let rung = self.sleep.as_mut().poll(cx);
        // A task that has used up its share of time is not told of its timer: the timer knows no waker then.
        if rung.is_pending() && has_budget_remaining() {
            self.armed = Some(Armed { at, waker: cx.waker().clone() });
        }
        rung
    }
}
