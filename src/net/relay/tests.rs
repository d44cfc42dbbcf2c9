//! The relay over pipes, with time held still.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::task::{JoinHandle, coop};
use tokio::time::Instant;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::*;
use crate::event::{Event, Observer};
use crate::session::{By, Cause, Direction, Extensions, SessionRules};
use crate::units::ByteSize;

mod ended;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Counter(Mutex<[Traffic; 2]>);

impl Observer for Counter {
    fn observe(&self, _: &Event) {}

    fn traffic(&self, direction: Direction, delta: Traffic) {
        let total = &mut self.0.lock().unwrap()[usize::from(direction == Direction::FromBackend)];
        total.messages += delta.messages;
        total.bytes += delta.bytes;
    }
}

impl Abandon for DuplexStream {
    fn abandon(&self) {}
}

impl<T> Abandon for client::TlsStream<T> {
    fn abandon(&self) {}
}

impl<T> Abandon for server::TlsStream<T> {
    fn abandon(&self) {}
}

/// The far ends of a relay that runs.
struct Rig {
    client: DuplexStream,
    backend: DuplexStream,
    control: Control,
    counter: Arc<Counter>,
    task: JoinHandle<Ended>,
}

fn fixed(bytes: &mut [u8]) {
    bytes.fill(0x5A);
}

fn relay<C, B>(
    (client, backend): (C, B),
    backend_leftover: Vec<u8>,
    session: Session,
    control: Control,
    observer: Arc<Counter>,
) -> Relay<C, B, ()> {
    Relay { client, backend, backend_leftover, session, control, observer, places: () }
}

fn run(rules: SessionRules, pipe: usize, leftover: &[u8]) -> Rig {
    let (client, near_client) = duplex(pipe);
    let (backend, near_backend) = duplex(pipe);
    let control = Control::new();
    let counter = Arc::new(Counter::default());
    let session = Session::new(Arc::new(rules), Extensions::Strip, None, Instant::now().into_std(), fixed);
    let (leftover, asked, observer) = (leftover.to_vec(), control.clone(), counter.clone());
    #[expect(clippy::disallowed_methods, reason = "the rig owns the task")]
    let task = tokio::spawn(async move {
        let mut told = None;
        let streams = (near_client, near_backend);
        relay(streams, leftover, session, asked, observer).run(|ended| told = Some(*ended)).await;
        told.unwrap()
    });
    Rig { client, backend, control, counter, task }
}

fn roomy() -> SessionRules {
    let mut rules = SessionRules::default();
    rules.from_client.bytes = None;
    rules.from_client.message_size = ByteSize::mib(64);
    rules.from_client.fragments = u32::MAX;
    rules.from_backend.message_size = ByteSize::mib(64);
    rules
}

/// A binary frame; the payload of a masked one is not masked, which is nobody's business here.
fn frame(masked: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x82, if masked { 0xFF } else { 0x7F }];
    if payload.len() < 126 {
        bytes[1] = (bytes[1] & 0x80) | u8::try_from(payload.len()).unwrap();
    } else {
        assert!(payload.len() > 0xFFFF);
        bytes.extend((payload.len() as u64).to_be_bytes());
    }
    bytes.extend(if masked { &[1, 2, 3, 4][..] } else { &[] });
    bytes.extend(payload);
    bytes
}

fn close(masked: bool, code: u16) -> Vec<u8> {
    let [high, low] = code.to_be_bytes();
    if masked { vec![0x88, 0x82, 0, 0, 0, 0, high, low] } else { vec![0x88, 2, high, low] }
}

