//! `[[auth]]`: the ways to prove who one is.

use std::sync::Arc;
use std::time::Duration;

use crate::config::diagnostic::Code;
use crate::config::raw::List;
use crate::config::raw::choices::AuthKind;
use crate::config::raw::policy::RawAuth;
use crate::config::raw::words::{At, Text};
use crate::config::scope::{Scope, span_of};
use crate::config::{GatewayConfig, credentials};
use crate::policy::auth::keys::Keys;
use crate::policy::auth::{Auth, ClaimRule, JwtRules, TicketRules, TokenRules};
use crate::policy::credential::Carrier;
use crate::ws::head::is_token;

/// The longest life of a token without `danger_long_tokens`.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The furthest that clocks may differ.
const LARGEST_LEEWAY: Duration = Duration::from_secs(300);
/// The most ways of one policy, carriers of one way, audiences, claims and words.
const MOST: usize = 64;

/// Builds every `[[auth]]`; token tables that it names are read into `keys`.
pub(super) fn build(raw: &[At<RawAuth>], scope: &mut Scope<'_>, gateway: &GatewayConfig, keys: &mut Keys) -> Vec<Auth> {
    if raw.is_empty() {
        let help = "write [[auth]] with by = \"jwt\", \"token\", or \"backend\" where the service judges for itself";
        scope.missing("auth", None, help);
    }
    if let Some(at) = raw.get(MOST) {
        scope.error(Code::TooLarge, at.span(), "too many ways to prove who one is", format!("at most {MOST}"));
    }
    let named = raw.iter().take(MOST).enumerate();
    let built: Vec<Auth> =
        named.filter_map(|(index, at)| one(at, &mut scope.table(format!("auth[{index}]")), gateway, keys)).collect();
    alone(raw, &built, scope);
    tickets(raw, &built, scope);
    built
}

/// `backend` and `none` let everybody in before any other way is asked.
fn alone(raw: &[At<RawAuth>], built: &[Auth], scope: &mut Scope<'_>) {
    let open = raw.iter().find(|at| {
        let by = at.get().by.as_ref().map(|by| by.get().0);
        matches!(by, Some(AuthKind::Backend | AuthKind::None))
    });
    if let Some(at) = open.filter(|_| built.len() > 1) {
        let help =
            "a handshake without any token passes this way: keep one, or write two policies with different paths";
        scope.error(Code::Contradiction, at.span(), "this way stands beside others and makes them void", help);
    }
}

/// A ticket is bought with a token, and its parameter is its own: what is shown there is used up.
fn tickets(raw: &[At<RawAuth>], built: &[Auth], scope: &mut Scope<'_>) {
    let is_ticket = |way: &Auth| matches!(way, Auth::Ticket(_));
    let is_sold = built.iter().filter(|way| !is_ticket(way)).flat_map(Auth::from);
    let sells = is_sold.clone().any(|carrier| matches!(carrier, Carrier::Authorization | Carrier::Cookie(_)));
    let theirs: Vec<&Carrier> = built.iter().filter(|way| is_ticket(way)).flat_map(Auth::from).collect();
    let at = raw.iter().find(|at| at.get().by.as_ref().is_some_and(|by| by.get().0 == AuthKind::Ticket));
    let Some(span) = at.filter(|_| !theirs.is_empty()).map(At::span) else { return };
    if !sells {
        let help = "let a jwt or token way take \"authorization\" or \"cookie:NAME\": with that a ticket is bought";
        scope.error(Code::Contradiction, span.clone(), "nobody can buy a ticket here", help);
    }
    if is_sold.clone().any(|carrier| theirs.contains(&carrier)) {
        let help = "give the ticket a parameter of its own: from = [\"query:ticket\"]";
        scope.error(Code::Contradiction, span, "a token may travel where a ticket does", help);
    }
}

fn ticket(at: &At<RawAuth>, scope: &mut Scope<'_>) -> TicketRules {
    let from = carriers(&at.get().from, at, scope);
    if let Some(other) = from.iter().find(|carrier| !matches!(carrier, Carrier::Query(_))) {
        let span = at.get().from.as_ref().map(At::span).unwrap_or_default();
        let help = "write from = [\"query:ticket\"]: whoever can send a header or a cookie needs no ticket";
        scope.error(Code::WrongValue, span, format!("a ticket does not travel in `{other}`"), help);
    }
    TicketRules { from }
}

