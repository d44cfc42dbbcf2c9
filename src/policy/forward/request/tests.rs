use proptest::prelude::*;
use serde_json::Map;

use super::*;
use crate::policy::Policy;
use crate::policy::admission::tests::{admission, policy};
use crate::policy::auth::algorithm::Algorithm;
use crate::policy::auth::fixtures::{CLAIMS, NOW, Signer, rules};
use crate::policy::auth::jwt;
use crate::policy::credential::tests::handshake;
use crate::ws::head::Headers;
use crate::ws::opening::Target;

const ID: [u8; 16] = [7; 16];

fn written(admission: &Admission) -> Result<UpstreamRequest, Refusal> {
    let key = WebSocketKey::parse("AAAAAAAAAAAAAAAAAAAAAA==").unwrap();
    let facts = ForwardFacts {
        client: ClientAddr::new("::ffff:203.0.113.7".parse().unwrap()),
        proto: "https",
        request_id: ConnectionId::from_bytes(ID),
        key: &key,
    };
    build_request(admission, &admission.policy.upstream.servers[0], facts)
}

fn lines(admission: &Admission) -> Vec<String> {
    let text = String::from_utf8(written(admission).unwrap().bytes).unwrap();
    let head = text.strip_suffix("\r\n\r\n").unwrap();
    head.split("\r\n").map(String::from).collect()
}

fn plain(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = policy(Vec::new(), CredentialForwarding::Strip);
    change(&mut policy);
    policy
}

fn forwarded(fields: &[(&str, &str)], change: impl FnOnce(&mut Policy)) -> Vec<String> {
    lines(&admission(handshake(None, fields), plain(change), None, None))
}

/// What a client may have put a token into is in no Debug of what the gate works with.
#[test]
fn au22_no_debug_shows_what_a_client_brought() {
    const CANARY: &str = "CANARY-5fd1";
    let query = format!("token={CANARY}");
    let offer = format!("chat.v2, other, {CANARY}");
    let fields = [("sec-websocket-protocol", offer.as_str()), ("cookie", CANARY), ("x-any", CANARY)];
    let opening = handshake(Some(&query), &fields);
    let signer = Signer::new(Algorithm::Hs256);
    let token = signer.token(&CLAIMS.replace("{", &format!("{{\"email\":\"{CANARY}\",")));
    let proof = jwt::verify(&token, &rules(), &signer.issuer(), NOW).unwrap();
    let target = Target::parse(&format!("/chat?{query}")).unwrap();
    let admission = admission(opening.clone(), plain(|_| {}), Some(proof.claims.clone()), None);
    let request = written(&admission).unwrap();
    assert!(request.offered_subprotocols.iter().any(|one| one == CANARY), "the canary sits where it should");
    let shown = [
        format!("{target:?}"),
        format!("{opening:?}"),
        format!("{proof:?}"),
        format!("{:?}", admission.principal),
        format!("{admission:?}"),
        format!("{request:?}"),
    ];
    for text in &shown {
        assert!(!text.contains(CANARY), "{text}");
    }
    assert!(shown.iter().filter(|text| text.contains("alice")).count() >= 3, "who it is may be seen: {shown:?}");
}

