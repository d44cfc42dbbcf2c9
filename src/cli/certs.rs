//! `wsgate certs`: a certificate authority and a server certificate for development.
//!
//! Four files: `ca.pem` is what clients trust, `server.pem` and `server.key` are what the gateway shows, `ca.key` signs
//! further certificates. Keys are readable by their owner alone, from the first byte on. Nothing is overwritten
//! unless that is asked for, and nothing is installed in the system.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use super::file::{Mode, write_whole};
use crate::secret::Secret;
use crate::units::UnixSeconds;

/// The authority's life, in days: long enough to be trusted once, short enough to be forgotten.
pub const AUTHORITY_DAYS: u64 = 825;

/// The server certificate's life, in days: below the 398 that browsers accept of public ones.
pub const SERVER_DAYS: u64 = 397;

/// The names that every server certificate has.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The files that are made, in the order in which they are written.
const FILES: [&str; 4] = ["ca.key", "ca.pem", "server.key", "server.pem"];

const DAY: Duration = Duration::from_secs(86_400);

/// What becomes of files that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// They stay: if one of the four is there, nothing is written.
    Keep,
    /// They are replaced.
    Replace,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All four files were written.
    Made,
    /// All four files were there already.
    Kept,
}

/// Why there are no certificates.
#[derive(Debug)]
pub enum CertsError {
    /// Some of the files are there and others are not: which they belong to is not known.
    Incomplete {
        /// A file that is there.
        present: PathBuf,
        /// A file that is not.
        missing: PathBuf,
    },
    /// This is neither a DNS name nor an address.
    Host(String),
    /// A file or the folder could not be made.
    Write(PathBuf, io::Error),
    /// A key or a certificate could not be made.
    Crypto(rcgen::Error),
}

impl fmt::Display for CertsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { present, missing } => write!(
                f,
                "{} is there but {} is not: nothing was written; `wsgate certs --force {}` makes all four again",
                present.display(),
                missing.display(),
                present.parent().unwrap_or(present).display()
            ),
            Self::Host(host) => write!(f, "{host:?} is neither a DNS name nor an IP address"),
            Self::Write(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Crypto(error) => write!(f, "the certificate could not be made: {error}"),
        }
    }
}

impl std::error::Error for CertsError {}

impl From<rcgen::Error> for CertsError {
    fn from(error: rcgen::Error) -> Self {
        Self::Crypto(error)
    }
}

/// Makes the four files in `directory`, valid from an hour before `now`, unless they are there.
///
/// # Errors
/// See [`CertsError`].
pub fn ensure(directory: &Path, hosts: &[String], existing: Existing, now: UnixSeconds) -> Result<Outcome, CertsError> {
    if existing == Existing::Keep && files_are_there(directory)? {
        return Ok(Outcome::Kept);
    }
    let made = make(hosts, now)?;
    fs::create_dir_all(directory).map_err(|error| CertsError::Write(directory.to_owned(), error))?;
    let contents = [
        (Mode::Owner, made.authority_key.expose()),
        (Mode::Everybody, &made.authority),
        (Mode::Owner, made.server_key.expose()),
        (Mode::Everybody, &made.server),
    ];
    for (name, (mode, pem)) in FILES.into_iter().zip(contents) {
        let path = directory.join(name);
        write_whole(&path, mode, pem.as_bytes()).map_err(|error| CertsError::Write(path, error))?;
    }
    Ok(Outcome::Made)
}

/// Runs `wsgate certs` and says what was made and how to undo it.
///
/// # Errors
/// See [`CertsError`]; writing to `out` fails as a [`CertsError::Write`].
pub fn run(
    directory: &Path,
    hosts: &[String],
    existing: Existing,
    now: UnixSeconds,
    out: &mut impl Write,
) -> Result<(), CertsError> {
    let outcome = ensure(directory, hosts, existing, now)?;
    let told = tell(directory, hosts, &outcome, out);
    told.map_err(|error| CertsError::Write(PathBuf::from("standard output"), error))
}

fn tell(directory: &Path, hosts: &[String], outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let path = |name: &str| directory.join(name).display().to_string();
    if *outcome == Outcome::Kept {
        return writeln!(out, "kept {}: all four files are there (--force makes them again)", directory.display());
    }
    let names: Vec<&str> = all_names(hosts).collect();
    writeln!(out, "made {}: trust this in clients, for development only ({AUTHORITY_DAYS} days)", path("ca.pem"))?;
    writeln!(out, "made {}: its key, readable by you alone; whoever has it can be any server", path("ca.key"))?;
    writeln!(out, "made {}: for {} ({SERVER_DAYS} days)", path("server.pem"), names.join(", "))?;
    writeln!(out, "made {}: its key, readable by you alone", path("server.key"))?;
    writeln!(out, "Nothing else was changed, and nothing on this machine trusts ca.pem yet.")?;
    let files = FILES.map(|name| format!("'{}'", path(name))).join(" ");
    writeln!(out, "To undo: rm {files}")
}

/// Whether all four files are there; some of them alone are an error.
fn files_are_there(directory: &Path) -> Result<bool, CertsError> {
    let (present, missing): (Vec<_>, Vec<_>) =
        FILES.iter().map(|name| directory.join(name)).partition(|path| path.symlink_metadata().is_ok());
    match (present.into_iter().next(), missing.into_iter().next()) {
        (Some(present), Some(missing)) => Err(CertsError::Incomplete { present, missing }),
        (present, _) => Ok(present.is_some()),
    }
}

struct Made {
    authority: String,
    authority_key: Secret<String>,
    server: String,
    server_key: Secret<String>,
}

