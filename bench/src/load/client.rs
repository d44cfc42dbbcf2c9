//! One client connection: TCP, TLS where it is spoken, bytes in and out.
//!
//! It is to be cheap, as it shares the machine with what it measures. All connections share the buffers; one read takes
//! what has come, records are opened where they lie, and what is to go out is sealed into one buffer and sent with one
//! write.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::target::Target;
use crate::fault::{During as _, Fault, Outcome};
use crate::unsent::Unsent;
use crate::upgrade::{self, LONGEST_HEAD};

/// The most bytes that are sealed and sent at once.
pub(crate) const BATCH_BYTES: usize = 128 * 1024;
/// The most bytes of one read.
const READ_BYTES: usize = 128 * 1024;
/// The most bytes of a record that has not come whole (RFC 8446, section 5.2), a handshake message's rest included.
const REST_BYTES: usize = 64 * 1024;
/// Room for what TLS adds to a batch, and for a flight of the handshake.
const SEAL_BYTES: usize = 16 * 1024;
/// How long a connection may take to open, or to close.
const PATIENCE: Duration = Duration::from_secs(10);

/// The buffers of all connections of this thread.
struct Scratch {
    incoming: Box<[u8]>,
    plain: Vec<u8>,
    sealed: Box<[u8]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        incoming: vec![0; REST_BYTES + READ_BYTES].into(),
        plain: Vec::with_capacity(BATCH_BYTES),
        sealed: vec![0; BATCH_BYTES + SEAL_BYTES].into(),
    });
}

/// What came of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes, which have been handed on.
    Bytes,
    /// The end of the stream, or a reset; bytes may have come before it.
    End,
}

/// A connection.
pub(crate) struct Client {
    tcp: TcpStream,
    tls: Option<Box<UnbufferedClientConnection>>,
    /// The beginning of a record that has not come whole.
    rest: Vec<u8>,
    /// Sealed bytes that the kernel has not taken.
    unsent: Unsent,
}

impl Client {
    /// Opens a session; an answer other than a correct 101 is a fault.
    pub(crate) async fn open(target: &Target, number: usize, token: Option<&str>) -> Outcome<Self> {
        let (client, answer) = Self::ask(target, number, token).await?;
        match answer.status {
            101 => Ok(client),
            status => Err(Fault::new(format!("connection {number} is answered {status} instead of 101"))),
        }
    }

    /// Asks for a session: connects, shakes hands, sends the request and reads the answer's head.
    pub(crate) async fn ask(target: &Target, number: usize, token: Option<&str>) -> Outcome<(Self, Answer)> {
        let ask = async {
            let mut client = Self::connect(target, number).await?;
            let mut nonce = [0; 16];
            aws_lc_rs::rand::fill(&mut nonce).during("drawing a key")?;
            let key = STANDARD.encode(nonce);
            client.send(target.request(&key, token).as_bytes()).await?;
            let answer = client.answer(&key).await?;
            Ok((client, answer))
        };
        timeout(PATIENCE, ask).await.during("opening a connection")?
    }

    /// The key exchange group and the TLS version that were agreed on.
    pub(crate) fn agreed(&self) -> Option<(String, String)> {
        let tls = self.tls.as_ref()?;
        let group = tls.negotiated_key_exchange_group()?;
        Some((format!("{:?}", group.name()), format!("{:?}", tls.protocol_version()?)))
    }

