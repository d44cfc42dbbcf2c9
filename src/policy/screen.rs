//! The screen: host, path, network, Origin and subprotocol, before any credential is looked at.
//!
//! Hosts, paths and origins are looked up by hash, so what a handshake costs does not depend on how many an operator has
//! listed; a policy's networks are gone through one by one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::auth::Auth;
use super::credential::Carrier;
use super::origin::{AllowedOrigin, AmbientCredential};
use super::route::{HostPattern, PathPattern};
use super::{Policy, PolicyName, Reason, Refusal};
use crate::peer::ClientAddr;
use crate::ws::call;
use crate::ws::head::Headers;
use crate::ws::opening::OpeningHandshake;

/// How a page of a listed origin is told that its credential is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// By the status of the handshake, which a page cannot read.
    Status,
    /// By a 101 and a Close frame.
    Close,
}

/// What the transport knows of the client.
#[derive(Clone, Debug)]
pub struct Transport {
    /// Who is charged.
    pub client: ClientAddr,
    /// The name in the TLS handshake; `None` without TLS or without SNI.
    pub server_name: Option<String>,
    /// Whether a client certificate was presented: an ambient credential.
    pub client_certificate: bool,
}

/// Every policy, found by host and path.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: Vec<Arc<Policy>>,
    exact: HashMap<String, Paths>,
    one_label_under: HashMap<String, Paths>,
}

/// The policies of one host pattern, found by path.
#[derive(Clone, Debug, Default)]
struct Paths {
    exact: HashMap<String, Arc<Policy>>,
    below: HashMap<String, Arc<Policy>>,
    /// The most slashes in a prefix of `below`: deeper folders of a request need not be looked up.
    depth: usize,
    /// Whose the paths of `exact` are, folded.
    folded_exact: HashMap<String, Owner>,
    /// Whose the folders of `below` are, folded, with the slash at their end.
    folded_below: HashMap<String, Owner>,
}

/// Whose a folded path is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    One(PolicyName),
    Several,
}

/// Two policies claim the same path of the same host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The host.
    pub host: HostPattern,
    /// The path.
    pub path: PathPattern,
    /// Who claims it, in the order in which they came.
    pub policies: [PolicyName; 2],
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.policies;
        let Self { host, path, .. } = self;
        write!(f, "the policies `{first}` and `{second}` both serve {host}{path}: leave it to one of them")
    }
}

impl std::error::Error for Overlap {}

impl PolicySet {
    /// Indexes the policies; two that claim the same host and path are an error.
    pub fn new(policies: Vec<Arc<Policy>>) -> Result<Self, Overlap> {
        let mut set = Self::default();
        for policy in &policies {
            for host in &policy.route.hosts {
                let paths = match host {
                    HostPattern::Exact(name) => set.exact.entry(name.clone()).or_default(),
                    HostPattern::OneLabelUnder(name) => set.one_label_under.entry(name.clone()).or_default(),
                };
                for path in &policy.route.paths {
                    paths.claim(path, policy).map_err(|other| Overlap {
                        host: host.clone(),
                        path: path.clone(),
                        policies: [other, policy.name.clone()],
                    })?;
                }
            }
        }
        set.policies = policies;
        Ok(set)
    }

    /// Every policy, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.iter()
    }

    /// The policy that serves this path of this host (lower case, without port).
    pub(super) fn policy_of(&self, host: &str, path: &str) -> Result<&Arc<Policy>, Refusal> {
        self.paths_of(host)?.policy_of(path)
    }

    fn paths_of(&self, host: &str) -> Result<&Paths, Refusal> {
        self.host(host).ok_or_else(|| Refusal::new(Reason::HostNotServed).with_detail(host))
    }

    /// The policies of a host (lower case, without port): the exact one before the wildcard. A host that is served
    /// exactly leaves nothing to a wildcard.
    fn host(&self, host: &str) -> Option<&Paths> {
        let under = || host.split_once('.').and_then(|(_label, name)| self.one_label_under.get(name));
        self.exact.get(host).or_else(under)
    }
}