#[test]
fn the_plain_request_is_exactly_this() {
    let fields = [
        ("origin", "https://app.example.com"),
        ("sec-websocket-protocol", "chat.v2, chat.v1"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("user-agent", "x"),
        ("cookie", "session=s"),
    ];
    let admission = admission(handshake(Some("a=%20+&b"), &fields), plain(|_| {}), None, None);
    let expected = [
        "GET /chat/room?a=%20+&b HTTP/1.1",
        "Host: Chat.example.com:8443",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol: chat.v2, chat.v1",
        "Origin: https://app.example.com",
        "X-Forwarded-For: 203.0.113.7",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: Chat.example.com:8443",
        "X-Request-Id: 07070707070707070707070707070707",
        "X-Wsgate-Session-Until: 1800043200",
    ];
    assert_eq!(lines(&admission), expected);
    let request = written(&admission).unwrap();
    assert_eq!(request.offered_subprotocols, ["chat.v2", "chat.v1"]);
    assert!(request.offered_extensions.is_empty());
}

#[test]
fn id01_id11_hs06_hs11_sm19_nothing_else_of_the_clients_passes() {
    let hostile = [
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "for=1.2.3.4"),
        ("x-real-ip", "1.2.3.4"),
        ("x-request-id", "evil"),
        ("x-wsgate-session-until", "9999999999"),
        ("x-user-id", "root"),
        ("x-auth-user", "root"),
        ("x-ssl-client-dn", "root"),
        ("connection", "upgrade, x-forwarded-for, host"),
        ("sec-websocket-accept", "evil"),
        ("cookie", "session=s"),
        ("authorization", "Basic cm9vdA=="),
        ("proxy-authorization", "Basic cm9vdA=="),
        ("keep-alive", "300"),
        ("te", "trailers"),
        ("trailer", "x"),
    ];
    let plain_lines = forwarded(&[], |_| {});
    assert_eq!(forwarded(&hostile, |_| {}), plain_lines);
    for (name, value) in hostile {
        let named = forwarded(&[(name, value)], |policy| policy.upstream.headers.push(String::from(name)));
        let passes = named.len() > plain_lines.len();
        assert_eq!(passes, !is_reserved_header(name), "{name}");
        let identity = forwarded(&[(name, value)], |policy| {
            policy.upstream.headers.push(String::from(name));
            policy.upstream.identity.push((String::from(name), String::from("/sub")));
        });
        assert_eq!(identity, plain_lines, "{name} as identity, and nobody verified");
    }
    assert_eq!(hostile.len(), 19);
}

#[test]
fn named_headers_and_cookies_pass_as_they_came() {
    let fields = [
        ("user-agent", "a b"),
        ("cookie", "a=1; b=2;c=3"),
        ("x-tag", "one"),
        ("cookie", "a=4"),
        ("x-tag", "two"),
        ("authorization", "Basic YTpi"),
    ];
    let lines = forwarded(&fields, |policy| {
        policy.upstream.headers = ["user-agent", "x-tag", "authorization"].map(String::from).to_vec();
        policy.upstream.cookies = ["a", "c"].map(String::from).to_vec();
    });
    let passed: Vec<&str> = lines.iter().skip(6).take(5).map(String::as_str).collect();
    let expected =
        ["user-agent: a b", "x-tag: one", "x-tag: two", "authorization: Basic YTpi", "Cookie: a=1; c=3; a=4"];
    assert_eq!(passed, expected);
}

#[test]
fn host_and_path_follow_the_policy() {
    let hosts = [
        (HostHeader::Client, "Chat.example.com:8443"),
        (HostHeader::Server, "127.0.0.1:9001"),
        (HostHeader::Fixed(String::from("inner")), "inner"),
    ];
    for (rule, expected) in hosts {
        let lines = forwarded(&[], |policy| policy.upstream.host = rule);
        assert_eq!(lines[1], format!("Host: {expected}"));
    }
    let servers = [
        ("[::1]:80", None, 80, false, "[::1]"),
        ("[::1]:81", None, 81, false, "[::1]:81"),
        ("[::1]:0", Some("inner"), 443, true, "inner"),
        ("[::1]:0", Some("inner"), 443, false, "inner:443"),
    ];
    for (address, name, port, tls, expected) in servers {
        let address = ServerHost::Address(address.parse().unwrap());
        let place = name.map_or(address, |name| ServerHost::Name(String::from(name)));
        let server = Server { name: String::new(), tls, host: place, port };
        assert_eq!(host(&handshake(None, &[]), &HostHeader::Server, &server), expected);
    }
    let paths = [
        ("/chat", "/chat", "/"),
        ("/chat/room", "/chat", "/room"),
        ("/chat/room", "/chat/", "/room"),
        ("/chat/", "/chat", "/"),
        ("/chats", "/chat", "/chats"),
        ("/a/chat", "/chat", "/a/chat"),
        ("/chat//x", "/chat", "//x"),
    ];
    for (path, prefix, expected) in paths {
        assert_eq!(without_prefix(path, prefix), expected, "{path} less {prefix}");
    }
}

