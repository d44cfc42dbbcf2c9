//! From a socket to a client whose address is charged, whose turn has come and whose TLS stands; and the watch over a
//! client that has to wait for its 101.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::house::{Door, House};
use super::queue::Turn;
use super::visit::Visit;
use super::{answer, clock};
use crate::config::ProxyMode;
use crate::limits::AddressPermit;
use crate::net::client_address::{client_from_forwarded, is_trusted};
use crate::net::listener::Incoming;
use crate::net::tls::{ClientStream, ServerTls, TlsError};
use crate::net::{http, proxy_protocol};
use crate::peer::ClientAddr;
use crate::policy::screen::Transport;
use crate::policy::{Reason, Refusal};
use crate::ws::head::Headers;

/// A client whose turn has come.
pub(super) struct Entered<'a> {
    pub(super) tcp: TcpStream,
    /// What is left of the time for TLS: silence before it counts, and the queue does not.
    pub(super) tls_time: Duration,
    /// The address's places; `None` for a trusted proxy itself.
    pub(super) address: Option<AddressPermit>,
    pub(super) turn: Turn<'a>,
}

/// Charges the address of a client that no proxy speaks for, and turns away who may not speak for others: all that can be
/// known before the socket is read.
pub(super) fn charge_unread(house: &House, door: &Door, visit: &mut Visit) -> Result<Option<AddressPermit>, Refusal> {
    match door.proxy {
        ProxyMode::None => {
            visit.client_is(ClientAddr::new(visit.peer));
            charge(house, door, visit)
        }
        ProxyMode::XForwardedFor if !is_trusted(visit.peer, &door.trusted) => {
            Err(Refusal::new(Reason::ProxyUntrusted).with_detail(visit.peer.to_string()))
        }
        ProxyMode::XForwardedFor | ProxyMode::ProxyProtocol => Ok(None),
    }
}

/// Learns whose address is charged where a proxy tells it, charges it, and waits for the client's turn. A client that is
/// turned away here has got its answer when this returns `None`; the visit knows the refusal.
pub(super) async fn enter<'a>(
    house: &'a House,
    door: &Door,
    socket: Incoming,
    address: Option<AddressPermit>,
    visit: &mut Visit,
) -> Option<Entered<'a>> {
    let mut tcp = socket.watch().inspect_err(|_| visit.dropped(&Reason::Internal.into())).ok()?;
    let address = match door.proxy {
        ProxyMode::ProxyProtocol => charge_proxied(house, door, &mut tcp, visit).await,
        ProxyMode::None | ProxyMode::XForwardedFor => Ok(address),
    };
    let address = address.inspect_err(|refusal| visit.dropped(refusal)).ok()?;
    let began = Instant::now();
    let (patience, late) = match &door.tls {
        Some(_) => (house.rules.tls, Reason::TlsTimeout),
        None => (house.rules.head, Reason::HeadTimeout),
    };
    // Who says nothing stands in nobody's way.
    if timeout(patience, tcp.peek(&mut [0])).await.is_err() {
        let refusal = Refusal::from(late);
        visit.refused(&refusal);
        if door.tls.is_none() {
            answer::refuse(house, ClientStream::Plain(tcp), &refusal, visit.id()).await;
        }
        return None;
    }
    let tls_time = house.rules.tls.saturating_sub(began.elapsed());
    match house.queue.wait(&house.limits).await {
        Ok(turn) => Some(Entered { tcp, tls_time, address, turn }),
        Err(refusal) => {
            tell_in_vain(house, door, tcp, &refusal, visit).await;
            None
        }
    }
}

/// Tells a client that it waited in vain, which takes its TLS and its request, where there is room for that.
async fn tell_in_vain(house: &House, door: &Door, tcp: TcpStream, refusal: &Refusal, visit: &mut Visit) {
    let Some(_room) = house.queue.answer() else { return visit.dropped(refusal) };
    let asked = async {
        let mut client = match &door.tls {
            Some(tls) => secure(house, tls, tcp, house.rules.tls).await.ok()?,
            None => ClientStream::Plain(tcp),
        };
        let read = http::read_head(&mut client, &house.rules.limits, Instant::now() + house.rules.head).await;
        Some((client, read))
    };
    // Whoever is slow keeps others from their answer.
    let asked = timeout(house.rules.queue, asked).await.ok().flatten();
    if let Some((_, Ok(read))) = &asked {
        visit.asks_for(&read.head);
    }
    let Some((client, _)) = asked else { return visit.dropped(refusal) };
    visit.refused(refusal);
    answer::refuse(house, client, refusal, visit.id()).await;
}

