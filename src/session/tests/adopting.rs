//! Rules that change while a session lives.

use super::*;

/// A rig whose rules were changed by `change`, `after` its beginning.
fn adopted(before: SessionRules, after: Duration, change: impl FnOnce(&mut SessionRules)) -> Rig {
    let mut rig = Rig::new(before.clone());
    rig.wait(after);
    let mut rules = before;
    change(&mut rules);
    rig.session.adopt(Arc::new(rules), None, rig.now);
    rig.wait(Duration::ZERO);
    rig
}

/// Rules under which nothing but what a test sets can end a session.
fn quiet() -> SessionRules {
    SessionRules { ping_interval: 100_000 * SECOND, ..rules() }
}

#[test]
fn op06_what_comes_next_is_judged_by_the_rules_as_they_are() {
    let small = |rules: &mut SessionRules| rules.from_client.message_size = crate::units::ByteSize::bytes(3);
    for (change, cause) in [(true, Some(Cause::MessageTooBig)), (false, None)] {
        let mut rig = adopted(quiet(), SECOND, |rules| {
            if change {
                small(rules)
            }
        });
        rig.feed(Side::Client, &frame(Side::Client, TEXT, b"four"));
        assert_eq!(rig.cause().map(|(cause, _)| cause), cause);
    }
    // A frame that was judged goes on to its end; the next one of its message is judged anew.
    let mut rig = Rig::new(quiet());
    let begun = frame(Side::Client, FIRST, b"four");
    rig.feed(Side::Client, &begun[..8]);
    let mut rules = quiet();
    small(&mut rules);
    rig.session.adopt(Arc::new(rules), None, rig.now);
    rig.feed(Side::Client, &begun[8..]);
    assert_eq!((rig.cause(), &rig.to_backend), (None, &begun));
    rig.feed(Side::Client, &frame(Side::Client, LAST, b""));
    assert_eq!(rig.cause(), Some((Cause::MessageTooBig, By::Client)));
}

#[test]
fn op06_deadlines_are_those_of_the_new_rules_counted_from_what_happened() {
    type Change = fn(&mut SessionRules);
    let cases: [(&str, Change, Duration, Option<Cause>); 7] = [
        (
            "idle for too long already",
            |rules| rules.idle_timeout = 50 * SECOND,
            Duration::ZERO,
            Some(Cause::IdleTimeout),
        ),
        ("idle for too long soon", |rules| rules.idle_timeout = 70 * SECOND, 10 * SECOND, Some(Cause::IdleTimeout)),
        ("not idle for too long", |rules| rules.idle_timeout = 71 * SECOND, 10 * SECOND, None),
        ("too old already", |rules| rules.max_age = 60 * SECOND, Duration::ZERO, Some(Cause::MaxAge)),
        ("not too old", |rules| rules.max_age = 80 * SECOND, 10 * SECOND, None),
        (
            "has to speak soon",
            |rules| rules.first_message = Some(5 * SECOND),
            5 * SECOND,
            Some(Cause::FirstMessageTimeout),
        ),
        ("had to speak before", |rules| rules.first_message = None, 100 * SECOND, None),
    ];
    for (name, change, then, cause) in &cases {
        let mut before = quiet();
        if *name == "had to speak before" {
            before.first_message = Some(100 * SECOND);
        }
        let mut rig = adopted(before, 60 * SECOND, change);
        rig.wait(*then);
        assert_eq!(rig.cause().map(|(cause, _)| cause), *cause, "{name}");
    }
    assert_eq!(cases.len(), 7);
    let mut rig = adopted(SessionRules { ping_interval: 100 * SECOND, ..rules() }, 60 * SECOND, |rules| {
        rules.ping_interval = 30 * SECOND;
    });
    rig.transmit();
    assert_eq!(frames(&rig.to_client), [(PING, vec![0x5A; 8])], "a side that was silent for long enough is pinged");
}

