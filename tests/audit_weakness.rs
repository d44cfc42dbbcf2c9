//! The suites are tested against weakness: a small gateway with one fault falls in exactly the cases that stand beside
//! the fault, and without a fault in none.
//!
//! Each fault meets the suites in which it is to be seen: the cases that must fall, and every fourth of the others,
//! which ones depends on the fault. `--ignored` runs every case of every suite against every fault, which takes half an hour;
//! `WSGATE_FAULT=OriginSuffix,NoPing` runs these faults alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "what was found is for the reader of the output")]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use support::examined::{BRISK, target};
use support::weak::{Fault, Weak};
use support::{Plan, cases};
use wsgate::audit::dos::Bounds;
use wsgate::audit::{Canary, Case, Exam, Finding, Outcome, Progress, Suite};

/// Faults that are examined at a time: most of an examination is waiting.
const AT_A_TIME: usize = 12;

/// The same where an examination measures how long things take.
const FLOODS_AT_A_TIME: usize = 4;

/// The cases that no fault here fells: they are not tried in this process (a browser, a wildcard, a `typ`), would fall
/// only with what cannot be had here (a certificate of another name, an old OpenSSL), or by a gateway that breaks down.
const NEVER_FELLED: [&str; 23] = [
    "cswsh OR10 what a wildcard of one label must not match",
    "cswsh OR22 a page that gives its own name to this server",
    "cswsh OR25 a cookie that is no credential",
    "cswsh OR27 in a browser, a page of a listed origin",
    "cswsh OR27 in a browser, a page of another site with the user's cookie",
    "cswsh OR25 in a browser, a page of a sibling subdomain with the user's cookies",
    "cswsh OR02 in a browser, a sandboxed frame",
    "cswsh OR19 in a browser, a page from a file",
    "auth AU10 a token of another type",
    "frames FR21 honest messages of every kind",
    "tls HS21 TLS at all",
    "tls TL07 SSL 2.0",
    "tls TL06 a flood of key updates",
    "tls TL09 the certificate of the name",
    "tls TL09 a name that nobody has, and none",
    "tls TL10 h2 alone",
    "dos TL05 a flood of ClientHellos",
    "dos RX02 silent connections of many addresses",
    "dos RX03 a flood of handshakes that are refused",
    "dos RX15 sessions at line rate",
    "dos RX16 connections that are cut at every stage",
    "dos FR17 large frames, a byte at a time",
    "dos RX22 clients that are cut and come again at once",
];

/// Cases that a fault deprives of their premise: sessions that are lost and kept take the places of others, and without a
/// subject all are one.
const UNDECIDED: [(Fault, Suite, &str); 2] = [
    (Fault::LostClientKept, Suite::Dos, "RX05 more sessions of a subject than allowed"),
    (Fault::SubUnchecked, Suite::Dos, "RX04 more sessions of an address than allowed"),
];

/// What is examined: short deadlines, so that the wait for each is short, and caps that few connections reach.
fn plan(fault: Option<Fault>) -> Plan {
    let gateway = r#"
        [admission]
        tls = "1s"
        head = "1s"

        [address]
        pending = 48
    "#;
    let policy = r#"
        [limits]
        connections_per_address = 16
        connections_per_subject = 8

        [session]
        ping_interval = "2s"
        pong_timeout = "20s"
        partial_header = "1s"
        close_timeout = "1s"
    "#;
    let plan = Plan::plain().gateway(gateway).policy(policy);
    match fault {
        // A dead client that is waited for shows itself only where it would not be waited for long.
        Some(Fault::NoPing) => plan.policy("[session]\nping_interval = \"1s\"\npong_timeout = \"1s\""),
        // What is kept for a slow reader shows itself only where no rate bounds what is asked for.
        Some(Fault::UnboundedBuffer) => {
            plan.policy("[session.from_client]\nmessages = \"100000/s burst 100000\"\nbytes = \"1GiB/s burst 1GiB\"")
        }
        _ => plan,
    }
}

/// What these suites find at the gateway with this fault.
async fn examine(plan: &Plan, fault: Option<Fault>, suites: &[Suite], of: Choice) -> Vec<Finding> {
    let canary = Canary::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let weak = Weak::standing(plan, fault, canary.address()).await;
    let mut target = target(weak.address, weak.files.folder.path(), &weak.files.authority, plan.signs());
    target.log = Some(weak.log.clone());
    let mut exam = Exam::new(target, Some(canary), BRISK);
    // How long all of what is asked for may take where nothing bounds it.
    let hold = if fault == Some(Fault::UnboundedBuffer) { 40 } else { 8 };
    exam.bounds = Bounds { hold: Duration::from_secs(hold), ..Bounds::quick() };
    let mut findings = Vec::new();
    for suite in suites {
        let mut cases = wsgate::audit::cases(*suite, &mut exam);
        let mut number = fault.map_or(0, |fault| fault as usize);
        cases.retain(|case| {
            number += 1;
            of == Choice::All || is_expected(fault, *suite, case) || number.is_multiple_of(SAMPLE)
        });
        wsgate::audit::run_cases(*suite, cases, &mut exam, &mut Quiet, &mut findings).await;
    }
    findings
}

/// Which cases of a suite are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// Every one.
    All,
    /// Those that must fall, and every fourth of the others.
    Sample,
}

/// Of the cases that must hold every so manyth is run where time is short; which ones depends on the fault.
const SAMPLE: usize = 4;

fn is_expected(fault: Option<Fault>, suite: Suite, case: &Case) -> bool {
    let falls = fault.map(Fault::falls).unwrap_or_default();
    falls.contains(&(suite, format!("{} {}", case.id, case.name).as_str()))
}

struct Quiet;

