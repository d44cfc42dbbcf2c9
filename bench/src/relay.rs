//! wsgate's own relay in this process, for callgrind: `bench/instructions` counts what one echoed message costs it.
//!
//! A client's TLS connection, a session with every rate and deadline, and a backend's socket, as the gateway puts them
//! together; one message is under way at a time. What is counted is the relay's polls, once the first messages have
//! gone by: callgrind is told to collect inside [`counted_poll`] alone. The client's and the backend's work is done in
//! another task, outside of it.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wsgate::config::{Certificate, CertificateSource, SecretSource, TlsConfig, UnknownName};
use wsgate::event::{Event, Observer};
use wsgate::net::relay::{Control, Relay};
use wsgate::net::tls::{BackendStream, ClientStream, ServerTls};
use wsgate::session::{DirectionRules, Ended, Extensions, Overrun, Session, SessionRules};
use wsgate::telemetry::Fanout;
use wsgate::telemetry::clock::system_clock;
use wsgate::telemetry::metrics::{Metrics, Readings};
use wsgate::units::ByteSize;

use crate::fault::{During as _, Fault, Outcome};
use crate::frame::{self, BINARY, Header, TEXT};
use crate::listen;

/// Messages that go by before counting begins: the first ones find buffers to make and a timer to set.
const WARM_UP: u32 = 20;
/// The buffer of every socket: a message fits in, so that how it arrives is not the kernel's choice.
const SOCKET_BYTES: u32 = 192 << 10;

/// What is echoed.
#[derive(Debug, Args)]
pub(crate) struct Echoes {
    /// Echoes that are counted.
    #[arg(long)]
    messages: u32,
    /// Payload bytes of each.
    #[arg(long)]
    bytes: usize,
    #[arg(long, default_value = "binary")]
    kind: Kind,
    /// Seconds after which the credential ends; by default it never does.
    #[arg(long)]
    lease: Option<u64>,
}

/// The kind of message.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Text,
    Binary,
}

/// Echoes through a relay; every byte is compared.
pub(crate) fn run(echoes: &Echoes) -> Outcome<()> {
    listen::runtime()?.block_on(echo(echoes))
}

async fn echo(echoes: &Echoes) -> Outcome<()> {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).during("making a certificate")?;
    let (near_client, mut client) = secured(&certified).await?;
    let (near_backend, mut backend) = connected().await?;
    let counts = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let lease = echoes.lease.map(Duration::from_secs);
    tasks.spawn(carry(near_client, near_backend, lease, Arc::clone(&counts)));
    let opcode = match echoes.kind {
        Kind::Text => TEXT,
        Kind::Binary => BINARY,
    };
    let payload: Vec<u8> = (b'a'..=b'z').cycle().take(echoes.bytes).collect();
    let sent = frame::masked(opcode, [0x5a, 0xc3, 0x96, 0x0f], &payload);
    let mut answer = Vec::new();
    Header { fin: true, opcode, mask: None, length: payload.len() as u64 }.write(&mut answer);
    answer.extend_from_slice(&payload);
    for number in 0..WARM_UP + echoes.messages {
        counts.store(number >= WARM_UP, Ordering::Relaxed);
        client.write_all(&sent).await.during("sending to the relay")?;
        client.flush().await.during("sending to the relay")?;
        read_expected(&mut backend, &sent).await?;
        backend.write_all(&answer).await.during("answering the relay")?;
        read_expected(&mut client, &answer).await?;
    }
    counts.store(false, Ordering::Relaxed);
    drop((client, backend));
    let ended = tasks.join_next().await.ok_or_else(|| Fault::new("there was no relay"))?.during("relaying")?;
    let carried = ended.map(|ended| [ended.from_client.messages, ended.from_backend.messages]);
    if carried != Some([u64::from(WARM_UP + echoes.messages); 2]) {
        return Err(Fault::new(format!("messages carried: {carried:?}")));
    }
    Ok(())
}

/// Reads as many bytes as are expected, and compares them.
async fn read_expected(stream: &mut (impl AsyncRead + Unpin), expected: &[u8]) -> Outcome<()> {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).await.during("reading from the relay")?;
    if got == expected { Ok(()) } else { Err(Fault::new("a wrong byte came back")) }
}

