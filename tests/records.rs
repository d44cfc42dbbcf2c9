//! What is told of connections: one record each, whatever it held and however it ended, and no secret in any of it.
//!
//! The log is the real one, written to memory; the metrics are read from the health listener as a scraper reads them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "the names of the cases that ran are for the reader of the output")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use serde_json::Value;
use support::cases::{Cases, held};
use support::client::{Answer, Request, Wire};
use support::frames;
use support::house::ORIGIN;
use support::{House, PATIENCE, Plan, eventually, within};
use wsgate::config::{LogConfig, LogFormat};
use wsgate::event::{Event, SharedObserver};
use wsgate::telemetry::clock::system_clock;
use wsgate::telemetry::log::Log;
use wsgate::telemetry::queue::{Flushed, WriterGuard};
use wsgate::telemetry::text::misleads;
use wsgate::units::Rate;

/// Bytes of the longest line that there can be: a dozen bounded strings, each escaped.
const LONGEST_LINE: usize = 16 * 1024;

/// What is written to this is kept, and a writer may be made to wait.
#[derive(Clone, Default)]
struct Paper(Arc<(Mutex<Sheet>, Condvar)>);

#[derive(Default)]
struct Sheet {
    bytes: Vec<u8>,
    blocked: bool,
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (sheet, released) = &*self.0;
        let mut sheet = released.wait_while(sheet.lock().unwrap(), |sheet| sheet.blocked).unwrap();
        sheet.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn block(&self, blocked: bool) {
        self.0.0.lock().unwrap().blocked = blocked;
        self.0.1.notify_all();
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().bytes.clone()).expect("a log of UTF-8")
    }
}

/// A house with a log on paper and a health listener.
struct Office {
    house: House,
    paper: Paper,
    writer: WriterGuard,
}

impl Office {
    async fn open(plan: Plan) -> Self {
        Self::with_log(plan, 10_000, "100000/s burst 100000").await
    }

    async fn with_log(plan: Plan, queue: usize, refusals: &str) -> Self {
        let paper = Paper::default();
        let refusals: Rate = refusals.parse().unwrap();
        let config = LogConfig { format: LogFormat::Json, queue, refusals };
        let (log, writer) = Log::start(&config, system_clock(), paper.clone()).unwrap();
        let log: SharedObserver = Arc::new(log);
        let plan = plan.gateway("health = { address = \"127.0.0.1:0\" }").told_to(log);
        Self { house: plan.build().await, paper, writer }
    }

    fn health(&self) -> SocketAddr {
        self.house.gateway.health_address().unwrap()
    }

    /// Sends this to the health listener and reads its answer.
    async fn probe(&self, request: &str) -> Answer {
        probe(self.health(), request).await
    }

    /// The page of metrics.
    async fn metrics(&self) -> String {
        let answer = self.probe("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        let page = String::from_utf8(answer.body).unwrap();
        assert!(page.ends_with("# EOF\n"), "{page}");
        page
    }

    /// Every line of the log, read as JSON, once all is written and the house is empty.
    async fn close(self) -> Vec<Value> {
        self.house.is_at_rest().await;
        self.house.drain().await;
        assert_eq!(self.writer.finish(PATIENCE), Flushed::Whole);
        lines(&self.paper.text())
    }
}

async fn probe(address: SocketAddr, request: &str) -> Answer {
    let mut wire = Wire::over(Wire::tcp_from("127.0.0.1", address).await.unwrap());
    wire.send(request.as_bytes()).await;
    Answer::read(&wire.rest().await.0)
}

/// The lines of a log: each is one JSON object, bounded, with nothing in it that drives a terminal.
fn lines(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "whole lines");
    let lines = text.split_terminator('\n').map(|line| {
        assert!(line.len() < LONGEST_LINE, "{} bytes: {line}", line.len());
        let strange = line.chars().find(|character| misleads(*character));
        assert_eq!(strange, None, "{line}");
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value.is_object(), "{line}");
        value
    });
    lines.collect()
}

/// Every series of a page and its value.
fn series(page: &str) -> BTreeMap<&str, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, value)| (name, value.parse().unwrap())).collect()
}

/// The sum of a family over its labels.
fn total(page: &str, family: &str) -> f64 {
    let of_family = |name: &str| name.split('{').next() == Some(family);
    series(page).iter().filter(|(name, _)| of_family(name)).map(|(_, value)| value).sum()
}

