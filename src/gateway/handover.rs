//! A restart in which nobody is refused: the listening sockets go from one process to the next while both live.
//!
//! systemd may hold them (socket activation); else the next process asks the one that serves over its admin socket. That
//! one sends the descriptors, goes on as it was until the next one says that it accepts, and then drains without a lead.
//! Where anything fails before that word, it goes on as if nobody had asked.
//!
//! What only one process may hold goes the same way: a file lock of flock(2) belongs to the open file, so its descriptor
//! carries it. Each has a name in the line that comes with the descriptors, and what a process does not know it closes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Weak;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::End;
use crate::net::admin_socket::{AdminSocket, is_owners};
use crate::net::handover::{receive, send};
use crate::net::listener::{self, Shared};

/// What both ends call the exchange behind the 101.
pub(super) const PROTOCOL: &str = "wsgate-handover";

/// How long either waits for the other: the next one reads its configuration before it asks.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The longest head of the answer to a call.
const LONGEST_HEAD: usize = 4096;

const ACCEPTING: &str = "accepting";
const YOURS: &str = "yours";

/// What a descriptor is, by the configuration of who gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Listener(SocketAddr),
    Health(SocketAddr),
    Admin,
    /// The lock of the state.
    State,
    /// What the service manager listens on: a listener or health.
    Activated(SocketAddr),
}

/// Sockets that were listened on before this process began.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(What, OwnedFd)>,
    giver: Option<UnixStream>,
}

/// What a process can give the next one; what was closed meanwhile is not given.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) listeners: Vec<(SocketAddr, Weak<Shared>)>,
    pub(super) health: Option<(SocketAddr, Weak<TcpListener>)>,
}

impl Offer {
    /// Gives everything to whoever is at the other end, the lock of the state too, and returns when that one accepts.
    ///
    /// # Errors
    /// Whatever keeps it from that: nothing has changed then.
    pub(super) async fn give(
        &self,
        admin: &AdminSocket,
        state: Option<BorrowedFd<'_>>,
        stream: &UnixStream,
    ) -> io::Result<()> {
        let listeners: Vec<_> =
            self.listeners.iter().filter_map(|(address, weak)| Some((*address, weak.upgrade()?))).collect();
        let health = self.health.as_ref().and_then(|(address, weak)| Some((*address, weak.upgrade()?)));
        let mut named = vec![(What::Admin, admin.as_fd())];
        named.extend(listeners.iter().map(|(address, one)| (What::Listener(*address), one.as_fd())));
        named.extend(health.iter().map(|(address, one)| (What::Health(*address), one.as_fd())));
        named.extend(state.map(|lock| (What::State, lock)));
        let (names, descriptors): (Vec<_>, Vec<_>) = named.into_iter().unzip();
        timeout(PATIENCE, send(stream, &serde_json::to_string(&names)?, &descriptors)).await??;
        let (line, _) = timeout(PATIENCE, receive(stream)).await??;
        if line != ACCEPTING {
            return Err(io::Error::other("it says something else than that it accepts"));
        }
        timeout(PATIENCE, send(stream, YOURS, &[])).await??;
        // Only now: whoever did not get that word does not take the file away, and nobody else would.
        admin.leave();
        Ok(())
    }
}

impl Inherited {
    /// What the service manager listens on for this process.
    pub fn activated(sockets: Vec<std::net::TcpListener>) -> io::Result<Self> {
        let named = |socket: std::net::TcpListener| Ok((What::Activated(socket.local_addr()?), socket.into()));
        Ok(Self { sockets: sockets.into_iter().map(named).collect::<io::Result<_>>()?, giver: None })
    }

