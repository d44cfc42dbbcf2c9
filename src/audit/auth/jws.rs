//! JSON Web Signatures of bytes, whatever they say (RFC 7515), and the good ones among them.
//!
//! Header and claims are bytes here, so that anything can be expressed and be signed as if it were right. Nothing is
//! shared with what judges tokens.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value};

use crate::audit::target::Signing;
use crate::policy::auth::algorithm::{Algorithm, KeyKind};
use crate::policy::auth::key_file::without_line_end;
use crate::secret::Secret;
use crate::units::UnixSeconds;

/// A JSON object: a header, or claims.
pub type Object = Map<String, Value>;

/// A key that cannot sign; the text says what would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnusableKey(Algorithm);

impl fmt::Display for UnusableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = match self.0.key_kind() {
            KeyKind::Secret => "its secret",
            _ => "a private key in PEM (`-----BEGIN PRIVATE KEY-----`)",
        };
        write!(f, "the signing key cannot be used with {}: give {wanted}", self.0)
    }
}

impl std::error::Error for UnusableKey {}

impl UnusableKey {
    /// No key for this algorithm.
    pub(super) fn of(algorithm: Algorithm) -> Self {
        Self(algorithm)
    }
}

/// A key that signs.
#[derive(Clone)]
pub struct Key {
    key: EncodingKey,
    algorithm: Algorithm,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Key {
    /// The issuer's own.
    ///
    /// # Errors
    /// Where it is no key for its algorithm.
    pub fn of(signing: &Signing) -> Result<Self, UnusableKey> {
        Self::of_as(signing, signing.algorithm)
    }

    /// The issuer's own, for another algorithm of its kind.
    ///
    /// # Errors
    /// Where it is no key for that algorithm.
    pub fn of_as(signing: &Signing, algorithm: Algorithm) -> Result<Self, UnusableKey> {
        match algorithm.key_kind() {
            KeyKind::Secret => Self::read(without_line_end(signing.key.expose()), algorithm),
            _ => Self::read(signing.key.expose(), algorithm),
        }
    }

    /// A private key in PEM (PKCS #8), or a secret.
    ///
    /// # Errors
    /// Where it is no key for this algorithm.
    pub fn read(bytes: &[u8], algorithm: Algorithm) -> Result<Self, UnusableKey> {
        let wrong = UnusableKey(algorithm);
        let der = || PrivatePkcs8KeyDer::from_pem_slice(bytes).map_err(|_| wrong);
        let key = match algorithm.key_kind() {
            KeyKind::Secret => EncodingKey::from_secret(bytes),
            KeyKind::Rsa => EncodingKey::from_rsa_pem(bytes).map_err(|_| wrong)?,
            KeyKind::P256 | KeyKind::P384 => EncodingKey::from_ec_der(der()?.secret_pkcs8_der()),
            KeyKind::Ed25519 => EncodingKey::from_ed_der(der()?.secret_pkcs8_der()),
        };
        let key = Self { key, algorithm };
        key.signature(b"").map(|_| key)
    }

    /// One that nobody has had before.
    ///
    /// # Errors
    /// Where none can be made.
    pub fn fresh(algorithm: Algorithm) -> Result<Self, UnusableKey> {
        match fresh_pair(algorithm)? {
            Some(pair) => Self::read(pair.serialize_pem().as_bytes(), algorithm),
            None => Self::read(&fresh_secret(), algorithm),
        }
    }

    /// The algorithm that it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The compact form of this header and these claims, whatever the header says of the algorithm.
    ///
    /// # Errors
    /// Where the key cannot sign.
    pub fn sign(&self, header: &[u8], claims: &[u8]) -> Result<String, UnusableKey> {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.signature(message.as_bytes())?;
        Ok(format!("{message}.{signature}"))
    }

    fn signature(&self, message: &[u8]) -> Result<String, UnusableKey> {
        jsonwebtoken::crypto::sign(message, &self.key, self.algorithm.jws()).map_err(|_| UnusableKey(self.algorithm))
    }
}

/// A key pair that nobody has had before; `None` where the algorithm needs a secret.
///
/// # Errors
/// Where none can be made.
pub(super) fn fresh_pair(algorithm: Algorithm) -> Result<Option<KeyPair>, UnusableKey> {
    let kind = match algorithm.key_kind() {
        KeyKind::Secret => return Ok(None),
        KeyKind::Rsa => &PKCS_RSA_SHA256,
        KeyKind::P256 => &PKCS_ECDSA_P256_SHA256,
        KeyKind::P384 => &PKCS_ECDSA_P384_SHA384,
        KeyKind::Ed25519 => &PKCS_ED25519,
    };
    KeyPair::generate_for(kind).map(Some).map_err(|_| UnusableKey(algorithm))
}

/// A secret that nobody has had before.
pub(super) fn fresh_secret() -> [u8; 64] {
    let mut secret = [0x5a; 64];
    // Without randomness it is a foreign secret all the same.
    let _ = aws_lc_rs::rand::fill(&mut secret);
    secret
}

/// The issuer's public key in every form in which a lenient reader might take it for a secret; empty where the key is a
/// secret itself.
pub fn public_forms(signing: &Signing) -> Vec<(&'static str, Vec<u8>)> {
    let pair = match signing.algorithm.key_kind() {
        KeyKind::Secret => None,
        _ => str::from_utf8(signing.key.expose()).ok().and_then(|pem| KeyPair::from_pem(pem).ok()),
    };
    let Some(pair) = pair else { return Vec::new() };
    let pem = pair.public_key_pem().replace('\r', "");
    let line = format!("{}\n", pem.trim_end());
    vec![
        ("its PEM", line.clone().into_bytes()),
        ("its PEM without the last line end", pem.trim_end().as_bytes().to_vec()),
        ("its PEM with CR LF", line.replace('\n', "\r\n").into_bytes()),
        ("its DER", rcgen::PublicKeyData::subject_public_key_info(&pair)),
        ("its bytes", pair.public_key_raw().to_vec()),
    ]
}

/// The header of the issuer's good tokens.
pub fn header(signing: &Signing) -> Object {
    let mut header = Object::new();
    header.insert(String::from("alg"), Value::from(signing.algorithm.as_str()));
    header.insert(String::from("typ"), Value::from("JWT"));
    if let Some(kid) = &signing.kid {
        header.insert(String::from("kid"), Value::from(kid.as_str()));
    }
    header
}

/// The claims of the issuer's good tokens at this time.
pub fn claims(signing: &Signing, now: UnixSeconds) -> Object {
    let mut claims = signing.claims.clone();
    claims.insert(String::from("iat"), Value::from(now.0));
    claims.insert(String::from("exp"), Value::from(now.saturating_add(signing.life).0));
    claims
}

/// A good token, of this subject where one is named.
///
/// # Errors
/// Where the key cannot sign.
pub fn mint(signing: &Signing, subject: Option<&str>, now: UnixSeconds) -> Result<Secret<String>, UnusableKey> {
    let mut claims = claims(signing, now);
    if let Some(subject) = subject {
        claims.insert(String::from("sub"), Value::from(subject));
    }
    Key::of(signing)?.sign(text(&header(signing)).as_bytes(), text(&claims).as_bytes()).map(Secret::new)
}

/// JSON as text.
pub fn text(object: &Object) -> String {
    Value::Object(object.clone()).to_string()
}

/// base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of base64url without padding.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::auth::strict_json;