/// One connection, as its client meets it.
#[derive(Clone, Copy, Debug)]
enum Visit {
    Silent,
    PartOfHello,
    PlainHttp,
    PartOfHead,
    Garbage,
    Request(fn(&House) -> Request),
    ClosedByClient,
    LeftByClient,
    BrokenByClient,
}

/// Id, name, the visit, and what must be told: a reason of a refusal, or the cause of a closure.
type Row = (&'static str, &'static str, Visit, &'static str);

#[rustfmt::skip]
const VISITS: &[Row] = &[
    ("OP13", "connects and leaves", Visit::Silent, "client_gone"),
    ("OP13", "leaves amid TLS", Visit::PartOfHello, "tls_failed"),
    ("OP13", "speaks HTTP to TLS", Visit::PlainHttp, "plain_http"),
    ("OP13", "leaves amid the head", Visit::PartOfHead, "head_incomplete"),
    ("OP13", "speaks no HTTP", Visit::Garbage, "head_malformed"),
    ("OP13", "another version", Visit::Request(|house| house.request_with(|request| request.set("Sec-WebSocket-Version", "8"))), "version_unsupported"),
    ("OP13", "another host", Visit::Request(|house| house.request_with(|request| request.set("Host", "other.test"))), "host_not_served"),
    ("OP13", "another path", Visit::Request(|house| house.request_with(|request| request.target("/admin"))), "path_not_served"),
    ("OP13", "another origin", Visit::Request(|house| house.request_with(|request| request.set("Origin", "https://evil.example"))), "origin_not_allowed"),
    ("OP13", "no token", Visit::Request(|house| house.request_with(|request| request.remove("Authorization"))), "credential_missing"),
    ("OP13", "a broken token", Visit::Request(|house| house.request_as("a.b.c")), "token_malformed"),
    ("OP13", "a subject without a place", Visit::Request(|house| house.request_as(&of_nobody(house))), "subject_sessions"),
    ("OP13", "a dead server", Visit::Request(|house| house.request_with(|request| request.target("/dead"))), "backend_unreachable"),
    ("OP13", "closes in order", Visit::ClosedByClient, "closed"),
    ("OP13", "leaves a session", Visit::LeftByClient, "client_lost"),
    ("OP13", "breaks the protocol", Visit::BrokenByClient, "mask_missing"),
];

/// A token of a subject whose only place is taken.
fn of_nobody(house: &House) -> String {
    house.signer.token_with(|claims| drop(claims.insert("sub".into(), "busy".into())))
}

/// The plan of a house in which every visit ends as its row says.
fn crowded() -> Plan {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dead = format!("route.paths = [\"/dead\"]\nupstream.servers = [\"ws://{dead}\"]");
    Plan::plain().policy("limits.connections_per_subject = 1").second_policy("dead", &dead)
}

async fn pay(house: &House, visit: Visit) {
    match visit {
        Visit::Silent => drop(house.tcp().await),
        Visit::PartOfHello => {
            let mut wire = house.plain_wire().await;
            wire.send(&[0x16, 3, 1, 2, 0, 1, 0]).await;
            wire.finish().await;
            wire.rest().await;
        }
        Visit::PlainHttp => {
            let mut wire = house.plain_wire().await;
            wire.send(&house.request().bytes()).await;
            wire.rest().await;
        }
        Visit::PartOfHead | Visit::Garbage => {
            let mut wire = house.wire().await;
            let bytes: &[u8] = if matches!(visit, Visit::Garbage) { b"\x01\x02\r\n\r\n" } else { b"GET /chat HTT" };
            wire.send(bytes).await;
            wire.finish().await;
            wire.rest().await;
        }
        Visit::Request(request) => {
            let mut wire = house.wire().await;
            wire.send(&request(house).bytes()).await;
            wire.rest().await;
        }
        Visit::ClosedByClient | Visit::LeftByClient | Visit::BrokenByClient => {
            let mut wire = house.session().await;
            wire.echoes("one message").await;
            match visit {
                Visit::ClosedByClient => wire.closes(1000).await,
                Visit::LeftByClient => drop(wire),
                _ => {
                    wire.send(&frames::bare(frames::FIN | frames::TEXT, b"unmasked")).await;
                    wire.rest().await;
                }
            }
        }
    }
}

#[tokio::test]
async fn every_connection_has_one_record_and_all_counts_agree() {
    let mut cases = Cases::of("visits");
    let office = Office::open(crowded()).await;
    let house = &office.house;
    let mut busy = house.session_of(&house.request_as(&of_nobody(house))).await.0;
    for (id, name, visit, told) in VISITS {
        let mark = house.record.mark();
        pay(house, *visit).await;
        house.record.wait(name, mark, end).await;
        // When only the busy subject's connection is left, everything that will be told has been told.
        eventually(name, || house.gateway.usage().connections == 1).await;
        let events = house.record.since(mark);
        let ends: Vec<&str> = events.iter().filter_map(end).collect();
        assert_eq!(ends, [*told], "{name}: {events:?}");
        let opened = events.iter().filter(|event| matches!(event, Event::Opened(_))).count();
        let session = events.iter().any(|event| matches!(event, Event::Closed(_)));
        assert_eq!(opened, usize::from(session), "{name}: {events:?}");
        cases.held(id, name);
    }
    busy.closes(1000).await;
    house.is_at_rest().await;
    let page = office.metrics().await;
    let lines = office.close().await;
    agree(&page, &lines);
    cases.all(VISITS.len());
}

/// How an event ends a connection; `None` where it does not.
fn end(event: &Event) -> Option<&'static str> {
    match event {
        Event::Refused(refused) => Some(refused.reason.code()),
        Event::Closed(closure) => Some(closure.cause.code()),
        Event::Opened(_) | Event::Answered(_) | Event::Notice(_) => None,
    }
}

