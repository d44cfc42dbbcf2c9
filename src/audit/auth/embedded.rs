//! Keys that a token brings along, or points at: where a gateway looks at them, anybody is an issuer.
//!
//! What they point at is a listener of the suite's own, which must never be asked.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::jws::{self, Key, UnusableKey};
use super::keyless::Made;
use super::sample::{Forgery, Sample};
use super::{all, now};
use crate::audit::wire::Wire;
use crate::audit::{Exam, Verdict};
use crate::policy::auth::algorithm::{Algorithm, KeyKind};

/// How long the listener waits for somebody who is late.
const LATE: Duration = Duration::from_millis(300);

/// No token is accepted, and nobody asks for the key.
pub(super) async fn judge(exam: &mut Exam) -> Verdict {
    let listener = match listen(exam).await {
        Ok(listener) => listener,
        Err(why) => return Verdict::undecided(format!("nowhere to point at: {why}")),
    };
    let Ok(address) = listener.local_addr() else { return Verdict::undecided("nowhere to point at") };
    let made = exam.target.credential.as_ref().and_then(|credential| credential.tokens.first());
    let made = made
        .map_or(Ok(Vec::new()), |token| forged(&Sample::of(token.expose(), now()), &format!("http://{address}/keys")));
    let verdict = match made {
        Ok(forgeries) => all(forgeries, exam).await,
        Err(why) => return Verdict::undecided(why.to_string()),
    };
    match timeout(LATE, listener.accept()).await {
        Ok(Ok((_, from))) => Verdict {
            exchange: verdict.exchange,
            ..Verdict::fell(format!("the target asked for the key that a token points at, from {}", from.ip()))
        },
        _ => verdict,
    }
}

/// Listens where the target sees this side.
async fn listen(exam: &Exam) -> std::io::Result<TcpListener> {
    let here = Wire::tcp(&exam.target, None).await?.local_addr()?.ip();
    TcpListener::bind((here, 0)).await
}

/// What a token brings along or points at to be verified with, and the key that signed it.
struct Brought {
    key: Key,
    jwk: Value,
    /// A certificate of the public key; a secret has none.
    certificate: Option<Vec<u8>>,
}

impl Brought {
    /// A key of the algorithm that the target verifies, so that nothing but the key is wrong.
    fn of(algorithm: Algorithm) -> Result<Self, UnusableKey> {
        let failed = UnusableKey::of(algorithm);
        let mut jwk = json!({ "alg": algorithm.as_str(), "kid": "wsgate" });
        let Some(pair) = jws::fresh_pair(algorithm)? else {
            let secret = jws::fresh_secret();
            merge(&mut jwk, json!({ "kty": "oct", "k": jws::encode(&secret) }));
            return Ok(Self { key: Key::read(&secret, algorithm)?, jwk, certificate: None });
        };
        merge(&mut jwk, public(algorithm.key_kind(), &pair).ok_or(failed)?);
        let key = Key::read(pair.serialize_pem().as_bytes(), algorithm)?;
        let certificate =
            CertificateParams::new(vec![String::from("wsgate.invalid")]).and_then(|params| params.self_signed(&pair));
        Ok(Self { key, jwk, certificate: Some(certificate.map_err(|_| failed)?.der().to_vec()) })
    }

    /// The members of a header, for each way to bring a key.
    fn members(&self, url: &str) -> Vec<(&'static str, Vec<(&'static str, Value)>)> {
        let mut members = vec![
            ("jwk", vec![("jwk", self.jwk.clone())]),
            ("jku", vec![("jku", json!(url))]),
            ("x5u", vec![("x5u", json!(url))]),
        ];
        if let Some(der) = &self.certificate {
            let print = jws::encode(digest(&SHA256, der).as_ref());
            members.push(("x5c", vec![("x5c", json!([STANDARD.encode(der)])), ("x5t#S256", json!(print))]));
        }
        members
    }
}

