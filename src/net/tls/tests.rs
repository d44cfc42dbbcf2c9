//! Real handshakes over loopback.

use std::future::{Future as _, poll_fn};
use std::path::PathBuf;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::{Certificate, CertificateSource, SecretSource, TlsConfig, UnknownName};

/// As many handshakes as a test may have at a time.
static TURNS: Semaphore = Semaphore::const_new(64);

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    authority_called("the authority")
}

fn authority_called(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn certificate_with(authority: &Authority, params: &CertificateParams, names: &[&str]) -> Arc<Certificate> {
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let certified = CertifiedKey::from_der(vec![leaf.der().clone()], key, &provider()).unwrap();
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Arc::new(Certificate {
        certified: Arc::new(certified),
        names,
        not_after: u64::MAX,
        not_before: 0,
        authority: false,
    })
}

fn certificate(authority: &Authority, names: &[&str]) -> Arc<Certificate> {
    let params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    certificate_with(authority, &params, names)
}

fn config(certificates: &[Arc<Certificate>], unknown_name: UnknownName) -> TlsConfig {
    let source = |loaded: &Arc<Certificate>| CertificateSource {
        chain: PathBuf::new(),
        key: SecretSource::File(PathBuf::new()),
        loaded: Arc::clone(loaded),
    };
    TlsConfig { certificates: certificates.iter().map(source).collect(), tls13_only: false, unknown_name }
}

async fn loopback() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// A client of these tests: what it trusts, offers and remembers.
#[derive(Clone)]
struct Client(ClientConfig);

type ClientSide = tokio_rustls::client::TlsStream<TcpStream>;

impl Client {
    fn new(authority: &Authority, versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self::of(authority, versions, default_provider())
    }

    fn of(authority: &Authority, versions: &[&'static SupportedProtocolVersion], provider: CryptoProvider) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider.into()).with_protocol_versions(versions).unwrap();
        Self(builder.with_root_certificates(roots).with_no_client_auth())
    }

    fn offering(mut self, protocols: &[&str]) -> Self {
        self.0.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    async fn meet(
        &self,
        server: &ServerTls,
        name: &str,
    ) -> (std::io::Result<ClientSide>, Result<ClientStream, TlsError>) {
        let (near, far) = loopback().await;
        let connector = TlsConnector::from(Arc::new(self.0.clone()));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        tokio::join!(connector.connect(name, near), server.accept(far, &TURNS))
    }
}

fn client(authority: &Authority) -> Client {
    Client::new(authority, rustls::ALL_VERSIONS)
}

/// Sends one byte each way; the client has read its ticket after it.
async fn echo_once(near: &mut ClientSide, far: &mut ClientStream) {
    near.write_all(b"x").await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), b'x');
    far.write_all(b"y").await.unwrap();
    far.flush().await.unwrap();
    assert_eq!(near.read_u8().await.unwrap(), b'y');
}

#[tokio::test]
async fn tl09_sni_chooses_the_certificate() {
    let ca = authority();
    let shown = [
        certificate(&ca, &["first.example", "127.0.0.1"]),
        certificate(&ca, &["chat.example"]),
        certificate(&ca, &["*.example.org", "example.org"]),
        certificate(&ca, &["exact.example.org"]),
    ];
    let long = format!("{}.example", "x".repeat(63));
    // The name asked for, whose certificate is shown under Refuse, and under First.
    let cases = [
        ("chat.example", Some(1), 1),
        ("CHAT.example", Some(1), 1),
        ("a.example.org", Some(2), 2),
        ("example.org", Some(2), 2),
        ("exact.example.org", Some(3), 3),
        ("127.0.0.1", Some(0), 0),
        ("a.b.example.org", None, 0),
        ("other.example", None, 0),
        (long.as_str(), None, 0),
    ];
    for (name, refusing, first) in cases {
        let server = ServerTls::new(&config(&shown, UnknownName::Refuse)).unwrap();
        let (near, far) = client(&ca).meet(&server, name).await;
        assert_eq!((near.is_ok(), far.is_ok()), (refusing.is_some(), refusing.is_some()), "{name}");
        let server = ServerTls::new(&config(&shown, UnknownName::First)).unwrap();
        let (near, far) = client(&ca).meet(&server, name).await;
        let Some(near) = near.ok().filter(|_| refusing.is_some()) else {
            assert!(far.is_err(), "{name}: the client does not believe the first certificate");
            continue;
        };
        let leaf = near.get_ref().1.peer_certificates().unwrap().first().unwrap().clone();
        assert_eq!(Some(&leaf), shown[first].certified.cert.first(), "{name}");
        let sni = (name != "127.0.0.1").then(|| name.to_ascii_lowercase());
        assert_eq!(far.unwrap().server_name().map(String::from), sni);
    }
    assert_eq!(cases.len(), 9);
}

#[tokio::test]
async fn tl10_alpn_is_http11_or_nothing() {
    let ca = authority();
    let server = ServerTls::new(&config(&[certificate(&ca, &["a.example"])], UnknownName::Refuse)).unwrap();
    // What is offered, and what is chosen where the handshake succeeds.
    type Case = (&'static [&'static str], Option<Option<&'static [u8]>>);
    let cases: [Case; 6] = [
        (&["h2"], None),
        (&["foo"], None),
        (&["http/1.0", "h2c"], None),
        (&["h2", "http/1.1"], Some(Some(b"http/1.1"))),
        (&["http/1.1"], Some(Some(b"http/1.1"))),
        (&[], Some(None)),
    ];
    for (offer, chosen) in cases {
        let (near, far) = client(&ca).offering(offer).meet(&server, "a.example").await;
        match chosen {
            Some(protocol) => assert_eq!(near.unwrap().get_ref().1.alpn_protocol(), protocol, "{offer:?}"),
            None => {
                let alert = near.unwrap_err().to_string();
                assert!(alert.contains("NoApplicationProtocol"), "{offer:?}: {alert}");
            }
        }
        assert_eq!(far.is_ok(), chosen.is_some(), "{offer:?}");
    }
    assert_eq!(cases.len(), 6);
}

#[tokio::test]
async fn versions_are_those_that_the_operator_allows() {
    let ca = authority();
    let mut strict = config(&[certificate(&ca, &["a.example"])], UnknownName::Refuse);
    strict.tls13_only = true;
    let usual = TlsConfig { tls13_only: false, ..strict.clone() };
    let (tls12, tls13) = ([&rustls::version::TLS12], [&rustls::version::TLS13]);
    let cases = [
        (&usual, tls12, Some(ProtocolVersion::TLSv1_2)),
        (&usual, tls13, Some(ProtocolVersion::TLSv1_3)),
        (&strict, tls13, Some(ProtocolVersion::TLSv1_3)),
        (&strict, tls12, None),
    ];
    for (config, versions, spoken) in cases {
        let server = ServerTls::new(config).unwrap();
        let (near, _) = Client::new(&ca, &versions).meet(&server, "a.example").await;
        assert_eq!(near.ok().and_then(|near| near.get_ref().1.protocol_version()), spoken);
    }
    assert_eq!(cases.len(), 4);
}

#[tokio::test]
async fn post_quantum_key_exchange_comes_first() {
    let ca = authority();
    let server = ServerTls::new(&config(&[certificate(&ca, &["a.example"])], UnknownName::Refuse)).unwrap();
    let (near, far) = client(&ca).meet(&server, "a.example").await;
    let group = near.unwrap().get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    assert!(far.unwrap().is_tls());
}

/// A ClientHello of TLS 1.1: no supported_versions, one CBC suite.
fn hello_tls11() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x13, 1, 0, 0, 0]);
    let mut hello =
        vec![22, 3, 1, 0, u8::try_from(body.len() + 4).unwrap(), 1, 0, 0, u8::try_from(body.len()).unwrap()];
    hello.extend(body);
    hello
}

