//! Limits and client identity: who is charged, how much may be alive, and that every permit comes back.
//!
//! A cap is filled, the next one is refused, one is given back, and the same handshake comes in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::type_complexity, reason = "a table of cases is plainest with its columns in sight")]

mod support;

use serde_json::json;
use support::backend::{SWITCHING, Step};
use support::house::HOST;
use support::{Backend, Cases, House, Plan, Request, Wire, cases, eventually, frames};
use tokio::io::AsyncWriteExt;
use wsgate::event::Event;
use wsgate::policy::Reason;

fn subject(house: &House, name: &str) -> Request {
    house.request_as(&house.signer.token_with(|claims| drop(claims.insert("sub".into(), json!(name)))))
}

/// Fills a cap of two, meets its refusal, gives one back and comes in again.
async fn cap_of_two(plan: Plan, reason: Reason) {
    let house = plan.build().await;
    let (mut first, _) = house.session_of(&house.request()).await;
    let (mut second, _) = house.session_of(&house.request()).await;
    let heard = house.backend.connections();
    let mark = house.record.mark();
    let mut wire = house.wire().await;
    wire.send(&house.request().bytes()).await;
    let answer = wire.answer_head().await;
    let (body, _) = wire.rest().await;
    let answer = support::Answer { body, ..answer };
    let wsgate::policy::refusal::Answer::Status(status) = reason.answer() else { panic!("{reason:?} is answered") };
    answer.is_refusal(status, &house.request());
    drop(wire);
    assert_eq!(house.record.refused(mark).await.reason, reason);
    assert_eq!(house.backend.connections(), heard, "slots are taken before the dial");
    second.echoes("unharmed").await;
    first.closes(1000).await;
    drop(first);
    house.record.closed(mark).await;
    eventually("the slot is given back", || house.gateway.usage().sessions == 1).await;
    let mut third = house.session().await;
    third.closes(1000).await;
    second.closes(1000).await;
    drop((second, third));
    house.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_is_met_and_its_slots_come_back() {
    let caps: [(&str, &str, Plan, Reason); 5] = [
        (
            "RX01",
            "of an address",
            Plan::plain().policy("[limits]\nconnections_per_address = 2"),
            Reason::AddressSessions,
        ),
        (
            "RX05",
            "of a subject",
            Plan::plain().policy("[limits]\nconnections_per_subject = 2"),
            Reason::SubjectSessions,
        ),
        ("RX04", "of a route", Plan::plain().policy("[limits]\nconnections = 2"), Reason::RouteSessions),
        ("RX02", "of the gateway", Plan::plain().gateway("[capacity]\nsessions = 2"), Reason::GatewaySessions),
        ("BE15", "of a server", Plan::plain().policy("[upstream]\nconnections_per_server = 2"), Reason::BackendFull),
    ];
    let mut cases = Cases::of("caps");
    for (id, name, plan, reason) in caps {
        cap_of_two(plan, reason).await;
        cases.held(id, name);
    }
    cases.all(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_people_behind_one_address_are_told_apart() {
    let house = Plan::plain().policy("[limits]\nconnections_per_subject = 1").build().await;
    let mut wires = Vec::new();
    let people = ["alice", "bob", "carol", "dave"];
    let mut cases = Cases::of("people");
    for person in people {
        wires.push(house.session_of(&subject(&house, person)).await.0);
        cases.held("ID10", person);
    }
    let wire = house.wire_from("127.0.0.9").await;
    let mark = house.record.mark();
    let mut refused = wire;
    refused.send(&subject(&house, "alice").bytes()).await;
    assert_eq!(refused.answer_head().await.status, 429);
    assert_eq!(house.record.refused(mark).await.reason, Reason::SubjectSessions, "from whatever address");
    cases.held("RX05", "one subject over several addresses");
    cases.all(people.len() + 1);
    for wire in &mut wires {
        wire.closes(1000).await;
    }
    drop((wires, refused));
    house.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_does_not_use_up_anothers() {
    let house = Plan::plain().policy("[limits]\nconnections_per_address = 1").build().await;
    let mut first = house.session().await;
    let mark = house.record.mark();
    let mut refused = house.wire().await;
    refused.send(&house.request().bytes()).await;
    assert_eq!(refused.answer_head().await.status, 429);
    assert_eq!(house.record.refused(mark).await.reason, Reason::AddressSessions);
    let mut wire = house.wire_from("127.0.0.2").await;
    House::opened(&mut wire, &house.request()).await;
    wire.closes(1000).await;
    first.closes(1000).await;
    drop((first, wire, refused));
    house.is_at_rest().await;
    cases::held("RX01", "an address and its neighbour");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_network_is_multiplied() {
    let gateway = "[[address.networks]]\nname = \"the office\"\nnets = [\"127.0.0.3/32\"]\ntimes = 2";
    let plan = Plan::plain().gateway(gateway).policy("[limits]\nconnections_per_address = 1");
    let house = plan.build().await;
    let mut wires = Vec::new();
    for _ in 0..2 {
        let mut wire = house.wire_from("127.0.0.3").await;
        House::opened(&mut wire, &house.request()).await;
        wires.push(wire);
    }
    let mark = house.record.mark();
    let mut third = house.wire_from("127.0.0.3").await;
    third.send(&house.request().bytes()).await;
    assert_eq!(third.answer_head().await.status, 429);
    assert_eq!(house.record.refused(mark).await.reason, Reason::AddressSessions);
    drop((wires, third));
    house.is_at_rest().await;
    cases::held("ID10", "an office behind one address");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_of_a_subject_is_its_own() {
    let house = Plan::plain().policy("[limits]\nhandshakes_per_subject = \"1/h burst 2\"").build().await;
    house.admits(&house.request()).await;
    house.admits(&house.request()).await;
    let answer = house.refuses(&house.request(), Reason::SubjectRate).await.unwrap();
    assert!(answer.one("retry-after").is_some());
    house.admits(&subject(&house, "bob")).await;
    cases::held("RX03", "handshakes of one subject");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_admitted_at_a_pace() {
    let house = Plan::plain().gateway("[capacity]\nadmissions = \"1/h burst 2\"").build().await;
    house.admits(&house.request()).await;
    house.admits(&house.request()).await;
    let mut waits = Vec::new();
    for _ in 0..8 {
        let answer = house.refuses(&house.request(), Reason::AdmissionPace).await.unwrap();
        waits.push(answer.one("retry-after").unwrap().parse::<u32>().unwrap());
    }
    cases::held("RX22", "a storm is paced");
    assert!(waits.iter().any(|wait| *wait != waits[0]), "Retry-After is spread, or all come back at once: {waits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_failure_budget_is_answered_before_any_signature() {
    let house = Plan::plain().gateway("[address]\nfailures = \"1/h burst 3\"").build().await;
    house.admits(&house.request()).await;
    for _ in 0..3 {
        house.refuses(&house.request_as("nonsense"), Reason::TokenMalformed).await;
    }
    house.refuses(&house.request_as("nonsense"), Reason::AddressFailures).await;
    let answer = house.refuses(&house.request(), Reason::AddressFailures).await.unwrap();
    assert!(answer.one("retry-after").is_some(), "not even a good token is looked at");
    let wire = house.wire_from("127.0.0.2").await;
    house.admits_on(wire, &house.request()).await;
    cases::held("AU25", "guesses are counted");
    cases::held("RX03", "429 before the signature");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_a_bound_are_dropped_before_tls() {
    let house = Plan::plain().gateway("[address]\nconnects = \"1/h burst 3\"").build().await;
    for _ in 0..3 {
        house.admits(&house.request()).await;
    }
    let mark = house.record.mark();
    assert!(house.try_wire("127.0.0.1", "chat.test").await.is_err(), "no TLS handshake");
    assert_eq!(house.record.refused(mark).await.reason, Reason::AddressConnectRate);
    let wire = house.wire_from("127.0.0.2").await;
    house.admits_on(wire, &house.request()).await;
    cases::held("RX01", "the connect rate of an address");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_full_of_sessions_is_dropped_before_tls() {
    let house = Plan::plain().gateway("[address]\nsessions = 1").build().await;
    let mut live = house.session().await;
    let mark = house.record.mark();
    assert!(house.try_wire("127.0.0.1", "chat.test").await.is_err(), "no TLS handshake");
    assert_eq!(house.record.refused(mark).await.reason, Reason::AddressSessionsHard);
    let mut beside = house.wire_from("127.0.0.2").await;
    House::opened(&mut beside, &house.request()).await;
    live.echoes("unharmed").await;
    drop((live, beside));
    house.is_at_rest().await;
    house.admits(&house.request()).await;
    cases::held("RX01", "the sessions of an address over all policies");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_not_pending() {
    let house = Plan::plain().gateway("[capacity]\npending = 1").build().await;
    let mut live = Vec::new();
    for _ in 0..3 {
        live.push(house.session().await);
        eventually("its pending place is given back", || house.gateway.usage().pending == 0).await;
    }
    let waiting = house.wire().await;
    let mark = house.record.mark();
    assert!(house.try_wire("127.0.0.1", "chat.test").await.is_err(), "one place is taken");
    assert_eq!(house.record.refused(mark).await.reason, Reason::GatewayFull);
    drop((live, waiting));
    house.is_at_rest().await;
    house.admits(&house.request()).await;
    cases::held("RX02", "connections that are not sessions yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_network_stays_outside() {
    let house = Plan::plain().gateway("[address]\ndeny = [\"127.0.0.66/32\"]").build().await;
    house.admits(&house.request()).await;
    let mark = house.record.mark();
    assert!(house.try_wire("127.0.0.66", "chat.test").await.is_err());
    assert_eq!(house.record.refused(mark).await.reason, Reason::AddressDenied);
    let policy = "[limits]\nallow = [\"127.0.0.0/28\"]\ndeny = [\"127.0.0.5/32\"]";
    let house = Plan::plain().policy(policy).build().await;
    house.admits(&house.request()).await;
    for from in ["127.0.0.5", "127.0.0.77"] {
        let wire = house.wire_from(from).await;
        house.refuses_on(wire, &house.request(), Reason::NetworkNotAllowed).await;
    }
    house.admits(&house.request()).await;
    cases::held("RX01", "networks that may come and networks that may not");
}

/// Ways to leave before a session, from each of which every permit returns.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_out_gives_back_its_permits() {
    let house = Plan::plain().script(vec![Step::Head, Step::Hold]).build().await;
    let mut cases = Cases::of("ways out");
    let bytes = house.request().bytes();
    drop(house.tcp().await);
    house.is_at_rest().await;
    cases.held("RX16", "after the TCP handshake");
    drop(house.wire().await);
    house.is_at_rest().await;
    cases.held("RX16", "after the TLS handshake");
    for at in [1, bytes.len() / 2, bytes.len() - 1] {
        let mut wire = house.wire().await;
        wire.send(&bytes[..at]).await;
        drop(wire);
        house.is_at_rest().await;
        cases.held("H108", &format!("after {at} bytes of the head"));
    }
    let heard = house.backend.connections();
    let mut wire = house.wire().await;
    wire.send(&bytes).await;
    house.backend.wait("the head at the backend", |seen| seen.len() > heard && !seen[heard].head.is_empty()).await;
    drop(wire);
    house.is_at_rest().await;
    cases.held("H108", "while the backend thinks");
    house.backend.play(support::backend::echo());
    let wire = house.session().await;
    drop(wire);
    house.is_at_rest().await;
    cases.held("RX16", "in a session, without a word");
    let mut wire = house.session().await;
    wire.send(&frames::masked_header_64(0x82, 60_000)).await;
    drop(wire);
    house.is_at_rest().await;
    cases.held("RX16", "in the middle of a frame");
    house.admits(&house.request()).await;
    cases.all(8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_is_never_exceeded_under_a_rush() {
    let house = Plan::plain().policy("[limits]\nconnections = 5").build().await;
    let bytes = house.request().bytes();
    let mut wires = Vec::new();
    for _ in 0..40 {
        wires.push(house.wire().await);
    }
    let answers = futures_util::future::join_all(wires.iter_mut().map(async |wire| {
        wire.send(&bytes).await;
        wire.answer_head().await.status
    }));
    let statuses = answers.await;
    let count = |status| statuses.iter().filter(|told| **told == status).count();
    assert_eq!((count(101), count(503)), (5, 35), "{statuses:?}");
    assert_eq!(house.backend.connections(), 5);
    drop(wires);
    house.is_at_rest().await;
    house.admits(&house.request()).await;
    cases::held("RX04", "forty at once for five places");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_dial_gives_the_slot_back() {
    let refuses = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
    let plan = Plan::plain().script(vec![Step::Head, Step::Send(refuses.into())]);
    let house = plan.policy("[limits]\nconnections = 1").build().await;
    for _ in 0..5 {
        house.refuses_after_dial(house.wire().await, &house.request(), Reason::BackendRefused).await;
    }
    house.backend.play(support::backend::echo());
    house.admits(&house.request()).await;
    cases::held("RX04", "a slot that no 101 followed");
}

/// A listener that believes X-Forwarded-For from this machine.
fn behind_http_proxy() -> Plan {
    Plan::plain().without_tls().listener("proxy = \"x_forwarded_for\"\ntrusted = [\"127.0.0.1/32\", \"10.0.0.0/8\"]")
}

async fn client_of(house: &House, mark: usize) -> String {
    house.record.opened(mark).await.who.client.unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_the_first_untrusted_hop_from_the_right() {
    let house = behind_http_proxy().build().await;
    let chains: [(&str, &[&str], &str); 8] = [
        ("ID03", &["203.0.113.7"], "203.0.113.7"),
        ("ID03", &["6.6.6.6, 203.0.113.7"], "203.0.113.7"),
        ("ID03", &["6.6.6.6, 203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        ("ID03", &["6.6.6.6", "203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        ("ID03", &["203.0.113.7:4711"], "203.0.113.7"),
        ("ID03", &["203.0.113.7, nonsense"], "127.0.0.1"),
        ("ID03", &["fe80::1%eth0"], "127.0.0.1"),
        ("ID07", &["::ffff:203.0.113.7"], "203.0.113.7"),
    ];
    let mut cases = Cases::of("chains");
    for (id, lines, expected) in chains {
        let mark = house.record.mark();
        let request =
            house.request_with(|request| lines.iter().for_each(|line| request.append("X-Forwarded-For", line)));
        house.admits_on(house.plain_wire().await, &request).await;
        assert_eq!(client_of(&house, mark).await, expected, "{lines:?}");
        assert_eq!(house.backend.last().request().one("x-forwarded-for"), Some(expected), "the chain is not passed on");
        cases.held(id, lines[0]);
    }
    house.refuses_on(house.plain_wire().await, &house.request(), Reason::ForwardedForMissing).await;
    cases.held("ID05", "on, but absent");
    let request = house.request_with(|request| request.set("X-Forwarded-For", "203.0.113.7"));
    let mark = house.record.mark();
    let mut stranger = Wire::over(Wire::tcp_from("127.0.0.9", house.address()).await.unwrap());
    stranger.send(&request.bytes()).await;
    let (told, _) = stranger.rest().await;
    assert!(!String::from_utf8_lossy(&told).contains("101"));
    assert_eq!(house.record.refused(mark).await.reason, Reason::ProxyUntrusted);
    cases.held("ID04", "somebody whose word is not taken");
    cases.all(chains.len() + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_inside_a_trusted_network_is_charged_like_any_other() {
    let house = behind_http_proxy().gateway("[address]\ndeny = [\"10.6.6.6/32\"]").build().await;
    let from = |client: &str| house.request_with(|request| request.set("X-Forwarded-For", client));
    house.admits_on(house.plain_wire().await, &from("10.6.6.7")).await;
    let mark = house.record.mark();
    let mut denied = house.plain_wire().await;
    denied.send(&from("10.6.6.6").bytes()).await;
    denied.rest().await;
    assert_eq!(house.record.refused(mark).await.reason, Reason::AddressDenied);
    house.is_at_rest().await;
    cases::held("ID04", "a denied client behind the proxy, in its own network");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_more_than_64_hops_tells_nothing() {
    let house = behind_http_proxy().build().await;
    let mut cases = Cases::of("long chains");
    for (hops, expected) in [(64, "203.0.113.7"), (65, "127.0.0.1")] {
        let chain = format!("203.0.113.7{}", ", 10.1.2.3".repeat(hops - 1));
        let mark = house.record.mark();
        let request = house.request_with(|request| request.set("X-Forwarded-For", &chain));
        house.admits_on(house.plain_wire().await, &request).await;
        assert_eq!(client_of(&house, mark).await, expected, "{hops} hops");
        cases.held("ID03", &format!("{hops} hops"));
    }
    cases.all(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_address_is_charged_as_it_is() {
    let house = behind_http_proxy().policy("[limits]\nconnections_per_address = 1").build().await;
    let from = |client: &str| house.request_with(|request| request.set("X-Forwarded-For", client));
    let forms = ["203.0.113.7", "::ffff:203.0.113.7", "::ffff:cb00:7107", "64:ff9b::203.0.113.7"];
    let mut cases = Cases::of("one bucket");
    for form in forms {
        let mut live = house.plain_wire().await;
        House::opened(&mut live, &from("203.0.113.7")).await;
        let mark = house.record.mark();
        let mut refused = house.plain_wire().await;
        refused.send(&from(form).bytes()).await;
        assert_eq!(refused.answer_head().await.status, 429, "{form}");
        assert_eq!(house.record.refused(mark).await.reason, Reason::AddressSessions);
        drop((live, refused));
        house.is_at_rest().await;
        cases.held("ID07", form);
    }
    let mut live = Vec::new();
    for (id, client) in [
        ("ID09", "::ffff:203.0.113.7"),
        ("ID09", "::ffff:203.0.113.8"),
        ("ID08", "2001:db8:1:2::1"),
        ("ID08", "2001:db8:1:3::1"),
    ] {
        let mut wire = house.plain_wire().await;
        House::opened(&mut wire, &from(client)).await;
        live.push(wire);
        cases.held(id, client);
    }
    let mark = house.record.mark();
    let mut refused = house.plain_wire().await;
    refused.send(&from("2001:db8:1:2:ffff:ffff:ffff:ffff").bytes()).await;
    assert_eq!(refused.answer_head().await.status, 429, "another address of the same /64");
    assert_eq!(house.record.refused(mark).await.reason, Reason::AddressSessions);
    cases.held("ID08", "another address of the same /64");
    drop((live, refused));
    house.is_at_rest().await;
    cases.all(forms.len() + 5);
}

/// PROXY protocol headers that are right, and the client that they name.
const PROXY_LINES: [(&str, &[u8], &str); 4] = [
    ("ID06", b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n", "203.0.113.7"),
    ("ID06", b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", "2001:db8::7"),
    ("ID06", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\xc0\x00\x02\x01\x12\x67\x01\xbb", "203.0.113.7"),
    ("ID06", b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00", "127.0.0.1"),
];

/// Headers that are not.
const NOT_PROXY_LINES: [(&str, &str, &[u8], Reason); 7] = [
    ("ID06", "a port beyond ports", b"PROXY TCP4 1.2.3.4 1.2.3.5 99999 443\r\n", Reason::ProxyHeaderInvalid),
    ("ID06", "an address of another family", b"PROXY TCP4 ::1 ::1 1 1\r\n", Reason::ProxyHeaderInvalid),
    ("ID06", "a line without an end", &[b'P'; 300], Reason::ProxyHeaderMissing),
    ("ID06", "200 bytes of a line", &PROXY_TOO_LONG, Reason::ProxyHeaderInvalid),
    ("ID06", "a length of 65 535", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", Reason::ProxyHeaderInvalid),
    (
        "ID06",
        "version 3",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c\xcb\x00\x71\x07\xc0\x00\x02\x01\x12\x67\x01\xbb",
        Reason::ProxyHeaderInvalid,
    ),
    ("ID05", "on, but absent", b"GET /chat HTTP/1.1\r\n", Reason::ProxyHeaderMissing),
];

const PROXY_TOO_LONG: [u8; 200] = {
    let mut line = [b'0'; 200];
    let start = *b"PROXY TCP4 ";
    let mut at = 0;
    while at < start.len() {
        line[at] = start[at];
        at += 1;
    }
    line
};

fn behind_tcp_proxy() -> Plan {
    let listener = "proxy = \"proxy_protocol\"\ntrusted = [\"127.0.0.1/32\"]";
    Plan::plain().without_tls().listener(listener).gateway("[admission]\nproxy_header = \"300ms\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_protocol_is_required_where_it_is_on() {
    let house = behind_tcp_proxy().build().await;
    let mut cases = Cases::of("PROXY headers");
    for (id, line, expected) in PROXY_LINES {
        let mark = house.record.mark();
        let mut wire = house.plain_wire().await;
        wire.send(line).await;
        house.admits_on(wire, &house.request()).await;
        assert_eq!(client_of(&house, mark).await, expected);
        cases.held(id, expected);
    }
    for (id, name, line, reason) in NOT_PROXY_LINES {
        let mark = house.record.mark();
        let mut wire = house.plain_wire().await;
        wire.send(line).await;
        let (told, _) = wire.rest().await;
        assert!(told.is_empty(), "{name}: not a word");
        assert_eq!(house.record.refused(mark).await.reason, reason, "{name}");
        drop(wire);
        house.is_at_rest().await;
        cases.held(id, name);
    }
    let mut wire = house.plain_wire().await;
    wire.send(b"PROXY TCP4 203.").await;
    let (told, _) = wire.rest().await;
    assert!(told.is_empty(), "the deadline holds for a header that was begun");
    cases.held("ID06", "one that stops");
    let mark = house.record.mark();
    let mut stranger = Wire::over(Wire::tcp_from("127.0.0.9", house.address()).await.unwrap());
    stranger.send(PROXY_LINES[0].1).await;
    stranger.rest().await;
    assert_eq!(house.record.refused(mark).await.reason, Reason::ProxyUntrusted);
    cases.held("ID04", "somebody whose word is not taken");
    cases.all(PROXY_LINES.len() + NOT_PROXY_LINES.len() + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_takes_no_place_among_the_handshakes() {
    /// So many hold the only place for longer than anybody waits for it.
    const SILENT: usize = 30;
    let proxied = "proxy = \"proxy_protocol\"\ntrusted = [\"127.0.0.1/32\"]";
    let line = PROXY_LINES[0].1;
    let doors: [(&str, Plan, &[u8]); 4] = [
        ("TLS", Plan::plain(), b""),
        ("TLS behind a proxy", Plan::plain().listener(proxied), line),
        ("no TLS", Plan::plain().without_tls(), b""),
        ("no TLS behind a proxy", Plan::plain().without_tls().listener(proxied), line),
    ];
    let count = doors.len();
    let mut cases = Cases::of("silent crowds");
    for (name, plan, preface) in doors {
        let house = plan.gateway("capacity.handshakes = 1\n[admission]\ntls = \"3s\"\nhead = \"3s\"").build().await;
        let tcp = async || {
            let mut tcp = house.tcp().await;
            tcp.write_all(preface).await.unwrap();
            tcp
        };
        let mut silent = Vec::new();
        for _ in 0..SILENT {
            silent.push(Wire::over(tcp().await));
        }
        let is_tls = name.starts_with("TLS");
        let mut wire = match is_tls {
            true => Wire::tls(tcp().await, house.authority.client(&[b"http/1.1"]), HOST).await.unwrap(),
            false => Wire::over(tcp().await),
        };
        House::opened(&mut wire, &house.request()).await;
        wire.echoes("nobody stood before me").await;
        for wire in &mut silent {
            let (told, _) = wire.rest().await;
            let expected: &[u8] = if is_tls { b"" } else { b"HTTP/1.1 408 " };
            assert!(told.starts_with(expected) && told.is_empty() == is_tls, "{name}: {told:?}");
        }
        drop((silent, wire));
        house.is_at_rest().await;
        cases.held("RX22", name);
    }
    cases.all(count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_nobody_asked_for_is_not_taken() {
    let house = Plan::plain().without_tls().build().await;
    let mark = house.record.mark();
    let request = house.request_with(|request| request.set("X-Forwarded-For", "203.0.113.7"));
    house.admits_on(house.plain_wire().await, &request).await;
    assert_eq!(client_of(&house, mark).await, "127.0.0.1");
    cases::held("ID04", "X-Forwarded-For where it is off");
    let mark = house.record.mark();
    let mut wire = house.plain_wire().await;
    wire.send(PROXY_LINES[0].1).await;
    wire.send(&house.request().bytes()).await;
    wire.rest().await;
    assert_eq!(house.record.refused(mark).await.reason, Reason::HeadMalformed);
    house.is_at_rest().await;
    cases::held("ID05", "a PROXY header where it is off");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_take_turns_and_a_dead_one_is_passed_over() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let servers =
        format!("[upstream]\nservers = [\"ws://{}\", \"ws://{closed}\", \"ws://{}\"]", one.address, two.address);
    let house = Plan::plain().policy(&servers).build().await;
    for _ in 0..6 {
        house.admits(&house.request()).await;
    }
    assert_eq!(one.connections() + two.connections(), 6);
    assert!(one.connections() >= 2 && two.connections() >= 2, "{} and {}", one.connections(), two.connections());
    cases::held("BE11", "one retry, on another server, before any byte");
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let servers = format!("[upstream]\nservers = [\"ws://{closed}\", \"ws://{other}\", \"ws://{}\"]", one.address);
    let dead = Plan::plain().policy(&servers).build().await;
    let heard = one.connections();
    dead.refuses_after_dial(dead.wire().await, &dead.request(), Reason::BackendUnreachable).await;
    assert_eq!(one.connections(), heard, "no third server is tried");
    cases::held("BE11", "two dead servers are enough");
    let gone = Plan::plain().policy(&format!("[upstream]\nservers = [\"ws://{closed}\"]")).build().await;
    gone.refuses_after_dial(gone.wire().await, &gone.request(), Reason::BackendUnreachable).await;
    cases::held("BE01", "nobody listens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_says_who_and_how_much() {
    let house = House::plain().await;
    let mark = house.record.mark();
    let mut wire = house.session().await;
    wire.echoes("12345").await;
    wire.echoes("678").await;
    wire.closes(1000).await;
    drop(wire);
    let closure = house.closure(mark).await;
    assert_eq!(closure.who.subject.as_deref(), Some("login/alice"));
    assert_eq!(closure.code, Some(1000));
    assert_eq!(closure.from_client.messages, 2);
    assert_eq!(closure.from_backend.messages, 2);
    assert_eq!(closure.from_client.bytes, 6 + 5 + 6 + 3 + 6 + 2, "two messages and a Close, masked");
    assert_eq!(closure.from_backend.bytes, 2 + 5 + 2 + 3 + 2 + 2, "the same unmasked");
    let told = house.record.since(mark);
    let ids = told.iter().filter_map(|event| match event {
        Event::Opened(opened) => Some(opened.who.id),
        Event::Closed(closure) => Some(closure.who.id),
        _ => None,
    });
    let ids: Vec<_> = ids.collect();
    assert!(ids.len() == 2 && ids[0] == ids[1], "one connection, one id");
    cases::held("OP13", "who, why, how much");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_handshake_does_not_hold_a_pending_slot_for_ever() {
    let gateway = "[address]\npending = 1\n[admission]\nhead = \"300ms\"";
    let house = Plan::plain().gateway(gateway).build().await;
    let mark = house.record.mark();
    let mut silent = house.wire().await;
    assert!(house.try_wire("127.0.0.1", "chat.test").await.is_err(), "one pending connection of an address");
    assert_eq!(house.record.refused(mark).await.reason, Reason::AddressPending);
    let (told, _) = silent.rest().await;
    assert!(String::from_utf8_lossy(&told).starts_with("HTTP/1.1 408"));
    drop(silent);
    house.is_at_rest().await;
    house.admits(&house.request()).await;
    cases::held("H101", "TLS done, nothing sent");
    cases::held("RX01", "pending connections of an address");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_101_of_a_slow_backend_is_not_waited_for_for_ever() {
    let mut cases = Cases::of("slow backends");
    let deadlines: [(&str, Vec<Step>); 3] = [
        ("accepts and says nothing", vec![Step::Hold]),
        ("reads and says nothing", vec![Step::Head, Step::Swallow]),
        ("drips its head", vec![Step::Head, Step::Drip(SWITCHING.into(), std::time::Duration::from_millis(50))]),
    ];
    for (name, script) in deadlines {
        let house = Plan::plain().policy("[upstream]\nhandshake_timeout = \"300ms\"").script(script).build().await;
        house.refuses_after_dial(house.wire().await, &house.request(), Reason::BackendHandshakeTimeout).await;
        house.backend.play(support::backend::echo());
        house.admits(&house.request()).await;
        cases.held("BE02", name);
    }
    let head = format!("HTTP/1.1 101 Switching Protocols\r\nX-A: {}\r\n", "a".repeat(65_536));
    let house = Plan::plain().script(vec![Step::Head, Step::Send(head.into_bytes()), Step::Swallow]).build().await;
    house.refuses_after_dial(house.wire().await, &house.request(), Reason::BackendHandshakeInvalid).await;
    cases.held("BE02", "a head of 64 KiB");
    house.backend.play(vec![Step::Head]);
    house.refuses_after_dial(house.wire().await, &house.request(), Reason::BackendClosed).await;
    cases.held("BE03", "hangs up before its 101");
    house.backend.play(vec![Step::Head, Step::Send("HTTP/1.1 101 Swit".into())]);
    house.refuses_after_dial(house.wire().await, &house.request(), Reason::BackendClosed).await;
    cases.held("BE03", "hangs up inside its 101");
    house.backend.play(vec![Step::Head, Step::Reset]);
    house.refuses_after_dial(house.wire().await, &house.request(), Reason::BackendClosed).await;
    cases.held("BE03", "resets before its 101");
    cases.all(7);
}
