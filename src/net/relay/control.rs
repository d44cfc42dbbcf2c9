//! What others may ask of a session.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Context;

use futures_util::task::AtomicWaker;

use crate::session::Cause;

/// Ends a session from outside: kept beside whoever may revoke, drain or replace it.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<Request>);

#[derive(Debug, Default)]
struct Request {
    cause: OnceLock<Cause>,
    is_cut: AtomicBool,
    waker: AtomicWaker,
}

/// What was asked so far.
pub(super) enum Asked {
    Nothing,
    /// To close, for a cause.
    End(Cause),
    /// To be gone at once.
    Cut,
}

impl Control {
    /// A handle of which nobody has asked anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the session's end; the first cause counts.
    pub fn end(&self, cause: Cause) {
        if self.0.cause.set(cause).is_ok() {
            self.0.waker.wake();
        }
    }

    /// Ends the session at once: nothing more is read or written.
    pub fn cut(&self) {
        self.0.is_cut.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// What was asked; whoever asks later wakes the task.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Asked {
        self.0.waker.register(cx.waker());
        if self.0.is_cut.load(Ordering::Acquire) {
            return Asked::Cut;
        }
        self.0.cause.get().map_or(Asked::Nothing, |cause| Asked::End(*cause))
    }
}
