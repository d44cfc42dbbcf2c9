//! Throwaway keys and tokens for tests, signed as they are told to be: well formed or not.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;

use super::algorithm::{Algorithm, KeyKind};
use super::keys::Issuer;
use super::{ClaimRule, JwtRules, key_file};
use crate::policy::credential::Carrier;
use crate::units::UnixSeconds;

pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
pub(crate) const ISS: &str = "https://login.example.com";
pub(crate) const SECRET: &[u8; 64] = b"4f6b1c0e9d8a7b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c";
/// Claims that [`rules`] accepts at [`NOW`].
pub(crate) const CLAIMS: &str = r#"{"iss":"https://login.example.com","aud":"chat","sub":"alice","iat":1799999990,"exp":1800000600,"scope":"chat:join chat:read"}"#;

/// A key that signs, with its public half.
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    key: EncodingKey,
    /// Empty for a secret.
    pub(crate) public_pem: String,
}

impl Signer {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let (key, public_pem) = match algorithm.key_kind() {
            KeyKind::Secret => (EncodingKey::from_secret(SECRET), String::new()),
            KeyKind::Rsa => {
                let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
                (EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap(), pair.public_key_pem())
            }
            KeyKind::P256 => elliptic(&rcgen::PKCS_ECDSA_P256_SHA256, EncodingKey::from_ec_der),
            KeyKind::P384 => elliptic(&rcgen::PKCS_ECDSA_P384_SHA384, EncodingKey::from_ec_der),
            KeyKind::Ed25519 => elliptic(&rcgen::PKCS_ED25519, EncodingKey::from_ed_der),
        };
        Self { algorithm, key, public_pem }
    }

    /// Signs these two texts, whatever they are.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm.jws()).unwrap();
        format!("{message}.{signature}")
    }

    /// A token with these claims and the plain header.
    pub(crate) fn token(&self, claims: &str) -> String {
        self.sign(&format!(r#"{{"alg":"{}"}}"#, self.algorithm), claims)
    }

    /// An issuer that knows this key alone.
    pub(crate) fn issuer(&self) -> Issuer {
        let key = if self.public_pem.is_empty() {
            key_file::from_secret(SECRET, &[self.algorithm], None)
        } else {
            key_file::from_pem(self.public_pem.as_bytes(), &[self.algorithm], None)
        };
        Issuer::new(ISS, vec![key.unwrap()]).unwrap()
    }
}

fn elliptic(kind: &'static rcgen::SignatureAlgorithm, load: fn(&[u8]) -> EncodingKey) -> (EncodingKey, String) {
    let pair = rcgen::KeyPair::generate_for(kind).unwrap();
    (load(&pair.serialize_der()), pair.public_key_pem())
}

pub(crate) fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// The rules that [`CLAIMS`] satisfy.
pub(crate) fn rules() -> JwtRules {
    JwtRules {
        issuer: Arc::from("login"),
        from: vec![Carrier::Authorization, Carrier::Subprotocol(String::from("bearer"))],
        audience: vec![String::from("chat")],
        require: vec![ClaimRule { pointer: String::from("/scope"), any_of: vec![String::from("chat:join")] }],
        typ: None,
        leeway: Duration::from_secs(5),
        max_life: Duration::from_secs(3600),
    }
}
