//! Pings, deadlines and rates.

use super::*;
use crate::units::ByteSize;

#[test]
fn pings_go_to_silent_sides_and_their_pongs_are_swallowed() {
    for side in Side::BOTH {
        let other = side.opposite();
        let mut rig = Rig::new(rules());
        rig.wait(20 * SECOND).feed(other, &frame(other, TEXT, b"x")).out(side).clear();
        rig.wait(10 * SECOND);
        let stream = rig.out(side).clone();
        assert_eq!(frames(&stream), [(PING, vec![0x5A; 8])], "FR19");
        let masked = stream[1] & 0x80 != 0;
        assert_eq!(masked, side == Side::Backend, "FR19");
        // Our pong is swallowed, another passes, and so does what stands around them.
        let ours = frame(side, PONG, &[0x5A; 8]);
        let theirs = [frame(side, TEXT, b"a"), frame(side, PONG, b"theirs"), frame(side, PING, b"p")].concat();
        rig.out(other).clear();
        rig.feed(side, &[ours.clone(), theirs.clone(), ours.clone(), theirs.clone()].concat());
        assert_eq!(*rig.out(other), [theirs.clone(), theirs].concat(), "FR19");
        rig.wait(19 * SECOND);
        assert_eq!(rig.cause(), None);
        // Silence on either side ends it; the other side is kept alive by its own answers here.
        let mut rig = Rig::new(rules());
        rig.wait(30 * SECOND).feed(other, &frame(other, PONG, &[0x5A; 8])).wait(20 * SECOND);
        assert_eq!(rig.cause(), Some((Cause::PongTimeout, side.into())), "RX06");
        // Any byte is life.
        let mut rig = Rig::new(rules());
        rig.wait(30 * SECOND).feed(other, &frame(other, PONG, &[0x5A; 8])).feed(side, &frame(side, TEXT, b"big")[..3]);
        rig.wait(9 * SECOND);
        assert_eq!(rig.cause(), None, "RX06");
    }
}

/// Bytes that are never twice the same on one thread.
fn counting(bytes: &mut [u8]) {
    thread_local! {
        static NEXT: std::cell::Cell<u8> = const { std::cell::Cell::new(0) };
    }
    for byte in bytes {
        *byte = NEXT.replace(NEXT.get().wrapping_add(1));
    }
}

#[test]
fn every_ping_to_the_backend_has_a_key_of_its_own() {
    let mut rig = Rig::new(rules());
    rig.session = Session::new(Arc::new(rules()), Extensions::Strip, None, rig.now, counting);
    let mut pings = Vec::new();
    for _ in 0..3 {
        rig.wait(30 * SECOND);
        for side in Side::BOTH {
            rig.feed(side, &frame(side, PONG, b""));
        }
        pings.push(std::mem::take(&mut rig.to_backend));
    }
    let keys: std::collections::HashSet<_> = pings.iter().map(|ping| ping[2..6].to_vec()).collect();
    assert_eq!(keys.len(), 3, "FR19: {pings:?}");
    let asked: std::collections::HashSet<_> = pings.iter().map(|ping| frames(&ping[..14]).remove(0)).collect();
    assert_eq!(asked.len(), 1, "FR19: one question under three keys: {asked:?}");
}

#[test]
fn a_pinged_side_that_answered_is_pinged_again_after_the_interval_whatever_the_pong_timeout() {
    for (pong_timeout, id) in [(5 * SECOND, "RX06"), (SECOND, "RX06")] {
        let mut rig = Rig::new(SessionRules { ping_interval: 2 * SECOND, pong_timeout, ..rules() });
        let mut pings = 0;
        for _ in 0..5 {
            rig.wait(2 * SECOND);
            for side in Side::BOTH {
                let stream = std::mem::take(rig.out(side));
                pings += frames(&stream).iter().filter(|(first, _)| *first == PING).count();
                rig.feed(side, &frame(side, PONG, &[0x5A; 8]));
            }
        }
        assert_eq!(pings, 10, "{id}: one each way every two seconds, pong timeout {pong_timeout:?}");
        assert_eq!(rig.cause(), None, "{id}");
    }
}

/// Answers every ping at once, from both sides, for so long.
fn keep_alive(rig: &mut Rig, span: Duration) {
    let end = rig.now + span;
    while rig.now < end && rig.session.poll_closed().is_none() {
        rig.wait(SECOND.min(end - rig.now));
        for side in Side::BOTH {
            if frames(&std::mem::take(rig.out(side))).iter().any(|(first, _)| *first == PING) {
                rig.feed(side, &frame(side, PONG, &[0x5A; 8]));
            }
        }
    }
}

