//! Compression that nobody decided on: permessage-deflate (RFC 7692) is offered, and its bit used without an agreement.

use super::{Probe, breach, breach::Breach, case, not_applicable};
use crate::audit::canary::Contact;
use crate::audit::exam::Asked;
use crate::audit::{Case, Exam, Outcome, Verdict};
use crate::policy::Policy;
use crate::session::Extensions;

const FIELD: &str = "Sec-WebSocket-Extensions";
const OFFER: &str = "permessage-deflate; client_max_window_bits";

pub(super) fn cases(policy: Option<&Policy>) -> Vec<Case> {
    const OFFERED: &str = "an offer of compression";
    const USED: &str = "compression that was not agreed on";
    let passes = policy.is_some_and(|policy| policy.upstream.extensions == Extensions::Pass);
    let offered = match passes {
        true => not_applicable("CO01", OFFERED, "the policy passes extensions"),
        false => case("CO01", OFFERED, Probe::Offer),
    };
    vec![offered, case("CO01", USED, Probe::Unagreed(breach::compressed()))]
}

/// An offer is neither agreed to nor seen by the backend.
pub(super) async fn judge(exam: &mut Exam) -> Verdict {
    let request = exam.good().with(FIELD, OFFER);
    let mark = exam.mark();
    let asked = exam.ask(&request.bytes()).await;
    let exchange = exam.exchange(&request.bytes(), &asked);
    let offered = match (&exam.canary, mark) {
        (Some(canary), Some(mark)) => canary.since(mark).await.iter().any(names_extensions),
        _ => false,
    };
    let verdict = match asked {
        Asked::Answered(answer, wire) if answer.is_switching() => {
            let agreed = answer.value("sec-websocket-extensions").map(String::from);
            exam.leave(wire).await;
            match agreed {
                Some(agreed) => Verdict::fell(format!("the target agreed to `{agreed}`")),
                None if offered => Verdict::fell("the offer reached the backend"),
                None => Verdict::held("nothing was agreed to"),
            }
        }
        other => Verdict::undecided(format!("with an offer: {}", exam.told(&other))),
    };
    verdict.with(exchange)
}

fn names_extensions(contact: &Contact) -> bool {
    let head = String::from_utf8_lossy(contact.head()).to_ascii_lowercase();
    head.lines().any(|line| line.starts_with("sec-websocket-extensions:"))
}

/// A compressed frame ends a session in which compression was offered and not agreed to.
pub(super) async fn judge_unagreed(breach: &Breach, exam: &mut Exam) -> Verdict {
    let request = exam.good().with(FIELD, OFFER);
    match exam.ask(&request.bytes()).await {
        Asked::Answered(answer, wire) if answer.is_switching() => match answer.value("sec-websocket-extensions") {
            Some(_) => Verdict::new(Outcome::NotApplicable, "compression was agreed to, so its bit is lawful"),
            None => breach::ends(breach, wire, exam).await,
        },
        other => Verdict::undecided(format!("with an offer: {}", exam.told(&other))),
    }
}
