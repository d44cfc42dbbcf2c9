//! The watch over certificates, keys and token files: a good change is used for what comes after it, a bad one keeps
//! what was there and says so.
//!
//! Files are polled: once a second what stands at each path is compared with what was read last. That works the same
//! for files that are replaced, links that are swapped and mounts that are shared.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::house::{Door, House};
use crate::config::credentials::load_tokens;
use crate::config::{Certificate, CertificateSource, Config, IssuerConfig};
use crate::event::Level;
use crate::policy::auth::Auth;
use crate::policy::auth::keys::Issuer;
use crate::policy::auth::token::TokenTable;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// What is read from files, and how each stood when it was read last.
#[derive(Debug)]
pub(super) struct Sources {
    /// The certificates of each door.
    certificates: Vec<Vec<Watched<CertificateSource>>>,
    issuers: Vec<Watched<IssuerConfig>>,
    token_files: Vec<Watched<PathBuf>>,
}

/// Something that is read from files.
#[derive(Debug)]
struct Watched<T> {
    source: T,
    files: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
}

/// What tells that a file is another one than before.
type Stamp = (u64, u64, u64, i64, i64);

/// What one look found.
#[derive(Default)]
struct Findings {
    /// By door: the certificates of a door of which one changed.
    certificates: Vec<(usize, Vec<Arc<Certificate>>)>,
    issuers: HashMap<Arc<str>, Arc<Issuer>>,
    token_tables: HashMap<PathBuf, Arc<TokenTable>>,
    kept: Vec<Kept>,
}

/// A bad file, and what stays in use in its place.
struct Kept {
    code: &'static str,
    why: String,
}

impl Sources {
    /// What the configuration names, as it stands at this moment.
    pub(super) fn of(config: &Config) -> Self {
        let certificates = config.gateway.listeners.iter().map(|listener| {
            let sources = listener.tls.iter().flat_map(|tls| tls.certificates.iter());
            sources.map(|source| Watched::new(source.clone(), certificate_files(source))).collect()
        });
        let issuers = config.gateway.issuers.iter().map(|issuer| Watched::new(issuer.clone(), issuer_files(issuer)));
        let mut token_files: Vec<PathBuf> =
            config.policies.iter().flat_map(|policy| policy.auth.iter()).filter_map(token_file).collect();
        token_files.sort();
        token_files.dedup();
        Self {
            certificates: certificates.collect(),
            issuers: issuers.collect(),
            token_files: token_files.into_iter().map(|file| Watched::new(file.clone(), vec![file])).collect(),
        }
    }

    fn look(&mut self) -> Findings {
        let env = |name: &str| std::env::var(name).ok();
        let mut findings = Findings::default();
        for (door, sources) in self.certificates.iter_mut().enumerate() {
            let mut changed = false;
            for watched in sources.iter_mut().filter_map(Watched::changed) {
                match Certificate::load(&watched.chain, &watched.key, &env) {
                    Ok(certificate) => {
                        watched.loaded = Arc::new(certificate);
                        changed = true;
                    }
                    Err(error) => findings.kept.push(Kept { code: "certificate_kept", why: error.to_string() }),
                }
            }
            if changed {
                let all = sources.iter().map(|watched| Arc::clone(&watched.source.loaded)).collect();
                findings.certificates.push((door, all));
            }
        }
        for issuer in self.issuers.iter_mut().filter_map(Watched::changed) {
            match issuer.load(&env) {
                Ok(keys) => drop(findings.issuers.insert(Arc::clone(&issuer.name), Arc::new(keys))),
                Err(error) => findings.kept.push(Kept { code: "keys_kept", why: error.to_string() }),
            }
        }
        for file in self.token_files.iter_mut().filter_map(Watched::changed) {
            match load_tokens(file) {
                Ok(table) => drop(findings.token_tables.insert(file.clone(), Arc::new(table))),
                Err(mistakes) => {
                    let why = mistakes.first().map(|mistake| format!("{}: {}", mistake.place, mistake.message));
                    findings.kept.push(Kept { code: "tokens_kept", why: why.unwrap_or_default() });
                }
            }
        }
        findings
    }
}

impl<T> Watched<T> {
    fn new(source: T, files: Vec<PathBuf>) -> Self {
        let seen = files.iter().map(|file| stamp(file)).collect();
        Self { source, files, seen }
    }

    /// The source, if one of its files is another than at the last look.
    fn changed(&mut self) -> Option<&mut T> {
        let stand: Vec<_> = self.files.iter().map(|file| stamp(file)).collect();
        if stand == self.seen {
            return None;
        }
        self.seen = stand;
        Some(&mut self.source)
    }
}

/// Looks at the files until the gateway ends.
pub(super) async fn run(house: Arc<House>, doors: Vec<Arc<Door>>, mut sources: Sources) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while house.end.run_until_cancelled(ticks.tick()).await.is_some() {
        let looked = spawn_blocking(move || {
            let findings = sources.look();
            (sources, findings)
        });
        let Ok((seen, findings)) = looked.await else {
            return house.notice(Level::Error, "watch_ended", "the watch over certificates and keys ended".into());
        };
        sources = seen;
        apply(&house, &doors, findings);
    }
}

fn apply(house: &House, doors: &[Arc<Door>], findings: Findings) {
    for (door, certificates) in findings.certificates {
        let Some(tls) = doors.get(door).and_then(|door| door.tls.as_ref()) else { continue };
        match tls.replace(&certificates) {
            Ok(()) => house.notice(Level::Info, "certificate_replaced", names(&certificates)),
            Err(error) => house.notice(Level::Error, "certificate_kept", error.to_string()),
        }
    }
    for Kept { code, why } in findings.kept {
        house.notice(Level::Error, code, format!("{why}; what was read before stays in use"));
    }
    if findings.issuers.is_empty() && findings.token_tables.is_empty() {
        return;
    }
    let (issuers, tables) = (findings.issuers.len(), findings.token_tables.len());
    house.replace_keys(findings.issuers, findings.token_tables);
    house.notice(Level::Info, "keys_replaced", format!("read {issuers} issuers and {tables} token files again"));
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
        Auth::Jwt(_) | Auth::Backend | Auth::Open => None,
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}
