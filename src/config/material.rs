//! Certificates and secrets, read from where the configuration says they are: at load, and again whenever the watch
//! sees that a file changed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Certificate, SecretSource, read};
use crate::secret::Secret;
use crate::units::UnixSeconds;

/// Reads an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The longest certificate chain, key or key set that is read, in bytes.
const LONGEST_MATERIAL: u64 = 1 << 20;
/// The longest token table that is read, in bytes: some 100 000 lines.
pub(super) const LONGEST_TOKEN_TABLE: u64 = 16 << 20;
/// The most certificates of one chain.
const LONGEST_CHAIN: usize = 10;

/// Why a certificate, a key or a table cannot be used; the text says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaterialError {
    /// Where it was read from: a path, or `environment variable NAME`.
    pub place: String,
    /// What was wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
}

impl MaterialError {
    fn new(place: impl fmt::Display, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { place: place.to_string(), message: message.into(), help: help.into() }
    }
}

impl fmt::Display for MaterialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.place, self.message, self.help)
    }
}

impl std::error::Error for MaterialError {}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env { name, .. } => write!(f, "environment variable {name}"),
        }
    }
}

impl SecretSource {
    /// Reads the secret's bytes, at most 1 MiB.
    pub fn read(&self, env: Environment<'_>) -> Result<Secret<Vec<u8>>, MaterialError> {
        match self {
            Self::File(path) => read_file(path, LONGEST_MATERIAL).map(Secret::new),
            Self::Env { name, base64 } => {
                let text = env(name).ok_or_else(|| {
                    MaterialError::new(self, "this environment variable is not set", "set it, or name a file")
                })?;
                let wrong =
                    || MaterialError::new(self, "the value is not base64", "write it with padding, on one line");
                if *base64 {
                    STANDARD.decode(text.trim()).map(Secret::new).map_err(|_| wrong())
                } else {
                    Ok(Secret::new(text.into_bytes()))
                }
            }
        }
    }

    /// The file, where it is one: what the watch looks at.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Env { .. } => None,
        }
    }
}

/// Reads a file of at most `limit` bytes.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, MaterialError> {
    read::bounded(path, limit)
        .map_err(|mistake| MaterialError::new(path.display(), mistake.message, mistake.help.unwrap_or_default()))
}

impl Certificate {
    /// Reads a chain and its key, and checks that they belong together.
    ///
    /// Whether it is valid at this time is another question: see [`Certificate::left`].
    pub fn load(chain: &Path, key: &SecretSource, env: Environment<'_>) -> Result<Self, MaterialError> {
        let certificates = read_chain(chain)?;
        let secret = key.read(env)?;
        let private = PrivateKeyDer::from_pem_slice(secret.expose()).map_err(|error| {
            MaterialError::new(
                key,
                format!("there is no private key in PEM here: {error}"),
                "write the key as PKCS#8 PEM",
            )
        })?;
        let facts = Facts::of(chain, &certificates)?;
        let certified = CertifiedKey::from_der(certificates, private, &default_provider())
            .map_err(|error| unusable(chain, key, &error))?;
        let Facts { names, not_before, not_after, authority } = facts;
        Ok(Self { certified: Arc::new(certified), names, not_before, not_after, authority })
    }

    /// How long it is valid from `now` on; `None`: it is not valid at all.
    pub fn left(&self, now: UnixSeconds) -> Option<std::time::Duration> {
        let valid = self.not_before <= now.0 && now.0 < self.not_after;
        valid.then(|| UnixSeconds(self.not_after).saturating_since(now))
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let wrong = |message: String| {
        MaterialError::new(path.display(), message, "write the chain as PEM, the server's own certificate first")
    };
    let bytes = read_file(path, LONGEST_MATERIAL)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|error| wrong(format!("this is not PEM: {error}")))?;
    match chain.len() {
        0 => Err(wrong(String::from("there is no certificate here"))),
        1..=LONGEST_CHAIN => Ok(chain),
        count => Err(wrong(format!("{count} certificates are no chain"))),
    }
}

struct Facts {
    names: Vec<String>,
    not_before: u64,
    not_after: u64,
    authority: bool,
}

impl Facts {
    fn of(path: &Path, chain: &[CertificateDer<'_>]) -> Result<Self, MaterialError> {
        let wrong = || MaterialError::new(path.display(), "the first certificate is not X.509", "make it again");
        let leaf = chain.first().ok_or_else(wrong)?;
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| wrong())?;
        let names = match leaf.subject_alternative_name() {
            Ok(Some(extension)) => dns_names(&extension.value.general_names),
            _ => Vec::new(),
        };
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        Ok(Self {
            names,
            not_before: seconds(leaf.validity().not_before.timestamp()),
            not_after: seconds(leaf.validity().not_after.timestamp()),
            authority: leaf.is_ca(),
        })
    }
}

fn dns_names(names: &[GeneralName<'_>]) -> Vec<String> {
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    names.iter().filter_map(dns).collect()
}

fn unusable(chain: &Path, key: &SecretSource, error: &TlsError) -> MaterialError {
    match error {
        TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => MaterialError::new(
            key,
            format!("this key does not belong to the certificate in {}", chain.display()),
            "the first certificate of the chain must be the one that was made for this key",
        ),
        error => MaterialError::new(
            chain.display(),
            format!("TLS cannot use this certificate and key: {error}"),
            "make a P-256 or RSA (2048 bits or more) key and a certificate for it",
        ),
    }
}
