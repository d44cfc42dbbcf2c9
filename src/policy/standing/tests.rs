use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::policy::admission::authorize;
use crate::policy::admission::tests::{WORD, policy};
use crate::policy::auth::algorithm::Algorithm;
use crate::policy::auth::fixtures::{CLAIMS, NOW, Signer, rules};
use crate::policy::auth::token::{TokenTable, digest_hex};
use crate::policy::auth::{Auth, JwtRules, TokenRules};
use crate::policy::credential::Carrier;
use crate::policy::credential::tests::handshake;
use crate::policy::forward::CredentialForwarding;
use crate::policy::origin::{MissingOrigin, OriginRules, OriginSet};
use crate::policy::route::{HostPattern, PathPattern};
use crate::policy::screen::{Transport, screen};
use crate::secret::Secret;

const TOKENS: &str = "chat.tokens";

/// A policy before it is indexed.
type Change = fn(&mut Policy);

fn plain() -> Policy {
    let query = Carrier::Query(String::from("token"));
    let ways = vec![
        Auth::Jwt(JwtRules { from: vec![Carrier::Authorization], ..rules() }),
        Auth::Token(TokenRules { tokens: PathBuf::from(TOKENS), from: vec![query] }),
    ];
    let mut policy = policy(ways, CredentialForwarding::Strip);
    policy.route.hosts = vec![HostPattern::parse("chat.example.com").unwrap()];
    policy.route.paths = vec![PathPattern::parse("/chat/*").unwrap()];
    let mut allow = OriginSet::default();
    allow.insert("https://app.example.com").unwrap();
    policy.origin = OriginRules { allow, missing: MissingOrigin::Refuse };
    policy
}

fn set_of(policies: Vec<Policy>) -> PolicySet {
    PolicySet::new(policies.into_iter().map(Arc::new).collect()).unwrap()
}

fn changed(change: impl FnOnce(&mut Policy)) -> PolicySet {
    let mut policy = plain();
    change(&mut policy);
    set_of(vec![policy])
}

fn line(subject: &str, rest: &str) -> String {
    format!("{} {subject} {rest}\n", digest_hex(WORD))
}

fn keys(signer: &Signer, tokens: &str) -> Keys {
    Keys {
        issuers: HashMap::from([(Arc::from("login"), Arc::new(signer.issuer()))]),
        token_tables: HashMap::from([(PathBuf::from(TOKENS), Arc::new(TokenTable::parse(tokens).unwrap()))]),
    }
}

struct Bench {
    signer: Signer,
    keys: Keys,
}

impl Bench {
    fn new() -> Self {
        let signer = Signer::new(Algorithm::Hs256);
        let keys = keys(&signer, &line("bob", "use_until=1800000010"));
        Self { signer, keys }
    }

    /// The standing of a handshake that the plain policy admits.
    fn standing(&self, word: Option<&str>, accepted: &Accepted) -> Standing {
        self.standing_with(CLAIMS, word, accepted)
    }

    /// The same with a token of these claims.
    fn standing_with(&self, claims: &str, word: Option<&str>, accepted: &Accepted) -> Standing {
        let bearer = format!("Bearer {}", self.signer.token(claims));
        let query = word.map(|word| format!("token={word}"));
        let mut fields = vec![("origin", "https://app.example.com")];
        if word.is_none() {
            fields.push(("authorization", &bearer));
        }
        let client = ClientAddr::new("203.0.113.7".parse().unwrap());
        let transport = Transport { client, server_name: None, client_certificate: false };
        let screened = screen(handshake(query.as_deref(), &fields), &transport, &changed(|_| ())).unwrap();
        Standing::new(&authorize(screened, &self.keys, NOW).unwrap(), client, accepted)
    }
}

fn told(judged: Result<Upheld, Refusal>) -> &'static str {
    judged.map_or_else(|refusal| refusal.reason.code(), |_| "upheld")
}

#[test]
fn op06_what_a_policy_no_longer_allows_stands_no_longer() {
    #[rustfmt::skip]
    let cases: [(&str, Change, &str); 14] = [
        ("nothing", |_| (), "upheld"),
        ("a limit", |policy| policy.quotas.connections = Some(0), "upheld"),
        ("its servers", |policy| policy.upstream.servers.clear(), "upheld"),
        ("the host", |policy| policy.route.hosts = vec![HostPattern::parse("other.example.com").unwrap()], "host_not_served"),
        ("the path", |policy| policy.route.paths = vec![PathPattern::parse("/talk").unwrap()], "path_not_served"),
        ("the name", |policy| policy.name = PolicyName::new("talk"), "policy_replaced"),
        ("the network", |policy| policy.quotas.networks.deny = vec!["203.0.113.0/24".parse().unwrap()], "network_not_allowed"),
        ("the origin", |policy| policy.origin.allow = OriginSet::default(), "origin_not_allowed"),
        ("the subprotocol", |policy| policy.route.subprotocols = Some(vec![String::from("chat.v2")]), "subprotocol_not_allowed"),
        ("the audience", |policy| with_jwt(policy, |rules| rules.audience = vec![String::from("mail")]), "token_audience"),
        ("a claim", |policy| with_jwt(policy, |rules| rules.require[0].any_of = vec![String::from("admin")]), "claim_required"),
        ("the carrier", |policy| with_jwt(policy, |rules| rules.from = vec![Carrier::Cookie(String::from("session"))]), "credential_missing"),
        ("the carrier, where the service judges", |policy| policy.auth = vec![Auth::Backend], "credential_missing"),
        ("the issuer", |policy| with_jwt(policy, |rules| rules.issuer = Arc::from("other")), "keys_unavailable"),
    ];
    let bench = Bench::new();
    let accepted = Accepted { subprotocol: Some(String::from("chat.v1")), extensions: None };
    let standing = bench.standing(None, &accepted);
    for (name, change, expected) in &cases {
        assert_eq!(told(standing.judge(None, &changed(*change), &bench.keys)), *expected, "{name}");
    }
    assert_eq!(cases.len(), 14);
}