#[tokio::test]
async fn tl04_tl07_what_is_no_tls_handshake_fails_with_an_alert() {
    let ca = authority();
    let server = ServerTls::new(&config(&[certificate(&ca, &["a.example"])], UnknownName::Refuse)).unwrap();
    let cases = [
        ("TLS 1.1", hello_tls11()),
        ("SSLv2", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10".to_vec()),
        ("a wrong record type", vec![23, 3, 3, 0, 5, 1, 2, 3, 4, 5]),
        ("64 KiB of 0xff", vec![0xff; 65_536]),
        ("a hello of 64 KiB", [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &[0; 16_380]].concat()),
    ];
    for (what, bytes) in &cases {
        let (mut near, far) = loopback().await;
        let writes = async {
            near.write_all(bytes).await.unwrap();
            near.shutdown().await.unwrap();
            let mut alert = Vec::new();
            // What was sent and not read may make the kernel reset the connection: the alert is then lost, too.
            let _ = near.read_to_end(&mut alert).await;
            alert
        };
        let refuses = async {
            let Err(TlsError::Failed { why, tcp }) = server.accept(far, &TURNS).await else {
                panic!("{what} was accepted")
            };
            drop(tcp);
            why
        };
        let (why, alert) = tokio::join!(refuses, writes);
        assert!(!why.is_empty() && why.len() <= WHY_BYTES, "{what}: {why}");
        assert!(alert.is_empty() || alert[0] == 21, "{what}: {alert:?}");
    }
    assert_eq!(cases.len(), 5);
}

#[tokio::test]
async fn plain_http_comes_back_untouched() {
    let ca = authority();
    let server = ServerTls::new(&config(&[certificate(&ca, &["a.example"])], UnknownName::Refuse)).unwrap();
    let (mut near, far) = loopback().await;
    near.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let Err(TlsError::PlainHttp(mut tcp)) = server.accept(far, &TURNS).await else { panic!("not seen as HTTP") };
    let mut line = [0; 16];
    tcp.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"GET / HTTP/1.1\r\n");

    let (near, far) = loopback().await;
    drop(near);
    assert!(matches!(server.accept(far, &TURNS).await, Err(TlsError::ClientGone)));
}