async fn read(stream: &mut DuplexStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn rest(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_waits_is_small() {
    let session =
        Session::new(Arc::default(), Extensions::Strip, None, Instant::now().into_std(), |bytes| bytes.fill(7));
    let ((_far, client), (_end, backend)) = (duplex(1), duplex(1));
    let relay = relay((client, backend), Vec::new(), session, Control::new(), Arc::default()).run(|_| ());
    let size = size_of_val(&relay);
    assert!(size <= 1_536, "RX07: {size} bytes, and no buffer");
}

#[tokio::test(start_paused = true)]
async fn glued_bytes_come_first_and_a_closing_handshake_ends_it() {
    // BE04
    let mut rig = run(roomy(), 1 << 20, &frame(false, b"glued"));
    rig.backend.write_all(&frame(false, b"later")).await.unwrap();
    assert_eq!(read(&mut rig.client, 14).await, [frame(false, b"glued"), frame(false, b"later")].concat(), "BE04");
    rig.client.write_all(&[frame(true, b"hello"), close(true, 1000)].concat()).await.unwrap();
    assert_eq!(read(&mut rig.backend, 19).await, [frame(true, b"hello"), close(true, 1000)].concat());
    rig.backend.write_all(&close(false, 1000)).await.unwrap();
    assert_eq!(rest(&mut rig.client).await, close(false, 1000));
    drop((rig.client, rig.backend));
    let ended = rig.task.await.unwrap();
    assert_eq!((ended.cause, ended.by, ended.code), (Cause::Closed, By::Client, Some(1000)));
    assert_eq!(ended.from_client, Traffic { messages: 1, bytes: 19 });
    assert_eq!(*rig.counter.0.lock().unwrap(), [ended.from_client, ended.from_backend]);
}

#[tokio::test(start_paused = true)]
async fn both_ways_at_once_nothing_is_lost() {
    // FR21: 16 MiB each way through narrow pipes.
    let big: Vec<u8> = (0..16u32 << 20).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let Rig { client, backend, task, .. } = run(roomy(), 5_000, b"");
    let ends = [(client, true), (backend, false)].map(|(stream, masked)| {
        let big = big.clone();
        async move {
            let (mut reader, mut writer) = split(stream);
            let sent = [frame(masked, &big), close(masked, 1000)].concat();
            let expected = [frame(!masked, &big), close(!masked, 1000)].concat();
            let write = async { writer.write_all(&sent).await.unwrap() };
            let mut got = vec![0; expected.len()];
            let read = async { reader.read_exact(&mut got).await.unwrap() };
            tokio::join!(write, read);
            assert!(got == expected, "FR21");
        }
    });
    let [client, backend] = ends;
    tokio::join!(client, backend);
    assert_eq!(task.await.unwrap().cause, Cause::Closed, "FR21");
}

#[tokio::test(start_paused = true)]
async fn a_side_that_takes_nothing_stops_the_other_and_then_ends_the_session() {
    // RX07 and RX08: what is in flight is bounded by two pipes and one read.
    let most = 2 * 4_096 + READ_SIZE + HEADROOM;
    for masked in [false, true] {
        let mut rig = run(roomy(), 4_096, b"");
        let (writer, silent, by) = if masked {
            (&mut rig.client, &mut rig.backend, By::Backend)
        } else {
            (&mut rig.backend, &mut rig.client, By::Client)
        };
        let begun = Instant::now();
        let message = frame(masked, &vec![7; 1 << 20]);
        let mut sent = 0;
        while let Ok(count) = timeout(SECOND, writer.write(&message[sent..])).await {
            sent += count.unwrap();
        }
        assert!(sent <= most, "RX07 RX08: {sent} in flight");
        let ended = rig.task.await.unwrap();
        assert_eq!((ended.cause, ended.by), (Cause::WriteStall, by), "RX07 RX08");
        assert!(begun.elapsed() < 68 * SECOND, "RX07 RX08: {:?}", begun.elapsed());
        // Its twin goes on reading late, and gets everything it was sent.
        let _ = silent;
    }
    let mut rig = run(roomy(), 4_096, b"");
    let message = frame(false, &vec![7; 1 << 20]);
    let (mut reader, _writer) = split(rig.client);
    let slow_read = async {
        let mut got = vec![0; message.len()];
        for chunk in got.chunks_mut(64 << 10) {
            sleep(30 * SECOND).await;
            reader.read_exact(chunk).await.unwrap();
        }
        got
    };
    let (got, sent) = tokio::join!(slow_read, rig.backend.write_all(&message));
    assert!(sent.is_ok() && got == message, "BE09");
    rig.task.abort();
}

#[tokio::test(start_paused = true)]
async fn the_end_of_one_side_lets_the_other_finish() {
    // BE06: everything is delivered, then a Close frame.
    let mut rig = run(roomy(), 1 << 20, b"");
    let message = frame(false, &vec![7; 300_000]);
    rig.backend.write_all(&message).await.unwrap();
    rig.backend.shutdown().await.unwrap();
    let got = read(&mut rig.client, message.len() + 4).await;
    assert!(got == [message.clone(), close(false, 1012)].concat(), "BE06");
    rig.client.write_all(&close(true, 1012)).await.unwrap();
    assert_eq!(rest(&mut rig.backend).await, close(true, 1012));
    drop(rig.client);
    assert_eq!(rig.task.await.unwrap().cause, Cause::BackendLost, "BE06");

    // BE07: the client ends, the backend still sends; BE08 where it never ends.
    let mut rig = run(roomy(), 1 << 20, b"");
    rig.client.write_all(&frame(true, b"last")).await.unwrap();
    rig.client.shutdown().await.unwrap();
    assert_eq!(rest(&mut rig.backend).await, frame(true, b"last"), "BE07");
    rig.backend.write_all(&message).await.unwrap();
    assert!(read(&mut rig.client, message.len()).await == message, "BE07");
    let begun = Instant::now();
    let ended = rig.task.await.unwrap();
    assert_eq!((ended.cause, ended.by), (Cause::HalfCloseTimeout, By::Backend), "BE08");
    assert!(begun.elapsed() <= 12 * SECOND, "BE08: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lost_client_ends_it_and_the_backend_sees_no_close() {
    let mut rig = run(roomy(), 1 << 20, b"");
    rig.client.write_all(&frame(true, b"last")[..7]).await.unwrap();
    drop(rig.client);
    assert_eq!(rest(&mut rig.backend).await, frame(true, b"last")[..7]);
    drop(rig.backend);
    let ended = rig.task.await.unwrap();
    assert_eq!((ended.cause, ended.by, ended.code), (Cause::ClientLost, By::Client, None), "TL12");
}

#[tokio::test(start_paused = true)]
async fn silence_is_pinged_and_then_ended() {
    let mut rig = run(roomy(), 1 << 20, b"");
    let (ping, masked) = (read(&mut rig.client, 10).await, read(&mut rig.backend, 14).await);
    assert_eq!((ping[0], ping[1], masked[0], masked[1]), (0x89, 8, 0x89, 0x88), "FR19");
    rig.client.write_all(&[&[0x8A, 0x88, 0, 0, 0, 0][..], &ping[2..]].concat()).await.unwrap();
    let ended = rig.task.await.unwrap();
    assert_eq!((ended.cause, ended.by), (Cause::PongTimeout, By::Backend), "RX06");
    assert_eq!(rest(&mut rig.client).await, close(false, 1012), "RX06: the pong was swallowed");
}

#[tokio::test(start_paused = true)]
async fn an_end_from_outside_is_told_at_a_boundary() {
    let mut rig = run(roomy(), 1 << 20, b"");
    let message = frame(false, b"half a frame");
    rig.backend.write_all(&message[..5]).await.unwrap();
    assert_eq!(read(&mut rig.client, 5).await, message[..5]);
    assert!(rig.control.end(Cause::Drain));
    assert!(!rig.control.end(Cause::ServerDown), "the first cause counts");
    assert_eq!(read(&mut rig.backend, 8).await[..2], [0x88, 0x82]);
    rig.backend.write_all(&[message[5..].to_vec(), close(false, 1001)].concat()).await.unwrap();
    assert_eq!(
        read(&mut rig.client, message.len() - 5 + 4).await,
        [&message[5..], &close(false, 1001)].concat(),
        "FR18"
    );
    rig.client.write_all(&close(true, 1001)).await.unwrap();
    drop((rig.client, rig.backend));
    assert_eq!(rig.task.await.unwrap().cause, Cause::Drain, "FR18");
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_is_gone_at_once_without_a_word() {
    let ends: [fn(&Control, Cause); 2] = [|control, cause| assert!(control.end(cause)), |control, _| control.cut()];
    let mut seen = Vec::new();
    for end in ends {
        let ((mut client, near_client), (mut backend, near_backend)) = (duplex(64), duplex(64));
        let session = Session::new(Arc::new(roomy()), Extensions::Strip, None, Instant::now().into_std(), fixed);
        let (control, mut told) = (Control::new(), None);
        let tell = |ended: &Ended| told = Some(ended.cause);
        let streams = (near_client, near_backend);
        let relay = relay(streams, Vec::new(), session, control.clone(), Arc::default()).run(tell);
        let script = async {
            end(&control, Cause::Drain);
            (rest(&mut backend).await.len(), rest(&mut client).await.len())
        };
        let begun = Instant::now();
        let ((), got) = tokio::join!(relay, script);
        seen.push((told, got, begun.elapsed() < SECOND));
    }
    assert_eq!(seen, [(Some(Cause::Drain), (8, 4), false), (Some(Cause::Drain), (0, 0), true)]);
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_the_lingering_too() {
    for (is_cut, lasts) in [(true, Duration::ZERO), (false, LINGER)] {
        let mut rig = run(roomy(), 1 << 10, b"");
        rig.client.write_all(&close(true, 1000)).await.unwrap();
        assert_eq!(read(&mut rig.backend, 8).await.len(), 8);
        rig.backend.write_all(&close(false, 1000)).await.unwrap();
        assert_eq!(read(&mut rig.client, 4).await, close(false, 1000));
        let begun = Instant::now();
        if is_cut {
            rig.control.cut();
        }
        assert_eq!(rig.task.await.unwrap().cause, Cause::Closed);
        assert_eq!(begun.elapsed().as_secs(), lasts.as_secs(), "cut: {is_cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_without_budget_misses_no_deadline() {
    let ((_client, near_client), (_backend, near_backend)) = (duplex(64), duplex(64));
    let session = Session::new(Arc::new(roomy()), Extensions::Strip, None, Instant::now().into_std(), fixed);
    let told = Mutex::new(None);
    let relay = relay((near_client, near_backend), Vec::new(), session, Control::new(), Arc::default());
    let mut relay = pin!(relay.run(|ended| *told.lock().unwrap() = Some(ended.cause)));
    let starved = poll_fn(|cx| {
        while coop::has_budget_remaining() {
            let _ = pin!(coop::consume_budget()).poll(cx);
        }
        Poll::Ready(relay.as_mut().poll(cx).is_ready())
    });
    assert!(!starved.await);
    timeout(Duration::from_secs(24 * 3600), relay).await.expect("the timer wakes the relay");
    assert_eq!(*told.lock().unwrap(), Some(Cause::PongTimeout));
}

#[tokio::test(start_paused = true)]
async fn a_violation_is_answered_and_nothing_of_it_goes_on() {
    let mut rig = run(roomy(), 1 << 20, b"");
    rig.client.write_all(&[frame(true, b"good"), frame(false, b"bad")].concat()).await.unwrap();
    assert_eq!(rest(&mut rig.client).await, close(false, 1002), "FR01");
    let got = read(&mut rig.backend, 18).await;
    assert_eq!(got[..10], frame(true, b"good"), "FR01");
    assert_eq!(got[10..12], [0x88, 0x82], "FR01");
    drop((rig.client, rig.backend));
    assert_eq!(rig.task.await.unwrap().cause, Cause::MaskMissing, "FR01");
}

#[tokio::test(start_paused = true)]
async fn a_side_that_sends_on_behind_the_end_is_read_no_further_than_a_bound() {
    // FR16: an offender, and one whose bytes are few.
    for (pieces, is_read_whole) in [(64, false), (8, true)] {
        let mut rig = run(roomy(), 1 << 16, &[]);
        rig.client.write_all(&[0x83, 0x80, 1, 2, 3, 4]).await.unwrap();
        assert_eq!(read(&mut rig.backend, 8).await.len(), 8, "FR16: a masked Close");
        rig.backend.write_all(&close(false, 1001)).await.unwrap();
        drop(rig.backend);
        assert_eq!(rest(&mut rig.client).await, close(false, 1002));
        let (began, mut taken) = (Instant::now(), 0);
        while taken < pieces << 16 && rig.client.write_all(&[0; 1 << 16]).await.is_ok() {
            taken += 1 << 16;
        }
        assert_eq!(taken == pieces << 16, is_read_whole, "FR16: {taken} bytes were taken");
        assert!(taken <= LINGER_BYTES + (2 << 16), "FR16: {taken} bytes were taken");
        drop(rig.client);
        assert_eq!(rig.task.await.unwrap().cause, Cause::OpcodeReserved);
        assert_eq!(began.elapsed() >= LINGER, !is_read_whole, "FR16: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_slowed_and_what_waits_goes_on_by_itself() {
    let mut rig = run(SessionRules::default(), 1 << 20, b"");
    let begun = Instant::now();
    rig.client.write_all(&frame(true, b"x").repeat(600)).await.unwrap();
    assert_eq!(read(&mut rig.backend, 600 * 7).await, frame(true, b"x").repeat(600), "FR11");
    assert_eq!(begun.elapsed().as_millis() / 100, 10, "FR11: 500 at once, 100 in one second");
    rig.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_header_in_two_reads_waits_for_its_turn_and_goes_on_whole() {
    let mut rig = run(SessionRules::default(), 1 << 20, b"");
    let flood = frame(true, b"x").repeat(501);
    let (first, last) = flood.split_at(flood.len() - 4);
    rig.client.write_all(first).await.unwrap();
    assert_eq!(read(&mut rig.backend, 500 * 7).await, flood[..500 * 7], "FR11");
    rig.client.write_all(last).await.unwrap();
    assert_eq!(read(&mut rig.backend, 7).await, flood[500 * 7..], "FR11 FR22: its beginning was kept, its rest waits");
    rig.task.abort();
}

#[test]
fn what_waits_is_judged_where_it_lies() {
    // FR11: a slowed flood is not copied for every message that may pass.
    let mut wire = Wire::new((), b"three".to_vec());
    let mut place = None;
    for judged in 0..5 {
        let (bytes, at) = wire.lend_input().unwrap();
        assert_eq!((&bytes[at..], at), (&b"three"[judged..], HEADROOM + judged), "FR11");
        assert_eq!(*place.get_or_insert(bytes.as_ptr()), bytes.as_ptr(), "FR11");
        wire.take_back(bytes, at + 1);
    }
    assert!(wire.lend_input().is_none(), "all of it was judged");
}

type Secured = (client::TlsStream<DuplexStream>, server::TlsStream<DuplexStream>);

/// Both ends of a TLS connection over a narrow pipe.
async fn secured(pipe: usize) -> Secured {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let server = server.unwrap().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
    let (far, near) = duplex(pipe);
    let name = ServerName::try_from("localhost").unwrap();
    let connect = TlsConnector::from(Arc::new(client)).connect(name, far);
    let (far, near) = tokio::join!(connect, TlsAcceptor::from(Arc::new(server)).accept(near));
    (far.unwrap(), near.unwrap())
}

/// Runs a relay between a TLS client and a backend; `script` plays both.
async fn run_secured<F>(script: impl FnOnce(client::TlsStream<DuplexStream>, DuplexStream) -> F) -> Ended
where
    F: Future<Output = ()>,
{
    let (far_client, near_client) = secured(3_000).await;
    let (far_backend, near_backend) = duplex(3_000);
    let session = Session::new(Arc::new(roomy()), Extensions::Strip, None, Instant::now().into_std(), fixed);
    let mut told = None;
    let tell = |ended: &Ended| told = Some(*ended);
    let relay = relay((near_client, near_backend), Vec::new(), session, Control::new(), Arc::default()).run(tell);
    tokio::join!(relay, script(far_client, far_backend));
    told.unwrap()
}

#[tokio::test(start_paused = true)]
async fn tls_is_flushed_and_an_end_without_close_notify_is_a_loss() {
    let big = vec![7; 1 << 20];
    let ended = run_secured(async |mut client, mut backend| {
        let message = frame(false, &big);
        let (sent, got) = tokio::join!(backend.write_all(&message), async {
            let mut got = vec![0; message.len()];
            client.read_exact(&mut got).await.map(|_| got)
        });
        assert!(sent.is_ok() && got.unwrap() == message, "nothing lies in a TLS buffer");
        drop(client.into_inner().0);
        assert_eq!(rest(&mut backend).await, b"", "TL12: no Close frame");
    })
    .await;
    assert_eq!((ended.cause, ended.by, ended.code), (Cause::ClientLost, By::Client, None), "TL12");

    // Its twin ends in order and gets what the backend still had to say.
    let ended = run_secured(async |mut client, mut backend| {
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut backend).await, b"");
        backend.write_all(&frame(false, b"still here")).await.unwrap();
        backend.shutdown().await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, frame(false, b"still here"), "BE07");
    })
    .await;
    assert_eq!((ended.cause, ended.by), (Cause::ClientLost, By::Client), "TL12");
}
