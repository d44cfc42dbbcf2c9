//! Compression that passes: where the two ends agreed on it, a reserved bit stands where it may and nowhere else, and what
//! is compressed costs the gateway what it weighs on the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::type_complexity, reason = "a table of cases is plainest with its columns in sight")]

mod support;

use support::backend::{SWITCHING, Step};
use support::endpoint::switching;
use support::frames::{BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, TEXT, bare, close_body, masked};
use support::{Cases, Endpoint, Ends, House, Plan, Transport, Wire, cases};
use wsgate::event::By;
use wsgate::session::Cause;

/// The bit that says that a message is compressed (RFC 7692 section 6), and the two that say nothing.
const RSV1: u8 = 0x40;
const RSV2: u8 = 0x20;
const RSV3: u8 = 0x10;

/// `Hello`, compressed (RFC 7692 section 7.2.3.1), whole and in two.
const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
const HALVES: (&[u8], &[u8]) = HELLO.split_at(3);

const PASSING: &str = "[upstream]\nextensions = \"pass\"";

/// Frames with a reserved bit too many, written by `frame`, and the same without it, which pass.
const MISPLACED: [(&str, &str, fn(Framing) -> Vec<u8>, fn(Framing) -> Vec<u8>); 7] = [
    (
        "CO05",
        "RSV1 on the last fragment",
        |frame| [frame(TEXT, b"a"), frame(FIN | RSV1 | CONTINUATION, b"b")].concat(),
        |frame| [frame(RSV1 | TEXT, HALVES.0), frame(FIN | CONTINUATION, HALVES.1)].concat(),
    ),
    (
        "CO05",
        "RSV1 on a fragment in between, of a compressed message",
        |frame| [frame(RSV1 | TEXT, HALVES.0), frame(RSV1 | CONTINUATION, HALVES.1)].concat(),
        |frame| [frame(RSV1 | TEXT, HALVES.0), frame(CONTINUATION, HALVES.1), frame(FIN | CONTINUATION, b"")].concat(),
    ),
    ("CO05", "RSV1 on a Ping", |frame| frame(FIN | RSV1 | PING, b"x"), |frame| frame(FIN | PING, b"x")),
    ("CO05", "RSV1 on a Pong", |frame| frame(FIN | RSV1 | PONG, b"x"), |frame| frame(FIN | PONG, b"x")),
    (
        "CO05",
        "RSV1 on a Close",
        |frame| frame(FIN | RSV1 | CLOSE, &close_body(1000, "")),
        |frame| frame(FIN | RSV1 | BINARY, HELLO),
    ),
    (
        "CO05",
        "RSV2 beside RSV1",
        |frame| frame(FIN | RSV1 | RSV2 | TEXT, HELLO),
        |frame| frame(FIN | RSV1 | TEXT, HELLO),
    ),
    (
        "CO05",
        "RSV3 beside RSV1",
        |frame| frame(FIN | RSV1 | RSV3 | TEXT, HELLO),
        |frame| frame(FIN | RSV1 | TEXT, HELLO),
    ),
];

/// How a side writes its frames.
type Framing = fn(u8, &[u8]) -> Vec<u8>;

/// The head of a 101 that agrees to compress.
fn agreeing() -> String {
    SWITCHING.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
}

