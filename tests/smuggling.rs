//! Smuggling and tunnel confusion: what the gateway reads is what it judges, and what reaches the backend it built.
//!
//! Every hostile handshake has its twin: the same one mended comes in. Every lying backend has its honest one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::type_complexity, reason = "a table of cases is plainest with its columns in sight")]

mod support;

use support::backend::{SWITCHING, Step};
use support::client::KEY;
use support::house::{HOST, ORIGIN};
use support::{Cases, House, Plan, Request, Wire, cases};
use wsgate::policy::Reason;

/// A good handshake made wrong, and why it is refused.
type Spoilt = (&'static str, &'static str, fn(&mut Request), Reason);

const START_LINES: [Spoilt; 24] = [
    ("HS01", "POST", |r| r.method("POST"), Reason::MethodNotAllowed),
    ("HS01", "HEAD", |r| r.method("HEAD"), Reason::MethodNotAllowed),
    ("HS01", "PUT", |r| r.method("PUT"), Reason::MethodNotAllowed),
    ("HS01", "get in lower case", |r| r.method("get"), Reason::MethodNotAllowed),
    ("H109", "TRACE", |r| r.method("TRACE"), Reason::MethodNotAllowed),
    ("H109", "OPTIONS *", |r| r.start("OPTIONS * HTTP/1.1"), Reason::MethodNotAllowed),
    ("HS17", "CONNECT", |r| r.start("CONNECT chat.test:443 HTTP/1.1"), Reason::MethodNotAllowed),
    ("HS02", "HTTP/1.0", |r| r.version("HTTP/1.0"), Reason::HttpVersion),
    ("HS02", "HTTP/1.2", |r| r.version("HTTP/1.2"), Reason::HttpVersion),
    ("HS02", "HTTP/2.0", |r| r.version("HTTP/2.0"), Reason::HttpVersion),
    ("HS02", "http/1.1 in lower case", |r| r.version("http/1.1"), Reason::HeadMalformed),
    ("HS02", "HTTP/1.10", |r| r.version("HTTP/1.10"), Reason::HeadMalformed),
    ("HS02", "no version at all", |r| r.start("GET /chat"), Reason::HeadMalformed),
    ("HS17", "absolute form", |r| r.target("http://other.test/chat"), Reason::TargetNotCanonical),
    ("HS17", "absolute form of our own host", |r| r.target("https://chat.test/chat"), Reason::TargetNotCanonical),
    ("HS17", "authority form", |r| r.target("chat.test:443"), Reason::TargetNotCanonical),
    ("HS17", "asterisk form", |r| r.target("*"), Reason::TargetNotCanonical),
    ("HS17", "another authority behind two slashes", |r| r.target("//other.test/chat"), Reason::TargetNotCanonical),
    ("H110", "an empty line first", |r| r.start("\r\nGET /chat HTTP/1.1"), Reason::HeadMalformed),
    ("H110", "a TLS record inside TLS", |r| r.start(b"\x16\x03\x01\x02\x00"), Reason::HeadMalformed),
    ("SM12", "two spaces", |r| r.start("GET  /chat HTTP/1.1"), Reason::HeadMalformed),
    ("SM12", "a tab for a space", |r| r.start("GET\t/chat HTTP/1.1"), Reason::HeadMalformed),
    ("SM12", "a word too many", |r| r.start("GET /chat HTTP/1.1 x"), Reason::HeadMalformed),
    ("H104", "a target of 9 KiB", |r| r.target(format!("/chat?{}", "a".repeat(9216))), Reason::TargetTooLong),
];

const UPGRADES: [Spoilt; 25] = [
    ("HS03", "no Upgrade", |r| r.remove("Upgrade"), Reason::UpgradeMissing),
    ("HS04", "h2c", |r| r.set("Upgrade", "h2c"), Reason::UpgradeInvalid),
    ("HS04", "TLS/1.0", |r| r.set("Upgrade", "TLS/1.0"), Reason::UpgradeInvalid),
    ("HS04", "foo", |r| r.set("Upgrade", "foo"), Reason::UpgradeInvalid),
    ("HS04", "websocket, h2c", |r| r.set("Upgrade", "websocket, h2c"), Reason::UpgradeInvalid),
    ("HS04", "h2c, websocket", |r| r.set("Upgrade", "h2c, websocket"), Reason::UpgradeInvalid),
    ("HS04", "websocket/13", |r| r.set("Upgrade", "websocket/13"), Reason::UpgradeInvalid),
    ("HS04", "websockets", |r| r.set("Upgrade", "websockets"), Reason::UpgradeInvalid),
    ("HS04", "a quoted one", |r| r.set("Upgrade", "\"websocket\""), Reason::UpgradeInvalid),
    ("HS04", "a list with an empty element", |r| r.set("Upgrade", "websocket,"), Reason::UpgradeInvalid),
    ("HS04", "empty", |r| r.set("Upgrade", ""), Reason::UpgradeInvalid),
    ("HS04", "two lines", |r| r.append("Upgrade", "websocket"), Reason::UpgradeInvalid),
    ("SM15", "h2c with its settings", h2c, Reason::UpgradeInvalid),
    ("HS05", "no Connection", |r| r.remove("Connection"), Reason::ConnectionInvalid),
    ("HS05", "keep-alive alone", |r| r.set("Connection", "keep-alive"), Reason::ConnectionInvalid),
    ("HS05", "xupgrade", |r| r.set("Connection", "xupgrade"), Reason::ConnectionInvalid),
    ("HS05", "upgrade-insecure", |r| r.set("Connection", "upgrade-insecure"), Reason::ConnectionInvalid),
    ("HS05", "two words without a comma", |r| r.set("Connection", "keep-alive Upgrade"), Reason::ConnectionInvalid),
    ("HS05", "empty", |r| r.set("Connection", ""), Reason::ConnectionInvalid),
    ("HS06", "nominates Authorization", |r| nominates(r, "Authorization"), Reason::ConnectionInvalid),
    ("HS06", "nominates X-Forwarded-For", |r| nominates(r, "X-Forwarded-For"), Reason::ConnectionInvalid),
    ("HS06", "nominates the key", |r| nominates(r, "Sec-WebSocket-Key"), Reason::ConnectionInvalid),
    ("HS06", "nominates Host", |r| nominates(r, "Host"), Reason::ConnectionInvalid),
    ("HS06", "nominates Origin in a second line", |r| r.append("Connection", "Origin"), Reason::ConnectionInvalid),
    ("HS19", "keys of a draft", hixie, Reason::KeyInvalid),
];

