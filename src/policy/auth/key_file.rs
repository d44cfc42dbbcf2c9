//! Keys from the bytes of a file: a public key in PEM, a JSON Web Key set (RFC 7517), or a shared secret.
//!
//! Each key leaves here bound to one of its issuer's algorithms, so that a public key can never be taken for a secret
//! (RFC 8725 section 3.1). Reading files and watching them is not done here.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use serde_json::{Map, Value};
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_SIG_ED25519};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::algorithm::{Algorithm, KeyKind};
use super::keys::{KeyError, VerifyingKey};
use super::strict_json;

#[cfg(test)]
mod tests;

/// The keys of a file of any of the three forms, told apart by how it begins.
///
/// `id` names the key of a file that holds one; keys of a set bring their own. One line end behind a secret is not part
/// of it.
pub fn read(file: &[u8], algorithms: &[Algorithm], id: Option<&str>) -> Result<Vec<VerifyingKey>, KeyError> {
    let uses_secret = algorithms.iter().any(|algorithm| algorithm.key_kind() == KeyKind::Secret);
    if file.trim_ascii_start().starts_with(b"{") {
        from_jwks(file, algorithms)
    } else if uses_secret && !file.trim_ascii_start().starts_with(b"-----BEGIN ") {
        from_secret(without_line_end(file), algorithms, id).map(|key| vec![key])
    } else {
        from_pem(file, algorithms, id).map(|key| vec![key])
    }
}

/// A secret as a text file holds it, without the one line end that editors put behind it.
pub fn without_line_end(file: &[u8]) -> &[u8] {
    let line = file.strip_suffix(b"\n").unwrap_or(file);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A public key in PEM (`-----BEGIN PUBLIC KEY-----`), for the one of `algorithms` that uses its kind.
pub fn from_pem(pem: &[u8], algorithms: &[Algorithm], id: Option<&str>) -> Result<VerifyingKey, KeyError> {
    let mut public = None;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        match section {
            Ok((SectionKind::PublicKey, der)) if public.is_none() => public = Some(der),
            Ok((SectionKind::PublicKey, _)) => return Err(KeyError::SeveralInPem),
            Ok((SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey, _)) => {
                return Err(KeyError::Private);
            }
            _ => return Err(KeyError::NotPem),
        }
    }
    PublicPart::from_spki(&public.ok_or(KeyError::NotPem)?)?.bind(algorithms, None, id)
}

/// The keys of a JSON Web Key set that may verify signatures under one of `algorithms`.
///
/// Passed over: keys for encryption, of unknown kinds and curves (RFC 7517 section 5), and for other algorithms. An error:
/// a known kind in a wrong form, a private key, and a shared secret unless all of `algorithms` use one.
pub fn from_jwks(json: &[u8], algorithms: &[Algorithm]) -> Result<Vec<VerifyingKey>, KeyError> {
    let set = strict_json::parse_object(json).map_err(KeyError::SetNotJson)?;
    let list = set.get("keys").and_then(Value::as_array).ok_or(KeyError::SetWithoutKeys)?;
    let mut keys = Vec::new();
    for (index, key) in list.iter().enumerate() {
        let members = key.as_object().ok_or(KeyError::SetMember(index, "kty"))?;
        keys.extend(Jwk { index, members }.read(algorithms)?);
    }
    if keys.is_empty() { Err(KeyError::NoKeys) } else { Ok(keys) }
}

/// A shared secret, byte for byte, for the one of `algorithms` that uses one.
pub fn from_secret(secret: &[u8], algorithms: &[Algorithm], id: Option<&str>) -> Result<VerifyingKey, KeyError> {
    const MARK: &[u8] = b"-----BEGIN ";
    if secret.windows(MARK.len()).any(|window| window == MARK) {
        return Err(KeyError::SecretIsPublicKey);
    }
    secret_key(secret, choose(KeyKind::Secret, algorithms, None)?, id)
}

fn secret_key(secret: &[u8], algorithm: Algorithm, id: Option<&str>) -> Result<VerifyingKey, KeyError> {
    if is_sample(secret) {
        return Err(KeyError::SecretSample);
    }
    if secret.len() < algorithm.min_secret() {
        return Err(KeyError::SecretShort(algorithm, secret.len()));
    }
    VerifyingKey::new(algorithm, id, DecodingKey::from_secret(secret))
}