impl Paths {
    fn claim(&mut self, path: &PathPattern, policy: &Arc<Policy>) -> Result<(), PolicyName> {
        let (table, key) = match path {
            PathPattern::Exact(path) => (&mut self.exact, path),
            PathPattern::Below(folder) => (&mut self.below, folder),
        };
        let claimed = table.entry(key.clone()).or_insert_with(|| Arc::clone(policy));
        if claimed.name != policy.name {
            return Err(claimed.name.clone());
        }
        let (owners, folded) = match path {
            PathPattern::Exact(path) => (&mut self.folded_exact, folded(path)),
            PathPattern::Below(folder) => {
                self.depth = self.depth.max(folder.matches('/').count());
                (&mut self.folded_below, folded(folder) + "/")
            }
        };
        let owner = Owner::One(policy.name.clone());
        let told = owners.entry(folded).or_insert_with(|| owner.clone());
        if *told != owner {
            *told = Owner::Several;
        }
        Ok(())
    }

    fn policy_of(&self, path: &str) -> Result<&Arc<Policy>, Refusal> {
        self.find(path).ok_or_else(|| Refusal::new(Reason::PathNotServed).with_detail(path))
    }

    /// The policy that serves this path: the exact path before the longest folder; none serves the gateway's own.
    fn find(&self, path: &str) -> Option<&Arc<Policy>> {
        if path.starts_with(call::FOLDER) {
            return None;
        }
        let longest = || {
            let folders = self.folders(path).filter_map(|folder| self.below.get_key_value(folder));
            folders.last().filter(|(folder, policy)| !self.is_anothers(path, folder, policy)).map(|(_, policy)| policy)
        };
        self.exact.get(path).or_else(longest)
    }

    /// The folders above a path, outermost first, as far as any pattern goes.
    fn folders<'p>(&self, path: &'p str) -> impl Iterator<Item = &'p str> {
        path.match_indices('/').take(self.depth).filter_map(|(slash, _)| path.get(..=slash))
    }

    /// Whether a path that falls to `policy` by its `folder` is, but for letter case and a slash at its end, a nearer
    /// one of another policy. Many services see no difference there, so a strict policy could be passed by.
    fn is_anothers(&self, path: &str, folder: &str, policy: &Policy) -> bool {
        let of_another = |owner: &Owner| *owner != Owner::One(policy.name.clone());
        let mut folded = folded(path);
        if let Some(owner) = self.folded_exact.get(&folded) {
            return of_another(owner);
        }
        folded.push('/');
        let nearer = self.folders(&folded).filter(|other| other.len() > folder.len());
        nearer.filter_map(|folder| self.folded_below.get(folder)).last().is_some_and(of_another)
    }
}

/// A path in ASCII lower case, without the slash at its end.
fn folded(path: &str) -> String {
    path.strip_suffix('/').unwrap_or(path).to_ascii_lowercase()
}

/// A handshake that may be asked for its credential. Only [`screen`] makes one.
#[derive(Debug)]
pub struct Screened {
    /// The handshake; of its subprotocols, those that the policy lists and those that carry a token.
    pub opening: OpeningHandshake,
    /// The policy it falls under.
    pub policy: Arc<Policy>,
    /// Proof that its Origin was judged.
    pub origin: AllowedOrigin,
    /// Whether something came that browsers send by themselves.
    pub ambient: AmbientCredential,
    _witness: Witness,
}

/// Cannot be made outside this module.
#[derive(Clone, Copy, Debug)]
struct Witness;

#[cfg(test)]
impl Screened {
    /// A witness for tests of what follows.
    pub(in crate::policy) fn for_tests(opening: OpeningHandshake, policy: Arc<Policy>, origin: AllowedOrigin) -> Self {
        Self { opening, policy, origin, ambient: AmbientCredential::None, _witness: Witness }
    }
}

