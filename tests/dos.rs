//! Denial of service: too slow, too many, too big, at every stage, while a well-behaved client notices nothing.
//!
//! Every attack runs beside a control session that echoes all along, and after it every permit is back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::type_complexity, reason = "a table of cases is plainest with its columns in sight")]
#![allow(clippy::disallowed_methods, reason = "tests own clocks and tasks of their own")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::backend::{SWITCHING, Step};
use support::frames::{BINARY, CONTINUATION, FIN, PING, PONG, TEXT, bare, masked};
use support::house::HOST;
use support::queues::queues;
use support::{Cases, End, House, Plan, Wire, cases};
use tokio::task::JoinHandle;
use wsgate::policy::Reason;
use wsgate::session::Cause;

/// Short deadlines, so that an attack ends within a test.
const SHORT: &str = "[admission]\ntls = \"500ms\"\nhead = \"500ms\"\ntotal = \"5s\"";

/// A session that echoes until it is told to stop.
struct Control {
    stop: tokio::sync::oneshot::Sender<()>,
    echoes: JoinHandle<Vec<Duration>>,
}

impl Control {
    async fn beside(house: &House) -> Self {
        let mut wire = house.wire_from("127.0.0.100").await;
        House::opened(&mut wire, &house.request()).await;
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let echoes = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(10));
            let mut took = Vec::new();
            while stopped.try_recv().is_err() {
                pace.tick().await;
                let began = std::time::Instant::now();
                wire.echoes("still here?").await;
                took.push(began.elapsed());
            }
            wire.closes(1000).await;
            took
        });
        Self { stop, echoes }
    }

    /// The control session went on all along: its slowest echoes stayed within a budget that a starved one breaks.
    async fn noticed_nothing(self) {
        self.stop.send(()).unwrap();
        let mut took = support::within("the control session", self.echoes).await.unwrap();
        took.sort_unstable();
        let p99 = took[(took.len() - 1) * 99 / 100];
        assert!(p99 < Duration::from_secs(1), "p99 {p99:?} of {} echoes", took.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_trickles_ends_at_its_deadline() {
    let house = Plan::plain().gateway(SHORT).build().await;
    let control = Control::beside(&house).await;
    let bytes = house.request().bytes();
    let attackers = (0..20).map(async |_| {
        let mut wire = house.wire().await;
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        for byte in &bytes {
            clock.tick().await;
            if !wire.send(&[*byte]).await {
                break;
            }
        }
        wire.rest().await.0
    });
    for told in futures_util::future::join_all(attackers).await {
        assert!(told.is_empty() || told.starts_with(b"HTTP/1.1 408"), "{:?}", String::from_utf8_lossy(&told));
    }
    control.noticed_nothing().await;
    house.is_at_rest().await;
    cases::held("H101", "a byte every 20 ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_after_tls_ends_at_the_deadline() {
    let house = Plan::plain().gateway(SHORT).build().await;
    let control = Control::beside(&house).await;
    let mut wires = Vec::new();
    for _ in 0..30 {
        wires.push(house.wire().await);
    }
    for wire in &mut wires {
        let (told, _) = wire.rest().await;
        assert!(told.starts_with(b"HTTP/1.1 408"), "{:?}", String::from_utf8_lossy(&told));
    }
    drop(wires);
    control.noticed_nothing().await;
    house.is_at_rest().await;
    cases::held("H101", "TLS done, nothing sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_read_although_more_was_sent() {
    let house = House::plain().await;
    house.admits(&house.request()).await;
    let mut request = house.request_with(|request| request.set("Content-Length", "50000"));
    request.tail(vec![b'x'; 50_000]);
    house.refuses(&request, Reason::BodyPresent).await;
    cases::held("H107", "50 kB behind a refused head");
    house.admits(&house.request()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_is_read_for_a_while_and_no_further() {
    let house = Plan::plain().without_tls().build().await;
    let mut wire = house.plain_wire().await;
    wire.send(&house.request_with(|request| request.set("Content-Length", "50000")).bytes()).await;
    let (told, end) = wire.rest().await;
    assert!(told.starts_with(b"HTTP/1.1 400 ") && end == End::Clean, "{}", String::from_utf8_lossy(&told));
    for _ in 0..20 {
        assert!(wire.send(&[b'x'; 1000]).await, "a socket that was closed resets what comes behind the answer");
    }
    let mut sent = 20_000;
    while sent < 256 << 20 && wire.send(&[b'x'; 60_000]).await {
        sent += 60_000;
    }
    assert!(sent < 16 << 20, "{sent} bytes were taken of a refused client");
    drop(wire);
    house.is_at_rest().await;
    cases::held("H107", "the rest of a body, and more than that");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_nobody_reads_is_given_up() {
    let house = House::plain().await;
    let mark = house.record.mark();
    let mut wires = Vec::new();
    for _ in 0..20 {
        let mut wire = house.wire().await;
        wire.send(&house.request_with(|request| request.remove("Upgrade")).bytes()).await;
        wires.push(wire);
    }
    house.record.refused(mark).await;
    house.is_at_rest().await;
    drop(wires);
    house.admits(&house.request()).await;
    cases::held("H106", "twenty who do not read and do not leave");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_head_is_cut_at_its_bound() {
    let house = House::plain().await;
    let control = Control::beside(&house).await;
    let floods: [(&str, &[u8]); 4] = [
        ("one line", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ("short fields", b"a: b\r\n"),
        ("names", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: b\r\n"),
        ("spaces", b"a:                                                                \r\n"),
    ];
    let mut cases = Cases::of("endless heads");
    for (what, piece) in floods {
        let mark = house.record.mark();
        let mut wire = house.wire().await;
        wire.send(b"GET /chat HTTP/1.1\r\nHost: chat.test\r\nX-A: ").await;
        let flood = piece.repeat(40_000 / piece.len());
        wire.send(&flood).await;
        assert_eq!(wire.answer_head().await.status, 431, "{what}");
        drop(wire);
        assert_eq!(house.record.refused(mark).await.reason, Reason::HeadTooLarge, "{what}");
        cases.held("H104", what);
    }
    cases.all(floods.len());
    control.noticed_nothing().await;
    house.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refused_handshakes_harms_nobody() {
    let house = House::plain().await;
    let control = Control::beside(&house).await;
    let evil = house.request_with(|request| request.set("Origin", "https://evil.example")).bytes();
    let rush = (0..200).map(async |_| {
        let mut wire = house.wire().await;
        wire.send(&evil).await;
        wire.answer_head().await.status
    });
    let statuses = futures_util::future::join_all(rush).await;
    assert!(statuses.iter().all(|status| *status == 403), "{statuses:?}");
    control.noticed_nothing().await;
    house.is_at_rest().await;
    assert_eq!(house.backend.connections(), 1, "the control session alone");
    cases::held("RX03", "200 handshakes of another site at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_come_and_go_leave_nothing_behind() {
    let house = House::plain().await;
    let control = Control::beside(&house).await;
    for round in 0..100 {
        let tcp = house.tcp().await;
        if round % 2 == 0 {
            socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
        }
        let mut wire = Wire::over(tcp);
        wire.send(&[0x16, 3, 1][..round % 4]).await;
        drop(wire);
    }
    control.noticed_nothing().await;
    house.is_at_rest().await;
    house.admits(&house.request()).await;
    cases::held("RX16", "100 connections, half of them reset");
    cases::held("H108", "FIN and RST before TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_its_rate_is_slowed_or_closed() {
    let mut cases = Cases::of("rates");
    let floods: [(&str, &str, &str, fn() -> Vec<u8>, Cause); 5] = [
        (
            "FR11",
            "messages of one byte",
            "messages = \"10/s burst 10\"",
            || masked(FIN | BINARY, b"x"),
            Cause::MessageRate,
        ),
        ("FR11", "empty messages", "messages = \"10/s burst 10\"", || masked(FIN | TEXT, b""), Cause::MessageRate),
        ("FR12", "pings", "control = \"10/s burst 10\"", || masked(FIN | PING, b""), Cause::ControlRate),
        (
            "FR12",
            "pongs nobody asked for",
            "control = \"10/s burst 10\"",
            || masked(FIN | PONG, b""),
            Cause::ControlRate,
        ),
        (
            "RX20",
            "bytes",
            "bytes = \"1KiB/s burst 4KiB\", message_size = \"4KiB\"",
            || masked(FIN | BINARY, &[0; 1000]),
            Cause::ByteRate,
        ),
    ];
    let count = floods.len();
    for (id, name, rate, make, cause) in floods {
        let policy = format!("[session]\nfrom_client = {{ {rate}, over = \"close\" }}");
        let house = Plan::plain().policy(&policy).build().await;
        let mark = house.record.mark();
        let mut wire = house.session().await;
        wire.send(&make().repeat(30)).await;
        wire.is_closed_with(1008).await;
        drop(wire);
        assert_eq!(house.closure(mark).await.cause, cause, "{name}");
        let passed = house.backend.last().frames().len();
        assert!(passed <= 12, "{name}: {passed} frames passed");
        house.admits(&house.request()).await;
        cases.held(id, name);
    }
    cases.all(count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_slowed_loses_nothing() {
    let policy = "[session]\nfrom_client = { messages = \"50/s burst 5\", over = \"slow\" }";
    let house = Plan::plain().policy(policy).build().await;
    let control = Control::beside(&house).await;
    let (mut reader, mut writer) = house.session().await.split();
    let began = std::time::Instant::now();
    let flood: Vec<u8> = (0..50_u8).flat_map(|number| masked(FIN | BINARY, &[number])).collect();
    writer.send(&flood).await;
    for number in 0..50 {
        assert_eq!(reader.frame().await.unwrap().payload, [number], "in order, none lost");
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(800), "45 messages over the burst at 50/s came in {took:?}");
    drop((reader, writer));
    control.noticed_nothing().await;
    house.is_at_rest().await;
    cases::held("FR11", "slowed instead of closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_over_their_rate_are_not_read() {
    let policy = "[session]\nfrom_client = { bytes = \"64KiB/s burst 64KiB\", over = \"slow\" }";
    let house = Plan::plain().policy(policy).build().await;
    let (mut reader, mut writer) = house.session().await.split();
    let began = std::time::Instant::now();
    // 64 KiB are the burst, 64 KiB more may go into debt by one read: what is left takes a second at least.
    let pieces = 12;
    for _ in 0..pieces {
        writer.send(&masked(FIN | BINARY, &[7; 16 << 10])).await;
    }
    for _ in 0..pieces {
        assert_eq!(reader.frame().await.unwrap().payload, [7; 16 << 10], "none lost");
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(900), "192 KiB came in {took:?}");
    drop((reader, writer));
    house.is_at_rest().await;
    cases::held("RX20", "the rate is kept by not reading");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_its_backend_back_and_is_closed() {
    let piece = bare(FIN | BINARY, &[7; 60_000]);
    let mut script = vec![Step::Head, Step::Send(SWITCHING.into())];
    script.extend(std::iter::repeat_n(Step::Send(piece), 2000));
    let plan =
        Plan::plain().policy("[session]\nwrite_stall = \"1s\"\nping_interval = \"60s\"\nclose_timeout = \"500ms\"");
    let house = plan.build().await;
    let control = Control::beside(&house).await;
    house.backend.play(script);
    let mark = house.record.mark();
    let tcp = house.tcp().await;
    let here = tcp.local_addr().unwrap();
    let mut wire = Wire::tls(tcp, house.authority.client(&[b"http/1.1"]), HOST).await.unwrap();
    House::opened(&mut wire, &house.request()).await;
    let closure = house.record.closed(mark).await;
    assert_eq!(closure.cause, Cause::WriteStall);
    assert!(closure.from_backend.bytes < 64 << 20, "{} bytes were taken for nobody", closure.from_backend.bytes);
    control.noticed_nothing().await;
    house.is_at_rest().await;
    // The client's end is still open, and nothing waits for it in the kernel any more.
    assert_eq!(queues(house.address(), here), None, "what nobody takes is not kept");
    drop(wire);
    cases::held("RX07", "a client that stops reading");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_does_not_read_holds_its_client_back_and_is_closed() {
    let script = vec![Step::Head, Step::Send(SWITCHING.into()), Step::Hold];
    let rate = "from_client = { bytes = \"1GiB/s\", messages = \"1000000/s\", message_size = \"64KiB\" }";
    let policy = format!("[session]\nwrite_stall = \"1s\"\nping_interval = \"60s\"\nclose_timeout = \"500ms\"\n{rate}");
    let house = Plan::plain().policy(&policy).build().await;
    let control = Control::beside(&house).await;
    house.backend.play(script);
    let mark = house.record.mark();
    let (mut reader, mut writer) = house.session().await.split();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let pushing = tokio::spawn(async move {
        let piece = masked(FIN | BINARY, &[7; 60_000]);
        while count.load(Ordering::Relaxed) < 64 << 20 && writer.send(&piece).await {
            count.fetch_add(piece.len(), Ordering::Relaxed);
        }
    });
    // What is sent once the session is over is read and thrown away, so that the Close is not lost to a reset.
    assert_eq!(reader.frame().await.and_then(|frame| frame.close_code()), Some(1012));
    let taken = sent.load(Ordering::Relaxed);
    assert!(taken < 32 << 20, "{taken} bytes were taken for nobody");
    reader.rest().await;
    drop(reader);
    pushing.await.unwrap();
    let closure = house.record.closed(mark).await;
    assert_eq!(closure.cause, Cause::WriteStall);
    assert!(closure.from_client.bytes < 32 << 20, "{} bytes were passed on", closure.from_client.bytes);
    control.noticed_nothing().await;
    house.is_at_rest().await;
    cases::held("RX08", "a backend that stops reading");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offence_buys_no_faster_line() {
    let house = Plan::plain().policy("[session]\nclose_timeout = \"2s\"").build().await;
    let control = Control::beside(&house).await;
    // The backend answers no Close: until the deadline what the client pushes is read, at its rate.
    house.backend.play(vec![Step::Head, Step::Send(SWITCHING.into()), Step::Swallow]);
    let mark = house.record.mark();
    let (mut reader, mut writer) = house.session().await.split();
    writer.send(&bare(FIN | TEXT, b"no mask")).await;
    let pushing = tokio::spawn(async move {
        let piece = [7; 60_000];
        let mut sent = 0_usize;
        while sent < 64 << 20 && writer.send(&piece).await {
            sent += piece.len();
        }
        sent
    });
    reader.is_closed_with(1002).await;
    let taken = pushing.await.unwrap();
    drop(reader);
    assert!(taken < 32 << 20, "{taken} bytes were taken to be thrown away");
    assert_eq!(house.record.closed(mark).await.cause, Cause::MaskMissing);
    control.noticed_nothing().await;
    house.is_at_rest().await;
    cases::held("FR16", "a client that was told to go and pushes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_without_an_end_are_bounded() {
    let house = House::plain().await;
    let control = Control::beside(&house).await;
    let mark = house.record.mark();
    let mut wire = house.session().await;
    let flood = [masked(TEXT, b"x"), masked(CONTINUATION, b"").repeat(10_000)].concat();
    wire.send(&flood).await;
    wire.is_closed_with(1008).await;
    drop(wire);
    let closure = house.record.closed(mark).await;
    assert_eq!(closure.cause, Cause::TooManyFragments);
    control.noticed_nothing().await;
    house.is_at_rest().await;
    cases::held("FR09", "ten thousand empty fragments");
}

#[tokio::test(flavor = "multi_thread")]
async fn announced_lengths_cost_nothing() {
    let house = House::plain().await;
    let control = Control::beside(&house).await;
    let header = support::frames::masked_header_64(FIN | BINARY, 65_536);
    let mut wires = Vec::new();
    for _ in 0..50 {
        let mut wire = house.session().await;
        wire.send(&header).await;
        wires.push(wire);
    }
    control.noticed_nothing().await;
    drop(wires);
    house.is_at_rest().await;
    cases::held("FR07", "fifty messages announced and never sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_admission_has_one_deadline() {
    let gateway = "[admission]\ntls = \"700ms\"\nhead = \"700ms\"\nproxy_header = \"700ms\"\ntotal = \"700ms\"";
    let policy = "[upstream]\nconnect_timeout = \"30s\"\nhandshake_timeout = \"30s\"";
    let house = Plan::plain().gateway(gateway).policy(policy).script(vec![Step::Head, Step::Hold]).build().await;
    house.refuses_after_dial(house.wire().await, &house.request(), Reason::AdmissionTimeout).await;
    house.backend.play(support::backend::echo());
    house.admits(&house.request()).await;
    cases::held("BE02", "a backend slower than the whole admission may be");
}
