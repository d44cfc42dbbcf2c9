//! The way to a backend: the servers of a policy in the order that its balance gives, one retry on another in the
//! connect phase only, and a handshake of our own whose answer is verified whole.
//!
//! No connection is pooled: each belongs to one session, and is dropped with whatever was not a valid 101. What is known
//! of a server outlives the configuration for as long as its policy names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tls::{BackendStream, ClientTls};
use crate::policy::balance::condition::{Change, Client, Entry, Met, Openness};
use crate::policy::balance::order::{Candidate, Draw, order};
use crate::policy::balance::{HashKey, Orphans};
use crate::policy::forward::{Server, ServerHost, Upstream, UpstreamRequest};
use crate::policy::{PolicyName, Reason, Refusal};
use crate::session::Random;
use crate::ws::opening::{Accepted, WebSocketKey};

mod checks;
mod connector;
mod names;
mod target;
#[cfg(test)]
mod tests;

use connector::{Connector, name_server};
use target::Target;

/// Servers that one handshake tries to connect to.
const CONNECT_ATTEMPTS: usize = 2;

/// When to come back where it is not known when a server is tried again.
const DOWN_RETRY: Duration = Duration::from_secs(5);

/// A backend connection whose 101 was verified whole. `P` is the slot of the server that took it.
#[derive(Debug)]
pub struct UpstreamConnection<P> {
    /// The connection.
    pub stream: BackendStream,
    /// Bytes that came glued behind the 101: the first frames.
    pub glued: Vec<u8>,
    /// What the backend chose.
    pub accepted: Accepted,
    /// The server, as the policy names it.
    pub server: String,
    /// The server's slot.
    pub permit: P,
}

/// A handshake that wants a server.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The gateway's own key for it.
    pub key: &'a WebSocketKey,
    /// Whose it is.
    pub client: Client,
    /// To what it belongs, where the balance asks for that.
    pub hash: Option<HashKey>,
    /// Chance.
    pub random: u64,
}

/// What a server is known by, and what changed about it.
#[derive(Clone, Debug)]
pub struct ServerChange {
    /// Its policy.
    pub policy: PolicyName,
    /// Its name.
    pub server: String,
    /// What changed.
    pub what: Changed,
}

/// What changed about a server.
#[derive(Clone, Debug)]
pub enum Changed {
    /// Whether handshakes may go there.
    Condition(Change),
    /// It cannot be checked, for a lack of the gateway's own, and which. What its checks said last holds.
    Unchecked(String),
    /// Its sessions are to be closed: it is down, and its policy says so.
    SessionsLost,
    /// Its name resolves no longer, and why; the addresses that it had stay in use.
    Unresolved(String),
    /// Its name resolves again.
    Resolved,
}

/// What the servers of a gateway share.
#[derive(Clone)]
pub struct Ground {
    /// Is told what changes about servers.
    pub told: Arc<dyn Fn(ServerChange) + Send + Sync>,
    /// Where chance comes from.
    pub random: Random,
}

/// What a scrape reads of a server.
#[derive(Clone, Debug)]
pub struct ServerReading {
    /// Its name.
    pub server: String,
    /// Whether handshakes may go there.
    pub is_open: bool,
}

/// The servers of one policy.
pub struct Dialer {
    policy: PolicyName,
    upstream: Upstream,
    targets: Vec<Arc<Target>>,
    connector: Connector,
    next: AtomicUsize,
    ground: Ground,
    /// Cancelled when what watches the servers is to end.
    end: CancellationToken,
}

impl Dialer {
    /// A dialer for a policy's `[upstream]`. A server that `before` has, too, stays what it was, and nothing of it changes
    /// until [`Dialer::watch`]: a dialer that is not used was never there.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the authorities for `wss://` servers.
    pub fn new(
        policy: &PolicyName,
        upstream: &Upstream,
        before: Option<&Self>,
        ground: &Ground,
    ) -> Result<Self, String> {
        let needs_tls = upstream.servers.iter().any(|server| server.tls);
        let tls = needs_tls.then(|| ClientTls::new(upstream.authorities_pem.as_deref())).transpose();
        let now = Instant::now().into_std();
        let targets = upstream.servers.iter().map(|server| {
            let known = before.and_then(|before| before.targets.iter().find(|target| target.server == *server));
            match (known, before) {
                (Some(known), _) => Arc::clone(known),
                (None, Some(_)) => Arc::new(Target::added(server, now)),
                (None, None) => Arc::new(Target::new(server)),
            }
        });
        Ok(Self {
            policy: policy.clone(),
            upstream: upstream.clone(),
            targets: targets.collect(),
            connector: Connector {
                tls: tls.map_err(|error| error.to_string())?,
                connect_timeout: upstream.connect_timeout,
                handshake_timeout: upstream.handshake_timeout,
            },
            next: AtomicUsize::new(0),
            ground: ground.clone(),
            end: CancellationToken::new(),
        })
    }

