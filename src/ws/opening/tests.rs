use proptest::prelude::*;

use super::*;
use crate::ws::head::{HeadLimits, ResponseHead, parse_request, parse_response};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const LIMITS: HeadLimits = HeadLimits { bytes: 65_536, fields: 64, target: 8_192 };

type Fields<'a> = Vec<(&'a str, &'a str)>;

fn honest() -> Fields<'static> {
    vec![
        ("Host", "chat.example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
        ("Origin", "https://app.example.com"),
    ]
}

/// `fields` with every field called `name` replaced by one field for each of `values`.
fn with<'a>(mut fields: Fields<'a>, name: &'a str, values: &[&'a str]) -> Fields<'a> {
    fields.retain(|field| field.0 != name);
    fields.extend(values.iter().map(|value| (name, *value)));
    fields
}

fn head_bytes(first: &str, fields: &Fields<'_>) -> Vec<u8> {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{first}\r\n{fields}\r\n").into_bytes()
}

fn judge(first: &str, fields: &Fields<'_>) -> Result<OpeningHandshake, OpeningError> {
    judge_request(parse_request(&head_bytes(first, fields), &LIMITS).unwrap())
}

#[test]
fn an_honest_handshake_passes_whole() {
    let mut fields = with(honest(), "Sec-WebSocket-Protocol", &["chat.v2, chat.v1"]);
    fields.push(("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"));
    let opening = judge("GET /chat?room=1 HTTP/1.1", &fields).unwrap();
    assert_eq!((opening.path.as_str(), opening.query.as_deref()), ("/chat", Some("room=1")));
    assert_eq!(opening.authority.host, "chat.example.com");
    assert_eq!(opening.key.as_str(), KEY);
    assert_eq!(opening.origin.as_deref(), Some("https://app.example.com"));
    assert_eq!(opening.subprotocols, ["chat.v2", "chat.v1"]);
    assert_eq!(opening.headers.len(), 8);
}

#[test]
fn request_lines_other_than_an_origin_form_get_are_refused() {
    let method = |method: &str| Some(OpeningError::Method(method.into()));
    let cases = [
        ("HS01 twin", "GET /chat HTTP/1.1", None),
        ("HS01", "POST /chat HTTP/1.1", method("POST")),
        ("HS01", "HEAD /chat HTTP/1.1", method("HEAD")),
        ("HS01", "PUT /chat HTTP/1.1", method("PUT")),
        ("HS01", "get /chat HTTP/1.1", method("get")),
        ("HS17", "CONNECT chat.example.com:443 HTTP/1.1", method("CONNECT")),
        ("H109", "TRACE /chat HTTP/1.1", method("TRACE")),
        ("H109", "OPTIONS * HTTP/1.1", method("OPTIONS")),
        ("HS17", "GET http://other/ws HTTP/1.1", Some(OpeningError::Target(TargetFlaw::Form))),
        ("HS17", "GET //other/ws HTTP/1.1", Some(OpeningError::Target(TargetFlaw::EmptySegment))),
        ("HS17", "GET * HTTP/1.1", Some(OpeningError::Target(TargetFlaw::Form))),
        ("HS17", "GET other:443 HTTP/1.1", Some(OpeningError::Target(TargetFlaw::Form))),
        ("HS18", "GET /chat#frag HTTP/1.1", Some(OpeningError::Target(TargetFlaw::Fragment))),
    ];
    for (id, line, expected) in cases {
        assert_eq!(judge(line, &honest()).err(), expected, "{id} {line}");
    }
}

