//! The cases of the credentials, and which of them can be tried.

use super::carried::{self, Hand};
use super::keyless::{self, Made};
use super::sample::Sample;
use super::signed::{Forge, jwt_rules};
use super::{Probe, outlive, signed};
use crate::audit::{Attempt, Case, Exam, Probe as Way, Target};
use crate::policy::auth::Auth;
use crate::policy::auth::algorithm::KeyKind;
use crate::policy::credential::Carrier;
use crate::policy::forward::CredentialForwarding;

/// The cases against this target.
pub fn cases(exam: &mut Exam) -> Vec<Case> {
    let mut cases = placed(exam);
    cases.extend(unsigned());
    cases.extend(forged(&exam.target));
    cases.extend(kept(exam));
    let why = inapplicable(&exam.target);
    for case in &mut cases {
        let asked = why.or_else(|| (is_of_jwt(case.id)).then(|| unsigned_by_policy(&exam.target)).flatten());
        if let Some(why) = asked {
            case.probe = Way::NotApplicable(String::from(why));
        }
    }
    cases
}

/// Why no case applies.
fn inapplicable(target: &Target) -> Option<&'static str> {
    target.credential.is_none().then_some("the target asks for no credential")
}

/// Why a case of signed tokens does not apply.
fn unsigned_by_policy(target: &Target) -> Option<&'static str> {
    let policy = target.policy.as_ref()?;
    let signed = policy.auth.iter().any(|auth| matches!(auth, Auth::Jwt(_) | Auth::Backend));
    (!signed).then_some("the policy's tokens are random words and not signed")
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

/// A case of handshakes; without any, the sentence says why.
fn refused(id: &'static str, name: &'static str, attempts: Vec<Attempt>, without: &str) -> Case {
    let probe = match attempts.is_empty() {
        true => Way::NotApplicable(String::from(without)),
        false => Way::Refused(attempts),
    };
    Case { id, name, probe }
}

/// Good tokens that are absent, or in a wrong place or spelling.
fn placed(exam: &Exam) -> Vec<Case> {
    let hand = Hand::of(exam);
    let carriers = carried::carriers(&exam.target);
    let of = |pick: fn(&Carrier) -> bool| carriers.iter().find(|carrier| pick(carrier));
    let elsewhere = "no token travels there";
    let guests = exam.target.policy.iter().flat_map(|policy| &policy.auth).any(|auth| auth.from().is_empty());
    let nothing = if guests { Vec::new() } else { hand.nothing() };
    let spelled = |pick: fn(&Carrier) -> bool| of(pick).map(|carrier| hand.spellings(carrier)).unwrap_or_default();
    let header = spelled(|carrier| matches!(carrier, Carrier::Authorization));
    let cookie = spelled(|carrier| matches!(carrier, Carrier::Cookie(_)));
    let subprotocol = spelled(|carrier| matches!(carrier, Carrier::Subprotocol(_)));
    let query = spelled(|carrier| matches!(carrier, Carrier::Query(_)));
    vec![
        refused("AU01", "no credential", nothing, "the policy lets in whoever brings none"),
        refused("AU19", "two credentials in one place", hand.twice(&carriers), elsewhere),
        match exam.target.policy {
            Some(_) => refused(
                "AU19",
                "credentials in two places",
                hand.two_places(&carriers),
                "the token travels in one place alone",
            ),
            None => Case { id: "AU19", name: "credentials in two places", probe: Way::NotRun("--policy") },
        },
        refused("AU20", "spellings of the field Authorization", header, elsewhere),
        refused("AU20", "spellings of the cookie", cookie, elsewhere),
        refused("AU20", "spellings among the subprotocols", subprotocol, elsewhere),
        refused("AU21", "queries that two readers read differently", query, elsewhere),
    ]
}

/// Tokens that anybody can make.
fn unsigned() -> Vec<Case> {
    let keyless = |id, name, make: fn(&Sample) -> Made| case(id, name, Probe::Keyless(make));
    vec![
        keyless("AU02", "no signature is asked for by alg", keyless::none),
        keyless("AU05", "words that are no token", keyless::words),
        keyless("AU05", "too few or too many parts", keyless::parts),
        keyless("AU05", "a signature that is none", keyless::signature),
        keyless("AU05", "a signature in another spelling", keyless::spelling),
        keyless("AU05", "a signature of somebody else's", keyless::foreign),
        keyless("AU06", "ECDSA signatures without a key", keyless::ecdsa),
        keyless("AU07", "a kid that leads to a known key", keyless::kid),
        case("AU08", "keys that the token brings or points at", Probe::Embedded),
        keyless("AU18", "a token beyond any length", keyless::too_long),
    ]
}

/// Tokens of the issuer's key.
fn forged(target: &Target) -> Vec<Case> {
    let signed = |id, name, make: fn(&Forge) -> Made| match &target.signing {
        Some(_) => case(id, name, Probe::Signed(make)),
        None => Case { id, name, probe: Way::NotRun("--signing-key") },
    };
    let unless = |case: Case, why: Option<&str>| match why {
        Some(why) => Case { probe: Way::NotApplicable(String::from(why)), ..case },
        None => case,
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
