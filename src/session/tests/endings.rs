//! Closing handshakes, ends from outside, and lost sides.

use super::*;

#[test]
fn both_sides_say_close() {
    for (first, by) in [(Side::Client, By::Client), (Side::Backend, By::Backend)] {
        let mut rig = Rig::new(rules());
        rig.feed(first, &[close(first, 1000), frame(first, TEXT, b"FR15: too late")].concat());
        assert_eq!(*rig.out(first.opposite()), close(first, 1000), "FR15");
        let last_words = [frame(first.opposite(), TEXT, b"last"), close(first.opposite(), 1000)].concat();
        rig.feed(first.opposite(), &last_words);
        assert_eq!(*rig.out(first), last_words);
        let ended = rig.session.poll_closed().unwrap();
        assert_eq!((ended.cause, ended.by, ended.code), (Cause::Closed, by, Some(1000)));
    }
    // FR16: one side says Close and the other does not answer.
    let mut rig = Rig::new(rules());
    rig.feed(Side::Client, &close(Side::Client, 1000)).wait(5 * SECOND);
    assert_eq!(rig.cause(), Some((Cause::CloseTimeout, By::Backend)), "FR16");
    assert!(rig.session.poll_closed().is_some());
}

#[test]
fn an_end_from_outside_waits_for_a_boundary_or_cuts() {
    let message = frame(Side::Backend, TEXT, b"half a frame");
    let mut rig = Rig::new(rules());
    rig.feed(Side::Backend, &message[..5]);
    rig.session.begin_close(Cause::Drain, rig.now);
    rig.feed(Side::Backend, &[&message[5..], &frame(Side::Backend, TEXT, b"too late")].concat());
    assert_eq!(rig.to_client, [message.clone(), close(Side::Backend, 1001)].concat(), "FR18");
    rig.feed(Side::Client, &close(Side::Client, 1001)).feed(Side::Backend, &close(Side::Backend, 1001));
    let ended = rig.session.poll_closed().unwrap();
    assert_eq!((ended.cause, ended.by, ended.code), (Cause::Drain, By::Gateway, Some(1001)));
    assert_eq!(ended.from_backend.messages, 1, "what was not passed on is not counted");

    let mut rig = Rig::new(rules());
    rig.feed(Side::Backend, &message[..5]);
    rig.session.begin_close(Cause::Revoked, rig.now);
    rig.wait(5 * SECOND);
    assert_eq!(rig.to_client, message[..5], "FR18: no Close inside a frame");
    assert_eq!(rig.session.poll_closed().map(|ended| (ended.cause, ended.code)), Some((Cause::Revoked, None)));
}

#[test]
fn op06_nothing_passes_of_a_client_whose_access_was_taken_away() {
    let message = frame(Side::Client, TEXT, b"half a frame");
    let ended = |cause: Cause, begun: usize| {
        let mut rig = Rig::new(rules());
        rig.feed(Side::Client, &message[..begun]);
        let before = rig.to_backend.len();
        rig.session.begin_close(cause, rig.now);
        rig.feed(Side::Client, &[&message[begun..], &message].concat());
        assert_eq!(rig.to_client, close(Side::Backend, if cause == Cause::Revoked { 4403 } else { 1001 }));
        (rig.to_backend.split_off(before), rig)
    };
    for begun in [0, 9] {
        let (passed, mut rig) = ended(Cause::Revoked, begun);
        let told: Vec<u8> = frames(&passed).iter().map(|(first, _)| *first).collect();
        assert_eq!(
            told,
            if begun == 0 { vec![CLOSE] } else { vec![] },
            "at {begun}: no more than a Close at a boundary"
        );
        rig.wait(SECOND);
        let closed = rig.session.poll_closed().map(|ended| (ended.cause, ended.by, ended.code));
        assert_eq!(closed, Some((Cause::Revoked, By::Gateway, Some(4403))), "at {begun}: within a second");
        let (passed, mut rig) = ended(Cause::Drain, begun);
        let rest = if begun == 0 { &[] } else { &message[begun..] };
        assert!(passed.starts_with(rest) && passed.len() > rest.len(), "the twin: the rest of its frame, and a Close");
        rig.wait(SECOND);
        assert!(rig.session.poll_closed().is_none(), "the twin has its closing handshake");
    }
}

#[test]
fn op06_a_closing_handshake_keeps_no_client_whose_access_was_taken_away() {
    let message = frame(Side::Client, TEXT, b"half a frame");
    for is_revoked in [true, false] {
        let mut rig = Rig::new(rules());
        rig.feed(Side::Client, &message[..9]);
        rig.session.begin_close(Cause::Drain, rig.now);
        rig.wait(SECOND / 2);
        let before = rig.to_backend.len();
        if is_revoked {
            rig.session.begin_close(Cause::Revoked, rig.now);
        }
        rig.feed(Side::Client, &message[9..]);
        assert_eq!(rig.to_backend.len() > before, !is_revoked, "the rest of its frame");
        // Asking again does not put the end off.
        rig.wait(SECOND / 2);
        if is_revoked {
            rig.session.begin_close(Cause::Revoked, rig.now);
        }
        rig.wait(SECOND / 2);
        let closed = rig.session.poll_closed().map(|ended| (ended.cause, ended.code));
        assert_eq!(closed, is_revoked.then_some((Cause::Drain, Some(1001))), "within a second; the twin has its time");
    }
}