/// A session of which both ends agreed to compress.
async fn compressed(house: &House) -> Wire {
    let offer = house.request_with(|request| request.set("Sec-WebSocket-Extensions", "permessage-deflate"));
    let (wire, answer) = house.session_of(&offer).await;
    assert_eq!(answer.one("sec-websocket-extensions"), Some("permessage-deflate"));
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserved_bit_of_a_client_stands_where_a_message_begins_or_nowhere() {
    let script = vec![Step::Head, Step::Send(agreeing().into()), Step::Echo];
    let house = Plan::plain().policy(PASSING).script(script).build().await;
    let mut cases = Cases::of("misplaced bits of clients");
    for (id, name, wrong, right) in MISPLACED {
        let mark = house.record.mark();
        let mut wire = compressed(&house).await;
        wire.send(&wrong(masked)).await;
        wire.is_closed_with(1002).await;
        drop(wire);
        let closure = house.closure(mark).await;
        assert_eq!((closure.cause, closure.by), (Cause::RsvSet, By::Client), "{name}");
        let frames = house.backend.last().frames();
        let is_misplaced =
            |frame: &Frame| frame.first & (RSV2 | RSV3) != 0 || (frame.first & RSV1 != 0 && !begins(frame));
        assert!(!frames.iter().any(is_misplaced), "{name}: {frames:?}");

        let mut wire = compressed(&house).await;
        wire.send(&right(masked)).await;
        wire.send(&masked(FIN | CLOSE, &close_body(1000, ""))).await;
        wire.is_closed_with(1000).await;
        drop(wire);
        house.is_at_rest().await;
        assert!(house.backend.last().after.starts_with(&right(masked)), "{name}: the twin passes as it is");
        cases.held(id, name);
    }
    cases.all(MISPLACED.len());
}

fn begins(frame: &Frame) -> bool {
    matches!(frame.opcode(), TEXT | BINARY)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserved_bit_of_a_backend_stands_where_a_message_begins_or_nowhere() {
    let house = Plan::plain().policy(PASSING).policy("[session]\nclose_timeout = \"300ms\"").build().await;
    let mut cases = Cases::of("misplaced bits of backends");
    let sends =
        |frames: Vec<u8>| vec![Step::Head, Step::Send([agreeing().as_bytes(), &frames].concat()), Step::Swallow];
    for (id, name, wrong, right) in MISPLACED {
        house.backend.play(sends(wrong(bare)));
        let mark = house.record.mark();
        let mut wire = compressed(&house).await;
        wire.is_closed_with(1011).await;
        drop(wire);
        let closure = house.closure(mark).await;
        assert_eq!((closure.cause, closure.by), (Cause::RsvSet, By::Backend), "{name}");

        let close = bare(FIN | CLOSE, &close_body(1000, ""));
        house.backend.play(sends([right(bare), close.clone()].concat()));
        let mut wire = compressed(&house).await;
        let (bytes, expected) = (right(bare).len() + close.len(), [right(bare), close].concat());
        wire.holds(bytes).await;
        wire.send(&masked(FIN | CLOSE, &close_body(1000, ""))).await;
        assert_eq!(wire.rest().await.0, expected, "{name}: the twin passes as it is");
        drop(wire);
        house.is_at_rest().await;
        cases.held(id, name);
    }
    cases.all(MISPLACED.len());
}

/// What a bomb becomes when somebody inflates it.
const INFLATED: u64 = 1 << 30;

/// A message of zeros, a gigabyte of them, as DEFLATE writes it with its fixed codes (RFC 1951 section 3.2.6): one zero,
/// and over and over "the last byte again, 258 times", which is 13 bits.
fn bomb() -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut waiting, mut count) = (0_u64, 0);
    let mut push = |bits: u64, length: u32| {
        waiting |= bits << count;
        count += length;
        while count >= 8 {
            bytes.push(waiting.to_le_bytes()[0]);
            waiting >>= 8;
            count -= 8;
        }
    };
    // A block that is not the last one, with fixed codes; then the literal 0.
    push(0b010, 3);
    push(0b0000_1100, 8);
    for _ in 0..INFLATED / 258 {
        push(0b0_0000_1010_0011, 13);
    }
    // The end of the block, then the empty stored block whose last four bytes RFC 7692 section 7.2.1 leaves out.
    push(0, 7);
    push(0, 3);
    push(0, 7);
    bytes
}

/// Both ends of a session that agreed to compress.
async fn agreed<G>(ends: &Ends<G>) -> (Endpoint, Endpoint) {
    let mut request = ends.request();
    request.set("Sec-WebSocket-Extensions", "permessage-deflate");
    let mut client = ends.client().await;
    client.send(&request.bytes()).await;
    let mut service = ends.service().await;
    let answer = String::from_utf8(switching(&service.head().await)).unwrap();
    let chosen = answer.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    service.send(chosen.as_bytes()).await;
    let told = String::from_utf8(client.head().await).unwrap();
    assert!(told.contains("permessage-deflate"), "{told}");
    (client, service)
}

/// The most memory that a process has had, in KiB (proc(5), VmHWM).
fn peak_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_weighs_what_it_weighs_on_the_wire() {
    let payload = bomb();
    assert!((1_u64 << 20..8 << 20).contains(&(payload.len() as u64)), "{} bytes", payload.len());
    let frame = masked(FIN | RSV1 | BINARY, &payload);
    let ends = Ends::running_by(|plan| plan.policy(PASSING)).await;
    let process = ends.house.0.process.id();
    let (mut client, mut service) = agreed(&ends).await;
    client.send(&masked(FIN | TEXT, b"warm")).await;
    service.take(10).await;
    let before = peak_kib(process);
    let wire = client.seal(&frame);
    let ((), arrived) = tokio::join!(client.put(&wire), service.take(frame.len()));
    assert!(arrived == frame, "it passes as it came");
    let more = peak_kib(process) - before;
    assert!(more < 4 << 10, "{} bytes on the wire, {INFLATED} inflated, took {more} KiB", payload.len());
    cases::held("CO02", "a gigabyte in a message of seven megabytes");

    for (bytes, passes) in [(payload.len(), true), (payload.len() - 1, false)] {
        let size = format!("[session]\nfrom_client = {{ message_size = \"{bytes}B\" }}");
        let held_to = |plan: Plan| plan.policy(PASSING).policy(&size);
        let ends = Ends::planned(Transport::Plain, Transport::Plain, held_to).await;
        let mark = ends.house.record.mark();
        let (mut client, mut service) = agreed(&ends).await;
        let wire = client.seal(&frame);
        if passes {
            let ((), arrived) = tokio::join!(client.put(&wire), service.take(frame.len()));
            assert!(arrived == frame);
        } else {
            client.put(&wire[..1 << 10]).await;
            let (closed, _) = client.rest().await;
            assert_eq!(closed, bare(FIN | CLOSE, &close_body(1009, "")));
        }
        drop((client, service));
        let cause = ends.house.closure(mark).await.cause;
        assert_eq!(cause == Cause::MessageTooBig, !passes, "{bytes}: {cause:?}");
        cases::held("CO02", if passes { "as large as a message may be" } else { "a byte larger" });
    }
}
