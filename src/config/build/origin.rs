//! `[origin]`: which pages may open a socket; no wildcard stands where browsers send a credential by themselves.

use std::ops::Range;

use crate::config::diagnostic::Code;
use crate::config::raw::policy::RawPolicy;
use crate::config::raw::words::At;
use crate::config::scope::{Scope, span_of};
use crate::policy::auth::Auth;
use crate::policy::credential::Carrier;
use crate::policy::forward::Upstream;
use crate::policy::origin::{MissingOrigin, OriginRules, OriginSet};
use crate::policy::screen::Telling;

/// The most origins of one policy.
const MOST_ORIGINS: usize = 10_000;
const HELP: &str = "write allow = [\"https://app.example.com\"] with the pages that may open a socket";

/// Builds the table, given what else of the policy decides whether a credential is ambient.
pub(super) fn build(raw: &RawPolicy, scope: &mut Scope<'_>, auth: &[Auth], upstream: Option<&Upstream>) -> OriginRules {
    let mut rules = OriginRules { allow: OriginSet::default(), missing: MissingOrigin::Cookieless };
    let Some(at) = &raw.origin else {
        scope.missing("origin.allow", None, HELP);
        return rules;
    };
    let mut scope = scope.table("origin");
    let raw = at.get();
    if raw.allow.as_ref().is_none_or(|list| list.get().is_empty()) {
        scope.missing("allow", raw.allow.as_ref().map(At::span).or(Some(at.span())), HELP);
    }
    let mut wild = None;
    for (origin, span) in scope.list("allow", &raw.allow, MOST_ORIGINS) {
        if origin == "*" {
            rules.allow.any = true;
            wild = Some(span);
            continue;
        }
        if origin.contains('*') || is_shared(&origin) {
            wild = wild.or(Some(span.clone()));
        }
        if let Err(error) = rules.allow.insert(&origin) {
            scope.error(
                Code::WrongValue,
                span,
                error.to_string(),
                "an origin is scheme://host[:port] as a browser sends it: no path, no regex",
            );
        }
    }
    rules.missing = scope.or("missing", &raw.missing, MissingOrigin::Cookieless);
    let any = scope.danger("danger_wildcard_origin", &raw.danger_wildcard_origin);
    let ambient_said = scope.danger("danger_ambient_wildcard", &raw.danger_ambient_wildcard);
    if let Some(span) = span_of(&raw.danger_wildcard_origin).filter(|_| any && !rules.allow.any) {
        scope.error(Code::OutOfPlace, span, "`allow` has no \"*\"", "take danger_wildcard_origin out");
    }
    if let Some(span) = wild.clone().filter(|_| rules.allow.any && !any) {
        let help = "list the pages, or say why: danger_wildcard_origin = \"partners host their own pages\"";
        scope.error(Code::Danger, span, "any page in the world may open a socket here", help);
    }
    let source = upstream.and_then(|upstream| ambient(auth, upstream));
    judge_ambient(wild, source, ambient_said, span_of(&raw.danger_ambient_wildcard), &mut scope);
    rules
}

/// How a page of a listed origin is told of a refusal.
pub(super) fn telling(raw: &RawPolicy, scope: &mut Scope<'_>) -> Telling {
    let written = raw.origin.as_ref().and_then(|at| at.get().tell.as_ref()).cloned();
    scope.table("origin").or("tell", &written, Telling::Status)
}

/// Whether pages that have nothing to do with each other send this origin: any page in the world can frame itself to be
/// `null`, and an origin without a host is that of every file.
fn is_shared(origin: &str) -> bool {
    origin == "null" || origin.ends_with("://")
}

fn judge_ambient(
    wild: Option<Range<usize>>,
    ambient: Option<String>,
    said: bool,
    key: Option<Range<usize>>,
    scope: &mut Scope<'_>,
) {
    match (wild, ambient, said) {
        (Some(span), Some(ambient), false) => {
            let message = format!("browsers send {ambient} by themselves, for whatever page this entry lets in");
            let help = "list exact origins (a sibling subdomain carries even SameSite=Strict cookies), or say why: \
                        danger_ambient_wildcard = \"...\"";
            scope.error(Code::Danger, span, message, help);
        }
        (wild, ambient, true) if wild.is_none() || ambient.is_none() => {
            let message = "no wildcard, `null` or `file://` meets an ambient credential here";
            scope.error(Code::OutOfPlace, key.unwrap_or_default(), message, "take danger_ambient_wildcard out");
        }
        _ => {}
    }
}

/// What a browser sends by itself and this policy, or the service behind it, takes for a credential.
fn ambient(auth: &[Auth], upstream: &Upstream) -> Option<String> {
    let carriers = auth.iter().flat_map(Auth::from);
    let mut cookies = carriers.filter_map(|carrier| match carrier {
        Carrier::Cookie(name) => Some(format!("the cookie `{name}`")),
        _ => None,
    });
    let passed = || upstream.cookies.first().map(|name| format!("the cookie `{name}`, which the backend gets,"));
    let basic =
        || upstream.headers.iter().any(|name| name == "authorization").then(|| String::from("Basic credentials"));
    cookies.next().or_else(passed).or_else(basic)
}