#[test]
fn subprotocols_and_extensions_are_offered_as_the_policy_says() {
    let offer = [
        ("sec-websocket-protocol", "bearer, t0k3n, chat.v1, other"),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits, x-other;a=1"),
    ];
    let marker = Some(Carrier::Subprotocol(String::from("bearer")));
    let of = |credential, extensions, allowed: Option<&[&str]>| {
        let mut policy = policy(Vec::new(), credential);
        policy.upstream.extensions = extensions;
        policy.route.subprotocols = allowed.map(|names| names.iter().copied().map(String::from).collect());
        let admission = admission(handshake(None, &offer), policy, Some(Map::new()), marker.clone());
        (written(&admission).unwrap(), lines(&admission))
    };
    let (request, lines) = of(CredentialForwarding::Strip, Extensions::Pass, None);
    assert!(lines.contains(&String::from("Sec-WebSocket-Protocol: chat.v1, other")));
    assert!(
        lines.contains(&String::from(
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other;a=1"
        ))
    );
    assert_eq!(request.offered_extensions, ["permessage-deflate", "x-other"]);
    let (request, _) = of(CredentialForwarding::Strip, Extensions::Strip, Some(&["chat.v1"]));
    assert_eq!(
        (request.offered_subprotocols.as_slice(), request.offered_extensions.len()),
        (&[String::from("chat.v1")][..], 0)
    );
    let (request, lines) = of(CredentialForwarding::AsSent, Extensions::Strip, Some(&["chat.v1"]));
    assert!(lines.contains(&String::from("Sec-WebSocket-Protocol: bearer, t0k3n, chat.v1")), "{lines:?}");
    assert_eq!(request.offered_subprotocols, ["chat.v1", "bearer"]);
    let (_, lines) = of(CredentialForwarding::Strip, Extensions::Strip, Some(&[]));
    assert!(!lines.iter().any(|line| line.starts_with("Sec-WebSocket-Protocol")));
}

#[test]
fn a_verified_token_goes_where_the_policy_says() {
    use CredentialForwarding::{AsSent, Authorization, Strip};
    let fields = [("authorization", "Bearer t0k3n"), ("cookie", "session=t0k3n; a=b")];
    let header = Carrier::Authorization;
    let cookie = Carrier::Cookie(String::from("session"));
    let (bearer, session) = ("Authorization: Bearer t0k3n", "Cookie: session=t0k3n");
    let cases = [
        (Strip, &header, vec![]),
        (Authorization, &header, vec![bearer]),
        (Authorization, &cookie, vec![bearer]),
        (AsSent, &header, vec![bearer]),
        (AsSent, &cookie, vec![session]),
    ];
    for (rule, carrier, expected) in &cases {
        let mut policy = policy(Vec::new(), *rule);
        policy.upstream.headers.push(String::from("user-agent"));
        let lines = lines(&admission(handshake(None, &fields), policy, Some(Map::new()), Some((*carrier).clone())));
        let seen: Vec<&String> = lines.iter().filter(|line| line.contains("t0k3n")).collect();
        assert_eq!(seen, *expected, "{rule:?} {carrier}");
    }
    assert_eq!(cases.len(), 5);
}

#[test]
fn identity_is_written_from_claims_with_one_reading() {
    let claims = serde_json::json!({
        "sub": "Zoë\r\nX-Evil: 1", "n": 7, "b": true, "org": {"name": "a%b"}, "roles": ["a,b", "c d", 1], "null": null,
        "nested": [["x"]], "empty": "", "comma": "a,b", "fits": "x".repeat(MAX_IDENTITY), "long": "x".repeat(MAX_IDENTITY + 1)
    });
    let claims = claims.as_object().unwrap().clone();
    let judged = |pointer: &str| {
        let mut policy = policy(Vec::new(), CredentialForwarding::Strip);
        policy.upstream.identity.push((String::from("x-id"), String::from(pointer)));
        let admission = admission(handshake(None, &[]), policy, Some(claims.clone()), None);
        written(&admission)
            .map(|_| lines(&admission).into_iter().find_map(|line| line.strip_prefix("x-id: ").map(String::from)))
    };
    let cases = [
        ("/sub", Some("Zo%C3%AB%0D%0AX-Evil:%201")),
        ("/n", Some("7")),
        ("/b", Some("true")),
        ("/org/name", Some("a%25b")),
        ("/roles", Some("a%2Cb,c%20d,1")),
        ("/comma", Some("a,b")),
        ("/empty", Some("")),
        ("/org", None),
        ("/null", None),
        ("/nested", None),
        ("/missing", None),
    ];
    for (pointer, expected) in &cases {
        assert_eq!(judged(pointer).unwrap().as_deref(), *expected, "{pointer}");
    }
    assert_eq!(cases.len(), 11);
    assert!(judged("/fits").is_ok());
    assert_eq!(judged("/long").unwrap_err().reason, Reason::TokenClaimInvalid);
}

