//! The issuer's private key, and the good tokens that are minted with it.

use serde_json::{Map, Value};

use super::super::token::read_key;
use super::Beside;
use crate::audit::auth::mint;
use crate::audit::target::Signing;
use crate::policy::auth::algorithm::Algorithm;
use crate::secret::Secret;
use crate::units::UnixSeconds;

/// How many good tokens are minted, each of a subject of its own: none meets its own rate.
const SUBJECTS: u32 = 8;

/// What a policy says of the tokens that it takes.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The claims that must be there.
    pub(super) claims: Map<String, Value>,
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
}

/// Reads the signing key, if one was named; what the command line says goes before what the policy says.
pub(super) fn read(beside: &Beside, asked: Option<Asked>) -> Result<Option<Signing>, String> {
    let Some(path) = &beside.signing_key else { return Ok(None) };
    let key = read_key(path).map_err(|error| error.to_string())?;
    let (mut claims, algorithm, kid) = match asked {
        Some(asked) => (asked.claims, asked.algorithm, asked.kid),
        None => (Map::new(), Algorithm::Es256, None),
    };
    claims.entry("sub").or_insert_with(|| Value::from("wsgate-audit"));
    for claim in &beside.claims {
        let (name, value) = claim.split_once('=').ok_or_else(|| format!("{claim:?} is no claim: write NAME=VALUE"))?;
        claims.insert(name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)));
    }
    Ok(Some(Signing {
        key: Secret::new(key.to_vec()),
        algorithm: beside.alg.unwrap_or(algorithm),
        kid: beside.kid.clone().or(kid),
        claims,
    }))
}

/// Mints good tokens.
pub(super) fn tokens(signing: &Signing, now: UnixSeconds) -> Result<Vec<Secret<String>>, String> {
    (1..=SUBJECTS).map(|number| token(signing, number, now)).collect()
}

fn token(signing: &Signing, number: u32, now: UnixSeconds) -> Result<Secret<String>, String> {
    let subject = signing.claims.get("sub").and_then(Value::as_str).unwrap_or("wsgate-audit");
    mint(signing, Some(&format!("{subject}-{number}")), now).map_err(|error| error.to_string())
}