fn h2c(request: &mut Request) {
    request.set("Upgrade", "h2c");
    request.set("Connection", "Upgrade, HTTP2-Settings");
    request.set("HTTP2-Settings", "AAMAAABkAAQAAP__");
}

fn nominates(request: &mut Request, name: &str) {
    request.set("Connection", format!("Upgrade, {name}"));
}

fn hixie(request: &mut Request) {
    request.set("Sec-WebSocket-Key1", "4 @1  46546xW%0l 1 5");
    request.set("Sec-WebSocket-Key2", "12998 5 Y3 1  .P00");
}

const VERSIONS_AND_KEYS: [Spoilt; 24] = [
    ("HS07", "no version", |r| r.remove("Sec-WebSocket-Version"), Reason::VersionUnsupported),
    ("HS07", "0", |r| version(r, "0"), Reason::VersionUnsupported),
    ("HS07", "8", |r| version(r, "8"), Reason::VersionUnsupported),
    ("HS07", "12", |r| version(r, "12"), Reason::VersionUnsupported),
    ("HS07", "14", |r| version(r, "14"), Reason::VersionUnsupported),
    ("HS07", "013", |r| version(r, "013"), Reason::VersionUnsupported),
    ("HS07", "+13", |r| version(r, "+13"), Reason::VersionUnsupported),
    ("HS07", "13, 8", |r| version(r, "13, 8"), Reason::VersionUnsupported),
    ("HS07", "empty", |r| version(r, ""), Reason::VersionUnsupported),
    ("HS07", "twice", |r| r.append("Sec-WebSocket-Version", "13"), Reason::VersionRepeated),
    ("HS08", "no key", |r| r.remove("Sec-WebSocket-Key"), Reason::KeyInvalid),
    ("HS09", "a key of 15 bytes", |r| key(r, "AAAAAAAAAAAAAAAAAAAA"), Reason::KeyInvalid),
    ("HS09", "a key of 17 bytes", |r| key(r, "AAAAAAAAAAAAAAAAAAAAAAA="), Reason::KeyInvalid),
    ("HS09", "the alphabet of URLs", |r| key(r, "__________-_____-_____=="), Reason::KeyInvalid),
    ("HS09", "no padding", |r| key(r, "dGhlIHNhbXBsZSBub25jZQ"), Reason::KeyInvalid),
    ("HS09", "a space inside", |r| key(r, "dGhlIHNhbXBs ZSBub25jZQ=="), Reason::KeyInvalid),
    ("HS09", "spare bits that are not zero", |r| key(r, "dGhlIHNhbXBsZSBub25jZR=="), Reason::KeyInvalid),
    ("HS09", "empty", |r| key(r, ""), Reason::KeyInvalid),
    ("HS09", "4 KB", |r| key(r, &"A".repeat(4096)), Reason::KeyInvalid),
    ("HS09", "64 KB", |r| key(r, &"A".repeat(65_536)), Reason::HeadTooLarge),
    ("HS10", "the same key twice", |r| r.append("Sec-WebSocket-Key", KEY), Reason::KeyInvalid),
    ("HS10", "two keys", |r| r.append("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="), Reason::KeyInvalid),
    ("HS10", "two in one line", |r| key(r, "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="), Reason::KeyInvalid),
    ("HS10", "twice in another case", |r| r.append("SEC-WEBSOCKET-KEY", KEY), Reason::KeyInvalid),
];

fn version(request: &mut Request, value: &str) {
    request.set("Sec-WebSocket-Version", value);
}

fn key(request: &mut Request, value: &str) {
    request.set("Sec-WebSocket-Key", value);
}