fn with_jwt(policy: &mut Policy, change: fn(&mut JwtRules)) {
    let Some(Auth::Jwt(rules)) = policy.auth.first_mut() else { panic!("the first way is a JWT") };
    change(rules);
}

#[test]
fn op06_a_nearer_policy_of_the_same_path_takes_a_session_from_nobody() {
    let bench = Bench::new();
    let standing = bench.standing(None, &Accepted::default());
    let mut nearer = plain();
    nearer.name = PolicyName::new("nearer");
    nearer.route.paths = vec![PathPattern::parse("/chat/room").unwrap()];
    let both = set_of(vec![plain(), nearer]);
    assert_eq!(told(standing.judge(None, &both, &bench.keys)), "policy_replaced");
}

#[test]
fn op06_extensions_that_were_agreed_on_must_be_allowed() {
    let bench = Bench::new();
    for (extensions, expected) in [(Some("permessage-deflate"), "policy_replaced"), (None, "upheld")] {
        let accepted = Accepted { subprotocol: None, extensions: extensions.map(String::from) };
        let standing = bench.standing(None, &accepted);
        assert_eq!(told(standing.judge(None, &changed(|_| ()), &bench.keys)), expected);
        let pass = changed(|policy| policy.upstream.extensions = Extensions::Pass);
        assert_eq!(told(standing.judge(None, &pass, &bench.keys)), "upheld", "the twin");
    }
}

#[test]
fn op06_a_token_that_holds_no_longer_ends_what_it_opened() {
    let bench = Bench::new();
    let plain = changed(|_| ());
    let by_token = bench.standing(Some(WORD), &Accepted::default());
    let cases = [
        (line("bob", "use_until=1800000010"), "upheld"),
        (line("bob", "use_until=1800000001"), "upheld"),
        (line("bob", "use_until=1800000000"), "token_expired"),
        (line("alice", "use_until=1800000010"), "token_unknown"),
        (String::new(), "token_unknown"),
    ];
    for (tokens, expected) in &cases {
        assert_eq!(told(by_token.judge(None, &plain, &keys(&bench.signer, tokens))), *expected, "{tokens:?}");
    }
    assert_eq!(cases.len(), 5);
    let shorter = keys(&bench.signer, &line("bob", "use_until=1800000010 session_until=1800000005"));
    let upheld = by_token.judge(None, &plain, &shorter).unwrap();
    assert_eq!(upheld.session_until, Some(UnixSeconds(1_800_000_005)), "the lease is the one of the file");

    let by_jwt = bench.standing(None, &Accepted::default());
    let other = Signer::new(Algorithm::Es256);
    assert_eq!(told(by_jwt.judge(None, &plain, &keys(&other, ""))), "token_algorithm");
    let longer = changed(|policy| with_jwt(policy, |rules| rules.leeway = Duration::from_secs(60)));
    let upheld = by_jwt.judge(None, &longer, &bench.keys).unwrap();
    assert_eq!(upheld.session_until, Some(UnixSeconds(1_800_000_660)));
}

#[test]
fn a_standing_is_small() {
    let size = size_of::<Standing>();
    println!("a standing: {size} bytes");
    assert!(size <= 256, "{size} bytes, and the token and four words of the handshake behind it");
    let bench = Bench::new();
    assert!(!format!("{:?}", bench.standing(Some(WORD), &Accepted::default())).contains(WORD), "OP10");
}

#[test]
fn au28_a_renewal_takes_the_place_of_the_first_token_where_something_is_revoked() {
    let bench = Bench::new();
    let claims = CLAIMS.replace("\"sub\"", "\"jti\":\"first\",\"sub\"");
    let standing = bench.standing_with(&claims, None, &Accepted::default());
    let id = ConnectionId::from_bytes([7; 16]);
    let told = |renewal: Option<&Renewal>| {
        let facts = standing.facts(id, renewal);
        assert_eq!((facts.session, facts.client, facts.policy.as_str()), (id, standing.client(), "chat"));
        let Holder { issuer, subject, issued_at, token_id } = facts.holder.unwrap();
        assert_eq!((issuer, subject), ("login", "alice"));
        (issued_at.map(|at| at.0), token_id.map(String::from))
    };
    assert_eq!(told(None), (Some(1_799_999_990), Some(String::from("first"))));
    for (issued_at, token_id) in [(Some(1_799_999_999), Some("fresh")), (None, None)] {
        let renewal = Renewal {
            credential: Presented { carrier: Carrier::Authorization, token: Secret::new(String::from("t")) },
            issued_at: issued_at.map(UnixSeconds),
            token_id: token_id.map(Box::from),
            judged_at: NOW,
        };
        assert_eq!(told(Some(&renewal)), (issued_at, token_id.map(String::from)), "nothing of the first is left");
    }
}
