//! The scorecard as a page for people: one file that loads nothing.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::plot::plot;
use crate::audit::finding::{Exchange, Finding, Outcome, Scorecard, Suite};
use crate::audit::rule::{Rule, rule};

const STYLE: &str = include_str!("page.css");

/// The page loads and runs nothing, whatever a target sent.
const ALLOWED: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A summary, every finding that did not hold with its evidence and remedy, and a table of all.
pub fn html(card: &Scorecard) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(ALLOWED);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "wsgate audit: " (card.url) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (summary(card))
                (open_findings(card, Outcome::Fell, "What fell"))
                (open_findings(card, Outcome::Undecided, "What could not be decided"))
                @for suite in Suite::ALL { (table(card, suite)) }
            }
        }
    };
    page.into_string()
}

fn summary(card: &Scorecard) -> Markup {
    let counted = [Outcome::Held, Outcome::Fell, Outcome::Undecided, Outcome::NotApplicable, Outcome::NotRun];
    html! {
        h1 { "Audit of " code { (card.url) } }
        p { "Begun " (card.began) ", took " (format!("{:.0} s", card.took.as_secs_f64())) ", wsgate " (env!("CARGO_PKG_VERSION")) "." }
        @if !card.given.is_empty() {
            p { "Given:" @for given in &card.given { " " code { (given) } } }
        }
        ul class="counts" {
            @for outcome in counted {
                li class=(outcome.as_str()) { b { (card.count(outcome)) } (outcome.as_str()) }
            }
        }
        @if let Some(why) = &card.cut_short { p { b { "Not all was tried: " (why) "." } } }
        @for (suite, count, first) in card.left_by_suite() {
            p { "Left of " (suite.as_str()) ": " (count) " cases, from " (first) " on." }
        }
        @if !card.needs().is_empty() {
            ul { @for (what, cases) in card.needs() { li { (cases) " more with " (what) } } }
        }
        @if !card.dangers.is_empty() {
            h2 { "What weakens the policy, by its operator's word" }
            table {
                @for (key, reason) in &card.dangers { tr { td { code { (key) } } td { (reason) } } }
            }
        }
    }
}

fn open_findings(card: &Scorecard, outcome: Outcome, title: &str) -> Markup {
    html! {
        @if card.count(outcome) > 0 {
            h2 { (title) }
            @for finding in card.that(outcome) { (article(finding)) }
        }
    }
}

fn article(finding: &Finding) -> Markup {
    html! {
        article class=(finding.outcome().as_str()) {
            h3 { (finding.id) " " (finding.name) }
            p { (finding.verdict.said) }
            @if let Some(rule) = rule(finding.id) { (explained(rule)) }
            (evidence(finding))
        }
    }
}

fn explained(rule: &Rule) -> Markup {
    let cwe = rule.cwe.iter().map(|number| format!("CWE-{number}"));
    let asvs = rule.asvs.iter().map(|number| format!("ASVS {number}"));
    let named = cwe.chain(asvs).collect::<Vec<_>>().join(", ");
    html! {
        dl {
            dt { "Must" } dd { (rule.must) }
            dt { "Means" } dd { (rule.means) }
            dt { "Remedy" } dd { (rule.remedy) }
            @if !named.is_empty() { dt { "Known as" } dd { (named) } }
        }
    }
}

fn evidence(finding: &Finding) -> Markup {
    html! {
        @if finding.verdict.attempts.len() > 1 {
            ul { @for attempt in finding.verdict.attempts.iter() { li { (attempt) } } }
        }
        @if let Some(Exchange { sent, received }) = &finding.verdict.exchange {
            div class="exchange" {
                div { p { "Sent" } pre { (sent) } }
                div { p { "Received" } pre { (received) } }
            }
        }
        @for course in &finding.verdict.courses { (plot(course)) }
    }
}

fn table(card: &Scorecard, suite: Suite) -> Markup {
    let findings: Vec<&Finding> = card.findings.iter().filter(|finding| finding.suite == suite).collect();
    html! {
        @if !findings.is_empty() {
            h2 { "Suite " (suite.as_str()) }
            table {
                tr { th { "Id" } th { "Case" } th { "Outcome" } th { "Seen" } }
                @for finding in findings { (row(finding)) }
            }
        }
    }
}

fn row(finding: &Finding) -> Markup {
    let must = rule(finding.id).map(|rule| rule.must);
    html! {
        tr {
            td { (finding.id) }
            td { (finding.name) }
            td class=(finding.outcome().as_str()) { (finding.outcome().as_str()) }
            td {
                (finding.verdict.said)
                @if finding.outcome() == Outcome::Held {
                    details { summary { "evidence" } @if let Some(must) = must { p { "Must: " (must) } } (evidence(finding)) }
                }
            }
        }
    }
}