const OFFERS: [Spoilt; 12] = [
    ("HS12", "a subprotocol twice", |r| offers(r, "chat.v1, chat.v1"), Reason::SubprotocolsMalformed),
    ("HS12", "twice in two lines", two_offers, Reason::SubprotocolsMalformed),
    ("HS12", "no token", |r| offers(r, "chat v1"), Reason::SubprotocolsMalformed),
    ("HS12", "a quoted one", |r| offers(r, "\"chat\""), Reason::SubprotocolsMalformed),
    ("HS12", "an empty element", |r| offers(r, "chat.v1,,chat.v2"), Reason::SubprotocolsMalformed),
    ("HS12", "a thousand", |r| offers(r, &many("p", 1000)), Reason::SubprotocolsMalformed),
    ("HS12", "spaces inside", |r| offers(r, &format!("b{}x", " ".repeat(12_000))), Reason::SubprotocolsMalformed),
    ("HS12", "66 000 spaces inside", |r| offers(r, &format!("b{}x", " ".repeat(66_000))), Reason::HeadTooLarge),
    (
        "HS13",
        "escapes without an end",
        |r| extends(r, &format!("a;b=\"{}", "\\c".repeat(30))),
        Reason::ExtensionsMalformed,
    ),
    ("HS13", "an unbalanced quote", |r| extends(r, "permessage-deflate; a=\""), Reason::ExtensionsMalformed),
    ("HS13", "a parameter without a name", |r| extends(r, "permessage-deflate; =1"), Reason::ExtensionsMalformed),
    ("HS13", "ten thousand", |r| extends(r, &many("x", 10_000)), Reason::HeadTooLarge),
];

fn offers(request: &mut Request, value: &str) {
    request.set("Sec-WebSocket-Protocol", value);
}

fn two_offers(request: &mut Request) {
    request.append("Sec-WebSocket-Protocol", "chat.v1");
    request.append("Sec-WebSocket-Protocol", "chat.v1");
}

fn extends(request: &mut Request, value: &str) {
    request.set("Sec-WebSocket-Extensions", value);
}

fn many(name: &str, count: usize) -> String {
    (0..count).map(|number| format!("{name}{number}")).collect::<Vec<_>>().join(", ")
}

const HOSTS: [Spoilt; 17] = [
    ("BE16", "a host that is somebody's metadata service", |r| r.set("Host", "169.254.169.254"), Reason::HostNotServed),
    ("HS15", "no Host", |r| r.remove("Host"), Reason::HostInvalid),
    ("HS15", "two Hosts", |r| r.append("Host", "other.test"), Reason::HostInvalid),
    ("HS15", "the same Host twice", |r| r.append("Host", HOST), Reason::HostInvalid),
    ("HS15", "empty", |r| r.set("Host", ""), Reason::HostInvalid),
    ("HS15", "somebody before an @", |r| r.set("Host", "user@chat.test"), Reason::HostInvalid),
    ("HS15", "a path", |r| r.set("Host", "chat.test/chat"), Reason::HostInvalid),
    ("HS15", "a space", |r| r.set("Host", "chat test"), Reason::HostInvalid),
    ("HS15", "a list", |r| r.set("Host", "chat.test, other.test"), Reason::HostInvalid),
    ("HS15", "a percent", |r| r.set("Host", "chat%2etest"), Reason::HostInvalid),
    ("HS15", "a port of letters", |r| r.set("Host", "chat.test:https"), Reason::HostInvalid),
    ("HS15", "a port beyond ports", |r| r.set("Host", "chat.test:70000"), Reason::HostInvalid),
    ("HS15", "300 bytes", |r| r.set("Host", "a".repeat(300)), Reason::HostInvalid),
    ("HS15", "a broken IPv6 address", |r| r.set("Host", "[::1"), Reason::HostInvalid),
    ("HS16", "a host that nobody serves", |r| r.set("Host", "other.test"), Reason::HostNotServed),
    ("HS16", "the apex of ours", |r| r.set("Host", "test"), Reason::HostNotServed),
    ("HS16", "a name below ours", |r| r.set("Host", "www.chat.test"), Reason::HostNotServed),
];

const BODIES: [Spoilt; 22] = [
    ("SM07", "Content-Length: 5", |r| r.set("Content-Length", "5"), Reason::BodyPresent),
    ("SM07", "Content-Length: 0", |r| r.set("Content-Length", "0"), Reason::BodyPresent),
    ("SM08", "chunked", |r| r.set("Transfer-Encoding", "chunked"), Reason::BodyPresent),
    ("SM08", "chunked with trailers", chunked_with_trailers, Reason::BodyPresent),
    ("SM09", "both", both_framings, Reason::BodyPresent),
    ("SM10", "chunked, chunked", |r| r.set("Transfer-Encoding", "chunked, chunked"), Reason::BodyPresent),
    ("SM10", "xchunked", |r| r.set("Transfer-Encoding", "xchunked"), Reason::BodyPresent),
    ("SM10", "gzip, chunked", |r| r.set("Transfer-Encoding", "gzip, chunked"), Reason::BodyPresent),
    ("SM10", "identity", |r| r.set("Transfer-Encoding", "identity"), Reason::BodyPresent),
    ("SM10", "empty", |r| r.set("Transfer-Encoding", ""), Reason::BodyPresent),
    ("SM10", "a vertical tab behind", |r| r.set("Transfer-Encoding", b"chunked\x0b"), Reason::HeadMalformed),
    ("SM11", "+0", |r| r.set("Content-Length", "+0"), Reason::BodyPresent),
    ("SM11", "0x0", |r| r.set("Content-Length", "0x0"), Reason::BodyPresent),
    ("SM11", "0, 0", |r| r.set("Content-Length", "0, 0"), Reason::BodyPresent),
    ("SM11", "empty", |r| r.set("Content-Length", ""), Reason::BodyPresent),
    ("SM11", "2^64", |r| r.set("Content-Length", "18446744073709551616"), Reason::BodyPresent),
    ("SM11", "two equal ones", |r| r.line("Content-Length: 0\r\nContent-Length: 0"), Reason::BodyPresent),
    ("SM11", "two different ones", |r| r.line("Content-Length: 0\r\nContent-Length: 5"), Reason::BodyPresent),
    ("SM14", "100-continue", |r| r.set("Expect", "100-continue"), Reason::ExpectPresent),
    ("SM14", "another expectation", |r| r.set("Expect", "x"), Reason::ExpectPresent),
    ("HS06", "Content-Length nominated away", nominated_length, Reason::BodyPresent),
    ("H103", "a body that would come slowly", |r| r.set("Content-Length", "1000000"), Reason::BodyPresent),
];

