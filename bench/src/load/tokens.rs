//! A token of its own for every connection, signed before anything is measured.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;

use crate::fault::{During as _, Outcome};

/// How long a token is valid, in seconds: longer than any run.
const LIFE_SECONDS: u64 = 3600;

/// Signs `count` ES256 tokens, of which each has a subject and a `jti` of its own.
pub(crate) fn mint(key: &Path, issuer: &str, audience: &str, count: usize) -> Outcome<Vec<String>> {
    let key = PrivatePkcs8KeyDer::from_pem_file(key).during("reading --token-key")?;
    let key = EncodingKey::from_ec_der(key.secret_pkcs8_der());
    let header = Header::new(Algorithm::ES256);
    let iat = now_seconds();
    let claims = |number: usize| {
        json!({
            "iss": issuer, "aud": audience, "sub": format!("user-{number}"), "jti": format!("{iat}-{number}"),
            "iat": iat, "exp": iat + LIFE_SECONDS,
        })
    };
    (0..count).map(|number| jsonwebtoken::encode(&header, &claims(number), &key).during("signing a token")).collect()
}

#[expect(clippy::disallowed_methods, reason = "tokens are made for now")]
fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
