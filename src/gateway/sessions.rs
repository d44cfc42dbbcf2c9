//! The live sessions: how a drain reaches each of them, and how each is judged again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::clock;
use super::snapshot::Snapshot;
use crate::net::relay::{Control, Terms};
use crate::peer::ConnectionId;
use crate::policy::balance::Orphans;
use crate::policy::standing::{Standing, Upheld};
use crate::policy::{PolicyName, Reason, Refusal};
use crate::session::Cause;

/// Every live session by its id; bounded by the gateway's session slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Mutex<Live>>);

#[derive(Debug, Default)]
struct Live {
    residents: HashMap<ConnectionId, Arc<Resident>>,
    /// What a session that registers is told at once.
    closing: Option<Cause>,
    is_over: bool,
}

/// A session, from before its 101: how it is reached, and what it is judged by.
#[derive(Debug)]
pub(super) struct Resident {
    pub(super) id: ConnectionId,
    pub(super) standing: Standing,
    /// The server that took it.
    pub(super) server: Box<str>,
    pub(super) since: Instant,
    pub(super) control: Control,
    /// The policy version that judged it last.
    generation: AtomicU64,
}

/// A session's place in the register; dropped with it.
#[derive(Debug)]
pub(super) struct Registration {
    resident: Arc<Resident>,
    sessions: Sessions,
}

impl Resident {
    pub(super) fn new(id: ConnectionId, standing: Standing, server: &str, generation: u64) -> Self {
        let (control, generation) = (Control::new(), AtomicU64::new(generation));
        Self { id, standing, server: server.into(), since: Instant::now(), control, generation }
    }

    /// The policy version that judged it last.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    fn is_on(&self, policy: &PolicyName, server: &str) -> bool {
        *self.server == *server && self.standing.policy() == policy
    }

    /// Judges it by another snapshot; what it is held to from here on.
    pub(super) fn judge(&self, snapshot: &Snapshot) -> Result<Upheld, Refusal> {
        self.generation.fetch_max(snapshot.generation, Ordering::Relaxed);
        let upheld = self.standing.judge(&snapshot.policies, &snapshot.keys)?;
        let upstream = &upheld.policy.upstream;
        let is_named = || upstream.servers.iter().any(|server| *server.name == *self.server);
        if upstream.balancing.removed == Orphans::Close && !is_named() {
            return Err(Refusal::new(Reason::BackendRemoved).with_detail(self.server.as_ref()));
        }
        Ok(upheld)
    }

    /// Judges it by another snapshot, and tells it what comes of that: other terms, or its end.
    pub(super) fn judge_and_tell(&self, snapshot: &Snapshot) -> Result<(), Refusal> {
        match self.judge(snapshot) {
            Ok(upheld) => {
                self.control.adopt(terms(&upheld));
                Ok(())
            }
            Err(refusal) => {
                let is_orphan = refusal.reason == Reason::BackendRemoved;
                self.control.end(if is_orphan { Cause::ServerRemoved } else { Cause::Revoked });
                Err(refusal)
            }
        }
    }
}

fn terms(upheld: &Upheld) -> Terms {
    let left = upheld.session_until.map(|until| until.saturating_since(clock::unix_now()));
    // A lease that is too long for the clock has no end.
    let credential_ends = left.and_then(|left| Instant::now().into_std().checked_add(left));
    Terms { rules: Arc::clone(&upheld.policy.session), credential_ends }
}

impl Registration {
    pub(super) fn resident(&self) -> &Arc<Resident> {
        &self.resident
    }
}

impl Sessions {
    /// Registers a session before its 101, so that what ends all sessions, or judges them again, cannot miss it.
    pub(super) fn register(&self, resident: Resident) -> Registration {
        let resident = Arc::new(resident);
        let mut live = self.lock();
        if let Some(cause) = live.closing {
            resident.control.end(cause);
        }
        if live.is_over {
            resident.control.cut();
        }
        live.residents.insert(resident.id, Arc::clone(&resident));
        Registration { resident, sessions: self.clone() }
    }

    /// Asks every session to close, and every later one as soon as it registers.
    pub(super) fn close_all(&self, cause: Cause) {
        let mut live = self.lock();
        live.closing = Some(cause);
        for resident in live.residents.values() {
            resident.control.end(cause);
        }
    }

    /// Cuts every session, and every later one as soon as it registers.
    pub(super) fn cut_all(&self) {
        let mut live = self.lock();
        live.is_over = true;
        live.residents.values().for_each(|resident| resident.control.cut());
    }

    /// Asks every session on this server of this policy to close.
    pub(super) fn end_on(&self, policy: &PolicyName, server: &str, cause: Cause) {
        let live = self.lock();
        let theirs = live.residents.values().filter(|resident| resident.is_on(policy, server));
        theirs.for_each(|resident| resident.control.end(cause));
    }

    /// How many live.
    pub(super) fn len(&self) -> usize {
        self.lock().residents.len()
    }

    /// At most so many of them, and how many live.
    pub(super) fn some(&self, most: usize) -> (Vec<Arc<Resident>>, usize) {
        let live = self.lock();
        (live.residents.values().take(most).map(Arc::clone).collect(), live.residents.len())
    }

    /// The one with this id.
    pub(super) fn find(&self, id: ConnectionId) -> Option<Arc<Resident>> {
        self.lock().residents.get(&id).map(Arc::clone)
    }

    /// Those of these policies.
    pub(super) fn of(&self, policies: &HashSet<PolicyName>) -> Vec<Arc<Resident>> {
        let live = self.lock();
        let theirs = live.residents.values().filter(|resident| policies.contains(resident.standing.policy()));
        theirs.map(Arc::clone).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        // A panic while the lock is held leaves the map whole: each change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sessions.lock().residents.remove(&self.resident.id);
    }
}
