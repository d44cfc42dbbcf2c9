//! The token that was given, taken apart: what is forged looks like it.

use serde_json::Value;

use super::jws::{self, Object};
use crate::policy::auth::algorithm::{Algorithm, KeyKind};
use crate::units::UnixSeconds;

/// A token that must be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgery {
    /// What is wrong with it, in a few words.
    pub what: String,
    /// The token.
    pub token: String,
}

impl Forgery {
    /// A forgery.
    pub fn new(what: impl Into<String>, token: impl Into<String>) -> Self {
        Self { what: what.into(), token: token.into() }
    }
}

/// A good token as somebody sees it who has no key.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The token.
    pub(super) token: String,
    /// Its header; a likely one where it has none.
    pub(super) header: Object,
    /// Its claims, fresh at this time; likely ones where it has none.
    pub(super) claims: Object,
    /// Its parts, where it is a JWS.
    pub(super) parts: Option<[String; 3]>,
}

impl Sample {
    /// Takes a token apart.
    pub(super) fn of(token: &str, now: UnixSeconds) -> Self {
        let parts: Vec<String> = token.split('.').map(String::from).collect();
        let parts: Option<[String; 3]> = parts.try_into().ok();
        let object = |part: &String| match serde_json::from_slice(&jws::decode(part)?).ok()? {
            Value::Object(members) => Some(members),
            _ => None,
        };
        let read = parts.as_ref().and_then(|[header, claims, _]| Some((object(header)?, object(claims)?)));
        let parts = parts.filter(|_| read.is_some());
        let (header, claims) = read.unwrap_or_else(likely);
        Self { token: String::from(token), header, claims: fresh(claims, now), parts }
    }

    /// What it is signed with; a likely one where nobody can tell.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.named().unwrap_or(Algorithm::Es256)
    }

    /// Whether it is signed by ECDSA; `false` where nobody can tell.
    pub(super) fn is_ecdsa(&self) -> bool {
        self.parts.is_some() && matches!(self.named().map(Algorithm::key_kind), Some(KeyKind::P256 | KeyKind::P384))
    }

    fn named(&self) -> Option<Algorithm> {
        self.header.get("alg").and_then(Value::as_str).and_then(|alg| alg.parse().ok())
    }

    /// Its header with other members; `null` takes one out.
    pub(super) fn headed(&self, members: &[(&str, Value)]) -> String {
        let mut header = self.header.clone();
        for (name, value) in members {
            header.insert(String::from(*name), value.clone());
        }
        header.retain(|_, value| !value.is_null());
        jws::text(&header)
    }

    /// Its claims as text.
    pub(super) fn claimed(&self) -> String {
        jws::text(&self.claims)
    }
}

fn likely() -> (Object, Object) {
    let header = [("alg", "HS256"), ("typ", "JWT")];
    let claims = [("iss", "https://issuer.example"), ("aud", "app"), ("sub", "admin")];
    let object = |members: &[(&str, &str)]| {
        members.iter().map(|(name, value)| (String::from(*name), Value::from(*value))).collect()
    };
    (object(&header), object(&claims))
}

/// The claims as if they were made at this time, so that nothing but the forgery is wrong.
fn fresh(mut claims: Object, now: UnixSeconds) -> Object {
    claims.remove("nbf");
    claims.insert(String::from("iat"), Value::from(now.0));
    claims.insert(String::from("exp"), Value::from(now.0.saturating_add(300)));
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_apart_and_a_word_is_not() {
        let token =
            format!("{}.{}.c2ln", jws::encode(b"{\"alg\":\"RS256\",\"kid\":\"k\"}"), jws::encode(b"{\"sub\":\"a\"}"));
        let sample = Sample::of(&token, UnixSeconds(1000));
        assert_eq!(sample.algorithm(), Algorithm::Rs256);
        assert_eq!(sample.claimed(), r#"{"exp":1300,"iat":1000,"sub":"a"}"#);
        assert_eq!(sample.headed(&[("kid", Value::Null), ("alg", Value::from("none"))]), r#"{"alg":"none"}"#);
        assert_eq!(sample.parts.unwrap()[2], "c2ln");
        for word in ["an-opaque-word", "a.b.c", ""] {
            let sample = Sample::of(word, UnixSeconds(1000));
            assert!(sample.parts.is_none() && sample.claims.contains_key("sub"), "{word}");
            assert!(!sample.is_ecdsa(), "{word}");
        }
        for (alg, expected) in [("ES256", true), ("ES384", true), ("RS256", false), ("HS256", false), ("ES256K", false)]
        {
            let token = format!("{}.e30.c2ln", jws::encode(format!(r#"{{"alg":"{alg}"}}"#).as_bytes()));
            assert_eq!(Sample::of(&token, UnixSeconds(1000)).is_ecdsa(), expected, "{alg}");
        }
    }
}