    /// Sends what `fill` writes into the empty buffer, at most `BATCH_BYTES`; ready with their count once the kernel has
    /// taken all that came before.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, fill: impl FnOnce(&mut Vec<u8>)) -> Poll<Outcome<usize>> {
        ready!(self.unsent.poll_flush(cx, &mut self.tcp)).during("sending")?;
        SCRATCH.with_borrow_mut(|Scratch { plain, sealed, .. }| {
            plain.clear();
            fill(plain);
            let wire = match &mut self.tls {
                _ if plain.is_empty() => return Poll::Ready(Ok(0)),
                None => plain.as_slice(),
                Some(tls) => seal(tls, &mut self.rest, plain, sealed)?,
            };
            self.unsent.send(cx, &mut self.tcp, wire).during("sending")?;
            Poll::Ready(Ok(plain.len()))
        })
    }

    /// Reads once and hands the bytes to `sink`.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        sink: impl FnMut(&[u8]) -> Outcome<()>,
    ) -> Poll<Outcome<Received>> {
        SCRATCH.with_borrow_mut(|Scratch { incoming, sealed, .. }| {
            let kept = self.rest.len();
            let Some((rest, space)) = incoming.split_at_mut_checked(kept).filter(|_| kept <= REST_BYTES) else {
                return Poll::Ready(Err(Fault::new("a TLS record without an end")));
            };
            let mut arrived = ReadBuf::new(space);
            match ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut arrived)) {
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Poll::Ready(Ok(Received::End)),
                read => read.during("reading")?,
            }
            let count = arrived.filled().len();
            if count == 0 {
                return Poll::Ready(Ok(Received::End));
            }
            rest.copy_from_slice(&self.rest);
            let bytes = incoming.get_mut(..kept + count).unwrap_or_default();
            Poll::Ready(self.digest(cx, bytes, sealed, sink))
        })
    }

    /// Sends `bytes` whole.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Outcome<()> {
        for batch in bytes.chunks(BATCH_BYTES) {
            poll_fn(|cx| self.poll_send(cx, |plain| plain.extend_from_slice(batch))).await?;
        }
        poll_fn(|cx| self.unsent.poll_flush(cx, &mut self.tcp)).await.during("sending")
    }

    /// Reads on until the peer ends the connection, and hands what comes to `sink`.
    pub(crate) async fn until_end(&mut self, mut sink: impl FnMut(&[u8]) -> Outcome<()>) -> Outcome<()> {
        let end = async {
            while poll_fn(|cx| self.poll_receive(cx, &mut sink)).await? == Received::Bytes {}
            Ok(())
        };
        timeout(PATIENCE, end).await.during("waiting for the end of a connection")?
    }

    /// Gives the connection up with a reset: nothing that is under way arrives.
    pub(crate) fn reset(self) -> Outcome<()> {
        self.tcp.set_zero_linger().during("ending a connection")
    }

    /// Begins a handshake and gives it up.
    pub(crate) async fn turn_back(target: &Target, number: usize) -> Outcome<()> {
        let turned = async {
            let mut client = Self::connect(target, number).await?;
            let request = target.request("dGhlIHNhbXBsZSBub25jZQ==", None);
            client.send(request.as_bytes().get(..request.len() / 2).unwrap_or_default()).await
        };
        timeout(PATIENCE, turned).await.during("turning back")?
    }

    /// Ends this side.
    pub(crate) async fn finish(&mut self) -> Outcome<()> {
        match poll_fn(|cx| Pin::new(&mut self.tcp).poll_shutdown(cx)).await {
            // The peer was first.
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
            ended => ended.during("ending a connection"),
        }
    }

    /// TCP, and TLS where it is spoken.
    async fn connect(target: &Target, number: usize) -> Outcome<Self> {
        let tcp = target.connect(number).await?;
        let mut client = Self { tcp, tls: None, rest: Vec::new(), unsent: Unsent::default() };
        if let Some((config, name)) = &target.tls {
            let tls = UnbufferedClientConnection::new(config.clone(), name.clone()).during("beginning TLS")?;
            client.tls = Some(Box::new(tls));
            client.shake_hands().await?;
        }
        Ok(client)
    }

    /// The TLS handshake.
    async fn shake_hands(&mut self) -> Outcome<()> {
        let early = |_: &[u8]| Err(Fault::new("bytes within the TLS handshake"));
        poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| Poll::Ready(self.digest(cx, &mut [], &mut scratch.sealed, early)))
        })
        .await?;
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            if poll_fn(|cx| self.poll_receive(cx, early)).await? == Received::End {
                return Err(Fault::new("the connection ended within the TLS handshake"));
            }
        }
        Ok(())
    }

    /// Reads the head of the answer to the request with `key`; the end may come with it.
    async fn answer(&mut self, key: &str) -> Outcome<Answer> {
        let mut bytes = Vec::new();
        loop {
            let mut sink = |piece: &[u8]| {
                bytes.extend_from_slice(piece);
                if bytes.len() > LONGEST_HEAD { Err(Fault::new("an answer without an end")) } else { Ok(()) }
            };
            let received = poll_fn(|cx| self.poll_receive(cx, &mut sink)).await?;
            if let Some((head, rest)) = upgrade::split_head(&bytes) {
                return Answer::of(head, rest, key);
            }
            if received == Received::End {
                return Err(Fault::new("the connection ended instead of an answer"));
            }
        }
    }

    /// Opens the records of `bytes`, hands what they carry to `sink`, sends what TLS itself has to say, keeps the rest.
    fn digest(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
        sealed: &mut [u8],
        mut sink: impl FnMut(&[u8]) -> Outcome<()>,
    ) -> Outcome<Received> {
        let Some(tls) = &mut self.tls else { return sink(bytes).map(|()| Received::Bytes) };
        let (mut used, mut said, mut received) = (0, 0, Received::Bytes);
        loop {
            let incoming = bytes.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = tls.process_tls_records(incoming);
            let mut waits = false;
            match state.during("TLS")? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.during("TLS")?;
                        discard += record.discard;
                        sink(record.payload)?;
                    }
                }
                ConnectionState::EncodeTlsData(mut flight) => {
                    said += flight.encode(sealed.get_mut(said..).unwrap_or_default()).during("TLS")?;
                }
                // It is sent below, and kept if the kernel does not take it.
                ConnectionState::TransmitTlsData(flight) => flight.done(),
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    (received, waits) = (Received::End, true);
                }
                ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => waits = true,
                _ => return Err(Fault::new("TLS in a state that is not known")),
            }
            used += discard;
            if waits {
                break;
            }
        }
        self.rest.clear();
        self.rest.extend_from_slice(bytes.get(used..).unwrap_or_default());
        self.unsent.send(cx, &mut self.tcp, sealed.get(..said).unwrap_or_default()).during("sending")?;
        Ok(received)
    }
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Of HTTP; 101 only if the rest of the head says the same.
    pub(crate) status: u16,
}

