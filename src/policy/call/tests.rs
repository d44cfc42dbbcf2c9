use std::collections::HashMap;
use std::path::PathBuf;

use super::*;
use crate::peer::ClientAddr;
use crate::policy::admission::tests::{WORD, policy};
use crate::policy::auth::algorithm::Algorithm;
use crate::policy::auth::fixtures::{CLAIMS, NOW, Signer, rules};
use crate::policy::auth::token::{TokenTable, digest_hex};
use crate::policy::auth::{JwtRules, TokenRules};
use crate::policy::forward::CredentialForwarding;
use crate::policy::origin::{MissingOrigin, OriginRules, OriginSet};
use crate::policy::route::{HostPattern, PathPattern};
use crate::ws::call::judge_call;
use crate::ws::head::{HeadLimits, parse_request};

const APP: &str = "Origin: https://app.example.com\r\n";
const TOKENS: &str = "chat.tokens";

fn ways() -> Vec<Auth> {
    let carriers = |words: &[&str]| words.iter().map(|word| word.parse().unwrap()).collect();
    vec![
        Auth::Jwt(JwtRules { from: carriers(&["authorization", "cookie:session"]), ..rules() }),
        Auth::Token(TokenRules {
            tokens: PathBuf::from(TOKENS),
            from: carriers(&["query:token", "subprotocol:bearer"]),
        }),
        Auth::Ticket(TicketRules { from: carriers(&["query:ticket"]) }),
    ]
}

fn policies(auth: Vec<Auth>) -> PolicySet {
    let mut policy = policy(auth, CredentialForwarding::Strip);
    policy.route.hosts = vec![HostPattern::parse("chat.example.com").unwrap()];
    policy.route.paths = vec![PathPattern::parse("/*").unwrap()];
    let mut allow = OriginSet::default();
    allow.insert("https://app.example.com").unwrap();
    policy.origin = OriginRules { allow, missing: MissingOrigin::Cookieless };
    PolicySet::new(vec![Arc::new(policy)]).unwrap()
}

fn call(method: &str, path: &str, fields: &str) -> Call {
    let limits = HeadLimits { bytes: 16_384, fields: 32, target: 2048 };
    let head = format!("{method} /.wsgate/ticket?path={path} HTTP/1.1\r\nHost: chat.example.com\r\n{fields}\r\n");
    judge_call(parse_request(head.as_bytes(), &limits).unwrap()).unwrap()
}

fn transport() -> Transport {
    let client = ClientAddr::new("203.0.113.7".parse().unwrap());
    Transport { client, server_name: None, client_certificate: false }
}

fn screened(method: &str, fields: &str) -> Result<ScreenedCall, Refusal> {
    screen_call(call(method, "/chat", fields), &transport(), &policies(ways()))
}

#[test]
fn or25_a_call_is_screened_as_its_handshake_is() {
    let cookie = "Cookie: session=s\r\n";
    let cases: [(&str, &str, &str, Result<(), Reason>); 12] = [
        ("a listed page", "POST", APP, Ok(())),
        ("a listed page's question", "OPTIONS", APP, Ok(())),
        ("a program", "POST", "", Ok(())),
        ("a cookie and no Origin", "POST", cookie, Err(Reason::OriginMissing)),
        ("a question of nobody", "OPTIONS", "", Err(Reason::OriginMissing)),
        ("another page", "POST", "Origin: https://evil.example\r\n", Err(Reason::OriginNotAllowed)),
        ("another page's question", "OPTIONS", "Origin: https://evil.example\r\n", Err(Reason::OriginNotAllowed)),
        ("a page without one", "POST", "Origin: null\r\n", Err(Reason::OriginNotAllowed)),
        ("fetch", "POST", "Origin: https://app.example.com\r\nSec-Fetch-Mode: cors\r\n", Ok(())),
        ("fetch at home", "POST", "Origin: https://app.example.com\r\nSec-Fetch-Mode: same-origin\r\n", Ok(())),
        (
            "a form",
            "POST",
            "Origin: https://app.example.com\r\nSec-Fetch-Mode: navigate\r\n",
            Err(Reason::FetchMetadata),
        ),
        (
            "a beacon",
            "POST",
            "Origin: https://app.example.com\r\nSec-Fetch-Mode: no-cors\r\n",
            Err(Reason::FetchMetadata),
        ),
    ];
    for (name, method, fields, expected) in cases {
        let got = screened(method, fields).map(drop).map_err(|refusal| refusal.reason);
        assert_eq!(got, expected, "{name}");
    }
    let elsewhere = screen_call(call("POST", "/.wsgate/chat", APP), &transport(), &policies(ways()));
    assert_eq!(elsewhere.unwrap_err().reason, Reason::PathNotServed, "nobody serves our own paths");
}

