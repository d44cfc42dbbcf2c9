//! Where connections come in: a listening socket, and an accept loop that neither spins nor dies.
//!
//! [`Acceptor::next`] hands out sockets and waits for nothing else, so a slow handshake delays nobody. A socket that is
//! handed out has cost its accept alone: it is watched when somebody wants it. When the process has no descriptor or
//! memory left, it pauses with growing steps and says so. No spare descriptor is kept to accept and close with: the
//! kernel's queue holds the clients meanwhile, and a session that ends lets the next one in.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::event::{Event, Level, Notice, SharedObserver};

/// Connections that the kernel holds until they are accepted; `net.core.somaxconn` may cut it.
const BACKLOG: i32 = 4096;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Least time between two notices of a pause.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);

/// Silence after which the kernel asks whether a client is there, and how it asks. The session's own pings come
/// earlier; this bounds the connections that are not sessions yet.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// How long sent bytes may stay unacknowledged before the kernel gives the connection up (RFC 5482).
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// Listens on `address`. On `[::]` IPv4 clients are taken too, whatever the system's default says; their addresses
/// then come in the mapped form that [`ClientAddr`](crate::peer::ClientAddr) folds.
///
/// # Errors
/// What the system said, in one line that names the address.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    listen(address).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => String::from("the address is in use"),
            io::ErrorKind::AddrNotAvailable => String::from("the address is not one of this machine's"),
            io::ErrorKind::PermissionDenied => String::from("no permission for this port"),
            _ => error.to_string(),
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {why}"))
    })
}

/// Takes connections from a socket that was listened on before: another process or the service manager bound it.
///
/// # Errors
/// Where it is no TCP socket that is listened on.
pub fn adopt(socket: OwnedFd) -> io::Result<TcpListener> {
    let socket = Socket::from(socket);
    if !socket.is_listener()? || socket.r#type()? != Type::STREAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "nobody listens on the socket that was handed over"));
    }
    socket.set_nonblocking(true)?;
    tune(&socket)?;
    TcpListener::from_std(socket.into())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    tune(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A listening socket whose connections are not watched before they are wanted.
pub struct Listener(Arc<Shared>);

/// The socket of a [`Listener`], which ends with it and can be handed to another process until then.
#[derive(Debug)]
pub struct Shared(AsyncFd<std::net::TcpListener>);

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl Listener {
    /// Takes connections from `listener` from here on.
    ///
    /// # Errors
    /// Where the system cannot watch it.
    #[expect(deprecated, reason = "what replaces it is unsafe; a std listener keeps the descriptor that it names")]
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        Ok(Self(Arc::new(Shared(AsyncFd::with_interest(listener.into_std()?, Interest::READABLE)?))))
    }

    /// Its socket, for as long as it lives.
    pub fn shared(&self) -> Weak<Shared> {
        Arc::downgrade(&self.0)
    }
}

/// An accepted connection of which nothing was read; dropped, it is closed.
#[derive(Debug)]
pub struct Incoming(OwnedFd);

impl Incoming {
    /// Watches it.
    ///
    /// # Errors
    /// Where the system has no memory left for it.
    pub fn watch(self) -> io::Result<TcpStream> {
        TcpStream::from_std(self.0.into())
    }
}

/// Where an [`Acceptor`] takes connections from.
pub trait Source {
    /// A connection.
    type Stream;

    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Takes a connection that waits already.
    fn take_waiting(&self) -> io::Result<(Self::Stream, SocketAddr)>;
}

impl Source for Listener {
    type Stream = Incoming;

    async fn accept(&self) -> io::Result<(Incoming, SocketAddr)> {
        self.0.0.async_io(Interest::READABLE, take).await
    }

    fn take_waiting(&self) -> io::Result<(Incoming, SocketAddr)> {
        take(self.0.0.get_ref())
    }
}

fn take(listener: &std::net::TcpListener) -> io::Result<(Incoming, SocketAddr)> {
    let (socket, peer) = acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(Errno::PROTO)?;
    Ok((Incoming(socket), peer))
}

