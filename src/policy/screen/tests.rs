use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::policy::auth::TokenRules;
use crate::policy::balance::Balancing;
use crate::policy::forward::{CredentialForwarding, HostHeader, PathRule, Upstream};
use crate::policy::origin::{MissingOrigin, OriginRules, OriginSet};
use crate::policy::quota::{NetworkRules, Quotas};
use crate::policy::route::Route;
use crate::session::rules::{Extensions, SessionRules};
use crate::ws::head::{HeadLimits, parse_request};
use crate::ws::opening::judge_request;

fn policy(name: &str, hosts: &[&str], paths: &[&str]) -> Policy {
    let mut allow = OriginSet::default();
    allow.insert("https://app.example.com").unwrap();
    Policy {
        name: PolicyName::new(name),
        route: Route {
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            paths: paths.iter().map(|path| path.parse().unwrap()).collect(),
            subprotocols: None,
        },
        upstream: Upstream {
            servers: Vec::new(),
            balancing: Balancing::default(),
            host: HostHeader::Client,
            path: PathRule::AsSent,
            headers: Vec::new(),
            cookies: Vec::new(),
            credential: CredentialForwarding::Strip,
            identity: Vec::new(),
            extensions: Extensions::Strip,
            connections_per_server: None,
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            authorities_pem: None,
        },
        origin: OriginRules { allow, missing: MissingOrigin::Cookieless },
        tell: Telling::Status,
        auth: vec![Auth::Open],
        quotas: Quotas {
            connections: None,
            connections_per_address: 256,
            connections_per_subject: 20,
            handshakes_per_subject: "1/s burst 40".parse().unwrap(),
            networks: NetworkRules { allow: Vec::new(), deny: vec!["203.0.113.0/24".parse().unwrap()] },
        },
        session: Arc::new(SessionRules::default()),
        dangers: BTreeMap::new(),
    }
}

fn set(policies: Vec<Policy>) -> Result<PolicySet, Overlap> {
    PolicySet::new(policies.into_iter().map(Arc::new).collect())
}

fn find<'p>(policies: &'p PolicySet, host: &str, path: &str) -> Option<&'p Arc<Policy>> {
    policies.host(host)?.find(path)
}

/// An honest handshake, as a client and as the transport see it; a case changes one fact.
struct Arrival {
    host: &'static str,
    target: &'static str,
    fields: Vec<(&'static str, &'static str)>,
    transport: Transport,
}

impl Arrival {
    fn honest() -> Self {
        Self {
            host: "chat.example.com",
            target: "/chat",
            fields: vec![("Origin", "https://app.example.com")],
            transport: Transport {
                client: ClientAddr::new("198.51.100.7".parse().unwrap()),
                server_name: Some("chat.example.com".into()),
                client_certificate: false,
            },
        }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, value));
        self
    }

    fn without_origin() -> Self {
        Self { fields: Vec::new(), ..Self::honest() }
    }

    fn screen(&self, policies: &PolicySet) -> Result<Screened, Refusal> {
        let fields: String = self.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n",
            self.target, self.host
        );
        let limits = HeadLimits { bytes: 16_384, fields: 64, target: 8_192 };
        let opening = judge_request(parse_request(head.as_bytes(), &limits).unwrap()).unwrap();
        screen(opening, &self.transport, policies)
    }

    fn reason(&self, policies: &PolicySet) -> Option<Reason> {
        self.screen(policies).err().map(|refusal| refusal.reason)
    }
}

