//! A call to the gateway itself: `POST /.wsgate/ticket` or `/.wsgate/renew`, or the preflight by which a browser asks
//! whether a page may make one (the Fetch standard, section 3.3).
//!
//! A call is a head and nothing else: what it says stands in its query, and a body is refused. Whether bytes came behind
//! the head is for the caller to see.

use std::fmt;

use super::head::{Headers, RequestHead};
use super::opening::{
    Authority, InvalidHost, TargetFlaw, connection_options, judge_host, judge_names, judge_path, percent_decoded,
};

/// The folder of the gateway's own paths: no handshake comes in there, whatever a policy lists.
pub const FOLDER: &str = "/.wsgate/";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `/.wsgate/ticket`: a ticket for one handshake.
    Ticket,
    /// `/.wsgate/renew`: a longer lease for a live session.
    Renew,
}

impl Service {
    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Renew => "renew",
        }
    }
}

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `POST`.
    Post,
    /// `OPTIONS`: a browser asks before its page may.
    Preflight,
}

/// A call that is well formed.
#[derive(Clone)]
pub struct Call {
    /// What is asked for.
    pub service: Service,
    /// How.
    pub method: Method,
    /// The value of `Host`.
    pub authority: Authority,
    /// The canonical path of the handshake that it is about.
    pub path: String,
    /// The session that it is about, as sent.
    pub session: Option<String>,
    /// The value of `Origin`, as sent.
    pub origin: Option<String>,
    /// All fields of the head.
    pub headers: Headers,
}

impl fmt::Debug for Call {
    /// Fields may hold tokens and cookies: they are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("service", &self.service)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// Why a head is no call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// There is no such service.
    Service,
    /// The method, as sent, is neither POST nor OPTIONS.
    Method(String),
    /// This field name holds an underscore.
    AmbiguousName(String),
    /// Host is missing, repeated or malformed.
    Host(InvalidHost),
    /// A body was announced.
    Body,
    /// Expect came.
    Expect,
    /// Connection names more than `keep-alive` and `close`.
    Connection,
    /// Origin came more than once.
    OriginRepeated,
    /// `path` in the query is not canonical.
    Path(TargetFlaw),
    /// The query is not `path=PATH`, for a renewal with `session=ID` beside it.
    Query,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "there are /.wsgate/ticket and /.wsgate/renew",
            Self::Method(method) => return write!(f, "the method is {method}, not POST"),
            Self::AmbiguousName(name) => return write!(f, "the field name {name} holds an underscore"),
            Self::Host(flaw) => return flaw.fmt(f),
            Self::Body => "a body came with a call",
            Self::Expect => "Expect came with a call",
            Self::Connection => "Connection names more than keep-alive and close",
            Self::OriginRepeated => "Origin came more than once",
            Self::Path(flaw) => return write!(f, "path in the query: {flaw}"),
            Self::Query => "the query is not path=PATH, for a renewal with session=ID beside it",
        })
    }
}

impl std::error::Error for CallError {}

/// Whether a head is a call and no handshake: for a path of the gateway's own, without Upgrade.
pub fn is_call(head: &RequestHead) -> bool {
    head.target.starts_with(FOLDER) && !head.headers.has("upgrade")
}

/// Judges a head as a call.
pub fn judge_call(head: RequestHead) -> Result<Call, CallError> {
    let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
    let service = match path.strip_prefix(FOLDER) {
        Some("ticket") => Service::Ticket,
        Some("renew") => Service::Renew,
        _ => return Err(CallError::Service),
    };
    let method = match head.method.as_str() {
        "POST" => Method::Post,
        "OPTIONS" => Method::Preflight,
        _ => return Err(CallError::Method(head.method)),
    };
    let headers = head.headers;
    judge_names(&headers).map_err(CallError::AmbiguousName)?;
    let authority = judge_host(&headers).map_err(CallError::Host)?;
    judge_absences(&headers)?;
    let origin = headers.one("origin").map_err(|_| CallError::OriginRepeated)?.map(str::to_owned);
    let (path, session) = judge_query(query, service)?;
    Ok(Call { service, method, authority, path, session, origin, headers })
}

/// A browser's POST without a body says `Content-Length: 0`.
fn judge_absences(headers: &Headers) -> Result<(), CallError> {
    if headers.has("transfer-encoding") || !matches!(headers.one("content-length"), Ok(None | Some("0"))) {
        return Err(CallError::Body);
    }
    if headers.has("expect") {
        return Err(CallError::Expect);
    }
    let known = |option: &str| ["keep-alive", "close"].iter().any(|known| option.eq_ignore_ascii_case(known));
    if connection_options(headers).all(known) { Ok(()) } else { Err(CallError::Connection) }
}

