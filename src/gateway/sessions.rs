//! The live sessions: how a drain reaches each of them, and how each is judged again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::clock;
use super::snapshot::Snapshot;
use crate::event::Who;
use crate::net::relay::{Control, Terms};
use crate::peer::{ConnectionId, SessionId};
use crate::policy::balance::Orphans;
use crate::policy::revocation::Facts;
use crate::policy::standing::{Renewal, Standing, Upheld};
use crate::policy::{Policy, PolicyName, Reason, Refusal};
use crate::session::Cause;
use crate::units::UnixSeconds;

/// Every live session by its id; bounded by the gateway's session slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Register>);

#[derive(Debug, Default)]
struct Register {
    live: Mutex<Live>,
    /// Told of who registers during a drain.
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Live {
    residents: HashMap<ConnectionId, Arc<Resident>>,
    /// Those that may be renewed, by the id that their clients know.
    renewable: HashMap<SessionId, ConnectionId>,
    /// Those who registered during a drain and were not taken by [`Sessions::newcomers`]; `None` without a drain.
    newcomers: Option<Vec<Arc<Resident>>>,
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
    /// The credential that renewed it last. Whoever judges it holds this until it was told what comes of that, so that of two
    /// who do the one with the later snapshot has the last word.
    renewal: Mutex<Option<Box<Renewal>>>,
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
        let (server, since, renewal) = (server.into(), Instant::now(), Mutex::default());
        Self { id, standing, server, since, control, generation, renewal }
    }

    /// Who it is, for its record.
    pub(super) fn who(&self) -> Who {
        Who {
            id: self.id,
            client: Some(self.standing.client()),
            policy: Some(self.standing.policy().clone()),
            generation: self.generation(),
            subject: self.standing.subject().map(str::to_owned),
        }
    }