fn chunked_with_trailers(request: &mut Request) {
    request.set("Transfer-Encoding", "chunked");
    request.set("Trailer", "X-Late");
    request.tail("0\r\nX-Late: 1\r\n\r\n");
}

fn both_framings(request: &mut Request) {
    request.set("Transfer-Encoding", "chunked");
    request.set("Content-Length", "5");
}

fn nominated_length(request: &mut Request) {
    request.set("Connection", "Upgrade, Content-Length");
    request.set("Content-Length", "5");
}

const GRAMMAR: [Spoilt; 25] = [
    ("SM12", "a folded line", |r| r.line("X-A: 1\r\n 2"), Reason::HeadMalformed),
    ("SM12", "a folded first line", |r| r.first_line(" X-A: 1"), Reason::HeadMalformed),
    ("SM12", "a space before the colon", |r| r.line("X-A : 1"), Reason::HeadMalformed),
    ("SM12", "a tab before the colon", |r| r.line("X-A\t: 1"), Reason::HeadMalformed),
    ("SM12", "a bare CR in a value", |r| r.line("X-A: 1\r2"), Reason::HeadMalformed),
    ("SM12", "a NUL in a value", |r| r.line(b"X-A: 1\x002"), Reason::HeadMalformed),
    ("SM12", "a NUL in a name", |r| r.line(b"X-\x00A: 1"), Reason::HeadMalformed),
    ("SM12", "a parenthesis in a name", |r| r.line("X-(A): 1"), Reason::HeadMalformed),
    ("SM12", "no name", |r| r.line(": 1"), Reason::HeadMalformed),
    ("SM12", "no colon", |r| r.line("X-A"), Reason::HeadMalformed),
    ("SM12", "a control character", |r| r.line(b"X-A: \x1b[31m"), Reason::HeadMalformed),
    ("SM12", "DEL", |r| r.line(b"X-A: \x7f"), Reason::HeadMalformed),
    ("SM13", "bare LF everywhere", |r| r.bare_lf(), Reason::HeadMalformed),
    ("SM13", "one bare LF", |r| r.line("X-A: 1\nX-B: 2"), Reason::HeadMalformed),
    ("SM13", "LF CR", |r| r.line("X-A: 1\n\rX-B: 2"), Reason::HeadMalformed),
    ("H111", "a value beyond ASCII", |r| r.line(b"X-A: \xff\xfe"), Reason::HeadMalformed),
    ("H111", "a value in UTF-8", |r| r.line("X-A: caf\u{e9}"), Reason::HeadMalformed),
    ("H111", "a Connection beyond ASCII", |r| r.set("Connection", b"Upgrade, \xff"), Reason::HeadMalformed),
    ("ID02", "an underscore for a hyphen", |r| r.line("X_Forwarded_For: 1.2.3.4"), Reason::HeaderAmbiguous),
    ("ID02", "a space behind the name", |r| r.line("X-Forwarded-For : 1.2.3.4"), Reason::HeadMalformed),
    ("H104", "one line of 60 KB", |r| r.set("X-A", "a".repeat(60_000)), Reason::HeadTooLarge),
    ("H104", "one name of 20 KB", |r| r.line(format!("{}: 1", "a".repeat(20_000))), Reason::HeadTooLarge),
    ("H104", "16 KiB and a byte", |r| grown_to(r, 16 * 1024 + 1), Reason::HeadTooLarge),
    ("H104", "a field too many", |r| fields_up_to(r, 65), Reason::HeadTooLarge),
    ("HS17", "an HTTP/2 preface", |r| r.start("PRI * HTTP/2.0"), Reason::HttpVersion),
];

/// Grows a head to exactly this many bytes.
fn grown_to(request: &mut Request, bytes: usize) {
    let missing = bytes - request.bytes().len() - "X-A: \r\n".len();
    request.set("X-A", "a".repeat(missing));
}

