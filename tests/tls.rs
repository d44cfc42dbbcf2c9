//! TLS toward clients and toward backends: what is spoken, how long it may take, and which certificate is shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::type_complexity, reason = "a table of cases is plainest with its columns in sight")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use support::backend::{SWITCHING, Step};
use support::certificates::Authority;
use support::house::HOST;
use support::{Backend, Cases, House, Plan, Wire, backend, cases, frames, within};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wsgate::policy::Reason;
use wsgate::session::Cause;

const SHORT: &str = "[admission]\ntls = \"300ms\"";

/// A stream that writes one byte at a time.
struct Trickle(TcpStream);

impl AsyncRead for Trickle {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Trickle {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.0).poll_write(cx, &bytes[..bytes.len().min(1)]))?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

fn name(text: &str) -> ServerName<'static> {
    ServerName::try_from(text.to_owned()).unwrap()
}

async fn connected(house: &House, config: Arc<ClientConfig>, host: &str) -> io::Result<TlsStream<TcpStream>> {
    let stream = house.tcp().await;
    within("a TLS handshake", TlsConnector::from(config).connect(name(host), stream)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_ends_at_its_deadline() {
    let house = Plan::plain().gateway(SHORT).build().await;
    let mut cases = Cases::of("deadlines");
    let hello = client_hello(&house);
    let beginnings: [(&str, &str, &[u8]); 4] = [
        ("TL01", "nothing is sent", b""),
        ("TL02", "one byte", &hello[..1]),
        ("TL02", "half a hello", &hello[..hello.len() / 2]),
        ("TL02", "a whole hello, and no more", &hello),
    ];
    for (id, name, bytes) in beginnings {
        let mark = house.record.mark();
        let mut wire = house.plain_wire().await;
        wire.send(bytes).await;
        house.admits(&house.request()).await;
        wire.rest().await;
        drop(wire);
        let told = house.record.refused(mark).await;
        assert_eq!(told.reason, Reason::TlsTimeout, "{name}");
        house.is_at_rest().await;
        cases.held(id, name);
    }
    cases.all(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trickle_does_not_move_the_deadline() {
    let house = Plan::plain().gateway(SHORT).build().await;
    let hello = client_hello(&house);
    let mark = house.record.mark();
    let mut wire = house.plain_wire().await;
    let mut clock = tokio::time::interval(std::time::Duration::from_millis(20));
    for byte in &hello {
        clock.tick().await;
        if !wire.send(&[*byte]).await || house.record.mark() > mark {
            break;
        }
    }
    wire.rest().await;
    assert_eq!(house.record.refused(mark).await.reason, Reason::TlsTimeout);
    cases::held("TL02", "a byte every 20 ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_do_not_keep_others_out() {
    let house = Plan::plain().gateway("[admission]\ntls = \"2s\"").build().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(house.tcp().await);
    }
    for _ in 0..5 {
        let wire = house.wire().await;
        let mut wire = wire;
        House::opened(&mut wire, &house.request()).await;
        wire.closes(1000).await;
    }
    drop(silent);
    house.is_at_rest().await;
    cases::held("TL01", "200 silent clients and a lively one");
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_wait_for_their_turn() {
    let house = Plan::plain().gateway("[capacity]\ntls_handshakes = 1").build().await;
    let wires = futures_util::future::join_all((0..20).map(|_| house.wire())).await;
    assert_eq!(wires.len(), 20);
    drop(wires);
    house.is_at_rest().await;
    house.admits(&house.request()).await;
    cases::held("TL05", "twenty at once, one at a time");
}

fn client_hello(house: &House) -> Vec<u8> {
    let mut client = rustls::ClientConnection::new(house.authority.client(&[b"http/1.1"]), name(HOST)).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    assert!(hello.len() > 1200, "a hello with a post-quantum key share");
    hello
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_may_come_in_any_pieces() {
    let house = House::plain().await;
    let config = house.authority.client(&[b"http/1.1"]);
    let stream = Trickle(house.tcp().await);
    let stream =
        within("a handshake byte by byte", TlsConnector::from(config).connect(name(HOST), stream)).await.unwrap();
    house.admits_on(Wire::over(stream), &house.request()).await;
    cases::held("TL03", "a byte a segment");
    let mut config = (*house.authority.client(&[b"http/1.1"])).clone();
    config.max_fragment_size = Some(64);
    let stream = connected(&house, Arc::new(config), HOST).await.unwrap();
    house.admits_on(Wire::over(stream), &house.request()).await;
    cases::held("TL03", "a hello over many records");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tls_is_not_answered_as_tls() {
    let house = House::plain().await;
    house.admits(&house.request()).await;
    let mut long_record = vec![0x16, 3, 1, 0xff, 0xff];
    long_record.extend_from_slice(&[0; 20_000]);
    let empty_records = [0x16, 3, 1, 0, 0].repeat(2000);
    let warnings = [0x15, 3, 1, 0, 2, 1, 0].repeat(10);
    let garbage: [(&str, Vec<u8>); 7] = [
        ("zeros", vec![0; 64]),
        ("an SSLv2 hello", vec![0x80, 0x2e, 0x01, 0x00, 0x02, 0x00, 0x15, 0x00, 0x00, 0x00, 0x10, 1, 2, 3, 4]),
        ("a record longer than records are", long_record),
        ("empty records", empty_records),
        ("warnings", warnings),
        ("application data first", vec![0x17, 3, 3, 0, 5, 1, 2, 3, 4, 5]),
        ("an unknown record", vec![0x99, 3, 3, 0, 1, 0]),
    ];
    let mut cases = Cases::of("garbage");
    let count = garbage.len();
    for (what, bytes) in garbage {
        let mark = house.record.mark();
        let mut wire = house.plain_wire().await;
        wire.send(&bytes).await;
        wire.finish().await;
        let (told, _) = wire.rest().await;
        assert!(told.len() < 64 && !told.starts_with(b"HTTP"), "{what}: an alert at most: {told:?}");
        drop(wire);
        assert_eq!(house.record.refused(mark).await.reason, Reason::TlsFailed, "{what}");
        house.is_at_rest().await;
        house.admits(&house.request()).await;
        cases.held("TL04", what);
    }
    cases.all(count);
}

/// A hello of an old version with an old cipher suite.
fn old_hello(version: u8, suite: [u8; 2]) -> Vec<u8> {
    let mut body = vec![3, version];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, suite[0], suite[1], 1, 0]);
    let mut hello =
        vec![0x16, 3, 1, 0, u8::try_from(body.len() + 4).unwrap(), 1, 0, 0, u8::try_from(body.len()).unwrap()];
    hello.extend_from_slice(&body);
    hello
}

#[tokio::test(flavor = "multi_thread")]
async fn old_tls_is_not_spoken() {
    let house = House::plain().await;
    let versions: [(&str, &[&'static rustls::SupportedProtocolVersion]); 2] =
        [("TLS 1.2", &[&rustls::version::TLS12]), ("TLS 1.3", &[&rustls::version::TLS13])];
    let mut cases = Cases::of("versions");
    for (version, versions) in versions {
        let stream = connected(&house, house.authority.client_with(&[b"http/1.1"], versions), HOST).await.unwrap();
        house.admits_on(Wire::over(stream), &house.request()).await;
        cases.held("TL07", version);
    }
    let old = [
        ("SSL 3.0", old_hello(0, [0x00, 0x2f])),
        ("TLS 1.0", old_hello(1, [0x00, 0x2f])),
        ("TLS 1.1", old_hello(2, [0xc0, 0x13])),
        ("TLS 1.2 with RSA key exchange", old_hello(3, [0x00, 0x9c])),
        ("TLS 1.2 with CBC", old_hello(3, [0xc0, 0x13])),
        ("TLS 1.2 with 3DES", old_hello(3, [0xc0, 0x12])),
        ("TLS 1.2 without authentication", old_hello(3, [0x00, 0x34])),
    ];
    for (what, hello) in &old {
        let mark = house.record.mark();
        let mut wire = house.plain_wire().await;
        wire.send(hello).await;
        let (told, _) = wire.rest().await;
        assert_eq!(told.first(), Some(&0x15), "{what}: an alert");
        assert_eq!(house.record.refused(mark).await.reason, Reason::TlsFailed, "{what}");
        cases.held("TL07", what);
    }
    cases.all(2 + old.len());
    let strict = Plan::plain().listener("tls_min = \"1.3\"").build().await;
    let client = strict.authority.client_with(&[b"http/1.1"], &[&rustls::version::TLS12]);
    assert!(connected(&strict, client, HOST).await.is_err());
    strict.admits(&strict.request()).await;
    cases::held("TL07", "TLS 1.2 where the operator wants 1.3");
}

#[tokio::test(flavor = "multi_thread")]
async fn resumption_skips_no_check_and_early_data_is_not_taken() {
    let house = House::plain().await;
    let mut config = (*house.authority.client(&[b"http/1.1"])).clone();
    config.enable_early_data = true;
    let config = Arc::new(config);
    let first = connected(&house, Arc::clone(&config), HOST).await.unwrap();
    house.admits_on(Wire::over(first), &house.request()).await;
    let second = connected(&house, Arc::clone(&config), HOST).await.unwrap();
    assert_eq!(second.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
    assert!(!second.get_ref().1.is_early_data_accepted());
    cases::held("TL08", "early data is not taken");
    let evil = house.request_with(|request| request.set("Origin", "https://evil.example"));
    house.refuses_on(Wire::over(second), &evil, Reason::OriginNotAllowed).await;
    let third = connected(&house, config, HOST).await.unwrap();
    house.admits_on(Wire::over(third), &house.request()).await;
    cases::held("TL11", "a resumed connection is judged like another");
}

/// A session on a stream whose keys the test turns itself.
async fn in_session(house: &House, config: Arc<ClientConfig>) -> TlsStream<TcpStream> {
    let mut stream = connected(house, config, HOST).await.unwrap();
    stream.write_all(&house.request().bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("a 101", stream.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{:?}", String::from_utf8_lossy(&head));
    stream
}

/// rustls lets 32 pass between two pieces of application data and ends the connection at the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_update_flood_ends_the_connection() {
    let house = House::plain().await;
    let config = house.authority.client_with(&[b"http/1.1"], &[&rustls::version::TLS13]);
    let mark = house.record.mark();
    let mut talkative = in_session(&house, Arc::clone(&config)).await;
    for _ in 0..200 {
        talkative.get_mut().1.refresh_traffic_keys().unwrap();
        talkative.write_all(&frames::masked(frames::FIN | frames::TEXT, b"word")).await.unwrap();
        let mut echo = [0; 6];
        within("an echo", talkative.read_exact(&mut echo)).await.unwrap();
    }
    Wire::over(talkative).closes(1000).await;
    assert_eq!(house.closure(mark).await.cause, Cause::Closed);
    cases::held("TL06", "200 key updates, a word between any two");

    let mark = house.record.mark();
    let mut flooding = in_session(&house, config).await;
    for _ in 0..200 {
        flooding.get_mut().1.refresh_traffic_keys().unwrap();
        if flooding.flush().await.is_err() {
            break;
        }
    }
    let mut rest = Vec::new();
    let _ = within("the end", flooding.read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "the stream ends, and no Close frame claims an orderly end: {rest:?}");
    drop(flooding);
    assert_eq!(house.closure(mark).await.cause, Cause::ClientLost);
    house.admits(&house.request()).await;
    cases::held("TL06", "200 key updates without a word between");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_certificate_has_is_refused() {
    let house = Plan::plain().names(&[HOST, "*.wild.test", "127.0.0.1"]).build().await;
    house.admits(&house.request()).await;
    let mut cases = Cases::of("names");
    for unknown in ["unknown.test", "a.b.wild.test", "wild.test", "xn--bcher-kva.test"] {
        let mark = house.record.mark();
        let error = house.try_wire("127.0.0.1", unknown).await.err().expect("no certificate for it");
        assert!(error.to_string().contains("alert"), "{unknown}: {error}");
        assert_eq!(house.record.refused(mark).await.reason, Reason::TlsFailed);
        cases.held("TL09", unknown);
    }
    let wire = house.try_wire("127.0.0.1", "127.0.0.1").await.unwrap();
    house.admits_on(wire, &house.request()).await;
    cases.held("TL09", "none: the first certificate");
    let wire = house.try_wire("127.0.0.1", "one.wild.test").await.unwrap();
    let mut wire = wire;
    wire.send(&house.request().bytes()).await;
    assert_eq!(wire.answer_head().await.status, 421, "a certificate is no policy");
    cases.held("TL09", "a wildcard name that no policy serves");
    cases.all(6);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_http_1_1_is_negotiated() {
    let house = House::plain().await;
    let mut cases = Cases::of("ALPN");
    let welcome: [(&str, &[&[u8]]); 3] =
        [("http/1.1", &[b"http/1.1"]), ("none", &[]), ("h2 and http/1.1", &[b"h2", b"http/1.1"])];
    for (what, alpn) in welcome {
        let stream = connected(&house, house.authority.client(alpn), HOST).await.unwrap();
        let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(chosen, alpn.last().map(|name| name.to_vec()), "{what}");
        house.admits_on(Wire::over(stream), &house.request()).await;
        cases.held("TL10", what);
    }
    let unwelcome: [(&str, &[&[u8]]); 2] = [("h2 alone", &[b"h2"]), ("foo alone", &[b"foo"])];
    for (what, alpn) in unwelcome {
        let mark = house.record.mark();
        assert!(connected(&house, house.authority.client(alpn), HOST).await.is_err(), "{what}");
        assert_eq!(house.record.refused(mark).await.reason, Reason::TlsFailed);
        cases.held("TL10", what);
    }
    cases.all(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_without_close_notify_is_no_clean_end() {
    let house = House::plain().await;
    let mark = house.record.mark();
    let mut wire = house.session().await;
    wire.echoes("before").await;
    wire.send(&frames::masked_header_16(0x82, 60_000)).await;
    drop(wire);
    let closure = house.closure(mark).await;
    assert_eq!(closure.cause, Cause::ClientLost);
    house.backend.wait("the backend is told", |seen| seen.last().is_some_and(|seen| seen.ended)).await;
    assert!(house.backend.last().frames().iter().all(|frame| frame.close_code() != Some(1000)), "never a clean 1000");
    cases::held("TL12", "cut in the middle of a frame");

    // An orderly end would leave the backend its time to go on sending, and the half-close deadline would be the cause.
    let script = vec![Step::Head, Step::Send(SWITCHING.into()), Step::Hold];
    let house = Plan::plain().policy("[session]\nhalf_close = \"1s\"").script(script).build().await;
    let mark = house.record.mark();
    let wire = house.session().await;
    drop(wire);
    assert_eq!(house.closure(mark).await.cause, Cause::ClientLost);
    let mark = house.record.mark();
    let mut wire = house.session().await;
    wire.finish().await;
    assert_eq!(house.closure(mark).await.cause, Cause::HalfCloseTimeout, "the twin: close_notify");
    drop(wire);
    cases::held("TL12", "cut between two frames");
}

async fn with_tls_backend(leaf: support::certificates::Leaf, authority: &Authority) -> House {
    let backend = Backend::playing_over_tls(backend::echo(), leaf.server()).await;
    let address = backend.address;
    let plan = Plan::plain().backend(backend).file("policies/backend-ca.pem", authority.pem());
    plan.policy(&format!("[upstream]\nservers = [\"wss://{address}\"]\nauthorities = \"backend-ca.pem\"")).build().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_verified() {
    let authority = Authority::throwaway();
    let good = with_tls_backend(authority.leaf(&["127.0.0.1"]), &authority).await;
    good.admits(&good.request()).await;
    let wrong = [
        ("expired", authority.expired_leaf(&["127.0.0.1"])),
        ("another name", authority.leaf(&["other.test"])),
        ("another authority", Authority::throwaway().leaf(&["127.0.0.1"])),
    ];
    let mut cases = Cases::of("certificates of backends");
    let count = wrong.len();
    for (what, leaf) in wrong {
        let house = with_tls_backend(leaf, &authority).await;
        house.refuses_after_dial(house.wire().await, &house.request(), Reason::BackendTls).await;
        assert!(house.backend.all_bytes().is_empty(), "{what}: not one byte in the clear");
        cases.held("TL13", what);
    }
    let plain = Backend::echo().await;
    let servers = format!("[upstream]\nservers = [\"wss://{}\"]\nauthorities = \"backend-ca.pem\"", plain.address);
    let plan = Plan::plain().file("policies/backend-ca.pem", authority.pem()).policy(&servers).backend(plain);
    let house = plan.policy("[upstream]\nconnect_timeout = \"500ms\"").build().await;
    let mut wire = house.wire().await;
    let mark = house.record.mark();
    wire.send(&house.request().bytes()).await;
    assert!(matches!(wire.answer_head().await.status, 502 | 504));
    let reason = house.record.refused(mark).await.reason;
    assert!(matches!(reason, Reason::BackendTls | Reason::BackendConnectTimeout), "{reason:?}");
    assert!(house.backend.last().head.is_empty(), "no handshake without TLS");
    cases.held("TL13", "a backend that speaks no TLS");
    cases.all(count + 1);
}

/// The serial number of the certificate that a client is shown.
async fn shown(house: &House, authority: &Authority) -> Option<Vec<u8>> {
    let stream = connected(house, authority.client(&[b"http/1.1"]), HOST).await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?.first()?.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_certificate_keeps_the_old_one_and_a_good_one_replaces_it() {
    let house = House::plain().await;
    let mut live = house.session().await;
    let old = shown(&house, &house.authority).await.unwrap();
    let folder = house.folder.path().join("certs");
    let (chain, key) = (folder.join("server.pem"), folder.join("server.key"));
    let good_chain = fs::read(&chain).unwrap();
    let other = house.authority.leaf(&[HOST]);
    let faults: [(&str, Vec<u8>); 4] = [
        ("a chain of another key", other.chain_pem.clone().into_bytes()),
        ("half a chain", good_chain[..good_chain.len() / 2].to_vec()),
        ("an empty chain", Vec::new()),
        ("no PEM", b"certificate to follow".to_vec()),
    ];
    let mut cases = Cases::of("certificate faults");
    let count = faults.len();
    for (what, bytes) in faults {
        let mark = house.record.mark();
        fs::write(&chain, bytes).unwrap();
        house.record.notice(mark, "certificate_kept").await;
        assert_eq!(shown(&house, &house.authority).await.as_ref(), Some(&old), "{what}");
        cases.held("TL15", what);
    }
    let mark = house.record.mark();
    fs::write(&key, &other.key_pem).unwrap();
    fs::write(&chain, &other.chain_pem).unwrap();
    house.record.notice(mark, "certificate_replaced").await;
    assert_ne!(shown(&house, &house.authority).await.as_ref(), Some(&old));
    live.echoes("the session that was there lives on").await;
    live.closes(1000).await;
    drop(live);
    house.is_at_rest().await;
    house.admits(&house.request()).await;
    cases.held("TL15", "a good pair");
    cases.all(count + 1);
}

/// Handshakes that a change of certificates must not disturb, and changes that they must see.
const HANDSHAKES: usize = 1000;
const CHANGES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn certificates_change_under_a_thousand_handshakes() {
    let house = House::plain().await;
    let folder = house.folder.path().join("certs");
    let leaves: Vec<_> = (0..CHANGES).map(|_| house.authority.leaf(&[HOST])).collect();
    let first = shown(&house, &house.authority).await.unwrap();
    let known: Vec<Vec<u8>> = std::iter::once(first).chain(leaves.iter().map(|leaf| leaf.der())).collect();
    // How many changes were begun, and how many were told of.
    let (begun, told) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (shaken, seen) = (AtomicUsize::new(0), Mutex::new(BTreeSet::new()));

    let changes = async {
        for (number, leaf) in leaves.iter().enumerate() {
            let mark = house.record.mark();
            begun.store(number + 1, SeqCst);
            fs::write(folder.join("server.key"), &leaf.key_pem).unwrap();
            fs::write(folder.join("server.pem"), &leaf.chain_pem).unwrap();
            house.record.notice(mark, "certificate_replaced").await;
            told.store(number + 1, SeqCst);
        }
    };
    let client = async || {
        while shaken.load(SeqCst) < HANDSHAKES || !seen.lock().unwrap().contains(&CHANGES) {
            let least = told.load(SeqCst);
            let certificate = shown(&house, &house.authority).await.expect("a handshake with a certificate that fits");
            let most = begun.load(SeqCst);
            let which = known.iter().position(|known| *known == certificate).expect("one that was put there");
            assert!((least..=most).contains(&which), "certificate {which} between changes {least} and {most}");
            seen.lock().unwrap().insert(which);
            shaken.fetch_add(1, SeqCst);
        }
    };
    tokio::join!(changes, client(), client(), client(), client());
    assert_eq!(seen.into_inner().unwrap(), (0..=CHANGES).collect(), "the old one and every later one was shown");
    house.is_at_rest().await;
    house.admits(&house.request()).await;
    cases::held("TL16", "each of a thousand handshakes sees the old certificate or the one after it");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_over_tls_pins_https_and_names_no_server() {
    let house = House::plain().await;
    let refusals: [(fn(&mut support::Request), Reason); 4] = [
        (|r| r.remove("Upgrade"), Reason::UpgradeMissing),
        (|r| r.set("Origin", "https://evil.example"), Reason::OriginNotAllowed),
        (|r| r.remove("Authorization"), Reason::CredentialMissing),
        (|r| r.target("/nowhere"), Reason::PathNotServed),
    ];
    let mut cases = Cases::of("headers of answers");
    for (spoil, reason) in refusals {
        let answer = house.refuses(&house.request_with(spoil), reason).await.unwrap();
        let pinned = answer.one("strict-transport-security").expect("RFC 6797");
        let seconds: u64 = pinned.trim_start_matches("max-age=").split(';').next().unwrap().parse().unwrap();
        assert!(seconds >= 31_536_000, "{pinned}");
        cases.held("TL17", reason.code());
    }
    cases.all(refusals.len());
}