    /// Takes effect: begins to resolve the names of the servers and to ask whether they are well, until [`Dialer::retire`]
    /// or `end`. What checks said of a server that is no longer asked holds no longer.
    pub fn watch(&self, tasks: &TaskTracker, end: &CancellationToken) {
        for target in &self.targets {
            if self.upstream.balancing.health.is_none() {
                target.condition().forget_checks();
            }
            if let ServerHost::Name(name) = &target.server.host {
                let watch = self.watch_of(target);
                let lookup = names::system(name.clone(), target.server.port, &target.lookup);
                tasks.spawn(self.until_end(end, names::keep_resolved(watch, lookup)));
            }
            if let Some(rules) = &self.upstream.balancing.health {
                let question = checks::Question {
                    target: Arc::clone(target),
                    connector: self.connector.clone(),
                    check: rules.check.clone(),
                    host: self.upstream.host.clone(),
                    random: self.ground.random,
                };
                let ask = move || question.clone().ask();
                tasks.spawn(self.until_end(end, checks::check_regularly(self.watch_of(target), rules.clone(), ask)));
            }
        }
    }

    /// Ends what [`Dialer::watch`] began: another dialer took its place.
    pub fn retire(&self) {
        self.end.cancel();
    }

    fn until_end<W>(&self, end: &CancellationToken, work: W) -> impl Future<Output = ()> + Send + use<W>
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let (retired, end) = (self.end.clone(), end.clone());
        async move {
            let work = end.run_until_cancelled(work);
            // Nothing comes of it but its end.
            let _ = retired.run_until_cancelled(work).await;
        }
    }

    fn watch_of(&self, target: &Arc<Target>) -> Watched {
        Watched { target: Arc::clone(target), policy: self.policy.clone(), ground: self.ground.clone() }
    }

    /// Whether sessions on this server are to close: its checks say that it is down, and its policy that they close then.
    pub fn has_lost(&self, server: &str) -> bool {
        let closes = self.upstream.balancing.health.as_ref().is_some_and(|rules| rules.down == Orphans::Close);
        closes && self.targets.iter().any(|target| target.server.name == server && target.condition().is_down())
    }

    /// As many checks of every server as change something come to this.
    #[cfg(test)]
    pub(crate) fn check_all(&self, is_well: bool) {
        let Some(rules) = &self.upstream.balancing.health else { return };
        for target in &self.targets {
            let watched = self.watch_of(target);
            while target.condition().is_down() == is_well {
                checks::note(&watched, rules, is_well);
            }
        }
    }

    /// The servers, for a scrape.
    pub fn readings(&self) -> impl Iterator<Item = ServerReading> {
        let reading = |target: &Arc<Target>| ServerReading {
            server: target.server.name.clone(),
            is_open: target.condition().is_open(),
        };
        self.targets.iter().map(reading)
    }

    /// Connects to a server that `reserve` has a slot for and opens a WebSocket on it with the head that `request`
    /// builds for that server. `sessions` says how many live there.
    ///
    /// # Errors
    ///
    /// The refusal that the client gets: `backend_*`.
    pub async fn dial<P>(
        &self,
        call: &Call<'_>,
        sessions: impl Fn(&Server) -> u32,
        reserve: impl Fn(&Server) -> Result<P, Refusal>,
        request: impl FnOnce(&Server) -> Result<UpstreamRequest, Refusal>,
    ) -> Result<UpstreamConnection<P>, Refusal> {
        let (attempt, permit, stream) = self.connect_any(call, sessions, reserve).await?;
        let server = &attempt.target.server;
        let request = request(server)?;
        match self.connector.open(stream, call.key, &request).await {
            Ok((stream, glued, accepted)) => {
                let server = server.name.clone();
                attempt.met(Met::Well);
                Ok(UpstreamConnection { stream, glued, accepted, server, permit })
            }
            Err(failed) => {
                let refusal = name_server(failed.refusal, server);
                attempt.met(failed.met);
                Err(refusal)
            }
        }
    }

    async fn connect_any<P>(
        &self,
        call: &Call<'_>,
        sessions: impl Fn(&Server) -> u32,
        reserve: impl Fn(&Server) -> Result<P, Refusal>,
    ) -> Result<(Attempt<'_>, P, BackendStream), Refusal> {
        let mut refusal = self.shut(call);
        let mut attempts = 0;
        for target in self.in_order(call, sessions) {
            let permit = match reserve(&target.server) {
                Ok(permit) => permit,
                Err(full) if attempts == 0 => {
                    refusal = full;
                    continue;
                }
                Err(_) => continue,
            };
            let Some(attempt) = self.attempt(target, call) else { continue };
            match self.connector.connect(target).await {
                Ok(stream) => return Ok((attempt, permit, stream)),
                Err(failed) => {
                    refusal = name_server(failed.refusal, &target.server);
                    attempt.met(failed.met);
                }
            }
            attempts += 1;
            if attempts == CONNECT_ATTEMPTS {
                break;
            }
        }
        Err(refusal)
    }

    /// The servers that may be tried, the one to try first in front.
    fn in_order(&self, call: &Call<'_>, sessions: impl Fn(&Server) -> u32) -> Vec<&Arc<Target>> {
        let balancing = &self.upstream.balancing;
        let now = Instant::now().into_std();
        let mut open = Vec::with_capacity(self.targets.len());
        for target in &self.targets {
            let condition = target.condition();
            if !matches!(condition.openness(call.client, balancing.eject.as_ref(), now), Openness::Shut(_)) {
                let share = condition.share(balancing.slow_start, now);
                open.push((target, share));
            }
        }
        let candidate = |(target, share): &(&Arc<Target>, _)| Candidate {
            name: target.key,
            sessions: sessions(&target.server),
            share: *share,
        };
        let candidates: Vec<Candidate> = open.iter().map(candidate).collect();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let key = call.hash.unwrap_or_else(|| HashKey::of(""));
        let order = order(&balancing.balance, &candidates, Draw { turn, key, random: call.random });
        order.into_iter().filter_map(|place| open.get(place).map(|(target, _)| *target)).collect()
    }

    /// What a client is told where no server may be tried: when the first of them is tried again, where that is known.
    fn shut(&self, call: &Call<'_>) -> Refusal {
        let now = Instant::now().into_std();
        let rules = self.upstream.balancing.eject.as_ref();
        let waits =
            self.targets.iter().filter_map(|target| match target.condition().openness(call.client, rules, now) {
                Openness::Shut(wait) => wait,
                Openness::Open | Openness::HalfOpen => None,
            });
        Refusal::new(Reason::BackendDown).retry_after(waits.min().unwrap_or(DOWN_RETRY))
    }

    /// Goes to a server, unless it was shut meanwhile.
    fn attempt<'d>(&'d self, target: &'d Arc<Target>, call: &Call<'_>) -> Option<Attempt<'d>> {
        let now = Instant::now().into_std();
        let entry = target.condition().enter(call.client, self.upstream.balancing.eject.as_ref(), now)?;
        let random = u32::try_from(call.random >> 32).unwrap_or(u32::MAX);
        Some(Attempt { dialer: self, target, entry, client: call.client, random, is_over: false })
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("policy", &self.policy).field("targets", &self.targets).finish_non_exhaustive()
    }
}

