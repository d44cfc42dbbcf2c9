//! `[upstream]`: where handshakes go, and what of them goes on.

use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::auth::is_name;
use super::{balance, server};
use crate::config::diagnostic::Code;
use crate::config::material::read_file;
use crate::config::raw::List;
use crate::config::raw::choices::TextOr;
use crate::config::raw::policy::{RawPolicy, RawUpstream};
use crate::config::raw::words::{At, Text};
use crate::config::scope::{Scope, span_of};
use crate::policy::auth::Auth;
use crate::policy::credential::Carrier;
use crate::policy::forward::{CredentialForwarding, HostHeader, PathRule, Upstream, is_reserved_header};
use crate::session::rules::Extensions;

/// The most header and cookie names.
const MOST_NAMES: usize = 64;
/// The longest file of authorities, in bytes.
const LONGEST_AUTHORITIES: u64 = 1 << 20;

/// Builds the table; `None` where it is missing.
pub(super) fn build(raw: &RawPolicy, scope: &mut Scope<'_>, auth: &[Auth]) -> Option<Upstream> {
    let Some(at) = &raw.upstream else {
        scope.missing("upstream.servers", None, "write [upstream] with servers = [\"ws://10.0.0.11:9001\"]");
        return None;
    };
    let mut table = scope.table("upstream");
    let scope = &mut table;
    let raw = at.get();
    let verified = auth.iter().any(|way| matches!(way, Auth::Jwt(_) | Auth::Token(_)));
    let headers = headers(&raw.headers, scope, verified);
    let upstream = Upstream {
        servers: server::build(&raw.servers, scope, at.span()),
        balancing: balance::build(raw, scope, auth),
        host: host(raw, scope),
        path: path(raw, scope),
        identity: identity(raw, scope, verified, &headers),
        headers,
        cookies: cookies(&raw.cookies, scope),
        credential: scope.or("credential", &raw.credential, CredentialForwarding::Strip),
        extensions: scope.or("extensions", &raw.extensions, Extensions::Strip),
        connections_per_server: scope.optional_or(
            "connections_per_server",
            &raw.connections_per_server,
            None,
            "\"no cap\"",
        ),
        connect_timeout: scope.or("connect_timeout", &raw.connect_timeout, Duration::from_secs(5)),
        handshake_timeout: scope.or("handshake_timeout", &raw.handshake_timeout, Duration::from_secs(10)),
        authorities_pem: authorities(raw, scope),
    };
    credential(raw, scope, auth, upstream.credential);
    if let Some(span) = span_of(&raw.authorities).filter(|_| upstream.servers.iter().all(|server| !server.tls)) {
        scope.error(
            Code::OutOfPlace,
            span,
            "no server here is spoken to over TLS",
            "write wss:// servers, or take it out",
        );
    }
    Some(upstream)
}

fn credential(raw: &RawUpstream, scope: &mut Scope<'_>, auth: &[Auth], forwarding: CredentialForwarding) {
    let kept = auth.iter().filter(|way| !matches!(way, Auth::Ticket(_)));
    let mut carriers = kept.flat_map(Auth::from).peekable();
    let verifies = carriers.peek().is_some();
    if let Some(span) = span_of(&raw.credential).filter(|_| !verifies && forwarding != CredentialForwarding::Strip) {
        let help = "no token is verified here: pass the header or cookie on by name with `headers` or `cookies`";
        scope.error(
            Code::OutOfPlace,
            span,
            "`credential` has no meaning without [[auth]] by = \"jwt\" or \"token\"",
            help,
        );
    }
    let in_url = forwarding == CredentialForwarding::AsSent && carriers.any(|one| matches!(one, Carrier::Query(_)));
    let said = scope.danger("danger_query_token_as_sent", &raw.danger_query_token_as_sent);
    match (in_url, said) {
        (true, false) => {
            let help =
                "credential = \"authorization\" moves it to a header; or say why: danger_query_token_as_sent = \"...\"";
            scope.error(
                Code::Danger,
                span_of(&raw.credential).unwrap_or_default(),
                "a token stays in the URL that backends log",
                help,
            );
        }
        (false, true) => {
            let span = span_of(&raw.danger_query_token_as_sent).unwrap_or_default();
            scope.error(
                Code::OutOfPlace,
                span,
                "no query token goes on as sent here",
                "take danger_query_token_as_sent out",
            );
        }
        _ => {}
    }
}

