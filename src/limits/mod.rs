//! How many and how often: the counters and buckets of the whole gateway, of addresses, subjects, policies and servers.
//!
//! [`Limits`] is one object, shared by all connections, and outlives every configuration: policies come as names and
//! quotas as arguments. Its calls stand in the order of a connection's way through the house, and each returns a
//! permit that gives back what it took when it is dropped. Memory is bounded: rates live in tables of a fixed size
//! (`store`), counts in maps that hold only what is alive (`slots`).

use std::hash::{Hash, RandomState};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock, Reference};
use governor::nanos::Nanos;

use crate::config::{AddressRules, Capacity};
use crate::peer::ClientAddr;
use crate::policy::quota::Quotas;
use crate::policy::{PolicyName, Reason, Refusal};
use crate::units::Rate;

mod address;
mod pace;
mod permits;
mod slots;
mod store;
mod sync;
#[cfg(test)]
mod tests;

pub use address::{Attempt, IN_24, IN_48, IN_56};
pub use pace::PaceToken;
pub use permits::{AddressPermit, ConnectionPermit, Payer, ServerPermit, SessionPermit, SubjectPermit};
pub use store::Fill;

use permits::Tiers;
use slots::{Slot, Slots};
use store::{BucketTable, Key, Take};
use sync::atomic::{AtomicU64, Ordering};
use sync::{Mutex, MutexGuard};

/// Buckets for connect rates: 2 MiB, held by the networks that connected within the last refill interval. One set in
/// `models/`, where it must be full.
const CONNECT_BUCKETS: usize = if cfg!(shuttle) { 8 } else { 131_072 };

/// Buckets for failure budgets and for subjects' handshakes: 1 MiB each.
const OTHER_BUCKETS: usize = if cfg!(shuttle) { 8 } else { 65_536 };

/// When to come back after a cap on live sessions: nobody knows when one ends, so this is a courtesy, not a promise.
const CAP_RETRY: Duration = Duration::from_secs(10);

/// The bounds that hold for everybody, out of gateway.toml.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Live sessions of the whole gateway.
    pub sessions: u32,
    /// Connections that are not yet admitted.
    pub pending: u32,
    /// Sessions admitted.
    pub admissions: Rate,
    /// Bounds of one client network.
    pub address: AddressRules,
}

impl Bounds {
    /// The bounds that an operator wrote; `sessions = "auto"` is computed from the process's limit of open files.
    pub fn new(capacity: &Capacity, address: &AddressRules, file_limit: u64) -> Self {
        Self {
            sessions: capacity.session_bound(file_limit),
            pending: capacity.pending_bound(file_limit),
            admissions: capacity.admissions,
            address: address.clone(),
        }
    }
}

/// What is alive, for metrics and for tests that wait for the return to the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Connections, admitted or not.
    pub connections: usize,
    /// Connections that are not yet admitted.
    pub pending: usize,
    /// Sessions, from their reservation on.
    pub sessions: usize,
    /// Sessions of proved subjects.
    pub subjects: usize,
    /// Sessions on servers, from before the dial on.
    pub servers: usize,
    /// Client networks with something alive, wider networks and policies counted each.
    pub networks: usize,
    /// The table of connect rates.
    pub connect_buckets: Fill,
    /// The table of failure budgets.
    pub failure_buckets: Fill,
    /// The table of subjects' handshake rates.
    pub subject_buckets: Fill,
    /// Charges since the start that found their set full and went to the bucket of a wider network.
    pub shared: u64,
}

/// Counters and buckets of the whole process. `C` is the clock; tests use governor's `FakeRelativeClock`.
pub struct Limits<C: Clock = MonotonicClock> {
    bounds: Mutex<Arc<Bounds>>,
    clock: C,
    /// Buckets count time from here.
    birth: C::Instant,
    seed: RandomState,

    connections: Arc<Slots>,
    pending: Arc<Slots>,
    sessions: Arc<Slots>,
    address_pending: Arc<Slots>,
    address_sessions: Arc<Slots>,
    policy_addresses: Arc<Slots>,
    subjects: Arc<Slots>,
    routes: Arc<Slots>,
    servers: Arc<Slots>,