    fn signing(algorithm: Algorithm) -> Signing {
        let key = match fresh_pair(algorithm).unwrap() {
            Some(pair) => pair.serialize_pem().into_bytes(),
            None => vec![7; 64],
        };
        let (kid, life) = (Some(String::from("k")), Duration::from_secs(3600));
        Signing { key: Secret::new(key), algorithm, kid, claims: Object::new(), life }
    }

    #[test]
    fn every_algorithm_signs_and_has_its_public_forms() {
        for algorithm in Algorithm::ALL {
            let signing = signing(algorithm);
            let token = mint(&signing, Some("alice"), UnixSeconds(1000)).unwrap();
            let parts: Vec<Vec<u8>> = token.expose().split('.').map(|part| decode(part).unwrap()).collect();
            let [header, claims, signature] = parts.as_slice() else { panic!("three parts") };
            let header = strict_json::parse_object(header).unwrap();
            assert_eq!((&header["alg"], &header["kid"]), (&Value::from(algorithm.as_str()), &Value::from("k")));
            let claims = strict_json::parse_object(claims).unwrap();
            assert_eq!((&claims["sub"], &claims["exp"]), (&Value::from("alice"), &Value::from(4600)));
            assert!(signature.len() >= 32, "{algorithm}");
            let forms = if algorithm.key_kind() == KeyKind::Secret { 0 } else { 5 };
            assert_eq!(public_forms(&signing).len(), forms, "{algorithm}");
            Key::fresh(algorithm).unwrap();
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let wrong = Key::read(b"not PEM", Algorithm::Es256).unwrap_err();
        assert!(wrong.to_string().contains("PEM"), "{wrong}");
        let p256 = signing(Algorithm::Es256);
        assert!(Key::read(p256.key.expose(), Algorithm::Rs256).is_err());
        assert!(Key::read(p256.key.expose(), Algorithm::Es256).is_ok());
    }

    #[test]
    fn the_line_end_of_a_secret_file_is_no_part_of_the_secret() {
        let mut signing = signing(Algorithm::Hs256);
        let plain = mint(&signing, None, UnixSeconds(0)).unwrap();
        signing.key = Secret::new([signing.key.expose().as_slice(), b"\r\n"].concat());
        assert_eq!(mint(&signing, None, UnixSeconds(0)).unwrap().expose(), plain.expose());
    }
}
