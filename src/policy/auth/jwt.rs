//! JSON Web Tokens in compact form (RFC 7519, RFC 7515), judged strictly (RFC 8725).
//!
//! Cheap tests come first: length, shape, header and key id cost no cryptography. Claims are read only after the
//! signature was found right. `jku`, `x5u`, `jwk` and `x5c` are never looked at, and nothing is fetched. ECDSA signatures
//! with a high `s` pass, as RFC 7518 section 3.4 allows: a token is not made unique by its signature.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::JwtRules;
use super::claims::{MAX_SUBJECT, MAX_TOKEN};
use super::keys::{Issuer, MAX_ID, VerifyingKey};
use super::strict_json;
use crate::policy::{Reason, Refusal};
use crate::units::UnixSeconds;

#[cfg(test)]
mod tests;

/// The last second of the year 9999; no honest token names a later time.
const MAX_TIME: u64 = 253_402_300_799;

/// What a verified token says.
#[derive(Clone)]
pub struct Proof {
    /// `sub`: 1 to 256 bytes without control characters.
    pub subject: String,
    /// `exp` plus leeway.
    pub session_until: UnixSeconds,
    /// `iat`, where it is there.
    pub issued_at: Option<UnixSeconds>,
    /// All claims.
    pub claims: Map<String, Value>,
}

impl fmt::Debug for Proof {
    /// Claims are a person's: they are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("subject", &self.subject)
            .field("session_until", &self.session_until)
            .finish_non_exhaustive()
    }
}

/// Verifies a token of `issuer` under the rules of a policy at the time `now`.
pub fn verify(token: &str, rules: &JwtRules, issuer: &Issuer, now: UnixSeconds) -> Result<Proof, Refusal> {
    if token.len() > MAX_TOKEN {
        return Err(Reason::TokenTooLong.into());
    }
    let parts = Parts::of(token)?;
    let key = judge_header(&parts.header, rules, issuer)?;
    if !key.verifies(parts.message.as_bytes(), parts.signature) {
        return Err(Reason::TokenSignature.into());
    }
    let claims = strict_json::parse_object(&parts.payload)
        .map_err(|error| Refusal::new(Reason::TokenMalformed).with_detail(format!("claims: {error}")))?;
    judge_claims(claims, rules, issuer, now)
}

struct Parts<'t> {
    header: Map<String, Value>,
    payload: Vec<u8>,
    /// Header and payload as signed.
    message: &'t str,
    /// In base64url.
    signature: &'t str,
}

impl<'t> Parts<'t> {
    fn of(token: &'t str) -> Result<Self, Refusal> {
        let malformed = |what: &str| Refusal::new(Reason::TokenMalformed).with_detail(what);
        let (message, signature) = token.rsplit_once('.').ok_or_else(|| malformed("not three parts"))?;
        let (header, payload) = message.split_once('.').ok_or_else(|| malformed("not three parts"))?;
        if payload.contains('.') {
            return Err(malformed("not three parts"));
        }
        // The engine knows no padding and refuses spare bits that are not zero: one signature has one spelling.
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed("not canonical base64url"));
        decode(signature)?;
        let header =
            strict_json::parse_object(&decode(header)?).map_err(|error| malformed(&format!("header: {error}")))?;
        Ok(Self { header, payload: decode(payload)?, message, signature })
    }
}

fn judge_header<'i>(
    header: &Map<String, Value>,
    rules: &JwtRules,
    issuer: &'i Issuer,
) -> Result<&'i VerifyingKey, Refusal> {
    let refuse = |reason: Reason, what: &str| Err(Refusal::new(reason).with_detail(what));
    for demand in ["crit", "b64", "zip", "enc"] {
        if header.contains_key(demand) {
            return refuse(Reason::TokenHeader, demand);
        }
    }
    if let Some(wanted) = &rules.typ
        && !header.get("typ").and_then(Value::as_str).is_some_and(|typ| is_media_type(typ, wanted))
    {
        return refuse(Reason::TokenHeader, "typ");
    }
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= MAX_ID => Some(kid.as_str()),
        Some(_) => return refuse(Reason::TokenKeyUnknown, "kid is not a string of at most 256 bytes"),
    };
    let Some(key) = issuer.key(kid) else {
        return refuse(Reason::TokenKeyUnknown, kid.unwrap_or("no kid, and the issuer has several keys"));
    };
    match header.get("alg").and_then(Value::as_str) {
        Some(alg) if alg == key.algorithm().as_str() => Ok(key),
        alg => refuse(Reason::TokenAlgorithm, alg.unwrap_or("alg is not a string")),
    }
}

