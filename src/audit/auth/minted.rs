//! Good tokens of the issuer's key, minted anew before they end.

use std::time::Duration;

use super::jws::{UnusableKey, mint};
use crate::audit::Target;
use crate::audit::target::{Credential, Minted, Signing};
use crate::policy::credential::Carrier;
use crate::secret::Secret;
use crate::units::UnixSeconds;

/// A credential of minted tokens, one for each of these subjects; without any, one of the subject that the claims name.
///
/// # Errors
/// Where the key cannot sign.
pub fn credential(
    signing: &Signing,
    carrier: Carrier,
    subjects: Vec<String>,
    now: UnixSeconds,
) -> Result<Credential, UnusableKey> {
    let tokens = tokens(signing, &subjects, now)?;
    Ok(Credential { carrier, tokens, minted: Some(Minted { subjects, at: now }) })
}

/// What most sessions of a case live at most. A token that is not as good for so long is minted anew, once a second at
/// most.
const SESSION: Duration = Duration::from_secs(150);

/// Mints the target's tokens anew where half of their life is over, or too little is left for a session, so that none
/// ends within a handshake; says whether it did. Tokens that were given stay, and so does what no key can sign.
pub fn renew(target: &mut Target, now: UnixSeconds) -> bool {
    let (Some(signing), Some(credential)) = (&target.signing, &mut target.credential) else { return false };
    let Some(minted) = &mut credential.minted else { return false };
    let age = now.saturating_since(minted.at);
    if age < signing.life / 2 && (age.is_zero() || age + SESSION < signing.life) {
        return false;
    }
    let Ok(tokens) = tokens(signing, &minted.subjects, now) else { return false };
    credential.tokens = tokens;
    minted.at = now;
    true
}

fn tokens(signing: &Signing, subjects: &[String], now: UnixSeconds) -> Result<Vec<Secret<String>>, UnusableKey> {
    match subjects {
        [] => Ok(vec![mint(signing, None, now)?]),
        subjects => subjects.iter().map(|subject| mint(signing, Some(subject), now)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::audit::auth::jws;
    use crate::audit::{Exam, LONGER_TOKENS, Patience, Probe, Suite, cases};
    use crate::policy::auth::algorithm::Algorithm;

    fn signing(life: u64) -> Signing {
        Signing {
            key: Secret::new(vec![7; 64]),
            algorithm: Algorithm::Hs256,
            kid: None,
            claims: jws::Object::from_iter([(String::from("sub"), json!("alice"))]),
            life: Duration::from_secs(life),
        }
    }

    /// Subject and end of every token.
    fn said(credential: &Credential) -> Vec<(Value, Value)> {
        let claims = |token: &Secret<String>| {
            let claims = token.expose().split('.').nth(1).and_then(jws::decode).unwrap();
            let claims: Value = serde_json::from_slice(&claims).unwrap();
            (claims["sub"].clone(), claims["exp"].clone())
        };
        credential.tokens.iter().map(claims).collect()
    }

    fn target(life: u64, subjects: &[&str]) -> Target {
        let signing = signing(life);
        let subjects = subjects.iter().map(|subject| String::from(*subject)).collect();
        let credential = credential(&signing, Carrier::Authorization, subjects, UnixSeconds(1000)).unwrap();
        Target { credential: Some(credential), signing: Some(signing), ..Target::for_tests(&[], None) }
    }

    #[test]
    fn a_token_is_minted_anew_once_half_of_its_life_is_over_or_too_little_is_left_for_a_session() {
        let moments: [(u64, &[(u64, u64)]); 3] = [
            (60, &[(1000, 1060), (1001, 1061), (1059, 1119), (5000, 5060)]),
            (200, &[(1000, 1200), (1049, 1200), (1050, 1250), (1099, 1250)]),
            (3600, &[(1000, 4600), (2799, 4600), (2800, 6400), (4599, 6400)]),
        ];
        for (life, moments) in moments {
            let mut target = target(life, &["a", "b"]);
            for (now, end) in moments {
                renew(&mut target, UnixSeconds(*now));
                let of = |subject: &str| (json!(subject), json!(end));
                assert_eq!(said(target.credential.as_ref().unwrap()), [of("a"), of("b")], "{life} s at {now}");
            }
        }
    }

    #[test]
    fn a_run_that_is_longer_than_a_life_goes_on_with_tokens_that_are_good() {
        let mut exam = Exam::new(target(60, &["a", "b"]), None, Patience::default());
        let old = said(exam.target.credential.as_ref().unwrap());
        let request = exam.good();
        let credential = exam.target.credential.as_ref().unwrap();
        let (new, at) = (said(credential), credential.minted.as_ref().unwrap().at);
        assert!(at > UnixSeconds(1000) && new.iter().zip(&old).all(|(new, old)| new.0 == old.0 && new.1 != old.1));
        let sent = request.value("authorization").map(String::from_utf8_lossy).unwrap();
        assert!(credential.tokens.iter().any(|token| sent.ends_with(token.expose())), "the new ones are sent");
    }

    #[test]
    fn no_case_has_sessions_that_live_longer_than_their_tokens() {
        let untried = |life: u64, suite: Suite, is_minted: bool| {
            let mut target = target(life, &["a"]);
            if !is_minted {
                target.credential.as_mut().unwrap().minted = None;
            }
            let mut exam = Exam::new(target, None, Patience::default());
            let cases = cases(suite, &mut exam);
            let untried = cases.iter().filter(|case| matches!(case.probe, Probe::NotRun(LONGER_TOKENS)));
            untried.map(|case| case.id).collect::<Vec<_>>()
        };
        assert_eq!(untried(40, Suite::Frames, true), ["FR16", "FR17"]);
        assert_eq!(untried(60, Suite::Frames, true), [] as [&str; 0]);
        let held = ["H101", "H101", "H106", "RX06", "RX07", "FR16", "FR17", "FR17"];
        assert_eq!(untried(60, Suite::Dos, true), held, "what is held as long as the bounds say");
        assert_eq!(untried(20, Suite::Dos, true).len(), cases_of(Suite::Dos));
        for (life, is_minted) in [(3600, true), (60, false)] {
            assert_eq!(untried(life, Suite::Dos, is_minted), [] as [&str; 0], "{life}");
        }
    }

    /// How many cases a target without TLS and policy has that are tried.
    fn cases_of(suite: Suite) -> usize {
        let mut exam = Exam::new(target(3600, &["a"]), None, Patience::default());
        cases(suite, &mut exam).iter().filter(|case| matches!(case.probe, Probe::Dos(_))).count()
    }

    #[test]
    fn the_subject_that_the_claims_name_is_the_only_one() {
        let target = target(60, &[]);
        assert_eq!(said(target.credential.as_ref().unwrap()), [(json!("alice"), json!(1060))]);
    }

    #[test]
    fn a_given_token_stays() {
        let mut target = target(60, &["a"]);
        target.credential.as_mut().unwrap().minted = None;
        renew(&mut target, UnixSeconds(9000));
        assert_eq!(said(target.credential.as_ref().unwrap()), [(json!("a"), json!(1060))]);
    }
}
