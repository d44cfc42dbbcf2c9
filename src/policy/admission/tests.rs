use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::policy::PolicyName;
use crate::policy::auth::TicketRules;
use crate::policy::auth::algorithm::Algorithm;
use crate::policy::auth::fixtures::{CLAIMS, NOW, Signer, rules};
use crate::policy::auth::token::{TokenTable, digest_hex};
use crate::policy::balance::Balancing;
use crate::policy::credential::tests::handshake;
use crate::policy::forward::{HostHeader, PathRule, Server, ServerHost, Upstream};
use crate::policy::origin::{MissingOrigin, OriginRules, OriginSet};
use crate::policy::quota::{NetworkRules, Quotas};
use crate::policy::route::Route;
use crate::policy::screen::Telling;
use crate::session::SessionRules;
use crate::session::rules::Extensions;

pub(in crate::policy) const WORD: &str = "Zm9vYmFyLWJhei1xdXV4LTEyMzQ1Njc4";

/// A policy with these ways to prove who one is, for `/chat` on one server.
pub(in crate::policy) fn policy(auth: Vec<Auth>, credential: CredentialForwarding) -> Policy {
    let address = "127.0.0.1:9001".parse().unwrap();
    Policy {
        name: PolicyName::new("chat"),
        route: Route { hosts: Vec::new(), paths: Vec::new(), subprotocols: None },
        upstream: Upstream {
            servers: vec![Server {
                name: String::from("ws://127.0.0.1:9001"),
                tls: false,
                host: ServerHost::Address(address),
                port: 9001,
            }],
            balancing: Balancing::default(),
            host: HostHeader::Client,
            path: PathRule::AsSent,
            headers: Vec::new(),
            cookies: Vec::new(),
            credential,
            identity: Vec::new(),
            extensions: Extensions::Strip,
            connections_per_server: None,
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            authorities_pem: None,
        },
        origin: OriginRules { allow: OriginSet::default(), missing: MissingOrigin::Refuse },
        tell: Telling::Status,
        auth,
        quotas: Quotas {
            connections: None,
            connections_per_address: 1,
            connections_per_subject: 1,
            handshakes_per_subject: "1/s".parse().unwrap(),
            networks: NetworkRules::default(),
        },
        session: Arc::new(SessionRules::default()),
        dangers: BTreeMap::new(),
    }
}

/// An admission of this handshake as this principal, for tests of what follows.
pub(in crate::policy) fn admission(
    opening: OpeningHandshake,
    policy: Policy,
    claims: Option<Map<String, Value>>,
    carrier: Option<Carrier>,
) -> Admission {
    let principal = claims.map_or(Principal::Deferred, |claims| {
        Principal::Verified(Verified {
            issuer: Arc::from("login"),
            subject: String::from("alice"),
            session_until: None,
            issued_at: None,
            claims,
            token: Secret::new(String::from("t0k3n")),
            _witness: Witness,
        })
    });
    let subprotocol_marker = match &carrier {
        Some(Carrier::Subprotocol(marker)) => Some(marker.clone()),
        _ => None,
    };
    let origin = AllowedOrigin::for_tests(opening.origin.as_deref());
    Admission {
        opening,
        policy: Arc::new(policy),
        origin,
        ambient: AmbientCredential::None,
        principal,
        proved_by: carrier.clone(),
        carrier,
        session: None,
        judged_at: NOW,
        subprotocol_marker,
        _witness: Witness,
    }
}

fn jwt_rule(from: &[&str]) -> JwtRules {
    JwtRules { from: from.iter().map(|word| word.parse().unwrap()).collect(), ..rules() }
}

fn token_rule(file: &str) -> Auth {
    Auth::Token(TokenRules { tokens: PathBuf::from(file), from: vec![Carrier::Query(String::from("token"))] })
}

struct Bench {
    signer: Signer,
    keys: Keys,
}

impl Bench {
    fn new() -> Self {
        let signer = Signer::new(Algorithm::Hs256);
        let line = |until: u64| format!("{} bob use_until={until} session_until=1900000000\n", digest_hex(WORD));
        let table = |until: u64| Arc::new(TokenTable::parse(&line(until)).unwrap());
        let keys = Keys {
            issuers: HashMap::from([(Arc::from("login"), Arc::new(signer.issuer()))]),
            token_tables: HashMap::from([
                (PathBuf::from("policies/chat.tokens"), table(1_850_000_000)),
                (PathBuf::from("old.tokens"), table(1)),
                (PathBuf::from("empty.tokens"), Arc::default()),
            ]),
        };
        Self { signer, keys }
    }