/// Completes TLS. A client that is turned away here has got its answer when this returns `None`.
pub(super) async fn secured(
    house: &House,
    door: &Door,
    tcp: TcpStream,
    tls_time: Duration,
    visit: &mut Visit,
) -> Option<ClientStream> {
    let Some(tls) = &door.tls else { return Some(ClientStream::Plain(tcp)) };
    match secure(house, tls, tcp, tls_time).await {
        Ok(client) => Some(client),
        Err(TurnedAway { refusal, plain }) => {
            visit.refused(&refusal);
            if let Some(tcp) = plain {
                answer::refuse(house, ClientStream::Plain(tcp), &refusal, visit.id()).await;
            }
            None
        }
    }
}

/// Charges the address that a PROXY header names.
async fn charge_proxied(
    house: &House,
    door: &Door,
    tcp: &mut TcpStream,
    visit: &mut Visit,
) -> Result<Option<AddressPermit>, Refusal> {
    let client = proxy_protocol::read_client(tcp, visit.peer, &door.trusted, house.rules.proxy_header).await?;
    visit.client_is(client);
    charge(house, door, visit)
}

/// Charges the address that X-Forwarded-For names.
pub(super) fn charge_forwarded(
    house: &House,
    door: &Door,
    headers: &Headers,
    visit: &mut Visit,
) -> Result<Option<AddressPermit>, Refusal> {
    let lines: Vec<&str> = headers.all("x-forwarded-for").collect();
    let client = client_from_forwarded(lines, &door.trusted, visit.peer)?;
    visit.client_is(client);
    charge(house, door, visit)
}

/// Charges the client's address. A trusted proxy that speaks for itself is bound by the whole gateway's capacity alone.
fn charge(house: &House, door: &Door, visit: &mut Visit) -> Result<Option<AddressPermit>, Refusal> {
    let client = visit.client();
    if door.proxy != ProxyMode::None && client == ClientAddr::new(visit.peer) {
        return Ok(None);
    }
    visit.charge_to(client);
    if house.ledger.denies(client, clock::unix_now()) {
        return Err(Refusal::new(Reason::AddressDenied).with_detail(client.to_string()));
    }
    house.limits.charge_address(client).map(Some)
}

struct TurnedAway {
    refusal: Refusal,
    /// The socket of a client that spoke plain HTTP, and can be told so.
    plain: Option<TcpStream>,
}

async fn secure(house: &House, tls: &ServerTls, tcp: TcpStream, time: Duration) -> Result<ClientStream, TurnedAway> {
    let deadline = Instant::now() + time;
    let unheard = |refusal: Refusal| TurnedAway { refusal, plain: None };
    match timeout_at(deadline, tls.accept(tcp, &house.tls_turns)).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(TlsError::PlainHttp(tcp))) => Err(TurnedAway { refusal: Reason::PlainHttp.into(), plain: Some(tcp) }),
        Ok(Err(TlsError::ClientGone)) => Err(unheard(Reason::ClientGone.into())),
        Ok(Err(TlsError::Failed { why, tcp })) => {
            // The alert is lost to a reset where bytes of the client are left unread.
            http::linger(tcp, &house.lingering).await;
            Err(unheard(Refusal::new(Reason::TlsFailed).with_detail(why)))
        }
        Err(_) => Err(unheard(Reason::TlsTimeout.into())),
    }
}

/// What the screen is told of the transport.
pub(super) fn transport(client: &ClientStream, visit: &Visit) -> Transport {
    Transport {
        client: visit.client(),
        server_name: client.server_name().map(str::to_owned),
        client_certificate: false,
    }
}

/// Waits for `work` while the client stays silent: a byte is early, an end makes the work pointless. The client is
/// read before the work begins, and once more after it is done, so that nothing that came before the 101 is taken for a
/// frame.
pub(super) async fn while_silent<T>(
    client: &mut ClientStream,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let mut work = pin!(work);
    poll_fn(|context| {
        poll_silence(client, context)?;
        let outcome = work.as_mut().poll(context);
        if outcome.is_ready() {
            poll_silence(client, context)?;
        }
        outcome
    })
    .await
}

fn poll_silence(client: &mut ClientStream, context: &mut Context<'_>) -> Result<(), Refusal> {
    let mut byte = [0; 1];
    let mut buffer = ReadBuf::new(&mut byte);
    match Pin::new(client).poll_read(context, &mut buffer) {
        Poll::Pending => Ok(()),
        Poll::Ready(Ok(())) if !buffer.filled().is_empty() => Err(Reason::EarlyBytes.into()),
        Poll::Ready(_) => Err(Reason::ClientGone.into()),
    }
}
