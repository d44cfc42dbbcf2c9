//! The opening handshake (RFC 6455 section 4): what a head must say, and what is answered.
//!
//! [`judge_request`] is the server's side, [`judge_response`] the client's, toward a backend. Both are stricter than
//! the RFC where leniency has let a request mean two things to two readers; each place says so. Whether bytes came
//! before the 101 is for the caller to see.

use std::fmt;

use super::head::{Headers, RequestHead, is_token};
use super::subprotocol;

mod answer;
mod authority;
mod extensions;
mod key;
mod target;

pub use answer::{Accepted, ResponseError, answer_101, judge_response};
pub use authority::{Authority, InvalidHost};
pub use key::{WebSocketKey, accept_for};
pub use target::{Target, TargetFlaw, judge_path, percent_decoded};

/// A client's opening handshake that follows RFC 6455 section 4.2.1 in every point.
#[derive(Clone)]
pub struct OpeningHandshake {
    /// The value of `Host`.
    pub authority: Authority,
    /// The canonical path, byte for byte as sent.
    pub path: String,
    /// The query as sent, without its `?`.
    pub query: Option<String>,
    /// The key: 24 characters of canonical base64.
    pub key: WebSocketKey,
    /// The value of `Origin`, as sent.
    pub origin: Option<String>,
    /// The subprotocols that the client offers, in its order.
    pub subprotocols: Vec<String>,
    /// All fields of the head.
    pub headers: Headers,
}

impl fmt::Debug for OpeningHandshake {
    /// Query, subprotocols and fields may hold tokens and cookies: only the place asked for is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpeningHandshake")
            .field("authority", &self.authority)
            .field("path", &self.path)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// Why a head is no opening handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpeningError {
    /// The method, as sent, is not GET.
    Method(String),
    /// The request target is not a canonical origin-form.
    Target(TargetFlaw),
    /// This field name holds an underscore, which the service behind may read as a hyphen.
    AmbiguousName(String),
    /// Host is missing, repeated or malformed.
    Host(InvalidHost),
    /// Content-Length or Transfer-Encoding came.
    Body,
    /// Expect came.
    Expect,
    /// Upgrade did not come.
    UpgradeMissing,
    /// Upgrade came twice or with more or something else than `websocket`.
    Upgrade,
    /// Connection lacks `upgrade`, or names more than `upgrade` and `keep-alive`.
    Connection,
    /// Sec-WebSocket-Version is missing or not 13.
    Version,
    /// Sec-WebSocket-Version came more than once.
    VersionRepeated,
    /// Sec-WebSocket-Key is missing, repeated or not 16 bytes of canonical base64.
    Key,
    /// A key of the drafts before RFC 6455 came (Sec-WebSocket-Key1, Sec-WebSocket-Key2).
    DraftKey,
    /// Origin came more than once.
    OriginRepeated,
    /// Sec-WebSocket-Protocol is no bounded list of different tokens.
    Subprotocols,
    /// Sec-WebSocket-Extensions breaks its grammar.
    Extensions,
}

impl fmt::Display for OpeningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method(method) => return write!(f, "the method is {method}, not GET"),
            Self::Target(flaw) => return flaw.fmt(f),
            Self::AmbiguousName(name) => return write!(f, "the field name {name} holds an underscore"),
            Self::Host(flaw) => return flaw.fmt(f),
            Self::Body => "Content-Length or Transfer-Encoding came with a handshake",
            Self::Expect => "Expect came with a handshake",
            Self::UpgradeMissing => "Upgrade is missing",
            Self::Upgrade => "Upgrade is not the one token websocket",
            Self::Connection => "Connection is not a list of upgrade and, at most, keep-alive",
            Self::Version => "Sec-WebSocket-Version is not 13",
            Self::VersionRepeated => "Sec-WebSocket-Version came more than once",
            Self::Key => "Sec-WebSocket-Key is not one value of 16 bytes in canonical base64",
            Self::DraftKey => "a key of a draft before RFC 6455 came",
            Self::OriginRepeated => "Origin came more than once",
            Self::Subprotocols => "Sec-WebSocket-Protocol is not a list of at most 64 different tokens",
            Self::Extensions => "Sec-WebSocket-Extensions breaks its grammar",
        })
    }
}

impl std::error::Error for OpeningError {}

