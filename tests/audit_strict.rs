//! The shipped policy, run by the binary and attacked with everything that an audit can be given: nothing falls.
//!
//! gateway.toml and policies/demo.toml stand as they are shipped, less what a run in a test needs: free ports, a log in
//! a file, rates that a suite does not exhaust in seconds, deadlines of a second or two and a cap that few connections
//! reach, so that the wait for each is short. `.ci/audit` waits for the shipped ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "what was found is for the reader of the output")]

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Map, json};
use support::eventually;
use support::examined::BRISK;
use support::process::{ran, wsgate};
use support::tokens::{Signer, now};
use tempfile::TempDir;
use wsgate::audit::dos::Bounds;
use wsgate::audit::target::{Credential, Signing, Tls};
use wsgate::audit::{Canary, Case, Exam, Finding, Outcome, Progress, Suite, Target};
use wsgate::net::tls::ClientTls;
use wsgate::policy::auth::algorithm::Algorithm;
use wsgate::policy::credential::Carrier;
use wsgate::secret::Secret;
use wsgate::units::UnixSeconds;

/// What the shipped gateway.toml calls its issuer, and the page that its policy lists.
const ISSUER: &str = "https://localhost/wsgate-demo";
const ORIGIN: &str = "https://localhost:8443";

/// What stands in gateway.toml, and what stands there in this test.
const IN_A_TEST: [(&str, &str); 5] = [
    ("{ address = \"127.0.0.1:9090\" }", "{ address = \"off\" }"),
    ("pending  = 128", "pending  = 48"),
    ("connects = \"20/s burst 400\"", "connects = \"10000/s burst 10000\""),
    ("failures = \"1/s burst 60\"", "failures = \"10000/s burst 10000\""),
    (
        "[log]\n",
        "[capacity]\nadmissions = \"10000/s burst 10000\"\n\n[admission]\ntls = \"2s\"\nhead = \"2s\"\n\n[log]\n",
    ),
];

/// Deadlines of a session.
const SHORT: &str = "ping_interval = \"1s\"\npong_timeout = \"1s\"\npartial_header = \"1s\"\nclose_timeout = \"1s\"";

/// The cases that are not tried here: what this policy does not have (a wildcard, a cookie, a `typ`, a listed name with
/// a dot, a certificate of a second name), what a browser shows, and what quick floods do not reach.
const NOT_TRIED: [&str; 13] = [
    "OR10 what a wildcard of one label must not match",
    "OR11 any character for a dot",
    "OR27 in a browser, a page of a listed origin",
    "OR27 in a browser, a page of another site with the user's cookie",
    "OR25 in a browser, a page of a sibling subdomain with the user's cookies",
    "OR02 in a browser, a sandboxed frame",
    "OR19 in a browser, a page from a file",
    "AU20 spellings of the cookie",
    "AU10 a token of another type",
    "AU22 a token of a cookie at the backend",
    "HS16 HTTP for another name than TLS",
    "RX04 more sessions of an address than allowed",
    "FR17 large frames, a byte at a time",
];

/// The gateway as a process.
struct Shipped {
    folder: TempDir,
    gateway: Child,
    address: SocketAddr,
    signer: Signer,
}

impl Drop for Shipped {
    fn drop(&mut self) {
        let _ = self.gateway.kill();
        let _ = self.gateway.wait();
    }
}

impl Shipped {
    /// Starts it in front of a canary of its own.
    async fn running() -> (Self, Canary) {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let (address, signer) = (free(), Signer::es256());
        let canary = Canary::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut gateway = fs::read_to_string(root.join("gateway.toml")).unwrap();
        for (from, to) in IN_A_TEST {
            edit(&mut gateway, from, to);
        }
        edit(&mut gateway, "address      = \"127.0.0.1:8443\"", &format!("address = \"{address}\""));
        let mut policy = fs::read_to_string(root.join("policies/demo.toml")).unwrap();
        edit(&mut policy, "ws://127.0.0.1:9001", &format!("ws://{}", canary.address()));
        edit(&mut policy, "[limits]\n", "[limits]\nhandshakes_per_subject = \"10000/s burst 10000\"\n");
        edit(&mut policy, "[session]\n", &format!("[session]\n{SHORT}\n"));
        fs::create_dir(at.join("policies")).unwrap();
        fs::write(at.join("gateway.toml"), gateway).unwrap();
        fs::write(at.join("policies/demo.toml"), policy).unwrap();
        ran(at, &["certs"], "").await.ended(0);
        fs::write(at.join("certs/demo-issuer.pub.pem"), signer.public_pem()).unwrap();
        ran(at, &["check"], "").await.ended(0);
        let log = fs::File::create(at.join("log")).unwrap();
        let gateway = wsgate(at, &["run"]).stdin(Stdio::null()).stdout(log).spawn().unwrap();
        eventually("the gateway listens", || TcpStream::connect(address).is_ok()).await;
        (Self { folder, gateway, address, signer }, canary)
    }