/// Fills a head up to exactly this many fields.
fn fields_up_to(request: &mut Request, fields: usize) {
    while request.lines.len() < fields {
        let name = format!("X-{}", request.lines.len());
        request.set(&name, "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_with_one_thing_wrong_is_refused() {
    let house = House::plain().await;
    let good = house.request();
    house.admits(&good).await;
    let tables: [&[Spoilt]; 7] = [&START_LINES, &UPGRADES, &VERSIONS_AND_KEYS, &OFFERS, &HOSTS, &BODIES, &GRAMMAR];
    let mut cases = Cases::of("one thing wrong");
    for (id, name, spoil, reason) in tables.iter().copied().flatten() {
        let answer = house.refuses(&house.request_with(*spoil), *reason).await;
        if *reason == Reason::VersionUnsupported {
            assert_eq!(answer.as_ref().unwrap().one("sec-websocket-version"), Some("13"), "RFC 6455 section 4.4");
        }
        if *reason == Reason::UpgradeMissing {
            assert_eq!(answer.as_ref().unwrap().one("upgrade"), Some("websocket"), "RFC 9110 section 15.5.22");
        }
        if *reason == Reason::MethodNotAllowed {
            assert_eq!(answer.as_ref().unwrap().one("allow"), Some("GET"), "RFC 9110 section 15.5.6");
        }
        house.admits(&good).await;
        cases.held(id, name);
    }
    cases.all(tables.iter().map(|table| table.len()).sum());
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_is_answered_at_its_first_byte() {
    let house = House::plain().await;
    let noise: [&[u8]; 4] = [b"\r", b"\x16", b" ", b"\xff"];
    let mut cases = Cases::of("noise");
    for byte in noise {
        let mark = house.record.mark();
        let mut wire = house.wire().await;
        wire.send(byte).await;
        let (told, _) = wire.rest().await;
        assert!(told.starts_with(b"HTTP/1.1 400 "), "{byte:?}: {}", String::from_utf8_lossy(&told));
        assert_eq!(house.record.refused(mark).await.reason, Reason::HeadMalformed, "{byte:?}");
        cases.held("H110", &format!("{byte:?} and nothing more"));
    }
    house.is_at_rest().await;
    cases.all(noise.len());
}

/// Handshakes that look odd and are right.
const ODD: [(&str, &str, fn(&mut Request)); 12] = [
    ("HS04", "WebSocket in another case", |r| r.set("Upgrade", "WebSocket")),
    ("HS05", "as Firefox writes it", |r| r.set("Connection", "keep-alive, Upgrade")),
    ("HS05", "in lower case", |r| r.set("Connection", "upgrade")),
    ("HS15", "a port", |r| r.set("Host", "chat.test:8443")),
    ("HS15", "upper case", |r| r.set("Host", "CHAT.test")),
    ("HS09", "another key", |r| r.set("Sec-WebSocket-Key", "/////////////////////w==")),
    ("HS13", "an extension", |r| extends(r, "permessage-deflate; client_max_window_bits, x; a=\"b\"")),
    ("SM12", "no space behind a colon", |r| r.line("X-A:1")),
    ("SM12", "spaces around a value", |r| r.line("X-A: \t 1 \t ")),
    ("H104", "16 KiB exactly", |r| grown_to(r, 16 * 1024)),
    ("H104", "as many fields as may be", |r| fields_up_to(r, 64)),
    ("HS18", "a path below", |r| r.target("/chat/room%20one?q=%2e%2e&x=//y;z")),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_handshake_that_is_right_comes_in() {
    let house = House::plain().await;
    let mut cases = Cases::of("odd but right");
    for (id, name, change) in ODD {
        house.admits(&house.request_with(change)).await;
        cases.held(id, name);
    }
    cases.all(ODD.len());
}

/// Targets with more than one spelling. Most of them some service reads as `/chat` or as `/admin`.
const TRICKS: [&str; 60] = [
    "//chat",
    "/chat//",
    "/chat//x",
    "/./chat",
    "/x/../chat",
    "/chat/.",
    "/chat/..",
    "/chat/./x",
    "/chat/../admin",
    "/chat/.;/admin",
    "/chat/..;/admin",
    "/chat;a=b",
    "/chat/;/x",
    "/%2e/chat",
    "/%2e%2e/chat",
    "/chat/%2e%2e/admin",
    "/chat/%2E%2E/admin",
    "/chat/.%2e/admin",
    "/chat/%2e./admin",
    "/chat%2fx",
    "/chat%2Fx",
    "/chat/x%2f..%2fadmin",
    "/chat\\x",
    "/chat\\..\\admin",
    "/chat%5cx",
    "/chat%5Cx",
    "/chat%00",
    "/chat/%00x",
    "/chat%0d%0aX-A:1",
    "/chat%0a",
    "/chat/%7f",
    "/chat#frag",
    "/chat#",
    "/chat?x#frag",
    "/%63hat",
    "/c%68at",
    "/chat/%41",
    "/chat/%61",
    "/chat/%2d",
    "/chat/%7E",
    "/chat/%c0%af",
    "/chat/%c0%ae%c0%ae/",
    "/chat/%C0%AE",
    "/chat/%e0%80%af",
    "/chat/%ff",
    "/chat/%FF%FE",
    "/chat/%",
    "/chat/%2",
    "/chat/%zz",
    "/chat/%u002e",
    "/chat/%252e%252e/admin",
    "/chat/%25%32%65",
    "/chat/{x}",
    "/chat/|x",
    "/chat/\"x\"",
    "/chat/<x>",
    "/chat/^",
    "/chat/`x`",
    "chat",
    "?/chat",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_path_has_one_spelling() {
    let house = House::plain().await;
    let good = house.request();
    house.admits(&good).await;
    let mut cases = Cases::of("spellings");
    for target in TRICKS {
        house.refuses(&house.request_with(|request| request.target(target)), Reason::TargetNotCanonical).await;
        cases.held("HS18", target);
    }
    for (name, byte) in [("above ASCII", 0x80_u8), ("the last byte", 0xff), ("a control", 0x01), ("DEL", 0x7f)] {
        let target = [b"/chat/".as_slice(), &[byte]].concat();
        house.refuses(&house.request_with(|request| request.target(&target)), Reason::HeadMalformed).await;
        cases.held("HS18", name);
    }
    house.admits(&good).await;
    cases.all(TRICKS.len() + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_sees_the_bytes_that_were_judged() {
    let house = House::plain().await;
    let targets =
        ["/chat", "/chat?", "/chat?a=b&c=%2e%2e//;x", "/chat/caf%C3%A9", "/chat/a%20b?%zz", "/chat/@a:b=c,d+e!$&'()*"];
    let mut cases = Cases::of("bytes that were judged");
    for target in targets {
        house.admits(&house.request_with(|request| request.target(target))).await;
        assert_eq!(house.backend.last().request().line, format!("GET {target} HTTP/1.1"));
        cases.held("HS18", target);
    }
    cases.all(targets.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_101_is_exact_and_comes_before_any_frame() {
    let frames = support::frames::bare(0x81, b"first");
    let script = vec![Step::Head, Step::Send([SWITCHING.as_bytes(), &frames].concat()), Step::Echo];
    let house = Plan::plain().script(script).build().await;
    let (mut wire, answer) = house.session_of(&house.request()).await;
    let names: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    let allowed = ["upgrade", "connection", "sec-websocket-accept", "strict-transport-security"];
    assert!(names.iter().all(|name| allowed.contains(name)), "{names:?}");
    assert!(answer.head.starts_with("HTTP/1.1 101 Switching Protocols"), "{}", answer.head);
    assert_eq!(wire.frame().await.unwrap().payload, b"first");
    wire.closes(1000).await;
    cases::held("HS20", "101, then frames");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_the_one_of_the_certificate_that_was_asked_for() {
    let plan = Plan::plain().names(&["chat.test", "other.test"]);
    let house = plan.second_policy("other", "[route]\nhosts = [\"other.test\"]").build().await;
    let good = house.request();
    house.admits(&good).await;
    let other = house.request_with(|request| request.set("Host", "other.test"));
    house.refuses(&other, Reason::HostNotSni).await;
    let wire = house.try_wire("127.0.0.1", "other.test").await.unwrap();
    house.refuses_on(wire, &good, Reason::HostNotSni).await;
    let wire = house.try_wire("127.0.0.1", "other.test").await.unwrap();
    house.admits_on(wire, &other).await;
    cases::held("HS16", "a host other than the name in TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_the_tls_port_gets_a_readable_400() {
    let house = House::plain().await;
    house.admits(&house.request()).await;
    let wire = house.plain_wire().await;
    let answer = house.refuses_on(wire, &house.request(), Reason::PlainHttp).await.unwrap();
    assert_eq!(answer.one("location"), None, "no redirect");
    house.admits(&house.request()).await;
    cases::held("HS21", "no TLS where TLS is spoken");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_nothing_more_is_read() {
    let smuggled = "GET /internal HTTP/1.1\r\nHost: chat.test\r\n\r\n";
    let house = House::plain().await;
    house.admits(&house.request()).await;
    let refusals: [Spoilt; 4] = [
        ("SM01", "a version that a careless proxy tunnels", |r| version(r, "1337"), Reason::VersionUnsupported),
        ("SM06", "another site's Origin", |r| r.set("Origin", "https://evil.example"), Reason::OriginNotAllowed),
        ("SM06", "no token", |r| r.remove("Authorization"), Reason::CredentialMissing),
        ("H102", "no upgrade", |r| r.remove("Upgrade"), Reason::UpgradeMissing),
    ];
    let mut cases = Cases::of("a second request");
    for (id, name, spoil, reason) in refusals {
        let mut wire = house.wire().await;
        let heard = house.backend.connections();
        let mark = house.record.mark();
        wire.send(&house.request_with(spoil).head_bytes()).await;
        let answer = wire.answer_head().await;
        wire.send(smuggled.as_bytes()).await;
        let (rest, _) = wire.rest().await;
        assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1."), "{name}: a second answer");
        assert_eq!(wsgate::policy::refusal::Answer::Status(answer.status), reason.answer(), "{name}");
        drop(wire);
        assert_eq!(house.record.refused(mark).await.reason, reason, "{name}");
        assert_eq!(house.backend.connections(), heard);
        house.is_at_rest().await;
        house.admits(&house.request()).await;
        cases.held(id, name);
    }
    cases.all(refusals.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_before_the_101_is_a_refusal() {
    let house = House::plain().await;
    house.admits(&house.request()).await;
    let mut cases = Cases::of("early bytes");
    let tails = ["x", "GET /internal HTTP/1.1\r\nHost: chat.test\r\n\r\n", "\u{1}\u{2}\u{3}\u{4}", "\r\n"];
    for tail in tails {
        house.refuses(&house.request_with(|request| request.tail(tail)), Reason::EarlyBytes).await;
        house.admits(&house.request()).await;
        cases.held("SM05", "in the same segment");
    }
    cases.all(tails.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_while_the_backend_thinks_is_a_refusal() {
    let gated = vec![Step::Head, Step::Gate, Step::Send(SWITCHING.into()), Step::Echo];
    let house = Plan::plain().script(gated).build().await;
    house.backend.release();
    house.admits(&house.request()).await;
    let heard = house.backend.connections();
    let mark = house.record.mark();
    let mut wire = house.wire().await;
    wire.send(&house.request().bytes()).await;
    house.backend.wait("the head at the backend", |seen| seen.len() > heard && !seen[heard].head.is_empty()).await;
    wire.send(b"GET /internal HTTP/1.1\r\n\r\n").await;
    assert_eq!(wire.answer_head().await.status, 400);
    drop(wire);
    assert_eq!(house.record.refused(mark).await.reason, Reason::EarlyBytes);
    house.backend.release();
    house.is_at_rest().await;
    assert!(house.backend.seen(heard).after.is_empty(), "not one early byte is forwarded");
    house.backend.release();
    house.admits(&house.request()).await;
    cases::held("SM05", "while the backend thinks");
}

/// What a lying backend answers instead of an honest 101.
const LIES: [(&str, &str, &str, Reason); 27] = [
    (
        "SM02",
        "200 with the headers of a 101",
        "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
        Reason::BackendRefused,
    ),
    (
        "SM02",
        "204",
        "HTTP/1.1 204 No Content\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        Reason::BackendRefused,
    ),
    (
        "SM02",
        "426",
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        Reason::BackendRefused,
    ),
    (
        "SM02",
        "500",
        "HTTP/1.1 500 Internal Server Error\r\nServer: secret/1.0\r\nContent-Length: 6\r\n\r\nstack!",
        Reason::BackendRefused,
    ),
    (
        "SM20",
        "a redirect to the metadata service",
        "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
        Reason::BackendRefused,
    ),
    (
        "BE13",
        "401",
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"inner\"\r\nX-Powered-By: x\r\nContent-Length: 0\r\n\r\n",
        Reason::BackendUnauthorized,
    ),
    (
        "BE13",
        "403",
        "HTTP/1.1 403 Forbidden\r\nServer: secret/1.0\r\nContent-Length: 0\r\n\r\n",
        Reason::BackendForbidden,
    ),
    ("BE13", "404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Reason::BackendRefused),
    (
        "SM03",
        "101 from something that knows no WebSocket",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "SM04",
        "no Accept",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "SM04",
        "a wrong Accept",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "SM04",
        "two Accepts",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Accept: x\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "SM04",
        "no Upgrade",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "SM04",
        "another Upgrade",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "SM04",
        "two Upgrades",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "SM04",
        "no Connection",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "SM04",
        "another Connection",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: close\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "SM04",
        "101 in HTTP/1.0",
        "HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "SM04",
        "bare LF",
        "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: {accept}\n\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "SM04",
        "a body announced",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 5\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "SM04",
        "a coding announced",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "HS14",
        "a subprotocol nobody offered",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: admin\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "HS14",
        "an extension nobody offered",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "HS14",
        "two subprotocols",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat.v1\r\nSec-WebSocket-Protocol: chat.v2\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "SM17",
        "100 before the answer",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
        Reason::BackendHandshakeInvalid,
    ),
    (
        "SM17",
        "two answers",
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nadmin",
        Reason::BackendForbidden,
    ),
    ("TL13", "garbage", "\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}\u{28}", Reason::BackendHandshakeInvalid),
];

#[tokio::test(flavor = "multi_thread")]
async fn only_an_honest_101_opens_a_tunnel() {
    let house = House::plain().await;
    let request = house.request_with(|request| offers(request, "chat.v1, chat.v2"));
    let mut cases = Cases::of("lies");
    for (id, name, answer, reason) in LIES {
        house.backend.play(vec![Step::Head, Step::Send(answer.into()), Step::Swallow]);
        let heard = house.backend.connections();
        let refusal = house.refuses_after_dial(house.wire().await, &request, reason).await.unwrap();
        assert_eq!(house.backend.connections(), heard + 1, "{name}: no second try once a head was sent");
        for secret in ["inner", "169.254", "secret", "stack"] {
            let text = format!("{}{}", refusal.head, String::from_utf8_lossy(&refusal.body));
            assert!(!text.contains(secret), "{name}: {text}");
        }
        house.backend.wait("the gateway hangs up", |seen| seen[heard].ended).await;
        house.backend.play(support::backend::echo());
        house.admits(&request).await;
        cases.held(id, name);
    }
    cases.all(LIES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_connection_is_never_used_twice() {
    let refuses = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n";
    let house = Plan::plain().script(vec![Step::Head, Step::Send(refuses.into()), Step::Swallow]).build().await;
    house.refuses_after_dial(house.wire().await, &house.request(), Reason::BackendForbidden).await;
    house.refuses_after_dial(house.wire().await, &house.request(), Reason::BackendForbidden).await;
    assert_eq!(house.backend.connections(), 2);
    assert!(house.backend.seen(0).after.is_empty(), "one request on a connection");
    house.backend.play(support::backend::echo());
    house.admits(&house.request()).await;
    house.admits(&house.request()).await;
    assert_eq!(house.backend.connections(), 4);
    cases::held("SM16", "a connection that was refused, and one that was closed");
}

/// Headers of a client that no backend may see, or only as the gateway wrote them.
const FOREIGN: [(&str, &str, &str); 28] = [
    ("HS11", "Sec-WebSocket-Accept", "canary-accept"),
    ("ID01", "X-Forwarded-For", "canary, 6.6.6.6"),
    ("ID01", "X-Forwarded-Proto", "canary-proto"),
    ("ID01", "X-Forwarded-Host", "canary-host"),
    ("ID01", "X-Forwarded-Port", "canary-port"),
    ("ID01", "Forwarded", "for=canary"),
    ("ID01", "X-Real-IP", "canary-ip"),
    ("ID01", "X-User-Id", "canary-admin"),
    ("ID01", "X-Auth-Roles", "canary-role"),
    ("ID01", "X-SSL-Client-Cert", "canary-cert"),
    ("ID01", "True-Client-IP", "canary-true"),
    ("ID11", "X-Request-Id", "canary-request"),
    ("ID01", "X-Wsgate-Session-Until", "canary-until"),
    ("ID01", "X-Wsgate-Anything", "canary-ours"),
    ("SM19", "Cookie", "canary=1"),
    ("SM19", "Proxy-Authorization", "Basic canary"),
    ("SM19", "Proxy-Connection", "canary"),
    ("SM19", "Keep-Alive", "canary=5"),
    ("SM19", "TE", "canary"),
    ("SM19", "Trailer", "X-Canary"),
    ("SM19", "Referer", "https://app.test/?canary"),
    ("SM19", "Via", "1.1 canary"),
    ("SM19", "X-Anything", "canary-anything"),
    ("SM19", "Accept-Encoding", "canary"),
    ("SM15", "HTTP2-Settings", "canary"),
    ("SM19", "X-HTTP-Method-Override", "canary"),
    ("SM19", "Range", "bytes=canary"),
    ("CO01", "Sec-WebSocket-Extensions", "permessage-canary"),
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_reaches_the_backend_that_the_gateway_did_not_build() {
    let policy = "[upstream]\nheaders = [\"user-agent\"]\nidentity = { x-user-id = \"/sub\" }";
    let house = Plan::plain().policy(policy).build().await;
    let mut cases = Cases::of("foreign headers");
    for (id, name, value) in FOREIGN {
        let request = house.request_with(|request| {
            request.set(name, value);
            request.set("User-Agent", "twin/1.0");
        });
        house.admits(&request).await;
        let seen = house.backend.last();
        let head = String::from_utf8(seen.head.clone()).unwrap().to_ascii_lowercase();
        assert!(!head.contains("canary") && !head.contains("6.6.6.6"), "{name}: {head}");
        let request = seen.request();
        assert_eq!(request.one("x-user-id"), Some("alice"), "ours, not the client's");
        assert_eq!(request.one("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(request.one("x-forwarded-proto"), Some("https"));
        assert_eq!(request.one("x-forwarded-host"), Some(HOST));
        assert_eq!(request.one("origin"), Some(ORIGIN));
        assert_eq!(request.one("host"), Some(HOST));
        assert_eq!(request.one("user-agent"), Some("twin/1.0"), "a header that the policy names passes");
        assert!(request.one("x-request-id").is_some_and(|id| id.len() >= 16 && id.len() <= 64));
        assert!(request.one("x-wsgate-session-until").is_some_and(|end| end.parse::<u64>().is_ok()));
        assert_eq!(request.one("authorization"), None, "a verified token is stripped");
        assert_ne!(request.one("sec-websocket-key"), Some(KEY), "a key of our own");
        cases.held(id, name);
    }
    cases.all(FOREIGN.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_of_a_head_can_be_injected() {
    let house = Plan::plain().policy("[upstream]\nheaders = [\"user-agent\"]").build().await;
    let injections =
        ["\r\nX-Injected: 1", "\nX-Injected: 1", "\rX-Injected: 1", "%0d%0aX-Injected:%201", "\0X-Injected: 1"];
    let places: [fn(&mut Request, &str); 6] = [
        |r, text| r.target(format!("/chat?q={text}")),
        |r, text| r.target(format!("/chat/{text}")),
        |r, text| r.set("Sec-WebSocket-Protocol", format!("chat{text}")),
        |r, text| r.set("Origin", format!("{ORIGIN}{text}")),
        |r, text| r.set("User-Agent", format!("x{text}")),
        |r, text| r.set("Host", format!("{HOST}{text}")),
    ];
    house.admits(&house.request()).await;
    let plain = house.backend.last().request().headers.len();
    let mut cases = Cases::of("injections");
    for injection in injections {
        for place in places {
            let heard = house.backend.connections();
            let mut wire = house.wire().await;
            let request = house.request_with(|request| place(request, injection));
            wire.send(&request.bytes()).await;
            let status = wire.answer_head().await.status;
            drop(wire);
            house.is_at_rest().await;
            if status == 101 {
                let seen = house.backend.last().request();
                assert!(seen.all("x-injected").is_empty(), "{:?}", String::from_utf8_lossy(&request.bytes()));
                assert!(seen.headers.len() <= plain + 2, "{:?}", seen.headers);
            } else {
                assert_eq!(house.backend.connections(), heard);
            }
            cases.held("SM18", injection.escape_debug().to_string().as_str());
        }
    }
    house.admits(&house.request()).await;
    cases.all(injections.len() * places.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_may_come_in_any_pieces() {
    let house = House::plain().await;
    let bytes = house.request().bytes();
    let mut cases = Cases::of("splits");
    let splits: Vec<usize> = (1..bytes.len()).step_by(7).collect();
    for at in &splits {
        let mut wire = house.wire().await;
        wire.send(&bytes[..*at]).await;
        wire.send(&bytes[*at..]).await;
        wire.answer_head().await.is_switching(&house.request());
        wire.closes(1000).await;
        cases.held("FR22", &format!("split at {at}"));
    }
    let mut wire = house.wire().await;
    one_by_one(&mut wire, &bytes).await;
    wire.answer_head().await.is_switching(&house.request());
    wire.closes(1000).await;
    cases.held("H105", "byte by byte");
    cases.all(splits.len() + 1);
}

async fn one_by_one(wire: &mut Wire, bytes: &[u8]) {
    for byte in bytes {
        assert!(wire.send(&[*byte]).await, "the gateway takes every byte");
    }
}
