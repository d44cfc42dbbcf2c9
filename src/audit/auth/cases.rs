//! The cases of the credentials, and which of them can be tried.

use super::carried::{self, Misplaced};
use super::keyless::{self, Made};
use super::sample::Sample;
use super::signed::{Forge, jwt_rules};
use super::{Probe, outlive, signed};
use crate::audit::{Case, Exam, Probe as Way, Target};
use crate::policy::auth::Auth;
use crate::policy::auth::algorithm::KeyKind;
use crate::policy::credential::Carrier;
use crate::policy::forward::CredentialForwarding;
use crate::units::UnixSeconds;

/// The cases against this target.
pub fn cases(exam: &mut Exam) -> Vec<Case> {
    let mut cases = placed(exam);
    cases.extend(unsigned(&exam.target));
    cases.extend(forged(&exam.target));
    cases.extend(kept(exam));
    for case in &mut cases {
        if let Some(why) = inapplicable(case.id, &exam.target) {
            case.probe = Way::NotApplicable(String::from(why));
        }
    }
    cases
}

/// Why a case does not apply.
fn inapplicable(id: &str, target: &Target) -> Option<&'static str> {
    if target.credential.is_none() {
        return Some("no good token was given, and the policy asks for none");
    }
    let of_jwt = || is_of_jwt(id).then(|| unsigned_by_policy(target)).flatten();
    // What becomes of a good token does not depend on who comes in without one.
    let refused = || (!matches!(id, "AU22" | "AU23")).then(|| unjudged(target)).flatten();
    refused().or_else(of_jwt)
}

/// Why a case of signed tokens does not apply.
fn unsigned_by_policy(target: &Target) -> Option<&'static str> {
    let policy = target.policy.as_ref()?;
    let signed = policy.auth.iter().any(|auth| matches!(auth, Auth::Jwt(_) | Auth::Backend));
    (!signed).then_some("the policy's tokens are random words and not signed")
}

/// Who comes in without a token by this policy's word; `None` where nobody does.
fn guests(target: &Target) -> Option<&'static str> {
    target.policy.as_ref()?.auth.iter().find_map(|auth| match auth {
        Auth::Open => Some("the policy lets in whoever brings none (by = \"none\")"),
        Auth::Backend => Some("the policy leaves whoever brings none to the service (by = \"backend\")"),
        Auth::Jwt(_) | Auth::Token(_) | Auth::Ticket(_) => None,
    })
}

/// Why no token need be refused: guests come in, and nobody looks where this one travels.
fn unjudged(target: &Target) -> Option<&'static str> {
    let (policy, credential) = (target.policy.as_ref()?, target.credential.as_ref()?);
    let is_looked_at = policy.auth.iter().any(|auth| auth.from().contains(&credential.carrier));
    guests(target).filter(|_| !is_looked_at)
}

/// Why no ECDSA signature is forged.
fn no_ecdsa(target: &Target) -> Option<&'static str> {
    let token = target.credential.as_ref().and_then(|credential| credential.tokens.first())?;
    let is_ecdsa = Sample::of(token.expose(), UnixSeconds(0)).is_ecdsa();
    (!is_ecdsa).then_some("the good token is not signed by ECDSA")
}

fn is_of_jwt(id: &str) -> bool {
    matches!(
        id,
        "AU02"
            | "AU03"
            | "AU04"
            | "AU06"
            | "AU07"
            | "AU08"
            | "AU09"
            | "AU10"
            | "AU11"
            | "AU12"
            | "AU13"
            | "AU14"
            | "AU15"
            | "AU16"
            | "AU17"
            | "AU28"
    )
}

fn case(id: &'static str, name: &'static str, probe: Probe) -> Case {
    Case { id, name, probe: Way::Auth(probe) }
}

/// The same case, unless something says that it does not apply.
fn unless(case: Case, why: Option<&str>) -> Case {
    match why {
        Some(why) => Case { probe: Way::NotApplicable(String::from(why)), ..case },
        None => case,
    }
}

