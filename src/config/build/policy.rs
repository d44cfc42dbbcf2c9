//! One file of `policies/` to a policy.

use std::ops::Range;

use super::ceiling::Ceiling;
use super::{auth, origin, session, upstream};
use crate::config::GatewayConfig;
use crate::config::diagnostic::{Code, Place};
use crate::config::example::{self, Example};
use crate::config::raw::policy::{RawPolicy, RawRoute};
use crate::config::raw::words::At;
use crate::config::scope::{Scope, span_of};
use crate::policy::auth::Auth;
use crate::policy::auth::keys::Keys;
use crate::policy::forward::{PathRule, Upstream};
use crate::policy::route::{HostPattern, PathPattern, Route};
use crate::policy::{Policy, PolicyName};
use crate::session::SessionRules;

/// The most hosts of one policy.
const MOST_HOSTS: usize = 1_000;
/// The most paths of one policy.
const MOST_PATHS: usize = 200;
/// The most subprotocols of one policy.
const MOST_SUBPROTOCOLS: usize = 64;
/// The most examples of one policy.
const MOST_EXAMPLES: usize = 1_000;

/// What stands above every policy.
pub(super) struct Above<'a> {
    pub(super) gateway: &'a GatewayConfig,
    pub(super) ceiling: &'a Ceiling,
}

/// A policy as far as it could be built, and the places of its route, for the comparison with other policies.
pub(super) struct Built {
    pub(super) policy: Policy,
    pub(super) examples: Vec<Example>,
    pub(super) hosts: Vec<(HostPattern, Place)>,
    pub(super) paths: Vec<(PathPattern, Place)>,
}

/// Builds one policy; `None` where a part without which there is none is missing.
pub(super) fn build(
    name: PolicyName,
    raw: &RawPolicy,
    scope: &mut Scope<'_>,
    above: &Above<'_>,
    keys: &mut Keys,
) -> Option<Built> {
    let routed = route(raw, scope);
    let auth = auth::build(&raw.auth, scope, above.gateway, keys);
    let upstream = upstream::build(raw, scope, &auth);
    let origin = origin::build(raw, scope, &auth, upstream.as_ref());
    let tell = origin::telling(raw, scope);
    let quotas = session::quotas(&raw.limits, &mut scope.table("limits"), above.ceiling);
    let session = session::rules(&raw.session, &mut scope.table("session"), above.ceiling);
    outliving(raw, &auth, &session, scope);
    let examples = examples(raw, scope);
    let (routed, upstream) = (routed?, upstream?);
    strippable(&upstream, &routed, raw, scope);
    let route = Route {
        hosts: routed.hosts.iter().map(|(host, _)| host.clone()).collect(),
        paths: routed.paths.iter().map(|(path, _)| path.clone()).collect(),
        subprotocols: routed.subprotocols,
    };
    let dangers = scope.take_dangers();
    let policy = Policy { name, route, upstream, origin, tell, auth, quotas, session: session.into(), dangers };
    Some(Built { policy, examples, hosts: placed(routed.hosts, scope), paths: placed(routed.paths, scope) })
}

/// Where no token is verified here, none ends a session.
fn outliving(raw: &RawPolicy, auth: &[Auth], session: &SessionRules, scope: &mut Scope<'_>) {
    let verifies = auth.iter().any(|way| matches!(way, Auth::Jwt(_) | Auth::Token(_)));
    if let Some(span) = span_of(&raw.session.danger_outlive_token).filter(|_| session.outlives_credential && !verifies)
    {
        let message = "no token is verified here, and so none ends a session";
        scope.error(Code::OutOfPlace, span, message, "take danger_outlive_token out");
    }
}

fn placed<T>(list: Vec<(T, Range<usize>)>, scope: &Scope<'_>) -> Vec<(T, Place)> {
    list.into_iter().map(|(value, span)| (value, scope.at(span))).collect()
}

struct Routed {
    hosts: Vec<(HostPattern, Range<usize>)>,
    paths: Vec<(PathPattern, Range<usize>)>,
    subprotocols: Option<Vec<String>>,
}

fn route(raw: &RawPolicy, scope: &mut Scope<'_>) -> Option<Routed> {
    let Some(at) = &raw.route else {
        scope.missing("route.hosts", None, "write [route] with hosts = [\"chat.example.com\"] and paths = [\"/chat\"]");
        return None;
    };
    let mut scope = scope.table("route");
    let raw = at.get();
    Some(Routed {
        hosts: hosts(raw, at, &mut scope),
        paths: paths(raw, at, &mut scope),
        subprotocols: subprotocols(raw, &mut scope),
    })
}