fn one(at: &At<RawAuth>, scope: &mut Scope<'_>, gateway: &GatewayConfig, keys: &mut Keys) -> Option<Auth> {
    let help = "write by = \"jwt\", \"token\", \"ticket\", \"backend\" or \"none\"";
    let by = scope.required("by", &at.get().by, Some(at.span()), help)?;
    out_of_place(at.get(), by, scope);
    match by {
        AuthKind::Jwt => jwt(at, scope, gateway).map(Auth::Jwt),
        AuthKind::Token => token(at, scope, keys).map(Auth::Token),
        AuthKind::Ticket => Some(Auth::Ticket(ticket(at, scope))),
        AuthKind::Backend => Some(Auth::Backend),
        AuthKind::None => {
            if !scope.danger("danger_no_auth", &at.get().danger_no_auth) {
                let help = "write [[auth]] by = \"jwt\" or \"token\", or say why: danger_no_auth = \"a public ticker\"";
                scope.error(Code::Danger, at.span(), "everybody may come in", help);
            }
            Some(Auth::Open)
        }
    }
}

/// Keys that belong to another `by` would look as if they did something.
fn out_of_place(raw: &RawAuth, by: AuthKind, scope: &mut Scope<'_>) {
    use AuthKind::{Jwt, None as Open, Ticket, Token};
    type Belongs<'a> = (&'a str, Option<std::ops::Range<usize>>, &'a [AuthKind]);
    let keys: [Belongs<'_>; 10] = [
        ("issuer", span_of(&raw.issuer), &[Jwt]),
        ("from", raw.from.as_ref().map(At::span), &[Jwt, Token, Ticket]),
        ("audience", raw.audience.as_ref().map(At::span), &[Jwt]),
        ("require", raw.require.as_ref().map(At::span), &[Jwt]),
        ("typ", span_of(&raw.typ), &[Jwt]),
        ("leeway", span_of(&raw.leeway), &[Jwt]),
        ("max_life", span_of(&raw.max_life), &[Jwt]),
        ("danger_long_tokens", span_of(&raw.danger_long_tokens), &[Jwt]),
        ("tokens", span_of(&raw.tokens), &[Token]),
        ("danger_no_auth", span_of(&raw.danger_no_auth), &[Open]),
    ];
    for (key, span, kinds) in keys {
        if let Some(span) = span.filter(|_| !kinds.contains(&by)) {
            scope.error(Code::OutOfPlace, span, format!("`{key}` has no meaning for this `by`"), "take it out");
        }
    }
}

fn jwt(at: &At<RawAuth>, scope: &mut Scope<'_>, gateway: &GatewayConfig) -> Option<JwtRules> {
    let raw = at.get();
    let here = || Some(at.span());
    let issuer = scope.required("issuer", &raw.issuer, here(), "name an [issuer.NAME] of gateway.toml");
    if let (Some(name), Some(span)) = (&issuer, span_of(&raw.issuer)) {
        known_issuer(name, span, scope, gateway);
    }
    let from = carriers(&raw.from, at, scope);
    let audience = scope.values("audience", &raw.audience, MOST);
    if audience.is_empty() {
        let help =
            "write audience = [\"chat\"]: without it a token for any other service of this issuer opens this one";
        scope.missing("audience", here(), help);
    }
    let leeway = scope.or("leeway", &raw.leeway, Duration::from_secs(5));
    if let Some(span) = span_of(&raw.leeway).filter(|_| leeway > LARGEST_LEEWAY) {
        scope.error(
            Code::WrongValue,
            span,
            "`leeway` is above 5 minutes",
            "set the clocks; a leeway prolongs every token",
        );
    }
    let rules = JwtRules {
        issuer: issuer?.as_str().into(),
        from,
        audience,
        require: require(raw, scope),
        typ: scope.optional("typ", &raw.typ),
        leeway,
        max_life: max_life(raw, scope),
    };
    Some(rules)
}

fn known_issuer(name: &str, span: std::ops::Range<usize>, scope: &mut Scope<'_>, gateway: &GatewayConfig) {
    if gateway.issuers.iter().all(|issuer| &*issuer.name != name) {
        let names: Vec<&str> = gateway.issuers.iter().map(|issuer| &*issuer.name).collect();
        let known = if names.is_empty() { String::from("none is") } else { names.join(", ") };
        let help = format!("write [issuer.{name}] in gateway.toml, or one that is there: {known}");
        scope.error(Code::UnknownName, span, format!("there is no issuer `{name}`"), help);
    }
}

