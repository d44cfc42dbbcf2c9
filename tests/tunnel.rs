//! The tunnel: every frame is judged before it goes on, what goes on is untouched, and every end is an honest one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::type_complexity, reason = "a table of cases is plainest with its columns in sight")]
#![allow(clippy::disallowed_methods, reason = "tests own clocks and tasks of their own")]

mod support;

use std::time::Duration;

use support::backend::{SWITCHING, Step};
use support::frames::{BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, TEXT, bare, close_body, masked};
use support::frames::{masked_header_16, masked_header_64};
use support::{Cases, House, Plan, Wire, cases};
use wsgate::event::By;
use wsgate::session::Cause;

/// Bytes of a client that break the protocol or a bound; the code that it is closed with, and the cause.
type Violation = (&'static str, &'static str, fn() -> Vec<u8>, u16, Cause);

const VIOLATIONS: [Violation; 39] = [
    ("FR01", "a frame without a mask", || bare(FIN | TEXT, b"hello"), 1002, Cause::MaskMissing),
    ("FR01", "a Close without a mask", || bare(FIN | CLOSE, &close_body(1000, "")), 1002, Cause::MaskMissing),
    ("FR03", "RSV1", || masked(FIN | 0x40 | TEXT, b"hello"), 1002, Cause::RsvSet),
    ("FR03", "RSV2", || masked(FIN | 0x20 | TEXT, b"hello"), 1002, Cause::RsvSet),
    ("FR03", "RSV3", || masked(FIN | 0x10 | TEXT, b"hello"), 1002, Cause::RsvSet),
    (
        "CO01",
        "RSV1 although the offer was stripped",
        || masked(FIN | 0x40 | BINARY, b"\x4b\x04\x00"),
        1002,
        Cause::RsvSet,
    ),
    ("FR03", "opcode 3", || masked(FIN | 0x3, b""), 1002, Cause::OpcodeReserved),
    ("FR03", "opcode 4", || masked(FIN | 0x4, b""), 1002, Cause::OpcodeReserved),
    ("FR03", "opcode 7", || masked(FIN | 0x7, b"x"), 1002, Cause::OpcodeReserved),
    ("FR03", "opcode B", || masked(FIN | 0xb, b""), 1002, Cause::OpcodeReserved),
    ("FR03", "opcode F", || masked(FIN | 0xf, b"x"), 1002, Cause::OpcodeReserved),
    ("FR04", "a Ping of 126 bytes", || masked(FIN | PING, &[0; 126]), 1002, Cause::ControlTooLong),
    (
        "FR04",
        "a Close of 126 bytes",
        || masked(FIN | CLOSE, &close_body(1000, &"x".repeat(124))),
        1002,
        Cause::ControlTooLong,
    ),
    ("FR04", "a Ping in fragments", || masked(PING, b"x"), 1002, Cause::ControlFragmented),
    ("FR04", "a Close in fragments", || masked(CLOSE, b""), 1002, Cause::ControlFragmented),
    ("FR05", "5 bytes in the 16-bit form", || masked_header_16(FIN | TEXT, 5), 1002, Cause::LengthNotMinimal),
    ("FR05", "125 bytes in the 16-bit form", || masked_header_16(FIN | BINARY, 125), 1002, Cause::LengthNotMinimal),
    ("FR05", "5 bytes in the 64-bit form", || masked_header_64(FIN | TEXT, 5), 1002, Cause::LengthNotMinimal),
    (
        "FR05",
        "65 535 bytes in the 64-bit form",
        || masked_header_64(FIN | BINARY, 65_535),
        1002,
        Cause::LengthNotMinimal,
    ),
    ("FR06", "the highest bit of the length", || masked_header_64(FIN | BINARY, 1 << 63), 1002, Cause::LengthInvalid),
    ("FR06", "every bit of the length", || masked_header_64(FIN | BINARY, u64::MAX), 1002, Cause::LengthInvalid),
    ("FR06", "fragments whose sum overflows", overflowing, 1009, Cause::MessageTooBig),
    ("FR07", "2^60 bytes announced", || masked_header_64(FIN | BINARY, 1 << 60), 1009, Cause::MessageTooBig),
    (
        "FR07",
        "a byte more than a message may have",
        || masked_header_64(FIN | BINARY, 65_537),
        1009,
        Cause::MessageTooBig,
    ),
    ("FR08", "a message too big in two fragments", too_big_in_two, 1009, Cause::MessageTooBig),
    (
        "FR09",
        "fragments without an end",
        || [masked(TEXT, b"x"), masked(CONTINUATION, b"").repeat(64)].concat(),
        1008,
        Cause::TooManyFragments,
    ),
    ("FR10", "a continuation of nothing", || masked(FIN | CONTINUATION, b"x"), 1002, Cause::ContinuationUnexpected),
    (
        "FR10",
        "a message inside a message",
        || [masked(TEXT, b"a"), masked(FIN | TEXT, b"b")].concat(),
        1002,
        Cause::MessageInterleaved,
    ),
    (
        "FR10",
        "a continuation behind a whole message",
        || [masked(FIN | TEXT, b"a"), masked(FIN | CONTINUATION, b"b")].concat(),
        1002,
        Cause::ContinuationUnexpected,
    ),
    ("FR14", "a Close of one byte", || masked(FIN | CLOSE, b"\x03"), 1002, Cause::CloseInvalid),
    ("FR14", "code 0", || close(0), 1002, Cause::CloseInvalid),
    ("FR14", "code 999", || close(999), 1002, Cause::CloseInvalid),
    ("FR14", "code 1004", || close(1004), 1002, Cause::CloseInvalid),
    ("FR14", "code 1005", || close(1005), 1002, Cause::CloseInvalid),
    ("FR14", "code 1006", || close(1006), 1002, Cause::CloseInvalid),
    ("FR14", "code 1015", || close(1015), 1002, Cause::CloseInvalid),
    ("FR14", "code 2999", || close(2999), 1002, Cause::CloseInvalid),
    ("FR14", "code 5000", || close(5000), 1002, Cause::CloseInvalid),
    ("FR14", "a reason that is no UTF-8", || masked(FIN | CLOSE, b"\x03\xe8\xff\xfe"), 1007, Cause::CloseNotUtf8),
];

