//! Where a token turns up that should have gone no further: at the backend, in an answer.

use super::sample::Sample;
use super::{keyless, now};
use crate::audit::exam::Asked;
use crate::audit::redact::Redactor;
use crate::audit::{Canary, Exam, Request, Verdict};
use crate::policy::credential::Carrier;

/// The part of a token without which it opens nothing: its signature, or all of a word.
pub(super) fn core(token: &str) -> &str {
    token.rsplit_once('.').map_or(token, |(_, signature)| signature)
}

/// Whether a token, or a long piece of it, is in these bytes, however it is written.
pub(super) fn holds(bytes: &[u8], token: &str) -> bool {
    Redactor::new(&[core(token)]).finds(bytes)
}

/// A handshake with the token in this place.
fn carrying(exam: &Exam, carrier: &Carrier, token: &str) -> Request {
    let mut request = exam.anonymous();
    exam.target.carry(&mut request, carrier, token);
    request
}

/// One of the good tokens.
pub(super) fn token(exam: &Exam) -> String {
    let token = exam.target.credential.as_ref().and_then(|credential| credential.tokens.first());
    token.map(|token| token.expose().clone()).unwrap_or_default()
}

/// A token that came in this place does not reach the backend, and the 101 does not repeat it.
pub(super) async fn judge_carried(carrier: &Carrier, exam: &mut Exam) -> Verdict {
    let token = token(exam);
    let bytes = carrying(exam, carrier, &token).bytes();
    let mark = exam.canary.as_ref().map(Canary::mark);
    let asked = exam.ask(&bytes).await;
    let exchange = exam.exchange(&bytes, &asked);
    let arrived = match (&exam.canary, mark) {
        (Some(canary), Some(mark)) => canary.since(mark).await,
        _ => Vec::new(),
    };
    let verdict = match asked {
        Asked::Answered(answer, wire) if answer.is_switching() => {
            exam.leave(wire).await;
            if holds(&answer.head, &token) {
                Verdict::fell(format!("{carrier}: the 101 repeats the token"))
            } else if arrived.iter().any(|contact| holds(&contact.received, &token)) {
                Verdict::fell(format!("{carrier}: the backend received the token"))
            } else {
                Verdict::held(format!("{carrier}: the token went no further"))
            }
        }
        other => Verdict::undecided(format!("{carrier}: a good token does not come in: {}", exam.told(&other))),
    };
    verdict.with(exchange)
}

/// Neither a 101 nor a refusal repeats the token that it answers.
pub(super) async fn judge_answered(exam: &mut Exam) -> Verdict {
    let Some(credential) = exam.target.credential.clone() else { return Verdict::undecided("no credential") };
    let good = token(exam);
    let Some(wrong) = wrong_token(&good) else { return Verdict::undecided("no wrong token can be made") };
    let mut last = Verdict::undecided("nothing was tried");
    for token in [good, wrong] {
        let bytes = carrying(exam, &credential.carrier, &token).bytes();
        let asked = exam.ask(&bytes).await;
        let exchange = exam.exchange(&bytes, &asked);
        let told = exam.told(&asked);
        let said = match asked {
            Asked::Answered(answer, wire) if answer.is_switching() => {
                exam.leave(wire).await;
                answer.head
            }
            Asked::Answered(answer, mut wire) => {
                let body = wire.body(&answer, exam.patience.close).await;
                [answer.head, body, wire.kept].join(&b'\n')
            }
            _ => return Verdict::undecided(told).with(exchange),
        };
        if holds(&said, &token) {
            return Verdict::fell(format!("{told}: the answer repeats the token")).with(exchange);
        }
        last = Verdict::held("no answer repeats the token that it answers").with(exchange);
    }
    last
}

/// A token like the given one that nobody has issued.
pub(super) fn wrong_token(good: &str) -> Option<String> {
    keyless::foreign(&Sample::of(good, now())).ok()?.into_iter().next().map(|forgery| forgery.token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_signature_or_any_long_piece_of_it() {
        let jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLXNvbWUtbGVuZ3Ro";
        let word = "kJ3vPq8sLx0ZtYw2NbRf5HdGm7CaUe1Q";
        for (bytes, token) in [
            (format!("GET /?t={jwt} HTTP/1.1"), jwt),
            (format!("token={}", &jwt[50..]), jwt),
            (format!("token={}", &word[..24]), word),
        ] {
            assert!(holds(bytes.as_bytes(), token), "{bytes}");
        }
        for (bytes, token) in [("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9", jwt), ("kJ3vPq8s", word), ("", word)] {
            assert!(!holds(bytes.as_bytes(), token), "{bytes}");
        }
    }
}