/// Good tokens that are absent, or in a wrong place or spelling.
fn placed(exam: &Exam) -> Vec<Case> {
    let target = &exam.target;
    let carriers = carried::carriers(target);
    let misplaced = |id, name, misplaced| case(id, name, Probe::Misplaced(misplaced));
    let spelled = |id, name, pick: fn(&Carrier) -> bool| match carriers.iter().find(|carrier| pick(carrier)) {
        Some(carrier) => misplaced(id, name, Misplaced::Spelled(carrier.clone())),
        None => Case { id, name, probe: Way::NotApplicable(String::from("no token travels there")) },
    };
    // A wrong word in the field Authorization is malformed; elsewhere it may be no token at all, and its sender a guest.
    let guests = guests(target);
    let explicit = carriers.iter().filter(|carrier| carrier.is_explicit()).count();
    let in_two_places = misplaced("AU19", "credentials in two places", Misplaced::InTwoPlaces);
    vec![
        unless(misplaced("AU01", "no credential", Misplaced::Absent), guests),
        misplaced("AU19", "two credentials in one place", Misplaced::Twice),
        match target.policy {
            Some(_) => unless(in_two_places, (explicit < 2).then_some("the token travels in one place alone")),
            None => Case { probe: Way::NotRun("--policy"), ..in_two_places },
        },
        spelled("AU20", "spellings of the field Authorization", |carrier| matches!(carrier, Carrier::Authorization)),
        unless(spelled("AU20", "spellings of the cookie", |carrier| matches!(carrier, Carrier::Cookie(_))), guests),
        unless(
            spelled("AU20", "spellings among the subprotocols", |carrier| matches!(carrier, Carrier::Subprotocol(_))),
            guests,
        ),
        unless(
            spelled("AU21", "queries that two readers read differently", |carrier| {
                matches!(carrier, Carrier::Query(_))
            }),
            guests,
        ),
    ]
}

/// Tokens that anybody can make.
fn unsigned(target: &Target) -> Vec<Case> {
    const TOO_LONG: &str = "a token beyond any length";
    let keyless = |id, name, make: fn(&Sample) -> Made| case(id, name, Probe::Keyless(make));
    vec![
        keyless("AU02", "no signature is asked for by alg", keyless::none),
        keyless("AU05", "words that are no token", keyless::words),
        keyless("AU05", "too few or too many parts", keyless::parts),
        keyless("AU05", "a signature that is none", keyless::signature),
        keyless("AU05", "a signature in another spelling", keyless::spelling),
        keyless("AU05", "a signature of somebody else's", keyless::foreign),
        unless(keyless("AU06", "ECDSA signatures without a key", keyless::ecdsa), no_ecdsa(target)),
        keyless("AU07", "a kid that leads to a known key", keyless::kid),
        case("AU08", "keys that the token brings or points at", Probe::Embedded),
        match jwt_rules(target).and(target.signing.as_ref()) {
            Some(_) => case("AU18", TOO_LONG, Probe::Signed(signed::too_long)),
            None => keyless("AU18", TOO_LONG, keyless::too_long),
        },
    ]
}

