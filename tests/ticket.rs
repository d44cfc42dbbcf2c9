//! Tickets: what a page buys with its credential opens one session, once, in time, where it was bought for; and renewal,
//! by which a session lives on with a fresher credential.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::disallowed_methods, reason = "tests own clocks and tasks of their own")]
#![allow(clippy::type_complexity, reason = "a table of cases is plainest with its columns in sight")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use support::admin::{self, ADMIN, tell};
use support::backend::{SWITCHING, Seen, Step};
use support::frames::{CLOSE, FIN, close_body, masked};
use support::house::{HOST, ORIGIN};
use support::time::{Stopped, passes};
use support::tokens::{Signer, now};
use support::{Answer, Cases, House, Plan, Request, Wire, cases, nobody_listens, within};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use wsgate::event::Event;
use wsgate::policy::Reason;
use wsgate::session::Cause;

const ID: &str = "f81d4fae-7dec-41d0-a765-00a0c91e6bf6";
const OTHER_ORIGIN: &str = "https://other.test";

/// Header and cookie buy, and the query carries tickets.
const WAYS: &str = "[[auth]]\nby = \"jwt\"\nissuer = \"login\"\nfrom = [\"authorization\", \"cookie:session\"]\n\
                    audience = [\"chat\"]\nleeway = \"1s\"\n[[auth]]\nby = \"ticket\"\nfrom = [\"query:ticket\"]\n";

fn plan() -> Plan {
    Plan::plain().policy(WAYS).policy("[origin]\nallow = [\"https://app.test\", \"https://other.test\"]")
}

/// A call as a page makes it.
fn call(target: &str, token: Option<&str>) -> Request {
    let mut call = Request::good(HOST, target);
    call.method("POST");
    for name in ["Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"] {
        call.remove(name);
    }
    call.set("Origin", ORIGIN);
    call.set("Content-Length", "0");
    if let Some(token) = token {
        call.set("Authorization", format!("Bearer {token}"));
    }
    call
}

fn for_ticket(house: &House) -> Request {
    call("/.wsgate/ticket?path=/chat", Some(&house.signer.token()))
}

fn with(mut request: Request, change: impl FnOnce(&mut Request)) -> Request {
    change(&mut request);
    request
}

/// What a call is answered, to the end of the connection.
async fn asks(house: &House, call: &Request) -> Answer {
    let mut wire = house.wire().await;
    wire.send(&call.bytes()).await;
    Answer::read(&wire.rest().await.0)
}