#[test]
fn a_request_is_not_printed() {
    let admission = admission(handshake(Some("canary"), &[]), plain(|_| {}), None, None);
    assert!(!format!("{:?}", written(&admission).unwrap()).contains("canary"));
}

fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\r\n"),
        Just("\n"),
        Just("\r"),
        Just("\0"),
        Just("X-Evil: 1"),
        Just(" "),
        Just("\t"),
        Just("é"),
        Just("/"),
        Just("a"),
        Just("=1; b"),
        Just(", "),
        Just("%0d%0a"),
        Just("bearer"),
        Just("?"),
        Just(" HTTP/1.1\r\n\r\nGET /evil"),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

const PLACES: usize = 8;

/// An admission in which one place holds this text, whatever it is.
fn tainted(place: usize, text: &str) -> Admission {
    let at = |this: usize, plain: &str| String::from(if this == place { text } else { plain });
    let mut policy = plain(|policy| {
        policy.upstream.headers.push(String::from("x-tag"));
        policy.upstream.cookies.push(String::from("a"));
        policy.upstream.identity.push((String::from("x-id"), String::from("/sub")));
    });
    policy.upstream.extensions = Extensions::Pass;
    let mut opening = handshake(Some(&at(0, "q")), &[]);
    opening.path = format!("/{}", at(1, "chat"));
    opening.origin = Some(at(2, "https://app.example.com"));
    opening.authority.raw = at(3, "chat.example.com");
    opening.subprotocols = vec![at(4, "chat")];
    let mut headers = Headers::default();
    headers.push(String::from("x-tag"), at(5, "x"));
    headers.push(String::from("cookie"), format!("a=1{}", at(6, "")));
    headers.push(String::from("sec-websocket-extensions"), at(7, "x-one"));
    opening.headers = headers;
    let claims = Map::from_iter([(String::from("sub"), Value::from(text))]);
    admission(opening, policy, Some(claims), None)
}

#[test]
fn sm18_a_control_character_cannot_be_written_anywhere() {
    let mut ran = 0;
    for place in 0..PLACES {
        for bad in ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "a\u{7f}b", "\u{e9}"] {
            assert_eq!(written(&tainted(place, bad)).unwrap_err().reason, Reason::Internal, "{place} {bad:?}");
            ran += 1;
        }
        assert!(written(&tainted(place, "ab")).is_ok(), "{place}");
    }
    assert_eq!(ran, 48);
}

proptest! {
    /// Whatever an opening holds, what is written is one request line and the fields meant, or nothing at all.
    #[test]
    fn sm18_one_request_line_and_the_fields_that_were_meant(place in 0..=PLACES, text in nasty()) {
        if let Ok(request) = written(&tainted(place, &text)) {
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut parsed = httparse::Request::new(&mut fields);
            prop_assert_eq!(parsed.parse(&request.bytes), Ok(httparse::Status::Complete(request.bytes.len())));
            prop_assert_eq!(request.bytes.iter().filter(|byte| **byte == b'\n').count(), 18);
            let names: Vec<&str> = parsed.headers.iter().map(|field| field.name).collect();
            prop_assert_eq!(names, [
                "Host", "Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol",
                "Sec-WebSocket-Extensions", "Origin", "x-tag", "Cookie", "X-Forwarded-For", "X-Forwarded-Proto",
                "X-Forwarded-Host", "X-Request-Id", "X-Wsgate-Session-Until", "x-id",
            ]);
        }
    }
}
