//! The watch over certificates, keys, token files and the list of revocations: a good change is used from then on, a bad one
//! keeps what was there and says so. What an operator [writes](written) is watched where that is asked for.
//!
//! Files are polled: once a second what stands at each path is compared with what was read last. That works the same
//! for files that are replaced, links that are swapped and mounts that are shared.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::house::{Door, House};
use crate::config::credentials::{load_revocations, load_tokens};
use crate::config::{Certificate, CertificateSource, Config, Diagnostic, IssuerConfig, Stamp, Stamps};
use crate::event::Level;
use crate::policy::auth::Auth;
use crate::policy::auth::keys::Issuer;
use crate::policy::auth::token::TokenTable;
use crate::policy::revocation::RevocationSet;
use crate::units::UnixSeconds;

mod look;
mod written;

pub(super) use look::{Lookout, Watch};
pub(super) use written::Written;

/// How often the files are looked at.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// What a look found.
pub(super) enum Found {
    /// Certificates, keys and token files.
    Material(Findings),
    /// The list of revocations.
    List(Result<RevocationSet, Kept>),
}

/// What is looked at for a configuration, and how it stood when that was read.
#[derive(Debug)]
pub(super) struct Sources {
    material: Material,
    list: Option<Watched<PathBuf>>,
}

/// Certificates, keys and token files.
#[derive(Debug)]
struct Material {
    /// The certificates of each door.
    certificates: Vec<Vec<Watched<CertificateSource>>>,
    issuers: Vec<Watched<IssuerConfig>>,
    token_files: Vec<Watched<PathBuf>>,
}

/// Something that is read from files.
#[derive(Debug)]
pub(super) struct Watched<T> {
    source: T,
    files: Vec<PathBuf>,
    seen: Vec<Stamp>,
    /// Why it could not be used at the last look.
    trouble: Option<String>,
}

/// Which certificates, keys and token files changed.
#[derive(Default)]
pub(super) struct Findings {
    /// By door: the certificates of a door of which one changed.
    pub(super) certificates: Vec<(usize, Vec<Arc<Certificate>>)>,
    pub(super) issuers: HashMap<Arc<str>, Arc<Issuer>>,
    pub(super) token_tables: HashMap<PathBuf, Arc<TokenTable>>,
    pub(super) kept: Vec<Kept>,
}

/// A bad file, and what stays in use in its place.
pub(super) struct Kept {
    code: &'static str,
    why: String,
}

impl Sources {
    /// What the configuration names, as it stood when that was read: what changed since is read at the first look.
    pub(super) fn of(config: &Config) -> Self {
        let stamps = &config.files.stamps;
        let certificates = config.gateway.listeners.iter().map(|listener| {
            let sources = listener.tls.iter().flat_map(|tls| tls.certificates.iter());
            sources.map(|source| Watched::new(source.clone(), certificate_files(source), stamps)).collect()
        });
        let issuers = config.gateway.issuers.iter();
        let issuers = issuers.map(|issuer| Watched::new(issuer.clone(), issuer_files(issuer), stamps));
        let mut token_files: Vec<PathBuf> =
            config.policies.iter().flat_map(|policy| policy.auth.iter()).filter_map(token_file).collect();
        token_files.sort();
        token_files.dedup();
        let of_file = |file: PathBuf| Watched::new(file.clone(), vec![file], stamps);
        let material = Material {
            certificates: certificates.collect(),
            issuers: issuers.collect(),
            token_files: token_files.into_iter().map(of_file).collect(),
        };
        Self { material, list: config.gateway.revocations.clone().map(of_file) }
    }

    /// Every file.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let Material { certificates, issuers, token_files } = &self.material;
        let certificates = certificates.iter().flatten().flat_map(|watched| &watched.files);
        let issuers = issuers.iter().flat_map(|watched| &watched.files);
        certificates.chain(issuers).chain(token_files.iter().chain(&self.list).flat_map(|watched| &watched.files))
    }
}

impl Watch<Found> {
    /// Over certificates, keys and token files, and over the list of revocations: neither waits for the other.
    pub(super) fn over(sources: Sources, lookout: &Lookout) -> Self {
        let Sources { mut material, list } = sources;
        let mut watch = Self::new(lookout);
        let at_material = move || material.look(clock::unix_now()).map(Found::Material);
        watch.look_at("certificates, keys and token files", at_material);
        if let Some(mut list) = list {
            watch.look_at("the list of revocations", move || look_at_list(&mut list).map(Found::List));
        }
        watch
    }
}

fn look_at_list(list: &mut Watched<PathBuf>) -> Option<Result<RevocationSet, Kept>> {
    let mut kept = Vec::new();
    let read = list.read("revocations_kept", &mut kept, |file| read_revocations(file));
    read.map(Ok).or_else(|| kept.pop().map(Err))
}