fn judge_query(query: &str, service: Service) -> Result<(String, Option<String>), CallError> {
    let (mut path, mut session) = (None, None);
    for piece in query.split('&') {
        let (name, value) = piece.split_once('=').ok_or(CallError::Query)?;
        let slot = match name {
            "path" => &mut path,
            "session" if service == Service::Renew => &mut session,
            _ => return Err(CallError::Query),
        };
        let value = percent_decoded(value).ok_or(CallError::Query)?;
        if slot.replace(value).is_some() {
            return Err(CallError::Query);
        }
    }
    let path = path.ok_or(CallError::Query)?;
    judge_path(&path).map_err(CallError::Path)?;
    if service == Service::Renew && session.is_none() {
        return Err(CallError::Query);
    }
    Ok((path, session))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::head::{HeadLimits, parse_request};

    fn judged(line: &str, fields: &str) -> Result<Call, CallError> {
        let limits = HeadLimits { bytes: 4096, fields: 32, target: 2048 };
        let head = format!("{line} HTTP/1.1\r\nHost: chat.test\r\n{fields}\r\n");
        let head = parse_request(head.as_bytes(), &limits).unwrap();
        assert!(is_call(&head), "{line}");
        judge_call(head)
    }

    #[test]
    fn au26_what_a_call_says() {
        let cases = [
            ("POST /.wsgate/ticket?path=/chat", "/chat", None),
            ("POST /.wsgate/ticket?path=%2Fchat%2froom", "/chat/room", None),
            ("POST /.wsgate/ticket?path=/caf%25C3%25A9", "/caf%C3%A9", None),
            ("OPTIONS /.wsgate/ticket?path=/chat", "/chat", None),
            ("POST /.wsgate/renew?session=x&path=/chat", "/chat", Some("x")),
        ];
        for (line, path, session) in cases {
            let call = judged(line, "Content-Length: 0\r\nConnection: Keep-Alive\r\n").unwrap();
            assert_eq!((call.path.as_str(), call.session.as_deref()), (path, session), "{line}");
            assert!(judged(line, "").is_ok(), "{line}");
        }
        assert_eq!(cases.len(), 5);
    }

    #[test]
    fn au26_what_is_no_call() {
        let plain = "POST /.wsgate/ticket?path=/chat";
        let cases = [
            ("POST /.wsgate/", "", CallError::Service),
            ("POST /.wsgate/tickets?path=/chat", "", CallError::Service),
            ("POST /.wsgate/ticket/?path=/chat", "", CallError::Service),
            ("GET /.wsgate/ticket?path=/chat", "", CallError::Method("GET".into())),
            ("post /.wsgate/ticket?path=/chat", "", CallError::Method("post".into())),
            ("POST /.wsgate/ticket", "", CallError::Query),
            ("POST /.wsgate/ticket?", "", CallError::Query),
            ("POST /.wsgate/ticket?path", "", CallError::Query),
            ("POST /.wsgate/ticket?path=/chat&", "", CallError::Query),
            ("POST /.wsgate/ticket?path=/chat&path=/chat", "", CallError::Query),
            ("POST /.wsgate/ticket?path=/chat&session=x", "", CallError::Query),
            ("POST /.wsgate/ticket?path=/chat&x=y", "", CallError::Query),
            ("POST /.wsgate/ticket?path=%2", "", CallError::Query),
            ("POST /.wsgate/renew?path=/chat", "", CallError::Query),
            ("POST /.wsgate/renew?session=x", "", CallError::Query),
            ("POST /.wsgate/ticket?path=", "", CallError::Path(TargetFlaw::Form)),
            ("POST /.wsgate/ticket?path=chat", "", CallError::Path(TargetFlaw::Form)),
            ("POST /.wsgate/ticket?path=/a/../chat", "", CallError::Path(TargetFlaw::DotSegment)),
            ("POST /.wsgate/ticket?path=/chat%3Fx=y", "", CallError::Path(TargetFlaw::Character)),
            (plain, "Host: chat.test\r\n", CallError::Host(InvalidHost::Repeated)),
            (plain, "X_Y: z\r\n", CallError::AmbiguousName("x_y".into())),
            (plain, "Content-Length: 1\r\n", CallError::Body),
            (plain, "Content-Length: 0\r\nContent-Length: 0\r\n", CallError::Body),
            (plain, "Transfer-Encoding: chunked\r\n", CallError::Body),
            (plain, "Expect: 100-continue\r\n", CallError::Expect),
            (plain, "Connection: authorization\r\n", CallError::Connection),
            (plain, "Origin: https://a.test\r\nOrigin: https://b.test\r\n", CallError::OriginRepeated),
        ];
        for (line, fields, expected) in &cases {
            assert_eq!(judged(line, fields).map(drop), Err(expected.clone()), "{line} {fields}");
        }
        assert_eq!(cases.len(), 27);
        assert!(judged(plain, "").is_ok(), "the twin");
    }
}