/// Judges host, path, network, Origin and subprotocol.
///
/// `Sec-Fetch-Mode`, where it came, must be `websocket`. `Sec-Fetch-Site` is not judged: a page of a listed origin may
/// well be on another site, and Origin has said which.
pub fn screen(mut opening: OpeningHandshake, transport: &Transport, policies: &PolicySet) -> Result<Screened, Refusal> {
    let host = &opening.authority.host;
    let paths = policies.paths_of(host)?;
    judge_server_name(host, transport)?;
    let policy = Arc::clone(paths.policy_of(&opening.path)?);
    let ambient = ambient_credential(&opening.headers, transport);
    let origin = judge_place(&policy, transport.client, opening.origin.as_deref(), ambient)?;
    judge_fetch_metadata(&opening.headers)?;
    if let Some(listed) = &policy.route.subprotocols {
        opening.subprotocols = judge_subprotocols(opening.subprotocols, listed, &policy.auth)?;
    }
    Ok(Screened { opening, policy, origin, ambient, _witness: Witness })
}

/// Judges where a handshake comes from: its network, and the page that opened it.
pub(super) fn judge_place(
    policy: &Policy,
    client: ClientAddr,
    origin: Option<&str>,
    ambient: AmbientCredential,
) -> Result<AllowedOrigin, Refusal> {
    policy.quotas.networks.judge(client, Reason::NetworkNotAllowed)?;
    policy.origin.judge(origin, ambient)
}

/// The certificate was chosen by the name in the TLS handshake, so a different Host is somebody else's.
pub(super) fn judge_server_name(host: &str, transport: &Transport) -> Result<(), Refusal> {
    match &transport.server_name {
        Some(name) if !name.eq_ignore_ascii_case(host) => {
            Err(Refusal::new(Reason::HostNotSni).with_detail(format!("Host {host}, TLS server name {name}")))
        }
        _ => Ok(()),
    }
}

pub(super) fn ambient_credential(headers: &Headers, transport: &Transport) -> AmbientCredential {
    // Browsers answer challenges of several schemes by themselves; a bearer token is put there by a program.
    let is_bearer =
        |value: &str| value.split_once(' ').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let scheme = headers.all("authorization").any(|value| !is_bearer(value));
    let carried = transport.client_certificate || headers.has("cookie") || scheme;
    if carried { AmbientCredential::Carried } else { AmbientCredential::None }
}

/// Fetch Metadata: a browser opens a WebSocket in no other mode.
fn judge_fetch_metadata(headers: &Headers) -> Result<(), Refusal> {
    match headers.all("sec-fetch-mode").find(|mode| *mode != "websocket") {
        Some(mode) => Err(Refusal::new(Reason::FetchMetadata).with_detail(format!("Sec-Fetch-Mode {mode}"))),
        None => Ok(()),
    }
}

/// The offered subprotocols that are listed or carry a token, in the client's order. An offer in which nothing is
/// listed is refused; an offer of nothing but a token, or of nothing at all, is not.
fn judge_subprotocols(offered: Vec<String>, listed: &[String], auth: &[Auth]) -> Result<Vec<String>, Refusal> {
    let mut allowed = Vec::with_capacity(offered.len());
    let (mut chosen, mut strangers) = (false, false);
    let mut offered = offered.into_iter();
    while let Some(name) = offered.next() {
        if is_marker(&name, auth) {
            allowed.push(name);
            allowed.extend(offered.next());
        } else if listed.contains(&name) {
            chosen = true;
            allowed.push(name);
        } else {
            strangers = true;
        }
    }
    if strangers && !chosen {
        // The offer itself may hold a token for another service, so the log is told what would have passed.
        return Err(Refusal::new(Reason::SubprotocolNotAllowed).with_detail(format!("listed: {}", listed.join(", "))));
    }
    Ok(allowed)
}

/// The first offered subprotocol that is no token, else the marker of one: what a 101 says that no backend chose, because
/// browsers fail a handshake that offered some and got none.
pub fn first_choice(offered: &[String], auth: &[Auth]) -> Option<String> {
    let mut marker = None;
    let mut names = offered.iter();
    while let Some(name) = names.next() {
        if !is_marker(name, auth) {
            return Some(name.clone());
        }
        marker = marker.or(Some(name));
        names.next();
    }
    marker.cloned()
}

/// Whether the policy reads the next offered subprotocol as a token.
fn is_marker(name: &str, auth: &[Auth]) -> bool {
    let marks = |carrier: &Carrier| matches!(carrier, Carrier::Subprotocol(marker) if marker == name);
    auth.iter().flat_map(Auth::from).any(marks)
}

#[cfg(test)]
mod tests;
