//! Which server takes a handshake, and which are left alone: balance, ejection, checks, slow start and names.
//!
//! Backends die, come back, answer that they fail, and hang. Where a time has to pass, a test asks until it has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;
use support::backend::{SWITCHING, Seen, echo};
use support::{
    Answer, Backend, Cases, House, Plan, Request, Stand, Step, Wire, cases, eventually, nobody_listens, within,
};
use wsgate::event::Event;
use wsgate::policy::Reason;
use wsgate::session::Cause;

const POLICY: &str = "policies/chat.toml";

/// An address at which nobody listens; it may begin to.
fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn upstream(servers: &[SocketAddr], more: &str) -> String {
    let servers: Vec<_> = servers.iter().map(|address| format!("\"ws://{address}\"")).collect();
    format!("[upstream]\nservers = [{}]\n{more}", servers.join(", "))
}

async fn house(servers: &[SocketAddr], more: &str) -> House {
    Plan::plain().policy(&upstream(servers, more)).build().await
}

/// A script that answers every handshake with this status.
fn says(status: &str) -> Vec<Step> {
    vec![Step::Head, Step::Send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes())]
}

/// A session from this address, and the server that took it.
async fn seat(house: &House, from: &str, request: &Request) -> (Wire, String) {
    let mark = house.record.mark();
    let mut wire = house.wire_from(from).await;
    House::opened(&mut wire, request).await;
    (wire, house.record.opened(mark).await.server)
}

/// A handshake of the one user who comes from this address.
fn request_of(house: &House, from: &str) -> Request {
    house.request_as(&house.signer.token_with(|claims| drop(claims.insert("sub".into(), json!(from)))))
}

/// A handshake of the user at this address that is refused for this reason.
async fn refused(house: &House, from: &str, reason: Reason) -> Answer {
    let wire = house.wire_from(from).await;
    house.refuses_after_dial(wire, &request_of(house, from), reason).await.expect("it is answered")
}

/// Asks until somebody comes in; whoever does not is refused for this reason.
async fn comes_in(house: &House, from: &str, unless: Reason) -> Wire {
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    within("somebody comes in again", async {
        loop {
            looks.tick().await;
            let mark = house.record.mark();
            let mut wire = house.wire_from(from).await;
            wire.send(&house.request().bytes()).await;
            if wire.answer_head().await.status == 101 {
                return wire;
            }
            assert_eq!(house.record.refused(mark).await.reason, unless);
        }
    })
    .await
}