#[test]
fn what_is_thrown_away_is_paid_for_like_what_passes() {
    // A side that broke a rule, or that said Close, gains no faster line by it.
    let ends: [(&str, Vec<u8>); 2] = [("RX20", frame(Side::Client, 0x83, b"")), ("FR16", close(Side::Client, 1000))];
    for (id, end) in ends {
        let mut rules = rules();
        rules.from_client.bytes = "1KiB/s burst 4KiB".parse().ok();
        let mut rig = Rig::new(rules);
        rig.feed(Side::Client, &end);
        assert!(rig.session.poll_closed().is_none() && rig.session.wants_read(Side::Client), "{id}");
        assert_eq!(rig.session.receive(Side::Client, &[0; 4_000], rig.now).consumed, 4_000, "{id}");
        assert!(rig.session.wants_read(Side::Client), "{id}: within the burst");
        assert_eq!(rig.session.receive(Side::Client, &[0; 2_048], rig.now).consumed, 2_048, "{id}");
        assert!(!rig.session.wants_read(Side::Client), "{id}: over it");
        assert_eq!(rig.session.receive(Side::Client, &[0; 1], rig.now).consumed, 0, "{id}");
        rig.wait(2 * SECOND);
        assert!(rig.session.wants_read(Side::Client), "{id}: paid");
        assert_eq!(frames(&rig.to_backend).len(), 1, "{id}: a Close and nothing else");
    }
}

#[test]
fn lost_sides() {
    use EndKind::{Abrupt, Clean};
    let half = frame(Side::Backend, TEXT, b"half")[..3].to_vec();
    // (id, who, how, before, cause, close code to the client, over at once)
    let cases = [
        ("BE03", Side::Backend, Clean, vec![], Cause::BackendLost, Some(1012), false),
        ("BE05", Side::Backend, Abrupt, vec![], Cause::BackendLost, Some(1012), false),
        ("BE05", Side::Backend, Abrupt, half.clone(), Cause::BackendLost, None, true),
        ("BE07", Side::Client, Clean, vec![], Cause::ClientLost, None, false),
        ("TL12", Side::Client, Abrupt, vec![], Cause::ClientLost, None, true),
        ("TL12", Side::Client, Abrupt, half, Cause::ClientLost, None, true),
    ];
    for (id, side, kind, before, cause, code, at_once) in cases {
        let mut rig = Rig::new(rules());
        rig.feed(Side::Backend, &before).end(side, kind);
        assert_eq!(rig.cause(), Some((cause, side.into())), "{id}");
        assert_eq!(rig.close_code(Side::Client), code, "{id}");
        assert!(rig.to_backend.is_empty(), "{id}: an end without a Close frame");
        assert_eq!(rig.session.poll_closed().is_some(), at_once, "{id}");
    }
    // The backend has ended its stream: what the client says still reaches it, its Close last.
    let mut rig = Rig::new(rules());
    let words = [frame(Side::Client, TEXT, b"last words"), close(Side::Client, 1012)].concat();
    rig.end(Side::Backend, Clean).feed(Side::Client, &words);
    assert_eq!(rig.to_backend, words);
    assert!(rig.session.poll_closed().is_some());
    // BE07: the rest is delivered until the deadline; BE08: the other side never ends.
    let rest = frame(Side::Backend, TEXT, b"the rest");
    let mut rig = Rig::new(rules());
    rig.end(Side::Client, Clean).wait(9 * SECOND).feed(Side::Backend, &rest);
    assert!(rig.session.write_ended(Side::Backend) && !rig.session.write_ended(Side::Client));
    assert_eq!(rig.to_client, rest, "BE07");
    rig.wait(SECOND);
    assert_eq!(rig.cause(), Some((Cause::HalfCloseTimeout, By::Backend)), "BE08");
    let mut rig = Rig::new(rules());
    rig.end(Side::Client, Clean).end(Side::Backend, Clean);
    assert_eq!(rig.cause(), Some((Cause::ClientLost, By::Client)));
    assert!(rig.session.poll_closed().is_some());
    // Writing to the backend fails: its last words are still heard.
    let mut rig = Rig::new(rules());
    rig.session.handle_write_error(Side::Backend, rig.now);
    rig.feed(Side::Backend, &close(Side::Backend, 1013));
    assert_eq!(rig.close_code(Side::Client), Some(1013));
    let mut rig = Rig::new(rules());
    rig.session.handle_write_error(Side::Backend, rig.now);
    rig.wait(10 * SECOND);
    assert_eq!(rig.cause(), Some((Cause::BackendLost, By::Backend)));
}