    fn target(&self) -> Target {
        let at = self.folder.path();
        let config = wsgate::config::load(&at.join("gateway.toml"), &|_| None, UnixSeconds(now())).unwrap().0;
        let authorities_pem = fs::read(at.join("certs/ca.pem")).unwrap();
        let client = ClientTls::new(Some(&authorities_pem)).unwrap();
        let claims = json!({ "iss": ISSUER, "aud": "demo", "sub": "alice" });
        let token = |subject: &str| {
            let said = [("iss", ISSUER), ("aud", "demo"), ("sub", subject)];
            let token = self.signer.token_with(|claims| {
                claims.extend(said.map(|(name, value)| (String::from(name), json!(value))));
            });
            Secret::new(token)
        };
        let authority = format!("localhost:{}", self.address.port());
        Target {
            url: format!("wss://{authority}/echo"),
            address: self.address,
            tls: Some(Tls { client, authorities_pem: Some(authorities_pem) }),
            name: String::from("localhost"),
            authority,
            path: String::from("/echo"),
            origin: Some(String::from(ORIGIN)),
            listed: vec![String::from(ORIGIN)],
            credential: Some(Credential {
                carrier: Carrier::Authorization,
                tokens: ["alice", "bob", "carol", "dave"].map(token).to_vec(),
                minted: None,
            }),
            subprotocols: vec![String::from("echo.v1")],
            policy: config.policies.first().map(Arc::clone),
            signing: Some(Signing {
                key: Secret::new(self.signer.private_pem().into_bytes()),
                algorithm: Algorithm::Es256,
                kid: None,
                claims: claims.as_object().cloned().unwrap_or_else(Map::new),
                life: Duration::from_secs(300),
            }),
            process: Some(self.gateway.id()),
            log: Some(at.join("log")),
            browser: None,
        }
    }
}

struct Aloud;

impl Progress for Aloud {
    fn begins(&mut self, suite: Suite, cases: usize) {
        println!("{suite}: {cases} cases");
    }

    fn tries(&mut self, _case: &Case) {}

    fn found(&mut self, finding: &Finding) {
        println!("{} {} {}: {}", finding.outcome(), finding.id, finding.name, finding.verdict.said);
    }
}

/// An address that nobody listens at.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Replaces what stands there exactly once.
fn edit(text: &mut String, from: &str, to: &str) {
    assert_eq!(text.matches(from).count(), 1, "{from}");
    *text = text.replace(from, to);
}

/// What these suites find at a gateway of their own.
async fn found(suites: &[Suite]) -> Vec<Finding> {
    let (shipped, canary) = Shipped::running().await;
    let mut exam = Exam::new(shipped.target(), Some(canary), BRISK);
    exam.bounds = Bounds::quick();
    let mut findings = Vec::new();
    let ran = wsgate::audit::run(suites, &mut exam, &mut Aloud, &mut findings).await;
    ran.expect("a good twin that comes in");
    findings
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_falls_against_the_shipped_policy() {
    // Most of an audit is waiting: the suites wait side by side, but for the floods, which measure time.
    let (floods, others) = Suite::ALL.split_last().unwrap();
    let mut findings = join_all(others.chunks(1).map(found)).await.concat();
    assert_eq!(*floods, Suite::Dos);
    findings.extend(found(&[*floods]).await);
    let doubtful = findings.iter().filter(|finding| matches!(finding.outcome(), Outcome::Fell | Outcome::Undecided));
    let told = doubtful.map(|finding| format!("{} {}: {}", finding.id, finding.name, finding.verdict.said));
    let told: Vec<String> = told.collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    let untried = findings.iter().filter(|finding| finding.outcome() != Outcome::Held);
    let untried: Vec<String> = untried.map(|finding| format!("{} {}", finding.id, finding.name)).collect();
    assert_eq!(untried, NOT_TRIED);
    assert!(findings.len() > 250, "{} cases", findings.len());
}
