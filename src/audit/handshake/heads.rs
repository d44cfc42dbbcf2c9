//! Good handshakes with one thing wrong in the fields of RFC 6455 itself.

use super::{Request, Row};

/// What must be refused.
pub(super) const ROWS: &[Row] = &[
    (
        "HS01",
        "another method",
        &[
            ("POST", |r| r.method("POST")),
            ("HEAD", |r| r.method("HEAD")),
            ("PUT", |r| r.method("PUT")),
            ("get in lower case", |r| r.method("get")),
        ],
    ),
    ("H109", "TRACE and OPTIONS", &[("TRACE", |r| r.method("TRACE")), ("OPTIONS", |r| r.method("OPTIONS"))]),
    (
        "HS02",
        "another version of HTTP",
        &[
            ("HTTP/1.0", |r| r.version("HTTP/1.0")),
            ("HTTP/2.0", |r| r.version("HTTP/2.0")),
            ("HTTP/0.9", |r| r.version("HTTP/0.9")),
        ],
    ),
    (
        "HS02",
        "a version that is none",
        &[
            ("http/1.1 in lower case", |r| r.version("http/1.1")),
            ("HTTP/1.10", |r| r.version("HTTP/1.10")),
            ("HTTP/1.1 and a word", |r| r.version("HTTP/1.1 x")),
        ],
    ),
    ("HS03", "no Upgrade", &[("no Upgrade", |r| r.without("Upgrade"))]),
    (
        "HS04",
        "an upgrade to something else",
        &[
            ("TLS/1.0", |r| r.with("Upgrade", "TLS/1.0")),
            ("foo", |r| r.with("Upgrade", "foo")),
            ("websockets", |r| r.with("Upgrade", "websockets")),
            ("websocket/13", |r| r.with("Upgrade", "websocket/13")),
            ("empty", |r| r.with("Upgrade", "")),
        ],
    ),
    (
        "HS04",
        "an upgrade to several things",
        &[
            ("websocket, h2c", |r| r.with("Upgrade", "websocket, h2c")),
            ("h2c, websocket", |r| r.with("Upgrade", "h2c, websocket")),
            ("two fields", |r| r.and_line("Upgrade: h2c")),
        ],
    ),
    ("SM15", "an upgrade to HTTP/2", &[("h2c", |r| r.with("Upgrade", "h2c")), ("h2c with its settings", h2c)]),
    (
        "HS05",
        "a Connection without upgrade",
        &[
            ("no Connection", |r| r.without("Connection")),
            ("keep-alive alone", |r| r.with("Connection", "keep-alive")),
            ("xupgrade", |r| r.with("Connection", "xupgrade")),
            ("upgrade-insecure", |r| r.with("Connection", "upgrade-insecure")),
            ("empty", |r| r.with("Connection", "")),
        ],
    ),
    (
        "HS07",
        "another version",
        &[
            ("0", |r| version(r, "0")),
            ("8", |r| version(r, "8")),
            ("12", |r| version(r, "12")),
            ("14", |r| version(r, "14")),
            ("none", |r| r.without("Sec-WebSocket-Version")),
        ],
    ),
    (
        "HS07",
        "13 written otherwise",
        &[
            ("013", |r| version(r, "013")),
            ("+13", |r| version(r, "+13")),
            ("13.0", |r| version(r, "13.0")),
            ("13, 8", |r| version(r, "13, 8")),
            ("13 and 8 in two fields", |r| r.and_line("Sec-WebSocket-Version: 8")),
            ("empty", |r| version(r, "")),
        ],
    ),
    ("HS08", "no key", &[("no key", |r| r.without("Sec-WebSocket-Key"))]),
    (
        "HS09",
        "a key that is not 16 bytes",
        &[
            ("15 bytes", |r| key(r, "AAAAAAAAAAAAAAAAAAAA")),
            ("17 bytes", |r| key(r, "AAAAAAAAAAAAAAAAAAAAAAA=")),
            ("empty", |r| key(r, "")),
            ("4 KB", |r| key(r, &"A".repeat(4096))),
        ],
    ),
    (
        "HS09",
        "a key that is not base64",
        &[
            ("the alphabet of URLs", |r| key(r, "__________-_____-_____==")),
            ("no padding", |r| key(r, "dGhlIHNhbXBsZSBub25jZQ")),
            ("a space inside", |r| key(r, "dGhlIHNhbXBs ZSBub25jZQ==")),
            ("spare bits that are not zero", |r| key(r, "dGhlIHNhbXBsZSBub25jZR==")),
        ],
    ),
    (
        "HS10",
        "two keys",
        &[
            ("the same twice", |r| {
                let line = [b"Sec-WebSocket-Key: ", r.value("Sec-WebSocket-Key").unwrap_or_default()].concat();
                r.and_line(line)
            }),
            ("two different ones", |r| r.and_line("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")),
            ("two in one field", |r| key(r, "dGhlIHNhbXBsZSBub25jZQ==, AAAAAAAAAAAAAAAAAAAAAA==")),
        ],
    ),
    ("HS12", "a subprotocol twice", &[("twice", |r| offering(r, "wsgate.a, wsgate.a"))]),
    (
        "HS12",
        "subprotocols that are no tokens",
        &[
            ("a quoted one", |r| offering(r, "\"wsgate\"")),
            ("a space inside", |r| offering(r, "wsgate a")),
            ("a control byte", |r| offering(r, "wsgate\x01a")),
        ],
    ),
    ("HS12", "a thousand subprotocols", &[("a thousand", |r| offering(r, &many(1000)))]),
    ("HS15", "no Host", &[("no Host", |r| r.without("Host")), ("an empty one", |r| r.with("Host", ""))]),
    (
        "HS15",
        "two Hosts",
        &[
            ("the right one first", |r| r.and_line("Host: nobody.invalid")),
            ("the right one last", |r| {
                let right = [b"Host: ", r.value("Host").unwrap_or_default()].concat();
                r.with("Host", "nobody.invalid").and_line(right)
            }),
        ],
    ),
    (
        "HS15",
        "a Host that is none",
        &[
            ("somebody before an @", |r| with_host(r, |host| format!("user@{host}"))),
            ("a path", |r| with_host(r, |host| format!("{host}/x"))),
            ("a space", |r| with_host(r, |host| format!("{host} x"))),
            ("a list", |r| with_host(r, |host| format!("{host}, nobody.invalid"))),
            ("300 bytes", |r| r.with("Host", "a".repeat(300))),
        ],
    ),
    (
        "HS16",
        "a Host that nobody serves",
        &[
            ("a foreign name", |r| r.with("Host", "nobody.invalid")),
            ("our name below a foreign one", |r| {
                let host = text(r.value("Host"));
                let name = host.split(':').next().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                r.with("Host", format!("{name}.nobody.invalid"))
            }),
            ("the metadata service", |r| r.with("Host", "169.254.169.254")),
        ],
    ),
    ("HS19", "the handshake of a draft", &[("keys in two fields and eight bytes", hixie)]),
];

