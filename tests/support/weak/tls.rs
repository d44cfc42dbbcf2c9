//! TLS, and what comes on its port in its place.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use wsgate::config::ListenerConfig;
use wsgate::peer::ClientAddr;
use wsgate::policy::screen::Transport;

use super::{Client, Duplex, Fault, Gate, LINGER};

/// The first byte of a TLS record that holds a handshake.
const HANDSHAKE: u8 = 22;

/// The first byte of a handshake message that opens one.
const CLIENT_HELLO: u8 = 1;

/// The TLS of the listener.
pub(super) struct Server {
    config: ServerConfig,
    name: String,
}

impl Server {
    pub(super) fn new(listener: &ListenerConfig, fault: Option<Fault>) -> Self {
        let certificate = &listener.tls.as_ref().expect("a listener with TLS").certificates[0].loaded;
        let names = certificate.names.clone();
        let name = names[0].clone();
        let resolver = Arc::new(ByName { certificate: Arc::clone(&certificate.certified), names });
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if fault == Some(Fault::EarlyDataTaken) {
            config.max_early_data_size = 1 << 14;
        }
        Self { config, name }
    }

    /// Speaks TLS with a client; `None` where it comes to nothing.
    pub(super) async fn enter(&self, gate: &Gate, mut tcp: TcpStream, peer: IpAddr) -> Option<Client> {
        if gate.has(Fault::ProxyHeaderBelieved) {
            skip_proxy_header(&mut tcp).await?;
        }
        let mut first = [0; 4096];
        let seen = tcp.peek(&mut first).await.ok()?;
        let first = &first[..seen];
        let transport = |name: Option<&str>| Transport {
            client: ClientAddr::new(peer),
            server_name: name.map(str::to_owned),
            client_certificate: false,
        };
        let client =
            |stream: Box<dyn Duplex>, transport, is_resumed| Client { stream, kept: Vec::new(), transport, is_resumed };
        if gate.has(Fault::HelloInOneSegment) && first.first() == Some(&HANDSHAKE) && !is_whole(first) {
            return None;
        }
        let is_http = first.first().is_some_and(u8::is_ascii_alphabetic);
        if is_http && gate.has(Fault::PlainServed) {
            return Some(client(Box::new(tcp), transport(None), false));
        }
        if is_http && gate.has(Fault::PlainRedirected) {
            let location = format!("https://{}{}", self.name, gate.policy.route.paths[0]);
            let answer =
                format!("HTTP/1.1 301 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return finish(tcp, answer.as_bytes()).await;
        }
        if gate.fault.is_some_and(|fault| stops(fault, first)) {
            gate.stop();
            return None;
        }
        if let Some(answer) = gate.fault.and_then(|fault| server_hello(fault, first)) {
            return finish(tcp, &answer).await;
        }
        let start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await.ok()?;
        let name = start.client_hello().server_name().map(str::to_owned);
        let offered = start.client_hello().alpn().map(|names| names.map(<[u8]>::to_vec).collect());
        let mut config = self.config.clone();
        if let (true, Some(offered)) = (gate.has(Fault::AnyAlpn), offered) {
            config.alpn_protocols = offered;
        }
        let stream = start.into_stream(Arc::new(config)).await.ok()?;
        let is_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        Some(client(Box::new(stream), transport(name.as_deref()), is_resumed))
    }
}

/// Shows the certificate to who asks for one of its names, or for none.
#[derive(Debug)]
struct ByName {
    certificate: Arc<CertifiedKey>,
    names: Vec<String>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_ours = |name: &str| self.names.iter().any(|one| one == name);
        hello.server_name().is_none_or(is_ours).then(|| Arc::clone(&self.certificate))
    }
}

/// Takes a PROXY header off, of either version.
async fn skip_proxy_header(tcp: &mut TcpStream) -> Option<()> {
    let mut first = [0; 16];
    let seen = tcp.peek(&mut first).await.ok()?;
    if first[..seen].starts_with(b"PROXY") {
        while tcp.read_u8().await.ok()? != b'\n' {}
    } else if first[..seen].starts_with(b"\r\n\r\n\0\r\nQUIT\n") {
        let length = 16 + usize::from(u16::from_be_bytes([first[14], first[15]]));
        tcp.read_exact(&mut vec![0; length]).await.ok()?;
    }
    Some(())
}

