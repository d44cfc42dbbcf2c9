//! Servers: one thread, one listener, one task for each connection.

use std::future::Future;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::fault::{During as _, Outcome};

/// How many connections wait for `accept`.
const BACKLOG: u32 = 8192;

/// A runtime on this thread.
pub(crate) fn runtime() -> Outcome<Runtime> {
    Builder::new_current_thread().enable_all().build().during("starting the runtime")
}

/// Serves every connection with a task of its own, until the process is killed.
pub(crate) fn serve<F>(address: SocketAddr, serve: impl Fn(TcpStream) -> F) -> Outcome<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    allow_many_files();
    runtime()?.block_on(async {
        let listener = bind(address).during("listening")?;
        announce(listener.local_addr().during("listening")?)?;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (connection, _) = accepted.during("accepting")?;
                    connection.set_nodelay(true).during("switching Nagle's algorithm off")?;
                    connections.spawn(serve(connection));
                }
                // How one connection ends is for its peer to judge.
                Some(_) = connections.join_next() => {}
            }
        }
    })
}

/// Tells whoever waits for it that connections are accepted.
#[expect(clippy::print_stdout, reason = "the line that starts the others")]
pub(crate) fn announce(address: SocketAddr) -> Outcome<()> {
    println!("listening {address}");
    io::stdout().flush().during("telling the address")
}

/// As many open files as the process may have: a connection is one or two.
pub(crate) fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, the soft limit stands, and too many connections fail with their own error.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