    connects: BucketTable,
    failures: BucketTable,
    handshakes: BucketTable,
    admissions: BucketTable,
    shared: AtomicU64,
}

impl<C: Clock> Limits<C> {
    /// Nothing is alive and every bucket is full. `seed` hashes the keys; nobody outside may know it.
    pub fn new(bounds: Bounds, seed: RandomState, clock: C) -> Self {
        Self {
            bounds: Mutex::new(Arc::new(bounds)),
            birth: clock.now(),
            clock,
            seed,
            connections: Slots::new(),
            pending: Slots::new(),
            sessions: Slots::new(),
            address_pending: Slots::new(),
            address_sessions: Slots::new(),
            policy_addresses: Slots::new(),
            subjects: Slots::new(),
            routes: Slots::new(),
            servers: Slots::new(),
            connects: BucketTable::new(CONNECT_BUCKETS),
            failures: BucketTable::new(OTHER_BUCKETS),
            handshakes: BucketTable::new(OTHER_BUCKETS),
            admissions: BucketTable::new(1),
            shared: AtomicU64::new(0),
        }
    }

    /// What everybody is held to.
    pub fn bounds(&self) -> Arc<Bounds> {
        Arc::clone(&self.locked_bounds())
    }

    /// Holds everybody who comes to other bounds. Who is there stays and is counted: a lower cap binds newcomers. What was
    /// taken from a bucket counts, and no bucket is emptier than empty by its other rate.
    pub fn rebind(&self, bounds: Bounds) {
        let (now, address) = (self.elapsed(), &bounds.address);
        let rates = [address.connects, address.failures, bounds.admissions];
        *self.locked_bounds() = Arc::new(bounds);
        // A factor multiplies count and burst alike: how long a whole bucket takes to fill is the same for all.
        for (table, rate) in [&self.connects, &self.failures, &self.admissions].into_iter().zip(rates) {
            table.adapt(store::quota(rate, 1), now);
        }
    }

    fn locked_bounds(&self) -> MutexGuard<'_, Arc<Bounds>> {
        // Each change is one assignment: a panic leaves it whole.
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for an accepted connection: one of `[capacity] pending`, and one of pending and sessions together.
    ///
    /// # Errors
    /// [`Reason::GatewayFull`].
    pub fn admit_connection(&self) -> Result<ConnectionPermit, Reason> {
        let bounds = self.bounds();
        let gateway = self.key(&());
        let all = bounds.sessions.saturating_add(bounds.pending);
        let live = self.connections.take(gateway, all).ok_or(Reason::GatewayFull)?;
        let pending = self.pending.take(gateway, bounds.pending).ok_or(Reason::GatewayFull)?;
        Ok(ConnectionPermit::new(live, pending))
    }

    /// Takes a session's places before its signature is checked: of the address on this policy, of the address over
    /// all policies, of the whole gateway. `None` is a trusted proxy that speaks for itself: the whole gateway's capacity
    /// alone binds it.
    ///
    /// # Errors
    /// [`Reason::AddressSessions`], [`Reason::AddressSessionsHard`] or [`Reason::GatewaySessions`], judged in this order.
    pub fn reserve_session(
        &self,
        client: Option<ClientAddr>,
        policy: &PolicyName,
        quotas: &Quotas,
    ) -> Result<SessionPermit, Refusal> {
        let bounds = self.bounds();
        let address = client.map(|client| self.reserve_address(client, &bounds.address, policy, quotas)).transpose()?;
        let gateway =
            self.sessions.take(self.key(&()), bounds.sessions).ok_or_else(|| cap_reached(Reason::GatewaySessions))?;
        Ok(SessionPermit::new(address, gateway))
    }

    fn reserve_address(
        &self,
        client: ClientAddr,
        rules: &AddressRules,
        policy: &PolicyName,
        quotas: &Quotas,
    ) -> Result<(Slot, Tiers), Refusal> {
        let net = client.net();
        let cap = quotas.connections_per_address.saturating_mul(address::times(client, rules));
        let on_policy = self
            .policy_addresses
            .take(self.key(&(policy.as_str(), net)), cap)
            .ok_or_else(|| cap_reached(Reason::AddressSessions).with_detail(net.to_string()))?;
        let address = self.take_tiers(&self.address_sessions, client, rules, rules.sessions, u32::MAX);
        let address = address.map_err(|full| cap_reached(Reason::AddressSessionsHard).with_detail(full.to_string()))?;
        Ok((on_policy, address))
    }