/// Tokens of the issuer's key.
fn forged(target: &Target) -> Vec<Case> {
    let signed = |id, name, make: fn(&Forge) -> Made| match &target.signing {
        Some(_) => case(id, name, Probe::Signed(make)),
        None => Case { id, name, probe: Way::NotRun("--signing-key") },
    };
    let by_policy = |case: Case| match (&case.probe, &target.policy) {
        (Way::Auth(_), None) => Case { probe: Way::NotRun("--policy"), ..case },
        _ => case,
    };
    let says = |claim: &str| target.signing.as_ref().is_none_or(|signing| signing.claims.contains_key(claim));
    let secret = target.signing.as_ref().is_some_and(|signing| signing.algorithm.key_kind() == KeyKind::Secret);
    let untyped = target.policy.is_some() && jwt_rules(target).is_none_or(|rules| rules.typ.is_none());
    vec![
        unless(
            signed("AU03", "the public key as a secret", signed::public_key_as_secret),
            secret.then_some("the issuer's key is a secret and has no public half"),
        ),
        signed("AU04", "another algorithm for the same key", signed::algorithm),
        signed("AU07", "a kid that names no key", signed::kid),
        signed("AU09", "demands that nobody understands", signed::crit),
        unless(
            by_policy(signed("AU10", "a token of another type", signed::typ)),
            untyped.then_some("the policy names no type of token"),
        ),
        signed("AU11", "an end that is none", signed::exp),
        signed("AU12", "a token that is over", signed::expired),
        signed("AU13", "a token that has not begun", signed::not_yet),
        by_policy(signed("AU13", "a token that lives too long", signed::too_long_lived)),
        unless(
            signed("AU14", "a token of another issuer", signed::iss),
            (!says("iss")).then_some("the good token names no issuer"),
        ),
        unless(
            signed("AU15", "a token for another audience", signed::aud),
            (!says("aud")).then_some("the good token names no audience"),
        ),
        unless(
            signed("AU16", "a token of nobody", signed::sub),
            (!says("sub")).then_some("the good token names no subject"),
        ),
        signed("AU17", "JSON that two readers read differently", signed::json_of_two_minds),
        signed("AU18", "a token to be inflated, or of too many claims", signed::heavy),
    ]
}

/// What becomes of good tokens, and of those who guess.
fn kept(exam: &Exam) -> Vec<Case> {
    const LOGGED: &str = "a token in the log";
    const OUTLIVED: &str = "a session that outlives its token";
    let target = &exam.target;
    let carriers = carried::carriers(target);
    let forwards = target.policy.iter().any(|policy| policy.upstream.credential != CredentialForwarding::Strip);
    let carried = |id, name, pick: fn(&Carrier) -> bool| {
        let probe = match carriers.iter().find(|carrier| pick(carrier)) {
            None => Way::NotApplicable(String::from("no token travels there")),
            Some(_) if unjudged(target).is_some() => {
                Way::NotApplicable(String::from("the token is the service's own: no [[auth]] takes it"))
            }
            Some(_) if forwards => Way::NotApplicable(String::from("the policy forwards the credential")),
            Some(_) if exam.canary.is_none() => Way::NotRun("--canary"),
            Some(carrier) => Way::Auth(Probe::Carried(carrier.clone())),
        };
        Case { id, name, probe }
    };
    let logged = match &target.log {
        Some(path) => Way::Auth(Probe::Logged(path.clone())),
        None => Way::NotRun("--log"),
    };
    let outlived = match &target.signing {
        None => Way::NotRun("--signing-key"),
        Some(_) if outlive::leeway(target) > outlive::LONGEST_LEEWAY => Way::NotRun("a leeway of at most a minute"),
        Some(_) => Way::Auth(Probe::Outlived),
    };
    vec![
        carried("AU22", "a token of the header at the backend", |carrier| matches!(carrier, Carrier::Authorization)),
        carried("AU22", "a token of a cookie at the backend", |carrier| matches!(carrier, Carrier::Cookie(_))),
        carried("AU22", "a token of the query at the backend", |carrier| matches!(carrier, Carrier::Query(_))),
        carried("AU23", "a token among the subprotocols", |carrier| matches!(carrier, Carrier::Subprotocol(_))),
        case("AU22", "a token in an answer", Probe::Answered),
        Case { id: "AU22", name: LOGGED, probe: logged },
        Case { id: "AU28", name: OUTLIVED, probe: outlived },
        case("AU25", "answers that tell wrong tokens apart", Probe::Uniform),
        case("AU25", "a hundred wrong tokens", Probe::Many),
    ]
}
