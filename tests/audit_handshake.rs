//! The suite of handshakes against houses: nothing falls of a strict one, and what is weakened falls by its name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use support::{Plan, examined};
use wsgate::audit::{Outcome, Suite};

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_house_holds() {
    let mut examined = examined(Plan::plain()).await;
    let findings = examined.holds(Suite::Handshake).await;
    let passed_over: Vec<_> = findings.iter().filter(|finding| finding.outcome() != Outcome::Held).collect();
    assert!(passed_over.is_empty(), "{passed_over:#?}");
}
