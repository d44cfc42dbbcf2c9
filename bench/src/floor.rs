//! The floor: bytes from one socket to another, and nothing else.
//!
//! No TLS, no frames, no limits. One read and one write carry what arrived at once, either way: no relay in user space can
//! do with less, so what a gateway costs above this is what its protection costs.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use crate::fault::Outcome;
use crate::listen;
use crate::unsent::Unsent;

/// The most bytes of one read.
const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// Relays every connection to `listen` to `to`.
pub(crate) fn run(listen: SocketAddr, to: SocketAddr) -> Outcome<()> {
    listen::serve(listen, move |client| relay(client, to))
}

/// Carries the bytes of one connection both ways until both ends are done.
async fn relay(mut client: TcpStream, to: SocketAddr) -> io::Result<()> {
    let mut backend = TcpStream::connect(to).await?;
    backend.set_nodelay(true)?;
    let (mut up, mut down) = (Direction::default(), Direction::default());
    poll_fn(|cx| {
        let up = up.poll(cx, &mut client, &mut backend)?;
        let down = down.poll(cx, &mut backend, &mut client)?;
        if up.is_ready() && down.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// How far one direction is.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Flowing,
    Ending,
    Ended,
}

/// Bytes on their way from one socket to the other.
#[derive(Debug, Default)]
struct Direction {
    stage: Stage,
    unsent: Unsent,
}

impl Direction {
    /// Carries what there is; ready once the end has been passed on.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut TcpStream, to: &mut TcpStream) -> Poll<io::Result<()>> {
        loop {
            ready!(self.unsent.poll_flush(cx, to))?;
            match self.stage {
                Stage::Flowing => ready!(self.poll_carry(cx, from, to))?,
                Stage::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.stage = Stage::Ended;
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// One read and one write.
    ///
    /// After a short read `poll_read` knows that the socket is empty and asks the kernel no second time.
    fn poll_carry(&mut self, cx: &mut Context<'_>, from: &mut TcpStream, to: &mut TcpStream) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut arrived = ReadBuf::new(scratch);
            ready!(Pin::new(from).poll_read(cx, &mut arrived))?;
            if arrived.filled().is_empty() {
                self.stage = Stage::Ending;
            }
            Poll::Ready(self.unsent.send(cx, to, arrived.filled()))
        })
    }
}
