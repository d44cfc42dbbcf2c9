//! The suite of credentials: a strict house stands against it, and one that is weakened falls where it is weak.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use support::process::ran;
use support::{Plan, examined};
use wsgate::audit::target::Credential;
use wsgate::audit::{Outcome, Suite, auth};
use wsgate::event::{Event, Observer};
use wsgate::policy::credential::Carrier;
use wsgate::secret::Secret;

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_house_holds() {
    let typed = "[[auth]]\nby = \"jwt\"\nissuer = \"login\"\naudience = [\"chat\"]\ntyp = \"JWT\"\n\
                 from = [\"authorization\", \"subprotocol:bearer\", \"cookie:session\", \"query:access_token\"]";
    let mut examined = examined(Plan::plain().policy(typed)).await;
    let findings = examined.holds(Suite::Auth).await;
    for rule in auth::RULES {
        assert!(findings.iter().any(|finding| finding.id == rule.id), "{} is tried", rule.id);
    }
    let other: Vec<_> = findings.iter().filter(|finding| finding.outcome() != Outcome::Held).collect();
    let other: Vec<_> = other.iter().map(|finding| (finding.id, finding.name, finding.verdict.said.as_str())).collect();
    assert_eq!(other, [("AU22", "a token in the log", "needs --log")]);
}

/// The same gateway with a policy that lets more through than the one that the suite was given.
#[tokio::test(flavor = "multi_thread")]
async fn a_house_falls_where_it_is_wider_than_its_policy() {
    let wide = "[[auth]]\nby = \"jwt\"\nissuer = \"login\"\naudience = [\"chat\", \"wsgate-audit\"]\nleeway = \"5m\"\n\
                from = [\"authorization\", \"subprotocol:bearer\", \"cookie:session\", \"query:access_token\"]\n\
                [upstream]\ncredential = \"authorization\"";
    let strict = "[[auth]]\nby = \"jwt\"\nissuer = \"login\"\naudience = [\"chat\"]\nmax_life = \"10m\"\ntyp = \"JWT\"\n\
                  from = [\"authorization\", \"subprotocol:bearer\", \"cookie:session\", \"query:access_token\"]";
    let policy = examined(Plan::plain().policy(strict)).await.exam.target.policy;
    let mut examined = examined(Plan::plain().policy(wide)).await;
    examined.exam.target.policy = policy;
    assert_eq!(
        examined.fallen(Suite::Auth).await,
        [
            ("AU10", "a token of another type"),
            ("AU12", "a token that is over"),
            ("AU13", "a token that lives too long"),
            ("AU15", "a token for another audience"),
            ("AU22", "a token of the header at the backend"),
            ("AU22", "a token of a cookie at the backend"),
            ("AU22", "a token of the query at the backend"),
            ("AU23", "a token among the subprotocols"),
            ("AU28", "a session that outlives its token"),
        ]
    );
}

/// A service without a gateway, which judges nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_judges_nothing_falls() {
    let mut examined = examined(Plan::plain()).await;
    let canary = examined.exam.canary.as_ref().unwrap().address();
    examined.exam.target.address = canary;
    examined.exam.target.tls = None;
    let findings = examined.run(Suite::Auth).await;
    let not_fallen = findings.iter().filter(|finding| finding.outcome() != Outcome::Fell);
    let not_fallen: Vec<_> = not_fallen.map(|finding| (finding.outcome(), finding.id, finding.name)).collect();
    assert_eq!(
        not_fallen,
        [
            (Outcome::NotApplicable, "AU10", "a token of another type"),
            (Outcome::Held, "AU22", "a token in an answer"),
            (Outcome::NotRun, "AU22", "a token in the log"),
            (Outcome::Undecided, "AU25", "answers that tell wrong tokens apart"),
        ]
    );
}