    fn authorize(&self, auth: &[Auth], query: Option<&str>, fields: &[(&str, &str)]) -> Result<Admission, Refusal> {
        let opening = handshake(query, fields);
        let presented = credential::find(&opening, &carriers(auth))?;
        let principal = prove_presented(presented.as_ref(), auth, &self.keys, NOW)?;
        let carrier = presented.map(|presented| presented.carrier);
        let origin = AllowedOrigin::for_tests(None);
        let policy = Arc::new(policy(auth.to_vec(), CredentialForwarding::Strip));
        let admission = authorize(Screened::for_tests(opening, policy, origin), &self.keys, NOW)?;
        assert_eq!(admission.carrier, carrier);
        assert_eq!(format!("{:?}", admission.principal), format!("{principal:?}"));
        Ok(admission)
    }

    fn told(&self, auth: &[Auth], query: Option<&str>, fields: &[(&str, &str)]) -> String {
        match self.authorize(auth, query, fields).map(|admission| admission.principal) {
            Ok(Principal::Verified(verified)) => format!("{}/{}", verified.issuer, verified.subject),
            Ok(Principal::Deferred) => String::from("deferred"),
            Ok(Principal::Anonymous) => String::from("anonymous"),
            Err(refusal) => String::from(refusal.reason.code()),
        }
    }
}

#[test]
fn any_one_of_several_ways_is_enough() {
    let bench = Bench::new();
    let jwt = Auth::Jwt(jwt_rule(&["authorization", "query:token"]));
    let both = [jwt, token_rule("policies/chat.tokens")];
    let token = bench.signer.token(CLAIMS);
    let in_query = format!("token={token}");
    let in_header = format!("Bearer {token}");
    let word = format!("token={WORD}");
    assert_eq!(bench.told(&both, Some(&in_query), &[]), "login/alice");
    assert_eq!(bench.told(&both, None, &[("authorization", &in_header)]), "login/alice");
    assert_eq!(bench.told(&both, Some(&word), &[]), "tokens:chat/bob");
    assert_eq!(bench.told(&both, Some(&word), &[("authorization", &in_header)]), "credential_ambiguous");
    let elsewhere = [Auth::Jwt(jwt_rule(&["authorization"])), token_rule("policies/chat.tokens")];
    assert_eq!(bench.told(&elsewhere, Some(&in_query), &[]), "token_unknown", "a JWT where only words may stand");
}

#[test]
fn au01_or25_without_a_credential_only_the_lenient_pass() {
    let bench = Bench::new();
    let jwt = || Auth::Jwt(jwt_rule(&["authorization"]));
    let cookie = [("cookie", "session=whatever")];
    let cases: Vec<(Vec<Auth>, &str)> = vec![
        (vec![jwt()], "credential_missing"),
        (vec![], "credential_missing"),
        (vec![jwt(), Auth::Backend], "deferred"),
        (vec![Auth::Open, Auth::Backend], "anonymous"),
    ];
    for (auth, expected) in &cases {
        assert_eq!(bench.told(auth, None, &[]), *expected, "{auth:?}");
        assert_eq!(bench.told(auth, None, &cookie), *expected, "a cookie that no rule names changes nothing");
    }
    assert_eq!(cases.len(), 4);
    let named = Auth::Jwt(jwt_rule(&["cookie:session"]));
    assert_eq!(bench.told(std::slice::from_ref(&named), None, &cookie), "token_malformed");
    let good = format!("session={}", bench.signer.token(CLAIMS));
    assert_eq!(bench.told(&[named], None, &[("cookie", &good)]), "login/alice");
}

#[test]
fn a_bad_credential_is_refused_where_none_would_pass() {
    let bench = Bench::new();
    for lenient in [Auth::Backend, Auth::Open] {
        let auth = [Auth::Jwt(jwt_rule(&["authorization"])), lenient];
        assert_eq!(bench.told(&auth, None, &[("authorization", "Bearer forged")]), "token_malformed");
        assert_eq!(bench.told(&auth, None, &[("authorization", "Basic YTpi")]), "credential_malformed");
        let good = format!("Bearer {}", bench.signer.token(CLAIMS));
        assert_eq!(bench.told(&auth, None, &[("authorization", &good)]), "login/alice");
    }
}

