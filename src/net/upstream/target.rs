//! One server: what its name resolves to, and in what condition it is.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant as Moment;

use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::connector::{is_lack_of_ports, is_own_lack};
use crate::policy::balance::HashKey;
use crate::policy::balance::condition::Condition;
use crate::policy::forward::{Server, ServerHost};

/// One server; the same for as long as its policy names it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) server: Server,
    /// That of its name.
    pub(super) key: HashKey,
    condition: Mutex<Condition>,
    pub(super) known: watch::Sender<Known>,
    /// Whose turn it is to look its name up: one lookup at a time.
    pub(super) lookup: Arc<Semaphore>,
}

/// What the name of a server resolved to last.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) addresses: Vec<SocketAddr>,
    /// Whether a first lookup has ended, or takes longer than a handshake should wait.
    pub(super) is_looked_up: bool,
}

impl Target {
    /// A server that is there from the beginning.
    pub(super) fn new(server: &Server) -> Self {
        Self::in_condition(server, Condition::default())
    }

    /// A server that comes to others.
    pub(super) fn added(server: &Server, now: Moment) -> Self {
        Self::in_condition(server, Condition::added(now))
    }

    fn in_condition(server: &Server, condition: Condition) -> Self {
        Self {
            server: server.clone(),
            key: HashKey::of(&server.name),
            condition: Mutex::new(condition),
            known: watch::Sender::default(),
            lookup: Arc::new(Semaphore::new(1)),
        }
    }

    pub(super) fn condition(&self) -> MutexGuard<'_, Condition> {
        // What a panic could leave half done here is a count.
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to one of its addresses after the other. What the gateway lacks for all of them ends that.
    pub(super) async fn connect_tcp(&self, deadline: Instant) -> io::Result<TcpStream> {
        let addresses = self.addresses().await?;
        let mut last = None;
        for (tried, address) in addresses.iter().enumerate() {
            // An address that swallows packets leaves the others their share of the time.
            let left = u32::try_from(addresses.len().saturating_sub(tried)).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / left.max(1);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) if is_own_lack(&error) => return Err(error),
                Ok(Err(error)) => last = Some(telling(last, error)),
                Err(_) => last = Some(io::ErrorKind::TimedOut.into()),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    /// Where it is. Nobody waits for a lookup but whoever comes before the first one is through.
    pub(super) async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        if let ServerHost::Address(address) = &self.server.host {
            return Ok(vec![*address]);
        }
        let mut known = self.known.subscribe();
        let known = known.wait_for(|known| known.is_looked_up).await;
        let addresses = known.map(|known| known.addresses.clone()).unwrap_or_default();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "its name does not resolve"));
        }
        Ok(addresses)
    }
}

/// What an address met, or what another one did before: that there is no port left toward this one says less.
fn telling(before: Option<io::Error>, error: io::Error) -> io::Error {
    match before {
        Some(before) if is_lack_of_ports(&error) => before,
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn be12_what_an_address_met_says_more_than_a_lack_of_ports() {
        let (refused, portless) = (Errno::CONNREFUSED, Errno::ADDRNOTAVAIL);
        let cases = [
            (None, portless, portless),
            (Some(portless), portless, portless),
            (Some(portless), refused, refused),
            (Some(refused), portless, refused),
            (Some(Errno::TIMEDOUT), refused, refused),
        ];
        for (before, error, told) in cases {
            let told_of = telling(before.map(Into::into), error.into());
            assert_eq!(Errno::from_io_error(&told_of), Some(told), "{before:?}, then {error:?}");
        }
        assert_eq!(cases.len(), 5);
    }
}
