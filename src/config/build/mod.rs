//! The whole configuration: gateway.toml, the policies that it names, and what they name in turn.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::credentials::load_revocations;
use super::diagnostic::{Code, Diagnostic, Diagnostics, Place, Severity};
use super::material::Environment;
use super::raw::{RawGateway, RawPolicy};
use super::read::{self, Parsed};
use super::schema::Language;
use super::scope::{Findings, Scope, Surroundings};
use super::{Config, Files, GatewayConfig};
use crate::policy::auth::keys::Keys;
use crate::policy::revocation::RevocationSet;
use crate::policy::route::{HostPattern, PathPattern};
use crate::policy::{Policy, PolicyName};
use crate::units::UnixSeconds;

mod auth;
mod balance;
mod ceiling;
pub(super) mod files;
mod gateway;
mod issuer;
mod listener;
mod origin;
pub(super) mod policy;
mod server;
mod session;
mod upstream;

/// The most pairs of host and path of all policies.
const MOST_ROUTES: usize = 100_000;

/// Reads, builds and checks everything that `path` names. `now` judges the validity of certificates.
///
/// The result holds warnings; the error holds every mistake and every warning.
pub fn load(path: &Path, env: Environment<'_>, now: UnixSeconds) -> Result<(Config, Vec<Diagnostic>), Diagnostics> {
    attempt(path, env, now).0
}

/// The same, and what it read, whatever came of it.
pub fn attempt(path: &Path, env: Environment<'_>, now: UnixSeconds) -> (Loaded, Files) {
    let mut findings = Findings::default();
    let around = Surroundings { env, now };
    let config = read_all(path, &around, &mut findings);
    let Findings { diagnostics, settings, files, .. } = findings;
    let loaded = match config {
        Some(config) if !diagnostics.has_errors() => {
            Ok((Config { settings, files: files.clone(), ..config }, diagnostics.into_vec()))
        }
        _ => Err(diagnostics),
    };
    (loaded, files)
}

/// A configuration and what is to be looked at in it, or every mistake.
pub type Loaded = Result<(Config, Vec<Diagnostic>), Diagnostics>;

/// The admin socket that the file at `path` names. Nothing else of it is judged: whoever asks a running gateway to reload
/// is to be told by that what is wrong.
///
/// # Errors
/// One sentence: the file cannot be read, is not TOML, or names none.
pub fn admin_socket(path: &Path) -> Result<PathBuf, String> {
    let told = |what: &str| format!("{}: {what}", path.display());
    let bytes = read::bounded(path, read::LONGEST_FILE).map_err(|mistake| told(&mistake.message))?;
    let text = String::from_utf8(bytes).map_err(|_| told("this file is not UTF-8"))?;
    let table: toml::Table = text.parse().map_err(|_| told("this file is not TOML: name the socket with --socket"))?;
    let socket = table.get("admin").and_then(|admin| admin.get("socket")).and_then(toml::Value::as_str);
    let socket = socket.ok_or_else(|| told("there is no `admin = { socket = \"state/admin.sock\" }`"))?;
    Ok(path.parent().unwrap_or(Path::new("")).join(socket))
}

fn read_all(path: &Path, around: &Surroundings<'_>, findings: &mut Findings) -> Option<Config> {
    findings.files.stamps.take(path);
    let parsed: Parsed<RawGateway> = read::parse(path, Language::Gateway, &mut findings.diagnostics)?;
    let mut scope = Scope::new(&parsed.source, parsed.whole, findings);
    let built = gateway::build(&parsed.raw, &mut scope, around);
    let mut gateway = built.gateway;
    gateway.dangers = scope.take_dangers();
    let patterns = files::patterns(&parsed.raw.policies, &mut scope);
    let policy_files = files::policies(&patterns, &parsed.raw.policies, &mut scope);
    findings.files.policies = patterns;
    let revoked = revoked(&gateway, findings);
    let mut scope = Scope::new(&parsed.source, parsed.whole, findings);
    let mut keys = Keys::default();
    load_issuers(&gateway, &parsed.raw, &mut scope, around, &mut keys);
    let above = policy::Above { gateway: &gateway, ceiling: &built.ceiling };
    let (policies, examples, policy_files) = read_policies(&policy_files, &above, findings, &mut keys);
    uncovered_hosts(&gateway, &policies, path, findings);
    let policies = policies.into_iter().map(Arc::new).collect();
    let path = path.to_owned();
    let (keys, settings, files) = (Arc::new(keys), Vec::new(), Files::default());
    Some(Config { path, gateway, policies, policy_files, keys, examples, revoked, settings, files })
}

/// What the file of revocations lists.
fn revoked(gateway: &GatewayConfig, findings: &mut Findings) -> RevocationSet {
    let Some(path) = &gateway.revocations else { return RevocationSet::default() };
    findings.files.stamps.take(path);
    load_revocations(path).unwrap_or_else(|mistakes| {
        mistakes.into_iter().for_each(|mistake| findings.diagnostics.push(mistake));
        RevocationSet::default()
    })
}