/// The log, the metrics and what the clients of [`VISITS`] did are the same story.
fn agree(page: &str, lines: &[Value]) {
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let [opened, closed, refused] = ["opened", "closed", "refused"].map(of);
    let sessions = 3 + 1;
    assert_eq!([opened.len(), closed.len(), refused.len()], [sessions, sessions, VISITS.len() - 3]);
    let ids = |lines: &[&Value]| lines.iter().map(|line| line["id"].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(ids(&opened), ids(&closed));
    assert_eq!(ids(&[closed.as_slice(), refused.as_slice()].concat()).len(), VISITS.len() + 1, "an id for each");

    for line in opened.iter().chain(&closed).chain(&refused) {
        assert!(line["ts"].as_str().is_some_and(|ts| ts.len() == 24 && ts.ends_with('Z')), "{line}");
        assert_eq!(line["client"], "127.0.0.1", "{line}");
        assert!(line["id"].as_str().unwrap().len() >= 16 && line["age_ms"].is_u64(), "{line}");
        assert!(line["why"].as_str().unwrap().len() > 10 && line["generation"].is_u64(), "{line}");
    }
    for line in opened.iter().chain(&closed) {
        assert!(line["policy"] == "chat" && line["generation"] == 1, "{line}");
        assert!(line["subject"].as_str().unwrap().starts_with("login/"), "{line}");
    }
    for line in &opened {
        assert!(line["path"] == "/chat" && line["origin"] == ORIGIN && line["server"].is_string(), "{line}");
    }
    for line in &closed {
        assert!(line["cause"].is_string() && line["by"].is_string(), "{line}");
        let busy = line["subject"] == "login/busy";
        let messages = u64::from(!busy);
        assert_eq!(line["from_client"]["messages"], messages, "{line}");
        assert_eq!(line["from_backend"]["messages"], messages, "{line}");
    }

    let count = |labels: &str| series(page).get(format!("wsgate_handshakes_total{{{labels}}}").as_str()).copied();
    assert_eq!(count("outcome=\"admitted\",reason=\"none\""), Some(4.0), "{page}");
    for line in &refused {
        let outcome = if line["status"].is_u64() { "refused" } else { "dropped" };
        let reason = line["reason"].as_str().unwrap();
        let told = VISITS.iter().filter(|(.., told)| *told == reason).count();
        let counted = count(&format!("outcome=\"{outcome}\",reason=\"{reason}\""));
        assert_eq!(counted, Some(f64::from(u32::try_from(told).unwrap())), "{reason}");
    }
    let all = f64::from(u32::try_from(VISITS.len() + 1).unwrap());
    assert_eq!(total(page, "wsgate_handshakes_total"), all, "every connection is counted once");
    assert_eq!(total(page, "wsgate_sessions_opened_total"), 4.0);
    assert_eq!(total(page, "wsgate_sessions_closed_total"), 4.0);
    assert_eq!(total(page, "wsgate_sessions"), 0.0);
    assert_eq!(total(page, "wsgate_messages_total"), 6.0, "three messages and their echoes");
}

/// Strings that forge lines, drive terminals, end quotations, turn the reading around, or do not end.
fn hostile() -> Vec<String> {
    let mut strings: Vec<String> =
        ["\r\n{\"event\":\"admitted\"}", "\n", "\u{1b}[2J\u{1b}]0;owned\u{7}", "\"},{\"a\":\""]
            .map(String::from)
            .into();
    strings.extend(
        ["\\u0022\\n\\", "\u{202e}gpj.exe", "\u{2028}\u{85}", "%0d%0a%1b[31m", "\u{0}", "{{}}${jndi:x}"]
            .map(String::from),
    );
    strings.push("x".repeat(1 << 20));
    strings
}

/// Where a hostile string goes.
type Place = (&'static str, fn(&House, &str) -> Request);

const PLACES: [Place; 7] = [
    ("path", |house, text| house.request_with(|request| request.target(format!("/chat/{text}")))),
    ("query", |house, text| house.request_with(|request| request.target(format!("/chat?{text}")))),
    ("origin", |house, text| house.request_with(|request| request.set("Origin", format!("https://{text}")))),
    ("host", |house, text| house.request_with(|request| request.set("Host", text))),
    ("subprotocol", |house, text| house.request_with(|request| request.set("Sec-WebSocket-Protocol", text))),
    ("kid", |house, text| {
        house.request_as(&house.signer.token_headed(|header| drop(header.insert("kid".into(), text.into()))))
    }),
    ("subject", |house, text| {
        house.request_as(&house.signer.token_with(|claims| drop(claims.insert("sub".into(), text.into()))))
    }),
];

#[tokio::test]
async fn hostile_strings_stay_one_valid_bounded_line_each() {
    let mut cases = Cases::of("hostile strings");
    let office =
        Office::open(Plan::plain().gateway("admission.head_size = \"64KiB\"\nadmission.target_size = \"32KiB\"")).await;
    let house = &office.house;
    let strings = hostile();
    let mut visits = 0;
    for (place, request) in PLACES {
        for text in &strings {
            let mark = house.record.mark();
            let mut wire = house.wire().await;
            wire.send(&request(house, text).bytes()).await;
            wire.finish().await;
            wire.rest().await;
            drop(wire);
            house.is_at_rest().await;
            assert_eq!(house.record.since(mark).iter().filter_map(end).count(), 1, "{place} {text:?}");
            visits += 1;
        }
        cases.held("OP09", place);
    }
    for name in ["\u{1b}[31m\r\n\"}.chat", "\u{202e}gpj.chat.tes"] {
        let mut wire = house.plain_wire().await;
        wire.send(&hello_to(name.as_bytes())).await;
        wire.finish().await;
        wire.rest().await;
        visits += 1;
        cases.held("OP09", "the name in a TLS hello");
    }
    house.is_at_rest().await;
    let page = office.metrics().await;
    assert!(page.is_ascii() && !page.contains("jndi") && !page.contains('\u{1b}'), "{page}");
    let lines = office.close().await;
    let ends = lines.iter().filter(|line| line["event"] == "closed" || line["event"] == "refused").count();
    assert_eq!(ends, visits, "a line for each visit");
    let reflected = lines.iter().filter(|line| line.to_string().contains("jndi")).count();
    assert!(reflected >= 3, "hostile strings that are shown are escaped, not left out: {reflected}");
    cases.all(PLACES.len() + 2);
}

/// A TLS hello whose server name holds these bytes.
fn hello_to(name: &[u8]) -> Vec<u8> {
    let stand_in = format!("{}.test", "a".repeat(name.len() - 5));
    let server = ServerName::try_from(stand_in.clone()).unwrap();
    let config = support::certificates::Authority::throwaway().client(&[b"http/1.1"]);
    let mut hello = Vec::new();
    ClientConnection::new(config, server).unwrap().write_tls(&mut hello).unwrap();
    let at = hello.windows(stand_in.len()).position(|window| window == stand_in.as_bytes()).unwrap();
    hello[at..at + name.len()].copy_from_slice(name);
    hello
}

#[tokio::test]
async fn secrets_have_no_hits_anywhere() {
    const COOKIE: &str = "canary-cookie-4f1d9c7a2b";
    const BASIC: &str = "Y2FuYXJ5OmJhc2ljLTRmMWQ5YzdhMmI=";
    const QUERY: &str = "canary-query-4f1d9c7a2b";
    let office = Office::open(Plan::plain()).await;
    let house = &office.house;
    let good = house.signer.token();
    let forged = support::tokens::Signer::es256().token();
    let mut bodies = Vec::new();
    let mut ran = 0;
    for token in [&good, &forged] {
        let bare = house.request_with(|request| request.remove("Authorization"));
        let with = |name: &str, value: String| {
            let mut request = bare.clone();
            request.set(name, value);
            request
        };
        let mut in_query = bare.clone();
        in_query.target(format!("/chat?access_token={token}&x=1"));
        let requests = [
            with("Authorization", format!("Bearer {token}")),
            with("Sec-WebSocket-Protocol", format!("bearer, {token}")),
            with("Cookie", format!("session={token}")),
            in_query,
        ];
        for mut request in requests {
            let cookie = request.value("Cookie").map(|cookie| cookie + "; ").unwrap_or_default();
            request.set("Cookie", format!("{cookie}other={COOKIE}"));
            request.set("X-Api-Key", BASIC);
            if token == &good {
                house.admits(&request).await;
            } else {
                bodies.extend(refusal(house, &request).await);
            }
            ran += 1;
        }
    }
    let ambiguous = house.request_with(|request| request.target(format!("/chat?access_token={good}")));
    bodies.extend(refusal(house, &ambiguous).await);
    for (name, value) in [("Authorization", format!("Basic {BASIC}")), ("Authorization", format!("Bearer {QUERY}"))] {
        bodies.extend(refusal(house, &house.request_with(|request| request.set(name, &value))).await);
    }
    let elsewhere = house.request_with(|request| request.target(format!("/absent?access_token={QUERY}&token={QUERY}")));
    bodies.extend(refusal(house, &elsewhere).await);

    let signatures = [&good, &forged].map(|token| token.rsplit('.').next().unwrap().to_owned());
    let canaries = [COOKIE, BASIC, QUERY, &good, &forged, &signatures[0], &signatures[1]].map(String::from);
    for canary in &canaries {
        house.keeps(canary);
    }
    let page = office.metrics().await;
    let (paper, bodies) = (office.paper.clone(), String::from_utf8_lossy(&bodies).into_owned());
    let lines = office.close().await;
    assert_eq!(lines.iter().filter(|line| line["event"] == "refused").count(), 8, "{lines:?}");
    for (sink, text) in [("the log", paper.text()), ("the metrics", page), ("the answers", bodies)] {
        for canary in &canaries {
            assert!(!text.contains(canary), "{canary} in {sink}");
        }
        assert!(text.len() > 100, "{sink} was searched");
    }
    assert_eq!(ran, 8);
    held("OP10", "secrets have no hits anywhere");
}

/// Every byte that a refused handshake is answered with.
async fn refusal(house: &House, request: &Request) -> Vec<u8> {
    let mut wire = house.wire().await;
    wire.send(&request.bytes()).await;
    let (bytes, _) = wire.rest().await;
    drop(wire);
    assert!(!bytes.starts_with(b"HTTP/1.1 101"), "refused");
    house.is_at_rest().await;
    bytes
}

#[tokio::test]
async fn what_clients_send_makes_no_series() {
    let office = Office::open(Plan::plain()).await;
    let house = &office.house;
    let visit = async |number: usize| {
        let changes: [fn(&mut Request, String); 5] = [
            |request, word| request.target(format!("/{word}?{word}")),
            |request, word| request.set("Origin", format!("https://{word}.example")),
            |request, word| request.method(&word.to_uppercase()),
            |request, word| request.set("Host", format!("{word}.example")),
            |request, word| request.set("Sec-WebSocket-Protocol", word),
        ];
        let request = house.request_with(|request| changes[number % 5](request, format!("word{number}")));
        let mut wire = house.wire().await;
        wire.send(&request.bytes()).await;
        wire.finish().await;
        wire.rest().await;
    };
    for number in 0..5 {
        visit(number).await;
    }
    house.admits(&house.request()).await;
    let before = office.metrics().await;
    for number in 5..105 {
        visit(number).await;
        if number % 10 == 0 {
            let name = format!("word{number}.test");
            assert!(house.try_wire("127.0.0.1", &name).await.is_err(), "no certificate has this name");
            let token = house.signer.token_with(|claims| drop(claims.insert("sub".into(), name.into())));
            house.admits(&house.request_as(&token)).await;
        }
    }
    house.is_at_rest().await;
    let after = office.metrics().await;
    let names = |page: &str| series(page).into_keys().map(String::from).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after));
    let grown = total(&after, "wsgate_handshakes_total") - total(&before, "wsgate_handshakes_total");
    assert_eq!(grown, 120.0, "and all of them are counted");
    held("RX18", "what clients send makes no series");
}