/// The relay, as the gateway runs it; its polls are counted while `counts` says so.
async fn carry(
    client: ClientStream,
    backend: TcpStream,
    lease: Option<Duration>,
    counts: Arc<AtomicBool>,
) -> Option<Ended> {
    let metrics = Arc::new(Metrics::new(Arc::new(Readings::default), system_clock()));
    let observer = Arc::new(Fanout::new(metrics, Arc::new(Silent)));
    #[expect(clippy::disallowed_methods, reason = "the session begins")]
    let now = Instant::now();
    let session = Session::new(Arc::new(rules()), Extensions::Strip, lease, now, |bytes| bytes.fill(0x5a));
    let mut end = None;
    let tell = |ended: &Ended| end = Some(*ended);
    let relay = Relay {
        client,
        backend: BackendStream::Plain(backend),
        backend_leftover: Vec::new(),
        session,
        control: Control::new(),
        observer,
        places: (),
    };
    Counted { relay: Box::pin(relay.run(tell)), counts }.await;
    end
}

/// A future whose polls are told apart.
struct Counted<F> {
    relay: Pin<Box<F>>,
    counts: Arc<AtomicBool>,
}

impl<F: Future<Output = ()>> Future for Counted<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let counts = self.counts.load(Ordering::Relaxed);
        let relay = self.relay.as_mut();
        if counts { counted_poll(relay, cx) } else { relay.poll(cx) }
    }
}

/// What callgrind collects in: it finds this name in the symbol table.
#[inline(never)]
fn counted_poll<F: Future<Output = ()>>(relay: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<()> {
    relay.poll(cx)
}

/// Everything that a policy can ask for, with rates that this load stays beneath.
fn rules() -> SessionRules {
    let direction = DirectionRules {
        message_size: ByteSize::mib(2),
        fragments: 2048,
        messages: "1000000/s burst 1000000".parse().ok(),
        bytes: "64GiB/s burst 64GiB".parse().ok(),
        control: "10/s burst 20".parse().ok(),
        over: Overrun::Slow,
    };
    SessionRules { from_client: direction.clone(), from_backend: direction, ..SessionRules::default() }
}

/// What is behind the metrics hears of events alone.
struct Silent;

impl Observer for Silent {
    fn observe(&self, _: &Event) {}
}

/// Both ends of a connection with TLS on it, the gateway's first.
async fn secured(certified: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Outcome<(ClientStream, TlsStream<TcpStream>)> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = vec![certified.cert.der().clone()];
    let tls = ServerTls::new(&TlsConfig {
        certificates: vec![source(&chain, certified.signing_key.serialize_der())?],
        tls13_only: true,
        unknown_name: UnknownName::Refuse,
    })
    .during("setting TLS up")?;
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).during("trusting the certificate")?;
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.during("setting TLS up")?.with_root_certificates(roots).with_no_client_auth();
    let (near, far) = connected().await?;
    let name = ServerName::try_from("localhost").during("naming the server")?;
    let turns = Semaphore::new(1);
    let (near, far) = tokio::join!(tls.accept(near, &turns), TlsConnector::from(Arc::new(client)).connect(name, far));
    Ok((near.during("accepting TLS")?, far.during("connecting TLS")?))
}

fn source(chain: &[CertificateDer<'static>], key: Vec<u8>) -> Outcome<CertificateSource> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = rustls::sign::CertifiedKey::from_der(chain.to_vec(), key, &provider).during("loading the key")?;
    let loaded = Certificate {
        certified: Arc::new(certified),
        names: vec!["localhost".into()],
        not_after: u64::MAX,
        not_before: 0,
        authority: false,
    };
    let nowhere = PathBuf::new();
    Ok(CertificateSource { chain: nowhere.clone(), key: SecretSource::File(nowhere), loaded: Arc::new(loaded) })
}

/// Both ends of a TCP connection, the accepted one first.
async fn connected() -> Outcome<(TcpStream, TcpStream)> {
    let sockets = async {
        let near = socket()?;
        near.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener: TcpListener = near.listen(1)?;
        let (far, near) = tokio::join!(socket()?.connect(listener.local_addr()?), listener.accept());
        let (near, far) = (near?.0, far?);
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        io::Result::Ok((near, far))
    };
    sockets.await.during("connecting")
}

fn socket() -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(SOCKET_BYTES)?;
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_any_size_are_echoed_through_the_relay() {
        for (bytes, kind) in [(0, Kind::Text), (128, Kind::Binary), (64 << 10, Kind::Binary), (1 << 20, Kind::Binary)] {
            run(&Echoes { messages: 2, bytes, kind, lease: Some(60) }).unwrap();
        }
    }
}