#[tokio::test]
async fn tl01_a_silent_client_waits_no_longer_than_the_caller_says() {
    let ca = authority();
    let server = ServerTls::new(&config(&[certificate(&ca, &["a.example"])], UnknownName::Refuse)).unwrap();
    for begun in [&[][..], &hello_tls11()[..4]] {
        let (mut near, far) = loopback().await;
        near.write_all(begun).await.unwrap();
        assert!(timeout(Duration::from_millis(30), server.accept(far, &TURNS)).await.is_err());
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap_or_default();
        assert!(rest.is_empty(), "the connection ends without a word");
    }
}

/// A client that offers a key share for no group of the server's first choice is asked for another hello, and each
/// step of that handshake waits for its turn.
#[tokio::test]
async fn tl05_a_handshake_with_a_second_hello_ends_well_in_turns() {
    let ca = authority();
    let server = ServerTls::new(&config(&[certificate(&ca, &["a.example"])], UnknownName::Refuse)).unwrap();
    let turns = Semaphore::new(1);
    let held = turns.acquire().await.unwrap();
    let (near, far) = loopback().await;
    let name = ServerName::try_from("a.example").unwrap();
    let groups = vec![kx_group::MLKEM768, kx_group::X25519];
    let client = Client::of(&ca, rustls::ALL_VERSIONS, CryptoProvider { kx_groups: groups, ..default_provider() });
    let connecting = TlsConnector::from(Arc::new(client.0)).connect(name, near);
    let mut both = pin!(async { tokio::join!(connecting, server.accept(far, &turns)) });
    assert!(timeout(Duration::from_millis(50), &mut both).await.is_err(), "nothing is computed without a turn");
    drop(held);
    let (near, far) = both.await;
    let kind = near.unwrap().get_ref().1.handshake_kind();
    assert_eq!((kind, far.is_ok()), (Some(HandshakeKind::FullWithHelloRetryRequest), true));
    assert_eq!(turns.available_permits(), 1, "and every turn is given back");
}

