use std::time::Duration;

use super::*;
use crate::audit::finding::{Course, Exchange, Finding, Outcome, Scorecard, Suite, Verdict};

const HOSTILE: &str = "</pre><script>alert(1)</script>&\u{1b}[31m";

fn finding(id: &'static str, name: &'static str, outcome: Outcome) -> Finding {
    let exchange = Exchange { sent: String::from("GET / HTTP/1.1"), received: String::from(HOSTILE) };
    let mut verdict = Verdict::new(outcome, format!("seen: {HOSTILE}")).with(exchange);
    verdict.attempts = Box::new([String::from("one: 403"), format!("two: {HOSTILE}")]);
    verdict.courses.push(Course { name: "round trip", unit: "ms", points: vec![(0.0, 1.0), (1.0, 3.0)] });
    Finding { suite: Suite::Cswsh, id, name, verdict, took: Duration::from_millis(1500) }
}

fn card() -> Scorecard {
    Scorecard {
        url: String::from("wss://chat.test/chat"),
        began: String::from("2026-01-02T03:04:05Z"),
        dangers: vec![(String::from("danger_no_auth"), String::from("<b>a reason</b>"))],
        cut_short: None,
        took: Duration::from_secs(90),
        given: vec![String::from("--policy <chat>.toml")],
        left: Vec::new(),
        findings: vec![
            finding("OR08", "held", Outcome::Held),
            finding("OR09", "fell", Outcome::Fell),
            finding("OR10", "undecided", Outcome::Undecided),
            finding("OR11", "not applicable", Outcome::NotApplicable),
            finding("OR12", "not run", Outcome::NotRun),
        ],
    }
}

#[test]
fn the_page_shows_what_a_target_sent_as_text() {
    let page = html(&card());
    assert!(page.contains("&lt;/pre&gt;&lt;script&gt;alert(1)"), "{page}");
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains("<b>a reason"), "{page}");
    assert!(page.contains("<polyline points=\"0.0,60.0 600.0,0.0\""), "{page}");
    assert_eq!(page.matches("<article").count(), 2, "what fell and what is undecided stands out");
    assert!(page.contains("took 90 s") && page.contains("<code>--policy &lt;chat&gt;.toml</code>"), "{page}");
    assert!(page.contains("1 more with seen: "), "what was not given: {page}");
    let held = page.split("<td class=\"held\">").nth(1).and_then(|row| row.split("</tr>").next()).unwrap();
    assert!(held.contains("Must: ") && held.contains("<li>one: 403</li><li>two: &lt;/pre&gt;"), "{held}");
}

#[test]
fn the_json_holds_every_finding() {
    let read: serde_json::Value = serde_json::from_str(&json(&card())).unwrap();
    assert_eq!(read["findings"].as_array().unwrap().len(), 5);
    assert_eq!(read["counts"]["fell"], 1);
    assert_eq!(read["counts"]["not_applicable"], 1);
    assert_eq!(read["findings"][1]["outcome"], "fell");
    assert_eq!(read["findings"][1]["received"], HOSTILE);
    assert_eq!(read["findings"][0]["attempts"][0], "one: 403");
    assert_eq!((&read["seconds"], &read["given"][0]), (&90.0.into(), &"--policy <chat>.toml".into()));
    assert_eq!(read["dangers"]["danger_no_auth"], "<b>a reason</b>");
}

#[test]
fn junit_tells_failures_errors_and_what_was_skipped() {
    let written = junit(&card());
    let read = quick_junit::Report::deserialize_from_str(&written).unwrap();
    assert_eq!((read.tests, read.failures, read.errors), (5, 1, 1), "{written}");
    assert_eq!(written.matches("<skipped").count(), 2, "{written}");
    assert!(!written.contains('\u{1b}'), "no control character stands in XML: {written}");
}

#[test]
fn sarif_has_a_result_for_each_case_that_was_tried() {
    let read: serde_json::Value = serde_json::from_str(&sarif(&card())).unwrap();
    let results = read["runs"][0]["results"].as_array().unwrap();
    let told: Vec<_> = results.iter().map(|result| (result["kind"].as_str(), result["level"].as_str())).collect();
    let expected = [(Some("pass"), Some("none")), (Some("fail"), Some("error")), (Some("review"), Some("none"))];
    assert_eq!(told, expected);
}

#[test]
fn every_report_tells_that_a_run_was_cut_short() {
    let left = vec![(Suite::Tls, "TL01", "one"), (Suite::Cswsh, "OR20", "two"), (Suite::Cswsh, "OR21", "three")];
    let cut = Scorecard { cut_short: Some(String::from("it was <interrupted>")), left, ..card() };
    assert!(html(&cut).contains("Left of cswsh: 2 cases, from OR20 on."));
    let read: serde_json::Value = serde_json::from_str(&json(&cut)).unwrap();
    assert_eq!((&read["left"][0]["suite"], &read["left"][2]["name"]), (&"tls".into(), &"three".into()));
    for (name, render) in
        [("html", html as fn(&Scorecard) -> String), ("json", json), ("junit", junit), ("sarif", sarif)]
    {
        assert!(render(&cut).contains("interrupted"), "{name}");
        assert!(!render(&card()).contains("interrupted"), "{name}");
    }
    let read = quick_junit::Report::deserialize_from_str(&junit(&cut)).unwrap();
    assert_eq!((read.tests, read.errors), (6, 2));
    let read: serde_json::Value = serde_json::from_str(&sarif(&cut)).unwrap();
    assert_eq!(read["runs"][0]["invocations"][0]["executionSuccessful"], false);
    assert!(!html(&cut).contains("<interrupted>"));
}