/// Id, field, values that replace the honest ones, and what is found.
type Row<'a> = (&'a str, &'a str, &'a [&'a str], Option<OpeningError>);

/// The honest handshake passes: the twin of every refusal.
fn judge_rows(rows: &[Row<'_>]) {
    for (id, name, values, expected) in rows {
        let fields = with(honest(), name, values);
        assert_eq!(judge("GET /chat HTTP/1.1", &fields).err(), *expected, "{id} {name}: {values:.80?}");
    }
}

#[test]
fn upgrade_connection_version_and_key_are_strict() {
    use OpeningError as E;
    let rows: [Row<'_>; 42] = [
        ("HS03", "Upgrade", &[], Some(E::UpgradeMissing)),
        ("HS04", "Upgrade", &["WebSocket"], None),
        ("HS04", "Upgrade", &["h2c"], Some(E::Upgrade)),
        ("SM15", "Upgrade", &["h2c, websocket"], Some(E::Upgrade)),
        ("HS04", "Upgrade", &["TLS/1.0"], Some(E::Upgrade)),
        ("HS04", "Upgrade", &["foo"], Some(E::Upgrade)),
        ("HS04", "Upgrade", &["websocket, h2c"], Some(E::Upgrade)),
        ("HS04", "Upgrade", &["websocket/13"], Some(E::Upgrade)),
        ("HS04", "Upgrade", &["websocket,"], Some(E::Upgrade)),
        ("HS04", "Upgrade", &["websocket", "websocket"], Some(E::Upgrade)),
        ("HS04", "Upgrade", &["websocket", "h2c"], Some(E::Upgrade)),
        ("HS04", "Upgrade", &[""], Some(E::Upgrade)),
        ("HS05", "Connection", &["Upgrade"], None),
        ("HS05", "Connection", &["keep-alive", "UPGRADE"], None),
        ("HS05", "Connection", &[], Some(E::Connection)),
        ("HS05", "Connection", &[""], Some(E::Connection)),
        ("HS05", "Connection", &["keep-alive"], Some(E::Connection)),
        ("HS05", "Connection", &["xupgrade"], Some(E::Connection)),
        ("HS05", "Connection", &["upgrade-insecure"], Some(E::Connection)),
        ("HS05", "Connection", &["keep-alive Upgrade"], Some(E::Connection)),
        ("HS06", "Connection", &["Upgrade, close"], Some(E::Connection)),
        ("HS06", "Connection", &["Upgrade, Authorization"], Some(E::Connection)),
        ("HS06", "Connection", &["Upgrade", "X-Forwarded-For"], Some(E::Connection)),
        ("HS06", "Connection", &["Upgrade, Sec-WebSocket-Key"], Some(E::Connection)),
        ("HS06", "Connection", &["Upgrade, Host"], Some(E::Connection)),
        ("SM15", "Connection", &["Upgrade, HTTP2-Settings"], Some(E::Connection)),
        ("HS07", "Sec-WebSocket-Version", &[], Some(E::Version)),
        ("HS07", "Sec-WebSocket-Version", &[""], Some(E::Version)),
        ("SM01", "Sec-WebSocket-Version", &["1337"], Some(E::Version)),
        ("HS07", "Sec-WebSocket-Version", &["0"], Some(E::Version)),
        ("HS07", "Sec-WebSocket-Version", &["8"], Some(E::Version)),
        ("HS07", "Sec-WebSocket-Version", &["12"], Some(E::Version)),
        ("HS07", "Sec-WebSocket-Version", &["14"], Some(E::Version)),
        ("HS07", "Sec-WebSocket-Version", &["013"], Some(E::Version)),
        ("HS07", "Sec-WebSocket-Version", &["+13"], Some(E::Version)),
        ("HS07", "Sec-WebSocket-Version", &["13, 8"], Some(E::Version)),
        ("HS07", "Sec-WebSocket-Version", &["13", "13"], Some(E::VersionRepeated)),
        ("HS08", "Sec-WebSocket-Key", &[], Some(E::Key)),
        ("HS09", "Sec-WebSocket-Key", &["dGhlIHNhbXBsZSBub25jZR=="], Some(E::Key)),
        ("HS10", "Sec-WebSocket-Key", &[KEY, KEY], Some(E::Key)),
        ("HS10", "Sec-WebSocket-Key", &[KEY, "AAAAAAAAAAAAAAAAAAAAAA=="], Some(E::Key)),
        ("HS11", "Sec-WebSocket-Accept", &["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="], None),
    ];
    judge_rows(&rows);
}

#[test]
fn what_else_comes_with_a_handshake_is_judged() {
    use OpeningError as E;
    let spaces = format!("b{}x", " ".repeat(30_000));
    let malformed_host = |value: &str| Some(E::Host(InvalidHost::Malformed(value.into())));
    let rows: [Row<'_>; 32] = [
        ("HS12", "Sec-WebSocket-Protocol", &["a, a"], Some(E::Subprotocols)),
        ("HS12", "Sec-WebSocket-Protocol", &[&spaces], Some(E::Subprotocols)),
        ("HS12", "Sec-WebSocket-Protocol", &["a", "b, c"], None),
        ("HS13", "Sec-WebSocket-Extensions", &["a;b=\"c"], Some(E::Extensions)),
        ("HS13", "Sec-WebSocket-Extensions", &["a;b=\"c\"", "d"], None),
        ("HS15", "Host", &[], Some(E::Host(InvalidHost::Missing))),
        ("HS15", "Host", &["a", "a"], Some(E::Host(InvalidHost::Repeated))),
        ("HS15", "Host", &[""], malformed_host("")),
        ("HS15", "Host", &["user@chat.example.com"], malformed_host("chat.example.com")),
        ("HS19", "Sec-WebSocket-Key1", &["4 @1  46546xW%0l 1 5"], Some(E::DraftKey)),
        ("HS19", "Sec-WebSocket-Key2", &["12998 5 Y3 1  .P00"], Some(E::DraftKey)),
        ("SM07", "Content-Length", &["5"], Some(E::Body)),
        ("SM07", "Content-Length", &["0"], Some(E::Body)),
        ("SM11", "Content-Length", &["+0"], Some(E::Body)),
        ("SM11", "Content-Length", &["0x0"], Some(E::Body)),
        ("SM11", "Content-Length", &["0, 0"], Some(E::Body)),
        ("SM11", "Content-Length", &["0", "0"], Some(E::Body)),
        ("SM11", "Content-Length", &["0", "1"], Some(E::Body)),
        ("SM11", "Content-Length", &[""], Some(E::Body)),
        ("SM11", "Content-Length", &["18446744073709551616"], Some(E::Body)),
        ("SM08", "Transfer-Encoding", &["chunked"], Some(E::Body)),
        ("SM10", "Transfer-Encoding", &["chunked, chunked"], Some(E::Body)),
        ("SM10", "Transfer-Encoding", &["xchunked"], Some(E::Body)),
        ("SM10", "Transfer-Encoding", &["gzip, chunked"], Some(E::Body)),
        ("SM10", "Transfer-Encoding", &[""], Some(E::Body)),
        ("SM14", "Expect", &["100-continue"], Some(E::Expect)),
        ("OR04", "Origin", &["https://good.example", "https://evil.example"], Some(E::OriginRepeated)),
        ("OR04", "Origin", &["https://evil.example", "https://good.example"], Some(E::OriginRepeated)),
        ("OR04", "Origin", &["https://good.example"], None),
        ("ID02", "X_Forwarded_For", &["1.2.3.4"], Some(E::AmbiguousName("x_forwarded_for".into()))),
        ("ID02", "X-Forwarded-For", &["1.2.3.4"], None),
        ("ID11", "X-Request-Id", &["chosen-by-the-client"], None),
    ];
    judge_rows(&rows);
}

#[test]
fn sm09_two_framings_at_once_are_a_body() {
    let fields = with(with(honest(), "Content-Length", &["4"]), "Transfer-Encoding", &["chunked"]);
    assert_eq!(judge("GET /chat HTTP/1.1", &fields).err(), Some(OpeningError::Body));
}

#[test]
fn hs20_our_101_is_these_bytes() {
    let key = WebSocketKey::parse(KEY).unwrap();
    let plain = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_eq!(answer_101(&key, None, None), plain.as_bytes());
    let full = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\
                Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    assert_eq!(answer_101(&key, Some("chat"), Some("permessage-deflate")), full.as_bytes());
}

#[test]
fn what_we_answer_we_would_accept() {
    let key = WebSocketKey::generate([7; 16]);
    let head = parse_response(&answer_101(&key, Some("chat"), Some("permessage-deflate")), &LIMITS).unwrap();
    let accepted = judge_response(&head, &key, &["chat".into()], &["permessage-deflate".into()]);
    let expected = Accepted { subprotocol: Some("chat".into()), extensions: Some("permessage-deflate".into()) };
    assert_eq!(accepted, Ok(expected));
}

/// Each row replaces one field of an honest 101, which passes: the twin of every refusal.
#[test]
fn one_wrong_field_refuses_the_backend() {
    use ResponseError as E;
    let honest = || vec![("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", ACCEPT)];
    let offered = ["chat".to_owned(), "chat.v2".to_owned()];
    let cases: &[(&str, &str, &[&str], Option<E>)] = &[
        ("SM04 twin", "Server", &["any"], None),
        ("SM04", "Upgrade", &[], Some(E::Upgrade)),
        ("SM04", "Upgrade", &["WebSocket"], None),
        ("SM04", "Upgrade", &["h2c"], Some(E::Upgrade)),
        ("SM04", "Upgrade", &["websocket", "websocket"], Some(E::Upgrade)),
        ("SM04", "Connection", &[], Some(E::Connection)),
        ("SM04", "Connection", &["keep-alive"], Some(E::Connection)),
        ("SM04", "Connection", &["keep-alive, upgrade"], None),
        ("SM03", "Sec-WebSocket-Accept", &[], Some(E::Accept)),
        ("SM04", "Sec-WebSocket-Accept", &["AAAAAAAAAAAAAAAAAAAAAAAAAAA="], Some(E::Accept)),
        ("SM04", "Sec-WebSocket-Accept", &[ACCEPT, ACCEPT], Some(E::Accept)),
        ("SM04", "Sec-WebSocket-Accept", &["S3PPLMBITXAQ9KYGZZHZRBK+XOO="], Some(E::Accept)),
        ("SM17", "Transfer-Encoding", &["chunked"], Some(E::Body)),
        ("SM17", "Content-Length", &["0"], None),
        ("SM17", "Content-Length", &["5"], Some(E::Body)),
        ("HS14", "Sec-WebSocket-Protocol", &["chat"], None),
        ("HS14", "Sec-WebSocket-Protocol", &["Chat"], Some(E::Subprotocol)),
        ("HS14", "Sec-WebSocket-Protocol", &["other"], Some(E::Subprotocol)),
        ("HS14", "Sec-WebSocket-Protocol", &["chat, chat.v2"], Some(E::Subprotocol)),
        ("HS14", "Sec-WebSocket-Protocol", &["chat", "chat.v2"], Some(E::Subprotocol)),
        ("HS14", "Sec-WebSocket-Protocol", &[""], Some(E::Subprotocol)),
        ("HS14", "Sec-WebSocket-Extensions", &["permessage-deflate; server_no_context_takeover"], None),
        ("HS14", "Sec-WebSocket-Extensions", &["permessage-bzip2"], Some(E::Extensions)),
        ("HS14", "Sec-WebSocket-Extensions", &["permessage-deflate, permessage-deflate"], Some(E::Extensions)),
        ("HS14", "Sec-WebSocket-Extensions", &["permessage-deflate", "permessage-deflate"], Some(E::Extensions)),
        ("HS14", "Sec-WebSocket-Extensions", &[""], Some(E::Extensions)),
    ];
    let key = WebSocketKey::parse(KEY).unwrap();
    let mut ran = 0_usize;
    for (id, name, values, expected) in cases {
        let bytes = head_bytes("HTTP/1.1 101 Switching Protocols", &with(honest(), name, values));
        let head = parse_response(&bytes, &LIMITS).unwrap();
        let judged = judge_response(&head, &key, &offered, &["permessage-deflate".into()]);
        assert_eq!(judged.err(), *expected, "{id} {name}: {values:?}");
        ran = ran.saturating_add(1);
    }
    assert_eq!(ran, 26);
}

#[test]
fn nothing_was_offered_so_nothing_may_be_chosen() {
    let key = WebSocketKey::parse(KEY).unwrap();
    for (subprotocol, extensions, expected) in [
        (None, None, None),
        (Some("chat"), None, Some(ResponseError::Subprotocol)),
        (None, Some("permessage-deflate"), Some(ResponseError::Extensions)),
    ] {
        let head = parse_response(&answer_101(&key, subprotocol, extensions), &LIMITS).unwrap();
        assert_eq!(judge_response(&head, &key, &[], &[]).err(), expected, "HS14");
    }
}

#[test]
fn sm02_another_status_is_no_upgrade_whatever_its_fields() {
    let key = WebSocketKey::parse(KEY).unwrap();
    for status in [100, 103, 200, 204, 302, 401, 403, 426, 500] {
        let honest = parse_response(&answer_101(&key, None, None), &LIMITS).unwrap();
        assert!(judge_response(&honest, &key, &[], &[]).is_ok());
        let head = ResponseHead { status, ..honest };
        assert_eq!(judge_response(&head, &key, &[], &[]), Err(ResponseError::Status(status)));
    }
}

proptest! {
    /// SM18: whatever passes holds nothing that could end a line, or a path that reads as another.
    #[test]
    fn what_passes_cannot_be_read_as_something_else(
        target in "/[!-~]{0,20}",
        host in "[!-~]{0,12}",
        name in prop::sample::select(vec!["Origin", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Upgrade", "X"]),
        value in "[ -~]{0,20}",
    ) {
        for (host, name, value) in [(host.as_str(), name, value.as_str()), ("a", name, value.as_str()), (host.as_str(), "X", "")] {
            let fields = with(with(honest(), "Host", &[host]), name, &[value]);
            if let Ok(opening) = judge(&format!("GET {target} HTTP/1.1"), &fields) {
                let rebuilt = opening.query.map_or(opening.path.clone(), |query| format!("{}?{query}", opening.path));
                prop_assert_eq!(rebuilt, target.clone());
                prop_assert!(!opening.path.split('/').any(|segment| segment == ".." || segment == "."));
                prop_assert!(!opening.path.contains([';', '\\', '#']) && !opening.path.contains("//"));
                let lines = opening.subprotocols.iter().chain(&opening.origin);
                prop_assert!(lines.chain([&opening.authority.raw]).all(|text| !text.contains(['\r', '\n', '\0'])));
            }
        }
    }
}
