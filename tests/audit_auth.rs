//! The suite of credentials: a strict house stands against it, and one that is weakened falls where it is weak.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::certificates::Authority;
use support::examined::{BRISK, Examined, stranger};
use support::process::ran;
use support::tokens::Signer;
use support::{Plan, examined};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use wsgate::audit::target::Credential;
use wsgate::audit::{Exam, Outcome, Probe, Suite, Target, auth};
use wsgate::event::{Event, Observer};
use wsgate::policy::auth::Auth;
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

/// A house of query tokens under examination, and the log that it writes or that somebody else writes in its place.
async fn house_with_a_log(secret: Option<&str>, is_its_own: bool) -> (Examined, tempfile::TempDir, PathBuf) {
    const SECRET: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQ";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let file = File::create(&path).unwrap();
    let auth = "[[auth]]\nby = \"token\"\ntokens = \"chat.tokens\"\nfrom = [\"authorization\"]";
    let line = format!("{} kiosk use_until={}\n", support::tokens::digest(SECRET), support::tokens::now() + 3600);
    let plan = Plan::plain().policy(auth).file("policies/chat.tokens", line);
    let writer = Writer(Mutex::new(file), secret.map(|_| String::from(SECRET)));
    let mut examined = examined(if is_its_own { plan.told_to(Arc::new(writer)) } else { plan }).await;
    examined.exam.target.credential = Some(Credential {
        carrier: Carrier::Authorization,
        tokens: vec![Secret::new(String::from(SECRET))],
        minted: None,
    });
    (examined, folder, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_holds_no_token() {
    for (secret, expected) in [(None, Outcome::Held), (Some("a token"), Outcome::Fell)] {
        let (mut examined, _folder, path) = house_with_a_log(secret, true).await;
        let verdict = auth::judge(&auth::Probe::Logged(path), &mut examined.exam).await;
        assert_eq!(verdict.outcome, expected, "{}", verdict.said);
    }
}

/// A log that grows for somebody else's sake says nothing of the handshakes.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_somebody_elses_is_none() {
    let (mut examined, _folder, path) = house_with_a_log(None, false).await;
    let mut other = File::options().append(true).open(&path).unwrap();
    let mut growing = JoinSet::new();
    growing.spawn(async move {
        loop {
            writeln!(other, "GET /index.html 200").unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let verdict = auth::judge(&auth::Probe::Logged(path.clone()), &mut examined.exam).await;
    growing.abort_all();
    assert!(std::fs::metadata(path).unwrap().len() > 0, "it grew");
    assert_eq!(verdict.outcome, Outcome::Undecided, "{}", verdict.said);
    assert!(verdict.said.contains("none of the marked handshakes") && verdict.said.contains("give the log"));
}

/// A server that answers every handshake with this, or with nothing, until it is dropped.
async fn answering(answer: &'static str) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && matches!(tcp.read_buf(&mut head).await, Ok(1..)) {}
            let _ = tcp.write_all(answer.as_bytes()).await;
        }
    });
    (address, tasks)
}

/// A hundred refusals that judge no token prove nothing.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_that_nobody_judges_are_undecided() {
    let (authority, signer) = (Authority::throwaway(), Signer::es256());
    for (answer, expected) in [
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", Outcome::Held),
        ("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n", Outcome::Held),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", Outcome::Undecided),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", Outcome::Undecided),
        ("", Outcome::Undecided),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Outcome::Fell),
    ] {
        let (address, _tasks) = answering(answer).await;
        let target = Target { tls: None, ..stranger(address, &authority, &signer) };
        let mut exam = Exam::new(target, None, BRISK);
        let verdict = auth::judge(&auth::Probe::Many, &mut exam).await;
        assert_eq!(verdict.outcome, expected, "{answer:?}: {}", verdict.said);
    }
}

/// A session that ends for another reason does not end with its token; its twin does.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_not_the_tokens_is_undecided() {
    for (session, expected) in [
        ("idle_timeout = \"1s\"", Outcome::Undecided),
        ("idle_timeout = \"6s\"", Outcome::Undecided),
        ("idle_timeout = \"1h\"", Outcome::Held),
    ] {
        let mut examined = examined(Plan::plain().policy(&format!("[session]\n{session}"))).await;
        let verdict = auth::judge(&auth::Probe::Outlived, &mut examined.exam).await;
        assert_eq!(verdict.outcome, expected, "{session}: {}", verdict.said);
    }
}

/// Where nobody is asked for a token, none can be wrong; what becomes of one is judged all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_house_that_asks_nobody_is_not_asked_to_refuse() {
    for (auth, said) in [
        ("by = \"none\"\ndanger_no_auth = \"a public ticker\"", "by = \"none\""),
        ("by = \"backend\"", "by = \"backend\""),
    ] {
        let mut examined = examined(Plan::plain().policy(&format!("[[auth]]\n{auth}"))).await;
        let findings = examined.holds(Suite::Auth).await;
        let that = |outcome| findings.iter().filter(move |finding| finding.outcome() == outcome);
        let held: Vec<_> = that(Outcome::Held).map(|finding| (finding.id, finding.name)).collect();
        assert_eq!(held, [("AU22", "a token in an answer")]);
        let not: Vec<_> = that(Outcome::NotApplicable).filter(|finding| finding.verdict.said.contains(said)).collect();
        assert!(not.len() > 20 && not.iter().any(|finding| finding.id == "AU02"), "{not:#?}");
    }
}

/// Beside a jwt, guests come in who bring nothing where a token is looked for; what is found there is judged.
#[tokio::test(flavor = "multi_thread")]
async fn beside_guests_a_token_that_is_found_is_judged() {
    for guests in [Auth::Open, Auth::Backend] {
        let mut examined = examined(Plan::plain()).await;
        let not = |examined: &mut Examined| {
            let cases = wsgate::audit::cases(Suite::Auth, &mut examined.exam);
            let not = cases.iter().filter(|case| matches!(case.probe, Probe::NotApplicable(_)));
            not.map(|case| format!("{} {}", case.id, case.name)).collect::<Vec<_>>()
        };
        let strict = not(&mut examined);
        assert_eq!(strict, ["AU10 a token of another type"]);
        let policy = examined.exam.target.policy.as_mut().and_then(Arc::get_mut).unwrap();
        policy.auth.push(guests);
        assert_eq!(
            not(&mut examined),
            [
                "AU01 no credential",
                "AU20 spellings of the cookie",
                "AU20 spellings among the subprotocols",
                "AU21 queries that two readers read differently",
                "AU10 a token of another type",
            ]
        );
    }
}

/// A verifier that is bound to another algorithm would refuse what is forged of ECDSA for the algorithm's sake.
#[tokio::test(flavor = "multi_thread")]
async fn ecdsa_is_forged_only_where_the_good_token_has_it() {
    for (signer, expected) in [(Signer::es256(), true), (Signer::rsa(), false), (Signer::ed25519(), false)] {
        let mut examined = examined(Plan::plain()).await;
        examined.exam.target.credential.as_mut().unwrap().tokens = vec![Secret::new(signer.token())];
        let cases = wsgate::audit::cases(Suite::Auth, &mut examined.exam);
        let case = cases.iter().find(|case| case.id == "AU06").unwrap();
        let is_tried = !matches!(&case.probe, Probe::NotApplicable(why) if why.contains("not signed by ECDSA"));
        assert_eq!(is_tried, expected, "{}", signer.algorithm());
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