#[test]
fn op06_an_age_that_did_not_change_is_not_drawn_again() {
    let ages = |change: bool| {
        let mut rig = Rig::new(quiet());
        let before = rig.session.deadlines.at(Timer::Age);
        rig.session.random = |bytes| bytes.fill(0xFF);
        let mut rules = quiet();
        if change {
            rules.max_age += SECOND;
        }
        rig.session.adopt(Arc::new(rules), None, rig.now);
        (before, rig.session.deadlines.at(Timer::Age))
    };
    let (before, after) = ages(false);
    assert_eq!(before, after);
    let (before, after) = ages(true);
    assert_ne!(before, after, "the twin");
}

#[test]
fn op06_a_credential_may_end_earlier_or_later_than_it_did() {
    let expired = Some(Cause::CredentialExpired);
    // A tenth is the most that chance takes.
    for (lease, adopted, then, cause) in [
        (None, Some(10), 10, expired),
        (Some(10), Some(20), 17, None),
        (Some(10), Some(20), 20, expired),
        (Some(10), None, 1000, None),
        (None, Some(0), 0, expired),
    ] {
        let mut rig = Rig::new(quiet());
        let lease = lease.map(|seconds| seconds * SECOND);
        rig.session = Session::new(Arc::new(quiet()), Extensions::Strip, lease, rig.now, fixed);
        let ends = adopted.map(|seconds: u32| rig.now + seconds * SECOND);
        rig.session.adopt(Arc::new(quiet()), ends, rig.now);
        rig.wait(then * SECOND);
        assert_eq!(rig.cause().map(|(cause, _)| cause), cause, "{lease:?} {adopted:?} {then}");
        assert_eq!(rig.close_code(Side::Client), cause.map(|_| 4401));
    }
    // A lease that did not change keeps the end that chance gave it.
    let mut rig = Rig::new(quiet());
    rig.session = Session::new(Arc::new(quiet()), Extensions::Strip, Some(100 * SECOND), rig.now, fixed);
    let end = rig.session.deadlines.at(Timer::Age);
    rig.session.random = |bytes| bytes.fill(0xFF);
    rig.session.adopt(Arc::new(quiet()), Some(rig.now + 100 * SECOND), rig.now);
    assert_eq!(rig.session.deadlines.at(Timer::Age), end);
    rig.session.adopt(Arc::new(quiet()), Some(rig.now + 200 * SECOND), rig.now);
    assert_ne!(rig.session.deadlines.at(Timer::Age), end, "the twin");
}

#[test]
fn op06_a_bucket_keeps_what_is_in_it_and_no_more_than_it_holds() {
    let rated = |rate: &str| {
        let mut rules = quiet();
        rules.from_client.messages = rate.parse().ok();
        rules.from_client.over = Overrun::Close;
        rules
    };
    let message = frame(Side::Client, TEXT, b"x");
    for (before, spent, after, left) in [
        ("10/h burst 10", 4, "1/h burst 20", 6),
        ("10/h burst 10", 4, "1/h burst 2", 2),
        ("10/h burst 10", 4, "10/h burst 10", 6),
        ("", 4, "1/h burst 3", 3),
    ] {
        let mut rig = Rig::new(rated(before));
        rig.feed(Side::Client, &message.repeat(spent));
        rig.session.adopt(Arc::new(rated(after)), None, rig.now);
        rig.feed(Side::Client, &message.repeat(left));
        assert_eq!(rig.cause(), None, "{before} {after}");
        rig.feed(Side::Client, &message);
        assert_eq!(rig.cause(), Some((Cause::MessageRate, By::Client)), "{before} {after}");
    }
}

#[test]
fn op06_a_session_that_closes_goes_on_with_that() {
    let mut rig = Rig::new(quiet());
    rig.session.begin_close(Cause::Drain, rig.now);
    rig.transmit();
    rig.session.adopt(Arc::new(SessionRules { idle_timeout: SECOND, ..quiet() }), None, rig.now);
    rig.wait(5 * SECOND);
    assert_eq!(rig.cause(), Some((Cause::Drain, By::Gateway)));
}
