//! The suite of frames: a strict house stands against it, and one that is weakened falls where it is weak.

mod support;

use support::{Plan, examined};
use wsgate::audit::{Outcome, Suite, frames};

/// Deadlines that a test can wait for.
const BRISK: &str =
    "[session]\npartial_header = \"1s\"\nping_interval = \"2s\"\npong_timeout = \"2s\"\nclose_timeout = \"1s\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_house_holds() {
    let mut examined = examined(Plan::plain().policy(BRISK)).await;
    let findings = examined.holds(Suite::Frames).await;
    let held = findings.iter().filter(|finding| finding.outcome() == Outcome::Held).count();
    assert_eq!((held, findings.len()), (33, 33), "every case can be tried here");
    for rule in frames::RULES {
        assert!(findings.iter().any(|finding| finding.id == rule.id), "{} is tried", rule.id);
    }
}

/// The same gateway with a policy that lets more through than the one that the suite was given.
#[tokio::test(flavor = "multi_thread")]
async fn a_house_falls_where_its_bounds_are_wider_than_its_policy() {
    let wide = "[session]\npartial_header = \"1m\"\nping_interval = \"1m\"\nclose_timeout = \"1m\"\n\
                [session.from_client]\nmessage_size = \"1MiB\"\nfragments = 4096\nmessages = \"100000/s burst 100000\"\n\
                control = \"100000/s burst 100000\"\nbytes = \"1GiB/s burst 1GiB\"\n\
                [session.from_backend]\nmessage_size = \"64MiB\"\n[upstream]\nextensions = \"pass\"";
    let strict = examined(Plan::plain().policy(BRISK)).await;
    let mut examined = examined(Plan::plain().policy(wide)).await;
    examined.exam.target.policy = strict.exam.target.policy.clone();
    assert_eq!(
        examined.fallen(Suite::Frames).await,
        [
            ("FR09", "fragments without an end"),
            ("FR07", "an announced length beyond the bound by one"),
            ("FR08", "a message too big by its fragments"),
            ("FR11", "messages as fast as they go"),
            ("FR12", "Pings as fast as they go"),
            ("FR12", "Pongs that nobody asked for"),
            ("FR16", "a Close that is ignored"),
            ("FR17", "a frame that is begun and never finished"),
            ("FR19", "a client that says nothing"),
            ("CO01", "an offer of compression"),
            ("BE14", "a backend's announced length beyond the bound by one"),
        ]
    );
}

/// A service without a gateway, which judges nothing and echoes everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_judges_nothing_falls() {
    let mut examined = examined(Plan::plain().policy(BRISK)).await;
    let canary = examined.exam.canary.as_ref().unwrap().address();
    examined.exam.target.address = canary;
    examined.exam.target.tls = None;
    let findings = examined.run(Suite::Frames).await;
    let held = findings.iter().filter(|finding| finding.outcome() == Outcome::Held);
    let held: Vec<_> = held.map(|finding| (finding.id, finding.name)).collect();
    assert_eq!(held, [("FR21", "honest messages of every kind")]);
}