#[tokio::test]
async fn tl05_a_handshake_waits_for_its_turn_and_a_stalled_one_gives_its_turn_away() {
    let ca = authority();
    let server = ServerTls::new(&config(&[certificate(&ca, &["a.example"])], UnknownName::Refuse)).unwrap();
    let turns = Semaphore::new(0);
    let connect = |near| {
        let name = ServerName::try_from("a.example").unwrap();
        TlsConnector::from(Arc::new(client(&ca).0)).connect(name, near)
    };
    let (near, far) = loopback().await;
    let met = async { tokio::join!(connect(near), server.accept(far, &turns)) };
    assert!(timeout(Duration::from_millis(50), met).await.is_err(), "no turn, no handshake");

    turns.add_permits(1);
    let (stalled, far) = loopback().await;
    let mut begun = pin!(server.accept(far, &turns));
    let mut hello = pin!(connect(stalled));
    // The hello is sent and answered; its client is asked no more, so the handshake stays unfinished.
    assert!(poll_fn(|cx| Poll::Ready(hello.as_mut().poll(cx))).await.is_pending());
    assert!(timeout(Duration::from_millis(50), &mut begun).await.is_err());
    let (near, far) = loopback().await;
    let met = async { tokio::join!(connect(near), server.accept(far, &turns)) };
    let (near, far) = timeout(Duration::from_secs(10), met).await.expect("the turn of a stalled handshake is free");
    assert!(near.is_ok() && far.is_ok());
}

#[tokio::test]
async fn tl15_tl16_replacing_certificates_touches_no_live_connection() {
    let ca = authority();
    let (old, new) = (certificate(&ca, &["a.example"]), certificate(&ca, &["a.example", "b.example"]));
    let server = ServerTls::new(&config(&[Arc::clone(&old)], UnknownName::Refuse)).unwrap();
    let (near, far) = client(&ca).meet(&server, "a.example").await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    assert!(client(&ca).meet(&server, "b.example").await.0.is_err());

    server.replace(&[Arc::clone(&new)]).unwrap();
    echo_once(&mut near, &mut far).await;
    let (later, _) = client(&ca).meet(&server, "b.example").await;
    let leaf = later.unwrap().get_ref().1.peer_certificates().unwrap().first().unwrap().clone();
    assert_eq!(Some(&leaf), new.certified.cert.first());

    assert_eq!(server.replace(&[]), Err(TlsSetupError::NoCertificate));
    assert!(client(&ca).meet(&server, "b.example").await.0.is_ok(), "the certificates stay");
    echo_once(&mut near, &mut far).await;
}

#[tokio::test]
async fn tl08_tl11_a_ticket_resumes_across_a_replacement_without_early_bytes() {
    let ca = authority();
    let server = ServerTls::new(&config(&[certificate(&ca, &["a.example"])], UnknownName::Refuse)).unwrap();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let client = Client::new(&ca, &[version]);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let (near, far) = client.meet(&server, "a.example").await;
            let (mut near, mut far) = (near.unwrap(), far.unwrap());
            echo_once(&mut near, &mut far).await;
            kinds.push(near.get_ref().1.handshake_kind());
            assert!(!near.get_ref().1.is_early_data_accepted());
            server.replace(&[certificate(&ca, &["a.example"])]).unwrap();
        }
        assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)], "{version:?}");
    }
}

#[tokio::test]
async fn tl12_an_end_without_close_notify_is_no_clean_end() {
    let ca = authority();
    let server = ServerTls::new(&config(&[certificate(&ca, &["a.example"])], UnknownName::Refuse)).unwrap();
    let (near, far) = client(&ca).meet(&server, "a.example").await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    near.get_mut().0.shutdown().await.unwrap();
    assert_eq!(far.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(far.read(&mut [0; 8]).await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof, "still");

    let (near, far) = client(&ca).meet(&server, "a.example").await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    near.shutdown().await.unwrap();
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0, "with close_notify");
}