impl Answer {
    /// The answer with this head to a request with `key`; `rest` followed it.
    fn of(head: &[u8], rest: &[u8], key: &str) -> Outcome<Self> {
        let head = str::from_utf8(head).during("reading an answer")?;
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|head| head.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| Fault::new("an answer that is not of HTTP/1.1"))?;
        let agrees = upgrade::lists(head, "upgrade", "websocket")
            && upgrade::lists(head, "connection", "upgrade")
            && upgrade::field(head, "sec-websocket-accept") == Some(upgrade::accept(key).as_str())
            && rest.is_empty();
        match status {
            101 if !agrees => Err(Fault::new("a 101 that does not answer the request")),
            status => Ok(Self { status }),
        }
    }
}

/// Seals `plain` into `sealed`.
fn seal<'s>(
    tls: &mut UnbufferedClientConnection,
    unprocessed: &mut [u8],
    plain: &[u8],
    sealed: &'s mut [u8],
) -> Outcome<&'s [u8]> {
    let UnbufferedStatus { state, .. } = tls.process_tls_records(unprocessed);
    let ConnectionState::WriteTraffic(mut traffic) = state.during("TLS")? else {
        return Err(Fault::new("TLS is not ready to send"));
    };
    let count = traffic.encrypt(plain, sealed).during("TLS")?;
    Ok(sealed.get(..count).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_101_is_one_only_if_the_whole_head_says_so() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(Answer::of(head.as_bytes(), b"", key).unwrap().status, 101);
        for (what, other) in [("websocket", "h2c"), ("Connection", "Via"), ("s3p", "S3p"), ("HTTP/1.1", "HTTP/1.0")] {
            assert!(Answer::of(head.replace(what, other).as_bytes(), b"", key).is_err(), "{what}");
        }
        assert!(Answer::of(head.as_bytes(), b"early", key).is_err());
        assert!(Answer::of(head.as_bytes(), b"", "b3RoZXI=").is_err());
        assert_eq!(Answer::of(b"HTTP/1.1 403 Forbidden\r\n\r\n", b"body", key).unwrap().status, 403);
    }
}