/// `Arrival::honest` passes: the twin of every refusal.
#[test]
fn one_wrong_fact_is_screened_out() {
    let policies = set(vec![policy("chat", &["chat.example.com", "other.example.com"], &["/chat"])]).unwrap();
    let arrive = Arrival::honest;
    let transport = |edit: fn(&mut Transport)| {
        let mut arrival = Arrival::without_origin();
        edit(&mut arrival.transport);
        arrival
    };
    let no_origin = Arrival::without_origin;
    let cases = [
        ("HS16 twin", arrive(), None),
        ("HS16 twin", Arrival { host: "Chat.Example.com:8443", ..arrive() }, None),
        ("HS16", Arrival { host: "evil.example", ..arrive() }, Some(Reason::HostNotServed)),
        ("HS16", Arrival { host: "other.example.com", ..arrive() }, Some(Reason::HostNotSni)),
        ("HS16 twin", transport(|it| it.server_name = Some("CHAT.example.com".into())), None),
        ("HS16 twin", transport(|it| it.server_name = None), None),
        (
            "OR22",
            Arrival { host: "evil", ..arrive() }.with("Referer", "https://app.example.com/"),
            Some(Reason::HostNotServed),
        ),
        ("HS18", Arrival { target: "/chat/", ..arrive() }, Some(Reason::PathNotServed)),
        ("HS18", Arrival { target: "/Chat", ..arrive() }, Some(Reason::PathNotServed)),
        ("HS18 twin", Arrival { target: "/chat?x=/../", ..arrive() }, None),
        (
            "networks",
            transport(|it| it.client = ClientAddr::new("203.0.113.9".parse().unwrap())),
            Some(Reason::NetworkNotAllowed),
        ),
        ("OR01 twin", no_origin(), None),
        ("OR01", no_origin().with("Cookie", "session=x"), Some(Reason::OriginMissing)),
        ("OR01", no_origin().with("Authorization", "Basic dTpw"), Some(Reason::OriginMissing)),
        ("OR01", no_origin().with("Authorization", "bAsIc dTpw"), Some(Reason::OriginMissing)),
        ("OR01", no_origin().with("Authorization", "Negotiate x"), Some(Reason::OriginMissing)),
        ("OR01", no_origin().with("Authorization", "HOBA x"), Some(Reason::OriginMissing)),
        ("OR01", no_origin().with("Authorization", "Bearerx"), Some(Reason::OriginMissing)),
        ("OR01", no_origin().with("Authorization", ""), Some(Reason::OriginMissing)),
        ("OR01 twin", no_origin().with("Authorization", "bearer x"), None),
        ("OR01 twin", no_origin().with("Authorization", "Bearer x"), None),
        ("OR01", transport(|it| it.client_certificate = true), Some(Reason::OriginMissing)),
        (
            "OR22",
            no_origin().with("Cookie", "a=b").with("Referer", "https://app.example.com/"),
            Some(Reason::OriginMissing),
        ),
        ("OR03", no_origin().with("Origin", ""), Some(Reason::OriginNotAllowed)),
        ("OR02", no_origin().with("Origin", "null"), Some(Reason::OriginNotAllowed)),
        ("OR22", no_origin().with("Origin", "https://chat.example.com"), Some(Reason::OriginNotAllowed)),
        (
            "OR22",
            no_origin().with("Origin", "http://evil").with("X-Forwarded-Host", "app.example.com"),
            Some(Reason::OriginNotAllowed),
        ),
        ("OR25 twin", arrive().with("Cookie", "session=x"), None),
        ("OR24", arrive().with("Sec-Fetch-Mode", "navigate"), Some(Reason::FetchMetadata)),
        (
            "OR24",
            arrive().with("Sec-Fetch-Mode", "websocket").with("Sec-Fetch-Mode", "cors"),
            Some(Reason::FetchMetadata),
        ),
        ("OR24 twin", arrive().with("Sec-Fetch-Mode", "websocket").with("Sec-Fetch-Site", "cross-site"), None),
    ];
    for (id, arrival, expected) in &cases {
        assert_eq!(arrival.reason(&policies), *expected, "{id} {} {:?}", arrival.host, arrival.fields);
    }
    assert_eq!(cases.len(), 31);
}

#[test]
fn cheaper_judgements_come_first() {
    let policies = set(vec![policy("chat", &["chat.example.com", "other.example.com"], &["/chat"])]).unwrap();
    let mut arrival = Arrival::without_origin().with("Origin", "https://evil.example").with("Sec-Fetch-Mode", "cors");
    (arrival.host, arrival.target) = ("evil.example", "/other");
    arrival.transport.client = ClientAddr::new("203.0.113.9".parse().unwrap());
    assert_eq!(arrival.reason(&policies), Some(Reason::HostNotServed));
    arrival.host = "other.example.com";
    assert_eq!(arrival.reason(&policies), Some(Reason::HostNotSni));
    arrival.host = "chat.example.com";
    assert_eq!(arrival.reason(&policies), Some(Reason::PathNotServed));
    arrival.target = "/chat";
    assert_eq!(arrival.reason(&policies), Some(Reason::NetworkNotAllowed));
    arrival.transport.client = Arrival::honest().transport.client;
    assert_eq!(arrival.reason(&policies), Some(Reason::OriginNotAllowed));
    arrival.fields[0].1 = "https://app.example.com";
    assert_eq!(arrival.reason(&policies), Some(Reason::FetchMetadata));
    arrival.fields[1].1 = "websocket";
    assert_eq!(arrival.reason(&policies), None);
}