/// What came whole before a record that is none is read, however much room there is; then it is over.
#[tokio::test]
async fn a_bad_record_takes_nothing_from_the_good_one_before_it() {
    let ca = authority();
    let server = ServerTls::new(&config(&[certificate(&ca, &["a.example"])], UnknownName::Refuse)).unwrap();
    for room in [1, 64] {
        let (near, far) = client(&ca).meet(&server, "a.example").await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        let (tcp, tls) = near.get_mut();
        let mut records = Vec::new();
        for words in [b"good", b"evil"] {
            std::io::Write::write_all(&mut tls.writer(), words).unwrap();
            tls.write_tls(&mut records).unwrap();
        }
        *records.last_mut().unwrap() ^= 1;
        tcp.write_all(&records).await.unwrap();
        let (mut got, mut buffer) = (Vec::new(), vec![0; room]);
        let error = loop {
            match far.read(&mut buffer).await {
                Ok(count) => got.extend_from_slice(&buffer[..count]),
                Err(error) => break error,
            }
        };
        assert_eq!((got.as_slice(), error.kind()), (&b"good"[..], std::io::ErrorKind::InvalidData), "{room}");
        assert_eq!(far.write(b"more").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        let mut alert = vec![0; 1];
        assert_eq!(tcp.read(&mut alert).await.unwrap(), 1, "the alert, or the ticket before it");
    }
}

/// Our client side against a server that shows this certificate.
async fn dial(trusted: &Authority, shown: &Arc<Certificate>, name: &str) -> Result<BackendStream, BackendTlsError> {
    let server = ServerTls::new(&config(&[Arc::clone(shown)], UnknownName::First)).unwrap();
    let tls = ClientTls::new(Some(trusted.pem().as_bytes())).unwrap();
    let (near, far) = loopback().await;
    tokio::join!(tls.connect(name, near), server.accept(far, &TURNS)).0
}

#[tokio::test]
async fn tl13_a_backend_is_who_it_must_be_or_nobody() {
    let (ca, stranger, namesake) = (authority(), authority_called("a stranger"), authority());
    let mut expired = CertificateParams::new(["a.example".to_owned()]).unwrap();
    expired.not_after = date_time_ymd(2020, 1, 1);
    let mut as_authority = CertificateParams::new(["a.example".to_owned()]).unwrap();
    as_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let good = certificate(&ca, &["a.example", "127.0.0.1"]);
    let cases = [
        ("good", &good, "a.example", ""),
        ("good by address", &good, "127.0.0.1", ""),
        ("wrong name", &good, "b.example", "not valid for name"),
        ("wrong address", &good, "127.0.0.2", "not valid for name"),
        ("no name", &good, "a b", "neither a DNS name nor an address"),
        ("expired", &certificate_with(&ca, &expired, &[]), "a.example", "renew the server's certificate"),
        ("an authority of the same name", &certificate(&namesake, &["a.example"]), "a.example", "another authority"),
        ("unknown authority", &certificate(&stranger, &["a.example"]), "a.example", "[upstream], --ca"),
        ("a CA's own", &certificate_with(&ca, &as_authority, &[]), "a.example", "a leaf certificate of its own"),
    ];
    for (what, shown, name, why) in cases {
        match dial(&ca, shown, name).await {
            Ok(stream) => assert!(why.is_empty() && stream.is_tls(), "{what} was accepted"),
            Err(error) => {
                let text = error.to_string();
                assert!(!why.is_empty() && text.contains(why), "{what}: {text}");
                assert!(!error.for_a_command().contains("[upstream]"), "{what}: where no policy is at hand");
            }
        }
    }
    assert_eq!(cases.len(), 9);
}

#[tokio::test]
async fn tl13_plain_text_before_the_handshake_is_no_backend() {
    let ca = authority();
    let tls = ClientTls::new(Some(ca.pem().as_bytes())).unwrap();
    let (near, mut far) = loopback().await;
    far.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap();
    let why = tls.connect("a.example", near).await.unwrap_err().to_string();
    assert!(why.contains("does not speak TLS"), "{why}");
}

#[test]
fn authorities_that_cannot_be_used_are_named() {
    let wrong = |pem: &str| ClientTls::new(Some(pem.as_bytes())).unwrap_err();
    assert_eq!(wrong(""), TlsSetupError::NoAuthority);
    assert_eq!(wrong("no pem at all"), TlsSetupError::NoAuthority);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(wrong(garbage), TlsSetupError::Authorities(_)));
    assert!(matches!(wrong("-----BEGIN CERTIFICATE-----\nAAAA"), TlsSetupError::Authorities(_)));
    assert!(ClientTls::new(Some(authority().pem().as_bytes())).is_ok());
}
