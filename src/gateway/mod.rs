//! The assembly: listeners, the shared house that every connection walks through, and the end of it all.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Diagnostics, ListenerConfig};
use crate::event::{Level, SharedObserver};
use crate::limits::Usage;
use crate::net::admin_socket::AdminSocket;
use crate::net::listener::{self, Listener};
use crate::net::tls::ServerTls;
use crate::telemetry::Fanout;
use crate::telemetry::clock::system_clock;
use crate::telemetry::metrics::Metrics;

mod accept;
mod admin;
mod answer;
mod backends;
mod calls;
mod clock;
mod connection;
mod drain;
mod entrance;
#[cfg(test)]
mod fixture;
pub mod handover;
pub mod health;
mod house;
mod ledger;
mod proof;
mod queue;
mod random;
mod readers;
mod readings;
mod refusals;
pub mod reload;
mod sessions;
mod snapshot;
mod tell;
mod till;
mod visit;
mod watch;

use admin::Admin;
use handover::{Inherited, Offer};
use health::{HealthState, Readiness};
use house::{Door, House};
use ledger::{Ledger, Lock};
use readings::Readings;
use refusals::Refusals;
use reload::{Keeper, Kept, Reloaded};

/// How long another gateway may hold the state: one that is about to end.
const STATE_PATIENCE: Duration = Duration::from_secs(2);

/// A running gateway: every listener bound, connections served until [`Gateway::drain`].
pub struct Gateway {
    house: Arc<House>,
    addresses: Vec<SocketAddr>,
    health_address: Option<SocketAddr>,
    services: TaskTracker,
    health: Arc<HealthState>,
    reloads: mpsc::Sender<reload::Asked>,
    drain: Duration,
    drain_lead: Duration,
    drain_asked: End,
}