impl Progress for Quiet {
    fn begins(&mut self, _suite: Suite, _cases: usize) {}
    fn tries(&mut self, _case: &Case) {}
    fn found(&mut self, _finding: &Finding) {}
}

/// The suites in which a fault is to be seen.
fn suites(fault: Fault) -> Vec<Suite> {
    let named: BTreeSet<Suite> = fault.falls().iter().map(|(suite, _)| *suite).collect();
    named.into_iter().collect()
}

/// What differs from what stands beside the fault; nothing where all is as it must be.
fn differences(fault: Option<Fault>, findings: &[Finding]) -> Vec<String> {
    let name = |finding: &Finding| (finding.suite, format!("{} {}", finding.id, finding.name));
    let expected = fault.map(Fault::falls).unwrap_or_default();
    let expected: BTreeSet<_> = expected.iter().map(|(suite, case)| (*suite, String::from(*case))).collect();
    let that = |outcome| findings.iter().filter(move |finding| finding.outcome() == outcome);
    let fell: BTreeSet<_> = that(Outcome::Fell).map(name).collect();
    let said = |case: &(Suite, String)| {
        let finding = findings.iter().find(|finding| name(finding) == *case);
        finding.map_or("there is no such case", |finding| finding.verdict.said.as_str())
    };
    let told =
        |what: &str, case: &(Suite, String)| format!("{fault:?}: {what}: {} {:?}: {}", case.0, case.1, said(case));
    let survived = expected.difference(&fell).map(|case| told("it survived", case));
    let alarms = fell.difference(&expected).map(|case| told("a false alarm", case));
    let undecided: Vec<_> = that(Outcome::Undecided).map(name).collect();
    let has_no_premise = |(suite, case): &(Suite, String)| {
        UNDECIDED.iter().any(|(of, within, what)| Some(*of) == fault && within == suite && what == case)
    };
    let undecided = undecided.iter().filter(|case| !has_no_premise(case)).map(|case| told("undecided", case));
    survived.chain(alarms).chain(undecided).collect()
}

/// Examines every fault, some at a time, and gives all differences. Those with floods come last and few at a time: what
/// they judge is time.
fn all_differences(suites: impl Fn(Fault) -> Vec<Suite> + Sync, of: Choice) -> Vec<String> {
    let only = std::env::var("WSGATE_FAULT").ok();
    let is_meant = |fault: &Fault| only.as_ref().is_none_or(|names| names.split(',').any(|name| fault.is_called(name)));
    let faults = Fault::ALL.iter().copied().filter(is_meant);
    let (flooding, other): (Vec<Fault>, Vec<Fault>) = faults.partition(|fault| suites(*fault).contains(&Suite::Dos));
    assert!(!(flooding.is_empty() && other.is_empty()), "WSGATE_FAULT holds the names of faults");
    let told = Mutex::new(Vec::new());
    for (faults, at_a_time) in [(other, AT_A_TIME), (flooding, FLOODS_AT_A_TIME)] {
        let waiting = Mutex::new(faults);
        std::thread::scope(|scope| {
            for _ in 0..at_a_time {
                scope.spawn(|| {
                    while let Some(fault) = next(&waiting) {
                        let differences = differences_of(fault, &suites(fault), of);
                        told.lock().unwrap().extend(differences);
                    }
                });
            }
        });
    }
    told.into_inner().unwrap()
}

fn next(waiting: &Mutex<Vec<Fault>>) -> Option<Fault> {
    waiting.lock().unwrap().pop()
}

fn differences_of(fault: Fault, suites: &[Suite], of: Choice) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let findings = runtime.block_on(examine(&plan(Some(fault)), Some(fault), suites, of));
    let took: Duration = findings.iter().map(|finding| finding.took).sum();
    println!("{fault:?}: {} cases in {took:.1?}", findings.len());
    differences(Some(fault), &findings)
}

#[test]
fn a_fault_fells_its_cases_and_no_others() {
    assert!(Fault::ALL.len() > 120);
    let told = all_differences(suites, Choice::Sample);
    assert!(told.is_empty(), "{}", told.join("\n"));
    cases::held("OP14", "each fault is named by its cases");
}

#[test]
#[ignore = "every suite against every fault takes long: .ci/long"]
fn a_fault_is_seen_in_no_other_suite() {
    let told = all_differences(|_| Suite::ALL.to_vec(), Choice::All);
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[tokio::test]
async fn without_a_fault_nothing_falls() {
    let plan = plan(None);
    // Most of an examination is waiting: the suites wait side by side.
    let suites = Suite::ALL.chunks(1).map(|suite| examine(&plan, None, suite, Choice::All));
    let findings = join_all(suites).await.concat();
    assert!(findings.len() > 250, "{} cases", findings.len());
    let told = differences(None, &findings);
    assert!(told.is_empty(), "{}", told.join("\n"));
    let cases = findings.iter().map(|finding| (finding.suite, format!("{} {}", finding.id, finding.name)));
    let fells = |case: &(Suite, String)| Fault::ALL.iter().any(|fault| fault.falls().contains(&(case.0, &case.1)));
    let whole: Vec<String> = cases.filter(|case| !fells(case)).map(|(suite, case)| format!("{suite} {case}")).collect();
    assert_eq!(whole, NEVER_FELLED, "left: what no fault fells; right: what stands here");
}

/// Where a value of the plan is another for a fault's sake, nothing falls without the fault either.
#[tokio::test]
async fn without_a_fault_nothing_falls_by_the_plan_of_a_fault() {
    for fault in [Fault::NoPing, Fault::UnboundedBuffer] {
        let findings = examine(&plan(Some(fault)), None, &suites(fault), Choice::All).await;
        let told = differences(None, &findings);
        assert!(told.is_empty(), "the plan of {fault:?}: {}", told.join("\n"));
    }
}