#[tokio::test]
async fn a_flood_of_refusals_is_sampled_and_counted() {
    let office = Office::with_log(Plan::plain(), 10_000, "1/s burst 20").await;
    let request = office.house.request_as("a.b.c");
    for _ in 0..60 {
        refusal(&office.house, &request).await;
    }
    let page = office.metrics().await;
    let lines = office.close().await;
    let written = lines.iter().filter(|line| line["event"] == "refused").count();
    let sums = lines.iter().filter(|line| line["event"] == "refusals_suppressed");
    let suppressed: u64 = sums.map(|line| line["count"].as_u64().unwrap()).sum();
    assert!((10..40).contains(&written), "{written} lines");
    assert_eq!(u64::try_from(written).unwrap() + suppressed, 60);
    assert_eq!(total(&page, "wsgate_handshakes_total"), 60.0);
    held("RX17", "a flood of refusals is sampled and counted");
}

#[tokio::test]
async fn a_blocked_log_delays_nobody_and_its_losses_are_told() {
    const QUEUE: usize = 8;
    let office = Office::with_log(Plan::plain(), QUEUE, "100000/s burst 100000").await;
    office.paper.block(true);
    let house = &office.house;
    let request = house.request_as("a.b.c");
    for _ in 0..60 {
        refusal(house, &request).await;
    }
    house.admits(&house.request()).await;
    let page = office.metrics().await;
    let lost = total(&page, "wsgate_log_lines_lost_total");
    assert!(lost >= 30.0, "{lost} lines are lost and counted");
    assert_eq!(total(&page, "wsgate_handshakes_total"), 61.0, "the metrics lose nothing");
    office.paper.block(false);
    let lines = office.close().await;
    let told: u64 =
        lines.iter().filter(|line| line["event"] == "log_lines_lost").map(|line| line["count"].as_u64().unwrap()).sum();
    let written = lines.iter().filter(|line| line["event"] != "log_lines_lost" && line["event"] != "notice").count();
    let notices = lines.iter().filter(|line| line["event"] == "notice").count();
    // Sixty refusals, one session opened and closed, and the notices of a start and an end.
    let all = 62 + 2;
    assert_eq!(u64::try_from(written + notices).unwrap() + told, all, "{written} {notices} {told}");
    held("RX19", "a blocked log delays nobody and its losses are told");
}