/// Media types compare without case, and `application/` may be left out (RFC 7515 section 4.1.9).
fn is_media_type(typ: &str, wanted: &str) -> bool {
    let bare = |text: &str| {
        let lower = text.to_ascii_lowercase();
        lower.strip_prefix("application/").map(String::from).unwrap_or(lower)
    };
    bare(typ) == bare(wanted)
}

fn judge_claims(
    claims: Map<String, Value>,
    rules: &JwtRules,
    issuer: &Issuer,
    now: UnixSeconds,
) -> Result<Proof, Refusal> {
    match claims.get("iss") {
        Some(Value::String(iss)) if iss == issuer.iss() => {}
        Some(Value::String(iss)) => return Err(Refusal::new(Reason::TokenIssuer).with_detail(iss)),
        _ => return Err(invalid("iss is missing or not a string")),
    }
    let (session_until, issued_at) = judge_times(&claims, rules, now)?;
    judge_audience(&claims, &rules.audience)?;
    let subject = subject_of(&claims)?;
    for rule in &rules.require {
        if !rule.holds(&claims) {
            return Err(Refusal::new(Reason::ClaimRequired).with_detail(&rule.pointer));
        }
    }
    Ok(Proof { subject, session_until, issued_at, claims })
}

/// A token ends at `exp` plus leeway, and is refused from that second on (RFC 7519 section 4.1.4). Returns that second, and
/// `iat`.
fn judge_times(
    claims: &Map<String, Value>,
    rules: &JwtRules,
    now: UnixSeconds,
) -> Result<(UnixSeconds, Option<UnixSeconds>), Refusal> {
    let expires = time_of(claims, "exp")?.ok_or_else(|| invalid("exp is missing"))?;
    let not_before = time_of(claims, "nbf")?;
    let issued = time_of(claims, "iat")?;
    let session_until = expires.saturating_add(rules.leeway);
    if session_until <= now {
        return Err(Reason::TokenExpired.into());
    }
    let soon = now.saturating_add(rules.leeway);
    for (name, time) in [("nbf", not_before), ("iat", issued)] {
        if time.is_some_and(|time| time > soon) {
            return Err(Refusal::new(Reason::TokenNotYetValid).with_detail(name));
        }
    }
    if expires.saturating_since(issued.or(not_before).unwrap_or(now)) > rules.max_life {
        return Err(Reason::TokenLifeTooLong.into());
    }
    Ok((session_until, issued))
}

fn time_of(claims: &Map<String, Value>, name: &str) -> Result<Option<UnixSeconds>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(seconds) if seconds <= MAX_TIME => Ok(Some(UnixSeconds(seconds))),
            _ => Err(invalid(&format!("{name} is not a whole number of seconds since 1970"))),
        },
    }
}

fn judge_audience(claims: &Map<String, Value>, ours: &[String]) -> Result<(), Refusal> {
    let is_ours = |audience: &str| ours.iter().any(|one| one == audience);
    let meant = match claims.get("aud") {
        Some(Value::String(audience)) => is_ours(audience),
        Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
            list.iter().filter_map(Value::as_str).any(is_ours)
        }
        _ => return Err(invalid("aud is missing or neither a string nor a list of strings")),
    };
    if meant { Ok(()) } else { Err(Reason::TokenAudience.into()) }
}

fn subject_of(claims: &Map<String, Value>) -> Result<String, Refusal> {
    match claims.get("sub").and_then(Value::as_str) {
        Some(sub) if !sub.is_empty() && sub.len() <= MAX_SUBJECT && !sub.chars().any(char::is_control) => {
            Ok(String::from(sub))
        }
        _ => Err(invalid("sub is missing or not a string of 1 to 256 bytes without control characters")),
    }
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(Reason::TokenClaimInvalid).with_detail(what)
}
