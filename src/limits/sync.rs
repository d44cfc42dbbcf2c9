//! Where the locks and counters of this room come from: std, or the scheduler of `models/`, which tries their
//! interleavings.

#[cfg(shuttle)]
pub(super) use shuttle::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(shuttle))]
pub(super) use std::sync::{Mutex, MutexGuard, atomic};