fn load_issuers(
    gateway: &GatewayConfig,
    raw: &RawGateway,
    scope: &mut Scope<'_>,
    around: &Surroundings<'_>,
    keys: &mut Keys,
) {
    for issuer in &gateway.issuers {
        issuer.keys.iter().filter_map(|key| key.from.file()).for_each(|file| scope.reads(file));
        match issuer.load_telling(around.env, |path| listener::permissions(path, scope)) {
            Ok(loaded) => drop(keys.issuers.insert(Arc::clone(&issuer.name), Arc::new(loaded))),
            Err(error) => {
                let at = raw.issuer.get(&*issuer.name);
                let span =
                    at.and_then(|at| at.get().keys.as_ref()).map(super::raw::words::At::span).unwrap_or_default();
                let is_absent = issuer.keys.iter().filter_map(|key| key.from.file()).any(|file| !file.exists());
                let made = if is_absent { "; `wsgate token key` makes keys for development" } else { "" };
                let message = format!("{}: {}", error.place, error.message);
                scope.error(Code::Credential, span, message, format!("{}{made}", error.help));
            }
        }
    }
}

type Examples = BTreeMap<PolicyName, Vec<super::Example>>;

fn read_policies(
    files: &[PathBuf],
    above: &policy::Above<'_>,
    findings: &mut Findings,
    keys: &mut Keys,
) -> (Vec<Policy>, Examples, BTreeMap<PolicyName, PathBuf>) {
    let mut policies: Vec<Policy> = Vec::new();
    let mut examples = Examples::new();
    let mut policy_files = BTreeMap::new();
    let mut claimed = Claimed::default();
    for file in files {
        let name = file.file_stem().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        let name = PolicyName::new(name);
        if policies.iter().any(|other| other.name == name) {
            let place = Place::File(file.clone(), None);
            let mistake = Diagnostic::error(Code::Duplicate, place, format!("two policies are called `{name}`"));
            findings.diagnostics.push(mistake.help("a policy is called as its file: rename one"));
        }
        findings.files.stamps.take(file);
        let Some(parsed) = read::parse::<RawPolicy>(file, Language::Policy, &mut findings.diagnostics) else {
            continue;
        };
        let mut scope = Scope::new(&parsed.source, parsed.whole, findings);
        let Some(built) = policy::build(name.clone(), &parsed.raw, &mut scope, above, keys) else { continue };
        claimed.claim(&built, &mut findings.diagnostics);
        policy_files.insert(name.clone(), file.clone());
        examples.insert(name, built.examples);
        policies.push(built.policy);
    }
    (policies, examples, policy_files)
}

/// Which policy has which host and path: two with the same pair would make the choice between them an accident.
#[derive(Default)]
struct Claimed(HashMap<(HostPattern, PathPattern), (PolicyName, Place)>);

impl Claimed {
    fn claim(&mut self, built: &policy::Built, diagnostics: &mut Diagnostics) {
        for (host, _) in &built.hosts {
            for (path, place) in &built.paths {
                if self.0.len() >= MOST_ROUTES {
                    let message = format!("more than {MOST_ROUTES} pairs of host and path");
                    return diagnostics
                        .push(Diagnostic::error(Code::TooLarge, place.clone(), message).help("use wildcards"));
                }
                let taken = self.0.insert((host.clone(), path.clone()), (built.policy.name.clone(), place.clone()));
                if let Some((other, there)) = taken {
                    let message = format!("the policy `{other}` serves this path of the same host ({there})");
                    let mistake = Diagnostic::error(Code::Duplicate, place.clone(), message);
                    return diagnostics
                        .push(mistake.help("give one of them another host or path: the longest path wins"));
                }
            }
        }
    }
}

/// A host that every listener's TLS refuses is served in vain.
fn uncovered_hosts(gateway: &GatewayConfig, policies: &[Policy], path: &Path, findings: &mut Findings) {
    let tls: Vec<_> = gateway.listeners.iter().filter_map(|listener| listener.tls.as_ref()).collect();
    if tls.is_empty() || tls.len() < gateway.listeners.len() || tls.iter().any(|tls| tls.certificates.is_empty()) {
        return;
    }
    let names: Vec<&str> =
        tls.iter().flat_map(|tls| &tls.certificates).flat_map(|one| &one.loaded.names).map(String::as_str).collect();
    for policy in policies {
        for host in &policy.route.hosts {
            let wanted = match host {
                HostPattern::Exact(host) => host.clone(),
                HostPattern::OneLabelUnder(parent) => format!("*.{parent}"),
            };
            let wildcard = wanted.split_once('.').map(|(_, parent)| format!("*.{parent}"));
            let covered = names.iter().any(|name| *name == wanted || wildcard.as_deref() == Some(*name));
            if !covered && wanted.parse::<std::net::Ipv4Addr>().is_err() && !wanted.starts_with('[') {
                let place = Place::File(path.to_owned(), None);
                let message = format!("no certificate is for `{wanted}`, which the policy `{}` serves", policy.name);
                let warning =
                    Diagnostic { severity: Severity::Warning, ..Diagnostic::error(Code::Certificate, place, message) };
                findings.diagnostics.push(warning.help("browsers will not connect: add a certificate with this name"));
            }
        }
    }
}
