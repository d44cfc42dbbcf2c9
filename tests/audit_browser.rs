//! The suite's own pages in a real browser, against a strict house and against one that takes every origin.
//!
//! `WSGATE_CHROMIUM` names the browser, else it is the one on PATH. Where there is none the test says that it was passed
//! over; where `WSGATE_CHROMIUM` is set it must be there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "that it was passed over is for the reader of the output")]

mod support;

use std::path::{Path, PathBuf};

use support::endpoint::GENEROUS;
use support::{Cases, Examined, Plan, examined};
use wsgate::audit::cswsh::browser::find_chromium;
use wsgate::audit::{Outcome, Probe, Suite, Verdict, cswsh};
use wsgate::policy::credential::Carrier;

/// A browser; `None`: there is none, and none was asked for.
fn chromium() -> Option<PathBuf> {
    let asked = std::env::var_os("WSGATE_CHROMIUM");
    match find_chromium(asked.as_deref().map(Path::new)) {
        Ok(chromium) => Some(chromium),
        Err(why) if asked.is_none() => {
            println!("passed over: {why}");
            None
        }
        Err(why) => panic!("WSGATE_CHROMIUM: {why}"),
    }
}

/// What the pages with these ids found.
async fn found(examined: &mut Examined, ids: &[&str]) -> Vec<(&'static str, &'static str, Verdict)> {
    examined.exam.twin().await.unwrap();
    let mut found = Vec::new();
    for case in wsgate::audit::cases(Suite::Cswsh, &mut examined.exam) {
        if !case.name.starts_with("in a browser") || !ids.contains(&case.id) {
            continue;
        }
        let verdict = match case.probe {
            Probe::Cswsh(probe) => cswsh::judge(&probe, &mut examined.exam).await,
            Probe::NotApplicable(why) => Verdict::new(Outcome::NotApplicable, why),
            _ => Verdict::new(Outcome::NotRun, "not run"),
        };
        println!("{} {} {}: {}", verdict.outcome, case.id, case.name, verdict.said);
        found.push((case.id, case.name, verdict));
    }
    found
}

/// Every page.
const ALL: &[&str] = &["OR27", "OR25", "OR02", "OR19"];

#[tokio::test(flavor = "multi_thread")]
async fn in_front_of_a_strict_house_only_the_listed_page_gets_in() {
    let Some(chromium) = chromium() else { return };
    let mut cases = Cases::of("pages in a browser");
    // No page can set a header: where the policy takes the token elsewhere too, the page says it there.
    let carriers = [
        (Carrier::Cookie("session".into()), ALL),
        (Carrier::Query("access_token".into()), &["OR27"]),
        (Carrier::Authorization, &["OR27"]),
    ];
    for (carrier, ids) in carriers {
        let mut examined = examined(Plan::plain().policy(GENEROUS)).await;
        examined.exam.target.browser = Some(chromium.clone());
        let shown = format!("{carrier:?}");
        examined.exam.target.credential.as_mut().unwrap().carrier = carrier;
        for (id, name, verdict) in found(&mut examined, ids).await {
            assert_eq!(verdict.outcome, Outcome::Held, "{shown}: {verdict:#?}");
            assert_eq!(verdict.said.contains("Strict"), id == "OR25", "the sites are different ones: {verdict:#?}");
            let sent = verdict.exchange.unwrap().sent;
            assert!(sent.contains("Origin: ") && !sent.contains("eyJ"), "no token is shown: {sent}");
            cases.held(id, &format!("{name}, {shown}"));
        }
    }
    cases.all(9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_stand_at_the_very_host_and_port_of_the_target() {
    let Some(chromium) = chromium() else { return };
    for (authority, name, origin) in [
        ("localhost:8443", "localhost", "https://localhost:8443"),
        ("chat.test:9000", "chat.test", "http://localhost:3000"),
    ] {
        let policy = format!("[route]\nhosts = [\"{name}\"]\n[origin]\nallow = [\"{origin}\"]");
        let mut examined = examined(Plan::plain().policy(GENEROUS).policy(&policy)).await;
        let target = &mut examined.exam.target;
        (target.authority, target.name, target.origin) = (authority.into(), name.into(), Some(origin.into()));
        (target.listed, target.browser) = (vec![origin.into()], Some(chromium.clone()));
        target.credential.as_mut().unwrap().carrier = Carrier::Cookie("session".into());
        for (_, case, verdict) in found(&mut examined, &["OR27", "OR25"]).await {
            assert_eq!(verdict.outcome, Outcome::Held, "{origin}: {case}: {verdict:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_front_of_one_that_takes_every_origin_every_page_gets_in() {
    let Some(chromium) = chromium() else { return };
    let open = "[origin]\nallow = [\"*\"]\ndanger_wildcard_origin = \"partners host their own pages\"\n\
                danger_ambient_wildcard = \"what a weak gateway does\"";
    let mut examined = examined(Plan::plain().policy(GENEROUS).policy(open)).await;
    examined.exam.target.browser = Some(chromium);
    examined.exam.target.credential.as_mut().unwrap().carrier = Carrier::Cookie("session".into());
    let found = found(&mut examined, ALL).await;
    let expected = [
        ("OR27", Outcome::Held),
        ("OR27", Outcome::Fell),
        ("OR25", Outcome::Fell),
        ("OR02", Outcome::Fell),
        ("OR19", Outcome::Fell),
    ];
    let outcomes: Vec<_> = found.iter().map(|(id, _, verdict)| (*id, verdict.outcome)).collect();
    assert_eq!(outcomes, expected, "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_page_can_do_is_not_claimed() {
    let mut examined = examined(Plan::plain().policy(GENEROUS)).await;
    let unseen = |found: Vec<(_, _, Verdict)>| found.iter().all(|(_, _, verdict)| verdict.outcome == Outcome::NotRun);
    assert!(unseen(found(&mut examined, ALL).await), "without a browser");
    let target = &mut examined.exam.target;
    (target.policy, target.name) = (None, String::from("192.0.2.1"));
    target.listed.push(String::from("null"));
    let mut said = Vec::new();
    for case in wsgate::audit::cases(Suite::Cswsh, &mut examined.exam) {
        if let (true, Probe::NotApplicable(why)) = (case.name.starts_with("in a browser"), case.probe) {
            said.push(why);
        }
    }
    let expected = [
        "the credential travels in a header that no page can set",
        "an address has no subdomains",
        "the origin null is listed",
        "the origin null is listed",
    ];
    assert_eq!(said, expected);
}