/// Sets what every connection is to have: accepted sockets take it over from the one that listens.
fn tune(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

/// Takes connections from one source until it is stopped.
pub struct Acceptor<S: Source = Listener> {
    source: S,
    observer: SharedObserver,
    stop: CancellationToken,
    pause: Duration,
    noticed: Option<Instant>,
    /// How many more may be taken behind the stop.
    left: i32,
}

impl<S: Source> Acceptor<S> {
    /// Takes from `source` until `stop` is cancelled; tells `observer` of pauses.
    pub fn new(source: S, observer: SharedObserver, stop: CancellationToken) -> Self {
        Self { source, observer, stop, pause: FIRST_PAUSE, noticed: None, left: BACKLOG }
    }

    /// The next connection and its address; `None` once stopped. Call it again at once: nothing but this may wait
    /// between two accepts.
    pub async fn next(&mut self) -> Option<(S::Stream, SocketAddr)> {
        loop {
            let accepted = self.stop.run_until_cancelled(self.source.accept()).await?;
            match accepted {
                Ok(connection) => {
                    self.pause = FIRST_PAUSE;
                    return Some(connection);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    self.tell(&error);
                    self.stop.run_until_cancelled(sleep(self.pause)).await?;
                    self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Behind the stop: the next of those that the kernel has connected already. They take themselves for accepted, and a
    /// listener that is closed resets them.
    pub fn next_left(&mut self) -> Option<(S::Stream, SocketAddr)> {
        while self.left > 0 {
            self.left = self.left.saturating_sub(1);
            match self.source.take_waiting() {
                Ok(connection) => return Some(connection),
                Err(error) if concerns_one_connection(&error) => {}
                Err(_) => break,
            }
        }
        None
    }

    fn tell(&mut self, error: &io::Error) {
        if self.noticed.is_some_and(|at| at.elapsed() < NOTICE_INTERVAL) {
            return;
        }
        self.noticed = Some(Instant::now());
        let remedy =
            if is_exhaustion(error) { "; raise the limit of open files, or lower [capacity] sessions" } else { "" };
        let text = format!("no connection can be accepted: {error}{remedy}");
        self.observer.observe(&Event::Notice(Notice { level: Level::Warning, code: "accept_paused", text }));
    }
}

/// Whether accept(2) reports what happened to the one connection that it took off the queue.
fn concerns_one_connection(error: &io::Error) -> bool {
    let one = [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::INTR,
        Errno::PROTO,
        Errno::PERM,
        Errno::TIMEDOUT,
        Errno::HOSTUNREACH,
        Errno::NETUNREACH,
        Errno::NETDOWN,
    ];
    Errno::from_io_error(error).is_some_and(|errno| one.contains(&errno))
}

fn is_exhaustion(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use socket2::SockRef;

    use super::*;

    const PEER: &str = "192.0.2.1:4711";

    /// Fails as scripted, then gives connections named by their number.
    struct Script(Mutex<(VecDeque<Errno>, u32)>);

    impl Script {
        fn new(errors: impl IntoIterator<Item = Errno>) -> Self {
            Self(Mutex::new((errors.into_iter().collect(), 0)))
        }
    }

    impl Source for Script {
        type Stream = u32;

        async fn accept(&self) -> io::Result<(u32, SocketAddr)> {
            self.take_waiting()
        }

        fn take_waiting(&self) -> io::Result<(u32, SocketAddr)> {
            let mut script = self.0.lock().unwrap();
            if let Some(errno) = script.0.pop_front() {
                return Err(errno.into());
            }
            script.1 += 1;
            Ok((script.1, PEER.parse().unwrap()))
        }
    }

    #[derive(Default)]
    struct Notices(Mutex<Vec<String>>);

    impl crate::event::Observer for Notices {
        fn observe(&self, event: &Event) {
            if let Event::Notice(notice) = event {
                self.0.lock().unwrap().push(format!("{} {}", notice.code, notice.text));
            }
        }
    }

    fn acceptor(errors: impl IntoIterator<Item = Errno>) -> (Acceptor<Script>, Arc<Notices>, CancellationToken) {
        let (notices, stop) = (Arc::new(Notices::default()), CancellationToken::new());
        (Acceptor::new(Script::new(errors), Arc::clone(&notices) as SharedObserver, stop.clone()), notices, stop)
    }

    #[tokio::test(start_paused = true)]
    async fn rx12_exhaustion_pauses_and_recovers() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            let (mut acceptor, notices, _stop) = acceptor(std::iter::repeat_n(errno, 20));
            let start = Instant::now();
            assert_eq!(acceptor.next().await.unwrap().0, 1, "{errno:?}");
            let waited = start.elapsed();
            // 50, 100, 200, 400, 800 ms, then 15 times 1 s: about one system call a second.
            assert!((Duration::from_millis(16_550)..Duration::from_secs(17)).contains(&waited), "{waited:?}");
            let told = notices.0.lock().unwrap().clone();
            assert!((2..=17).contains(&told.len()), "{}", told.len());
            assert!(told[0].starts_with("accept_paused") && told[0].contains("limit of open files"), "{}", told[0]);
            let start = Instant::now();
            assert_eq!(acceptor.next().await.unwrap().0, 2);
            assert_eq!(start.elapsed(), Duration::ZERO, "the twin: without an error nothing waits");
            assert_eq!(acceptor.pause, FIRST_PAUSE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_broken_connection_delays_nobody() {
        let broken = [Errno::CONNABORTED, Errno::INTR, Errno::PERM, Errno::CONNRESET, Errno::PROTO];
        let (mut acceptor, notices, _stop) = acceptor(broken);
        let start = Instant::now();
        assert_eq!(acceptor.next().await.unwrap().0, 1);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(notices.0.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_ends_a_pause_and_a_wait() {
        let (mut paused, _notices, stop) = acceptor(std::iter::repeat_n(Errno::MFILE, 1000));
        let canceller = async {
            sleep(Duration::from_millis(10)).await;
            stop.cancel();
        };
        let start = Instant::now();
        let (ended, ()) = tokio::join!(paused.next(), canceller);
        assert!(ended.is_none());
        assert!(start.elapsed() < FIRST_PAUSE);
    }

    #[tokio::test]
    async fn op01_who_is_connected_already_is_taken_behind_the_stop() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let listener = Listener::new(listener).unwrap();
        let mut stopped = Acceptor::new(listener, Arc::new(Notices::default()), stop.clone());
        let clients = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        stop.cancel();
        assert!(stopped.next().await.is_none());
        for client in &clients {
            assert_eq!(stopped.next_left().unwrap().1, client.local_addr().unwrap());
        }
        assert!(stopped.next_left().is_none(), "and nobody else");
        let (mut broken, ..) = acceptor([Errno::CONNABORTED]);
        assert_eq!(broken.next_left().unwrap().0, 1, "one that broke meanwhile is passed over");
        assert_eq!(std::iter::from_fn(|| broken.next_left()).count(), 4094, "and no more than the queue holds");
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_in_one_line() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {address}: the address is in use"));
        drop(first);
        assert!(bind(address).is_ok(), "the twin: the port is free");
    }

    #[tokio::test]
    async fn id07_ipv4_clients_of_a_dual_stack_socket_are_folded() {
        // A machine without IPv6 has no dual-stack socket to test.
        let Ok(listener) = bind("[::]:0".parse().unwrap()) else { return };
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let listener = Listener::new(listener).unwrap();
        let mut acceptor = Acceptor::new(listener, Arc::new(Notices::default()), stop.clone());
        let _client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (socket, peer) = acceptor.next().await.unwrap();
        let stream = socket.watch().unwrap();
        assert_eq!(crate::peer::ClientAddr::new(peer.ip()).to_string(), "127.0.0.1");
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        stop.cancel();
        assert!(acceptor.next().await.is_none());
    }
}