async fn finish(mut tcp: TcpStream, answer: &[u8]) -> Option<Client> {
    tcp.write_all(answer).await.ok()?;
    tcp.shutdown().await.ok()?;
    let mut rest = (&mut tcp).take(64 << 10);
    let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    None
}

/// Whether a connection begins with an empty record, or with a message of 16 MiB.
pub(super) async fn is_endless(tcp: &TcpStream, within: Duration) -> bool {
    let mut first = [0; 9];
    let seen = timeout(within, tcp.peek(&mut first)).await;
    let seen = seen.ok().and_then(Result::ok).unwrap_or(0);
    matches!(&first[..seen], [HANDSHAKE, _, _, 0, 0, ..] | [HANDSHAKE, _, _, _, _, CLIENT_HELLO, 0xff, 0xff, 0xff])
}

/// Takes whatever comes, and says nothing.
pub(super) async fn swallow(mut tcp: TcpStream) {
    let _ = tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await;
}

/// Whether a ClientHello is one that the fault does not bear.
fn stops(fault: Fault, first: &[u8]) -> bool {
    match (fault, first) {
        // The record is full, and the message no longer than 64 KiB.
        (Fault::LongHelloStops, [HANDSHAKE, _, _, 0x40, 0, CLIENT_HELLO, 0, ..]) => true,
        (Fault::AddressForNameStops, [HANDSHAKE, ..]) => first.windows(9).any(|nine| nine == b"127.0.0.1"),
        _ => false,
    }
}

/// Whether a record is whole, and holds a ClientHello.
fn is_whole(record: &[u8]) -> bool {
    let [_, _, _, high, low, CLIENT_HELLO, ..] = record else { return false };
    record.len() >= 5 + usize::from(u16::from_be_bytes([*high, *low]))
}

/// The ServerHello (RFC 5246 section 7.4.1.3) to a ClientHello that must not be answered; `None`: it is not for this
/// fault to answer.
fn server_hello(fault: Fault, record: &[u8]) -> Option<Vec<u8>> {
    if fault == Fault::ZerosAnswered && record.first() == Some(&0) {
        return Some([&[HANDSHAKE, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3], [7; 32].as_slice(), &[0; 4]].concat());
    }
    let body = record.get(9..).filter(|_| record[0] == HANDSHAKE && is_whole(record))?;
    let version: [u8; 2] = *body.first_chunk()?;
    let session = usize::from(*body.get(34)?);
    let suites = body.get(35 + session..)?;
    let length = usize::from(u16::from_be_bytes(*suites.first_chunk()?));
    let compressions = suites.get(2 + length..)?;
    let suites = suites.get(2..2 + length)?;
    let is_strong = |suite: &[u8]| matches!(suite, [0x13, _] | [0xc0, 0x2b..=0x30] | [0xcc, 0xa8..=0xaa]);
    let (suite, compression) = match fault {
        Fault::OldTlsAnswered if version < [3, 3] => (suites.get(..2)?, 0),
        Fault::WeakSuitesAnswered if version == [3, 3] && !suites.chunks(2).any(is_strong) => (suites.get(..2)?, 0),
        Fault::RenegotiationUnbound
            if suites.chunks(2).any(is_strong) && !suites.chunks(2).any(|suite| suite[0] == 0x13) =>
        {
            (suites.get(..2)?, 0)
        }
        Fault::CompressionAnswered if compressions.get(1..)?.first()? == &1 => (suites.get(..2)?, 1),
        _ => return None,
    };
    let hello = [version.as_slice(), &[7; 32], &[0], suite, &[compression]].concat();
    let handshake = [&[2, 0, 0, u8::try_from(hello.len()).ok()?], hello.as_slice()].concat();
    let head = [HANDSHAKE, version[0], version[1], 0, u8::try_from(handshake.len()).ok()?];
    Some([head.as_slice(), &handshake].concat())
}