/// Why a gateway could not start.
#[derive(Debug)]
pub enum StartError {
    /// An address could not be listened on.
    Bind {
        /// The address.
        address: SocketAddr,
        /// One line that names the address and what the system said.
        source: io::Error,
    },
    /// Something that the configuration names cannot be used.
    Unusable(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bind { source, .. } => source.fmt(f),
            Self::Unusable(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for StartError {}

impl Drop for Gateway {
    /// Whatever is left ends, and says that the gateway ended it.
    fn drop(&mut self) {
        self.house.end_now();
    }
}

impl Gateway {
    /// Binds every listener of the configuration and begins to serve.
    ///
    /// # Errors
    ///
    /// An address that cannot be listened on, or material that cannot be used; nothing is left running.
    pub async fn start(config: Config, observer: SharedObserver) -> Result<Self, StartError> {
        Self::start_with(config, observer, Inherited::default()).await
    }

    /// The same with sockets that were listened on before; who listened on them is told when this gateway does.
    ///
    /// # Errors
    /// As [`Gateway::start`]; a socket that fits nothing in the configuration; one that is not given after all.
    pub async fn start_with(
        config: Config,
        observer: SharedObserver,
        mut inherited: Inherited,
    ) -> Result<Self, StartError> {
        let unusable = |error: io::Error| StartError::Unusable(error.to_string());
        let listeners = bind_all(&config.gateway.listeners, &mut inherited)?;
        let addresses = listeners.iter().map(|(address, ..)| *address).collect();
        let configured_health = config.gateway.health;
        let health = configured_health.map(|address| bind(address, inherited.take_health(address))).transpose()?;
        let health_address = health.as_ref().map(|(address, _)| *address);
        let health = health.map(|(_, listener)| Arc::new(listener));
        let (drain, drain_lead) = (config.gateway.drain, config.gateway.drain_lead);
        let admin = config.gateway.admin.as_deref();
        let admin = admin.map(|path| inherited.take_admin(path).unwrap_or_else(|| AdminSocket::bind(path)));
        let admin = admin.transpose().map_err(unusable)?;
        if let Some(address) = inherited.left() {
            let text = format!("the service manager listens on {address}, and no [[listener]] has this address");
            return Err(StartError::Unusable(text));
        }
        let kept = Kept::of(&config);
        let refusals = Refusals::before(observer);
        let observer: SharedObserver = Arc::<Refusals>::clone(&refusals);
        let readings = Readings::default();
        let metrics = Arc::new(Metrics::new(readings.source(), system_clock()));
        let (ledger, said) = open_ledger(&config, inherited.take_state()).await.map_err(StartError::Unusable)?;
        let house = Arc::new(House::new(config, ledger, Arc::new(Fanout::new(Arc::clone(&metrics), observer)))?);
        said.into_iter().for_each(|said| house.notice(Level::Warning, "state_torn", said));
        readings.read_from(&house, doors(&listeners));
        house.watch_backends();
        let (reloads, asked) = mpsc::channel(reload::MOST_WAITING);
        let gateway = Self {
            house,
            addresses,
            health_address,
            services: TaskTracker::new(),
            health: Arc::new(HealthState::new(metrics)),
            reloads,
            drain,
            drain_lead,
            drain_asked: End::new(),
        };
        let offer = Offer {
            listeners: listeners.iter().map(|(_, listener, door)| (door.address, listener.shared())).collect(),
            health: configured_health.zip(health.as_ref().map(Arc::downgrade)),
        };
        let admin = admin.map(|socket| gateway.open_admin(socket, offer, refusals));
        gateway.open(listeners, health, kept, asked);
        if inherited.accepting().await.map_err(unusable)? {
            admin.iter().for_each(|admin| admin.socket.keep());
            gateway.house.keep_ledger();
            let text = "the listeners were taken over; until the other process ends, each counts its caps apart";
            gateway.house.notice(Level::Info, "taken_over", text.into());
        }
        Ok(gateway)
    }

    /// The addresses of the listeners, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The address of the health listener.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health_address
    }

    /// What is alive at this moment.
    pub fn usage(&self) -> Usage {
        self.house.limits.usage()
    }

    /// Reads the whole configuration again, checks it, and uses it from then on; sessions whose policy or keys changed, or
    /// whose path fell to another policy, are judged again.
    ///
    /// # Errors
    /// Every mistake, and every value that needs a restart: nothing was changed then.
    pub async fn reload(&self) -> Result<Reloaded, Diagnostics> {
        let (who, came_of_it) = oneshot::channel();
        // Both fail only where the gateway ends: then nothing changes any longer.
        let _ = self.reloads.send(who).await;
        came_of_it.await.unwrap_or_else(|_| Err(Diagnostics::default()))
    }

    /// Is not ready at once, goes on as it was for the configured lead, then stops to accept, lets handshakes in flight
    /// finish and closes sessions one after the other (Close at a frame boundary); after the configured drain time it ends
    /// what is left.
    pub async fn drain(self) {
        if tokio::time::timeout(self.drain, self.become_empty()).await.is_err() {
            self.house.notice(Level::Warning, "drain_cut", "the drain time is over: ending what is left".into());
        }
        self.house.end_now();
        self.services.close();
        let tasks = async {
            self.house.connections.wait().await;
            self.services.wait().await;
        };
        // What was cancelled ends at its next await; this bound is for what blocks a thread.
        let _ = tokio::time::timeout(Duration::from_secs(2), tasks).await;
    }

    async fn become_empty(&self) {
        // Where the next process accepts already nobody has to look elsewhere, and whoever asks of readiness means that one.
        let lead = if self.house.relieved.is_cancelled() {
            Duration::ZERO
        } else {
            self.health.set(Readiness::Draining);
            self.drain_lead
        };
        let window = drain::window(self.drain, lead, self.house.close_time());
        let (sessions, end) = (self.house.sessions.len(), self.drain);
        let stop = if lead.is_zero() { String::from("at once") } else { format!("in {lead:?}") };
        let text = format!(
            "draining {sessions} sessions: listeners stop {stop}, then sessions close over {window:?}, the end is in {end:?}"
        );
        self.house.notice(Level::Info, "draining", text);
        // Whoever sends clients here learns by then that it is not ready.
        tokio::time::sleep(lead).await;
        self.house.closing.cancel();
        self.house.doors.close();
        self.house.doors.wait().await;
        self.house.connections.close();
        tokio::select! {
            () = self.house.connections.wait() => {}
            () = drain::tell_in_turn(&self.house.sessions, window) => {}
        }
    }

    /// Returns once somebody asked for a drain by the admin socket.
    pub async fn drain_asked(&self) {
        self.drain_asked.cancelled().await;
    }

    fn open_admin(&self, socket: AdminSocket, offer: Offer, refusals: Arc<Refusals>) -> Arc<Admin> {
        let admin = Arc::new(Admin {
            house: Arc::clone(&self.house),
            refusals,
            reloads: self.reloads.clone(),
            drain: self.drain_asked.clone(),
            offer,
            socket,
            takers: Semaphore::new(1),
        });
        self.services.spawn(admin::serve(Arc::clone(&admin)));
        admin
    }

    fn open(
        &self,
        listeners: Vec<Bound>,
        health: Option<Arc<TcpListener>>,
        kept: Kept,
        asked: mpsc::Receiver<reload::Asked>,
    ) {
        let doors = doors(&listeners);
        for (address, listener, door) in listeners {
            self.house.notice(Level::Info, "listening", format!("listening on {address}"));
            let house = Arc::clone(&self.house);
            self.house.doors.spawn(accept::accept(house, door, listener));
        }
        self.services.spawn(Keeper::new(Arc::clone(&self.house), doors, kept).run(asked));
        self.health.set(Readiness::Ready);
        if let Some(listener) = health {
            let (relieved, end) = (self.house.relieved.clone(), self.house.end.clone());
            self.services.spawn(health::serve(listener, Arc::clone(&self.health), relieved, end));
        }
    }
}

/// What is revoked at the start, and what is to be said of it. `shared`: the lock of a process that is to be taken over from.
async fn open_ledger(config: &Config, shared: Option<OwnedFd>) -> Result<(Ledger, Option<String>), String> {
    let listed = config.revoked.clone();
    let forgotten = |what: &str| {
        let why = "the gateway that is to be taken over from keeps what is revoked in a `state`";
        format!("{why}, and this configuration names {what}: name that one, or stop that gateway first")
    };
    let Some(folder) = &config.gateway.state else {
        let in_memory = || Ok((Ledger::in_memory(listed), None));
        return shared.map_or_else(in_memory, |_| Err(forgotten("none")));
    };
    ledger::make_folder(folder)?;
    if let Some(shared) = shared {
        let lock = Lock::adopt(shared, folder).ok_or_else(|| forgotten("another folder"))?;
        return Ledger::borrow(folder, lock, listed, clock::unix_now());
    }
    let lock = ledger::lock(folder, STATE_PATIENCE).await?;
    Ledger::open(folder, lock, listed, clock::unix_now())
}

/// A listener that is bound, and its door.
type Bound = (SocketAddr, Listener, Arc<Door>);

fn doors(listeners: &[Bound]) -> Vec<Arc<Door>> {
    listeners.iter().map(|(.., door)| Arc::clone(door)).collect()
}

fn bind_all(configs: &[ListenerConfig], inherited: &mut Inherited) -> Result<Vec<Bound>, StartError> {
    let mut bound = Vec::new();
    for config in configs {
        let (address, listener) = bind(config.address, inherited.take_listener(config.address))?;
        let listener = Listener::new(listener).map_err(|source| StartError::Bind { address, source })?;
        let tls = config.tls.as_ref().map(ServerTls::new).transpose();
        let tls = tls.map_err(|error| StartError::Unusable(format!("TLS of {address}: {error}")))?;
        bound.push((address, listener, Arc::new(Door::new(config, tls))));
    }
    Ok(bound)
}

/// Listens on an address, or goes on with a socket that does.
fn bind(
    address: SocketAddr,
    inherited: Option<io::Result<TcpListener>>,
) -> Result<(SocketAddr, TcpListener), StartError> {
    let failed = |source| StartError::Bind { address, source };
    let listener = inherited.unwrap_or_else(|| listener::bind(address)).map_err(failed)?;
    Ok((listener.local_addr().map_err(failed)?, listener))
}

/// A token that ends every task of a gateway.
type End = CancellationToken;
