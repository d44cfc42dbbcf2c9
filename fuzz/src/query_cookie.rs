//! Credentials in the query, in cookies, among the subprotocols and in Authorization: found, judged, and taken out of what
//! a backend gets.
//!
//! The input is text: the request target, and header fields behind it, a line each, of a handshake that is otherwise good.
//! A good token stands where `@` is written.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use wsgate::config;
use wsgate::peer::{ClientAddr, ConnectionId};
use wsgate::policy::admission::{Admission, authorize};
use wsgate::policy::auth::keys::Keys;
use wsgate::policy::auth::token::digest_hex;
use wsgate::policy::forward::{ForwardFacts, build_request};
use wsgate::policy::screen::{PolicySet, Transport, screen};
use wsgate::units::UnixSeconds;
use wsgate::ws::head::{HeadLimits, parse_request};
use wsgate::ws::opening::{WebSocketKey, judge_request};

use super::Verdict;
use super::naive_head::{self, NaiveHead, percent_decoded, trimmed};

const LIMITS: HeadLimits = HeadLimits { bytes: 16 << 10, fields: 64, target: 8 << 10 };
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
/// It opens nothing but the policy below.
const TOKEN: &str = "throwaway.token_of-the~corpus";
const GATEWAY: &str = r#"
[[listener]]
address = "127.0.0.1:0"
danger_plaintext = "nothing listens here"
"#;
const POLICY: &str = r#"
[route]
hosts = ["chat.test"]
paths = ["/*"]
[upstream]
servers = ["ws://127.0.0.1:9"]
headers = ["user-agent"]
cookies = ["theme"]
[origin]
allow = ["https://app.test"]
[[auth]]
by = "token"
tokens = "chat.tokens"
from = ["authorization", "subprotocol:bearer", "query:token", "cookie:session"]
"#;
/// All that a backend may get.
const FORWARDED: [&str; 15] = [
    "host",
    "upgrade",
    "connection",
    "sec-websocket-version",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "origin",
    "user-agent",
    "cookie",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-request-id",
    "x-wsgate-session-until",
    "authorization",
];

/// Who comes in has put the good token into exactly one place on purpose, or into cookies that agree; and the backend gets
/// what was sent byte for byte, less every piece that is called as a place of a token.
pub fn query_cookie(bytes: &[u8]) -> Verdict {
    let Ok(written) = str::from_utf8(bytes) else { return Verdict::Refused };
    let text = written.replace('@', TOKEN);
    let (target, fields) = text.split_once('\n').unwrap_or((&text, ""));
    let mut head = format!(
        "GET {target} HTTP/1.1\r\nHost: chat.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://app.test\r\n"
    );
    for field in fields.lines() {
        head.extend([field, "\r\n"]);
    }
    head.push_str("\r\n");
    let Some(admission) = admitted(head.as_bytes()) else { return Verdict::Refused };
    let client = naive_head::read(head.as_bytes()).expect("it came in");
    judge_credential(&client);
    let backend = forwarded(&admission);
    judge_forwarded(&client, &backend);
    // Elsewhere, and written otherwise than in plain, it is what any text is.
    if text.matches(TOKEN).count() == 1 && !text.contains('%') {
        let lines = backend.first.iter().chain(backend.fields.iter().map(|(_, value)| value));
        assert!(lines.into_iter().all(|line| !line.contains(TOKEN)), "the token goes on: {backend:?}");
    }
    Verdict::Accepted
}

fn admitted(head: &[u8]) -> Option<Admission> {
    let (policies, keys) = house();
    let opening = judge_request(parse_request(head, &LIMITS).ok()?).ok()?;
    let client = ClientAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let transport = Transport { client, server_name: None, client_certificate: false };
    authorize(screen(opening, &transport, policies).ok()?, keys, NOW).ok()
}

fn house() -> &'static (PolicySet, Keys) {
    static HOUSE: OnceLock<(PolicySet, Keys)> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| std::fs::write(folder.path().join(path), text).expect("a file");
        std::fs::create_dir(folder.path().join("policies")).expect("a folder");
        write("gateway.toml", GATEWAY);
        write("policies/chat.toml", POLICY);
        write("policies/chat.tokens", &format!("{} corpus use_until=1900000000\n", digest_hex(TOKEN)));
        let loaded = config::load(&folder.path().join("gateway.toml"), &|_| None, NOW);
        let (config, _) = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        (PolicySet::new(config.policies).expect("one policy"), (*config.keys).clone())
    })
}