    /// Asks the gateway behind an admin socket for all that it listens on; `None` where nobody is there.
    ///
    /// # Errors
    /// What keeps it from giving them.
    pub async fn take_over(socket: &Path) -> io::Result<Option<Self>> {
        match timeout(PATIENCE, asked(socket)).await? {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            asked => asked.map(Some),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    pub(super) fn take_listener(&mut self, configured: SocketAddr) -> Option<io::Result<TcpListener>> {
        self.take(What::Listener(configured), Some(configured)).map(listener::adopt)
    }

    pub(super) fn take_health(&mut self, configured: SocketAddr) -> Option<io::Result<TcpListener>> {
        self.take(What::Health(configured), Some(configured)).map(listener::adopt)
    }

    pub(super) fn take_admin(&mut self, path: &Path) -> Option<io::Result<AdminSocket>> {
        self.take(What::Admin, None).map(|socket| AdminSocket::adopt(socket, path))
    }

    pub(super) fn take_state(&mut self) -> Option<OwnedFd> {
        self.take(What::State, None)
    }

    fn take(&mut self, what: What, activated: Option<SocketAddr>) -> Option<OwnedFd> {
        let is_it = |other: What| other == what || activated.is_some_and(|at| other == What::Activated(at));
        let place = self.sockets.iter().position(|(other, _)| is_it(*other))?;
        Some(self.sockets.swap_remove(place).1)
    }

    /// An address that the service manager listens on and that nobody took.
    pub(super) fn left(&self) -> Option<SocketAddr> {
        self.sockets.iter().find_map(|(what, _)| match what {
            What::Activated(address) => Some(*address),
            What::Listener(_) | What::Health(_) | What::Admin | What::State => None,
        })
    }

    /// Tells who gave them that they are served here, and waits until they are this process's alone. Returns whether
    /// there was anybody to tell.
    ///
    /// # Errors
    /// Where that one is gone, or has changed its mind.
    pub(super) async fn accepting(self) -> io::Result<bool> {
        let Some(giver) = &self.giver else { return Ok(false) };
        timeout(PATIENCE, send(giver, ACCEPTING, &[])).await??;
        let (line, _) = timeout(PATIENCE, receive(giver)).await??;
        if line == YOURS { Ok(true) } else { Err(io::Error::other("it did not give them")) }
    }
}

/// Answers what is under way on a listener that another process goes on with, for so long at most; where the gateway ends it
/// is cut.
pub(super) async fn answer_under_way(mut connections: JoinSet<()>, time: Duration, end: &End) {
    let answered = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = end.cancelled() => {}
        _ = timeout(time, answered) => {}
    }
    connections.shutdown().await;
}

async fn asked(socket: &Path) -> io::Result<Inherited> {
    let mut stream = UnixStream::connect(socket).await?;
    if !is_owners(&stream) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "somebody else's process serves it"));
    }
    let call = format!(
        "POST /api/take-over HTTP/1.1\r\nHost: admin\r\nConnection: upgrade\r\nUpgrade: {PROTOCOL}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    stream.write_all(call.as_bytes()).await?;
    let mut head = Vec::new();
    // Byte by byte: a read beyond the head would lose the descriptors behind it.
    while !head.ends_with(b"\r\n\r\n") && head.len() < LONGEST_HEAD {
        head.push(stream.read_u8().await?);
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Err(io::Error::other(format!("it answers {:?}", String::from_utf8_lossy(line))));
    }
    let (names, sockets) = receive(&stream).await?;
    let names: Vec<serde_json::Value> = serde_json::from_str(&names)?;
    if names.len() != sockets.len() {
        return Err(io::Error::other("it sent fewer descriptors than it named"));
    }
    // What has a name that is not known here is closed.
    let known = |(name, socket)| Some((serde_json::from_value(name).ok()?, socket));
    Ok(Inherited { sockets: names.into_iter().zip(sockets).filter_map(known).collect(), giver: Some(stream) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn op02_the_admin_socket_is_left_to_whoever_was_told_that_it_is_his() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        for stays in [false, true] {
            let admin = AdminSocket::bind(&path).unwrap();
            let offer = Offer { listeners: Vec::new(), health: None };
            let (giver, taker) = UnixStream::pair().unwrap();
            let takes = async {
                assert_eq!(receive(&taker).await.unwrap().1.len(), 1);
                send(&taker, ACCEPTING, &[]).await.unwrap();
                stays.then_some(taker)
            };
            let (given, taker) = tokio::join!(offer.give(&admin, None, &giver), takes);
            assert_eq!((given.is_ok(), taker.is_some()), (stays, stays), "{given:?}");
            drop(admin);
            assert_eq!(path.exists(), stays, "it goes with the process that it belongs to");
        }
    }
}