/// The members of a JWK that are its public key (RFC 7518 section 6, RFC 8037 section 2).
fn public(kind: KeyKind, pair: &KeyPair) -> Option<Value> {
    let point = pair.public_key_raw();
    let part = |from: usize, length: usize| point.get(from..from.checked_add(length)?).map(jws::encode);
    let jwk = match kind {
        KeyKind::Secret => return None,
        KeyKind::P256 => json!({ "kty": "EC", "crv": "P-256", "x": part(1, 32)?, "y": part(33, 32)? }),
        KeyKind::P384 => json!({ "kty": "EC", "crv": "P-384", "x": part(1, 48)?, "y": part(49, 48)? }),
        KeyKind::Ed25519 => json!({ "kty": "OKP", "crv": "Ed25519", "x": jws::encode(point) }),
        KeyKind::Rsa => {
            let der = pair.subject_public_key_info();
            let (_, info) = SubjectPublicKeyInfo::from_der(&der).ok()?;
            let PublicKey::RSA(key) = info.parsed().ok()? else { return None };
            // ASN.1 puts a zero before a number whose first bit is set; a JWK has none.
            let number = |bytes: &[u8]| jws::encode(bytes.strip_prefix(&[0]).unwrap_or(bytes));
            json!({ "kty": "RSA", "n": number(key.modulus), "e": number(key.exponent) })
        }
    };
    Some(jwk)
}

fn merge(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

fn forged(sample: &Sample, url: &str) -> Made {
    let brought = Brought::of(sample.algorithm())?;
    let mut made = Vec::new();
    for (name, members) in brought.members(url) {
        for (what, kid) in [("the good kid", sample.header.get("kid").cloned()), ("its own kid", Some(json!("wsgate")))]
        {
            let mut header =
                vec![("alg", json!(brought.key.algorithm().as_str())), ("kid", kid.unwrap_or(Value::Null))];
            header.extend(members.iter().cloned());
            let token = brought.key.sign(sample.headed(&header).as_bytes(), sample.claimed().as_bytes())?;
            made.push(Forgery::new(format!("{name} and {what}"), token));
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::DecodingKey;
    use jsonwebtoken::jwk::Jwk;

    use super::*;
    use crate::units::UnixSeconds;

    fn header(token: &str) -> Value {
        let header = token.split('.').next().and_then(jws::decode).unwrap();
        serde_json::from_slice(&header).unwrap()
    }

    /// Whoever takes the key that a token brings takes the token: nothing else is wrong with it.
    #[test]
    fn every_way_to_bring_a_key_is_tried_with_the_algorithm_of_the_good_token() {
        for algorithm in Algorithm::ALL {
            let good = Key::fresh(algorithm).unwrap();
            let good = good.sign(format!(r#"{{"alg":"{algorithm}"}}"#).as_bytes(), br#"{"sub":"alice"}"#).unwrap();
            let made = forged(&Sample::of(&good, UnixSeconds(0)), "http://127.0.0.1:1/keys").unwrap();
            let certified = if algorithm.key_kind() == KeyKind::Secret { 0 } else { 2 };
            for (member, count) in [("jwk", 2), ("jku", 2), ("x5u", 2), ("x5c", certified)] {
                let with = made.iter().filter(|forgery| header(&forgery.token).get(member).is_some());
                assert_eq!(with.count(), count, "{algorithm} {member}");
            }
            for Forgery { what, token } in &made {
                let header = header(token);
                assert_eq!(header["alg"], algorithm.as_str(), "{what}");
                if let Some(jwk) = header.get("jwk") {
                    let jwk: Jwk = serde_json::from_value(jwk.clone()).unwrap();
                    let key = DecodingKey::from_jwk(&jwk).unwrap();
                    let (message, signature) = token.rsplit_once('.').unwrap();
                    let verifies = jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, algorithm.jws());
                    assert!(verifies.unwrap(), "{algorithm} {what}");
                }
            }
        }
    }
}