#[tokio::test]
async fn the_health_listener_only_reads_and_tells_the_truth() {
    let office = Office::open(Plan::plain().gateway("drain = \"10s\"")).await;
    let mut cases = Cases::of("health");
    let rows = [
        ("OP11", "alive", "GET /healthz", "127.0.0.1", 200),
        ("OP12", "ready", "GET /readyz", "localhost:9090", 200),
        ("OP11", "the metrics", "GET /metrics", "[::1]", 200),
        ("OP11", "a write", "POST /healthz", "127.0.0.1", 405),
        ("OP11", "a write of metrics", "PUT /metrics", "127.0.0.1", 405),
        ("OP11", "a rebound name", "GET /metrics", "evil.example", 421),
        ("OP11", "no such page", "GET /admin", "127.0.0.1", 404),
    ];
    for (id, name, line, host, status) in rows {
        let answer = office.probe(&format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{name}");
        cases.held(id, name);
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        let request = office.house.request_with(|request| request.target(path));
        office.house.refuses(&request, wsgate::policy::Reason::PathNotServed).await;
        cases.held("OP11", path);
    }
    let health = office.health();
    let mut session = office.house.session().await;
    let draining = office.house.drain();
    let probes = async {
        assert_eq!(session.frame().await.and_then(|frame| frame.close_code()), Some(1001));
        let ready = probe(health, "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
        assert_eq!((ready.status, ready.body.as_slice()), (503, &b"draining\n"[..]));
        let alive = probe(health, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
        assert_eq!(alive.status, 200);
        drop(session);
    };
    within("probes under drain", async { tokio::join!(draining, probes) }).await;
    cases.held("OP12", "not ready while draining");
    cases.all(rows.len() + 4);
}