#[test]
fn the_refusal_is_that_of_the_rule_that_came_furthest() {
    let bench = Bench::new();
    let jwt = |change: fn(&mut JwtRules)| {
        let mut rules = jwt_rule(&["query:token"]);
        change(&mut rules);
        Auth::Jwt(rules)
    };
    let other_audience = || jwt(|rules| rules.audience = vec![String::from("mail")]);
    let short_life = || jwt(|rules| rules.max_life = Duration::from_secs(1));
    let no_keys = || jwt(|rules| rules.issuer = Arc::from("unread"));
    let strict = || jwt(|rules| rules.require.iter_mut().for_each(|rule| rule.any_of = vec![String::from("admin")]));
    let token = format!("token={}", bench.signer.token(CLAIMS));
    let word = format!("token={WORD}");
    let cases: Vec<(Vec<Auth>, &str, &str)> = vec![
        (vec![other_audience()], &token, "token_audience"),
        (vec![other_audience(), strict()], &token, "claim_required"),
        (vec![strict(), other_audience(), token_rule("empty.tokens")], &token, "claim_required"),
        (vec![short_life(), other_audience()], &token, "token_audience"),
        (vec![other_audience(), short_life()], &token, "token_audience"),
        (vec![no_keys()], &token, "keys_unavailable"),
        (vec![token_rule("empty.tokens"), no_keys()], &token, "keys_unavailable"),
        (vec![no_keys(), other_audience()], &token, "token_audience"),
        (vec![no_keys(), jwt(|_| {})], &token, "login/alice"),
        (vec![token_rule("unread.tokens")], &word, "keys_unavailable"),
        (vec![jwt(|_| {}), token_rule("old.tokens")], &word, "token_expired"),
        (vec![token_rule("empty.tokens"), jwt(|_| {})], &word, "token_unknown"),
        (vec![jwt(|_| {}), token_rule("empty.tokens")], &word, "token_malformed"),
    ];
    for (auth, query, expected) in &cases {
        assert_eq!(bench.told(auth, Some(query), &[]), *expected);
    }
    assert_eq!(cases.len(), 13);
}

#[test]
fn au22_au23_an_admission_holds_no_token_in_sight() {
    let bench = Bench::new();
    let auth = [Auth::Jwt(jwt_rule(&["subprotocol:bearer", "query:token"])), token_rule("policies/chat.tokens")];
    let token = bench.signer.token(CLAIMS);
    let offer = format!("bearer, {token}, chat.v2");
    let admission = bench.authorize(&auth, None, &[("sec-websocket-protocol", &offer)]).unwrap();
    assert_eq!(admission.subprotocol_marker.as_deref(), Some("bearer"));
    assert_eq!(admission.opening.subprotocols, ["chat.v2"]);
    assert!(!format!("{admission:?}").contains(&token));
    let Principal::Verified(verified) = &admission.principal else { panic!("{:?}", admission.principal) };
    assert_eq!(verified.session_until, Some(UnixSeconds(1_800_000_605)));
    assert_eq!(verified.token.expose(), &token);

    let admission = bench.authorize(&auth, Some(&format!("a=1&token={WORD}")), &[]).unwrap();
    assert_eq!(admission.opening.query.as_deref(), Some("a=1"));
    assert_eq!(admission.subprotocol_marker, None);
    let Principal::Verified(verified) = &admission.principal else { panic!("{:?}", admission.principal) };
    assert_eq!(verified.session_until, Some(UnixSeconds(1_900_000_000)));
    assert_eq!(verified.claims.get("sub").and_then(Value::as_str), Some("bob"));
}

/// A ticket that this word bought, for the handshake of [`handshake`].
fn sold(word: &str, place: Place) -> Sold {
    let credential = credential::Presented {
        carrier: Carrier::Cookie(String::from("session")),
        token: Secret::new(String::from(word)),
    };
    Sold { place, credential, session: SessionId::from_bytes([9; 16]) }
}