/// Judges a head as a client's opening handshake (RFC 6455 section 4.2.1).
///
/// What the request is comes first (method, target, host), then what must not come with it (a body, Expect), then
/// the handshake's own fields.
pub fn judge_request(head: RequestHead) -> Result<OpeningHandshake, OpeningError> {
    if head.method != "GET" {
        return Err(OpeningError::Method(head.method));
    }
    let target = Target::parse(&head.target).map_err(OpeningError::Target)?;
    let headers = head.headers;
    judge_names(&headers).map_err(OpeningError::AmbiguousName)?;
    let authority = judge_host(&headers).map_err(OpeningError::Host)?;
    judge_absences(&headers)?;
    judge_upgrade(&headers)?;
    judge_connection(&headers)?;
    judge_version(&headers)?;
    let key = judge_key(&headers)?;
    let origin = headers.one("origin").map_err(|_| OpeningError::OriginRepeated)?.map(str::to_owned);
    let subprotocols =
        subprotocol::parse_offer(headers.all("sec-websocket-protocol")).map_err(|_| OpeningError::Subprotocols)?;
    for offer in headers.all("sec-websocket-extensions") {
        extensions::names(offer).map_err(|_| OpeningError::Extensions)?;
    }
    Ok(OpeningHandshake { authority, path: target.path, query: target.query, key, origin, subprotocols, headers })
}

/// CGI and its heirs read `X_Forwarded_For` and `X-Forwarded-For` as one name, so a name with an underscore could
/// stand in for one that the gateway sets or strips.
pub(super) fn judge_names(headers: &Headers) -> Result<(), String> {
    match headers.iter().find(|field| field.name.contains('_')) {
        Some(field) => Err(field.name.clone()),
        None => Ok(()),
    }
}

pub(super) fn judge_host(headers: &Headers) -> Result<Authority, InvalidHost> {
    match headers.one("host") {
        Ok(Some(value)) => Authority::parse(value),
        Ok(None) => Err(InvalidHost::Missing),
        Err(_) => Err(InvalidHost::Repeated),
    }
}

/// Any Content-Length is refused, `0` included: whoever sends one does not know what a handshake is.
fn judge_absences(headers: &Headers) -> Result<(), OpeningError> {
    if headers.has("content-length") || headers.has("transfer-encoding") {
        return Err(OpeningError::Body);
    }
    if headers.has("expect") {
        return Err(OpeningError::Expect);
    }
    Ok(())
}

fn judge_upgrade(headers: &Headers) -> Result<(), OpeningError> {
    match headers.one("upgrade") {
        Ok(None) => Err(OpeningError::UpgradeMissing),
        Ok(Some(value)) if value.eq_ignore_ascii_case("websocket") => Ok(()),
        _ => Err(OpeningError::Upgrade),
    }
}

/// A sender may nominate fields that the next hop removes (RFC 9110 section 7.6.1). Nominating Authorization or
/// X-Forwarded-For would take them from under a judgement, so nothing but the two connection options is accepted.
fn judge_connection(headers: &Headers) -> Result<(), OpeningError> {
    let known = |option: &str| ["upgrade", "keep-alive"].iter().any(|known| option.eq_ignore_ascii_case(known));
    if names_upgrade(headers) && connection_options(headers).all(known) {
        Ok(())
    } else {
        Err(OpeningError::Connection)
    }
}

fn judge_version(headers: &Headers) -> Result<(), OpeningError> {
    match headers.one("sec-websocket-version") {
        Ok(Some("13")) => Ok(()),
        Ok(_) => Err(OpeningError::Version),
        Err(_) => Err(OpeningError::VersionRepeated),
    }
}

fn judge_key(headers: &Headers) -> Result<WebSocketKey, OpeningError> {
    if headers.has("sec-websocket-key1") || headers.has("sec-websocket-key2") {
        return Err(OpeningError::DraftKey);
    }
    let value = headers.one("sec-websocket-key").ok().flatten();
    value.and_then(WebSocketKey::parse).ok_or(OpeningError::Key)
}

/// Whether Connection is a list of tokens with `upgrade` among them.
fn names_upgrade(headers: &Headers) -> bool {
    connection_options(headers).all(is_token)
        && connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"))
}

pub(super) fn connection_options(headers: &Headers) -> impl Iterator<Item = &str> {
    headers.all("connection").flat_map(|value| value.split(',')).map(|option| option.trim_matches([' ', '\t']))
}

#[cfg(test)]
mod tests;