fn headers(written: &List<Text>, scope: &mut Scope<'_>, verified: bool) -> Vec<String> {
    let mut names = Vec::new();
    for (name, span) in scope.list("headers", written, MOST_NAMES) {
        let lower = name.to_ascii_lowercase();
        if let Some(why) = forbidden(&lower) {
            scope.error(
                Code::WrongValue,
                span,
                format!("`{name}` cannot be passed on: {why}"),
                "take it out; cookies have their own list, `cookies`",
            );
        } else if lower == "authorization" && verified {
            let help = "write credential = \"authorization\" or \"as_sent\"";
            scope.error(
                Code::Contradiction,
                span,
                "`authorization` is a verified token's: `credential` says what becomes of it",
                help,
            );
        } else if names.contains(&lower) {
            scope.error(Code::Duplicate, span, format!("`{name}` is listed twice"), "once is enough");
        } else {
            names.push(lower);
        }
    }
    names
}

fn forbidden(lower: &str) -> Option<&'static str> {
    if !is_name(lower) {
        return Some("it is not a header name");
    }
    if lower.contains('_') {
        return Some("many services read `_` as `-`, and would take it for another header");
    }
    is_reserved_header(lower).then_some("the gateway writes it itself, or it speaks of the connection")
}

fn cookies(written: &List<Text>, scope: &mut Scope<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for (name, span) in scope.list("cookies", written, MOST_NAMES) {
        if is_name(&name) {
            names.push(name);
        } else {
            scope.error(
                Code::WrongValue,
                span,
                format!("`{name}` is not a cookie's name"),
                "write the name alone: cookies = [\"session\"]",
            );
        }
    }
    names
}

fn identity(raw: &RawUpstream, scope: &mut Scope<'_>, verified: bool, passed: &[String]) -> Vec<(String, String)> {
    let Some(table) = &raw.identity else { return Vec::new() };
    if !verified {
        let help = "write [[auth]] by = \"jwt\" or \"token\": only what was verified may be told to a backend";
        scope.error(Code::OutOfPlace, table.span(), "`identity` has no meaning where nothing is verified", help);
    }
    let mut built: Vec<(String, String)> = Vec::new();
    for (name, pointer) in table.get().iter().take(MOST_NAMES) {
        let lower = name.to_ascii_lowercase();
        scope.note(&format!("identity.{lower}"), format!("{:?}", pointer.get()), Some(pointer.span()));
        let reserved = forbidden(&lower).or((lower == "authorization").then_some("it carries a credential"));
        if let Some(why) = reserved {
            scope.error(
                Code::WrongValue,
                pointer.span(),
                format!("`{name}` cannot carry an identity: {why}"),
                "name a header of your own: \"x-user-id\"",
            );
        } else if passed.contains(&lower) {
            let help = "take it out of `headers`: a client's own value is dropped";
            scope.error(Code::Contradiction, pointer.span(), format!("`{name}` is ours and the client's"), help);
        } else if built.iter().any(|(other, _)| *other == lower) {
            let help = "once is enough: header names have no case";
            scope.error(Code::Duplicate, pointer.span(), format!("`{name}` is written twice"), help);
        } else if !pointer.get().starts_with('/') {
            let help = format!("a JSON pointer begins with a slash (RFC 6901): \"/{}\"", pointer.get());
            scope.error(Code::WrongValue, pointer.span(), "this is not a JSON pointer", help);
        }
        built.push((lower, pointer.get().clone()));
    }
    built
}