/// Secrets that stand in documentation and tutorials, and single bytes repeated.
fn is_sample(secret: &[u8]) -> bool {
    const SAMPLES: [&str; 12] = [
        "secret",
        "changeme",
        "change-me",
        "password",
        "your-256-bit-secret",
        "your-384-bit-secret",
        "your-512-bit-secret",
        "a-string-secret-at-least-256-bits-long",
        "a-valid-string-secret-that-is-at-least-384-bits-long",
        "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "this-is-a-secret-key-that-should-be-changed",
    ];
    let trimmed = secret.trim_ascii();
    let is_known = SAMPLES.iter().any(|sample| trimmed.eq_ignore_ascii_case(sample.as_bytes()));
    is_known || trimmed.iter().all(|byte| Some(byte) == trimmed.first())
}

/// The one algorithm for a key: the named one if it is allowed, else the only allowed one that uses this kind.
fn choose(kind: KeyKind, algorithms: &[Algorithm], named: Option<Algorithm>) -> Result<Algorithm, KeyError> {
    let fitting: Vec<Algorithm> = Algorithm::ALL
        .into_iter()
        .filter(|algorithm| algorithm.key_kind() == kind && algorithms.contains(algorithm))
        .filter(|algorithm| named.is_none_or(|named| named == *algorithm))
        .collect();
    match fitting.as_slice() {
        [only] => Ok(*only),
        [] => Err(KeyError::AlgorithmMissing(kind)),
        _ => Err(KeyError::AlgorithmUnclear(fitting)),
    }
}

/// The numbers of a public key, checked to be one.
#[derive(Debug)]
enum PublicPart {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl PublicPart {
    fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let (rest, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::Invalid)?;
        if !rest.is_empty() {
            return Err(KeyError::Invalid);
        }
        let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        match info.parsed().map_err(|_| KeyError::Invalid)? {
            PublicKey::RSA(key) => Self::rsa(key.modulus, key.exponent),
            PublicKey::EC(point) if curve.as_ref() == Some(&OID_EC_P256) => Self::p256(point.data().to_vec()),
            PublicKey::EC(point) if curve.as_ref() == Some(&OID_NIST_EC_P384) => Self::p384(point.data().to_vec()),
            PublicKey::Unknown(raw) if info.algorithm.algorithm == OID_SIG_ED25519 => Self::ed25519(raw.to_vec()),
            _ => Err(KeyError::Invalid),
        }
    }

    /// RFC 7518 section 3.3: 2048 bits or more. An even modulus or exponent, or an exponent of one, proves nothing.
    fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let modulus = without_leading_zeros(modulus);
        let exponent = without_leading_zeros(exponent);
        let top_zeros = modulus.first().map_or(0, |byte| usize::try_from(byte.leading_zeros()).unwrap_or(0));
        let bits = modulus.len().saturating_mul(8).saturating_sub(top_zeros);
        if !(2048..=8192).contains(&bits) {
            return Err(KeyError::RsaBits(bits));
        }
        let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
        if !is_odd(modulus) || !is_odd(exponent) || exponent == [1] || exponent.len() > 4 {
            return Err(KeyError::Invalid);
        }
        Ok(Self::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() })
    }

    fn p256(point: Vec<u8>) -> Result<Self, KeyError> {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).map_err(|_| KeyError::Invalid)?;
        Ok(Self::P256(point))
    }

    fn p384(point: Vec<u8>) -> Result<Self, KeyError> {
        ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &point).map_err(|_| KeyError::Invalid)?;
        Ok(Self::P384(point))
    }

    fn ed25519(raw: Vec<u8>) -> Result<Self, KeyError> {
        ParsedPublicKey::new(&ED25519, &raw).map_err(|_| KeyError::Invalid)?;
        Ok(Self::Ed25519(raw))
    }

    fn kind(&self) -> KeyKind {
        match self {
            Self::Rsa { .. } => KeyKind::Rsa,
            Self::P256(_) => KeyKind::P256,
            Self::P384(_) => KeyKind::P384,
            Self::Ed25519(_) => KeyKind::Ed25519,
        }
    }

    fn bind(
        &self,
        algorithms: &[Algorithm],
        named: Option<Algorithm>,
        id: Option<&str>,
    ) -> Result<VerifyingKey, KeyError> {
        let algorithm = choose(self.kind(), algorithms, named)?;
        let key = match self {
            Self::Rsa { modulus, exponent } => DecodingKey::from_rsa_raw_components(modulus, exponent),
            Self::P256(point) | Self::P384(point) => DecodingKey::from_ec_der(point),
            Self::Ed25519(raw) => DecodingKey::from_ed_der(raw),
        };
        VerifyingKey::new(algorithm, id, key)
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// One key of a set, and its place there.
struct Jwk<'s> {
    index: usize,
    members: &'s Map<String, Value>,
}

