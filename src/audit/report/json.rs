//! All that a run found, as one JSON object.

use serde_json::{Value, json};

use crate::audit::finding::{Course, Finding, Outcome, Scorecard};
use crate::audit::rule::rule;

/// The scorecard as JSON: `url`, `began`, `seconds`, `given`, `cut_short` (why not all was tried, or null), `left` (what
/// was not), `dangers`, `counts`, `needs` (what was not given, and how many cases need it) and `findings`.
pub fn json(card: &Scorecard) -> String {
    let counts = [Outcome::Held, Outcome::Fell, Outcome::Undecided, Outcome::NotApplicable, Outcome::NotRun];
    let counts = counts.map(|outcome| (outcome.as_str().replace(' ', "_"), Value::from(card.count(outcome))));
    let whole = json!({
        "url": card.url,
        "began": card.began,
        "seconds": card.took.as_secs_f64(),
        "given": card.given,
        "cut_short": card.cut_short,
        "left": card.left.iter().map(|(suite, id, name)| json!({ "suite": suite.as_str(), "id": id, "name": name }))
            .collect::<Vec<_>>(),
        "dangers": card.dangers.iter().cloned().map(|(key, reason)| (key, Value::from(reason))).collect::<Value>(),
        "counts": counts.into_iter().collect::<Value>(),
        "needs": card.needs().into_iter().map(|(what, cases)| (what.to_owned(), Value::from(cases))).collect::<Value>(),
        "findings": card.findings.iter().map(finding).collect::<Vec<_>>(),
    });
    format!("{whole:#}\n")
}

fn finding(finding: &Finding) -> Value {
    let rule = rule(finding.id);
    let exchange = finding.verdict.exchange.as_ref();
    json!({
        "suite": finding.suite.as_str(),
        "id": finding.id,
        "name": finding.name,
        "outcome": finding.outcome().as_str().replace(' ', "_"),
        "said": finding.verdict.said,
        "attempts": finding.verdict.attempts,
        "must": rule.map(|rule| rule.must),
        "means": rule.map(|rule| rule.means),
        "remedy": rule.map(|rule| rule.remedy),
        "asvs": rule.map(|rule| rule.asvs),
        "cwe": rule.map(|rule| rule.cwe),
        "sent": exchange.map(|exchange| &exchange.sent),
        "received": exchange.map(|exchange| &exchange.received),
        "seconds": finding.took.as_secs_f64(),
        "courses": finding.verdict.courses.iter().map(course).collect::<Vec<_>>(),
    })
}

fn course(course: &Course) -> Value {
    json!({ "name": course.name, "unit": course.unit, "points": course.points })
}