fn host(raw: &RawUpstream, scope: &mut Scope<'_>) -> HostHeader {
    const HELP: &str = "write host = \"client\", \"server\" or { fixed = \"chat.internal\" }";
    let Some(at) = &raw.host else {
        scope.note("host", String::from("\"client\""), None);
        return HostHeader::Client;
    };
    let built = match at.get() {
        TextOr::Text(word) if word == "client" => Some(HostHeader::Client),
        TextOr::Text(word) if word == "server" => Some(HostHeader::Server),
        TextOr::Text(_) => None,
        TextOr::Table(table) => {
            table.fixed.as_ref().map(|at| at.get().0.clone()).filter(|host| is_authority(host)).map(HostHeader::Fixed)
        }
    };
    scope.note("host", shown(at.get(), |table| table.fixed.as_ref().map(|at| at.get().0.as_str())), Some(at.span()));
    built.unwrap_or_else(|| {
        scope.error(Code::WrongValue, at.span(), "this says no host", HELP);
        HostHeader::Client
    })
}

fn is_authority(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    (1..=255).contains(&host.len()) && host.bytes().all(plain)
}

fn path(raw: &RawUpstream, scope: &mut Scope<'_>) -> PathRule {
    const HELP: &str = "write path = \"as_sent\" or { strip = \"/chat\" }, without a slash at its end";
    let Some(at) = &raw.path else {
        scope.note("path", String::from("\"as_sent\""), None);
        return PathRule::AsSent;
    };
    let good = |prefix: &String| prefix.len() > 1 && prefix.starts_with('/') && !prefix.ends_with('/');
    let built = match at.get() {
        TextOr::Text(word) if word == "as_sent" => Some(PathRule::AsSent),
        TextOr::Text(_) => None,
        TextOr::Table(table) => table.strip.as_ref().map(|at| at.get().0.clone()).filter(good).map(PathRule::Strip),
    };
    scope.note("path", shown(at.get(), |table| table.strip.as_ref().map(|at| at.get().0.as_str())), Some(at.span()));
    built.unwrap_or_else(|| {
        scope.error(Code::WrongValue, at.span(), "this says no path", HELP);
        PathRule::AsSent
    })
}

fn shown<'a, T>(value: &'a TextOr<T>, inner: impl Fn(&'a T) -> Option<&'a str>) -> String {
    match value {
        TextOr::Text(word) => format!("{word:?}"),
        TextOr::Table(table) => format!("{:?}", inner(table).unwrap_or_default()),
    }
}

fn authorities(raw: &RawUpstream, scope: &mut Scope<'_>) -> Option<Vec<u8>> {
    let file: &At<_> = raw.authorities.as_ref()?;
    let path = scope.optional("authorities", &raw.authorities)?;
    let path = scope.resolve(&path);
    scope.reads(&path);
    let wrong = |message: String| (message, "write PEM certificates of the authorities that sign your servers");
    let read =
        read_file(&path, LONGEST_AUTHORITIES).map_err(|error| wrong(format!("{}: {}", error.place, error.message)));
    let judged = read.and_then(|bytes| match unusable_authority(&bytes) {
        None => Ok(bytes),
        Some(why) => Err(wrong(format!("{}: {why}", path.display()))),
    });
    judged.map_err(|(message, help)| scope.error(Code::Certificate, file.span(), message, help)).ok()
}

/// Why TLS could not trust what these certificates sign.
fn unusable_authority(pem: &[u8]) -> Option<String> {
    let mut trusted = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let number = index.saturating_add(1);
        match certificate.map(|certificate| trusted.add(certificate)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Some(format!("certificate {number} is no authority's: {error}")),
            Err(error) => return Some(format!("certificate {number} is not PEM: {error}")),
        }
    }
    trusted.is_empty().then(|| String::from("there is no certificate in PEM here"))
}