impl<'s> Jwk<'s> {
    fn read(&self, algorithms: &[Algorithm]) -> Result<Option<VerifyingKey>, KeyError> {
        if !self.is_for_signatures()? {
            return Ok(None);
        }
        let id = self.optional_text("kid")?;
        let named = match self.optional_text("alg")?.map(str::parse::<Algorithm>) {
            Some(Ok(algorithm)) if algorithms.contains(&algorithm) => Some(algorithm),
            Some(_) => return Ok(None),
            None => None,
        };
        let Some(public) = self.public_part(algorithms)? else { return Ok(None) };
        let bound = match public {
            Found::Public(public) => public.bind(algorithms, named, id),
            Found::Secret(secret) => {
                choose(KeyKind::Secret, algorithms, named).and_then(|algorithm| secret_key(&secret, algorithm, id))
            }
        };
        match bound {
            Err(KeyError::AlgorithmMissing(_)) if named.is_none() => Ok(None),
            Err(KeyError::AlgorithmMissing(_)) => Err(KeyError::SetMember(self.index, "alg")),
            other => other.map(Some),
        }
    }

    /// RFC 7517 sections 4.2 and 4.3.
    fn is_for_signatures(&self) -> Result<bool, KeyError> {
        let by_use = self.optional_text("use")?.is_none_or(|word| word == "sig");
        let by_operations = match self.members.get("key_ops") {
            None => true,
            Some(Value::Array(words)) => words.iter().any(|word| word.as_str() == Some("verify")),
            Some(_) => return Err(KeyError::SetMember(self.index, "key_ops")),
        };
        Ok(by_use && by_operations)
    }

    fn public_part(&self, algorithms: &[Algorithm]) -> Result<Option<Found>, KeyError> {
        let kty = self.optional_text("kty")?.ok_or(KeyError::SetMember(self.index, "kty"))?;
        if kty == "oct" {
            let all_secret = algorithms.iter().all(|algorithm| algorithm.key_kind() == KeyKind::Secret);
            return if all_secret { Ok(Some(Found::Secret(self.bytes("k")?))) } else { Err(KeyError::SecretInSet) };
        }
        if self.members.contains_key("d") {
            return Err(KeyError::Private);
        }
        let public = match (kty, self.optional_text("crv")?) {
            ("RSA", _) => PublicPart::rsa(&self.bytes("n")?, &self.bytes("e")?)?,
            ("EC", Some("P-256")) => PublicPart::p256(self.point(32)?)?,
            ("EC", Some("P-384")) => PublicPart::p384(self.point(48)?)?,
            ("OKP", Some("Ed25519")) => PublicPart::ed25519(self.bytes("x")?)?,
            _ => return Ok(None),
        };
        Ok(Some(Found::Public(public)))
    }

    /// An uncompressed point (SEC 1 section 2.3.3) from coordinates of exactly `length` bytes (RFC 7518 section 6.2.1).
    fn point(&self, length: usize) -> Result<Vec<u8>, KeyError> {
        let mut point = vec![4];
        for member in ["x", "y"] {
            let coordinate = self.bytes(member)?;
            if coordinate.len() != length {
                return Err(KeyError::SetMember(self.index, member));
            }
            point.extend(coordinate);
        }
        Ok(point)
    }

    fn bytes(&self, member: &'static str) -> Result<Vec<u8>, KeyError> {
        let text = self.optional_text(member)?.ok_or(KeyError::SetMember(self.index, member))?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::SetMember(self.index, member))
    }

    fn optional_text(&self, member: &'static str) -> Result<Option<&'s str>, KeyError> {
        match self.members.get(member) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(KeyError::SetMember(self.index, member)),
        }
    }
}

/// What a key of a set holds.
enum Found {
    Public(PublicPart),
    Secret(Vec<u8>),
}
