//! Pages of other sites: cross-site WebSocket hijacking. A browser opens a socket to anywhere for any page, with the
//! user's cookies; what keeps a foreign page out is the gateway's look at Origin, and nothing else.
//!
//! The origins that are tried are made of those that are listed (`variants`), and a judge of the suite's own leaves out
//! what the list truly allows (`listed`). `standins` tries handshakes without one Origin, or with something else in its
//! place. Each comes with something that a browser sends by itself: the credential where it is a cookie, a cookie that
//! means nothing where it is not, and then also without.

use super::exam::Asked;
use super::rule::Rule;
use super::target::Target;
use super::{Attempt, Case, Exam, Request, Verdict};
use crate::policy::origin::MissingOrigin;
use listed::{Base, allows};
use variants::{ALONE, KINDS};

mod listed;
mod rules;
mod standins;
mod variants;

pub mod browser;

/// What the cases stand for.
pub const RULES: &[Rule] = rules::RULES;

/// A probe of this suite's own kind.
#[derive(Debug)]
pub enum Probe {
    /// A page in a real browser.
    Browser(browser::Page),
    /// What a refusal says to the page that is refused.
    Refusal(Invitation),
}

/// What a refusal must not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invitation {
    /// Fields by which a browser lets a page read the answer.
    Cors,
    /// What the page sent.
    Reflection,
}

/// The cases against this target.
pub fn cases(exam: &mut Exam) -> Vec<Case> {
    let bases = bases(&exam.target);
    let mut cases = Vec::new();
    for (id, name, make) in KINDS {
        let values =
            bases.iter().enumerate().flat_map(|(rank, base)| make(base).into_iter().map(move |value| (rank, value)));
        let attempts = attempts(exam, values.collect());
        cases.push(refused(exam, id, name, attempts));
    }
    let nothing = Base::of("https://nobody.invalid");
    for (id, name, make) in ALONE {
        let values = nothing.iter().flat_map(make).map(|value| (0, value)).collect();
        let attempts = attempts(exam, values);
        cases.push(refused(exam, id, name, attempts));
    }
    cases.extend(standins::cases(exam));
    cases.extend(browser::cases(exam));
    for (name, invitation) in [
        ("a refusal that other pages may read", Invitation::Cors),
        ("a refusal that says what was asked for", Invitation::Reflection),
    ] {
        cases.push(Case { id: "OR28", name, probe: super::Probe::Cswsh(Probe::Refusal(invitation)) });
    }
    cases
}

/// Judges one.
pub async fn judge(probe: &Probe, exam: &mut Exam) -> Verdict {
    match probe {
        Probe::Refusal(invitation) => standins::refusal(*invitation, exam).await,
        Probe::Browser(page) => browser::judge(*page, exam).await,
    }
}

/// The listed origins that serve as models: the good one, and a wildcard where one is listed, which is compared
/// otherwise. More would only repeat them.
fn bases(target: &Target) -> Vec<Base> {
    let all = || target.origin.iter().chain(&target.listed).filter_map(|listed| Base::of(listed));
    let Some(first) = all().next() else { return Vec::new() };
    let wild = all().find(|base| base.wild.is_some() && first.wild.is_none());
    std::iter::once(first).chain(wild).collect()
}

/// Good handshakes but for these values of Origin, less those that are listed: each with a cookie, and those made of the
/// good origin also without.
fn attempts(exam: &mut Exam, values: Vec<(usize, Vec<u8>)>) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for (rank, value) in values {
        if allows(&exam.target.listed, &value)
            || exam.target.origin.as_ref().is_some_and(|good| good.as_bytes() == value)
        {
            continue;
        }
        let shown = shown(exam, &value);
        let request = exam.good().with("Origin", &value);
        if rank == 0 && !exam.target.is_ambient() {
            attempts.push(Attempt { what: format!("Origin {shown}"), request: request.clone() });
        }
        attempts.push(Attempt { what: format!("Origin {shown} and a cookie"), request: with_cookie(exam, request) });
    }
    attempts
}

/// How much of an origin is told.
const SHOWN_CHARS: usize = 100;

fn shown(exam: &Exam, value: &[u8]) -> String {
    let text = exam.shown(value).replace('\n', "\\n");
    if text.chars().count() > SHOWN_CHARS {
        text.chars().take(SHOWN_CHARS).chain(['…']).collect()
    } else {
        format!("`{text}`")
    }
}

/// The handshake with something that a browser sends by itself: where the credential is a cookie it does already.
fn with_cookie(exam: &Exam, request: Request) -> Request {
    if exam.target.is_ambient() { request } else { request.with("Cookie", "wsgate_audit=1") }
}

/// A case of handshakes that must be refused, where the target looks at Origin at all.
fn refused(exam: &Exam, id: &'static str, name: &'static str, attempts: Vec<Attempt>) -> Case {
    let probe = match unclaimed(&exam.target) {
        Some(why) => super::Probe::NotApplicable(why.to_owned()),
        None if exam.target.origin.is_none() && exam.target.listed.is_empty() => super::Probe::NotRun("--origin"),
        None if attempts.is_empty() => {
            super::Probe::NotApplicable(String::from("no listed origin gives a model for it"))
        }
        None => super::Probe::Refused(attempts),
    };
    Case { id, name, probe }
}

/// Why a target does not claim to look at Origin.
fn unclaimed(target: &Target) -> Option<&'static str> {
    let any = target.policy.as_ref().is_some_and(|policy| policy.origin.allow.any);
    if any || target.listed.iter().any(|origin| origin == "*") {
        Some("the policy lets every origin in (danger_wildcard_origin)")
    } else {
        None
    }
}

/// Whether the target refuses every handshake without Origin.
fn refuses_missing(target: &Target) -> bool {
    target.policy.as_ref().is_some_and(|policy| policy.origin.missing == MissingOrigin::Refuse)
}

#[cfg(test)]
mod tests;