fn close(code: u16) -> Vec<u8> {
    masked(FIN | CLOSE, &close_body(code, ""))
}

fn overflowing() -> Vec<u8> {
    [masked(BINARY, b"x"), masked_header_64(FIN | CONTINUATION, (1 << 63) - 1)].concat()
}

fn too_big_in_two() -> Vec<u8> {
    [masked(BINARY, &[0; 40_000]), masked(FIN | CONTINUATION, &[0; 40_000])].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_breaks_the_protocol_goes_nowhere() {
    let house = House::plain().await;
    house.admits(&house.request()).await;
    let mut cases = Cases::of("violations");
    for (id, name, make, code, cause) in VIOLATIONS {
        let mark = house.record.mark();
        let mut wire = house.session().await;
        wire.echoes("before").await;
        wire.send(&make()).await;
        wire.is_closed_with(code).await;
        drop(wire);
        let closure = house.closure(mark).await;
        assert_eq!((closure.cause, closure.by, closure.code), (cause, By::Client, Some(code)), "{name}");
        let frames = house.backend.last().frames();
        let last = frames.last().unwrap();
        assert_eq!((last.opcode(), last.close_code()), (CLOSE, Some(1001)), "{name}: the backend is told: {frames:?}");
        assert!(last.mask.is_some(), "{name}: masked like a client's: {frames:?}");
        assert!(frames.iter().all(|frame| frame.first & 0x70 == 0), "{name}: {frames:?}");
        house.admits(&house.request()).await;
        cases.held(id, name);
    }
    cases.all(VIOLATIONS.len());
}

/// A client that answers no Close is cut off soon.
const HASTY: &str = "[session]\nclose_timeout = \"300ms\"";

/// Bytes of a backend that break the protocol, and the cause. The client gets 1011.
const UNTRUE: [(&str, &str, fn() -> Vec<u8>, Cause); 8] = [
    ("FR02", "a masked frame", || masked(FIN | TEXT, b"hello"), Cause::MaskUnexpected),
    ("BE14", "RSV1 without an extension", || bare(FIN | 0x40 | TEXT, b"hello"), Cause::RsvSet),
    ("BE14", "opcode B", || bare(FIN | 0xb, b""), Cause::OpcodeReserved),
    ("BE14", "a Ping of 126 bytes", || bare(FIN | PING, &[0; 126]), Cause::ControlTooLong),
    ("BE14", "a continuation of nothing", || bare(FIN | CONTINUATION, b"x"), Cause::ContinuationUnexpected),
    ("BE14", "code 1006", || bare(FIN | CLOSE, &close_body(1006, "")), Cause::CloseInvalid),
    ("BE14", "a length that is not minimal", || [&[0x82, 126, 0, 5][..], b"hello"].concat(), Cause::LengthNotMinimal),
    // `H` is 0x48: a Close without FIN, which is judged before its RSV1.
    ("BE14", "garbage behind its 101", || b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), Cause::ControlFragmented),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_breaks_the_protocol_is_closed_too() {
    let house = Plan::plain().policy(HASTY).build().await;
    let mut cases = Cases::of("untrue backends");
    for (id, name, make, cause) in UNTRUE {
        house.backend.play(vec![Step::Head, Step::Send([SWITCHING.as_bytes(), &make()].concat()), Step::Swallow]);
        let mark = house.record.mark();
        let mut wire = house.session().await;
        wire.is_closed_with(1011).await;
        drop(wire);
        let closure = house.closure(mark).await;
        assert_eq!((closure.cause, closure.by), (cause, By::Backend), "{name}");
        house.backend.wait("the backend is closed", |seen| seen.last().is_some_and(|seen| seen.ended)).await;
        house.backend.play(support::backend::echo());
        house.admits(&house.request()).await;
        cases.held(id, name);
    }
    cases.all(UNTRUE.len());
}

/// Closes that pass as they are.
const CLOSES: [(&str, &[u8]); 8] = [
    ("no body", b""),
    ("1000", b"\x03\xe8"),
    ("1001 with a reason", b"\x03\xe9going home"),
    ("1003", b"\x03\xeb"),
    ("1011", b"\x03\xf3"),
    ("3000", b"\x0b\xb8"),
    ("4999 with a reason in another script", b"\x13\x87\xd0\xb0\xd0\xb1"),
    ("1014", b"\x03\xf6"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_may_be_sent_passes_as_it_is() {
    let house = House::plain().await;
    let mut cases = Cases::of("closes");
    for (name, body) in CLOSES {
        let mut wire = house.session().await;
        wire.send(&masked(FIN | CLOSE, body)).await;
        let frames = wire.frames_rest().await;
        assert_eq!(frames.len(), 1, "{name}: {frames:?}");
        assert_eq!(frames[0].payload, body, "{name}");
        drop(wire);
        house.is_at_rest().await;
        let seen = house.backend.last().frames();
        assert_eq!(seen.last().map(|frame| frame.payload.as_slice()), Some(body), "{name}");
        cases.held("FR14", name);
    }
    cases.all(CLOSES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_behind_a_close_goes_nowhere() {
    let house = House::plain().await;
    let mut wire = house.session().await;
    let bytes = [close(1000), masked(FIN | TEXT, b"a word too many")].concat();
    wire.send(&bytes).await;
    let frames = wire.frames_rest().await;
    assert_eq!(frames.last().and_then(Frame::close_code), Some(1000));
    drop(wire);
    house.is_at_rest().await;
    let seen = house.backend.last().frames();
    assert!(seen.iter().all(|frame| frame.opcode() == CLOSE), "{seen:?}");
    cases::held("FR15", "a message behind a Close");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_ignores_a_close_is_cut_off() {
    let script = vec![
        Step::Head,
        Step::Send([SWITCHING.as_bytes(), &bare(FIN | CLOSE, &close_body(1000, ""))].concat()),
        Step::Swallow,
    ];
    let house = Plan::plain().policy("[session]\nclose_timeout = \"300ms\"").script(script).build().await;
    let mark = house.record.mark();
    let mut wire = house.session().await;
    assert_eq!(wire.frame().await.and_then(|frame| frame.close_code()), Some(1000));
    let (rest, _) = wire.rest().await;
    assert!(rest.is_empty());
    drop(wire);
    assert_eq!(house.closure(mark).await.cause, Cause::CloseTimeout);
    cases::held("FR16", "a client that answers no Close");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_begun_is_finished_in_time() {
    let session = "[session]\npartial_header = \"300ms\"\nclose_timeout = \"300ms\"";
    let house = Plan::plain().policy(session).build().await;
    let header = masked_header_64(FIN | BINARY, 65_536);
    let mut cases = Cases::of("partial frames");
    for count in [1, 2, 9, 13] {
        let mark = house.record.mark();
        let mut wire = house.session().await;
        wire.send(&header[..count]).await;
        wire.is_closed_with(1008).await;
        drop(wire);
        assert_eq!(house.closure(mark).await.cause, Cause::PartialHeader);
        cases.held("FR17", &format!("{count} bytes of a header"));
    }
    let mut wire = house.session().await;
    wire.send(&masked(FIN | PING, b"0123456789")[..8]).await;
    wire.is_closed_with(1008).await;
    drop(wire);
    house.is_at_rest().await;
    cases.held("FR17", "half a Ping");
    cases.all(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_close_is_put_into_a_frame_of_the_backend() {
    let frame = bare(FIN | BINARY, &[7; 1000]);
    let (half, rest) = frame.split_at(500);
    let begins = Step::Send([SWITCHING.as_bytes(), half].concat());
    let policy = "[session]\nmax_age = \"1s\"";
    let script = vec![Step::Head, begins.clone(), Step::Hold];
    let house = Plan::plain().policy(HASTY).policy(policy).script(script).build().await;
    let mark = house.record.mark();
    let mut wire = house.session().await;
    let (bytes, _) = wire.rest().await;
    assert_eq!(bytes, half, "cut rather than a Close inside the frame");
    drop(wire);
    assert_eq!(house.closure(mark).await.cause, Cause::MaxAge);
    cases::held("FR18", "the frame never ends");

    let close = bare(FIN | CLOSE, &close_body(1001, ""));
    let told = masked(FIN | CLOSE, &close_body(1001, "")).len();
    let script = vec![Step::Head, begins, Step::Until(told), Step::Send([rest, &close].concat())];
    let house = Plan::plain().script(script).build().await;
    let mut wire = house.session().await;
    // An offence before the frame begins would find a boundary in front of it.
    wire.holds(half.len()).await;
    wire.send(&bare(FIN | TEXT, b"no mask")).await;
    let frames = wire.frames_rest().await;
    assert_eq!(frames.len(), 2, "{frames:?}");
    assert_eq!(frames[0].payload, [7; 1000]);
    assert_eq!(frames[1].close_code(), Some(1002));
    drop(wire);
    house.is_at_rest().await;
    cases::held("FR18", "the frame ends, then the Close");
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_of_ours_are_masked_toward_the_backend_and_their_pongs_stay_here() {
    let policy = "[session]\nping_interval = \"1s\"\npong_timeout = \"5s\"";
    let house = Plan::plain().policy(policy).build().await;
    let mut wire = house.session().await;
    let ping = wire.frame().await.unwrap();
    assert_eq!((ping.first, ping.mask), (FIN | PING, None));
    wire.send(&masked(FIN | PONG, &ping.payload)).await;
    let second = wire.frame().await.unwrap();
    assert_eq!(second.opcode(), PING);
    house.backend.wait("two pings", |seen| seen[0].frames().len() >= 2).await;
    let frames = house.backend.seen(0).frames();
    assert!(frames.iter().all(|frame| frame.first == FIN | PING && frame.mask.is_some()), "no pong passes: {frames:?}");
    assert_ne!(frames[0].mask, frames[1].mask, "a fresh key for each");
    drop(wire);
    house.is_at_rest().await;
    cases::held("FR19", "a ping each way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_side_is_found_dead() {
    let policy = "[session]\nping_interval = \"1s\"\npong_timeout = \"500ms\"";
    let house = Plan::plain().policy(HASTY).policy(policy).build().await;
    let mark = house.record.mark();
    let mut wire = house.session().await;
    let frames = wire.frames_rest().await;
    assert_eq!(frames.first().map(Frame::opcode), Some(PING), "{frames:?}");
    drop(wire);
    let closure = house.closure(mark).await;
    assert_eq!((closure.cause, closure.by), (Cause::PongTimeout, By::Client));
    cases::held("RX06", "a client that answers no ping");
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_and_pongs_of_the_two_sides_pass() {
    let house = House::plain().await;
    let mut wire = house.session().await;
    wire.send(&masked(FIN | PING, b"are you there")).await;
    let pong = wire.frame().await.unwrap();
    assert_eq!((pong.first, pong.payload.as_slice()), (FIN | PONG, b"are you there".as_slice()));
    wire.send(&masked(FIN | PONG, b"unasked")).await;
    wire.echoes("after").await;
    wire.closes(1000).await;
    drop(wire);
    house.is_at_rest().await;
    let seen = house.backend.last().frames();
    assert_eq!(seen[1].payload, b"unasked");
    cases::held("FR12", "a ping and an unasked pong");
}

/// A stream of bytes that no two neighbours of repeat.
fn noise(count: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(count).collect()
}

const GENEROUS: &str = "[session]\nfrom_client = { message_size = \"32MiB\", bytes = \"1GiB/s\", messages = \"1000000/s\" }\nfrom_backend = { message_size = \"32MiB\" }";

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_mebibytes_each_way_arrive_as_they_were_sent() {
    let (up, down) = (noise(16 << 20, 1), noise(16 << 20, 2));
    let (up_frame, down_frame) = (masked(FIN | BINARY, &up), bare(FIN | BINARY, &down));
    let script =
        vec![Step::Head, Step::Send(SWITCHING.into()), Step::Send(down_frame), Step::Until(up_frame.len()), Step::Echo];
    let house = Plan::plain().policy(GENEROUS).script(script).build().await;
    let wire = house.session().await;
    let (mut reader, mut writer) = wire.split();
    let sent = up_frame.clone();
    let sending = tokio::spawn(async move {
        for piece in sent.chunks(9973) {
            assert!(writer.send(piece).await);
        }
        writer
    });
    let frame = reader.frame().await.unwrap();
    assert!(frame.payload == down, "what the backend sent");
    let writer = sending.await.unwrap();
    house.backend.wait("all of it", |seen| seen[0].after.len() >= up_frame.len()).await;
    assert!(house.backend.seen(0).after[..up_frame.len()] == up_frame, "byte for byte, mask and all");
    drop((reader, writer));
    house.is_at_rest().await;
    cases::held("FR21", "16 MiB both ways at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_may_come_in_any_pieces() {
    let house = House::plain().await;
    let frames = [
        masked(FIN | PING, b"p"),
        masked(TEXT, b"Hel"),
        masked(FIN | CONTINUATION, b"lo"),
        masked(FIN | BINARY, &[9; 200]),
    ]
    .concat();
    let mut cases = Cases::of("pieces");
    for at in 1..frames.len() {
        let mut wire = house.session().await;
        wire.send(&frames[..at]).await;
        wire.send(&frames[at..]).await;
        let mut told = Vec::new();
        for _ in 0..4 {
            told.push(wire.frame().await.unwrap());
        }
        assert_eq!(told[3].payload, [9; 200], "split at {at}");
        assert!(house.backend.last().after == frames, "split at {at}");
        wire.closes(1000).await;
        cases.held("FR22", &format!("split at {at}"));
    }
    cases.all(frames.len() - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_glued_to_the_101_are_delivered_in_order() {
    let glued: Vec<u8> = (0..40_u8).flat_map(|number| bare(FIN | BINARY, &[number; 1000])).collect();
    let script = vec![Step::Head, Step::Send([SWITCHING.as_bytes(), &glued].concat()), Step::Echo];
    let house = Plan::plain().script(script).build().await;
    let mut wire = house.session().await;
    for number in 0..40 {
        assert_eq!(wire.frame().await.unwrap().payload, [number; 1000]);
    }
    wire.closes(1000).await;
    drop(wire);
    house.is_at_rest().await;
    cases::held("BE04", "40 frames in the segment of the 101");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_ends_is_never_a_clean_end() {
    let mut cases = Cases::of("ends of backends");
    let ends: [(&str, &str, Vec<Step>); 3] = [
        ("BE03", "right behind its 101", vec![Step::Head, Step::Send(SWITCHING.into())]),
        ("BE05", "with a reset", vec![Step::Head, Step::Send(SWITCHING.into()), Step::Until(6), Step::Reset]),
        (
            "BE03",
            "in the middle of a frame",
            vec![Step::Head, Step::Send([SWITCHING.as_bytes(), &bare(FIN | BINARY, &[1; 300])[..100]].concat())],
        ),
    ];
    let count = ends.len();
    for (id, name, script) in ends {
        let house = Plan::plain()
            .policy("[session]\nhalf_close = \"300ms\"\nclose_timeout = \"300ms\"")
            .script(script)
            .build()
            .await;
        let mark = house.record.mark();
        let mut wire = house.session().await;
        wire.send(&masked(FIN | TEXT, b"")).await;
        let frames = wire.frames_rest().await;
        assert!(frames.iter().all(|frame| frame.close_code() != Some(1000)), "{name}: {frames:?}");
        drop(wire);
        let closure = house.closure(mark).await;
        assert_eq!((closure.cause, closure.by), (Cause::BackendLost, By::Backend), "{name}");
        house.backend.play(support::backend::echo());
        house.admits(&house.request()).await;
        cases.held(id, name);
    }
    cases.all(count);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_an_end_is_delivered() {
    let payload = noise(1 << 20, 3);
    let script = vec![
        Step::Head,
        Step::Send(SWITCHING.into()),
        Step::Send(bare(FIN | BINARY, &payload)),
        Step::HalfClose,
        Step::Swallow,
    ];
    let house = Plan::plain().policy(GENEROUS).policy(HASTY).script(script).build().await;
    let mut wire = house.session().await;
    assert!(wire.frame().await.unwrap().payload == payload, "all of it, and then the end");
    let rest = wire.frames_rest().await;
    assert!(rest.iter().all(|frame| frame.close_code() != Some(1000)), "{rest:?}");
    drop(wire);
    house.is_at_rest().await;
    cases::held("BE06", "the backend ends with a mebibyte under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_ends_its_side_still_gets_the_rest() {
    let payload = noise(1 << 20, 4);
    let script = vec![
        Step::Head,
        Step::Send(SWITCHING.into()),
        Step::Swallow,
        Step::Send(bare(FIN | BINARY, &payload)),
        Step::Send(bare(FIN | CLOSE, &close_body(1001, ""))),
    ];
    let house = Plan::plain().without_tls().policy(GENEROUS).script(script).build().await;
    let mark = house.record.mark();
    let mut wire = house.plain_wire().await;
    House::opened(&mut wire, &house.request()).await;
    wire.send(&masked(FIN | TEXT, b"the last word")).await;
    wire.finish().await;
    assert!(wire.frame().await.unwrap().payload == payload, "the rest");
    wire.rest().await;
    drop(wire);
    house.closure(mark).await;
    assert_eq!(house.backend.last().frames()[0].payload, b"the last word");
    cases::held("BE07", "the client ends its side first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_session_is_reaped() {
    let script = vec![Step::Head, Step::Send(SWITCHING.into()), Step::Swallow, Step::Hold];
    let house = Plan::plain().without_tls().policy("[session]\nhalf_close = \"300ms\"").script(script).build().await;
    let mark = house.record.mark();
    let mut wire = house.plain_wire().await;
    House::opened(&mut wire, &house.request()).await;
    wire.finish().await;
    wire.rest().await;
    drop(wire);
    house.closure(mark).await;
    cases::held("BE08", "one side ends, the other never does");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_stops_reading_holds_the_client_back_and_loses_nothing() {
    let payload = noise(8 << 20, 5);
    let frame = masked(FIN | BINARY, &payload);
    let script = vec![Step::Head, Step::Send(SWITCHING.into()), Step::Gate, Step::Until(frame.len()), Step::Echo];
    let house = Plan::plain().policy(GENEROUS).script(script).build().await;
    let (reader, mut writer) = house.session().await.split();
    let bytes = frame.clone();
    let sending = tokio::spawn(async move {
        assert!(writer.send(&bytes).await);
        writer
    });
    house.backend.wait("a session", |seen| seen.first().is_some_and(|seen| !seen.head.is_empty())).await;
    house.backend.release();
    let writer = sending.await.unwrap();
    house.backend.wait("all of it", |seen| seen[0].after.len() >= frame.len()).await;
    assert!(house.backend.seen(0).after == frame);
    drop((reader, writer));
    house.is_at_rest().await;
    cases::held("BE09", "a backend that stops and goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_that_was_offered_is_stripped_unless_the_policy_lets_it_pass() {
    let house = House::plain().await;
    let offer = |house: &House| {
        house.request_with(|request| {
            request.set("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
        })
    };
    let answer = house.admits(&offer(&house)).await;
    assert_eq!(answer.one("sec-websocket-extensions"), None);
    assert_eq!(house.backend.last().request().one("sec-websocket-extensions"), None);
    let chosen = SWITCHING.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    let script = vec![Step::Head, Step::Send(chosen.into()), Step::Echo];
    let passing = Plan::plain().policy("[upstream]\nextensions = \"pass\"").script(script).build().await;
    let (mut wire, answer) = passing.session_of(&offer(&passing)).await;
    assert_eq!(answer.one("sec-websocket-extensions"), Some("permessage-deflate"));
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    wire.send(&masked(FIN | 0x40 | TEXT, hello)).await;
    assert_eq!(wire.frame().await.map(|echo| echo.payload), Some(hello.to_vec()), "as it was sent");
    wire.closes(1000).await;
    drop(wire);
    passing.is_at_rest().await;
    assert_eq!(passing.backend.last().frames()[0].first, FIN | 0x40 | TEXT, "RSV1 passes where it was agreed");
    passing.backend.play(support::backend::echo());
    let mark = passing.record.mark();
    let (mut wire, answer) = passing.session_of(&offer(&passing)).await;
    assert_eq!(answer.one("sec-websocket-extensions"), None, "the backend chose none");
    wire.send(&masked(FIN | 0x40 | TEXT, hello)).await;
    wire.is_closed_with(1002).await;
    drop(wire);
    assert_eq!(passing.closure(mark).await.cause, Cause::RsvSet, "RSV1 without an extension");
    assert!(passing.backend.last().frames().iter().all(|frame| frame.first & 0x40 == 0));
    cases::held("CO01", "stripped, or passed where the policy says so and the backend chose it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_slow_to_speak_or_silent_is_told_so() {
    let timed: [(&str, &str, u16, Cause); 3] = [
        ("first_message = \"300ms\"", "says nothing at all", 1008, Cause::FirstMessageTimeout),
        ("idle_timeout = \"300ms\"", "says nothing more", 1001, Cause::IdleTimeout),
        ("max_age = \"1s\"", "stays too long", 4401, Cause::MaxAge),
    ];
    let mut cases = Cases::of("session clocks");
    for (key, name, code, cause) in timed {
        let house = Plan::plain().policy(HASTY).policy(&format!("[session]\n{key}")).build().await;
        let mark = house.record.mark();
        let mut wire = house.session().await;
        wire.is_closed_with(code).await;
        drop(wire);
        assert_eq!(house.closure(mark).await.cause, cause, "{name}");
        cases.held("RX06", name);
    }
    cases.all(timed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_closes_every_session_at_a_boundary() {
    let house = House::plain().await;
    let mut wires: Vec<Wire> = Vec::new();
    for _ in 0..5 {
        wires.push(house.session().await);
    }
    let record = std::sync::Arc::clone(&house.record);
    let mark = record.mark();
    let draining = tokio::spawn(house.drain());
    for mut wire in wires {
        let frame = wire.frame().await.expect("a Close");
        assert_eq!((frame.opcode(), frame.close_code()), (CLOSE, Some(1001)));
        wire.send(&masked(FIN | CLOSE, &close_body(1001, ""))).await;
        wire.rest().await;
        // RFC 6455 section 7.1.1: the server ends the connection first, and the client then ends its side too.
        drop(wire);
    }
    support::within("the end of the drain", draining).await.unwrap();
    assert_eq!(record.since(mark).len(), 5, "one record for each");
    assert_eq!(record.closed(mark).await.cause, Cause::Drain);
    cases::held("OP01", "five sessions, each with 1001");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stays_behind_its_close_is_recorded_as_drained() {
    let house = Plan::plain().gateway("drain = \"500ms\"").build().await;
    let record = std::sync::Arc::clone(&house.record);
    let mut wire = house.session().await;
    let mark = record.mark();
    let draining = tokio::spawn(house.drain());
    assert_eq!(wire.frame().await.and_then(|frame| frame.close_code()), Some(1001));
    wire.send(&masked(FIN | CLOSE, &close_body(1001, ""))).await;
    assert_eq!(record.closed(mark).await.cause, Cause::Drain);
    support::within("the end of the drain", draining).await.unwrap();
    assert_eq!(record.since(mark).len(), 1, "one record");
    drop(wire);
    cases::held("OP01", "a client that said Close and stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_does_not_wait_for_those_who_ignore_it() {
    let house = Plan::plain().gateway("drain = \"2s\"").policy("[session]\nclose_timeout = \"60s\"").build().await;
    let mut wire = house.session().await;
    let address = house.address();
    let draining = tokio::spawn(house.drain());
    assert_eq!(wire.frame().await.and_then(|frame| frame.close_code()), Some(1001));
    let closed = async { while tokio::net::TcpStream::connect(address).await.is_ok() {} };
    support::within("the listener closes", closed).await;
    assert!(!draining.is_finished(), "nothing is accepted while sessions are still closing");
    tokio::time::timeout(Duration::from_secs(10), draining).await.expect("the hard end").unwrap();
    wire.rest().await;
    cases::held("OP01", "a client that answers no Close");
}

/// Without a gateway between: what the other tests stand on is what it says it is.
#[tokio::test(flavor = "multi_thread")]
async fn client_and_backend_understand_each_other() {
    let backend = support::Backend::echo().await;
    let request = support::Request::good("chat.test", "/chat");
    let mut wire = Wire::over(Wire::tcp_from("127.0.0.2", backend.address).await.unwrap());
    let answer = House::opened(&mut wire, &request).await;
    assert_eq!(answer.headers.len(), 3);
    wire.echoes(&"long".repeat(40_000)).await;
    wire.closes(1000).await;
    let seen = backend.last();
    assert_eq!(seen.request().line, "GET /chat HTTP/1.1");
    assert_eq!(seen.request().one("host"), Some("chat.test"));
    assert_eq!(seen.frames().len(), 2);
    backend.play(vec![Step::Head, Step::Reset]);
    let mut wire = Wire::over(Wire::tcp_from("127.0.0.2", backend.address).await.unwrap());
    wire.send(&request.bytes()).await;
    assert_eq!(wire.rest().await, (Vec::new(), support::End::Cut));
    assert_eq!(backend.connections(), 2);
}
