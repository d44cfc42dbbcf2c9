//! The scorecard as SARIF 2.1.0 (OASIS), which code hosts show beside the code.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::audit::finding::{Finding, Outcome, Scorecard};
use crate::audit::rule::{Rule, rule};

/// One run: the rules of everything that was tried, and a result for each case that was.
pub fn sarif(card: &Scorecard) -> String {
    let tried = |finding: &&Finding| !matches!(finding.outcome(), Outcome::NotApplicable | Outcome::NotRun);
    let tried: Vec<&Finding> = card.findings.iter().filter(tried).collect();
    let rules: BTreeMap<&str, &Rule> =
        tried.iter().filter_map(|finding| Some((finding.id, rule(finding.id)?))).collect();
    let whole = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "wsgate audit",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.values().map(|rule| described(rule)).collect::<Vec<_>>(),
            }},
            "invocations": [{
                "executionSuccessful": card.cut_short.is_none(),
                "exitCodeDescription": card.cut_short,
            }],
            "results": tried.iter().map(|finding| result(card, finding)).collect::<Vec<_>>(),
        }],
    });
    format!("{whole:#}\n")
}

fn described(rule: &Rule) -> Value {
    let cwe = rule.cwe.iter().map(|number| format!("external/cwe/cwe-{number}"));
    let asvs = rule.asvs.iter().map(|number| format!("external/asvs/{number}"));
    json!({
        "id": rule.id,
        "shortDescription": { "text": rule.must },
        "fullDescription": { "text": rule.means },
        "help": { "text": rule.remedy },
        "properties": { "tags": cwe.chain(asvs).collect::<Vec<_>>() },
    })
}

fn result(card: &Scorecard, finding: &Finding) -> Value {
    let (kind, level) = match finding.outcome() {
        Outcome::Fell => ("fail", "error"),
        Outcome::Undecided => ("review", "none"),
        _ => ("pass", "none"),
    };
    json!({
        "ruleId": finding.id,
        "kind": kind,
        "level": level,
        "message": { "text": format!("{}: {}", finding.name, finding.verdict.said) },
        "locations": [{ "physicalLocation": { "artifactLocation": { "uri": card.url } } }],
        "partialFingerprints": { "case/v1": format!("{}/{}/{}", finding.suite, finding.id, finding.name) },
    })
}
