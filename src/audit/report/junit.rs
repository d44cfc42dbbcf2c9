//! The scorecard as JUnit XML, which build servers show.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::audit::finding::{Finding, Outcome, Scorecard, Suite};

/// A test suite for each suite, a test case for each finding: a fall is a failure, an undecided case an error, and so is
/// a run that was cut short; what was not tried is skipped.
pub fn junit(card: &Scorecard) -> String {
    let mut report = Report::new(format!("wsgate audit {}", card.url));
    for suite in Suite::ALL {
        let mut cases = card.findings.iter().filter(|finding| finding.suite == suite).map(case).peekable();
        if cases.peek().is_some() {
            let mut tests = TestSuite::new(suite.as_str());
            tests.add_test_cases(cases);
            report.add_test_suite(tests);
        }
    }
    if let Some(why) = &card.cut_short {
        let mut run = TestSuite::new("run");
        run.add_test_case(TestCase::new("all was tried", not_held(NonSuccessKind::Error, why)));
        report.add_test_suite(run);
    }
    report.to_string().unwrap_or_default()
}

fn case(finding: &Finding) -> TestCase {
    let said = finding.verdict.said.as_str();
    let status = match finding.outcome() {
        Outcome::Held => TestCaseStatus::success(),
        Outcome::Fell => not_held(NonSuccessKind::Failure, said),
        Outcome::Undecided => not_held(NonSuccessKind::Error, said),
        Outcome::NotApplicable | Outcome::NotRun => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(said);
            status
        }
    };
    let mut case = TestCase::new(format!("{} {}", finding.id, finding.name), status);
    case.set_classname(finding.suite.as_str()).set_time(finding.took);
    case
}

fn not_held(kind: NonSuccessKind, said: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(said);
    status
}