impl Material {
    /// Reads what is another than at the last look; `None`: nothing is.
    fn look(&mut self, now: UnixSeconds) -> Option<Findings> {
        let mut findings = Findings::default();
        let Findings { certificates, issuers, token_tables, kept } = &mut findings;
        for (door, sources) in self.certificates.iter_mut().enumerate() {
            let mut changed = false;
            for watched in sources.iter_mut() {
                if let Some(certificate) =
                    watched.read("certificate_kept", kept, |source| read_certificate(source, now))
                {
                    watched.source.loaded = Arc::new(certificate);
                    changed = true;
                }
            }
            if changed {
                let all = sources.iter().map(|watched| Arc::clone(&watched.source.loaded)).collect();
                certificates.push((door, all));
            }
        }
        for watched in &mut self.issuers {
            let read =
                watched.read("keys_kept", kept, |issuer| issuer.load(&environment).map_err(|error| error.to_string()));
            issuers.extend(read.map(|issuer| (Arc::clone(&watched.source.name), Arc::new(issuer))));
        }
        for watched in &mut self.token_files {
            let read = watched.read("tokens_kept", kept, |file| read_tokens(file));
            token_tables.extend(read.map(|table| (watched.source.clone(), Arc::new(table))));
        }
        let is_nothing = certificates.is_empty() && issuers.is_empty() && token_tables.is_empty() && kept.is_empty();
        (!is_nothing).then_some(findings)
    }
}

impl<T> Watched<T> {
    /// Files that were read when they stood so.
    fn new(source: T, files: Vec<PathBuf>, stamps: &Stamps) -> Self {
        let seen = files.iter().filter_map(|file| stamps.get(file)).collect();
        Self { source, files, seen, trouble: None }
    }

    /// The same of files that are to be read at the first look, whether they change or not.
    pub(super) fn unread(source: T, files: Vec<PathBuf>) -> Self {
        Self { source, files, seen: Vec::new(), trouble: None }
    }

    /// Reads the source if one of its files is another than at the last look, or could not be used then. A failure is
    /// told once, until it or the files change.
    pub(super) fn read<R>(
        &mut self,
        code: &'static str,
        kept: &mut Vec<Kept>,
        read: impl FnOnce(&T) -> Result<R, String>,
    ) -> Option<R> {
        let stand: Vec<_> = self.files.iter().map(|file| Stamp::of(file)).collect();
        let changed = stand != self.seen;
        if !changed && self.trouble.is_none() {
            return None;
        }
        self.seen = stand;
        match read(&self.source) {
            Ok(value) => {
                self.trouble = None;
                Some(value)
            }
            Err(why) => {
                if changed || self.trouble.as_ref() != Some(&why) {
                    kept.push(Kept { code, why: why.clone() });
                }
                self.trouble = Some(why);
                None
            }
        }
    }
}

fn read_certificate(source: &CertificateSource, now: UnixSeconds) -> Result<Certificate, String> {
    let certificate = Certificate::load(&source.chain, &source.key, &environment).map_err(|error| error.to_string())?;
    if certificate.left(now).is_none() {
        return Err(format!("{}: this certificate is not valid at this time", source.chain.display()));
    }
    Ok(certificate)
}

pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn read_tokens(file: &Path) -> Result<TokenTable, String> {
    load_tokens(file).map_err(|mistakes| first_of(&mistakes, file))
}

fn read_revocations(file: &Path) -> Result<RevocationSet, String> {
    load_revocations(file).map_err(|mistakes| first_of(&mistakes, file))
}

fn first_of(mistakes: &[Diagnostic], file: &Path) -> String {
    let Some(Diagnostic { place, message, .. }) = mistakes.first() else { return file.display().to_string() };
    let column = place.column().map(|column| format!(":{column}")).unwrap_or_default();
    format!("{place}{column}: {message}")
}

/// Shows certificates that were read again.
pub(super) fn show(house: &House, doors: &[Arc<Door>], certificates: Vec<(usize, Vec<Arc<Certificate>>)>) {
    for (door, certificates) in certificates {
        let Some(tls) = doors.get(door).and_then(|door| door.tls.as_ref()) else { continue };
        match tls.replace(&certificates) {
            Ok(()) => house.notice(Level::Info, "certificate_replaced", names(&certificates)),
            Err(error) => house.notice(Level::Error, "certificate_kept", error.to_string()),
        }
    }
}

/// Says which files are bad.
pub(super) fn complain(house: &House, kept: Vec<Kept>) {
    for Kept { code, why } in kept {
        house.notice(Level::Error, code, format!("{why}; what was read before stays in use"));
    }
}

fn names(certificates: &[Arc<Certificate>]) -> String {
    let names = certificates.iter().flat_map(|certificate| certificate.names.iter().map(String::as_str));
    format!("certificates read again: {}", names.collect::<Vec<_>>().join(", "))
}

fn certificate_files(source: &CertificateSource) -> Vec<PathBuf> {
    std::iter::once(&source.chain).chain(source.key.file()).cloned().collect()
}

fn issuer_files(issuer: &IssuerConfig) -> Vec<PathBuf> {
    issuer.keys.iter().filter_map(|key| key.from.file()).cloned().collect()
}

fn token_file(auth: &Auth) -> Option<PathBuf> {
    match auth {
        Auth::Token(rules) => Some(rules.tokens.clone()),
        Auth::Jwt(_) | Auth::Ticket(_) | Auth::Backend | Auth::Open => None,
    }
}
