//! The live sessions: how a drain reaches each of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::net::relay::Control;
use crate::peer::ConnectionId;
use crate::session::Cause;

/// Every live session by its id; bounded by the gateway's session slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Mutex<Live>>);

#[derive(Debug, Default)]
struct Live {
    controls: HashMap<ConnectionId, Control>,
    /// What a session that registers is told at once.
    closing: Option<Cause>,
    is_over: bool,
}

/// A session's place in the register; dropped with it.
#[derive(Debug)]
pub(super) struct Registration {
    id: ConnectionId,
    sessions: Sessions,
}

impl Sessions {
    /// Registers a session before its 101, so that what ends all sessions cannot miss it.
    pub(super) fn register(&self, id: ConnectionId, control: Control) -> Registration {
        let mut live = self.lock();
        if let Some(cause) = live.closing {
            control.end(cause);
        }
        if live.is_over {
            control.cut();
        }
        live.controls.insert(id, control);
        Registration { id, sessions: self.clone() }
    }

    /// Asks every session to close, and every later one as soon as it registers.
    pub(super) fn close_all(&self, cause: Cause) {
        let mut live = self.lock();
        live.closing = Some(cause);
        for control in live.controls.values() {
            control.end(cause);
        }
    }

    /// Cuts every session, and every later one as soon as it registers.
    pub(super) fn cut_all(&self) {
        let mut live = self.lock();
        live.is_over = true;
        live.controls.values().for_each(Control::cut);
    }

    /// How many live.
    pub(super) fn len(&self) -> usize {
        self.lock().controls.len()
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        // A panic while the lock is held leaves the map whole: each change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sessions.lock().controls.remove(&self.id);
    }
}