/// A call that is answered with what it asked for.
async fn gets(house: &House, call: &Request) -> Value {
    let mark = house.record.mark();
    let heard = house.backend.connections();
    let answer = asks(house, call).await;
    assert_eq!(answer.status, 200, "{}\n{}", answer.head, String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.one("connection"), Some("close"));
    assert_eq!(answer.one("cache-control"), Some("no-store"));
    assert_eq!(answer.one("content-type"), Some("application/json"));
    house.record.answered(mark).await;
    assert!(matches!(house.record.since(mark).as_slice(), [Event::Answered(_), ..]), "one record");
    assert_eq!(house.backend.connections(), heard, "no backend hears of a call");
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// A call that is refused for this reason.
async fn refused(house: &House, call: &Request, reason: Reason) -> Answer {
    let (mark, heard) = (house.record.mark(), house.backend.connections());
    let answer = asks(house, call).await;
    let told = house.record.refused(mark).await;
    assert_eq!(told.reason, reason, "{:?}", told.detail);
    assert_eq!(reason.answer(), wsgate::policy::refusal::Answer::Status(answer.status));
    assert_eq!(answer.one("connection"), Some("close"));
    assert_eq!(house.backend.connections(), heard, "no backend hears of a call");
    answer
}

fn text(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap_or_else(|| panic!("{name} in {answer}")).to_owned()
}

/// The ticket that a call buys.
async fn buys(house: &House, call: &Request) -> String {
    text(&gets(house, call).await, "ticket")
}

/// The handshake of a page that shows a ticket.
fn showing(ticket: &str) -> Request {
    let mut request = Request::good(HOST, &format!("/chat?ticket={ticket}"));
    request.set("Origin", ORIGIN);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_one_session_of_whoever_bought_it() {
    let house = plan().policy("[upstream]\nidentity = { x-user-id = \"/sub\" }").build().await;
    let mut cases = Cases::of("tickets");
    let cookie = with(for_ticket(&house), |call| {
        call.remove("Authorization");
        call.set("Cookie", format!("session={}", house.signer.token()));
        call.set("Sec-Fetch-Mode", "cors");
    });
    for (name, call) in [("bought with a token", for_ticket(&house)), ("bought with a cookie", cookie)] {
        let answer = gets(&house, &call).await;
        let ticket = text(&answer, "ticket");
        assert!(ticket.len() >= 43, "at least 128 bits");
        assert!((now() + 25..=now() + 30).contains(&answer["expires"].as_u64().unwrap()), "{answer}");
        house
            .admits(&with(showing(&ticket), |request| request.target(format!("/chat?a=1&ticket={ticket}&b=%20"))))
            .await;
        let seen = house.backend.last().request();
        assert_eq!(seen.line, "GET /chat?a=1&b=%20 HTTP/1.1", "the ticket is taken out");
        assert_eq!(seen.one("x-user-id"), Some("alice"), "{name}");
        assert!(seen.one("x-wsgate-session-until").unwrap().parse::<u64>().unwrap() <= now() + 301, "its lease");
        let opened = house.record.since(0).into_iter().rev().find_map(|event| match event {
            Event::Opened(opened) => opened.who.subject,
            _ => None,
        });
        assert_eq!(opened.as_deref(), Some("login/alice"));
        house.refuses(&showing(&ticket), Reason::TicketUnknown).await;
        cases.held("AU26", "a ticket that was used");
        house.keeps(&ticket);
        cases.held("AU22", name);
    }
    cases.all(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_show_it_at_once_exactly_one_comes_in() {
    const CLIENTS: usize = 8;
    let house = Arc::new(plan().build().await);
    for _ in 0..5 {
        let request = showing(&buys(&house, &for_ticket(&house)).await).bytes();
        let start = Arc::new(Barrier::new(CLIENTS));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (house, start, request) = (Arc::clone(&house), Arc::clone(&start), request.clone());
            clients.spawn(async move {
                let mut wire = house.wire().await;
                start.wait().await;
                wire.send(&request).await;
                wire.answer_head().await.status
            });
        }
        let mut statuses = clients.join_all().await;
        statuses.sort_unstable();
        assert_eq!(statuses.iter().filter(|status| **status == 101).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 401).count(), CLIENTS - 1, "{statuses:?}");
        house.is_at_rest().await;
    }
    cases::held("AU26", "a ticket shown by several at the same moment");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_nothing_but_what_it_was_bought_for() {
    let house = plan().second_policy("other", "[route]\npaths = [\"/other\"]").build().await;
    let mut cases = Cases::of("tickets elsewhere");
    let elsewhere: [(&str, fn(&mut Request, &str)); 5] = [
        ("another page", |request, _| request.set("Origin", OTHER_ORIGIN)),
        ("no page", |request, _| request.remove("Origin")),
        ("another route", |request, ticket| request.target(format!("/other?ticket={ticket}"))),
        ("another path of the route", |request, ticket| request.target(format!("/chat/room?ticket={ticket}"))),
        ("one letter", |request, ticket| request.target(format!("/chat?ticket={ticket}x"))),
    ];
    for (name, change) in elsewhere {
        let ticket = buys(&house, &for_ticket(&house)).await;
        house.refuses(&with(showing(&ticket), |request| change(request, &ticket)), Reason::TicketUnknown).await;
        if name != "one letter" {
            house.refuses(&showing(&ticket), Reason::TicketUnknown).await;
        }
        house.admits(&showing(&buys(&house, &for_ticket(&house)).await)).await;
        cases.held("AU26", name);
    }
    let ticket = buys(&house, &for_ticket(&house)).await;
    let two =
        with(showing(&ticket), |request| request.set("Authorization", format!("Bearer {}", house.signer.token())));
    house.refuses(&two, Reason::CredentialAmbiguous).await;
    cases.held("AU26", "beside a token");
    house.refuses(&showing(&ticket), Reason::TicketUnknown).await;
    let (one, two) = (buys(&house, &for_ticket(&house)).await, buys(&house, &for_ticket(&house)).await);
    let both = with(showing(&one), |request| request.target(format!("/chat?ticket={one}&ticket={two}")));
    house.refuses(&both, Reason::CredentialAmbiguous).await;
    for ticket in [one, two] {
        house.refuses(&showing(&ticket), Reason::TicketUnknown).await;
    }
    cases.held("AU26", "two in one query");
    let ticket = buys(&house, &for_ticket(&house)).await;
    let unlisted = with(showing(&ticket), |request| request.set("Origin", "https://evil.test"));
    house.refuses(&unlisted, Reason::OriginNotAllowed).await;
    house.admits(&showing(&ticket)).await;
    cases.held("AU26", "another site's page, whose credential nobody looks at");
    house.refuses(&with(showing("x"), |request| request.target("/chat")), Reason::CredentialMissing).await;
    cases.held("AU26", "no ticket");
    cases.all(elsewhere.len() + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_come_in_buys_nothing() {
    let house = plan().build().await;
    let stranger = Signer::es256().token();
    #[rustfmt::skip]
    let wrong: [(&str, &str, Box<dyn Fn(&mut Request)>, Reason); 27] = [
        ("OR25", "another site's page with a cookie", Box::new(|call| { call.remove("Authorization"); call.set("Cookie", "session=x"); call.set("Origin", "https://evil.test"); }), Reason::OriginNotAllowed),
        ("OR25", "another site's page with a token", Box::new(|call| call.set("Origin", "https://evil.test")), Reason::OriginNotAllowed),
        ("OR25", "a page without an origin", Box::new(|call| call.set("Origin", "null")), Reason::OriginNotAllowed),
        ("OR25", "a cookie and no Origin", Box::new(|call| { call.remove("Origin"); call.set("Cookie", "session=x"); }), Reason::OriginMissing),
        ("OR25", "a form", Box::new(|call| call.set("Sec-Fetch-Mode", "navigate")), Reason::FetchMetadata),
        ("AU26", "no credential", Box::new(|call| call.remove("Authorization")), Reason::CredentialMissing),
        ("AU26", "a stranger's token", Box::new(move |call| call.set("Authorization", format!("Bearer {stranger}"))), Reason::TokenSignature),
        ("AU26", "two tokens", Box::new(|call| call.append("Authorization", "Bearer x")), Reason::CredentialAmbiguous),
        ("AU26", "a ticket", Box::new(|call| { call.remove("Authorization"); call.target("/.wsgate/ticket?path=/chat&ticket=x"); }), Reason::CallMalformed),
        ("AU26", "GET", Box::new(|call| call.method("GET")), Reason::CallMethod),
        ("AU26", "PUT", Box::new(|call| call.method("PUT")), Reason::CallMethod),
        ("AU26", "another service", Box::new(|call| call.target("/.wsgate/tickets?path=/chat")), Reason::PathNotServed),
        ("AU26", "the folder itself", Box::new(|call| call.target("/.wsgate/?path=/chat")), Reason::PathNotServed),
        ("AU26", "no path", Box::new(|call| call.target("/.wsgate/ticket")), Reason::CallMalformed),
        ("AU26", "two paths", Box::new(|call| call.target("/.wsgate/ticket?path=/chat&path=/chat")), Reason::CallMalformed),
        ("AU26", "a path that is not canonical", Box::new(|call| call.target("/.wsgate/ticket?path=/x/../chat")), Reason::TargetNotCanonical),
        ("AU26", "a path that nobody serves", Box::new(|call| call.target("/.wsgate/ticket?path=/talk")), Reason::PathNotServed),
        ("AU26", "another host", Box::new(|call| call.set("Host", "evil.test")), Reason::HostNotServed),
        ("AU26", "a body", Box::new(|call| { call.set("Content-Length", "2"); call.tail("{}"); }), Reason::BodyPresent),
        ("AU26", "a chunked body", Box::new(|call| { call.remove("Content-Length"); call.set("Transfer-Encoding", "chunked"); call.tail("0\r\n\r\n"); }), Reason::BodyPresent),
        ("AU26", "bytes behind the head", Box::new(|call| call.tail("GET / HTTP/1.1\r\n\r\n")), Reason::EarlyBytes),
        ("AU26", "Expect", Box::new(|call| call.set("Expect", "100-continue")), Reason::ExpectPresent),
        ("AU26", "a field that Connection names", Box::new(|call| call.set("Connection", "authorization")), Reason::ConnectionInvalid),
        ("AU26", "an ambiguous name", Box::new(|call| call.set("X_Forwarded_For", "1.2.3.4")), Reason::HeaderAmbiguous),
        ("AU26", "HTTP/1.0", Box::new(|call| call.version("HTTP/1.0")), Reason::HttpVersion),
        ("AU26", "POST with Upgrade", Box::new(|call| call.set("Upgrade", "websocket")), Reason::MethodNotAllowed),
        ("AU26", "absolute form", Box::new(|call| call.target("https://chat.test/.wsgate/ticket?path=/chat")), Reason::MethodNotAllowed),
    ];
    let mut cases = Cases::of("calls");
    for (id, name, change, reason) in &wrong {
        let answer = refused(&house, &with(for_ticket(&house), |call| change(call)), *reason).await;
        assert!(!String::from_utf8_lossy(&answer.body).contains("ticket\""), "{name}");
        // Whether a page may read it depends on its Origin alone.
        let is_read =
            matches!(reason, Reason::CredentialMissing | Reason::TokenSignature | Reason::CredentialAmbiguous);
        assert_eq!(answer.one("access-control-allow-origin"), is_read.then_some(ORIGIN), "{name}");
        cases.held(id, name);
    }
    buys(&house, &for_ticket(&house)).await;
    buys(&house, &with(for_ticket(&house), |call| call.remove("Origin"))).await;
    let handshake = house.request_with(|request| request.target("/.wsgate/ticket?path=/chat"));
    house.refuses(&handshake, Reason::PathNotServed).await;
    cases.held("AU26", "a handshake on a path of ours");
    house.is_at_rest().await;
    cases.all(wrong.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_policy_serves_our_own_paths() {
    let house = plan().policy("[route]\npaths = [\"/*\"]").build().await;
    let handshake = house.request_with(|request| request.target("/.wsgate/renew"));
    house.refuses(&handshake, Reason::PathNotServed).await;
    house.admits(&house.request_with(|request| request.target("/.wsgates"))).await;
    cases::held("AU26", "a handshake on a path of ours, where a policy serves all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_told_whether_it_may_ask() {
    let house = plan().build().await;
    let preflight = |origin: &str| {
        with(for_ticket(&house), |call| {
            call.method("OPTIONS");
            call.remove("Authorization");
            call.remove("Content-Length");
            call.set("Origin", origin);
            call.set("Access-Control-Request-Method", "POST");
            call.set("Access-Control-Request-Headers", "authorization");
        })
    };
    let mut cases = Cases::of("preflights");
    for origin in [ORIGIN, OTHER_ORIGIN] {
        let answer = asks(&house, &preflight(origin)).await;
        assert_eq!((answer.status, answer.body.as_slice()), (204, b"".as_slice()));
        assert_eq!(answer.one("access-control-allow-origin"), Some(origin), "exactly");
        assert_eq!(answer.one("access-control-allow-credentials"), Some("true"), "a cookie is a carrier");
        assert_eq!(answer.one("access-control-allow-methods"), Some("POST"));
        assert_eq!(answer.one("access-control-allow-headers"), Some("authorization"));
        assert_eq!(answer.one("access-control-expose-headers"), None, "that is for the answer to the call");
        assert_eq!(answer.one("vary"), Some("Origin"));
        cases.held("OR25", origin);
    }
    for (origin, reason) in [("https://evil.test", Reason::OriginNotAllowed), ("null", Reason::OriginNotAllowed)] {
        let answer = refused(&house, &preflight(origin), reason).await;
        assert!(!answer.head.to_ascii_lowercase().contains("access-control"), "{}", answer.head);
        cases.held("OR25", origin);
    }
    let nobody = with(preflight(ORIGIN), |call| call.remove("Origin"));
    let answer = refused(&house, &nobody, Reason::OriginMissing).await;
    assert!(!answer.head.to_ascii_lowercase().contains("access-control"), "{}", answer.head);
    cases.held("OR25", "nobody asks");
    let headers = WAYS.replace(", \"cookie:session\"", "");
    let house = Plan::plain().policy(&headers).build().await;
    let answer = asks(&house, &for_ticket(&house)).await;
    assert_eq!((answer.status, answer.one("access-control-allow-origin")), (200, Some(ORIGIN)));
    assert_eq!(answer.one("access-control-allow-credentials"), None, "no cookie is a carrier");
    cases.held("OR25", "where no cookie counts");
    cases.all(6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_uses_none_buys_no_more() {
    let house = plan().build().await;
    for _ in 0..32 {
        buys(&house, &for_ticket(&house)).await;
    }
    let answer = refused(&house, &for_ticket(&house), Reason::TicketsUnused).await;
    assert_eq!(answer.status, 429);
    assert!(answer.one("retry-after").is_some());
    assert_eq!(answer.one("access-control-expose-headers"), Some("Retry-After"), "its page may read when to come back");
    let bob = house.signer.token_with(|claims| drop(claims.insert("sub".into(), json!("bob"))));
    house.admits(&showing(&buys(&house, &call("/.wsgate/ticket?path=/chat", Some(&bob))).await)).await;
    cases::held("AU26", "a subject that keeps its tickets");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_charged_as_handshakes_are() {
    let mut cases = Cases::of("charges of calls");
    let spend = "[address]\nfailures = \"1/h burst 3\"";
    let house = plan().gateway(spend).build().await;
    let wrong = call("/.wsgate/ticket?path=/chat", Some(&Signer::es256().token()));
    for _ in 0..3 {
        refused(&house, &wrong, Reason::TokenSignature).await;
    }
    refused(&house, &for_ticket(&house), Reason::AddressFailures).await;
    house.refuses(&house.request(), Reason::AddressFailures).await;
    cases.held("AU26", "failed attempts");
    let house = plan().policy("[limits]\nhandshakes_per_subject = \"1/h burst 2\"").build().await;
    buys(&house, &for_ticket(&house)).await;
    buys(&house, &for_ticket(&house)).await;
    refused(&house, &for_ticket(&house), Reason::SubjectRate).await;
    house.admits(&house.request()).await;
    cases.held("AU26", "a subject's rate");
    cases.all(2);
}

#[test]
fn a_ticket_that_nobody_can_buy_is_refused_at_load() {
    plan().loads();
    let header = "by = \"jwt\"\nissuer = \"login\"\naudience = [\"chat\"]\n";
    let ticket = |from: &str| format!("[[auth]]\nby = \"ticket\"\nfrom = [\"{from}\"]\n");
    let jwt = |from: &str| format!("[[auth]]\n{header}from = [\"{from}\"]\n");
    let wrong = [
        (ticket("query:ticket"), "nobody can buy a ticket here"),
        (jwt("query:token") + &ticket("query:ticket"), "nobody can buy a ticket here"),
        (jwt("authorization") + &ticket("cookie:ticket"), "a ticket does not travel in `cookie:ticket`"),
        (jwt("authorization") + &ticket("authorization"), "a ticket does not travel in `authorization`"),
        (jwt("authorization") + &jwt("query:t") + &ticket("query:t"), "a token may travel where a ticket does"),
        (ticket("query:ticket") + "[[auth]]\nby = \"backend\"\n", "stands beside others"),
    ];
    let mut cases = Cases::of("tickets at load");
    for (ways, says) in &wrong {
        let said = Plan::plain().policy(ways).refused_at_load();
        assert!(said.contains(says), "{ways}: {said}");
        cases.held("AU26", says);
    }
    cases.all(wrong.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_tickets_are_taken_none_is_sold() {
    let house = House::plain().await;
    refused(&house, &for_ticket(&house), Reason::TicketsNotSold).await;
    cases::held("AU26", "a policy without tickets");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_ticket_is_judged_again_by_what_bought_it() {
    let house = plan().build().await;
    let (mut session, _) = house.session_of(&showing(&buys(&house, &for_ticket(&house)).await)).await;
    let mark = house.record.mark();
    house.rewrite("policies/chat.toml", "[session]\nidle_timeout = \"30m\"");
    let judged = house.reloads().await.judged;
    assert_eq!((judged.sessions, judged.ended.len()), (1, 0), "the ticket is gone, the token is not");
    session.echoes("still here").await;
    std::fs::write(house.folder.path().join("certs/login.pem"), Signer::es256().public_pem()).unwrap();
    session.is_closed_with(4403).await;
    drop(session);
    assert_eq!(house.closure(mark).await.cause, Cause::Revoked);
    cases::held("AU26", "a ticket whose token's key was taken out");
}

/// A handshake with a token that ends in so many seconds, of a session that is called so.
fn called(house: &House, id: &str, seconds: u64) -> Request {
    let token = house.signer.token_with(|claims| drop(claims.insert("exp".into(), json!(now() + seconds))));
    with(house.request_as(&token), |request| request.target(format!("/chat?wsgate_session={id}&a=1")))
}

fn renewal(id: &str, token: &str) -> Request {
    call(&format!("/.wsgate/renew?path=/chat&session={id}"), Some(token))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_session_outlives_its_first_token() {
    let house = plan().build().await;
    let mut cases = Cases::of("renewals");
    for (name, renewed) in [("it ends with its token", false), ("it goes on with a fresh one", true)] {
        let mark = house.record.mark();
        let (mut session, _) = house.session_of(&called(&house, ID, 4)).await;
        assert_eq!(house.backend.last().request().line, "GET /chat?a=1 HTTP/1.1", "no backend sees the id");
        if renewed {
            let answer = gets(&house, &renewal(ID, &house.signer.token())).await;
            assert_eq!(text(&answer, "session"), ID);
            let expires = answer["expires"].as_u64().unwrap();
            assert!((now() + 295..=now() + 301).contains(&expires), "{answer}");
            let past = tokio::time::timeout(Duration::from_secs(6), session.frame()).await;
            assert!(past.is_err(), "nothing ends it: {past:?}");
            session.echoes("my first token is over").await;
            session.closes(1000).await;
            drop(session);
            assert_eq!(house.closure(mark).await.cause, Cause::Closed);
        } else {
            session.is_closed_with(4401).await;
            drop(session);
            assert_eq!(house.closure(mark).await.cause, Cause::CredentialExpired);
        }
        cases.held("AU28", name);
    }
    cases.all(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_own_subject_renews_a_session_and_nobody_learns_of_another() {
    let house = plan().second_policy("other", "[route]\npaths = [\"/other\"]").build().await;
    let (mut session, _) = house.session_of(&called(&house, ID, 300)).await;
    let bob = house.signer.token_with(|claims| drop(claims.insert("sub".into(), json!("bob"))));
    let alice = house.signer.token();
    let mut cases = Cases::of("renewals that are none");
    let unknown = "00000000-0000-4000-8000-000000000001";
    let mut answers = Vec::new();
    for (name, call) in [
        ("a session that is not here", renewal(unknown, &alice)),
        ("another subject's", renewal(ID, &bob)),
        ("another route's", call(&format!("/.wsgate/renew?path=/other&session={ID}"), Some(&alice))),
    ] {
        let answer = refused(&house, &call, Reason::UnknownSession).await;
        let body = String::from_utf8(answer.body.clone()).unwrap();
        assert!(body.starts_with("unknown_session "), "{body}");
        let head: Vec<_> = answer.headers.into_iter().filter(|(name, _)| name != "content-length").collect();
        answers.push((answer.status, head));
        cases.held("AU28", name);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "one answer for all: {answers:?}");
    #[rustfmt::skip]
    let wrong = [
        ("no token", with(renewal(ID, &alice), |call| call.remove("Authorization")), Reason::CredentialMissing),
        ("a stranger's token", renewal(ID, &Signer::es256().token()), Reason::TokenSignature),
        ("no id", call("/.wsgate/renew?path=/chat", Some(&alice)), Reason::CallMalformed),
        ("an id that is none", renewal("x", &alice), Reason::SessionIdMalformed),
        ("another page", with(renewal(ID, &alice), |call| call.set("Origin", "https://evil.test")), Reason::OriginNotAllowed),
    ];
    for (name, call, reason) in &wrong {
        refused(&house, call, *reason).await;
        cases.held("AU28", name);
    }
    gets(&house, &renewal(ID, &alice)).await;
    session.echoes("renewed at last").await;
    drop(session);
    house.is_at_rest().await;
    refused(&house, &renewal(ID, &alice), Reason::UnknownSession).await;
    cases.held("AU28", "a session that is gone");
    cases.all(3 + wrong.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_ending_is_renewed_no_longer() {
    let house = plan().gateway(ADMIN).policy("[session]\nclose_timeout = \"30s\"").build().await;
    let mut cases = Cases::of("renewals of sessions that are ending");
    for (name, seconds, code) in [("its lease is over", 3, 4401), ("it is ended by a call", 300, 4403)] {
        let mark = house.record.mark();
        let (mut session, _) = house.session_of(&called(&house, ID, seconds)).await;
        let id = house.record.opened(mark).await.who.id;
        if seconds == 300 {
            gets(&house, &renewal(ID, &house.signer.token())).await;
            session.echoes("the twin: it was renewed").await;
            assert_eq!(admin::call(&house, "DELETE", &format!("/api/sessions/{id}"), "", "").await.0, 200);
        }
        // It is told, and says nothing.
        assert_eq!(session.frame().await.and_then(|frame| frame.close_code()), Some(code), "{name}");
        refused(&house, &renewal(ID, &house.signer.token()), Reason::UnknownSession).await;
        cases.held("AU28", name);
        drop(session);
        house.is_at_rest().await;
    }
    cases.all(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_one_id_and_an_id_one_session() {
    let house = plan().build().await;
    let mut cases = Cases::of("ids of sessions");
    let named = |query: &str| house.request_with(|request| request.target(format!("/chat?{query}")));
    let wrong = [
        ("twice", format!("wsgate_session={ID}&wsgate_session={ID}")),
        ("no UUID", format!("wsgate_session={}", &ID[1..])),
        ("empty", String::from("wsgate_session=")),
    ];
    for (name, query) in &wrong {
        house.refuses(&named(query), Reason::SessionIdMalformed).await;
        cases.held("AU28", name);
    }
    let ticket = buys(&house, &for_ticket(&house)).await;
    let both = with(showing(&ticket), |request| request.target(format!("/chat?ticket={ticket}&wsgate_session={ID}")));
    house.refuses(&both, Reason::SessionIdMalformed).await;
    house.refuses(&showing(&ticket), Reason::TicketUnknown).await;
    cases.held("AU28", "beside a ticket, which is used up");
    let (session, _) = house.session_of(&named(&format!("wsgate_session={ID}"))).await;
    let mark = house.record.mark();
    let mut second = house.wire().await;
    let request = named(&format!("wsgate_session={}", ID.to_uppercase()));
    second.send(&request.bytes()).await;
    Answer::read(&second.rest().await.0).is_refusal(409, &request);
    assert_eq!(house.record.refused(mark).await.reason, Reason::SessionIdTaken);
    cases.held("AU28", "an id that is taken");
    drop((session, second));
    house.is_at_rest().await;
    house.admits(&named(&format!("wsgate_session={ID}"))).await;
    cases.all(wrong.len() + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_handshakes_with_one_id_one_comes_in() {
    let script = vec![Step::Head, Step::Gate, Step::Send(SWITCHING.into()), Step::Echo];
    let house = plan().script(script).build().await;
    let (mut first, mut second) = (house.wire().await, house.wire().await);
    for wire in [&mut first, &mut second] {
        wire.send(&called(&house, ID, 300).bytes()).await;
    }
    let both = |seen: &[Seen]| seen.iter().filter(|one| !one.head.is_empty()).count() == 2;
    house.backend.wait("both handshakes are at the backend", both).await;
    house.backend.release();
    house.backend.release();
    let mut statuses = [first.answer_head().await.status, second.answer_head().await.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [101, 409]);
    drop((first, second));
    house.is_at_rest().await;
    cases::held("AU28", "two handshakes under way with one id");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_session_is_judged_again_by_its_fresh_token() {
    let house = plan().build().await;
    let answer = gets(&house, &for_ticket(&house)).await;
    let (ticket, id) = (text(&answer, "ticket"), text(&answer, "session"));
    let (mut session, _) = house.session_of(&showing(&ticket)).await;
    let spared = house.signer.token_with(|claims| drop(claims.insert("scope".into(), json!("chat:join chat:vip"))));
    house.rewrite("policies/chat.toml", &WAYS.replace("audience", "require = { \"/scope\" = \"chat:vip\" }\naudience"));
    gets(&house, &renewal(&id, &spared)).await;
    let judged = house.reloads().await.judged;
    assert_eq!((judged.sessions, judged.ended.len()), (1, 0), "by its fresh token it may stay");
    session.echoes("I may stay").await;
    let plain = house.signer.token();
    refused(&house, &renewal(&id, &plain), Reason::ClaimRequired).await;
    session.echoes("and a worse token changes nothing").await;
    drop(session);
    house.is_at_rest().await;
    cases::held("OP06", "a session that was renewed");
}

/// A token of this subject, issued so many seconds ago, with this id.
fn token_of(house: &House, subject: &str, age: u64, id: &str) -> String {
    house.signer.token_with(|claims| {
        claims.insert("sub".into(), json!(subject));
        claims.insert("iat".into(), json!(now() - age));
        claims.insert("nbf".into(), json!(now() - age));
        claims.insert("jti".into(), json!(id));
    })
}

/// A session of alice's by this token, which is renewed with that one where there is one.
async fn session_by(house: &House, first: &str, fresh: Option<&str>) -> Wire {
    let named = with(house.request_as(first), |request| request.target(format!("/chat?wsgate_session={ID}")));
    let session = house.session_of(&named).await.0;
    if let Some(fresh) = fresh {
        gets(house, &renewal(ID, fresh)).await;
    }
    session
}

/// Revokes, or lifts whole (`DELETE`); how many sessions that ended.
async fn orders(house: &House, method: &str, body: &Value) -> Option<u64> {
    let mut body = body.clone();
    if method == "DELETE" {
        body.as_object_mut().unwrap().remove("since");
    }
    let (status, told) = tell(house, method, "/api/revoke", &body).await;
    assert_eq!(status, 200, "{body}: {told}");
    told["ended"].as_u64()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_session_is_revoked_by_its_fresh_token_and_no_longer_by_its_first() {
    let id = |id: &str| json!({ "token_id": id });
    let since = |age: u64| json!({ "subject": "alice", "since": now() - age });
    type Order<'o> = &'o dyn Fn() -> Value;
    #[rustfmt::skip]
    let rows: [(&str, Order, bool, u64); 7] = [
        ("its first token's id", &|| id("first"), true, 0),
        ("its fresh token's id", &|| id("fresh"), true, 1),
        ("a subject's tokens up to the first", &|| since(300), true, 0),
        ("a subject's tokens up to the fresh one", &|| since(5), true, 1),
        ("the first token's id without a renewal", &|| id("first"), false, 1),
        ("the fresh token's id without a renewal", &|| id("fresh"), false, 0),
        ("a subject's tokens up to the first, without a renewal", &|| since(300), false, 1),
    ];
    let mut cases = Cases::of("revocations of renewed sessions");
    for (name, order, is_renewed, ended) in &rows {
        let house = plan().gateway(ADMIN).build().await;
        let tokens = [token_of(&house, "alice", 600, "first"), token_of(&house, "alice", 10, "fresh")];
        let mut session = session_by(&house, &tokens[0], is_renewed.then_some(tokens[1].as_str())).await;
        assert_eq!(orders(&house, "POST", &order()).await, Some(*ended), "{name}");
        if *ended == 0 {
            session.echoes("that token is nothing to me").await;
        } else {
            session.is_closed_with(4403).await;
        }
        drop(session);
        house.is_at_rest().await;
        cases.held("AU28", name);
    }
    cases.all(rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_buys_nothing() {
    use Reason::{AccessRevoked, CredentialRevoked};
    let rows = [
        ("its subject", json!({ "subject": "alice" }), CredentialRevoked),
        ("its token", json!({ "token_id": "t-alice" }), CredentialRevoked),
        ("its network", json!({ "address": "127.0.0.1" }), AccessRevoked),
        ("its policy", json!({ "policy": "chat" }), AccessRevoked),
    ];
    let house = plan().gateway(ADMIN).build().await;
    let [alice, bob] = ["alice", "bob"]
        .map(|who| call("/.wsgate/ticket?path=/chat", Some(&token_of(&house, who, 60, &format!("t-{who}")))));
    let mut cases = Cases::of("tickets for what was revoked");
    for (name, body, reason) in &rows {
        buys(&house, &alice).await;
        orders(&house, "POST", body).await;
        let answer = refused(&house, &alice, *reason).await;
        assert_eq!(answer.one("access-control-allow-origin"), Some(ORIGIN), "{name}: its page may read that");
        if *reason == CredentialRevoked {
            buys(&house, &bob).await;
        }
        orders(&house, "DELETE", body).await;
        buys(&house, &alice).await;
        cases.held("AU28", name);
    }
    cases.all(rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_renews_nothing_and_ends_nothing_of_a_token_that_holds() {
    let house = plan().gateway(ADMIN).build().await;
    let [first, lost, good] = ["first", "lost", "good"].map(|id| token_of(&house, "alice", 60, id));
    let mut session = session_by(&house, &first, None).await;
    let order = json!({ "token_id": "lost" });
    assert_eq!(orders(&house, "POST", &order).await, Some(0));
    refused(&house, &renewal(ID, &lost), Reason::CredentialRevoked).await;
    session.echoes("what was refused is none of mine").await;
    gets(&house, &renewal(ID, &good)).await;
    orders(&house, "DELETE", &order).await;
    gets(&house, &renewal(ID, &lost)).await;
    session.echoes("the twin: it was lifted").await;
    assert_eq!(orders(&house, "POST", &order).await, Some(1), "now it is");
    session.is_closed_with(4403).await;
    drop(session);
    house.is_at_rest().await;
    cases::held("AU28", "a renewal with a token that was revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_nothing_once_what_bought_it_was_revoked() {
    use Reason::{AccessRevoked, CredentialRevoked};
    let rows = [
        ("its subject", json!({ "subject": "alice", "since": now() - 30 }), CredentialRevoked),
        ("its token", json!({ "token_id": "t-alice" }), CredentialRevoked),
        ("its network", json!({ "address": "127.0.0.1" }), AccessRevoked),
        ("its policy", json!({ "policy": "chat" }), AccessRevoked),
    ];
    let house = plan().gateway(ADMIN).build().await;
    let buyer =
        |who: &str, age: u64, id: &str| call("/.wsgate/ticket?path=/chat", Some(&token_of(&house, who, age, id)));
    let (alice, again, bob) = (buyer("alice", 60, "t-alice"), buyer("alice", 10, "t-again"), buyer("bob", 60, "t-bob"));
    let mut cases = Cases::of("tickets of what was revoked");
    for (name, body, reason) in &rows {
        let (lost, later) = (buys(&house, &alice).await, buys(&house, &alice).await);
        let others = [buys(&house, &again).await, buys(&house, &bob).await];
        assert_eq!(orders(&house, "POST", body).await, Some(0), "{name}: a ticket is no session");
        house.refuses(&showing(&lost), *reason).await;
        if *reason == CredentialRevoked {
            for other in &others {
                house.admits(&showing(other)).await;
            }
        }
        orders(&house, "DELETE", body).await;
        house.refuses(&showing(&lost), Reason::TicketUnknown).await;
        house.admits(&showing(&later)).await;
        cases.held("AU28", name);
    }
    cases.all(rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_drains_nothing_is_sold_or_renewed() {
    let plan = plan().gateway("drain = \"60s\"").policy("session.close_timeout = \"1s\"");
    let house = plan.build().await;
    let session = session_by(&house, &house.signer.token(), None).await;
    let calls = [("a ticket", for_ticket(&house)), ("a renewal", renewal(ID, &house.signer.token()))];
    for (_, call) in &calls {
        gets(&house, call).await;
    }
    let (mut asking, mut late) = (Vec::new(), house.wire().await);
    for (name, call) in calls {
        asking.push((name, call, house.wire().await));
    }
    let (request, address) = (house.request(), house.address());
    let House { gateway, backend, record, folder, .. } = house;
    let mark = record.mark();
    let draining = tokio::spawn(gateway.drain());
    record.notice(mark, "draining").await;
    nobody_listens(address).await;
    let mut cases = Cases::of("calls during a drain");
    for (name, call, mut wire) in asking {
        let mark = record.mark();
        wire.send(&call.bytes()).await;
        let answer = Answer::read(&wire.rest().await.0);
        assert_eq!(answer.status, 503, "{name}: {}", answer.head);
        assert!(answer.one("retry-after").is_some(), "{name}: {}", answer.head);
        assert_eq!(answer.one("access-control-allow-origin"), Some(ORIGIN), "{name}: its page may read that");
        assert_eq!(record.refused(mark).await.reason, Reason::Draining, "{name}");
        cases.held("OP01", name);
    }
    House::opened(&mut late, &request).await;
    cases.held("OP01", "a handshake under way comes in");
    for mut wire in [session, late] {
        wire.send(&masked(FIN | CLOSE, &close_body(1000, ""))).await;
        wire.rest().await;
    }
    within("the drain", draining).await.unwrap();
    drop((backend, folder));
    cases.all(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_on_the_host_for_which_it_was_bought() {
    const OTHER_HOST: &str = "talk.test";
    let hosts = "[route]\nhosts = [\"chat.test\", \"talk.test\"]";
    let house = plan().names(&[HOST, OTHER_HOST]).policy(hosts).build().await;
    let there = async || house.try_wire("127.0.0.1", OTHER_HOST).await.expect("a TLS connection");
    let of_there = |request: Request| with(request, |request| request.set("Host", OTHER_HOST));
    let buys_there = async || {
        let mut wire = there().await;
        wire.send(&of_there(for_ticket(&house)).bytes()).await;
        let answer: Value = serde_json::from_slice(&Answer::read(&wire.rest().await.0).body).unwrap();
        text(&answer, "ticket")
    };
    let mut cases = Cases::of("tickets on other hosts");
    let ticket = buys(&house, &for_ticket(&house)).await;
    house.refuses_on(there().await, &of_there(showing(&ticket)), Reason::TicketUnknown).await;
    house.refuses(&showing(&ticket), Reason::TicketUnknown).await;
    cases.held("AU26", "another host of the policy");
    let ticket = buys_there().await;
    house.refuses(&showing(&ticket), Reason::TicketUnknown).await;
    let ticket = buys_there().await;
    house.admits_on(there().await, &of_there(showing(&ticket))).await;
    cases.held("AU26", "the other way round, and the twin");
    let ticket = buys(&house, &for_ticket(&house)).await;
    house.admits(&with(showing(&ticket), |request| request.set("Host", "Chat.test:8443"))).await;
    cases.held("AU26", "the same host in another spelling");
    cases.all(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tickets_session_is_its_buyers_whoever_shows_it() {
    let house = plan().policy("[upstream]\nidentity = { x-user-id = \"/sub\" }").build().await;
    let bob = token_of(&house, "bob", 0, "t-bob");
    let answer = gets(&house, &for_ticket(&house)).await;
    let (ticket, id) = (text(&answer, "ticket"), text(&answer, "session"));
    let mark = house.record.mark();
    let shown = with(showing(&ticket), |request| request.set("Cookie", format!("session={bob}")));
    let (mut session, _) = house.session_of(&shown).await;
    assert_eq!(house.record.opened(mark).await.who.subject.as_deref(), Some("login/alice"));
    assert_eq!(house.backend.last().request().one("x-user-id"), Some("alice"));
    refused(&house, &renewal(&id, &bob), Reason::UnknownSession).await;
    gets(&house, &renewal(&id, &house.signer.token())).await;
    session.echoes("I am alice").await;
    drop(session);
    house.is_at_rest().await;
    house
        .admits(&with(showing(""), |request| {
            request.target("/chat");
            request.set("Cookie", format!("session={bob}"));
        }))
        .await;
    assert_eq!(house.backend.last().request().one("x-user-id"), Some("bob"), "the twin: his cookie without a ticket");
    cases::held("AU26", "a ticket beside another's cookie");
}

/// How a proxy speaks for its clients.
#[derive(Clone, Copy)]
enum Proxy {
    Header,
    Forwarded,
}

/// What a call is answered that a proxy sends on for this client: its JSON, or why it is refused.
async fn through(house: &House, proxy: Proxy, client: &str, call: &Request) -> Result<Value, Reason> {
    let mark = house.record.mark();
    let mut wire = wire_through(house, proxy, client).await;
    wire.send(&for_client(proxy, client, call).bytes()).await;
    let answer = Answer::read(&wire.rest().await.0);
    if answer.status != 200 {
        return Err(house.record.refused(mark).await.reason);
    }
    let who = house.record.answered(mark).await.who;
    assert_eq!(who.client.map(|client| client.to_string()).as_deref(), Some(client), "the record names the client");
    Ok(serde_json::from_slice(&answer.body).unwrap())
}

async fn wire_through(house: &House, proxy: Proxy, client: &str) -> Wire {
    let mut wire = house.plain_wire().await;
    if let Proxy::Header = proxy {
        wire.send(format!("PROXY TCP4 {client} 192.0.2.1 4711 443\r\n").as_bytes()).await;
    }
    wire
}

fn for_client(proxy: Proxy, client: &str, request: &Request) -> Request {
    with(request.clone(), |request| {
        if let Proxy::Forwarded = proxy {
            request.set("X-Forwarded-For", client);
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_calls_are_judged_by_the_clients_address() {
    let mut cases = Cases::of("calls behind a proxy");
    for (name, proxy, mode) in
        [("PROXY", Proxy::Header, "proxy_protocol"), ("X-Forwarded-For", Proxy::Forwarded, "x_forwarded_for")]
    {
        let listener = format!("proxy = \"{mode}\"\ntrusted = [\"127.0.0.1/32\"]");
        let plan = plan().gateway(ADMIN).gateway("[address]\nfailures = \"1/h burst 1\"");
        let house = plan.without_tls().listener(&listener).build().await;
        let (alice, stranger) = (house.signer.token(), Signer::es256().token());
        let named = with(house.request(), |request| request.target(format!("/chat?wsgate_session={ID}")));
        let mut session = wire_through(&house, proxy, "203.0.113.1").await;
        House::opened(&mut session, &for_client(proxy, "203.0.113.1", &named)).await;
        let good = [for_ticket(&house), renewal(ID, &alice)];
        let wrong = [call("/.wsgate/ticket?path=/chat", Some(&stranger)), renewal(ID, &stranger)];
        let through = async |client: &str, call: &Request| through(&house, proxy, client, call).await.map(drop);

        for (number, (wrong, good)) in (2..).zip(wrong.iter().zip(&good)) {
            let client = format!("203.0.113.{number}");
            assert_eq!(through(&client, good).await, Ok(()), "{name}");
            assert_eq!(through(&client, wrong).await, Err(Reason::TokenSignature), "{name}");
            assert_eq!(through(&client, good).await, Err(Reason::AddressFailures), "{name}");
            assert_eq!(through("203.0.113.9", good).await, Ok(()), "{name}: another's budget is its own");
        }
        cases.held("AU26", &format!("{name}: failed attempts"));
        let order = json!({ "address": "203.0.113.8" });
        assert_eq!(orders(&house, "POST", &order).await, Some(0), "{name}");
        for good in &good {
            assert_eq!(through("203.0.113.8", good).await, Err(Reason::AccessRevoked), "{name}");
            assert_eq!(through("203.0.113.9", good).await, Ok(()), "{name}");
        }
        session.echoes("it was renewed").await;
        drop(session);
        house.is_at_rest().await;
        cases.held("AU28", &format!("{name}: a network that was revoked"));
    }
    cases.all(4);
}

#[tokio::test]
async fn a_ticket_that_is_shown_late_opens_nothing_and_leaves_room_for_another() {
    let house = plan().build().await;
    let (in_time, late) = (buys(&house, &for_ticket(&house)).await, buys(&house, &for_ticket(&house)).await);
    passes(Duration::from_secs(15)).await;
    house.admits(&showing(&in_time)).await;
    passes(Duration::from_secs(15)).await;
    house.refuses(&showing(&late), Reason::TicketUnknown).await;
    cases::held("AU26", "a ticket that is shown after 30 s");
    for _ in 0..32 {
        buys(&house, &for_ticket(&house)).await;
    }
    refused(&house, &for_ticket(&house), Reason::TicketsUnused).await;
    passes(Duration::from_secs(30)).await;
    house.admits(&showing(&buys(&house, &for_ticket(&house)).await)).await;
    cases::held("AU26", "tickets that nobody used in time");
}

/// The bound on the bytes of what is unused, the credentials that bought it among them.
const MOST_BYTES: usize = 32 << 20;

#[tokio::test]
async fn a_till_that_is_full_sells_nothing_and_forgets_nothing() {
    const AT_A_TIME: usize = 16;
    let house = plan().without_tls().build().await;
    let large = |number: usize| {
        house.signer.token_with(|claims| {
            claims.insert("sub".into(), json!(format!("subject-{number:04}")));
            claims.insert("pad".into(), json!("x".repeat(5700)));
        })
    };
    let length = large(0).len();
    let fits = MOST_BYTES / length;
    // 32 are a subject's, and 512 a network's.
    let buyers: Vec<_> =
        (0..=fits / 32).map(|number| call("/.wsgate/ticket?path=/chat", Some(&large(number)))).collect();
    let buy = async |number: usize| {
        let tcp = Wire::tcp_from(&format!("127.0.1.{}", number / 512), house.address()).await.unwrap();
        let mut wire = Wire::over(tcp);
        wire.send(&buyers[number / 32].bytes()).await;
        Answer::read(&wire.rest().await.0)
    };
    let ticket = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{}", answer.head);
        text(&serde_json::from_slice(&answer.body).unwrap(), "ticket")
    };
    // However long this takes, none of them is late.
    let stopped = Stopped::clock();
    let first = ticket(&buy(0).await);
    let (mut sold, mut mark) = (1, house.record.mark());
    while sold < fits {
        mark = house.record.mark();
        let batch = (sold..fits.min(sold + AT_A_TIME)).map(&buy);
        let answers = futures_util::future::join_all(batch).await;
        let came = answers.iter().filter(|answer| answer.status == 200).count();
        sold += came;
        if came < answers.len() {
            break;
        }
    }
    assert!((fits * 9 / 10..fits).contains(&sold), "{sold} of {fits}: what is kept beside the tokens counts, too");
    assert_eq!(house.record.refused(mark).await.reason, Reason::TicketsFull);
    let full = buy(fits).await;
    assert_eq!((full.status, full.one("retry-after").is_some()), (503, true), "{}", full.head);
    let mut wire = house.plain_wire().await;
    House::opened(&mut wire, &showing(&first)).await;
    wire.echoes("the first of them is good still").await;
    let last = ticket(&buy(fits).await);
    assert_eq!(buy(fits).await.status, 503, "there was room for one");
    drop((stopped, wire));
    house.is_at_rest().await;
    house.admits_on(house.plain_wire().await, &showing(&last)).await;
    cases::held("AU26", "a till that is full");
}