fn h2c(request: Request) -> Request {
    let request = request.with("Upgrade", "h2c").with("Connection", "Upgrade, HTTP2-Settings");
    request.with("HTTP2-Settings", "AAMAAABkAAQAAP__")
}

fn version(request: Request, value: &str) -> Request {
    request.with("Sec-WebSocket-Version", value)
}

fn key(request: Request, value: &str) -> Request {
    request.with("Sec-WebSocket-Key", value)
}

/// Offers these behind what is offered: a token may be among it.
pub(super) fn offering(request: Request, more: &str) -> Request {
    let offer = match request.value("Sec-WebSocket-Protocol") {
        Some(offer) => [offer, b", ", more.as_bytes()].concat(),
        None => more.as_bytes().to_vec(),
    };
    request.with("Sec-WebSocket-Protocol", offer)
}

fn many(count: usize) -> String {
    (0..count).map(|number| format!("p{number}")).collect::<Vec<_>>().join(", ")
}

fn with_host(request: Request, change: impl Fn(&str) -> String) -> Request {
    let host = change(&text(request.value("Host")));
    request.with("Host", host)
}

fn text(value: Option<&[u8]>) -> String {
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

/// Hixie-76: what a browser of 2010 sent.
fn hixie(request: Request) -> Request {
    let request = request.without("Sec-WebSocket-Key").without("Sec-WebSocket-Version");
    let request = request.with("Sec-WebSocket-Key1", "4 @1  46546xW%0l 1 5");
    request.with("Sec-WebSocket-Key2", "12998 5 Y3 1  .P00").and_tail(b"^n:ds[4U")
}