#[test]
fn deadlines() {
    let lived = |rules: SessionRules, lease: Option<Duration>| {
        let mut rig = Rig::new(rules.clone());
        rig.session = Session::new(Arc::new(rules), Extensions::Strip, lease, rig.now, fixed);
        let start = rig.now;
        while rig.session.cause.is_none() {
            keep_alive(&mut rig, SECOND);
        }
        let (cause, _) = rig.session.cause.unwrap();
        (cause, (rig.now - start).as_secs())
    };
    assert_eq!(lived(rules(), None), (Cause::IdleTimeout, 3600));
    let first = SessionRules { first_message: Some(30 * SECOND), ..rules() };
    assert_eq!(lived(first, None), (Cause::FirstMessageTimeout, 30));
    let (cause, age) = lived(rules(), Some(60 * SECOND));
    assert_eq!(cause, Cause::CredentialExpired, "AU28");
    assert!((54..60).contains(&age), "AU28: jitter shortens, by a tenth at most: {age}");
    let (cause, age) = lived(rules(), Some(3000 * SECOND));
    assert_eq!(cause, Cause::CredentialExpired, "AU28");
    assert!((2970..3000).contains(&age), "AU28: and by half a minute at most: {age}");
    let (cause, age) = lived(SessionRules { max_age: 1000 * SECOND, ..rules() }, Some(2000 * SECOND));
    assert_eq!(cause, Cause::MaxAge);
    assert!((900..1000).contains(&age), "jitter shortens: {age}");
}

#[test]
fn what_is_begun_must_be_finished() {
    // FR17: 13 of 14 header bytes, and a control frame without its end.
    let long = [&[TEXT, 0xFF, 0, 0, 0, 0, 0, 0x98, 0x96, 0x80][..], &KEY].concat();
    for script in [&long[..13], &frame(Side::Client, PING, b"abc")[..8]] {
        let mut rig = Rig::new(SessionRules::default());
        rig.feed(Side::Client, script).wait(9 * SECOND);
        assert_eq!(rig.cause(), None);
        rig.wait(SECOND);
        assert_eq!(rig.cause(), Some((Cause::PartialHeader, By::Client)), "FR17");
        assert_eq!(rig.close_code(Side::Client), Some(1008), "FR17");
    }
    // FR17: what is finished in time takes nothing from what the same bytes begin; its twin is not finished.
    let ping = frame(Side::Client, PING, b"abc");
    for (bytes, cause) in [([&ping[8..], &ping[..8]].concat(), None), (ping[8..8].to_vec(), Some(Cause::PartialHeader))]
    {
        let mut rig = Rig::new(SessionRules::default());
        rig.feed(Side::Client, &ping[..8]).wait(9 * SECOND).feed(Side::Client, &bytes).wait(2 * SECOND);
        assert_eq!(rig.session.cause.map(|(cause, _)| cause), cause, "FR17 {bytes:?}");
        rig.wait(8 * SECOND);
        assert_eq!(rig.cause(), Some((Cause::PartialHeader, By::Client)), "FR17 {bytes:?}");
    }
    // FR17: a long frame that trickles; its twin keeps the pace.
    for (bytes_a_second, cause) in [(1_000, Some(Cause::SlowFrame)), (1_024, None)] {
        let mut rules = SessionRules::default();
        rules.from_client.message_size = ByteSize::mib(100);
        let mut rig = Rig::new(rules);
        rig.feed(Side::Client, &long);
        for _ in 0..60 {
            rig.feed(Side::Client, &vec![0; bytes_a_second]).wait(SECOND);
        }
        assert_eq!(rig.session.cause.map(|(cause, _)| cause), cause, "FR17 {bytes_a_second}");
    }
}

#[test]
fn clocks_of_a_side_that_is_not_read_stand_still() {
    let mut rig = Rig::new(SessionRules { idle_timeout: 20 * SECOND, ..rules() });
    rig.feed(Side::Client, &frame(Side::Client, PING, b"abc")[..8]);
    rig.session.handle_blocked(Side::Backend, rig.now);
    rig.wait(59 * SECOND);
    assert_eq!(rig.cause(), None);
    rig.session.handle_unblocked(Side::Backend, rig.now);
    rig.wait(9 * SECOND);
    assert_eq!(rig.cause(), None);
    rig.wait(SECOND);
    assert_eq!(rig.cause(), Some((Cause::PartialHeader, By::Client)));

    for side in Side::BOTH {
        let mut rig = Rig::new(rules());
        rig.session.handle_blocked(side, rig.now);
        rig.wait(29 * SECOND);
        rig.session.handle_progress(side, rig.now);
        rig.wait(59 * SECOND);
        let other = side.opposite();
        assert_eq!(rig.session.cause, None, "RX07, RX08 {other:?}");
        rig.wait(SECOND);
        assert_eq!(rig.cause(), Some((Cause::WriteStall, side.into())), "RX07, RX08");
    }
}

