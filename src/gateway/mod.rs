//! The assembly: listeners, the shared house that every connection walks through, and the end of it all.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
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
mod clock;
mod connection;
mod entrance;
pub mod health;
mod house;
mod random;
mod readings;
pub mod reload;
mod sessions;
mod snapshot;
mod visit;
mod watch;

use admin::Admin;
use health::{HealthState, Readiness};
use house::{Door, House};
use readings::Readings;
use reload::{Keeper, Kept, Reloaded};

/// A running gateway: every listener bound, connections served until [`Gateway::drain`].
pub struct Gateway {
    house: Arc<House>,
    addresses: Vec<SocketAddr>,
    health_address: Option<SocketAddr>,
    services: TaskTracker,
    health: Arc<HealthState>,
    reloads: mpsc::Sender<reload::Asked>,
    drain: Duration,
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
        let listeners = bind_all(&config.gateway.listeners)?;
        let addresses = listeners.iter().map(|(address, ..)| *address).collect();
        let health = config.gateway.health.map(bind).transpose()?;
        let health_address = health.as_ref().map(|(address, _)| *address);
        let drain = config.gateway.drain;
        let admin = config.gateway.admin.as_deref().map(AdminSocket::bind).transpose();
        let admin = admin.map_err(|error| StartError::Unusable(error.to_string()))?;
        let kept = Kept::of(&config);
        let readings = Readings::default();
        let metrics = Arc::new(Metrics::new(readings.source(), system_clock()));
        let house = Arc::new(House::new(config, Arc::new(Fanout::new(Arc::clone(&metrics), observer)))?);
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
            drain_asked: End::new(),
        };
        if let Some(socket) = admin {
            gateway.open_admin(socket);
        }
        gateway.open(listeners, health.map(|(_, listener)| listener), kept, asked);
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

    /// Reads the whole configuration again, checks it, and uses it from then on; sessions whose policy or keys changed
    /// are judged again.
    ///
    /// # Errors
    /// Every mistake, and every value that needs a restart: nothing was changed then.
    pub async fn reload(&self) -> Result<Reloaded, Diagnostics> {
        let (who, came_of_it) = oneshot::channel();
        // Both fail only where the gateway ends: then nothing changes any longer.
        let _ = self.reloads.send(who).await;
        came_of_it.await.unwrap_or_else(|_| Err(Diagnostics::default()))
    }

    /// Stops to accept, lets handshakes in flight finish, closes sessions with 1001 (Close at a frame boundary), and
    /// after the configured drain time ends what is left.
    pub async fn drain(self) {
        self.health.set(Readiness::Draining);
        self.house.begin_drain();
        self.house.connections.close();
        if tokio::time::timeout(self.drain, self.house.connections.wait()).await.is_err() {
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

    /// Returns once somebody asked for a drain by the admin socket.
    pub async fn drain_asked(&self) {
        self.drain_asked.cancelled().await;
    }

    fn open_admin(&self, socket: AdminSocket) {
        let admin =
            Admin { house: Arc::clone(&self.house), reloads: self.reloads.clone(), drain: self.drain_asked.clone() };
        self.services.spawn(admin::serve(socket, Arc::new(admin)));
    }

    fn open(
        &self,
        listeners: Vec<Bound>,
        health: Option<TcpListener>,
        kept: Kept,
        asked: mpsc::Receiver<reload::Asked>,
    ) {
        let doors = doors(&listeners);
        for (address, listener, door) in listeners {
            self.house.notice(Level::Info, "listening", format!("listening on {address}"));
            let house = Arc::clone(&self.house);
            self.services.spawn(accept::accept(house, door, listener));
        }
        self.services.spawn(Keeper::new(Arc::clone(&self.house), doors, kept).run(asked));
        if let Some(listener) = health {
            self.services.spawn(health::serve(listener, Arc::clone(&self.health), self.house.end.clone()));
        }
        self.health.set(Readiness::Ready);
    }
}

/// A listener that is bound, and its door.
type Bound = (SocketAddr, Listener, Arc<Door>);

fn doors(listeners: &[Bound]) -> Vec<Arc<Door>> {
    listeners.iter().map(|(.., door)| Arc::clone(door)).collect()
}

fn bind_all(configs: &[ListenerConfig]) -> Result<Vec<Bound>, StartError> {
    let mut bound = Vec::new();
    for config in configs {
        let (address, listener) = bind(config.address)?;
        let listener = Listener::new(listener).map_err(|source| StartError::Bind { address, source })?;
        let tls = config.tls.as_ref().map(ServerTls::new).transpose();
        let tls = tls.map_err(|error| StartError::Unusable(format!("TLS of {address}: {error}")))?;
        bound.push((address, listener, Arc::new(Door::new(config, tls))));
    }
    Ok(bound)
}

fn bind(address: SocketAddr) -> Result<(SocketAddr, TcpListener), StartError> {
    let failed = |source| StartError::Bind { address, source };
    let listener = listener::bind(address).map_err(failed)?;
    Ok((listener.local_addr().map_err(failed)?, listener))
}

/// A token that ends every task of a gateway.
type End = CancellationToken;
