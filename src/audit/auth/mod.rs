//! Credentials, missing and forged.
//!
//! Three circles: what anybody can send who saw a token; what a good token becomes in the wrong place or spelling; and,
//! with the issuer's key (`--signing-key`), tokens whose signature is right and whose words are wrong. Forged tokens are
//! made when they are sent, so that nothing but the forgery is wrong with them. What RFC 7515 and RFC 7519 allow and wsgate
//! refuses (`signed` names it) is tried where a policy of wsgate is given.
//!
//! Where a policy lets in whoever brings no token (`by = "none"`, `by = "backend"`), a token that stands where nobody
//! looks is none, and what must be refused elsewhere does not apply there. One that stands where an `[[auth]]` looks is
//! judged all the same.
//!
//! How long a comparison takes (AU24) is not judged from outside, and neither is what happens to key files (AU27, AU29)
//! or to the clock (AU30); one-time tickets (AU26) are not known here.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::exam::Asked;
use super::{Attempt, Exam, Outcome, Request, Verdict, all_refused};
use crate::policy::credential::Carrier;
use crate::units::UnixSeconds;
use carried::{Hand, Misplaced};
use keyless::Made;
use sample::{Forgery, Sample};
use signed::Forge;

mod carried;
mod cases;
mod embedded;
mod guess;
pub mod jws;
mod keyless;
mod leak;
mod logged;
mod minted;
mod outlive;
mod rules;
mod sample;
mod signed;

pub use cases::cases;
pub use jws::mint;
pub use minted::{credential, renew};
pub use rules::RULES;

/// A probe of this suite's own kind.
#[derive(Debug)]
pub enum Probe {
    /// A good token in the wrong place, or none, is refused.
    Misplaced(Misplaced),
    /// Tokens that anybody can make are refused.
    Keyless(fn(&Sample) -> Made),
    /// Tokens of the issuer's key that say what may not be said are refused, where a good one comes in.
    Signed(fn(&Forge) -> Made),
    /// Keys that a token brings along or points at are not looked at.
    Embedded,
    /// A token that came in this place goes no further.
    Carried(Carrier),
    /// No answer repeats a token.
    Answered,
    /// This log holds no token.
    Logged(PathBuf),
    /// Every wrong token has the same answer.
    Uniform,
    /// None of many wrong tokens comes in, and each is judged or limited.
    Many,
    /// A session ends with its token.
    Outlived,
}

/// Judges one.
pub async fn judge(probe: &Probe, exam: &mut Exam) -> Verdict {
    match probe {
        Probe::Misplaced(misplaced) => all_refused(&Hand::of(exam).attempts(misplaced), exam).await,
        Probe::Keyless(make) => keyless_refused(*make, exam).await,
        Probe::Signed(make) => signed_refused(*make, exam).await,
        Probe::Embedded => embedded::judge(exam).await,
        Probe::Carried(carrier) => leak::judge_carried(carrier, exam).await,
        Probe::Answered => leak::judge_answered(exam).await,
        Probe::Logged(path) => logged::judge(path, exam).await,
        Probe::Uniform => guess::judge_uniform(exam).await,
        Probe::Many => guess::judge_many(exam).await,
        Probe::Outlived => outlive::judge(exam).await,
    }
}

async fn keyless_refused(make: fn(&Sample) -> Made, exam: &Exam) -> Verdict {
    let token = exam.target.credential.as_ref().and_then(|credential| credential.tokens.first());
    let sample = Sample::of(token.map(|token| token.expose().as_str()).unwrap_or_default(), now());
    match make(&sample) {
        Ok(forgeries) if forgeries.is_empty() => {
            Verdict::new(Outcome::NotApplicable, "the given token is not signed: it has not three parts")
        }
        Ok(forgeries) => all(forgeries, exam).await,
        Err(why) => Verdict::undecided(why.to_string()),
    }
}

/// Refusals prove something only where the key's good token comes in.
async fn signed_refused(make: fn(&Forge) -> Made, exam: &Exam) -> Verdict {
    let made = match Forge::of(&exam.target, now()) {
        None => return Verdict::undecided("no signing key"),
        Some(forge) => forge.and_then(|forge| Ok((forge.good()?, make(&forge)?))),
    };
    let (good, forgeries) = match made {
        Ok(made) => made,
        Err(why) => return Verdict::undecided(why.to_string()),
    };
    let bytes = request(exam, &good).bytes();
    match exam.ask(&bytes).await {
        Asked::Answered(answer, wire) if answer.is_switching() => exam.leave(wire).await,
        asked => {
            let told = exam.told(&asked);
            return Verdict::undecided(format!("a good token of the signing key does not come in: {told}"))
                .with(exam.exchange(&bytes, &asked));
        }
    }
    all(forgeries, exam).await
}

/// Every one of these tokens is refused.
async fn all(forgeries: Vec<Forgery>, exam: &Exam) -> Verdict {
    let attempt = |forgery: Forgery| Attempt { request: request(exam, &forgery.token), what: forgery.what };
    let attempts: Vec<Attempt> = forgeries.into_iter().map(attempt).collect();
    all_refused(&attempts, exam).await
}

/// A handshake with this token where the credential travels.
fn request(exam: &Exam, token: &str) -> Request {
    let mut request = exam.anonymous();
    match exam.target.credential.as_ref().map(|credential| &credential.carrier) {
        Some(carrier @ Carrier::Query(_)) => exam.target.carry(&mut request, carrier, &escaped(token)),
        Some(carrier) => exam.target.carry(&mut request, carrier, token),
        None => {}
    }
    request
}

/// What a query would take for something else, percent-encoded.
fn escaped(token: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    token.bytes().map(escape).collect()
}

/// Seconds since 1970; zero where the clock stands before it, so that no token is good.
#[expect(clippy::disallowed_methods, reason = "forged tokens tell of this time, and of times around it")]
pub(super) fn now() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_a_token_of_any_characters() {
        assert_eq!(escaped("aZ0-._~"), "aZ0-._~");
        assert_eq!(escaped("a+b/c=="), "a%2Bb%2Fc%3D%3D");
    }
}
