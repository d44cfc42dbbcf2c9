//! What others may ask of a session.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Context;
use std::time::Instant;

use futures_util::task::AtomicWaker;

use crate::session::{Cause, SessionRules, Side, Traffic};

/// Ends a session from outside, or changes what it is held to: kept beside whoever may revoke, drain or replace it.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<Request>);

/// What a session is held to from here on.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The rules of its policy.
    pub rules: Arc<SessionRules>,
    /// When its credential ends; `None`: never.
    pub credential_ends: Option<Instant>,
}

#[derive(Debug, Default)]
struct Request {
    cause: OnceLock<Cause>,
    /// Whether access was taken away, whatever else ended it before.
    is_revoked: AtomicBool,
    is_cut: AtomicBool,
    /// Whether the session has begun to end, whatever for.
    is_closing: AtomicBool,
    /// Whether `terms` holds some that nobody took: no lock is taken while it does not.
    has_terms: AtomicBool,
    terms: Mutex<Option<Terms>>,
    waker: AtomicWaker,
    /// What was passed on so far, of the client and of the backend. One task writes it, and whoever asks reads it.
    passed: [Passed; 2],
}

#[derive(Debug, Default)]
struct Passed {
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// What was asked so far.
pub(super) enum Asked {
    Nothing,
    /// To go on under other terms.
    Adopt(Terms),
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

    /// Asks for the session's end. The first cause counts, and [`Cause::Revoked`] above any other. Whether this is it.
    pub fn end(&self, cause: Cause) -> bool {
        let is_first = self.mark(cause);
        if is_first {
            self.wake();
        }
        is_first
    }

    /// The same, of which the session learns at its next turn: so many can be marked before any takes a worker's time.
    pub fn mark(&self, cause: Cause) -> bool {
        match cause {
            Cause::Revoked => !self.0.is_revoked.swap(true, Ordering::AcqRel),
            _ => self.0.cause.set(cause).is_ok(),
        }
    }

    /// Gives the session a turn.
    pub fn wake(&self) {
        self.0.waker.wake();
    }

    /// Whether its end was asked for, or has begun: no other terms can keep it.
    pub fn is_ending(&self) -> bool {
        let Request { cause, is_revoked, is_cut, is_closing, .. } = self.0.as_ref();
        cause.get().is_some() || [is_revoked, is_cut, is_closing].into_iter().any(|flag| flag.load(Ordering::Acquire))
    }

    /// Notes that the session has begun to end.
    pub(super) fn closes(&self) {
        self.0.is_closing.store(true, Ordering::Release);
    }

    /// Ends the session at once: nothing more is read or written.
    pub fn cut(&self) {
        self.0.is_cut.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// What the client and what the backend sent and was passed on so far.
    pub fn traffic(&self) -> [Traffic; 2] {
        let read = |passed: &Passed| Traffic {
            messages: passed.messages.load(Ordering::Relaxed),
            bytes: passed.bytes.load(Ordering::Relaxed),
        };
        self.0.passed.each_ref().map(read)
    }

    /// Notes what a side sent and was passed on so far: two plain stores.
    pub(super) fn passed(&self, from: Side, total: Traffic) {
        let [client, backend] = &self.0.passed;
        let passed = match from {
            Side::Client => client,
            Side::Backend => backend,
        };
        passed.messages.store(total.messages, Ordering::Relaxed);
        passed.bytes.store(total.bytes, Ordering::Relaxed);
    }

    /// Holds the session to other terms; the last ones count.
    pub fn adopt(&self, terms: Terms) {
        *self.0.terms() = Some(terms);
        self.0.has_terms.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// What was asked; whoever asks later wakes the task.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Asked {
        self.0.waker.register(cx.waker());
        if self.0.is_cut.load(Ordering::Acquire) {
            return Asked::Cut;
        }
        if self.0.is_revoked.load(Ordering::Acquire) {
            return Asked::End(Cause::Revoked);
        }
        if let Some(cause) = self.0.cause.get() {
            return Asked::End(*cause);
        }
        if self.0.has_terms.load(Ordering::Acquire) && self.0.has_terms.swap(false, Ordering::AcqRel) {
            return self.0.terms().take().map_or(Asked::Nothing, Asked::Adopt);
        }
        Asked::Nothing
    }
}

impl Request {
    fn terms(&self) -> MutexGuard<'_, Option<Terms>> {
        // Each change is one assignment: a panic leaves it whole.
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