fn hosts(raw: &RawRoute, at: &At<RawRoute>, scope: &mut Scope<'_>) -> Vec<(HostPattern, Range<usize>)> {
    let mut hosts: Vec<(HostPattern, Range<usize>)> = Vec::new();
    for (text, span) in scope.list("hosts", &raw.hosts, MOST_HOSTS) {
        match HostPattern::parse(&text) {
            Ok(host) if hosts.iter().any(|(other, _)| *other == host) => {
                scope.error(Code::Duplicate, span, format!("`{text}` is listed twice"), "once is enough");
            }
            Ok(host) => hosts.push((host, span)),
            Err(error) => scope.error(
                Code::WrongValue,
                span,
                error.to_string(),
                "a host without scheme and port: \"chat.example.com\", \"*.example.com\"",
            ),
        }
    }
    if raw.hosts.as_ref().is_none_or(|list| list.get().is_empty()) {
        scope.missing(
            "hosts",
            raw.hosts.as_ref().map(At::span).or(Some(at.span())),
            "write hosts = [\"chat.example.com\"]",
        );
    }
    hosts
}

fn paths(raw: &RawRoute, at: &At<RawRoute>, scope: &mut Scope<'_>) -> Vec<(PathPattern, Range<usize>)> {
    let mut paths: Vec<(PathPattern, Range<usize>)> = Vec::new();
    for (text, span) in scope.list("paths", &raw.paths, MOST_PATHS) {
        match PathPattern::parse(&text) {
            Ok(path) if paths.iter().any(|(other, _)| *other == path) => {
                scope.error(Code::Duplicate, span, format!("`{text}` is listed twice"), "once is enough");
            }
            Ok(path) => paths.push((path, span)),
            Err(error) => scope.error(
                Code::WrongValue,
                span,
                error.to_string(),
                "\"/chat\" is this path, \"/chat/*\" all below it; there is no regex",
            ),
        }
    }
    if raw.paths.as_ref().is_none_or(|list| list.get().is_empty()) {
        scope.missing("paths", raw.paths.as_ref().map(At::span).or(Some(at.span())), "write paths = [\"/chat\"]");
    }
    paths
}

fn subprotocols(raw: &RawRoute, scope: &mut Scope<'_>) -> Option<Vec<String>> {
    if raw.subprotocols.is_none() {
        scope.note("subprotocols", String::from("\"whatever is offered\""), None);
        return None;
    }
    let mut names = Vec::new();
    for (name, span) in scope.list("subprotocols", &raw.subprotocols, MOST_SUBPROTOCOLS) {
        if auth::is_name(&name) {
            names.push(name);
        } else {
            scope.error(
                Code::WrongValue,
                span,
                format!("`{name}` is not a subprotocol's name"),
                "a token of at most 64 characters: \"chat.v1\"",
            );
        }
    }
    Some(names)
}

/// A prefix that some path does not have cannot be taken from it.
fn strippable(upstream: &Upstream, routed: &Routed, raw: &RawPolicy, scope: &mut Scope<'_>) {
    let PathRule::Strip(prefix) = &upstream.path else { return };
    let span = raw.upstream.as_ref().and_then(|at| at.get().path.as_ref()).map(At::span).unwrap_or_default();
    let under =
        |path: &str| path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    for (pattern, _) in &routed.paths {
        let (PathPattern::Exact(path) | PathPattern::Below(path)) = pattern;
        if !under(path) {
            let message = format!("`{prefix}` cannot be taken from `{path}`");
            scope.error(Code::Contradiction, span.clone(), message, "every path of [route] must begin with it");
        }
    }
}

fn examples(raw: &RawPolicy, scope: &mut Scope<'_>) -> Vec<Example> {
    if let Some(at) = raw.example.get(MOST_EXAMPLES) {
        scope.error(Code::TooLarge, at.span(), "too many examples", format!("at most {MOST_EXAMPLES} are run"));
    }
    let named = raw.example.iter().take(MOST_EXAMPLES).enumerate();
    let first = First { host: first(&raw.route, |route| &route.hosts), path: first(&raw.route, |route| &route.paths) };
    named.filter_map(|(index, at)| example::build(at, &mut scope.table(format!("example[{index}]")), &first)).collect()
}

/// What an example asks for where it does not say.
pub(in crate::config) struct First {
    /// The policy's first host, a label in the place of `*`.
    pub(in crate::config) host: String,
    /// The policy's first path, a name in the place of `*`.
    pub(in crate::config) path: String,
}

fn first(
    route: &Option<At<RawRoute>>,
    list: impl Fn(&RawRoute) -> &crate::config::raw::List<crate::config::raw::words::Text>,
) -> String {
    let list = route.as_ref().and_then(|at| list(at.get()).as_ref());
    let text = list.and_then(|list| list.get().first()).map(|at| at.get().0.clone());
    text.unwrap_or_default().replace('*', "example")
}