fn forwarded(admission: &Admission) -> NaiveHead {
    let key = WebSocketKey::generate([0; 16]);
    let facts = ForwardFacts {
        client: ClientAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        proto: "http",
        request_id: ConnectionId::from_bytes([0; 16]),
        key: &key,
    };
    let server = &admission.policy.upstream.servers[0];
    let request = build_request(admission, server, facts).expect("what was admitted can be written");
    naive_head::read(&request.bytes).expect("it is a head")
}

/// The query as sent, without its `?`.
fn query(head: &NaiveHead) -> Option<&str> {
    head.first[1].split_once('?').map(|(_, query)| query)
}

fn is_token_piece(piece: &str) -> bool {
    percent_decoded(piece.split('=').next().unwrap_or_default().as_bytes()) == b"token"
}

/// The piece in which a client says how it will call its session: no backend sees it.
fn is_session_piece(piece: &str) -> bool {
    percent_decoded(piece.split('=').next().unwrap_or_default().as_bytes()) == b"wsgate_session"
}

/// Every cookie: (as sent, its name, its value).
fn cookies(head: &NaiveHead) -> Vec<(&str, &str, &str)> {
    let pairs = head.all("cookie").into_iter().flat_map(|line| line.split(';')).map(trimmed);
    let read = |pair| {
        let (name, value): (&str, &str) = str::split_once(pair, '=').unwrap_or(("", pair));
        (pair, trimmed(name), trimmed(value))
    };
    pairs.filter(|pair| !pair.is_empty()).map(read).collect()
}

fn offers(head: &NaiveHead) -> Vec<String> {
    let lines = head.all("sec-websocket-protocol").join(",");
    lines.split(',').map(trimmed).filter(|word| !word.is_empty()).map(String::from).collect()
}

fn judge_credential(client: &NaiveHead) {
    let pieces = query(client).unwrap_or_default().split('&').filter(|piece| is_token_piece(piece));
    let in_query = pieces.map(|piece| percent_decoded(piece.split_once('=').unwrap_or_default().1.as_bytes()));
    let in_header = client.all("authorization").into_iter().map(|value| match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.as_bytes().to_vec(),
        _ => Vec::new(),
    });
    let offers = offers(client);
    let marked = offers.iter().zip(offers.iter().skip(1).map(String::as_str).chain([""]));
    let in_offers = marked.filter(|(marker, _)| *marker == "bearer").map(|(_, token)| token.as_bytes().to_vec());
    let explicit: Vec<Vec<u8>> = in_query.chain(in_header).chain(in_offers).collect();
    if !explicit.is_empty() {
        assert_eq!(explicit, [TOKEN.as_bytes()], "one place, and the token in it");
        return;
    }
    let cookies = cookies(client);
    let sessions: Vec<&str> =
        cookies.iter().filter(|(_, name, _)| *name == "session").map(|(.., value)| *value).collect();
    assert!(!sessions.is_empty() && sessions.iter().all(|value| *value == TOKEN), "the token in a cookie");
}

fn judge_forwarded(client: &NaiveHead, backend: &NaiveHead) {
    let path = client.first[1].split('?').next().unwrap_or_default();
    let is_ours = |piece: &&str| is_token_piece(piece) || is_session_piece(piece);
    let kept: Option<Vec<&str>> = query(client).map(|query| query.split('&').filter(|piece| !is_ours(piece)).collect());
    let target = match kept.filter(|kept| !kept.is_empty()) {
        Some(kept) => format!("{path}?{}", kept.join("&")),
        None => path.to_owned(),
    };
    assert_eq!(backend.first, ["GET", &target, "HTTP/1.1"], "byte for byte less the token");
    let themes = cookies(client).into_iter().filter(|(_, name, _)| *name == "theme").map(|(pair, ..)| pair);
    let themes = themes.collect::<Vec<_>>().join("; ");
    assert_eq!(backend.all("cookie"), Vec::from_iter((!themes.is_empty()).then_some(themes.as_str())));
    let mut rest = Vec::new();
    let mut items = offers(client).into_iter();
    while let Some(item) = items.next() {
        if item == "bearer" {
            items.next();
        } else {
            rest.push(item);
        }
    }
    assert_eq!(offers(backend), rest);
    assert_eq!(backend.all("user-agent"), client.all("user-agent"));
    assert_eq!(backend.all("authorization"), [""; 0]);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (name, _) in &backend.fields {
        assert!(FORWARDED.contains(&name.as_str()), "{name}");
        *counts.entry(name).or_default() += 1;
    }
    assert!(counts.iter().all(|(name, count)| *count == 1 || *name == "user-agent"), "{counts:?}");
}