#[test]
fn or25_cookies_are_shared_where_they_count_and_never_with_any_page() {
    let sharing = |auth: Vec<Auth>, any: bool| {
        let set = policies(auth);
        let mut policy = Policy::clone(set.iter().next().unwrap());
        policy.origin.allow.any = any;
        let set = PolicySet::new(vec![Arc::new(policy)]).unwrap();
        let screened = screen_call(call("POST", "/chat", APP), &transport(), &set).unwrap();
        screened.sharing().map(|sharing| (sharing.origin.to_owned(), sharing.credentials))
    };
    let told = |credentials| Some((String::from("https://app.example.com"), credentials));
    let headers = vec![Auth::Jwt(JwtRules { from: vec![Carrier::Authorization], ..rules() })];
    assert_eq!(sharing(ways(), false), told(true));
    assert_eq!(sharing(ways(), true), told(false));
    assert_eq!(sharing(headers, false), told(false));
    assert_eq!(screened("POST", "").unwrap().sharing(), None, "no page asks");
}

#[test]
fn au26_a_call_is_proved_by_header_or_cookie() {
    let signer = Signer::new(Algorithm::Hs256);
    let line = format!("{} bob use_until=1900000000\n", digest_hex(WORD));
    let keys = Keys {
        issuers: HashMap::from([(Arc::from("login"), Arc::new(signer.issuer()))]),
        token_tables: HashMap::from([(PathBuf::from(TOKENS), Arc::new(TokenTable::parse(&line).unwrap()))]),
    };
    let token = signer.token(CLAIMS);
    let cases = [
        (format!("Authorization: Bearer {token}\r\n"), "login/alice"),
        (format!("Cookie: session={token}\r\n"), "login/alice"),
        (format!("Authorization: Bearer {token}\r\nCookie: session=other\r\n"), "login/alice"),
        (format!("Cookie: other={token}\r\n"), "credential_missing"),
        (format!("Authorization: Bearer {token}x\r\n"), "token_signature"),
        (format!("Authorization: Bearer {WORD}\r\n"), "token_malformed"),
        (format!("Sec-WebSocket-Protocol: bearer, {WORD}\r\n"), "credential_missing"),
        (format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"), "credential_ambiguous"),
        (String::new(), "credential_missing"),
    ];
    for (fields, expected) in &cases {
        let screened = screened("POST", &format!("{APP}{fields}")).unwrap();
        let got = match prove_call(&screened, &keys, NOW) {
            Ok((principal, _)) => principal.name().unwrap(),
            Err(refusal) => String::from(refusal.reason.code()),
        };
        assert_eq!(got, *expected, "{fields}");
    }
    for lenient in [Auth::Backend, Auth::Open] {
        let screened = screen_call(call("POST", "/chat", APP), &transport(), &policies(vec![lenient])).unwrap();
        let refusal = prove_call(&screened, &keys, NOW).unwrap_err();
        assert_eq!(refusal.reason, Reason::CredentialMissing, "nobody is no one who can buy");
    }
}
