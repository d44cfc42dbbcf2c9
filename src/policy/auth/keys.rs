//! What credentials are verified against: issuers' keys and token tables, replaced as a whole when a file changes.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jsonwebtoken::{DecodingKey, DecodingKeyKind};

use super::algorithm::{Algorithm, KeyKind};
use super::strict_json::NotStrict;

/// Everything that credentials are verified against.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// `[issuer.NAME]` by name.
    pub issuers: HashMap<Arc<str>, Arc<Issuer>>,
    /// Token tables by file.
    pub token_tables: HashMap<PathBuf, Arc<super::token::TokenTable>>,
}

impl Keys {
    /// Whether subjects may be of an issuer of this name.
    pub fn has_issuer(&self, name: &str) -> bool {
        self.issuers.contains_key(name) || self.token_tables.keys().any(|file| issuer_of_tokens(file) == name)
    }
}

/// The issuer of whoever a token file names: a word that is no `[issuer.NAME]`.
pub fn issuer_of_tokens(file: &Path) -> String {
    format!("tokens:{}", file.file_stem().unwrap_or_default().to_string_lossy())
}

/// Who signs tokens, and the keys with which their signatures are verified.
///
/// A token's `kid` is a look-up in this list and nothing else. A key without an id stands alone, so that an issuer never
/// has two keys to try.
#[derive(Debug, PartialEq, Eq)]
pub struct Issuer {
    iss: String,
    keys: Vec<VerifyingKey>,
}

impl Issuer {
    /// The most keys that one issuer may have.
    pub const MAX_KEYS: usize = 64;

    /// An issuer whose tokens say `iss` exactly. Its ids must differ, and several keys must all have one.
    pub fn new(iss: &str, keys: Vec<VerifyingKey>) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::NoKeys);
        }
        if keys.len() > Self::MAX_KEYS {
            return Err(KeyError::TooManyKeys);
        }
        let mut ids = HashSet::new();
        for key in &keys {
            match &key.id {
                Some(id) if !ids.insert(id.as_str()) => return Err(KeyError::IdRepeated(id.clone())),
                None if keys.len() > 1 => return Err(KeyError::IdMissing),
                _ => {}
            }
        }
        Ok(Self { iss: String::from(iss), keys })
    }

    /// What `iss` must be.
    pub fn iss(&self) -> &str {
        &self.iss
    }

    /// Every key.
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// The one key that a token with this `kid` can be signed with.
    ///
    /// Without `kid`: the only key. With one: the key of that id, or an only key that has no id.
    pub fn key(&self, kid: Option<&str>) -> Option<&VerifyingKey> {
        match (kid, self.keys.as_slice()) {
            (None, [only]) => Some(only),
            (Some(_), [only]) if only.id.is_none() => Some(only),
            (Some(kid), keys) => keys.iter().find(|key| key.id.as_deref() == Some(kid)),
            (None, _) => None,
        }
    }
}

/// A key, bound to one algorithm when it was loaded.
#[derive(Clone, Debug)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    id: Option<String>,
    key: DecodingKey,
}

impl VerifyingKey {
    pub(super) fn new(algorithm: Algorithm, id: Option<&str>, key: DecodingKey) -> Result<Self, KeyError> {
        let fits = |id: &str| !id.is_empty() && id.len() <= MAX_ID && !id.chars().any(char::is_control);
        match id {
            Some(id) if !fits(id) => Err(KeyError::IdMalformed),
            _ => Ok(Self { algorithm, id: id.map(String::from), key }),
        }
    }

    /// The one algorithm that it verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its id (`kid`).
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether `signature` (base64url) is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        matches!(jsonwebtoken::crypto::verify(signature, message, &self.key, self.algorithm.jws()), Ok(true))
    }
}

impl PartialEq for VerifyingKey {
    /// Whether both verify the same signatures, and are found by the same id.
    fn eq(&self, other: &Self) -> bool {
        let is_same = match (self.key.kind(), other.key.kind()) {
            (DecodingKeyKind::SecretOrDer(one), DecodingKeyKind::SecretOrDer(two)) => one == two,
            (
                DecodingKeyKind::RsaModulusExponent { n, e },
                DecodingKeyKind::RsaModulusExponent { n: modulus, e: exponent },
            ) => n == modulus && e == exponent,
            _ => false,
        };
        is_same && self.algorithm == other.algorithm && self.id == other.id
    }
}

