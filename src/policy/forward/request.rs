//! The request head that a backend gets: written from an [`Admission`], line by line, from an allow-list.
//!
//! Nothing that a client sent is copied because it was there. What passes is the handshake's own fields, Origin, and the
//! client headers and cookies that the policy names; what the gateway itself says (X-Forwarded-*, X-Request-Id,
//! X-Wsgate-*, identity headers) stands last, and a client's own version of it never passes. A control character cannot be written.

use std::fmt;

use serde_json::Value;

use super::{CredentialForwarding, HostHeader, PathRule, Server, ServerHost};
use crate::peer::{ClientAddr, ConnectionId};
use crate::policy::admission::{Admission, Principal};
use crate::policy::auth::claims::claim_at;
use crate::policy::credential::{Carrier, cookies_of_line, subprotocols_without_token};
use crate::policy::{Reason, Refusal};
use crate::session::rules::Extensions;
use crate::ws::head::is_token;
use crate::ws::opening::{OpeningHandshake, WebSocketKey};

#[cfg(test)]
mod tests;

/// The most bytes of one identity header's value.
pub const MAX_IDENTITY: usize = 1024;

/// What the gateway knows of a connection and tells the backend.
#[derive(Clone, Copy, Debug)]
pub struct ForwardFacts<'a> {
    /// Who is charged: X-Forwarded-For.
    pub client: ClientAddr,
    /// `https` or `http`: X-Forwarded-Proto.
    pub proto: &'static str,
    /// X-Request-Id.
    pub request_id: ConnectionId,
    /// The gateway's own key for this handshake.
    pub key: &'a WebSocketKey,
}

/// A handshake for a backend, and what its answer may choose from.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamRequest {
    /// The whole head, its closing empty line included.
    pub bytes: Vec<u8>,
    /// The subprotocols offered; a token that stays there (`credential = "as_sent"`) is no choice.
    pub offered_subprotocols: Vec<String>,
    /// The names of the extensions offered.
    pub offered_extensions: Vec<String>,
}

impl fmt::Debug for UpstreamRequest {
    /// The head may hold cookies and tokens, and so may an offer: only their lengths are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamRequest")
            .field("bytes", &self.bytes.len())
            .field("offered_subprotocols", &self.offered_subprotocols.len())
            .field("offered_extensions", &self.offered_extensions.len())
            .finish()
    }
}

/// Writes the handshake for `server`.
///
/// Fails with `TokenClaimInvalid` where an identity header would be longer than [`MAX_IDENTITY`], and with `Internal`
/// where a value holds what the strict head reader never lets in.
pub fn build_request(
    admission: &Admission,
    server: &Server,
    facts: ForwardFacts<'_>,
) -> Result<UpstreamRequest, Refusal> {
    let Admission { opening, policy, .. } = admission;
    let upstream = &policy.upstream;
    let mut head = Head::get(&target(opening, &upstream.path))?;
    head.field("Host", &host(opening, &upstream.host, server))?;
    head.field("Upgrade", "websocket")?;
    head.field("Connection", "Upgrade")?;
    head.field("Sec-WebSocket-Version", "13")?;
    head.field("Sec-WebSocket-Key", facts.key.as_str())?;
    let offered_subprotocols = write_subprotocols(&mut head, admission)?;
    let offered_extensions = write_extensions(&mut head, opening, upstream.extensions)?;
    if let Some(origin) = &opening.origin {
        head.field("Origin", origin)?;
    }
    write_client_fields(&mut head, admission)?;
    write_credential(&mut head, admission)?;
    head.field("X-Forwarded-For", &facts.client.to_string())?;
    head.field("X-Forwarded-Proto", facts.proto)?;
    head.field("X-Forwarded-Host", &opening.authority.raw)?;
    head.field("X-Request-Id", &facts.request_id.to_string())?;
    head.field("X-Wsgate-Session-Until", &admission.session_ends().0.to_string())?;
    if let Principal::Verified(verified) = &admission.principal {
        for (name, pointer) in &upstream.identity {
            if let Some(value) = claim_at(&verified.claims, pointer).and_then(identity_value) {
                head.field(name, &bounded(name, value)?)?;
            }
        }
    }
    Ok(UpstreamRequest { bytes: head.end(), offered_subprotocols, offered_extensions })
}

