//! The suite of handshakes against houses: nothing falls of a strict one, and what is weakened falls by its name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use support::{Plan, examined};
use wsgate::audit::{Finding, Outcome, Suite};

fn that(findings: &[Finding], is: impl Fn(Outcome) -> bool) -> Vec<String> {
    let told = |finding: &Finding| format!("{} {}", finding.id, finding.name);
    findings.iter().filter(|finding| is(finding.outcome())).map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_house_holds() {
    let mut examined = examined(Plan::plain()).await;
    let findings = examined.holds(Suite::Handshake).await;
    assert_eq!(that(&findings, |outcome| outcome != Outcome::Held), [""; 0]);
}

/// What does not fall without a gateway: what each client's connection and a backend that is no fool bring by
/// themselves, what needs TLS, and what can only be seen of a refusal.
const WITHOUT_A_GATEWAY: [&str; 12] = [
    "HS12 spaces among subprotocols",
    "HS13 escapes among extensions",
    "HS06 fields that Connection nominates",
    "BE03 an end before the 101",
    "BE03 an end behind the 101",
    "HS20 a whole 101",
    "TL17 a refusal that keeps browsers with TLS",
    "TL17 the software and its version",
    "H102 a refused connection that stays",
    "H105 a head byte by byte",
    "H107 a refusal while the client still sends",
    "H108 a client that ends behind its head",
];

#[tokio::test(flavor = "multi_thread")]
async fn without_a_gateway_almost_nothing_holds() {
    let mut examined = examined(Plan::plain()).await;
    examined.exam.target.address = examined.exam.canary.as_ref().unwrap().address();
    examined.exam.target.tls = None;
    let findings = examined.run(Suite::Handshake).await;
    assert_eq!(that(&findings, |outcome| outcome != Outcome::Fell), WITHOUT_A_GATEWAY);
}

/// What an operator names in a policy that the suite is not shown.
const NAMED: &str = "[upstream]\nheaders = [\"x-user-id\", \"x-anything\"]\ncookies = [\"wsgate_audit\"]";

/// What falls by it.
const FALLEN: [&str; 3] =
    ["ID01 who the user is", "SM19 fields that the policy does not name", "SM19 cookies that it does not name"];

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_to_the_backend_falls_by_its_name() {
    let strict = examined(Plan::plain()).await.exam.target.policy;
    let mut examined = examined(Plan::plain().policy(NAMED)).await;
    examined.exam.target.policy = strict;
    let findings = examined.run(Suite::Handshake).await;
    assert_eq!(that(&findings, |outcome| outcome != Outcome::Held), FALLEN);
}