/// How many notices of this code there were.
fn notices(house: &House, code: &str) -> usize {
    house.record.as_text().matches(&format!("code: \"{code}\"")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_with_the_fewest_sessions_takes_the_next() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let house = house(&[one.address, two.address], "balance = \"least_sessions\"").await;
    let mut wires: BTreeMap<String, Vec<Wire>> = BTreeMap::new();
    for _ in 0..6 {
        let (wire, server) = seat(&house, "127.0.0.1", &house.request()).await;
        wires.entry(server).or_default().push(wire);
    }
    assert_eq!(wires.values().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    let emptied = format!("ws://{}", two.address);
    let left = wires.remove(&emptied).unwrap();
    drop(left);
    eventually("its sessions are gone", || house.gateway.usage().servers == 3).await;
    for _ in 0..3 {
        let (wire, server) = seat(&house, "127.0.0.1", &house.request()).await;
        assert_eq!(server, emptied, "it has fewer until it has as many");
        wires.entry(server).or_default().push(wire);
    }
    drop(wires);
    house.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_same_comes_to_the_same_server() {
    let backends = [Backend::echo().await, Backend::echo().await, Backend::echo().await];
    let servers = backends.each_ref().map(|backend| backend.address);
    type Ask = fn(&House, usize) -> (String, Request);
    #[rustfmt::skip]
    let ways: [(&str, Ask); 4] = [
        ("address", |house, number| (format!("127.0.0.{}", number + 1), house.request())),
        ("subject", |house, number| (String::from("127.0.0.1"), house.request_as(&house.signer.token_with(|claims| drop(claims.insert("sub".into(), json!(format!("user{number}")))))))),
        ("cookie:lb", |house, number| (String::from("127.0.0.1"), house.request_with(|request| request.set("Cookie", format!("a=b; lb={number}"))))),
        ("header:X-Room", |house, number| (String::from("127.0.0.1"), house.request_with(|request| request.set("X-Room", format!("{number}"))))),
    ];
    for (on, ask) in ways {
        let house = house(&servers, &format!("balance = {{ hash = \"{on}\" }}")).await;
        let mut chosen = BTreeMap::new();
        for round in 0..2 {
            for number in 0..40 {
                let (from, request) = ask(&house, number);
                let (wire, server) = seat(&house, &from, &request).await;
                let first = chosen.entry(number).or_insert_with(|| server.clone());
                assert_eq!(*first, server, "{on} {number}, round {round}");
                drop(wire);
            }
        }
        let mut used: Vec<_> = chosen.into_values().collect();
        used.sort();
        used.dedup();
        assert_eq!(used.len(), 3, "{on}: forty of them are spread");
        let mut by_address = Vec::new();
        for _ in 0..4 {
            by_address.push(seat(&house, "127.0.0.1", &house.request()).await.1);
        }
        by_address.dedup();
        assert_eq!(by_address.len(), 1, "{on}: without it the address tells");
        house.is_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_chooses_the_key_piles_up_no_more_than_a_server_takes() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let more = "balance = { hash = \"header:x-room\" }\nconnections_per_server = 2";
    let house = house(&[one.address, two.address], more).await;
    let same = house.request_with(|request| request.set("X-Room", "blue"));
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(seat(&house, "127.0.0.1", &same).await);
    }
    assert_eq!(sessions[0].1, sessions[1].1);
    assert_eq!(sessions[2].1, sessions[3].1);
    assert_ne!(sessions[0].1, sessions[2].1, "the next in its order takes the rest");
    let mark = house.record.mark();
    let mut wire = house.wire().await;
    wire.send(&same.bytes()).await;
    assert_eq!(wire.answer_head().await.status, 503);
    assert_eq!(house.record.refused(mark).await.reason, Reason::BackendFull);
    let (first, server) = sessions.remove(0);
    drop((wire, first));
    eventually("a place is free", || house.gateway.usage().servers == 3).await;
    assert_eq!(seat(&house, "127.0.0.1", &same).await.1, server, "its own server has room again");
    cases::held("BE15", "a key that everybody says");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_is_left_alone_and_comes_back() {
    let mut cases = Cases::of("ejection");
    let address = nobody();
    let alone = house(&[address], "eject = { failures = 3, time = \"1h\", longest = \"2h\" }").await;
    let mark = alone.record.mark();
    for _ in 0..3 {
        refused(&alone, "127.0.0.1", Reason::BackendUnreachable).await;
    }
    let notice = alone.record.notice(mark, "server_ejected").await;
    assert!(notice.text.contains(&address.to_string()), "{}", notice.text);
    let back = Backend::playing_at(address, echo()).await;
    for from in ["127.0.0.1", "127.0.0.2"] {
        let answer = refused(&alone, from, Reason::BackendDown).await;
        let wait: u32 = answer.one("retry-after").unwrap().parse().unwrap();
        // An hour, of which chance takes a quarter at most and the test so far less than a minute; the answer adds half.
        assert!((2640..=5400).contains(&wait), "until it is tried again: {wait}");
    }
    assert_eq!(back.connections(), 0, "nobody goes there");
    cases.held("BE10", "all servers down: 503 at once");

    let never = house(&[address], "eject = \"never\"").await;
    never.admits(&never.request()).await;
    drop(back);
    nobody_listens(address).await;
    for _ in 0..7 {
        refused(&never, "127.0.0.1", Reason::BackendUnreachable).await;
    }
    assert_eq!(notices(&never, "server_ejected"), 0);
    cases.held("BE10", "one that is never left alone");

    let soon = house(&[address], "eject = { failures = 2, time = \"500ms\" }").await;
    let mark = soon.record.mark();
    for _ in 0..2 {
        refused(&soon, "127.0.0.1", Reason::BackendUnreachable).await;
    }
    soon.record.notice(mark, "server_ejected").await;
    let _back = Backend::playing_at(address, echo()).await;
    let mark = soon.record.mark();
    drop(comes_in(&soon, "127.0.0.1", Reason::BackendDown).await);
    soon.record.notice(mark, "server_readmitted").await;
    soon.is_at_rest().await;
    soon.admits(&soon.request()).await;
    cases.held("BE10", "it comes back");
    cases.all(3);
}

/// Asks until the backend has a probe, whose client this is; whoever asks before is refused.
async fn probe(house: &House, back: &Backend) -> Wire {
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    within("a probe", async {
        loop {
            looks.tick().await;
            let mut wire = house.wire().await;
            wire.send(&house.request().bytes()).await;
            tokio::select! {
                () = back.wait("a probe", |seen| !seen.is_empty()) => return wire,
                answer = wire.answer_head() => assert_eq!(answer.status, 503),
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_probe_finds_out_and_nobody_else_goes_there_meanwhile() {
    let address = nobody();
    let house = house(&[address], "eject = { failures = 2, time = \"200ms\" }").await;
    for _ in 0..2 {
        refused(&house, "127.0.0.1", Reason::BackendUnreachable).await;
    }
    let gated = [vec![Step::Head, Step::Gate], echo()[1..].to_vec()].concat();
    let back = Backend::playing_at(address, gated).await;
    let mut probe = probe(&house, &back).await;
    for from in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
        let mark = house.record.mark();
        let mut wire = house.wire_from(from).await;
        wire.send(&house.request().bytes()).await;
        assert_eq!(wire.answer_head().await.status, 503);
        assert_eq!(house.record.refused(mark).await.reason, Reason::BackendDown);
    }
    assert_eq!(back.connections(), 1, "no stampede");
    back.play(echo());
    back.release();
    assert_eq!(probe.answer_head().await.status, 101);
    let (second, _) = seat(&house, "127.0.0.2", &house.request()).await;
    drop((probe, second));
    house.is_at_rest().await;
    cases::held("BE10", "half open: one probe");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_whose_client_leaves_gives_way_to_the_next() {
    let address = nobody();
    let house = house(&[address], "eject = { failures = 1, time = \"100ms\" }").await;
    refused(&house, "127.0.0.1", Reason::BackendUnreachable).await;
    let back = Backend::playing_at(address, vec![Step::Head, Step::Hold]).await;
    let probe = probe(&house, &back).await;
    back.play(echo());
    let mark = house.record.mark();
    drop(probe);
    assert_eq!(house.record.refused(mark).await.reason, Reason::ClientGone);
    drop(seat(&house, "127.0.0.2", &request_of(&house, "127.0.0.2")).await);
    assert_eq!(notices(&house, "server_ejected"), 1, "nothing was learned from who went away");
    house.is_at_rest().await;
    cases::held("BE10", "a probe that is given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_brings_about_ejects_nobody() {
    let mut cases = Cases::of("whose fault");
    let rules = "eject = { failures = 3, time = \"1h\", longest = \"1h\" }";
    let judged = [
        ("401", says("401 Unauthorized"), Reason::BackendUnauthorized),
        ("403", says("403 Forbidden"), Reason::BackendForbidden),
        ("404", says("404 Not Found"), Reason::BackendRefused),
        ("429", says("429 Too Many Requests"), Reason::BackendRefused),
        ("200", says("200 OK"), Reason::BackendRefused),
    ];
    for (name, script, reason) in judged {
        let backend = Backend::playing(script).await;
        let house = house(&[backend.address], rules).await;
        for last in 1..6 {
            refused(&house, &format!("127.0.0.{last}"), reason).await;
        }
        backend.play(echo());
        house.admits(&house.request()).await;
        cases.held("BE13", name);
    }
    let failures = [
        ("503", says("503 Service Unavailable"), Reason::BackendRefused),
        ("a cut", vec![Step::Head, Step::Reset], Reason::BackendClosed),
        ("silence", vec![Step::Head, Step::Hold], Reason::BackendHandshakeTimeout),
        (
            "no answer to our key",
            vec![Step::Head, Step::Send(SWITCHING.replace("{accept}", "x").into_bytes())],
            Reason::BackendHandshakeInvalid,
        ),
    ];
    for (name, script, reason) in failures {
        let backend = Backend::playing(script).await;
        // Only who waits for silence waits for little: an answer may take its time.
        let patience = if reason == Reason::BackendHandshakeTimeout { "handshake_timeout = \"250ms\"" } else { "" };
        let house = house(&[backend.address], &format!("{rules}\n{patience}")).await;
        for _ in 0..5 {
            refused(&house, "127.0.0.1", reason).await;
        }
        assert_eq!(notices(&house, "server_ejected"), 0, "{name}: one client alone");
        refused(&house, "127.0.0.2", reason).await;
        refused(&house, "127.0.0.3", reason).await;
        assert_eq!(notices(&house, "server_ejected"), 1, "{name}: three of them");
        backend.play(echo());
        let heard = backend.connections();
        refused(&house, "127.0.0.4", Reason::BackendDown).await;
        assert_eq!(backend.connections(), heard);
        cases.held("BE10", name);
    }
    cases.all(9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_flaps_costs_the_others_clients_nothing() {
    let (good, flapping) = (Backend::echo().await, nobody());
    let rules = "slow_start = \"1ms\"\neject = { failures = 2, time = \"50ms\", longest = \"100ms\" }";
    let house = house(&[good.address, flapping], rules).await;
    let [sound, flaps] = [good.address, flapping].map(|address| format!("ws://{address}"));
    for round in 1..=3 {
        let ejections = notices(&house, "server_ejected");
        within("it is left alone while it is down", async {
            while notices(&house, "server_ejected") == ejections {
                assert_eq!(seat(&house, "127.0.0.1", &house.request()).await.1, sound, "round {round}");
            }
        })
        .await;
        let up = Backend::playing_at(flapping, echo()).await;
        within("it takes sessions when it is back", async {
            while seat(&house, "127.0.0.1", &house.request()).await.1 != flaps {}
        })
        .await;
        assert_eq!(notices(&house, "server_readmitted"), round);
        drop(up);
        nobody_listens(flapping).await;
    }
    house.is_at_rest().await;
    let told = house.record.since(0);
    assert!(!told.iter().any(|event| matches!(event, Event::Refused(_))), "nobody was refused: {told:?}");
    cases::held("BE10", "one that flaps beside a good one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_server_outlives_a_reload_that_keeps_it() {
    let (address, other) = (nobody(), Backend::echo().await);
    let rules = "eject = { failures = 2, time = \"1h\", longest = \"1h\" }";
    let house = house(&[address], rules).await;
    for _ in 0..2 {
        refused(&house, "127.0.0.1", Reason::BackendUnreachable).await;
    }
    let _back = Backend::playing_at(address, echo()).await;
    house.rewrite(POLICY, "[upstream]\nconnect_timeout = \"1s\"");
    house.reloads().await;
    refused(&house, "127.0.0.1", Reason::BackendDown).await;
    house.rewrite(POLICY, &upstream(&[other.address], rules));
    house.reloads().await;
    house.admits(&house.request()).await;
    house.rewrite(POLICY, &upstream(&[address], rules));
    house.reloads().await;
    house.admits(&house.request()).await;
    cases::held("BE10", "over reloads");
}

const CHECKED: &str = "health = { check = { websocket = \"/health?a=b\" }, interval = \"100ms\", timeout = \"20s\", \
                       rise = 1, fall = 2, down = \"DOWN\" }";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_checks_fail_takes_nobody_and_its_sessions_stay_or_close() {
    let mut cases = Cases::of("checks");
    for (down, closes) in [("keep", false), ("close", true)] {
        let backend = Backend::echo().await;
        let house = house(&[backend.address], &CHECKED.replace("DOWN", down)).await;
        let mut session = house.session().await;
        let mark = house.record.mark();
        backend.play(says("503 Service Unavailable"));
        house.record.notice(mark, "server_down").await;
        let mut wire = house.wire().await;
        wire.send(&house.request().bytes()).await;
        assert_eq!(wire.answer_head().await.status, 503);
        assert_eq!(house.record.refused(mark).await.reason, Reason::BackendDown);
        drop(wire);
        if closes {
            session.is_closed_with(1012).await;
            assert_eq!(house.record.closed(mark).await.cause, Cause::ServerDown);
        } else {
            session.echoes("its server carries it still").await;
        }
        backend.play(echo());
        house.record.notice(mark, "server_up").await;
        drop(session);
        house.is_at_rest().await;
        house.admits(&house.request()).await;
        cases.held("BE12", down);
    }
    cases.all(2);
}

/// What the page of metrics says of this server: whether it is up, and its sessions.
async fn gauges(house: &House, server: SocketAddr) -> [String; 2] {
    let mut wire = Wire::over(Wire::tcp_from("127.0.0.1", house.gateway.health_address().unwrap()).await.unwrap());
    wire.send(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
    let page = String::from_utf8(wire.rest().await.0).unwrap();
    ["wsgate_server_up", "wsgate_server_sessions"].map(|name| {
        let gauge = format!("{name}{{policy=\"chat\",server=\"ws://{server}\"}} ");
        let told = page.lines().find_map(|line| line.strip_prefix(&gauge));
        told.unwrap_or_else(|| panic!("no {gauge} in:\n{page}")).to_owned()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_tell_which_servers_take_sessions_and_how_many() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let more = format!("balance = \"least_sessions\"\n{}", CHECKED.replace("DOWN", "keep"));
    let plan = Plan::plain().gateway("health = { address = \"127.0.0.1:0\" }");
    let house = plan.policy(&upstream(&[one.address, two.address], &more)).build().await;
    let mut wires = Vec::new();
    for _ in 0..4 {
        wires.push(seat(&house, "127.0.0.1", &house.request()).await.0);
    }
    let both = async || [gauges(&house, one.address).await, gauges(&house, two.address).await];
    assert_eq!(both().await, [["1", "2"], ["1", "2"]]);
    let mark = house.record.mark();
    one.play(says("503 Service Unavailable"));
    house.record.notice(mark, "server_down").await;
    assert_eq!(both().await, [["0", "2"], ["1", "2"]], "down, and its sessions stay");
    wires.push(seat(&house, "127.0.0.1", &house.request()).await.0);
    assert_eq!(both().await, [["0", "2"], ["1", "3"]]);
    one.play(echo());
    house.record.notice(mark, "server_up").await;
    drop(wires);
    house.is_at_rest().await;
    assert_eq!(both().await, [["1", "0"], ["1", "0"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_a_handshake_of_our_own_with_nothing_of_a_client() {
    let backend = Backend::echo().await;
    let house = house(&[backend.address], &CHECKED.replace("DOWN", "keep")).await;
    let is_over = |seen: &Seen| !seen.head.is_empty() && seen.frames().len() == 1;
    backend.wait("a check and its farewell", |seen| seen.first().is_some_and(is_over)).await;
    let seen = backend.seen(0);
    let request = seen.request();
    assert_eq!(request.line, "GET /health?a=b HTTP/1.1");
    let names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["host", "upgrade", "connection", "sec-websocket-version", "sec-websocket-key"]);
    assert_eq!(request.one("host"), Some(backend.address.to_string().as_str()));
    let frames = seen.frames();
    assert_eq!(frames[0].opcode(), support::frames::CLOSE);
    let usage = house.gateway.usage();
    assert_eq!((usage.sessions, usage.servers), (0, 0), "a check takes nobody's place");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_find_who_died_and_who_hangs_and_end_with_the_server() {
    let mut cases = Cases::of("checks that fail");
    let good = Backend::echo().await;
    let tcp = "health = { interval = \"100ms\", timeout = \"20s\", rise = 1, fall = 1 }";
    let address = nobody();
    let house = house(&[address, good.address], tcp).await;
    house.record.notice(0, "server_down").await;
    for _ in 0..4 {
        assert_eq!(seat(&house, "127.0.0.1", &house.request()).await.1, format!("ws://{}", good.address));
    }
    cases.held("BE10", "nobody listens");
    let back = Backend::playing_at(address, echo()).await;
    house.record.notice(0, "server_up").await;
    let checked = back.connections();
    back.wait("another check", |seen| seen.len() > checked).await;
    house.is_at_rest().await;
    house.rewrite(POLICY, &upstream(&[good.address], tcp));
    house.reloads().await;
    drop(back);
    nobody_listens(address).await;
    let heard = good.connections();
    good.wait("checks go on where the server stays", |seen| seen.len() > heard + 4).await;
    assert_eq!(notices(&house, "server_down"), 1, "nobody asks a server that was taken out");
    cases.held("BE12", "checks end with their server");
    let silent = Backend::playing(vec![Step::Hold]).await;
    let asks =
        "health = { check = { websocket = \"/\" }, interval = \"100ms\", timeout = \"200ms\", rise = 1, fall = 1 }";
    let hangs = self::house(&[silent.address], asks).await;
    hangs.record.notice(0, "server_down").await;
    let answer = refused(&hangs, "127.0.0.1", Reason::BackendDown).await;
    assert!(answer.one("retry-after").is_some());
    cases.held("BE10", "one that hangs");
    cases.all(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_descriptors_takes_no_server_down() {
    let checked = "[upstream]\nhealth = { interval = \"100ms\", rise = 1, fall = 1 }";
    let stand = Stand::new(Plan::plain().policy(checked)).await;
    let (process, backend) = (&stand.running.process, &stand.backend);
    let checks = async |more: usize| {
        let heard = backend.connections();
        backend.wait("a check", |seen| seen.len() >= heard + more).await;
    };
    checks(2).await;
    let pid = Pid::from_raw(process.id().cast_signed());
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = prlimit(pid, Resource::Nofile, Rlimit { current: Some(0), maximum }).unwrap();
    let told = |code: &str| process.out().contains(&format!("\"{code}\""));
    eventually("a check that fails", || told("server_unchecked") || told("server_down")).await;
    prlimit(pid, Resource::Nofile, before).unwrap();
    checks(2).await;
    assert!(told("server_unchecked") && !told("server_down"), "{}", process.out());
    stand.session().await.closes(1000).await;
    cases::held("BE12", "checks without descriptors");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_server_that_is_taken_out_stay_or_close() {
    let mut cases = Cases::of("servers taken out");
    for (removed, ended) in [("keep", 0), ("close", 1)] {
        let (one, two) = (Backend::echo().await, Backend::echo().await);
        let more = format!("removed = \"{removed}\"");
        let house = house(&[one.address, two.address], &more).await;
        let (a, b) =
            (seat(&house, "127.0.0.1", &house.request()).await, seat(&house, "127.0.0.1", &house.request()).await);
        let ((mut leaves, _), (mut stays, _)) = if a.1.ends_with(&one.address.to_string()) { (a, b) } else { (b, a) };
        let mark = house.record.mark();
        house.rewrite(POLICY, &upstream(&[two.address], &more));
        let reloaded = house.reloads().await;
        assert_eq!(reloaded.judged.ended.values().sum::<usize>(), ended, "{removed}");
        if removed == "close" {
            assert_eq!(reloaded.judged.ended["backend_removed"], 1);
            leaves.is_closed_with(1012).await;
            assert_eq!(house.record.closed(mark).await.cause, Cause::ServerRemoved);
        } else {
            leaves.echoes("its server carries it still").await;
        }
        stays.echoes("its server is named still").await;
        assert_eq!(seat(&house, "127.0.0.1", &house.request()).await.1, format!("ws://{}", two.address));
        drop((leaves, stays));
        house.is_at_rest().await;
        cases.held("BE12", removed);
    }
    for (removed, status) in [("keep", 101), ("close", 503)] {
        let gated = [vec![Step::Head, Step::Gate], echo()[1..].to_vec()].concat();
        let (one, two) = (Backend::playing(gated).await, Backend::echo().await);
        let more = format!("removed = \"{removed}\"");
        let house = house(&[one.address], &more).await;
        let mut wire = house.wire().await;
        wire.send(&house.request().bytes()).await;
        one.wait("a handshake under way", |seen| seen.iter().any(|seen| !seen.head.is_empty())).await;
        house.rewrite(POLICY, &upstream(&[two.address], &more));
        house.reloads().await;
        let mark = house.record.mark();
        one.release();
        assert_eq!(wire.answer_head().await.status, status, "{removed}");
        if status == 503 {
            assert_eq!(house.record.refused(mark).await.reason, Reason::BackendRemoved);
        }
        drop(wire);
        house.is_at_rest().await;
        cases.held("BE12", &format!("{removed}, a handshake under way"));
    }
    cases.all(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_added_is_not_flooded() {
    let mut ran = 0;
    for (slow_start, expected) in [("1h", 0..=8), ("1ms", 20..=20)] {
        let (one, two) = (Backend::echo().await, Backend::echo().await);
        let more = format!("slow_start = \"{slow_start}\"");
        let house = house(&[one.address], &more).await;
        house.rewrite(POLICY, &upstream(&[one.address, two.address], &more));
        house.reloads().await;
        for _ in 0..40 {
            drop(seat(&house, "127.0.0.1", &house.request()).await);
        }
        assert!(expected.contains(&two.connections()), "{slow_start}: {} of 40", two.connections());
        assert_eq!(one.connections() + two.connections(), 40);
        ran += 1;
    }
    assert_eq!(ran, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_resolved_in_the_background() {
    let backend = Backend::echo().await;
    let server = format!("[upstream]\nservers = [\"ws://localhost:{}\"]", backend.address.port());
    let house = Plan::plain().policy(&server).build().await;
    house.admits(&house.request()).await;
    cases::held("BE18", "a name that resolves");
    let unknown = "[upstream]\nservers = [\"ws://nothing.invalid:9\"]";
    let lost = Plan::plain().policy(unknown).build().await;
    refused(&lost, "127.0.0.1", Reason::BackendUnreachable).await;
    let notice = lost.record.notice(0, "server_unresolved").await;
    assert!(notice.text.contains("nothing.invalid"), "{}", notice.text);
    cases::held("BE18", "a name that does not");
}
