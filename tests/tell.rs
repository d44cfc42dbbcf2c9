//! `tell = "close"`: a page of a listed origin learns by a Close frame why its credential was refused; nobody else does, and
//! for the log it is the refusal that it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use serde_json::json;
use support::frames::{CLOSE, FIN, TEXT, close_body, masked};
use support::tokens::{Signer, now};
use support::{Answer, Cases, House, Plan, Request, Wire, cases};
use tokio::task::JoinSet;
use wsgate::policy::Reason;

const TELL: &str = "[origin]\ntell = \"close\"";

/// A refusal that is told by a Close frame: its 101, and the code.
async fn told(house: &House, request: &Request, reason: Reason) -> (Answer, u16) {
    let (mark, heard) = (house.record.mark(), house.backend.connections());
    let mut wire = house.wire().await;
    wire.send(&request.bytes()).await;
    let answer = wire.answer_head().await;
    answer.is_switching(request);
    let close = wire.frame().await.expect("a Close");
    assert_eq!((close.first, close.mask), (FIN | CLOSE, None));
    let code = close.close_code().expect("a code");
    wire.send(&masked(FIN | CLOSE, &close_body(code, ""))).await;
    assert!(wire.rest().await.0.is_empty(), "and then the end");
    let refused = house.record.refused(mark).await;
    assert_eq!(refused.reason, reason, "{:?}", refused.detail);
    house.is_at_rest().await;
    assert_eq!(house.record.since(mark).len(), 1, "one record, and no session in it");
    assert_eq!(house.backend.connections(), heard, "no backend hears of it");
    (answer, code)
}

fn without_token(house: &House) -> Request {
    house.request_with(|request| request.remove("Authorization"))
}

fn as_stranger(house: &House) -> Request {
    house.request_as(&Signer::es256().token())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_page_is_told_what_its_credential_was_refused_for() {
    let way = "[[auth]]\nby = \"jwt\"\nissuer = \"login\"\nfrom = [\"authorization\"]\naudience = [\"chat\"]\n\
               require = { \"/scope\" = \"chat:join\" }";
    let plan = |over: &str| Plan::plain().policy(TELL).policy(way).policy(over);
    let house = plan("").build().await;
    let mut cases = Cases::of("refusals that are told");
    let with =
        |house: &House, name: &str, value| house.signer.token_with(|claims| drop(claims.insert(name.into(), value)));
    let expired = house.request_as(&with(&house, "exp", json!(now() - 60)));
    let lesser = house.request_as(&with(&house, "scope", json!("chat:read")));
    let refusals = [
        (without_token(&house), Reason::CredentialMissing, 4401),
        (as_stranger(&house), Reason::TokenSignature, 4401),
        (expired, Reason::TokenExpired, 4401),
        (lesser, Reason::ClaimRequired, 4403),
    ];
    for (request, reason, code) in &refusals {
        assert_eq!(told(&house, request, *reason).await.1, *code);
        house.admits(&house.request()).await;
        cases.held("OR25", reason.code());
    }
    let house = plan("[limits]\nhandshakes_per_subject = \"1/h burst 1\"").build().await;
    house.admits(&house.request()).await;
    assert_eq!(told(&house, &house.request(), Reason::SubjectRate).await.1, 4429);
    cases.held("OR25", "a subject's rate");
    let house = Plan::plain().gateway("[address]\nfailures = \"1/h burst 1\"").policy(TELL).build().await;
    told(&house, &as_stranger(&house), Reason::TokenSignature).await;
    assert_eq!(told(&house, &house.request(), Reason::AddressFailures).await.1, 4429);
    cases.held("OR25", "an address's failures");
    let codes = "[session]\nclose = { unauthorized = 4001, forbidden = 4003, too_many = 4029 }";
    let house = plan(codes).build().await;
    assert_eq!(told(&house, &without_token(&house), Reason::CredentialMissing).await.1, 4001);
    cases.held("OR25", "a code of the policy's");
    cases.all(refusals.len() + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_offers_subprotocols_gets_one_and_never_its_token() {
    let house = Plan::plain().policy(TELL).build().await;
    let token = Signer::es256().token();
    let offers = [
        (format!("bearer, {token}, chat.v1"), Some("chat.v1")),
        (format!("chat.v2, bearer, {token}"), Some("chat.v2")),
        (format!("bearer, {token}"), Some("bearer")),
    ];
    let mut cases = Cases::of("subprotocols of refusals");
    for (offer, expected) in &offers {
        let request = house.request_with(|request| {
            request.remove("Authorization");
            request.set("Sec-WebSocket-Protocol", offer);
        });
        let (answer, _) = told(&house, &request, Reason::TokenSignature).await;
        assert_eq!(answer.one("sec-websocket-protocol"), *expected, "{}", answer.head);
        house.keeps(&token);
        cases.held("AU22", expected.unwrap());
    }
    assert_eq!(
        told(&house, &without_token(&house), Reason::CredentialMissing).await.0.one("sec-websocket-protocol"),
        None
    );
    cases.all(offers.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_told_and_nothing_else_is() {
    let house = Plan::plain().policy(TELL).build().await;
    let mut cases = Cases::of("refusals by status");
    let stranger = |change: fn(&mut Request)| {
        let mut request = as_stranger(&house);
        change(&mut request);
        request
    };
    let refusals = [
        (
            "OR25",
            "another site's page",
            stranger(|request| request.set("Origin", "https://evil.test")),
            Reason::OriginNotAllowed,
        ),
        (
            "OR25",
            "a page without an origin",
            stranger(|request| request.set("Origin", "null")),
            Reason::OriginNotAllowed,
        ),
        ("OR25", "a program", stranger(|request| request.remove("Origin")), Reason::TokenSignature),
        ("OR25", "a path that nobody serves", stranger(|request| request.target("/talk")), Reason::PathNotServed),
        (
            "OR25",
            "two credentials",
            stranger(|request| request.target("/chat?access_token=x")),
            Reason::CredentialAmbiguous,
        ),
    ];
    for (id, name, request, reason) in &refusals {
        house.refuses(request, *reason).await;
        cases.held(id, name);
    }
    cases.all(refusals.len());
    let house = House::plain().await;
    house.refuses(&as_stranger(&house), Reason::TokenSignature).await;
    cases::held("OR25", "a policy that does not say so");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_close_holds_nothing() {
    const SLOTS: usize = 256;
    let house = Plan::plain().policy(TELL).build().await;
    let request = as_stranger(&house);
    let mut opening = JoinSet::new();
    let bytes = request.bytes();
    let mut wires = Vec::new();
    for _ in 0..SLOTS + 32 {
        wires.push(house.wire().await);
    }
    for mut wire in wires {
        let bytes = bytes.clone();
        opening.spawn(async move {
            wire.send(&bytes).await;
            let answer = wire.answer_head().await;
            wire.send(&masked(FIN | TEXT, b"I do not close")).await;
            (wire, answer.status)
        });
    }
    let answered = opening.join_all().await;
    let told = answered.iter().filter(|(_, status)| *status == 101).count();
    assert!(answered.iter().all(|(_, status)| matches!(status, 101 | 401)), "each is answered");
    assert!(told >= 1, "some are told");
    let silent: Vec<Wire> = answered.into_iter().map(|(wire, _)| wire).collect();
    house.is_at_rest().await;
    drop(silent);
    assert_eq!(self::told(&house, &request, Reason::TokenSignature).await.1, 4401, "the places are back");
    cases::held("RX07", "pages that do not answer a Close");
}