/// A server that is watched, and who is told.
struct Watched {
    target: Arc<Target>,
    policy: PolicyName,
    ground: Ground,
}

impl Watched {
    fn tell(&self, what: Changed) {
        let (policy, server) = (self.policy.clone(), self.target.server.name.clone());
        (self.ground.told)(ServerChange { policy, server, what });
    }

    /// This time less a random part of a fifth of it, so that what began together does not go on together.
    fn shortened(&self, time: Duration) -> Duration {
        let mut random = [0; 4];
        (self.ground.random)(&mut random);
        time.saturating_sub(crate::policy::balance::condition::part(time / 5, u32::from_be_bytes(random)))
    }
}

/// One handshake at one server. One that is dropped was broken off: nothing was learned, and another finds out.
struct Attempt<'d> {
    dialer: &'d Dialer,
    target: &'d Arc<Target>,
    entry: Entry,
    client: Client,
    random: u32,
    is_over: bool,
}

impl Attempt<'_> {
    fn met(mut self, met: Met) {
        self.end(met);
    }

    fn end(&mut self, met: Met) {
        self.is_over = true;
        let rules = self.dialer.upstream.balancing.eject.as_ref();
        let moment = (Instant::now().into_std(), self.random);
        let change = self.target.condition().leave(self.entry, met, self.client, rules, moment);
        if let Some(change) = change {
            self.dialer.watch_of(self.target).tell(Changed::Condition(change));
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(Met::BrokenOff);
        }
    }
}
