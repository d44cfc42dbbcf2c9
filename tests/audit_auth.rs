//! The suite of credentials: a strict house stands against it, and one that is weakened falls where it is weak.

mod support;

use support::{Plan, examined};
use wsgate::audit::{Outcome, Suite, auth};

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_house_holds() {
    let mut examined = examined(Plan::plain()).await;
    let findings = examined.holds(Suite::Auth).await;
    for rule in auth::RULES {
        assert!(findings.iter().any(|finding| finding.id == rule.id), "{} is tried", rule.id);
    }
    let other: Vec<_> = findings.iter().filter(|finding| finding.outcome() != Outcome::Held).collect();
    let other: Vec<_> = other.iter().map(|finding| (finding.id, finding.name, finding.verdict.said.as_str())).collect();
    assert_eq!(
        other,
        [
            ("AU10", "a token of another type", "the policy names no type of token"),
            ("AU22", "a token in the log", "needs --log"),
        ]
    );
}
