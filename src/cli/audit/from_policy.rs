//! What a policy of wsgate says of the endpoint that it governs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::environment;
use super::signing::{GoodToken, LIFE};
use super::target::{Flaw, Place};
use crate::config::{self, Config, ListenerConfig, ProxyMode};
use crate::policy::Policy;
use crate::policy::auth::{Auth, ClaimRule, JwtRules};
use crate::policy::credential::Carrier;
use crate::policy::route::{HostPattern, PathPattern};
use crate::units::UnixSeconds;

/// The file of authorities that `wsgate certs` writes beside a certificate.
const AUTHORITIES: &str = "ca.pem";

/// The most files that a message names.
const SHOWN: usize = 5;

/// What a policy says.
pub(super) struct Known {
    pub(super) policy: Arc<Policy>,
    pub(super) dangers: Vec<(String, String)>,
    /// Listed origins as an operator writes them, exact ones first.
    pub(super) origins: Vec<String>,
    /// Where a good token travels.
    pub(super) carrier: Option<Carrier>,
    pub(super) subprotocols: Vec<String>,
    /// What a good token says, where tokens are signed.
    pub(super) good_token: Option<GoodToken>,
    /// Authorities beside the listener's certificate, where they are.
    pub(super) authorities: Option<PathBuf>,
    listener: Option<ListenerConfig>,
}

/// What was given beside the policy and says which of its `[[auth]]` is meant.
#[derive(Clone, Copy)]
pub(super) struct Given<'g> {
    pub(super) carrier: Option<&'g Carrier>,
    pub(super) signing_key: bool,
}

/// Reads the configuration to which a policy's file belongs.
pub(super) fn read(policy: &Path, config: Option<&Path>, given: Given<'_>, now: UnixSeconds) -> Result<Known, Flaw> {
    let gateway = match config {
        Some(path) => path.to_owned(),
        None => gateway_of(policy).ok_or_else(|| {
            format!("{}: no gateway.toml beside or above it: name it with --config", policy.display())
        })?,
    };
    let (config, _) = config::load(&gateway, &environment, now)
        .map_err(|mistakes| Flaw::Configuration(mistakes.render(config::diagnostic::Style::Plain)))?;
    let found = find(policy, &config, &gateway)?;
    Ok(known(&config, found, given))
}

/// The policy that is this file, however the file is called here.
fn find(file: &Path, config: &Config, gateway: &Path) -> Result<Arc<Policy>, String> {
    let asked = file.canonicalize().map_err(|error| format!("{}: {error}", file.display()))?;
    let is_asked = |other: &Path| other.canonicalize().is_ok_and(|other| other == asked);
    let name = config.policy_files.iter().find(|(_, file)| is_asked(file)).map(|(name, _)| name);
    let found = config.policies.iter().find(|policy| Some(&policy.name) == name).map(Arc::clone);
    found.ok_or_else(|| {
        let files = config.policy_files.values().take(SHOWN).map(|file| file.display().to_string());
        let files = files.collect::<Vec<_>>().join(", ");
        format!("{} is no policy of {}: those are {files}", file.display(), gateway.display())
    })
}

fn gateway_of(policy: &Path) -> Option<PathBuf> {
    let folder = policy.parent()?;
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    [folder.to_owned(), folder.join("..")]
        .map(|folder| folder.join("gateway.toml"))
        .into_iter()
        .find(|path| path.exists())
}

fn known(config: &Config, policy: Arc<Policy>, given: Given<'_>) -> Known {
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
    let meant = meant(&policy.auth, given);
    Known {
        dangers,
        origins,
        carrier: given.carrier.or(meant.and_then(|auth| auth.from().first())).cloned(),
        subprotocols: policy.route.subprotocols.iter().flatten().take(1).cloned().collect(),
        good_token: match meant {
            Some(Auth::Jwt(rules)) => good_token(config, rules),
            _ => None,
        },
        authorities,
        listener,
        policy,
    }
}

/// The `[[auth]]` that a good token is for: one that names the carrier where it was given, the first jwt where there is a
/// key to sign with, else the first that a token is for.
fn meant<'p>(auth: &'p [Auth], given: Given<'_>) -> Option<&'p Auth> {
    let names = |auth: &&Auth| match given.carrier {
        Some(carrier) => auth.from().contains(carrier),
        // A ticket is bought with the token of another way.
        None => !auth.from().is_empty() && !matches!(auth, Auth::Ticket(_)),
    };
    let signed = auth.iter().filter(names).find(|auth| given.signing_key && matches!(auth, Auth::Jwt(_)));
    signed.or_else(|| auth.iter().find(names))
}

/// What a good token of this issuer says under these rules.
fn good_token(config: &Config, rules: &JwtRules) -> Option<GoodToken> {
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
    Some(GoodToken { claims, algorithm, kid, life: rules.max_life.min(LIFE) })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::auth::TokenRules;

    fn from(carriers: &[&str]) -> Vec<Carrier> {
        carriers.iter().map(|carrier| carrier.parse().unwrap()).collect()
    }

    fn jwt(issuer: &str, carriers: &[&str]) -> Auth {
        Auth::Jwt(JwtRules {
            issuer: issuer.into(),
            from: from(carriers),
            audience: Vec::new(),
            require: Vec::new(),
            typ: None,
            leeway: Duration::ZERO,
            max_life: Duration::from_secs(60),
        })
    }

    #[test]
    fn carrier_and_claims_are_of_one_entry() {
        let auth = [
            Auth::Open,
            Auth::Token(TokenRules {
                tokens: PathBuf::from("a.tokens"),
                from: from(&["query:ticket", "authorization"]),
            }),
            jwt("first", &["authorization", "cookie:session"]),
            jwt("second", &["cookie:other", "cookie:session"]),
        ];
        let cases = [
            (None, false, Some(1)),
            (None, true, Some(2)),
            (Some("authorization"), false, Some(1)),
            (Some("authorization"), true, Some(2)),
            (Some("cookie:session"), false, Some(2)),
            (Some("cookie:other"), true, Some(3)),
            (Some("query:ticket"), true, Some(1)),
            (Some("query:unheard-of"), true, None),
        ];
        for (carrier, signing_key, expected) in cases {
            let carrier = carrier.map(|carrier| carrier.parse::<Carrier>().unwrap());
            let found = meant(&auth, Given { carrier: carrier.as_ref(), signing_key });
            let at = found.map(|found| auth.iter().position(|one| std::ptr::eq(one, found)).unwrap());
            assert_eq!(at, expected, "{carrier:?} {signing_key}");
        }
    }
}
