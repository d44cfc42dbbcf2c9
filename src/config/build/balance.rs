//! How the servers of `[upstream]` share its handshakes, and when one of them is left alone.

use std::time::Duration;

use super::auth::is_name;
use crate::config::diagnostic::Code;
use crate::config::raw::choices::TextOr;
use crate::config::raw::policy::{RawEject, RawHealth, RawUpstream};
use crate::config::raw::words::At;
use crate::config::scope::{Scope, span_of};
use crate::policy::auth::Auth;
use crate::policy::balance::{Balance, Balancing, Check, EjectRules, HashOn, HealthRules, Orphans};
use crate::policy::credential::Carrier;

/// No server is asked more often.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Builds what `[upstream]` says of it.
pub(super) fn build(raw: &RawUpstream, scope: &mut Scope<'_>, auth: &[Auth]) -> Balancing {
    let default = Balancing::default();
    Balancing {
        balance: balance(raw, scope, auth),
        slow_start: scope.or("slow_start", &raw.slow_start, default.slow_start),
        eject: eject(raw, scope),
        health: health(raw, scope),
        removed: scope.or("removed", &raw.removed, default.removed),
    }
}

fn balance(raw: &RawUpstream, scope: &mut Scope<'_>, auth: &[Auth]) -> Balance {
    const HELP: &str = "write balance = \"round_robin\", \"least_sessions\" or { hash = \"address\" }; a hash is on \
                        \"address\", \"subject\", \"cookie:NAME\" or \"header:NAME\"";
    let Some(at) = &raw.balance else {
        scope.note("balance", String::from("\"round_robin\""), None);
        return Balance::RoundRobin;
    };
    let (built, shown) = match at.get() {
        TextOr::Text(word) if word == "round_robin" => (Some(Balance::RoundRobin), format!("{word:?}")),
        TextOr::Text(word) if word == "least_sessions" => (Some(Balance::LeastSessions), format!("{word:?}")),
        TextOr::Text(word) => (None, format!("{word:?}")),
        TextOr::Table(table) => {
            let on = table.hash.as_ref().map(|at| at.get().0.as_str()).unwrap_or_default();
            let hash = on.parse().ok().filter(is_named).map(Balance::Hash);
            (hash, format!("{{ hash = {on:?} }}"))
        }
    };
    scope.note("balance", shown, Some(at.span()));
    if let Some(Balance::Hash(on)) = &built {
        judge_hash(on, at, scope, auth);
    }
    built.unwrap_or_else(|| {
        scope.error(Code::WrongValue, at.span(), "this says no way to choose a server", HELP);
        Balance::RoundRobin
    })
}

fn is_named(on: &HashOn) -> bool {
    match on {
        HashOn::Address | HashOn::Subject => true,
        HashOn::Cookie(name) | HashOn::Header(name) => is_name(name),
    }
}

/// A token changes with each renewal, and is taken out before a server is chosen: its subject is what stays.
fn judge_hash<T>(on: &HashOn, at: &At<T>, scope: &mut Scope<'_>, auth: &[Auth]) {
    let verified = auth.iter().any(|way| matches!(way, Auth::Jwt(_) | Auth::Token(_)));
    let mut carriers = auth.iter().flat_map(Auth::from);
    let is_token = match on {
        HashOn::Address => false,
        HashOn::Subject if !verified => {
            let help = "write { hash = \"address\" }, or [[auth]] by = \"jwt\" or \"token\"";
            let message = "nobody has a subject where nothing is verified";
            return scope.error(Code::OutOfPlace, at.span(), message, help);
        }
        HashOn::Subject => false,
        HashOn::Cookie(name) => carriers.any(|one| matches!(one, Carrier::Cookie(other) if other == name)),
        HashOn::Header(name) => name == "authorization" && carriers.any(|one| matches!(one, Carrier::Authorization)),
    };
    if is_token {
        let help = "write { hash = \"subject\" }: a token changes whenever it is renewed";
        scope.error(Code::Contradiction, at.span(), "a verified token travels there", help);
    }
}

fn eject(raw: &RawUpstream, scope: &mut Scope<'_>) -> Option<EjectRules> {
    const HELP: &str = "write eject = \"never\" or { failures = 5, time = \"10s\", longest = \"5m\" }";
    let unwritten = RawEject::default();
    let written = match raw.eject.as_ref().map(At::get) {
        None => &unwritten,
        Some(TextOr::Table(table)) => table,
        Some(TextOr::Text(word)) => {
            let span = raw.eject.as_ref().map(At::span);
            scope.note("eject", format!("{word:?}"), span.clone());
            if word != "never" {
                scope.error(Code::WrongValue, span.unwrap_or_default(), "this says no rule", HELP);
            }
            return None;
        }
    };
    let default = EjectRules::default();
    let mut table = scope.table("eject");
    let time = table.or("time", &written.time, default.time);
    let rules = EjectRules {
        failures: table.or("failures", &written.failures, default.failures),
        time,
        longest: table.or("longest", &written.longest, default.longest.max(time)),
    };
    if let Some(span) = span_of(&written.longest).filter(|_| rules.longest < rules.time) {
        let help = "lower `time`, or raise `longest`";
        table.error(Code::Contradiction, span, "`longest` is shorter than the first `time`", help);
    }
    Some(rules)
}

fn health(raw: &RawUpstream, scope: &mut Scope<'_>) -> Option<HealthRules> {
    let Some(at) = &raw.health else {
        scope.note("health", String::from("\"not asked\""), None);
        return None;
    };
    let mut table = scope.table("health");
    let scope = &mut table;
    let raw = at.get();
    let rules = HealthRules {
        check: check(raw, scope),
        interval: scope.or("interval", &raw.interval, Duration::from_secs(5)),
        timeout: scope.or("timeout", &raw.timeout, Duration::from_secs(2)),
        rise: scope.or("rise", &raw.rise, 2),
        fall: scope.or("fall", &raw.fall, 3),
        down: scope.or("down", &raw.down, Orphans::Keep),
    };
    if let Some(span) = span_of(&raw.interval).filter(|_| rules.interval < SHORTEST_INTERVAL) {
        scope.error(Code::WrongValue, span, "`interval` is below 100 ms", "\"5s\" serves well");
    }
    Some(rules)
}

fn check(raw: &RawHealth, scope: &mut Scope<'_>) -> Check {
    const HELP: &str = "write check = \"tcp\" or { websocket = \"/health\" }: a path in visible ASCII";
    let Some(at) = &raw.check else {
        scope.note("check", String::from("\"tcp\""), None);
        return Check::Tcp;
    };
    let is_path =
        |path: &str| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let (built, shown) = match at.get() {
        TextOr::Text(word) => ((word == "tcp").then_some(Check::Tcp), format!("{word:?}")),
        TextOr::Table(table) => {
            let path = table.websocket.as_ref().map(|at| at.get().0.clone()).unwrap_or_default();
            let shown = format!("{{ websocket = {path:?} }}");
            (is_path(&path).then_some(Check::WebSocket(path)), shown)
        }
    };
    scope.note("check", shown, Some(at.span()));
    built.unwrap_or_else(|| {
        scope.error(Code::WrongValue, at.span(), "this says no check", HELP);
        Check::Tcp
    })
}