/// Query tokens are no JWT: what can be told of them is judged, and the rest does not apply.
#[tokio::test(flavor = "multi_thread")]
async fn a_house_of_query_tokens_holds() {
    const WORD: &str = "kJ3vPq8sLx0ZtYw2NbRf5HdGm7CaUe1Q";
    let line = format!("{} kiosk use_until={}\n", support::tokens::digest(WORD), support::tokens::now() + 3600);
    let auth = "[[auth]]\nby = \"token\"\ntokens = \"chat.tokens\"\nfrom = [\"query:ticket\"]";
    let mut examined = examined(Plan::plain().policy(auth).file("policies/chat.tokens", line)).await;
    examined.exam.target.credential = Some(Credential {
        carrier: Carrier::Query(String::from("ticket")),
        tokens: vec![Secret::new(String::from(WORD))],
        minted: None,
    });
    examined.exam.target.signing = None;
    let findings = examined.holds(Suite::Auth).await;
    let held = findings.iter().filter(|finding| finding.outcome() == Outcome::Held);
    let held: Vec<_> = held.map(|finding| finding.id).collect();
    assert_eq!(
        held,
        ["AU01", "AU19", "AU21", "AU05", "AU05", "AU05", "AU18", "AU22", "AU22", "AU25", "AU25"],
        "what a word can be judged by"
    );
    let shown = findings.iter().filter_map(|finding| finding.verdict.exchange.as_ref());
    for exchange in shown {
        assert!(!exchange.sent.contains(&WORD[8..]) && !exchange.received.contains(&WORD[8..]), "{exchange:?}");
    }
}

/// Writes a line of what happened, and a secret beside it where it has one.
struct Writer(Mutex<File>, Option<String>);

impl Observer for Writer {
    fn observe(&self, event: &Event) {
        let secret = self.1.as_deref().unwrap_or_default();
        writeln!(self.0.lock().unwrap(), "{event:?} {secret}").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_holds_no_token() {
    const SECRET: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQ";
    for (secret, expected) in [(None, Outcome::Held), (Some(SECRET), Outcome::Fell)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let writer = Writer(Mutex::new(File::create(&path).unwrap()), secret.map(String::from));
        let auth = "[[auth]]\nby = \"token\"\ntokens = \"chat.tokens\"\nfrom = [\"authorization\"]";
        let later = support::tokens::now() + 3600;
        let line = format!("{} kiosk use_until={later}\n", support::tokens::digest(SECRET));
        let plan = Plan::plain().policy(auth).file("policies/chat.tokens", line).told_to(Arc::new(writer));
        let mut examined = examined(plan).await;
        examined.exam.target.credential = Some(Credential {
            carrier: Carrier::Authorization,
            tokens: vec![Secret::new(String::from(SECRET))],
            minted: None,
        });
        let probe = auth::Probe::Logged(path);
        let verdict = auth::judge(&probe, &mut examined.exam).await;
        assert_eq!(verdict.outcome, expected);
    }
}

/// A person's way: the policy and the issuer's key are given, and everything else is known by them.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_tells_what_a_good_token_is() {
    let auth = "[[auth]]\nby = \"token\"\ntokens = \"chat.tokens\"\nfrom = [\"query:ticket\"]\n\
                [[auth]]\nby = \"jwt\"\nissuer = \"login\"\naudience = [\"chat\"]\nmax_life = \"10m\"\n\
                from = [\"cookie:session\"]\nrequire = { \"/sub\" = \"alice\" }\n\
                [route]\nhosts = [\"localhost\"]\n";
    let line = format!("{} kiosk use_until={}\n", support::tokens::digest("a word"), support::tokens::now() + 3600);
    let house = Plan::plain().policy(auth).file("policies/chat.tokens", line).build().await;
    let at = house.folder.path();
    std::fs::write(at.join("login.key"), house.signer.private_pem()).unwrap();
    std::fs::write(at.join("ca.pem"), house.authority.pem()).unwrap();
    let url = format!("wss://localhost:{}/chat", house.address().port());
    let audit = |policy: &'static str| {
        let url = url.clone();
        async move {
            let given = ["--config", "gateway.toml", "--ca", "ca.pem", "--signing-key", "login.key"];
            ran(at, &[&["audit", "auth", &url, "--policy", policy][..], &given].concat(), "").await
        }
    };
    let ran = audit("policies/chat.toml").await;
    ran.ended(0).told(&[
        "held           AU28 a session that outlives its token",
        "held           AU20 spellings of the cookie",
    ]);

    std::fs::create_dir(at.join("elsewhere")).unwrap();
    std::fs::copy(at.join("policies/chat.toml"), at.join("elsewhere/chat.toml")).unwrap();
    let refused = audit("elsewhere/chat.toml").await;
    refused.ended(2);
    assert!(refused.err.contains("elsewhere/chat.toml is no policy of gateway.toml"), "{refused:?}");
    std::os::unix::fs::symlink(at.join("policies/chat.toml"), at.join("linked.toml")).unwrap();
    audit("linked.toml").await.ended(0);
}