fn max_life(raw: &RawAuth, scope: &mut Scope<'_>) -> Duration {
    let life = scope.or("max_life", &raw.max_life, LONGEST_LIFE);
    let said = scope.danger("danger_long_tokens", &raw.danger_long_tokens);
    match span_of(&raw.max_life) {
        Some(span) if life > LONGEST_LIFE && !said => {
            let help =
                "a stolen token works that long: danger_long_tokens = \"devices in the field cannot renew\" says why";
            scope.error(Code::Danger, span, "tokens may live longer than 24 hours", help);
        }
        _ if life <= LONGEST_LIFE && said => {
            let span = span_of(&raw.danger_long_tokens).unwrap_or_default();
            scope.error(
                Code::OutOfPlace,
                span,
                "no token may live longer than 24 hours here",
                "raise max_life, or take this out",
            );
        }
        _ => {}
    }
    life
}

fn require(raw: &RawAuth, scope: &mut Scope<'_>) -> Vec<ClaimRule> {
    let Some(table) = &raw.require else { return Vec::new() };
    if table.get().len() > MOST {
        scope.error(Code::TooLarge, table.span(), "too many claims", format!("at most {MOST}"));
    }
    let mut rules = Vec::new();
    for (pointer, words) in table.get().iter().take(MOST) {
        scope.note(&format!("require.{pointer:?}"), format!("{:?}", words.get().0), Some(words.span()));
        if !pointer.starts_with('/') {
            let help = format!("a JSON pointer begins with a slash (RFC 6901): \"/{pointer}\"");
            scope.error(Code::WrongValue, words.span(), format!("`{pointer}` is not a JSON pointer"), help);
        }
        if words.get().0.is_empty() || words.get().0.iter().any(String::is_empty) {
            let help = "write the word that must be there, or a list of which any must be";
            scope.error(Code::WrongValue, words.span(), "nothing is required here", help);
        }
        rules.push(ClaimRule { pointer: pointer.clone(), any_of: words.get().0.clone() });
    }
    rules
}

fn token(at: &At<RawAuth>, scope: &mut Scope<'_>, keys: &mut Keys) -> Option<TokenRules> {
    let raw = at.get();
    let from = carriers(&raw.from, at, scope);
    let help = "name the file of digests: tokens = \"chat.tokens\" (`wsgate token` makes its lines)";
    let tokens = scope.required("tokens", &raw.tokens, Some(at.span()), help)?;
    let tokens = scope.resolve(&tokens);
    if matches!(tokens.try_exists(), Ok(false)) {
        let help = "`wsgate token query` makes its lines; paths in a file count from that file's folder";
        let message = format!("{}: this file of tokens is not there", tokens.display());
        scope.reads(&tokens);
        scope.error(Code::Credential, span_of(&raw.tokens).unwrap_or_default(), message, help);
    } else if !keys.token_tables.contains_key(&tokens) {
        scope.reads(&tokens);
        match credentials::load_tokens(&tokens) {
            Ok(table) => drop(keys.token_tables.insert(tokens.clone(), Arc::new(table))),
            Err(mistakes) => mistakes.into_iter().for_each(|mistake| scope.push(mistake)),
        }
    }
    Some(TokenRules { tokens, from })
}

fn carriers(written: &List<Text>, at: &At<RawAuth>, scope: &mut Scope<'_>) -> Vec<Carrier> {
    const HELP: &str =
        "write from = [\"authorization\"], or \"subprotocol:bearer\", \"cookie:session\", \"query:token\"";
    if written.as_ref().is_none_or(|list| list.get().is_empty()) {
        scope.missing("from", Some(at.span()), HELP);
    }
    let mut carriers = Vec::new();
    for (word, span) in scope.list("from", written, MOST) {
        match word.parse::<Carrier>() {
            Ok(carrier) if carriers.contains(&carrier) => {
                scope.error(Code::Duplicate, span, format!("`{word}` is listed twice"), "once is enough");
            }
            Ok(carrier) => carriers.push(carrier),
            Err(error) => scope.error(Code::WrongValue, span, error.to_string(), HELP),
        }
    }
    carriers
}

/// Whether a name is a token (RFC 9110 section 5.6.2) of at most 64 bytes.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= 64 && is_token(name)
}
