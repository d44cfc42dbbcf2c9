//! The 101: ours to a client, and a backend's to us (RFC 6455 sections 4.2.2 and 4.1).

use std::fmt;

use super::extensions;
use super::key::{WebSocketKey, accept_for};
use super::names_upgrade;
use crate::ws::head::ResponseHead;

/// What a backend agreed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The one of the offered subprotocols that it chose.
    pub subprotocol: Option<String>,
    /// The value of its Sec-WebSocket-Extensions.
    pub extensions: Option<String>,
}

/// Why a backend's answer is no 101 to our handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// It answered with this status instead.
    Status(u16),
    /// Upgrade is not exactly one `websocket`.
    Upgrade,
    /// Connection lacks `upgrade`.
    Connection,
    /// Sec-WebSocket-Accept is missing, repeated, or not the one of our key.
    Accept,
    /// It announced a body (Transfer-Encoding, or a Content-Length other than 0).
    Body,
    /// It chose a subprotocol that was not offered, or more than one.
    Subprotocol,
    /// It chose an extension that was not offered, the same one twice, or broke the grammar.
    Extensions,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status(status) => return write!(f, "the backend answered {status} instead of 101"),
            Self::Upgrade => "the backend's Upgrade is not exactly websocket",
            Self::Connection => "the backend's Connection lacks upgrade",
            Self::Accept => "the backend's Sec-WebSocket-Accept does not answer our key",
            Self::Body => "the backend's 101 announces a body",
            Self::Subprotocol => "the backend chose a subprotocol that was not offered",
            Self::Extensions => "the backend chose an extension that was not offered",
        })
    }
}

impl std::error::Error for ResponseError {}

/// Judges a backend's answer to the handshake that carried `key` and these offers (RFC 6455 section 4.1).
///
/// `Content-Length: 0` passes, since old servers send it and a 101 has no body either way. Subprotocols are compared
/// byte for byte, extensions by name.
pub fn judge_response(
    head: &ResponseHead,
    key: &WebSocketKey,
    offered_subprotocols: &[String],
    offered_extensions: &[String],
) -> Result<Accepted, ResponseError> {
    if head.status != 101 {
        return Err(ResponseError::Status(head.status));
    }
    let headers = &head.headers;
    if !headers.one("upgrade").is_ok_and(|value| value.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))) {
        return Err(ResponseError::Upgrade);
    }
    if !names_upgrade(headers) {
        return Err(ResponseError::Connection);
    }
    if headers.one("sec-websocket-accept") != Ok(Some(accept_for(key).as_str())) {
        return Err(ResponseError::Accept);
    }
    if headers.has("transfer-encoding") || headers.all("content-length").any(|length| length != "0") {
        return Err(ResponseError::Body);
    }
    let subprotocol = headers.one("sec-websocket-protocol").map_err(|_| ResponseError::Subprotocol)?;
    if subprotocol.is_some_and(|chosen| !offered_subprotocols.iter().any(|offered| offered == chosen)) {
        return Err(ResponseError::Subprotocol);
    }
    let extensions = headers.one("sec-websocket-extensions").map_err(|_| ResponseError::Extensions)?;
    if let Some(chosen) = extensions {
        judge_extensions(chosen, offered_extensions)?;
    }
    Ok(Accepted { subprotocol: subprotocol.map(str::to_owned), extensions: extensions.map(str::to_owned) })
}

fn judge_extensions(chosen: &str, offered: &[String]) -> Result<(), ResponseError> {
    let mut chosen = extensions::names(chosen).map_err(|_| ResponseError::Extensions)?;
    let count = chosen.len();
    let all_offered = chosen.iter().all(|name| offered.iter().any(|offer| offer == name));
    chosen.sort_unstable();
    chosen.dedup();
    if all_offered && chosen.len() == count { Ok(()) } else { Err(ResponseError::Extensions) }
}

/// Our 101 to a client: exactly these fields, no date, no server, no body (RFC 6455 section 4.2.2).
///
/// `subprotocol` and `extensions` are values of judged heads or of the configuration, so they hold no line end.
pub fn answer_101(key: &WebSocketKey, subprotocol: Option<&str>, extensions: Option<&str>) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n",
        accept_for(key)
    );
    let choices = [("Sec-WebSocket-Protocol", subprotocol), ("Sec-WebSocket-Extensions", extensions)];
    for (name, choice) in choices {
        if let Some(choice) = choice {
            head.extend([name, ": ", choice, "\r\n"]);
        }
    }
    head.push_str("\r\n");
    head.into_bytes()
}