/// Writes a handshake of the gateway's own, by which it asks `server` whether it is well.
///
/// Fails with `Internal` where a value of the configuration cannot be written.
pub fn build_check(
    rule: &HostHeader,
    server: &Server,
    path: &str,
    key: &WebSocketKey,
) -> Result<UpstreamRequest, Refusal> {
    let host = match rule {
        HostHeader::Fixed(host) => host.clone(),
        HostHeader::Client | HostHeader::Server => host_of(server),
    };
    let mut head = Head::get(path)?;
    head.field("Host", &host)?;
    head.field("Upgrade", "websocket")?;
    head.field("Connection", "Upgrade")?;
    head.field("Sec-WebSocket-Version", "13")?;
    head.field("Sec-WebSocket-Key", key.as_str())?;
    let (offered_subprotocols, offered_extensions) = (Vec::new(), Vec::new());
    Ok(UpstreamRequest { bytes: head.end(), offered_subprotocols, offered_extensions })
}

/// Whether a header (lower case) is the gateway's to write or the connection's own: such a name may stand neither in
/// `upstream.headers` nor in `upstream.identity`. Cookies pass by name, in `upstream.cookies`.
pub fn is_reserved_header(name: &str) -> bool {
    const NAMES: [&str; 19] = [
        "connection",
        "content-length",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "origin",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-real-ip",
        "x-request-id",
        "x-client-ip",
        "true-client-ip",
    ];
    const PREFIXES: [&str; 5] = ["sec-websocket-", "x-forwarded-", "x-wsgate-", "proxy-", ":"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn target(opening: &OpeningHandshake, rule: &PathRule) -> String {
    let path = match rule {
        PathRule::AsSent => opening.path.clone(),
        PathRule::Strip(prefix) => without_prefix(&opening.path, prefix),
    };
    match &opening.query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

/// A prefix ends where a segment does: `/chat` is none of `/chats`.
fn without_prefix(path: &str, prefix: &str) -> String {
    match path.strip_prefix(prefix.trim_end_matches('/')) {
        Some("") => String::from("/"),
        Some(rest) if rest.starts_with('/') => String::from(rest),
        _ => String::from(path),
    }
}

fn host(opening: &OpeningHandshake, rule: &HostHeader, server: &Server) -> String {
    match rule {
        HostHeader::Client => opening.authority.raw.clone(),
        HostHeader::Fixed(host) => host.clone(),
        HostHeader::Server => host_of(server),
    }
}

fn host_of(server: &Server) -> String {
    let name = match &server.host {
        ServerHost::Address(address) if address.is_ipv6() => format!("[{}]", address.ip()),
        ServerHost::Address(address) => address.ip().to_string(),
        ServerHost::Name(name) => name.clone(),
    };
    let default_port = if server.tls { 443 } else { 80 };
    if server.port == default_port { name } else { format!("{name}:{}", server.port) }
}

/// Offers what the client offered and the route allows; a token stays in its place only with `credential = "as_sent"`.
fn write_subprotocols(head: &mut Head, admission: &Admission) -> Result<Vec<String>, Refusal> {
    let Admission { opening, policy, subprotocol_marker, .. } = admission;
    let offer = &opening.subprotocols;
    let mut choices = match subprotocol_marker {
        Some(marker) => subprotocols_without_token(offer, marker),
        None => offer.clone(),
    };
    if let Some(allowed) = &policy.route.subprotocols {
        choices.retain(|choice| allowed.contains(choice));
    }
    let mut line = choices.clone();
    if let (CredentialForwarding::AsSent, Some(marker)) = (policy.upstream.credential, subprotocol_marker) {
        line = offer.iter().skip_while(|item| *item != marker).take(2).cloned().chain(line).collect();
        choices.push(marker.clone());
    }
    if !line.is_empty() {
        head.field("Sec-WebSocket-Protocol", &line.join(", "))?;
    }
    Ok(choices)
}

fn write_extensions(head: &mut Head, opening: &OpeningHandshake, rule: Extensions) -> Result<Vec<String>, Refusal> {
    let lines: Vec<&str> = opening.headers.all("sec-websocket-extensions").collect();
    if rule == Extensions::Strip || lines.is_empty() {
        return Ok(Vec::new());
    }
    let offer = lines.join(", ");
    head.field("Sec-WebSocket-Extensions", &offer)?;
    let names = offer.split(',').filter_map(|extension| extension.split(';').next());
    Ok(names.map(|name| String::from(name.trim_ascii())).filter(|name| !name.is_empty()).collect())
}

/// The client's headers and cookies that the policy names.
fn write_client_fields(head: &mut Head, admission: &Admission) -> Result<(), Refusal> {
    let Admission { opening, policy, .. } = admission;
    let upstream = &policy.upstream;
    for field in opening.headers.iter().filter(|field| passes(&field.name, admission)) {
        head.field(&field.name, &field.value)?;
    }
    let as_sent = match (upstream.credential, &admission.carrier) {
        (CredentialForwarding::AsSent, Some(Carrier::Cookie(name))) => Some(name.as_str()),
        _ => None,
    };
    let is_named = |name: &str| as_sent == Some(name) || upstream.cookies.iter().any(|one| one == name);
    let cookies = opening.headers.all("cookie").flat_map(cookies_of_line).filter(|cookie| is_named(cookie.name));
    let cookies: Vec<&str> = cookies.map(|cookie| cookie.pair).collect();
    if cookies.is_empty() { Ok(()) } else { head.field("Cookie", &cookies.join("; ")) }
}

fn passes(name: &str, admission: &Admission) -> bool {
    let upstream = &admission.policy.upstream;
    let is_ours = is_reserved_header(name)
        || upstream.identity.iter().any(|(identity, _)| identity == name)
        || (name == "authorization" && bearer(admission).is_some());
    !is_ours && upstream.headers.iter().any(|one| one == name)
}

fn write_credential(head: &mut Head, admission: &Admission) -> Result<(), Refusal> {
    match bearer(admission) {
        Some(token) => head.field("Authorization", &format!("Bearer {token}")),
        None => Ok(()),
    }
}

/// A verified token, where the policy wants it in `Authorization`. One that stays in a cookie, in the query or among the
/// subprotocols is written with those.
fn bearer(admission: &Admission) -> Option<&str> {
    let Principal::Verified(verified) = &admission.principal else { return None };
    let moves_there = match admission.policy.upstream.credential {
        CredentialForwarding::Authorization => true,
        CredentialForwarding::AsSent => admission.carrier == Some(Carrier::Authorization),
        CredentialForwarding::Strip => false,
    };
    moves_there.then(|| verified.token.expose().as_str())
}

/// A claim as a header's value: strings, numbers and booleans as text, a list of them joined by commas. All that is not
/// visible ASCII is percent-encoded, `%` itself and, within a list, `,` too, so that one value has one reading.
fn identity_value(claim: &Value) -> Option<String> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match claim {
        Value::Array(list) => {
            let parts: Option<Vec<String>> =
                list.iter().map(|one| scalar(one).map(|text| encoded(&text, b",%"))).collect();
            parts.map(|parts| parts.join(","))
        }
        one => scalar(one).map(|text| encoded(&text, b"%")),
    }
}

fn encoded(text: &str, also: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn bounded(name: &str, value: String) -> Result<String, Refusal> {
    if value.len() <= MAX_IDENTITY {
        return Ok(value);
    }
    Err(Refusal::new(Reason::TokenClaimInvalid).with_detail(format!("the claim for {name} is longer than 1 KiB")))
}

/// A head under construction. What goes in is checked at the door, so one call writes one line.
struct Head(Vec<u8>);

impl Head {
    /// The request line. A target is visible ASCII.
    fn get(target: &str) -> Result<Self, Refusal> {
        if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refusal::new(Reason::Internal).with_detail("a request target that cannot be written"));
        }
        Ok(Self(format!("GET {target} HTTP/1.1\r\n").into_bytes()))
    }

    /// One field (RFC 9110 section 5): a token as name; visible ASCII, space and tab as value.
    fn field(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        let is_value = |byte: u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
        if !is_token(name) || !value.bytes().all(is_value) {
            return Err(Refusal::new(Reason::Internal).with_detail(format!("a field {name} that cannot be written")));
        }
        self.0.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        Ok(())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}
