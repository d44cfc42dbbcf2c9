//! The lease: a session ends with its credential or at the policy's greatest age, whichever comes first, at a frame
//! boundary; chance only takes from that; and the backend is told the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use support::endpoint::switching;
use support::frames::{BINARY, CLOSE, CONTINUATION, FIN, Frame, TEXT, bare, masked};
use support::house::HEADER_ONLY;
use support::time::passes;
use support::tokens::now;
use support::{Cases, Endpoint, Ends, House, Plan, Request, Transport, cases};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wsgate::event::Event;
use wsgate::session::Cause;

/// The header in which the backend is told.
const UNTIL: &str = "x-wsgate-session-until";

/// Tokens with the least leeway.
fn exactly() -> String {
    HEADER_ONLY.replace("audience", "leeway = \"1s\"\naudience")
}

/// A handshake with a token that ends at this second, leeway included.
fn ending_at(house: &House, end: u64) -> Request {
    house.request_as(&house.signer.token_with(|claims| drop(claims.insert("exp".into(), json!(end - 1)))))
}

/// What the backend was told last.
fn told(house: &House) -> u64 {
    house.backend.last().request().one(UNTIL).expect("an end").parse().expect("seconds since 1970")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_is_told_the_earliest_end() {
    let way = exactly();
    let plan = |session: &str| Plan::plain().policy(&way).policy(session);
    let mut cases = Cases::of("ends that a backend is told");
    #[rustfmt::skip]
    let leases = [
        ("the token", "", 300),
        ("the greatest age", "[session]\nmax_age = \"100s\"\nidle_timeout = \"100s\"", 100),
        ("the greatest age of a session that outlives its token", "[session]\nmax_age = \"1h\"\ndanger_outlive_token = \"the service renews by itself\"", 3600),
    ];
    for (name, session, seconds) in leases {
        let house = plan(session).build().await;
        let begun = now();
        house.admits(&ending_at(&house, begun + 300)).await;
        let until = told(&house);
        assert!((begun + seconds..=now() + seconds).contains(&until), "{name}: {until} at {begun}");
        let own = house.request_with(|request| request.set("X-Wsgate-Session-Until", "9999999999"));
        house.admits(&own).await;
        assert!(told(&house) < 9_999_999_999, "{name}: a client's own");
        cases.held("AU28", name);
    }
    let leeway = HEADER_ONLY.replace("audience", "leeway = \"7s\"\naudience");
    let house = Plan::plain().policy(&leeway).build().await;
    let end = now() + 300;
    house.admits(&ending_at(&house, end)).await;
    assert_eq!(told(&house), end - 1 + 7, "leeway is life");
    cases.held("AU28", "the token and its leeway");
    cases.all(leases.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_at_a_frame_boundary() {
    let ends = Ends::planned(Transport::Tls13, Transport::Plain, |plan| plan.policy(&exactly())).await;
    let house = &ends.house;
    let exp = now() + 4;
    let mut client = ends.client().await;
    client.send(&ending_at(house, exp).bytes()).await;
    let mut service = ends.service().await;
    let head = service.head().await;
    service.send(&switching(&head)).await;
    client.head().await;
    // Half a frame toward the client stands when the lease ends; the Close waits for the other half.
    let frame = bare(FIN | BINARY, &[7; 1000]);
    let (half, rest) = frame.split_at(500);
    service.send(half).await;
    assert_eq!(client.take(500).await, half);
    let upward = masked(TEXT, b"a message that goes on");
    client.send(&upward).await;
    assert_eq!(unmasked(&mut service, upward.len()).await.payload, b"a message that goes on");
    let close = unmasked(&mut service, 8).await;
    assert_eq!((close.opcode(), close.close_code()), (CLOSE, Some(1001)), "toward the backend a frame may stand");
    assert!(now() >= exp - 1, "chance takes a tenth at most");
    service.send(rest).await;
    let mut bytes = client.take(rest.len() + 4).await;
    assert!(bytes.starts_with(rest), "the frame is whole");
    let close = Frame::take(&mut bytes.split_off(rest.len())).expect("a Close");
    assert_eq!((close.opcode(), close.close_code()), (CLOSE, Some(4401)));
    drop((client, service));
    house.is_at_rest().await;
    cases::held("AU28", "a lease that ends inside a frame");
}

/// A frame of so many bytes on its way to the backend.
async fn unmasked(service: &mut Endpoint, bytes: usize) -> Frame {
    Frame::take(&mut service.take(bytes).await).expect("a frame")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_greatest_age_ends_what_its_token_would_not() {
    let house = Plan::plain().policy("[session]\nmax_age = \"1s\"\nidle_timeout = \"1s\"").build().await;
    let mark = house.record.mark();
    let begun = Instant::now();
    let mut session = house.session().await;
    // A message that never ends keeps it from being idle and from being closed in order, not from its end.
    session.send(&masked(BINARY, b"begun")).await;
    session.send(&masked(CONTINUATION, b"and not ended")).await;
    session.is_closed_with(4401).await;
    let lived = begun.elapsed();
    drop(session);
    assert_eq!(house.closure(mark).await.cause, Cause::MaxAge);
    assert!(lived >= Duration::from_millis(900), "chance takes a tenth at most: {lived:?}");
    cases::held("AU28", "the greatest age");
}

#[tokio::test]
async fn chance_only_takes_from_a_lease() {
    const SESSIONS: usize = 24;
    // A tenth of it is long beside what a machine takes for its work, by which a session may seem to live longer.
    const LEASE: u64 = 200;
    const WORK: Duration = Duration::from_secs(5);
    let house = Plan::plain().policy(&exactly()).policy("session.ping_interval = \"1h\"").build().await;
    let (mark, end) = (house.record.mark(), now() + LEASE);
    let (mut sessions, mut leases, mut clients) = (Vec::new(), Vec::new(), JoinSet::new());
    for _ in 0..SESSIONS {
        let before = now();
        sessions.push(house.session_of(&ending_at(&house, end)).await.0);
        assert_eq!(told(&house), end, "the backend is told the end that nobody outlives");
        // A lease is counted in whole seconds, and one may have passed between two readings of the clock.
        leases.push([end - now(), end - before].map(Duration::from_secs));
    }
    let ids: Vec<_> = house
        .record
        .since(mark)
        .iter()
        .filter_map(|event| match event {
            Event::Opened(opened) => Some(opened.who.id),
            _ => None,
        })
        .collect();
    let mut beside = house.session().await;
    passes(Duration::from_secs(LEASE * 9 / 10 - 5)).await;
    for mut session in sessions {
        clients.spawn(async move { session.frame().await.and_then(|close| close.close_code()) });
    }
    for _ in 0..30 {
        passes(Duration::from_secs(1)).await;
        beside.echoes("who was due has had his turn").await;
    }
    drop(beside);
    assert_eq!(clients.join_all().await, [Some(4401); SESSIONS]);
    house.is_at_rest().await;
    let mut lived = HashMap::new();
    for event in house.record.since(mark) {
        if let Event::Closed(closure) = event {
            lived.insert(closure.who.id, (closure.cause, closure.age));
        }
    }
    assert_eq!((ids.len(), leases.len()), (SESSIONS, SESSIONS));
    assert!(ids.iter().all(|id| lived[id].0 == Cause::CredentialExpired));
    let lived: Vec<Duration> = ids.iter().map(|id| lived[id].1).collect();
    let lives = || lived.iter().zip(&leases);
    assert!(lives().all(|(lived, [_, longest])| *lived <= *longest + WORK), "chance adds nothing: {lived:?}");
    assert!(lives().all(|(lived, [least, _])| *lived >= *least * 9 / 10), "and takes a tenth at most: {lived:?}");
    let taken = lives().map(|(lived, [least, _])| least.saturating_sub(*lived));
    assert!(taken.max() > Some(WORK), "of so many some lose a good part of their tenth: {lived:?}");
    let apart = lived.iter().max().unwrap().saturating_sub(*lived.iter().min().unwrap());
    assert!(apart > WORK, "they do not end together: {lived:?}");
    cases::held("AU28", "sessions made together");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_its_token_only_where_the_policy_says_why() {
    let mut cases = Cases::of("sessions and their tokens");
    let way = exactly();
    let outlive = "[session]\nmax_age = \"4s\"\nidle_timeout = \"4s\"\ndanger_outlive_token = \"it renews by itself\"";
    for (name, session, cause) in [
        ("it ends with the token", "[session]\nmax_age = \"4s\"\nidle_timeout = \"4s\"", Cause::CredentialExpired),
        ("it ends of age", outlive, Cause::MaxAge),
    ] {
        let house = Plan::plain().policy(&way).policy(session).build().await;
        let mark = house.record.mark();
        let (mut wire, _) = house.session_of(&ending_at(&house, now() + 3)).await;
        wire.is_closed_with(4401).await;
        drop(wire);
        assert_eq!(house.closure(mark).await.cause, cause, "{name}");
        cases.held("AU28", name);
    }
    let house = Plan::plain().policy(&way).policy(outlive).build().await;
    house.refuses(&ending_at(&house, now() - 1), wsgate::policy::Reason::TokenExpired).await;
    cases.held("AU28", "a token that ended before the handshake opens nothing");
    let open = "auth = [{ by = \"backend\" }]";
    let said = Plan::plain().policy(open).policy(outlive).refused_at_load();
    assert!(said.contains("no token is verified here"), "{said}");
    Plan::plain().policy(open).policy("[session]\nmax_age = \"4s\"\nidle_timeout = \"4s\"").loads();
    cases.held("AU28", "where no token is verified the key says nothing");
    cases.all(4);
}