    /// Charges a proved handshake: one token of the subject's rate, a place of the subject, a place of the route.
    /// `subject` is issuer and subject as one text; `None` where nobody is proved, and then only the route is charged.
    ///
    /// # Errors
    /// [`Reason::SubjectRate`], [`Reason::SubjectSessions`] or [`Reason::RouteSessions`].
    pub fn reserve_subject(
        &self,
        policy: &PolicyName,
        quotas: &Quotas,
        subject: Option<&str>,
    ) -> Result<SubjectPermit, Refusal> {
        let slot = subject.map(|subject| self.charge_subject(policy, quotas, subject)).transpose()?;
        let cap = quotas.connections.unwrap_or(u32::MAX);
        let route = self.routes.take(self.key(&policy.as_str()), cap);
        Ok(SubjectPermit::new(slot, route.ok_or_else(|| cap_reached(Reason::RouteSessions))?))
    }

    fn charge_subject(&self, policy: &PolicyName, quotas: &Quotas, subject: &str) -> Result<Slot, Refusal> {
        let key = self.key(&(policy.as_str(), subject));
        self.charge_rate(key, quotas)?;
        let slot = self.subjects.take(key, quotas.connections_per_subject);
        slot.ok_or_else(|| cap_reached(Reason::SubjectSessions))
    }

    /// Charges a proved call to the gateway itself: one token of the subject's rate of calls, which is that of its
    /// handshakes.
    ///
    /// # Errors
    /// [`Reason::SubjectRate`].
    pub fn charge_call(&self, policy: &PolicyName, quotas: &Quotas, subject: &str) -> Result<(), Refusal> {
        self.charge_rate(self.key(&("call", policy.as_str(), subject)), quotas)
    }

    fn charge_rate(&self, key: Key, quotas: &Quotas) -> Result<(), Refusal> {
        match self.handshakes.take(key, store::quota(quotas.handshakes_per_subject, 1), self.elapsed()) {
            Take::Taken => Ok(()),
            Take::Empty(wait) => Err(Refusal::new(Reason::SubjectRate).retry_after(wait)),
            // A subject has no wider one whose bucket it could share.
            Take::SetFull => Err(cap_reached(Reason::SubjectRate).with_detail("the table of subjects is full")),
        }
    }

    /// Takes a place on a server before it is dialled; without a cap the place is only counted.
    ///
    /// # Errors
    /// [`Reason::BackendFull`].
    pub fn reserve_server(&self, policy: &PolicyName, server: &str, cap: Option<u32>) -> Result<ServerPermit, Refusal> {
        let slot = self.servers.take(self.key(&(policy.as_str(), server)), cap.unwrap_or(u32::MAX));
        slot.map(ServerPermit::new).ok_or_else(|| cap_reached(Reason::BackendFull).with_detail(server))
    }

    /// How many sessions live on a server, those that are being opened included.
    pub fn sessions_on(&self, policy: &PolicyName, server: &str) -> u32 {
        self.servers.count(self.key(&(policy.as_str(), server)))
    }

    /// What is alive. Walks the tables: for a scrape, not for every connection.
    pub fn usage(&self) -> Usage {
        let now = self.elapsed();
        Usage {
            connections: self.connections.live(),
            pending: self.pending.live(),
            sessions: self.sessions.live(),
            subjects: self.subjects.live(),
            servers: self.servers.live(),
            networks: [&self.address_pending, &self.address_sessions, &self.policy_addresses]
                .into_iter()
                .map(|slots| slots.keys())
                .sum(),
            connect_buckets: self.connects.fill(now),
            failure_buckets: self.failures.fill(now),
            subject_buckets: self.handshakes.fill(now),
            shared: self.shared.load(Ordering::Relaxed),
        }
    }

    fn key(&self, value: &impl Hash) -> Key {
        Key::new(&self.seed, value)
    }

    fn elapsed(&self) -> Nanos {
        self.clock.now().duration_since(self.birth)
    }
}

fn cap_reached(reason: Reason) -> Refusal {
    Refusal::new(reason).retry_after(CAP_RETRY)
}