#[test]
fn au26_a_ticket_is_good_for_what_bought_it_where_it_was_bought_for() {
    let bench = Bench::new();
    let ways = [
        Auth::Jwt(jwt_rule(&["cookie:session"])),
        Auth::Ticket(TicketRules { from: vec!["query:ticket".parse().unwrap()] }),
    ];
    let mut as_sent = policy(ways.to_vec(), CredentialForwarding::AsSent);
    let good = bench.signer.token(CLAIMS);
    let origin = AllowedOrigin::for_tests(Some("https://app.example.com"));
    let opening = handshake(Some("a=1&ticket=w0rd"), &[("cookie", "session=another")]);
    let place =
        |name: &PolicyName, path: &str, origin: &AllowedOrigin| Place::new(name, &opening.authority.host, path, origin);
    let here = place(&as_sent.name, &opening.path, &origin);
    let spent = bench.signer.token(&CLAIMS.replace("1799999990", "1699999990").replace("1800000600", "1700000600"));
    type Case = (&'static str, Option<Sold>, &'static str);
    let cases: [Case; 8] = [
        ("a good one", Some(sold(&good, here.clone())), "login/alice"),
        ("one that nobody sold", None, "ticket_unknown"),
        (
            "another policy's",
            Some(sold(&good, place(&PolicyName::new("talk"), &opening.path, &origin))),
            "ticket_unknown",
        ),
        ("another path's", Some(sold(&good, place(&as_sent.name, "/chat", &origin))), "ticket_unknown"),
        (
            "another page's",
            Some(sold(
                &good,
                place(&as_sent.name, &opening.path, &AllowedOrigin::for_tests(Some("https://b.example"))),
            )),
            "ticket_unknown",
        ),
        (
            "a program's",
            Some(sold(&good, place(&as_sent.name, &opening.path, &AllowedOrigin::for_tests(None)))),
            "ticket_unknown",
        ),
        ("what bought it ran out", Some(sold(&spent, here.clone())), "token_expired"),
        ("what bought it is good no longer", Some(sold(&format!("{good}x"), here.clone())), "token_signature"),
    ];
    let mut ran = 0;
    for (name, mut sold, expected) in cases {
        let screened = Screened::for_tests(opening.clone(), Arc::new(as_sent.clone()), origin.clone());
        let mut asked = Vec::new();
        let judged = authorize_with_tickets(screened, &bench.keys, NOW, |word| {
            asked.push(String::from(word));
            sold.take()
        });
        assert_eq!(asked, ["w0rd"], "{name}: asked once");
        let got = match judged {
            Ok(admission) => {
                assert_eq!(admission.carrier, Some("query:ticket".parse().unwrap()));
                assert_eq!(admission.proved_by, Some("cookie:session".parse().unwrap()));
                assert_eq!(admission.session, Some(SessionId::from_bytes([9; 16])));
                assert_eq!(admission.opening.query.as_deref(), Some("a=1"), "a ticket is never passed on");
                admission.principal.name().unwrap()
            }
            Err(refusal) => String::from(refusal.reason.code()),
        };
        assert_eq!(got, expected, "{name}");
        ran += 1;
    }
    assert_eq!(ran, 8);
    as_sent.auth.remove(0);
    let screened = Screened::for_tests(opening.clone(), Arc::new(as_sent), origin);
    let refusal = authorize_with_tickets(screened, &bench.keys, NOW, |_| Some(sold(&good, here.clone()))).unwrap_err();
    assert_eq!(refusal.reason, Reason::CredentialMissing, "the way that it was bought by is gone");
}

#[test]
fn au26_a_ticket_that_was_shown_is_used_up_whatever_it_is_refused_for() {
    let bench = Bench::new();
    let ticket = Auth::Ticket(TicketRules { from: vec!["query:ticket".parse().unwrap(), "query:t".parse().unwrap()] });
    let policy = Arc::new(policy(vec![Auth::Jwt(jwt_rule(&["authorization"])), ticket], CredentialForwarding::Strip));
    let id = "wsgate_session=f81d4fae-7dec-41d0-a765-00a0c91e6bf6";
    let bearer = [("authorization", "Bearer x")];
    let twice = [("authorization", "Bearer x"), ("authorization", "Bearer x")];
    type Case<'c> = (String, &'c [(&'c str, &'c str)], &'c [&'c str], Reason);
    let cases: [Case<'_>; 8] = [
        (format!("ticket=a&{id}"), &[], &["a"], Reason::SessionIdMalformed),
        (format!("ticket=a&{id}&{id}"), &[], &["a"], Reason::SessionIdMalformed),
        (String::from("ticket=a"), &bearer, &["a"], Reason::CredentialAmbiguous),
        (String::from("ticket=a"), &twice, &["a"], Reason::CredentialAmbiguous),
        (String::from("ticket=a&%74icket=%62"), &[], &["a", "b"], Reason::CredentialAmbiguous),
        (String::from("ticket=a&t=b"), &[], &["a", "b"], Reason::CredentialAmbiguous),
        (String::from("ticket=a&x=b"), &[], &["a"], Reason::TicketUnknown),
        (String::from("x=a"), &[], &[], Reason::CredentialMissing),
    ];
    for (query, fields, used, reason) in &cases {
        let opening = handshake(Some(query), fields);
        let screened = Screened::for_tests(opening, Arc::clone(&policy), AllowedOrigin::for_tests(None));
        let mut asked = Vec::new();
        let judged = authorize_with_tickets(screened, &bench.keys, NOW, |word| {
            asked.push(String::from(word));
            None
        });
        assert_eq!(judged.unwrap_err().reason, *reason, "{query}");
        assert_eq!(asked, *used, "{query}");
    }
    assert_eq!(cases.len(), 8);
}
