//! The suite of hostile pages against houses: nothing falls of a strict one, and what is weakened falls by its name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use support::house::{HEADER_ONLY, ORIGIN};
use support::{Examined, Plan, examined};
use wsgate::audit::{Finding, Outcome, Suite};
use wsgate::policy::credential::Carrier;

/// Every kind of entry; the good origin is not among them.
const LISTED: [&str; 4] =
    ["https://good.example:8443", "https://*.pages.example", "capacitor://localhost", "http://localhost:3000"];

/// A house that lists every kind of entry, and its examination, which knows of each.
async fn with_list() -> Examined {
    let entries: Vec<String> = [ORIGIN].iter().chain(&LISTED).map(|entry| format!("\"{entry}\"")).collect();
    let plan = Plan::plain().policy(HEADER_ONLY).policy(&format!("[origin]\nallow = [{}]", entries.join(", ")));
    let mut examined = examined(plan).await;
    examined.exam.target.listed.extend(LISTED.map(String::from));
    examined
}

/// What came out like this, less what needs a browser.
fn that(findings: &[Finding], is: impl Fn(Outcome) -> bool) -> Vec<String> {
    let told = |finding: &Finding| format!("{} {}", finding.id, finding.name);
    let tried = findings.iter().filter(|finding| !finding.name.starts_with("in a browser"));
    tried.filter(|finding| is(finding.outcome())).map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_house_holds() {
    let findings = with_list().await.holds(Suite::Cswsh).await;
    assert_eq!(that(&findings, |outcome| outcome != Outcome::Held), [""; 0]);
}

/// What holds although every origin is let in: it is held by something else than a look at the list.
const WITHOUT_A_LIST: [&str; 10] = [
    "OR10 what a wildcard of one label must not match",
    "OR15 letters that look alike",
    "OR01 no Origin",
    "OR04 two Origins",
    "OR22 a page that gives its own name to this server",
    "OR24 a fetch that is no socket's",
    "OR23 a forged Origin of a program",
    "OR25 a cookie that is no credential",
    "OR28 a refusal that other pages may read",
    "OR28 a refusal that says what was asked for",
];

#[tokio::test(flavor = "multi_thread")]
async fn without_a_list_every_origin_falls() {
    let reason = "[origin]\nallow = [\"*\"]\ndanger_wildcard_origin = \"the suite must see it fall\"";
    let mut examined = examined(Plan::plain().policy(HEADER_ONLY).policy(reason)).await;
    let told = examined.run(Suite::Cswsh).await;
    assert!(told.iter().all(|finding| finding.outcome() != Outcome::Fell), "the policy says so: {told:#?}");
    examined.exam.target.policy = None;
    let findings = examined.run(Suite::Cswsh).await;
    assert_eq!(that(&findings, |outcome| outcome != Outcome::Fell), WITHOUT_A_LIST);
}

/// Entries that the suite is not told of, and the cases that fall by them.
const EXTRA: [(&str, &str); 8] = [
    ("null", "OR02 null, as from a sandboxed frame"),
    ("http://app.test", "OR06 another scheme of the web"),
    ("https://app.test:8444", "OR07 another port"),
    ("https://evilapp.test", "OR08 something before the listed name"),
    ("https://www.app.test", "OR10 a subdomain of a listed name"),
    ("http://localhost:3000", "OR18 this machine by its names"),
    ("capacitor://localhost", "OR19 extensions, files and applications"),
    ("https://chat.test", "OR22 the host's own name"),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_too_many_falls_by_its_name() {
    let entries: Vec<String> =
        [ORIGIN].into_iter().chain(EXTRA.map(|(entry, _)| entry)).map(|entry| format!("\"{entry}\"")).collect();
    let plan = Plan::plain().policy(HEADER_ONLY).policy(&format!("[origin]\nallow = [{}]", entries.join(", ")));
    let findings = examined(plan).await.run(Suite::Cswsh).await;
    let mut fell = that(&findings, |outcome| outcome == Outcome::Fell);
    let mut expected = EXTRA.map(|(_, case)| case.to_owned());
    fell.sort();
    expected.sort();
    assert_eq!(fell, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_as_credential_is_what_comes_with_a_hostile_page() {
    let mut examined = examined(Plan::plain()).await;
    let credential = examined.exam.target.credential.as_mut().unwrap();
    credential.carrier = Carrier::Cookie(String::from("session"));
    let findings = examined.holds(Suite::Cswsh).await;
    assert!(that(&findings, |outcome| outcome == Outcome::Held).len() > 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_policy_wants_an_origin_a_bare_handshake_is_tried_too() {
    let mut examined = examined(Plan::plain().policy("[origin]\nmissing = \"refuse\"")).await;
    let strict = examined.exam.target.policy.clone();
    let findings = examined.holds(Suite::Cswsh).await;
    assert!(
        findings.iter().any(|finding| finding.id == "OR01" && finding.verdict.said.contains("all 2")),
        "{findings:#?}"
    );
    let mut lenient = support::examined(Plan::plain()).await;
    lenient.exam.target.policy = strict;
    let fell = lenient.fallen(Suite::Cswsh).await;
    assert_eq!(fell.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["OR01"]);
}