#[test]
fn the_most_specific_route_wins() {
    let policies = set(vec![
        policy("exact", &["chat.example.com"], &["/chat", "/a/b"]),
        policy("folder", &["chat.example.com"], &["/chat/*", "/a/*"]),
        policy("deeper", &["chat.example.com"], &["/chat/rooms/*"]),
        policy("wild", &["*.example.com"], &["/*"]),
        policy("apex", &["example.com"], &["/"]),
    ])
    .unwrap();
    let cases = [
        ("chat.example.com", "/chat", Some("exact")),
        ("chat.example.com", "/a/b", Some("exact")),
        ("chat.example.com", "/a/b/", None),
        ("chat.example.com", "/chat/", None),
        ("chat.example.com", "/chat/x", Some("folder")),
        ("chat.example.com", "/chat/rooms", None),
        ("chat.example.com", "/chat/rooms/", Some("deeper")),
        ("chat.example.com", "/chat/rooms/1/2", Some("deeper")),
        ("chat.example.com", "/chatter", None),
        ("chat.example.com", "/", None),
        ("other.example.com", "/anything", Some("wild")),
        ("other.example.com", "/", Some("wild")),
        ("a.b.example.com", "/", None),
        ("example.com", "/", Some("apex")),
        ("example.com", "/x", None),
        (".example.com", "/", Some("wild")),
        ("evilexample.com", "/", None),
        ("localhost", "/", None),
    ];
    for (host, path, expected) in cases {
        let found = find(&policies, host, path).map(|policy| policy.name.as_str());
        assert_eq!(found, expected, "{host}{path}");
    }
    assert_eq!(policies.iter().count(), 5);
}

/// A service often reads `/ADMIN` and `/admin/` as `/admin`: neither slips past a strict policy to a lax one.
#[test]
fn hs18_no_other_spelling_of_a_path_falls_to_another_policy() {
    type Case = (&'static [&'static str], &'static [&'static str], &'static str, Option<&'static str>);
    let cases: &[Case] = &[
        (&["/admin"], &["/*"], "/admin", Some("strict")),
        (&["/admin"], &["/*"], "/ADMIN", None),
        (&["/admin"], &["/*"], "/admin/", None),
        (&["/admin"], &["/*"], "/Admin/", None),
        (&["/admin"], &["/*"], "/admin/x", Some("lax")),
        (&["/admin"], &["/*"], "/admins", Some("lax")),
        (&["/admin/"], &["/*"], "/admin", None),
        (&["/admin/*"], &["/*"], "/admin/x", Some("strict")),
        (&["/admin/*"], &["/*"], "/aDmin/x", None),
        (&["/admin/*"], &["/*"], "/ADMIN/", None),
        (&["/admin/*"], &["/*"], "/admin", None),
        (&["/admin/*"], &["/*"], "/", Some("lax")),
        (&["/admin/*"], &["/*"], "/other", Some("lax")),
        (&["/admin/*"], &["/*", "/admin/public/*"], "/admin/public/x", Some("lax")),
        (&["/admin/*"], &["/*", "/admin/public/*"], "/ADMIN/public/x", Some("lax")),
        (&["/admin/*"], &["/*", "/ADMIN/*"], "/ADMIN/x", Some("lax")),
        (&["/admin/*"], &["/*", "/ADMIN/*"], "/Admin/x", None),
        (&["/admin"], &["/*", "/ADMIN"], "/ADMIN", Some("lax")),
        (&["/admin"], &["/*", "/ADMIN"], "/Admin", None),
        (&["/admin", "/*"], &["/lax"], "/ADMIN", Some("strict")),
    ];
    for (strict, lax, path, expected) in cases {
        for order in [[("strict", strict), ("lax", lax)], [("lax", lax), ("strict", strict)]] {
            let both = order.map(|(name, paths)| policy(name, &["chat.example.com"], paths));
            let policies = set(both.into()).unwrap();
            let found = find(&policies, "chat.example.com", path).map(|policy| policy.name.as_str());
            assert_eq!(found, *expected, "{path} of {strict:?} and {lax:?}");
        }
    }
    assert_eq!(cases.len(), 20);
}

