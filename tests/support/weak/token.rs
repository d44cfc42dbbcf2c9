//! Tokens that a lenient gateway takes for good ones.
//!
//! The gateway holds its issuer's key: a token that the fault lets in is signed anew, with what the fault does not look
//! at put right, and judged then.

use std::fs::File;
use std::io::Read as _;
use std::sync::atomic::Ordering;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;
use wsgate::policy::admission::carriers;
use wsgate::policy::auth::claims::MAX_TOKEN;
use wsgate::policy::auth::strict_json::parse_object;
use wsgate::policy::credential::{self, Carrier};
use wsgate::policy::screen::Screened;
use wsgate::ws::head::Headers;
use wsgate::ws::opening::OpeningHandshake;

use super::super::tokens::{self, Json, now};
use super::head::Head;
use super::{Client, Fault, Gate};

/// Behind how many wrong tokens on end [`Fault::FailsOpen`] judges no more.
const PATIENCE: u32 = 50;

/// Takes the handshake's credential for a good one where the fault does.
pub(super) fn mend(gate: &Gate, client: &Client, screened: &mut Screened) {
    let Some(fault) = gate.fault else { return };
    let places = carriers(&screened.policy.auth);
    let opening = &mut screened.opening;
    match fault {
        Fault::SeveralTokens => leave_first(opening, &places),
        Fault::SchemeUnchecked => forgive_scheme(opening),
        Fault::ResumedTrusted if !client.is_resumed => {}
        Fault::TokenNotAsked | Fault::ResumedTrusted if matches!(credential::find(opening, &places), Ok(None)) => {
            present(opening, &places, &gate.signer.token());
        }
        Fault::FailsOpen if gate.wrong.load(Ordering::Relaxed) >= PATIENCE => {
            present(opening, &places, &gate.signer.token());
        }
        _ => {
            let presented = presented(opening, &places).or_else(|| overlong(opening));
            if let Some(token) = presented.and_then(|token| taken_for(gate, fault, &token)) {
                present(opening, &places, &token);
            }
        }
    }
}

/// What the 101 says of subprotocols.
pub(super) fn chosen(gate: &Gate, asked: &Head, chosen: Option<&str>) -> Option<String> {
    let offered = asked.value("sec-websocket-protocol").filter(|_| gate.has(Fault::TokenEchoed));
    let token = offered.and_then(|offered| offered.split(',').map(str::trim).find(|word| word.len() > 64));
    token.or(chosen).map(String::from)
}

/// The one token that came.
fn presented(opening: &OpeningHandshake, places: &[Carrier]) -> Option<String> {
    let presented = credential::find(opening, places).ok()??;
    Some(presented.token.expose().clone())
}

/// A token that is longer than any place takes.
fn overlong(opening: &OpeningHandshake) -> Option<String> {
    let token = opening.headers.one("authorization").ok()??.strip_prefix("Bearer ")?;
    (token.len() > MAX_TOKEN).then(|| token.to_owned())
}

/// Puts a token in the place of all that came.
fn present(opening: &mut OpeningHandshake, places: &[Carrier], token: &str) {
    credential::strip(opening, places);
    opening.headers.push(String::from("authorization"), format!("Bearer {token}"));
}

/// Takes all tokens out but the first.
fn leave_first(opening: &mut OpeningHandshake, places: &[Carrier]) {
    let mut kept = Headers::default();
    for field in opening.headers.iter() {
        if field.name != "authorization" || !kept.has("authorization") {
            kept.push(field.name.clone(), field.value.clone());
        }
    }
    opening.headers = kept;
    let found = places.iter().find_map(|place| credential::find(opening, std::slice::from_ref(place)).ok().flatten());
    if let Some(found) = found {
        present(opening, places, found.token.expose());
    }
}

/// Whatever the scheme, and however many spaces stand behind it.
fn forgive_scheme(opening: &mut OpeningHandshake) {
    let mut forgiven = Headers::default();
    for field in opening.headers.iter() {
        let word =
            field.value.split([' ', ',']).rfind(|word| !word.is_empty()).filter(|_| field.name == "authorization");
        forgiven.push(field.name.clone(), word.map_or_else(|| field.value.clone(), |word| format!("Bearer {word}")));
    }
    opening.headers = forgiven;
}

