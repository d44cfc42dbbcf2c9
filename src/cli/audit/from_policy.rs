//! What a policy of wsgate says of the endpoint that it governs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::environment;
use super::signing::Asked;
use super::target::{Flaw, Place};
use crate::config::{self, Config, ListenerConfig, ProxyMode};
use crate::policy::Policy;
use crate::policy::auth::{Auth, ClaimRule, JwtRules};
use crate::policy::credential::Carrier;
use crate::policy::route::{HostPattern, PathPattern};
use crate::units::UnixSeconds;

/// The file of authorities that `wsgate certs` writes beside a certificate.
const AUTHORITIES: &str = "ca.pem";

/// What a policy says.
pub(super) struct Known {
    pub(super) policy: Arc<Policy>,
    pub(super) dangers: Vec<(String, String)>,
    /// Listed origins as an operator writes them, exact ones first.
    pub(super) origins: Vec<String>,
    /// The first place in which its first credential may travel.
    pub(super) carrier: Option<Carrier>,
    pub(super) subprotocols: Vec<String>,
    /// What a good token says, where tokens are signed.
    pub(super) asked: Option<Asked>,
    /// Authorities beside the listener's certificate, where they are.
    pub(super) authorities: Option<PathBuf>,
    listener: Option<ListenerConfig>,
}

/// Reads the configuration to which a policy's file belongs.
pub(super) fn read(policy: &Path, config: Option<&Path>, now: UnixSeconds) -> Result<Known, Flaw> {
    let gateway = match config {
        Some(path) => path.to_owned(),
        None => gateway_of(policy).ok_or_else(|| {
            format!("{}: no gateway.toml beside or above it: name it with --config", policy.display())
        })?,
    };
    let (config, _) = config::load(&gateway, &environment, now)
        .map_err(|mistakes| Flaw::Configuration(mistakes.render(config::diagnostic::Style::Plain)))?;
    let name = policy.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let found = config.policies.iter().find(|policy| policy.name.as_str() == name).map(Arc::clone);
    let found = found
        .ok_or_else(|| format!("{} names no policy {name:?}: is --policy one of its files?", gateway.display()))?;
    Ok(known(&config, found))
}

fn gateway_of(policy: &Path) -> Option<PathBuf> {
    let folder = policy.parent()?;
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    [folder.to_owned(), folder.join("..")]
        .map(|folder| folder.join("gateway.toml"))
        .into_iter()
        .find(|path| path.exists())
}

fn known(config: &Config, policy: Arc<Policy>) -> Known {
    let dangers = config.gateway.dangers.iter().chain(&policy.dangers);
    let dangers = dangers.map(|(key, reason)| (key.clone(), reason.clone())).collect();
    let mut origins: Vec<String> = policy.origin.allow.exact.iter().cloned().collect();
    // One that a browser sends for a page over TLS stands first.
    origins.sort_by_key(|origin| (!origin.starts_with("https://"), origin.clone()));
    let mut wild: Vec<String> =
        policy.origin.allow.one_label.iter().map(|wild| format!("{}*{}", wild.scheme, wild.suffix)).collect();
    wild.sort();
    origins.extend(wild);
    let listener = config.gateway.listeners.iter().find(|listener| listener.proxy == ProxyMode::None).cloned();
    let chain = listener.as_ref().and_then(|listener| Some(listener.tls.as_ref()?.certificates.first()?.chain.clone()));
    let authorities = chain.and_then(|chain| Some(chain.parent()?.join(AUTHORITIES))).filter(|path| path.exists());
    Known {
        dangers,
        origins,
        carrier: policy.auth.iter().find_map(|auth| auth.from().first().cloned()),
        subprotocols: policy.route.subprotocols.iter().flatten().take(1).cloned().collect(),
        asked: policy.auth.iter().find_map(|auth| match auth {
            Auth::Jwt(rules) => asked(config, rules),
            _ => None,
        }),
        authorities,
        listener,
        policy,
    }
}

/// What a good token of this issuer says under these rules.
fn asked(config: &Config, rules: &JwtRules) -> Option<Asked> {
    let issuer = config.gateway.issuers.iter().find(|issuer| issuer.name == rules.issuer)?;
    let mut claims = Map::new();
    for rule in &rules.require {
        require(&mut claims, rule);
    }
    claims.insert(String::from("iss"), Value::from(issuer.iss.as_str()));
    if let Some(audience) = rules.audience.first() {
        claims.insert(String::from("aud"), Value::from(audience.as_str()));
    }
    let kid = match issuer.keys.as_slice() {
        [only] => only.id.clone(),
        _ => None,
    };
    let algorithm = issuer.algorithms.first().copied()?;
    Some(Asked { claims, algorithm, kid })
}

/// Puts the first word that a rule accepts where its pointer leads (RFC 6901).
fn require(claims: &mut Map<String, Value>, rule: &ClaimRule) {
    let Some(word) = rule.any_of.first() else { return };
    let steps: Vec<String> =
        rule.pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    let Some((last, folders)) = steps.split_last() else { return };
    let mut place = claims;
    for folder in folders {
        let inner = place.entry(folder.clone()).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(inner) = inner else { return };
        place = inner;
    }
    place.insert(last.clone(), Value::from(word.as_str()));
}

impl Known {
    /// Where the policy's endpoint is: the first host and path that it names, at the first listener without a proxy.
    pub(super) fn place(&self) -> Result<(Place, SocketAddr), String> {
        let listener = self.listener.as_ref().ok_or("every listener stands behind a proxy: give the proxy's URL")?;
        let host = self.policy.route.hosts.first().map(|host| match host {
            HostPattern::Exact(host) => host.clone(),
            HostPattern::OneLabelUnder(host) => format!("audit.{host}"),
        });
        let path = self.policy.route.paths.first().map(|path| match path {
            PathPattern::Exact(path) | PathPattern::Below(path) => path.clone(),
        });
        let (host, path) = host.zip(path).ok_or("the policy names no host or no path")?;
        let scheme = if listener.tls.is_some() { "wss" } else { "ws" };
        let place = Place::read(&format!("{scheme}://{host}:{}{path}", listener.address.port()))?;
        Ok((place, listener.address))
    }
}
