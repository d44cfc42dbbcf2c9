//! JSON Web Tokens, good and wrong. Built by hand, so that nothing keeps them from being wrong.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

/// The issuer of every good token.
pub const ISSUER: &str = "https://login.test";

/// Claims, or a header, as they will be written.
pub type Json = Map<String, Value>;

/// A key that signs.
pub enum Signer {
    /// ECDSA over P-256.
    Es256(EcdsaKeyPair),
    /// RSA, PKCS #1 v1.5 or PSS as the header says.
    Rsa(Box<RsaKeyPair>),
    /// Ed25519.
    EdDsa(Box<Ed25519KeyPair>),
    /// HMAC with this secret, SHA-256 unless the header says otherwise.
    Hmac(Vec<u8>),
}

impl Signer {
    /// A throwaway P-256 key.
    pub fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// A throwaway RSA key.
    pub fn rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    /// A throwaway Ed25519 key.
    pub fn ed25519() -> Self {
        Self::EdDsa(Box::new(Ed25519KeyPair::generate().unwrap()))
    }

    /// The algorithm that it is good for.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::Rsa(_) => "RS256",
            Self::EdDsa(_) => "EdDSA",
            Self::Hmac(_) => "HS256",
        }
    }

    /// PEM of the public key.
    pub fn public_pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Es256(key) => key.public_key().as_der().unwrap(),
            Self::Rsa(key) => key.public_key().as_der().unwrap(),
            Self::EdDsa(key) => key.public_key().as_der().unwrap(),
            Self::Hmac(_) => panic!("a secret is not public"),
        };
        pem("PUBLIC KEY", der.as_ref())
    }

    /// PEM (PKCS #8) of the private key.
    pub fn private_pem(&self) -> String {
        let Self::Es256(key) = self else { panic!("a key of P-256") };
        pem("PRIVATE KEY", key.to_pkcs8v1().unwrap().as_ref())
    }

    /// The signature over `input` that a header with this algorithm asks for.
    pub fn sign(&self, algorithm: &str, input: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(key) => key.sign(&random, input).unwrap().as_ref().to_vec(),
            Self::EdDsa(key) => key.sign(input).as_ref().to_vec(),
            Self::Rsa(key) => {
                let padding = if algorithm.starts_with("PS") { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; key.public_modulus_len()];
                if algorithm.starts_with("PS") {
                    key.sign(padding, &random, input, &mut signature).unwrap();
                } else {
                    key.sign(&RSA_PKCS1_SHA256, &random, input, &mut signature).unwrap();
                }
                signature
            }
            Self::Hmac(secret) => {
                let digest = match algorithm {
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(digest, secret), input).as_ref().to_vec()
            }
        }
    }

    /// A good token: alice, for the audience `chat`, five minutes.
    pub fn token(&self) -> String {
        self.token_with(|_| ())
    }

    /// A token whose claims were changed.
    pub fn token_with(&self, change: impl FnOnce(&mut Json)) -> String {
        self.token_from(|_| (), change)
    }

    /// A token whose header was changed; the signature is made as the key makes it.
    pub fn token_headed(&self, change: impl FnOnce(&mut Json)) -> String {
        self.token_from(change, |_| ())
    }

    fn token_from(&self, head: impl FnOnce(&mut Json), body: impl FnOnce(&mut Json)) -> String {
        let (mut header, mut claims) = (header(self.algorithm()), claims());
        head(&mut header);
        body(&mut claims);
        self.signed(&Value::Object(header).to_string(), &Value::Object(claims).to_string())
    }

    /// A token of this header and these claims, whatever they are.
    pub fn signed(&self, header: &str, claims: &str) -> String {
        self.signed_bytes(header.as_bytes(), claims.as_bytes())
    }

    /// A token of these bytes, text or not.
    pub fn signed_bytes(&self, header: &[u8], claims: &[u8]) -> String {
        let input = format!("{}.{}", encode(header), encode(claims));
        let algorithm = serde_json::from_slice::<Value>(header).ok();
        let algorithm = algorithm.as_ref().and_then(|header| header.get("alg")?.as_str()).unwrap_or_default();
        format!("{input}.{}", encode(self.sign(algorithm, input.as_bytes())))
    }
}

/// The header of a good token.
pub fn header(algorithm: &str) -> Json {
    object(json!({ "alg": algorithm, "typ": "JWT" }))
}

/// The claims of a good token.
pub fn claims() -> Json {
    let now = now();
    object(json!({
        "iss": ISSUER, "aud": "chat", "sub": "alice", "iat": now, "nbf": now, "exp": now + 300, "scope": "chat:join",
    }))
}

/// Seconds since 1970.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// base64url without padding.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of base64url without padding.
pub fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The SHA-256 digest of a query token, in hexadecimal.
pub fn digest(token: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn object(value: Value) -> Json {
    match value {
        Value::Object(map) => map,
        _ => panic!("an object"),
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