/// The good token that this one is taken for.
fn taken_for(gate: &Gate, fault: Fault, token: &str) -> Option<String> {
    let mut parts: Vec<&str> = token.split('.').collect();
    if fault == Fault::PartsUncounted {
        parts.truncate(3);
    }
    let [header, claims, signature] = parts.try_into().ok()?;
    let engine = lenient(fault);
    let decode = |part: &str| engine.decode(part).ok();
    let object = |part: &str| match fault {
        Fault::DuplicateMembers => serde_json::from_slice::<Json>(&decode(part)?).ok(),
        _ => parse_object(&decode(part)?).ok(),
    };
    let (mut head, mut said, signature) = (object(header)?, object(claims)?, decode(signature)?);
    let message = format!("{header}.{claims}");
    let is_signed = gate.key().verifies(message.as_bytes(), &tokens::encode(&signature));
    let algorithm = head.get("alg").and_then(Value::as_str).unwrap_or_default();
    let is_let_in = match fault {
        Fault::SignatureUnchecked => true,
        Fault::AlgorithmNone => algorithm.eq_ignore_ascii_case("none"),
        Fault::HmacWithPublicKey => is_hmac(algorithm, gate.signer.public_pem().as_bytes(), &message, &signature),
        Fault::EmbeddedKey => head.contains_key("jwk"),
        Fault::KidIsPath => is_hmac(algorithm, &secret_at(head.get("kid")?.as_str()?)?, &message, &signature),
        _ => is_signed,
    };
    if !is_let_in {
        return None;
    }
    match fault {
        Fault::SignatureUnchecked | Fault::EmbeddedKey | Fault::DuplicateMembers | Fault::LenientBase64 => {}
        Fault::PartsUncounted => {}
        Fault::KidIsPath => {
            put(&mut head, "alg", "ES256");
            head.remove("kid");
        }
        Fault::TokenUnbounded => [&mut head, &mut said].into_iter().for_each(|object| drop(object.remove("stuffing"))),
        Fault::ZipIgnored => ["zip", "enc"].iter().for_each(|name| drop(head.remove(*name))),
        Fault::AlgorithmNone | Fault::HmacWithPublicKey | Fault::AlgorithmUnbound => put(&mut head, "alg", "ES256"),
        Fault::KidIgnored => drop(head.remove("kid")),
        Fault::CritIgnored => ["crit", "b64"].iter().for_each(|name| drop(head.remove(*name))),
        Fault::ExpUnchecked => put(&mut said, "exp", now() + 300),
        Fault::NbfUnchecked => ["nbf", "iat"].iter().for_each(|name| put(&mut said, name, now())),
        Fault::IssUnchecked => put(&mut said, "iss", tokens::ISSUER),
        Fault::AudUnchecked => put(&mut said, "aud", "chat"),
        Fault::SubUnchecked => put(&mut said, "sub", "somebody"),
        _ => return None,
    }
    Some(gate.signer.signed(&Value::Object(head).to_string(), &Value::Object(said).to_string()))
}

/// What stands in a file, as far as a secret is long.
fn secret_at(path: &str) -> Option<Vec<u8>> {
    let mut secret = Vec::new();
    File::open(path).ok()?.take(64).read_to_end(&mut secret).ok()?;
    Some(secret)
}

fn put(object: &mut Json, name: &str, value: impl Into<Value>) {
    object.insert(name.to_owned(), value.into());
}

fn lenient(fault: Fault) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new();
    let strict = config.with_decode_padding_mode(DecodePaddingMode::RequireNone);
    let loose = config.with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&URL_SAFE, if fault == Fault::LenientBase64 { loose } else { strict })
}

fn is_hmac(algorithm: &str, secret: &[u8], message: &str, signature: &[u8]) -> bool {
    let digest = match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => return false,
    };
    hmac::verify(&hmac::Key::new(digest, secret), message.as_bytes(), signature).is_ok()
}