    /// Judges it by the facts that count where something was revoked.
    pub(super) fn judge_by_facts<T>(&self, judge: impl FnOnce(&Facts<'_>) -> T) -> T {
        judge(&self.standing.facts(self.id, self.renewal().as_deref()))
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
        self.judge_by(self.renewal().as_deref(), snapshot)
    }

    /// Judges it by another snapshot, and tells it what comes of that: other terms, or its end.
    pub(super) fn judge_and_tell(&self, snapshot: &Snapshot) -> Result<(), Refusal> {
        let renewal = self.renewal();
        match self.judge_by(renewal.as_deref(), snapshot) {
            Ok(upheld) => {
                self.control.adopt(terms(&upheld));
                Ok(())
            }
            Err(refusal) => {
                self.control.end(match refusal.reason {
                    Reason::BackendRemoved => Cause::ServerRemoved,
                    Reason::BackendDown => Cause::ServerDown,
                    _ => Cause::Revoked,
                });
                Err(refusal)
            }
        }
    }

    /// Gives it the lease of a fresher credential; when it ends then. A credential by which it may not stay changes nothing,
    /// and is none of its own; nor is one that comes to a session which is ending.
    pub(super) fn renew(&self, snapshot: &ArcSwap<Snapshot>, fresh: Renewal) -> Result<UnixSeconds, Refusal> {
        let mut renewal = self.renewal();
        let upheld = self.judge_by(Some(&fresh), &snapshot.load_full()).map_err(|_| Reason::UnknownSession)?;
        self.control.adopt(terms(&upheld));
        // Adopted first, looked at then: an end that begins before its task has its turn is found here.
        if self.control.is_ending() {
            return Err(Reason::UnknownSession.into());
        }
        *renewal = Some(Box::new(fresh));
        let left = upheld.policy.session.max_age.saturating_sub(self.since.elapsed());
        let oldest = clock::unix_now().saturating_add(left);
        Ok(upheld.session_until.map_or(oldest, |until| until.min(oldest)))
    }

    fn judge_by(&self, renewal: Option<&Renewal>, snapshot: &Snapshot) -> Result<Upheld, Refusal> {
        self.generation.fetch_max(snapshot.generation, Ordering::Relaxed);
        snapshot.judge_address(self.standing.client())?;
        let upheld = self.standing.judge(renewal, &snapshot.policies, &snapshot.keys)?;
        self.judge_server(&upheld.policy, snapshot)?;
        Ok(upheld)
    }

    /// Whether this policy leaves it on its server.
    pub(super) fn judge_server(&self, policy: &Policy, snapshot: &Snapshot) -> Result<(), Refusal> {
        let is_named = || policy.upstream.servers.iter().any(|server| *server.name == *self.server);
        let may_not = |reason| Err(Refusal::new(reason).with_detail(self.server.as_ref()));
        if policy.upstream.balancing.removed == Orphans::Close && !is_named() {
            return may_not(Reason::BackendRemoved);
        }
        match snapshot.dialers.get(&policy.name) {
            Some(dialer) if dialer.has_lost(&self.server) => may_not(Reason::BackendDown),
            _ => Ok(()),
        }
    }

    fn renewal(&self) -> MutexGuard<'_, Option<Box<Renewal>>> {
        // Each change is one assignment: a panic leaves it whole.
        self.renewal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn terms(upheld: &Upheld) -> Terms {
    // Read before the time that is left, so that the end is not late by what passes between them.
    let now = Instant::now().into_std();
    // A lease that is too long for the clock has no end.
    let credential_ends = upheld.session_until.and_then(|until| now.checked_add(clock::left_until(until)));
    Terms { rules: Arc::clone(&upheld.policy.session), credential_ends }
}

impl Registration {
    pub(super) fn resident(&self) -> &Arc<Resident> {
        &self.resident
    }
}

impl Sessions {
    /// Registers a session before its 101, so that what ends all sessions, or judges them again, cannot miss it.
    ///
    /// # Errors
    /// `session_id_taken` where another live one has the id that its client chose.
    pub(super) fn register(&self, resident: Resident) -> Result<Registration, Refusal> {
        let resident = Arc::new(resident);
        let mut live = self.lock();
        if let Some(session) = resident.standing.session() {
            match live.renewable.entry(session) {
                Entry::Occupied(_) => return Err(Reason::SessionIdTaken.into()),
                Entry::Vacant(place) => drop(place.insert(resident.id)),
            }
        }
        if let Some(newcomers) = &mut live.newcomers {
            newcomers.push(Arc::clone(&resident));
            self.0.arrived.notify_one();
        }
        if live.is_over {
            resident.control.cut();
        }
        live.residents.insert(resident.id, Arc::clone(&resident));
        Ok(Registration { resident, sessions: self.clone() })
    }

    /// Every session; who registers from here on is found among the [newcomers](Self::newcomers).
    pub(super) fn begin_drain(&self) -> Vec<Arc<Resident>> {
        let mut live = self.lock();
        live.newcomers.get_or_insert_default();
        live.residents.values().map(Arc::clone).collect()
    }

    /// Waits for sessions that register during a drain.
    pub(super) async fn newcomers(&self) -> Vec<Arc<Resident>> {
        self.0.arrived.notified().await;
        self.lock().newcomers.as_mut().map(std::mem::take).unwrap_or_default()
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
        for resident in theirs {
            resident.control.end(cause);
        }
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

    /// All that live at this moment.
    pub(super) fn all(&self) -> Vec<Arc<Resident>> {
        self.lock().residents.values().map(Arc::clone).collect()
    }

    /// The one with this id.
    pub(super) fn find(&self, id: ConnectionId) -> Option<Arc<Resident>> {
        self.lock().residents.get(&id).map(Arc::clone)
    }

    /// The one that its client calls so.
    pub(super) fn called(&self, session: SessionId) -> Option<Arc<Resident>> {
        let live = self.lock();
        live.renewable.get(&session).and_then(|id| live.residents.get(id)).map(Arc::clone)
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        // A panic while the lock is held leaves each map whole: each change is one insertion or removal.
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut live = self.sessions.lock();
        live.residents.remove(&self.resident.id);
        if let Some(session) = self.resident.standing.session() {
            live.renewable.remove(&session);
        }
    }
}