#[test]
fn or21_a_route_is_found_alike_among_any_number() {
    for size in [1, 100, 101, 10_000] {
        let hosts: Vec<String> = (0..size).map(|number| format!("host-{number}.example.com")).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let policies = set(vec![policy("many", &hosts, &["/chat"])]).unwrap();
        assert!(find(&policies, "host-0.example.com", "/chat").is_some());
        for host in ["HOST-0.example.com", "host-0.example.com.", "host-0", "host-10000.example.com"] {
            assert!(find(&policies, host, "/chat").is_none(), "{host} among {size}");
        }
    }
}

#[test]
fn two_policies_cannot_claim_one_path() {
    let cases = [
        (["a.example", "/chat"], ["a.example", "/chat"], true),
        (["a.example", "/chat/*"], ["a.example", "/chat/*"], true),
        (["*.a.example", "/"], ["*.a.example", "/"], true),
        (["a.example", "/chat"], ["b.example", "/chat"], false),
        (["a.example", "/chat"], ["a.example", "/chat/*"], false),
        (["a.example", "/chat/"], ["a.example", "/chat/*"], false),
        (["b.a.example", "/"], ["*.a.example", "/"], false),
    ];
    for ([host, path], [other_host, other_path], overlaps) in cases {
        let both = set(vec![policy("one", &[host], &[path]), policy("two", &[other_host], &[other_path])]);
        assert_eq!(both.is_err(), overlaps, "{host}{path} {other_host}{other_path}");
        if let Err(overlap) = both {
            let text = overlap.to_string();
            assert!(text.contains("`one`") && text.contains("`two`") && text.contains(host), "{text}");
        }
    }
    assert!(set(vec![policy("one", &["a.example", "a.example"], &["/", "/"])]).is_ok());
}

#[test]
fn subprotocols_are_reduced_to_the_listed_ones() {
    let mut with_list = policy("chat", &["chat.example.com"], &["/chat"]);
    with_list.route.subprotocols = Some(vec!["chat.v2".into(), "chat.v1".into()]);
    with_list.auth = vec![Auth::Token(TokenRules {
        tokens: "chat.tokens".into(),
        from: vec![Carrier::Query("token".into()), Carrier::Subprotocol("bearer".into())],
    })];
    let policies = set(vec![with_list, policy("any", &["chat.example.com"], &["/any"])]).unwrap();
    let cases: [(&str, &str, Option<&[&str]>); 14] = [
        ("/chat", "chat.v1", Some(&["chat.v1"])),
        ("/chat", "chat.v1, chat.v2", Some(&["chat.v1", "chat.v2"])),
        ("/chat", "other, chat.v1", Some(&["chat.v1"])),
        ("/chat", "bearer, secret", Some(&["bearer", "secret"])),
        ("/chat", "bearer, secret, chat.v1", Some(&["bearer", "secret", "chat.v1"])),
        ("/chat", "chat.v1, bearer, secret, other", Some(&["chat.v1", "bearer", "secret"])),
        ("/chat", "chat.v1, bearer", Some(&["chat.v1", "bearer"])),
        ("/chat", "other", None),
        ("/chat", "Chat.v1", None),
        ("/chat", "other, bearer, secret", None),
        ("/chat", "secret, bearer, other, x", None),
        ("/chat", "bearer, chat.v1", Some(&["bearer", "chat.v1"])),
        ("/any", "other", Some(&["other"])),
        ("/any", "a, b", Some(&["a", "b"])),
    ];
    for (target, offer, expected) in cases {
        let arrival = Arrival { target, ..Arrival::honest() }.with("Sec-WebSocket-Protocol", offer);
        match (arrival.screen(&policies), expected) {
            (Ok(screened), Some(expected)) => assert_eq!(screened.opening.subprotocols, expected, "{offer}"),
            (Err(refusal), None) => {
                assert_eq!(refusal.reason, Reason::SubprotocolNotAllowed, "{offer}");
                assert!(!refusal.detail.unwrap().contains("secret"), "a refusal may not show a token");
            }
            (verdict, _) => panic!("{offer}: {verdict:?}"),
        }
    }
    assert_eq!(Arrival::honest().reason(&policies), None, "nothing offered at all");
}