fn make(hosts: &[String], now: UnixSeconds) -> Result<Made, CertsError> {
    let authority_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let authority_pem = Secret::new(authority_key.serialize_pem());
    let authority = CertifiedIssuer::self_signed(authority_params(now), authority_key)?;
    let server_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let server = server_params(hosts, now)?.signed_by(&server_key, &authority)?;
    Ok(Made {
        authority: authority.pem(),
        authority_key: authority_pem,
        server: server.pem(),
        server_key: Secret::new(server_key.serialize_pem()),
    })
}

fn authority_params(now: UnixSeconds) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "wsgate development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, now, AUTHORITY_DAYS);
    params
}

fn server_params(hosts: &[String], now: UnixSeconds) -> Result<CertificateParams, CertsError> {
    if let Some(wrong) = hosts.iter().find(|host| !is_host(host)) {
        return Err(CertsError::Host(wrong.clone()));
    }
    let names: Vec<String> = all_names(hosts).map(String::from).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "wsgate development server");
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    valid_for(&mut params, now, SERVER_DAYS);
    Ok(params)
}

fn valid_for(params: &mut CertificateParams, now: UnixSeconds, days: u64) {
    let epoch = date_time_ymd(1970, 1, 1);
    // An hour for clients whose clock is behind. rcgen ends at the year 9999.
    let start = Duration::from_secs(now.0.min(200_000_000_000).saturating_sub(3600));
    params.not_before = epoch + start;
    params.not_after = epoch + start + DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX));
}

fn all_names(hosts: &[String]) -> impl Iterator<Item = &str> {
    let more = hosts.iter().map(String::as_str).filter(|host| !LOCAL_NAMES.contains(host));
    LOCAL_NAMES.into_iter().chain(more)
}

/// Whether a certificate can name this: an address, or a DNS name whose first label may be `*`.
fn is_host(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let is_label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    host.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(is_label))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_795_000_000);

    fn read(directory: &Path) -> [Vec<u8>; 4] {
        FILES.map(|name| fs::read(directory.join(name)).unwrap())
    }

    fn server_names(directory: &Path) -> Vec<String> {
        let der = CertificateDer::from_pem_file(directory.join("server.pem")).unwrap();
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        assert!(leaf.validity().not_before.timestamp() == 1_795_000_000 - 3600);
        assert_eq!(leaf.validity().not_after.timestamp(), 1_795_000_000 - 3600 + 397 * 86_400);
        assert!(!leaf.is_ca() && leaf.extended_key_usage().unwrap().unwrap().value.server_auth);
        let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.iter();
        names
            .map(|name| match name {
                GeneralName::DNSName(name) => (*name).to_owned(),
                GeneralName::IPAddress(bytes) => format!("{bytes:?}"),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn four_files_are_made_and_keys_are_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("new/certs");
        let hosts = ["chat.example.com".to_owned(), "*.example.org".to_owned(), "localhost".to_owned()];
        assert_eq!(ensure(&directory, &hosts, Existing::Keep, NOW).unwrap(), Outcome::Made);
        let mode = |name: &str| fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(["ca.key", "server.key"].map(mode), [0o600; 2]);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 4, "and nothing else");
        let loopback = ["[127, 0, 0, 1]", "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]"];
        let expected = ["localhost", loopback[0], loopback[1], "chat.example.com", "*.example.org"];
        assert_eq!(server_names(&directory), expected);
        let der = CertificateDer::from_pem_file(directory.join("ca.pem")).unwrap();
        assert!(X509Certificate::from_der(&der).unwrap().1.is_ca());
    }

    #[test]
    fn what_is_there_stays_unless_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let ensure = |existing| ensure(folder.path(), &[], existing, NOW);
        assert_eq!(ensure(Existing::Keep).unwrap(), Outcome::Made);
        let first = read(folder.path());
        assert_eq!(ensure(Existing::Keep).unwrap(), Outcome::Kept);
        assert_eq!(read(folder.path()), first);
        assert_eq!(ensure(Existing::Replace).unwrap(), Outcome::Made);
        assert_ne!(read(folder.path()), first);

        fs::remove_file(folder.path().join("server.key")).unwrap();
        let error = ensure(Existing::Keep).unwrap_err().to_string();
        assert!(error.contains("server.key is not: nothing was written"), "{error}");
        assert_eq!(ensure(Existing::Replace).unwrap(), Outcome::Made);
    }

    #[test]
    fn what_was_made_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut told = Vec::new();
        run(folder.path(), &["a.example".into()], Existing::Keep, NOW, &mut told).unwrap();
        let told = String::from_utf8(told).unwrap();
        for words in ["ca.pem", "for localhost, 127.0.0.1, ::1, a.example (397 days)", "To undo: rm '", "server.key'"] {
            assert!(told.contains(words), "{words}: {told}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        let good = ["localhost", "a.example", "*.a.example", "10.0.0.1", "fe80::1", "x-1.example"];
        let bad = ["", "*", "a..b", "-a.example", "a b", "https://a.example", "a.example:443", "*.*.a", "a\n", "[::1]"];
        assert!(good.iter().all(|host| is_host(host)));
        assert_eq!(bad.iter().filter(|host| is_host(host)).collect::<Vec<_>>(), [&""; 0]);
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(ensure(folder.path(), &["a b".into()], Existing::Keep, NOW), Err(CertsError::Host(_))));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("server.pem")).unwrap();
        let error = ensure(folder.path(), &[], Existing::Replace, NOW).unwrap_err().to_string();
        assert!(error.contains("server.pem: "), "{error}");
        let parts = fs::read_dir(folder.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".part"));
        assert_eq!(parts.count(), 0);
    }
}