#[test]
fn floods_are_slowed_and_then_end() {
    let cases = [
        ("FR11", frame(Side::Client, TEXT, b""), Cause::MessageRate, 500 + 3_000),
        ("FR12", frame(Side::Client, PONG, b"unsolicited"), Cause::ControlRate, 20 + 300),
    ];
    for (id, message, cause, most) in cases {
        let mut rig = Rig::new(SessionRules::default());
        let start = rig.now;
        while rig.cause().is_none() {
            rig.feed(Side::Client, &message.repeat(50));
        }
        assert_eq!(rig.cause(), Some((cause, By::Client)), "{id}");
        assert_eq!((rig.now - start).as_secs(), 30, "{id}");
        let passed = frames(&rig.to_backend).len();
        assert!((most..most + 5).contains(&passed), "{id}: {passed}");
    }
    // Bytes are slowed for as long as it takes: 8 MiB at 256 KiB/s behind a burst of 1 MiB.
    let mut rig = Rig::new(SessionRules::default());
    let start = rig.now;
    let message = frame(Side::Client, 0x82, &[0; 60_000]);
    for _ in 0..140 {
        rig.feed(Side::Client, &message);
    }
    assert_eq!(rig.cause(), None);
    assert!((27..30).contains(&(rig.now - start).as_secs()), "{:?}", rig.now - start);
}

#[test]
fn bytes_over_their_rate_close_at_the_byte_where_the_policy_says_so() {
    let mut rules = rules();
    rules.from_client.bytes = "10B/s burst 10B".parse().ok();
    rules.from_client.over = Overrun::Close;
    // A header of six bytes counts: four of payload pass, and a fifth does not.
    for (payload, cause) in [(&b"1234"[..], None), (b"12345", Some((Cause::ByteRate, By::Client)))] {
        let message = frame(Side::Client, TEXT, payload);
        let mut rig = Rig::new(rules.clone());
        rig.feed(Side::Client, &message);
        assert_eq!(rig.to_backend, message[..10]);
        assert_eq!(rig.cause(), cause);
    }
}

#[test]
fn a_message_in_flight_is_no_silence() {
    let half = frame(Side::Client, 0x82, &[7; 299]);
    // RX06: a byte of it a second, for a hundred seconds; its twin is silent behind the first.
    for (bytes, cause) in [(100, None), (1, Some(Cause::IdleTimeout))] {
        let mut rig = Rig::new(SessionRules { idle_timeout: 20 * SECOND, slow_frame: ByteSize::bytes(1), ..rules() });
        rig.feed(Side::Client, &half[..9]);
        for index in 0..100 {
            let sent = if index < bytes { &half[9 + index..10 + index] } else { &[] };
            rig.feed(Side::Client, sent).wait(SECOND);
            rig.feed(Side::Backend, &frame(Side::Backend, PONG, b""));
            if rig.session.cause.is_some() {
                break;
            }
        }
        assert_eq!(rig.session.cause.map(|(cause, _)| cause), cause, "RX06 {bytes}");
    }
}

#[test]
fn the_first_message_is_there_when_it_is_whole() {
    let first = || frame(Side::Client, FIRST, b"");
    let scripts = [
        ("an empty first fragment", first(), Some(Cause::FirstMessageTimeout)),
        ("a ping", frame(Side::Client, PING, b""), Some(Cause::FirstMessageTimeout)),
        ("both fragments", [first(), frame(Side::Client, LAST, b"hello")].concat(), None),
        ("an empty message", frame(Side::Client, TEXT, b""), None),
    ];
    for (name, script, cause) in scripts {
        let mut rig = Rig::new(SessionRules { first_message: Some(10 * SECOND), ..rules() });
        rig.feed(Side::Client, &script).wait(10 * SECOND);
        assert_eq!(rig.session.cause.map(|(cause, _)| cause), cause, "RX06 {name}");
    }
}