/// A client that has ended its side and still reads, ten seconds before the end of its lease.
fn half_closed(lease: Duration) -> Rig {
    let mut rig = Rig::new(rules());
    rig.session = Session::new(Arc::new(rules()), Extensions::Strip, Some(lease), rig.now, fixed);
    rig.wait(2 * SECOND).end(Side::Client, EndKind::Clean);
    rig.feed(Side::Backend, &frame(Side::Backend, TEXT, b"the rest"));
    assert!(rig.session.poll_closed().is_none());
    rig
}

#[test]
fn access_that_ends_ends_for_a_client_that_has_ended_its_side_too() {
    // AU28: the lease ends three seconds into a half close of ten; its twin lasts longer than that.
    let mut rig = half_closed(5 * SECOND);
    rig.wait(3 * SECOND);
    assert_eq!(
        rig.session.poll_closed().map(|ended| (ended.cause, ended.by)),
        Some((Cause::CredentialExpired, By::Gateway)),
        "AU28"
    );
    let mut rig = half_closed(60 * SECOND);
    rig.wait(9 * SECOND);
    assert!(rig.session.poll_closed().is_none(), "AU28");

    // OP06: a boundary stands, so not one more frame goes to the client; the backend has its time to end.
    let mut rig = half_closed(60 * SECOND);
    let passed = rig.to_client.len();
    rig.session.begin_close(Cause::Revoked, rig.now);
    rig.feed(Side::Backend, &frame(Side::Backend, TEXT, b"too late"));
    assert_eq!(rig.to_client[passed..], close(Side::Backend, 4403), "OP06");
    rig.wait(SECOND / 2);
    assert!(rig.session.poll_closed().is_none(), "OP06");
    rig.wait(SECOND / 2);
    assert_eq!(
        rig.session.poll_closed().map(|ended| (ended.cause, ended.by, ended.code)),
        Some((Cause::Revoked, By::Gateway, Some(4403))),
        "OP06"
    );
    // In the middle of a frame there is no boundary: no more than the closing handshake's time is left.
    let mut rig = half_closed(60 * SECOND);
    rig.feed(Side::Backend, &frame(Side::Backend, TEXT, b"half a frame")[..5]);
    rig.session.begin_close(Cause::Revoked, rig.now);
    rig.wait(5 * SECOND);
    assert_eq!(rig.session.poll_closed().map(|ended| ended.cause), Some(Cause::Revoked), "OP06");
    // Whoever said Close has no more than the handshake's time anyway, and the lease still cuts that.
    let mut rig = Rig::new(rules());
    rig.session = Session::new(Arc::new(rules()), Extensions::Strip, Some(3 * SECOND), rig.now, fixed);
    rig.feed(Side::Client, &close(Side::Client, 1000)).wait(3 * SECOND);
    assert_eq!(rig.session.poll_closed().map(|ended| ended.cause), Some(Cause::CredentialExpired), "AU28");
}

#[test]
fn an_end_of_stream_behind_the_others_close_is_its_answer() {
    use EndKind::{Abrupt, Clean};
    let mut ran = 0;
    for closer in Side::BOTH {
        let other = closer.opposite();
        let mut half = frame(other, TEXT, b"half");
        half.pop();
        let lost = if other == Side::Client { Cause::ClientLost } else { Cause::BackendLost };
        let bare = frame(closer, CLOSE, b"");
        // (what the closer said, what came before the end, how it ended, what the closer is told, cause, recorded code)
        let rows = [
            (close(closer, 1000), vec![], Clean, Some(1000), Cause::Closed, 1000),
            (close(closer, 1000), vec![], Abrupt, Some(1000), Cause::Closed, 1000),
            (close(closer, 4001), vec![], Clean, Some(4001), Cause::Closed, 4001),
            (bare, vec![], Clean, Some(1000), Cause::Closed, 1005),
            (close(closer, 1000), half, Clean, None, lost, 1000),
        ];
        for (said, before, kind, told, cause, code) in rows {
            let mut rig = Rig::new(rules());
            rig.feed(closer, &said).feed(other, &before).end(other, kind);
            let ended = rig.session.poll_closed().unwrap();
            let by = if cause == Cause::Closed { closer } else { other };
            assert_eq!((ended.cause, ended.by, ended.code), (cause, By::from(by), Some(code)), "BE03 {closer:?}");
            assert_eq!(*rig.out(other), said, "BE03 {closer:?}: as it was said");
            assert_eq!(rig.close_code(closer), told, "BE03 {closer:?}");
            ran += 1;
        }
    }
    assert_eq!(ran, 10);
}
