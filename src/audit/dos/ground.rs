//! What every attacker of a case knows: the target, the bounds, and the address that it comes from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::bounds::Bounds;
use crate::audit::exam::{Exam, Patience, retry_after};
use crate::audit::target::Target;
use crate::audit::wire::{Heard, Wire};

/// For a TCP connection to be taken.
const CONNECTING: Duration = Duration::from_secs(5);

/// Behind a drop, until the next try.
const APART: Duration = Duration::from_millis(250);

/// What the attackers of one case know.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    pub(super) target: Arc<Target>,
    pub(super) patience: Patience,
    pub(super) bounds: Bounds,
    addresses: Option<[u8; 2]>,
}

/// How much an attacker's socket takes of what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// As much as the system gives.
    Usual,
    /// Next to nothing.
    Small,
}

impl Ground {
    /// The ground of one case: where the target is on the loopback, the attackers have addresses of their own, which no
    /// other case has used.
    pub(super) fn of(exam: &Exam) -> Self {
        let mut chosen = [0; 2];
        let _ = rand::fill(&mut chosen);
        let [first, second] = chosen;
        let addresses = [64 | (first & 0x3f), second];
        let is_loopback = matches!(exam.target.address.ip(), IpAddr::V4(v4) if v4.is_loopback());
        let may_bind = is_loopback && UdpSocket::bind((address(addresses, 0), 0)).is_ok();
        Self {
            target: Arc::new(exam.target.clone()),
            patience: exam.patience,
            bounds: exam.bounds,
            addresses: may_bind.then_some(addresses),
        }
    }

    /// Whether the attackers come from other addresses than everybody else.
    pub(super) fn is_apart(&self) -> bool {
        self.addresses.is_some()
    }

    /// An address of the attackers; `None`: the only one that there is.
    pub(super) fn address(&self, number: usize) -> Option<IpAddr> {
        let number = number.checked_rem(self.bounds.addresses.clamp(1, 250)).unwrap_or(0);
        Some(address(self.addresses?, u8::try_from(number).unwrap_or(0)))
    }

    /// A TCP connection that is reset when it is dropped, so that thousands leave nothing behind here.
    pub(super) async fn tcp(&self, from: Option<IpAddr>, window: Window) -> io::Result<TcpStream> {
        let socket = if self.target.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if window == Window::Small {
            socket.set_recv_buffer_size(4 << 10)?;
        }
        if let Some(from) = from {
            socket.bind((from, 0).into())?;
        }
        let tcp = timeout(CONNECTING, socket.connect(self.target.address)).await??;
        tcp.set_nodelay(true)?;
        SockRef::from(&tcp).set_linger(Some(Duration::ZERO))?;
        Ok(tcp)
    }

    /// A connection with TLS where the target has it, reset when it is dropped.
    pub(super) async fn wire(&self, from: Option<IpAddr>, window: Window) -> Result<Wire, String> {
        let tcp = self.tcp(from, window).await.map_err(|error| format!("no connection: {error}"))?;
        Wire::on(tcp, &self.target).await.map_err(|error| error.to_string())
    }

    /// A session, once the target has a place for it. One that says that it is busy, or drops, is asked again.
    pub(super) async fn enter(&self, request: &[u8], from: Option<IpAddr>, within: Duration) -> Result<Wire, String> {
        self.enter_by(request, from, within, Window::Usual).await
    }

    /// The same with a window of one's choice.
    pub(super) async fn enter_by(
        &self,
        request: &[u8],
        from: Option<IpAddr>,
        within: Duration,
        window: Window,
    ) -> Result<Wire, String> {
        let until = Instant::now() + within;
        loop {
            let (why, wait) = match self.try_to_enter(request, from, window).await {
                Entry::In(wire) => return Ok(wire),
                Entry::Refused(status) => return Err(format!("a good handshake is answered with {status}")),
                Entry::Busy(status, wait) => (format!("a good handshake is answered with {status}"), wait),
                Entry::Dropped(why) => (why, APART),
            };
            if Instant::now() + wait > until {
                return Err(why);
            }
            sleep(wait).await;
        }
    }

    /// One try.
    pub(super) async fn try_to_enter(&self, request: &[u8], from: Option<IpAddr>, window: Window) -> Entry {
        let mut wire = match self.wire(from, window).await {
            Ok(wire) => wire,
            Err(why) => return Entry::Dropped(why),
        };
        wire.send(request).await;
        match wire.answer(self.patience.answer).await {
            Heard::This(answer) if answer.is_switching() => Entry::In(wire),
            Heard::This(answer) if answer.is_busy() => Entry::Busy(answer.status, retry_after(&answer)),
            Heard::This(answer) => Entry::Refused(answer.status),
            Heard::End(_) => Entry::Dropped(String::from("a good handshake is dropped without an answer")),
            Heard::Silence => Entry::Dropped(String::from("a good handshake is not answered")),
            Heard::Garbled(why) => Entry::Dropped(why),
        }
    }
}

/// What came of a good handshake.
#[derive(Debug)]
pub(super) enum Entry {
    In(Wire),
    Busy(u16, Duration),
    Refused(u16),
    Dropped(String),
}

fn address([second, third]: [u8; 2], number: u8) -> IpAddr {
    Ipv4Addr::new(127, second, third, number.saturating_add(1)).into()
}

/// Runs attackers side by side and gives what came of each.
pub(super) async fn side_by_side<T: Send + 'static>(
    attackers: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let mut running = JoinSet::new();
    for attacker in attackers {
        running.spawn(attacker);
    }
    let mut came = Vec::new();
    while let Some(joined) = running.join_next().await {
        came.extend(joined.ok());
    }
    came
}
