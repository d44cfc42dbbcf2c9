//! The issuer's private key, and the good tokens that are minted with it.

use std::time::Duration;

use serde_json::{Map, Value};

use super::super::token::read_key;
use super::Beside;
use crate::audit::auth;
use crate::audit::target::{Credential, Signing};
use crate::policy::auth::algorithm::Algorithm;
use crate::policy::credential::Carrier;
use crate::secret::Secret;
use crate::units::UnixSeconds;

/// The longest that a good token lives; a policy may ask for less.
pub(super) const LIFE: Duration = Duration::from_secs(3600);

/// Who a good token is for where nobody says.
const SUBJECT: &str = "wsgate-audit";

/// How many good tokens are minted then, each of a subject of its own: none meets its own rate.
const SUBJECTS: u32 = 8;

/// What a policy says of the tokens that it takes.
#[derive(Clone, Debug)]
pub(super) struct GoodToken {
    /// The claims that must be there.
    pub(super) claims: Map<String, Value>,
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// How long it lives.
    pub(super) life: Duration,
}

/// The signing key, and for whom it mints good tokens.
#[derive(Debug)]
pub(super) struct Mint {
    pub(super) signing: Signing,
    /// None where the claims name the one subject.
    subjects: Vec<String>,
}

/// Reads the signing key, if one was named; what the command line says goes before what the policy says.
pub(super) fn read(beside: &Beside, good: Option<GoodToken>) -> Result<Option<Mint>, String> {
    let Some(path) = &beside.signing_key else { return Ok(None) };
    let key = read_key(path).map_err(|error| error.to_string())?;
    let good = good.unwrap_or(GoodToken { claims: Map::new(), algorithm: Algorithm::Es256, kid: None, life: LIFE });
    let mut claims = good.claims;
    claims.extend(beside.claims.iter().map(|claim| written(claim)).collect::<Result<Vec<_>, _>>()?);
    let subjects = subjects(&claims);
    claims.entry("sub").or_insert_with(|| Value::from(SUBJECT));
    let signing = Signing {
        key: Secret::new(key.to_vec()),
        algorithm: beside.alg.unwrap_or(good.algorithm),
        kid: beside.kid.clone().or(good.kid),
        claims,
        life: good.life,
    };
    Ok(Some(Mint { signing, subjects }))
}

/// A claim of the command line.
fn written(claim: &str) -> Result<(String, Value), String> {
    let (name, value) = claim.split_once('=').ok_or_else(|| format!("{claim:?} is no claim: write NAME=VALUE"))?;
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::from(value))))
}

/// Several, unless the claims name one.
fn subjects(claims: &Map<String, Value>) -> Vec<String> {
    let count = if claims.contains_key("sub") { 0 } else { SUBJECTS };
    (1..=count).map(|number| format!("{SUBJECT}-{number}")).collect()
}

impl Mint {
    /// Mints good tokens.
    pub(super) fn credential(&self, carrier: Carrier, now: UnixSeconds) -> Result<Credential, String> {
        auth::credential(&self.signing, carrier, self.subjects.clone(), now).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_subject_is_the_only_one_and_is_used_as_it_is() {
        let of = |claims: &[&str]| {
            let claims = claims.iter().map(|claim| written(claim)).collect::<Result<Map<_, _>, _>>().unwrap();
            subjects(&claims)
        };
        assert_eq!(of(&["sub=alice"]), Vec::<String>::new());
        assert_eq!(of(&["sub=7", "scope=chat"]), Vec::<String>::new());
        let several = of(&["scope=chat"]);
        assert_eq!((several.len(), several[0].as_str()), (8, "wsgate-audit-1"));
        assert!(written("sub").unwrap_err().contains("NAME=VALUE"));
    }
}
