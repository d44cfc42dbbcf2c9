//! A handshake as somebody describes it, led through the gate that clients come through: the strict head, the opening
//! handshake, `screen` and `authorize`. Limits are not counted, and nothing is dialled.

use crate::peer::ClientAddr;
use crate::policy::Refusal;
use crate::policy::admission::{Admission, authorize};
use crate::policy::auth::keys::Keys;
use crate::policy::credential::Carrier;
use crate::policy::screen::{PolicySet, Transport, screen};
use crate::secret::Secret;
use crate::units::UnixSeconds;
use crate::ws::head::{HeadLimits, parse_request};
use crate::ws::opening::judge_request;

/// A described handshake: an `[[example]]`, or the arguments of `wsgate explain`.
pub struct Description {
    /// The address of the client.
    pub client: ClientAddr,
    /// The Host.
    pub host: String,
    /// The path with its query.
    pub path: String,
    /// The Origin; `None`: none is sent.
    pub origin: Option<String>,
    /// The Cookie header; a token in a cookie stands behind it.
    pub cookie: Option<String>,
    /// Subprotocols offered; a token among them stands before these.
    pub subprotocols: Vec<String>,
    /// A token, and where it travels; `None`: none is sent.
    pub credential: Option<(Carrier, Secret<String>)>,
}

/// What a description is judged by.
pub struct Gate<'g> {
    /// Every policy.
    pub policies: &'g PolicySet,
    /// What credentials are verified against.
    pub keys: &'g Keys,
    /// Bounds of the head.
    pub limits: &'g HeadLimits,
    /// The time.
    pub now: UnixSeconds,
}

impl Description {
    /// Judges it as if it had come over the wire, without TLS.
    pub fn judge(&self, gate: &Gate<'_>) -> Result<Admission, Refusal> {
        let head = self.head();
        let opening = judge_request(parse_request(head.expose().as_bytes(), gate.limits)?)?;
        let transport = Transport { client: self.client, server_name: None, client_certificate: false };
        authorize(screen(opening, &transport, gate.policies)?, gate.keys, gate.now)
    }

    /// The request head.
    pub fn head(&self) -> Secret<String> {
        let mut path = self.path.clone();
        let mut subprotocols = self.subprotocols.clone();
        let mut cookies: Vec<String> = self.cookie.iter().cloned().collect();
        let mut fields = Vec::new();
        if let Some((carrier, token)) = &self.credential {
            let token = token.expose();
            match carrier {
                Carrier::Authorization => fields.push(format!("Authorization: Bearer {token}")),
                Carrier::Subprotocol(marker) => drop(subprotocols.splice(0..0, [marker.clone(), token.clone()])),
                Carrier::Cookie(name) => cookies.push(format!("{name}={token}")),
                Carrier::Query(name) => {
                    let joint = if path.contains('?') { '&' } else { '?' };
                    path = format!("{path}{joint}{name}={token}");
                }
            }
        }
        fields.extend(self.origin.iter().map(|origin| format!("Origin: {origin}")));
        if !cookies.is_empty() {
            fields.push(format!("Cookie: {}", cookies.join("; ")));
        }
        if !subprotocols.is_empty() {
            fields.push(format!("Sec-WebSocket-Protocol: {}", subprotocols.join(", ")));
        }
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let host = &self.host;
        Secret::new(format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZXhhbXBsZS1vZi13c2dhdA==\r\n{fields}\r\n"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_travels_where_the_description_says() {
        let cases = [
            (None, "GET /chat?a HTTP/1.1\r\n", "Cookie: x=y\r\nSec-WebSocket-Protocol: v1\r\n"),
            (Some("authorization"), "GET /chat?a HTTP/1.1\r\n", "Authorization: Bearer t\r\nCookie: x=y\r\n"),
            (Some("subprotocol:bearer"), "GET /chat?a HTTP/1.1\r\n", "Sec-WebSocket-Protocol: bearer, t, v1\r\n"),
            (Some("cookie:session"), "GET /chat?a HTTP/1.1\r\n", "Cookie: x=y; session=t\r\n"),
            (Some("query:token"), "GET /chat?a&token=t HTTP/1.1\r\n", "Cookie: x=y\r\n"),
        ];
        for (carrier, line, fields) in cases {
            let described = Description {
                client: ClientAddr::new([127, 0, 0, 1].into()),
                host: String::from("chat.test"),
                path: String::from("/chat?a"),
                origin: None,
                cookie: Some(String::from("x=y")),
                subprotocols: vec![String::from("v1")],
                credential: carrier.map(|word| (word.parse().unwrap(), Secret::new(String::from("t")))),
            };
            let head = described.head();
            assert!(head.expose().starts_with(line) && head.expose().contains(fields), "{}", head.expose());
        }
        assert_eq!(cases.len(), 5);
    }
}