impl Eq for VerifyingKey {}

/// The most bytes of a key id.
pub const MAX_ID: usize = 256;

/// Why a key cannot be used; the text says what would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The issuer has no key that may be used.
    NoKeys,
    /// The issuer has more than [`Issuer::MAX_KEYS`] keys.
    TooManyKeys,
    /// Two keys have this id.
    IdRepeated(String),
    /// One of several keys has no id.
    IdMissing,
    /// An id is empty, too long, or holds control characters.
    IdMalformed,
    /// There is no `-----BEGIN PUBLIC KEY-----` section that can be read.
    NotPem,
    /// There are several keys in one PEM file.
    SeveralInPem,
    /// It is a private key.
    Private,
    /// It is of a kind or on a curve that no algorithm here uses, or not a valid key of its kind.
    Invalid,
    /// An RSA modulus has this many bits.
    RsaBits(usize),
    /// None of the issuer's algorithms uses this kind of key.
    AlgorithmMissing(KeyKind),
    /// Several of the issuer's algorithms could be meant.
    AlgorithmUnclear(Vec<Algorithm>),
    /// A secret for this algorithm has this many bytes.
    SecretShort(Algorithm, usize),
    /// The secret is a sample from documentation, or one character repeated.
    SecretSample,
    /// A public key is used as a shared secret.
    SecretIsPublicKey,
    /// A key set holds a shared secret, and the issuer has other algorithms than HS256, HS384 and HS512.
    SecretInSet,
    /// The key set is not strict JSON.
    SetNotJson(NotStrict),
    /// The key set has no list `keys`.
    SetWithoutKeys,
    /// The key at this place of the set (from 0) lacks this member, or has it in a wrong form.
    SetMember(usize, &'static str),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeys => {
                f.write_str("no usable key: give a public key, a key set or a secret for one of `algorithms`")
            }
            Self::TooManyKeys => write!(f, "more than {} keys: remove those that sign no longer", Issuer::MAX_KEYS),
            Self::IdRepeated(id) => write!(f, "two keys have the id `{id}`: each must have its own"),
            Self::IdMissing => {
                f.write_str("several keys, and one has no id: give each a `kid`, as the tokens' headers do")
            }
            Self::IdMalformed => write!(f, "a key id must be 1 to {MAX_ID} bytes without control characters"),
            Self::NotPem => f.write_str("no public key in PEM: it must begin with `-----BEGIN PUBLIC KEY-----`"),
            Self::SeveralInPem => f.write_str("several keys in one PEM file: write one file for each"),
            Self::Private => f.write_str("a private key: give the public half (`openssl pkey -in KEY -pubout`)"),
            Self::Invalid => f.write_str("not a valid RSA, P-256, P-384 or Ed25519 public key"),
            Self::RsaBits(bits) => write!(f, "an RSA key of {bits} bits: it must have 2048 to 8192"),
            Self::AlgorithmMissing(kind) => write!(f, "a key of kind {kind:?}, which none of `algorithms` uses"),
            Self::AlgorithmUnclear(fitting) => {
                let names: Vec<_> = fitting.iter().map(|algorithm| algorithm.as_str()).collect();
                write!(f, "the key could be for {}: leave one of them in `algorithms`", names.join(", "))
            }
            Self::SecretShort(algorithm, bytes) => {
                let least = algorithm.min_secret();
                write!(f, "a secret of {bytes} bytes: {algorithm} needs {least} (`openssl rand -base64 {least}`)")
            }
            Self::SecretSample => {
                f.write_str("a sample secret that everybody knows: make one with `openssl rand -base64 64`")
            }
            Self::SecretIsPublicKey => {
                f.write_str("a public key as a shared secret: name its own algorithm in `algorithms`")
            }
            Self::SecretInSet => f.write_str("a shared secret (`oct`) in a key set: keep it in a file of its own"),
            Self::SetNotJson(error) => write!(f, "not a key set: {error}"),
            Self::SetWithoutKeys => {
                f.write_str("not a key set: it must be an object with a list `keys` (RFC 7517 section 5)")
            }
            Self::SetMember(index, member) => write!(f, "key {index} of the set: `{member}` is missing or malformed"),
        }
    }
}

impl std::error::Error for KeyError {}
