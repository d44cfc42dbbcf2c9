//! Keys that a token brings along, or points at: where a gateway looks at them, anybody is an issuer.
//!
//! What they point at is a listener of the suite's own, which must never be asked.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::jws::{self, Key, UnusableKey};
use super::keyless::Made;
use super::sample::{Forgery, Sample};
use super::{all, now};
use crate::audit::wire::Wire;
use crate::audit::{Exam, Verdict};
use crate::policy::auth::algorithm::Algorithm;

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

fn forged(sample: &Sample, url: &str) -> Made {
    let failed = UnusableKey::of(Algorithm::Es256);
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| failed)?;
    let key = Key::read(pair.serialize_pem().as_bytes(), Algorithm::Es256)?;
    let certificate =
        CertificateParams::new(vec![String::from("wsgate.invalid")]).and_then(|params| params.self_signed(&pair));
    let der = certificate.map_err(|_| failed)?.der().to_vec();
    let point = pair.public_key_raw();
    let half = |at: usize| jws::encode(point.get(at..at.saturating_add(32)).unwrap_or_default());
    let jwk = json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "wsgate", "x": half(1), "y": half(33) });
    let members: [(&str, Vec<(&str, Value)>); 4] = [
        ("jwk", vec![("jwk", jwk)]),
        ("jku", vec![("jku", json!(url))]),
        ("x5u", vec![("x5u", json!(url))]),
        (
            "x5c",
            vec![
                ("x5c", json!([STANDARD.encode(&der)])),
                ("x5t#S256", json!(jws::encode(digest(&SHA256, &der).as_ref()))),
            ],
        ),
    ];
    let mut made = Vec::new();
    for (name, members) in &members {
        for (what, kid) in [("the good kid", sample.header.get("kid").cloned()), ("its own kid", Some(json!("wsgate")))]
        {
            let mut header = vec![("alg", json!("ES256")), ("kid", kid.unwrap_or(Value::Null))];
            header.extend(members.iter().cloned());
            let token = key.sign(sample.headed(&header).as_bytes(), sample.claimed().as_bytes())?;
            made.push(Forgery::new(format!("{name} and {what}"), token));
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::UnixSeconds;

    #[test]
    fn every_way_to_bring_a_key_is_tried() {
        let made = forged(&Sample::of("word", UnixSeconds(0)), "http://127.0.0.1:1/keys").unwrap();
        for member in ["jwk", "jku", "x5u", "x5c"] {
            let with = made.iter().filter(|forgery| {
                let header = forgery.token.split('.').next().and_then(jws::decode).unwrap();
                String::from_utf8(header).unwrap().contains(&format!("\"{member}\":"))
            });
            assert_eq!(with.count(), 2, "{member}");
        }
    }
}
