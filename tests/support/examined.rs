//! A strict house under examination: the suites of `wsgate audit` in front of it, their canary behind it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, json};
use wsgate::audit::target::{Credential, Signing, Tls};
use wsgate::audit::{Canary, Exam, Finding, Outcome, Patience, Progress, Suite, Target};
use wsgate::net::tls::ClientTls;
use wsgate::policy::auth::algorithm::Algorithm;
use wsgate::policy::credential::Carrier;
use wsgate::secret::Secret;

use super::cases;
use super::certificates::Authority;
use super::house::{HOST, House, ORIGIN, Plan};
use super::tokens::{ISSUER, Signer};

/// A house, and the examination of it.
pub struct Examined {
    /// The house; its backend is the exam's canary.
    pub house: House,
    /// The examination: with canary, signing key and policy.
    pub exam: Exam,
}

/// Waits that are long enough for a house of this process, and short enough for a test.
pub const BRISK: Patience = Patience {
    answer: Duration::from_secs(5),
    busy: Duration::from_secs(60),
    close: Duration::from_secs(3),
    case: Duration::from_secs(120),
};

/// Builds the house of a plan in front of a canary.
pub async fn examined(plan: Plan) -> Examined {
    let canary = Canary::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let house = plan.policy(&format!("[upstream]\nservers = [\"ws://{}\"]", canary.address())).build().await;
    let target = target(house.address(), house.folder.path(), &house.authority, &house.signer);
    Examined { exam: Exam::new(target, Some(canary), BRISK), house }
}

/// A gateway as a target: where it is, the folder of its configuration, and who signs for it.
pub fn target(address: SocketAddr, folder: &Path, authority: &Authority, signer: &Signer) -> Target {
    let variable = |_: &str| None;
    let now = wsgate::units::UnixSeconds(super::tokens::now());
    let (config, _) = wsgate::config::load(&folder.join("gateway.toml"), &variable, now).unwrap();
    Target { policy: config.policies.first().map(Arc::clone), ..stranger(address, authority, signer) }
}

/// The same where nothing of a configuration is known.
pub fn stranger(address: SocketAddr, authority: &Authority, signer: &Signer) -> Target {
    let authorities_pem = authority.pem().into_bytes();
    let client = ClientTls::new(Some(&authorities_pem)).unwrap();
    Target {
        url: format!("wss://{HOST}/chat"),
        address,
        tls: Some(Tls { client, authorities_pem: Some(authorities_pem) }),
        name: String::from(HOST),
        authority: String::from(HOST),
        path: String::from("/chat"),
        origin: Some(String::from(ORIGIN)),
        listed: vec![String::from(ORIGIN)],
        credential: Some(credential(signer)),
        subprotocols: Vec::new(),
        policy: None,
        signing: Some(signing(signer)),
        process: None,
        log: None,
        browser: None,
    }
}

/// Tokens of several subjects in Authorization.
pub fn credential(signer: &Signer) -> Credential {
    let token =
        |subject: &str| Secret::new(signer.token_with(|claims| drop(claims.insert("sub".into(), json!(subject)))));
    let tokens = ["alice", "bob", "carol", "dave"].map(token);
    Credential { carrier: Carrier::Authorization, tokens: tokens.into(), minted: None }
}

/// The key that signed them, and what its good tokens say.
pub fn signing(signer: &Signer) -> Signing {
    Signing {
        key: Secret::new(signer.private_pem().into_bytes()),
        algorithm: Algorithm::Es256,
        kid: Some(String::from("login")),
        claims: Map::from_iter([
            (String::from("iss"), json!(ISSUER)),
            (String::from("aud"), json!("chat")),
            (String::from("sub"), json!("alice")),
        ]),
        life: Duration::from_secs(300),
    }
}

impl Examined {
    /// Runs one suite.
    pub async fn run(&mut self, suite: Suite) -> Vec<Finding> {
        let mut findings = Vec::new();
        let ran = wsgate::audit::run(&[suite], &mut self.exam, &mut Aloud, &mut findings).await;
        ran.expect("a good twin that comes in");
        findings
    }

    /// Runs one suite, of which every case that can be tried must hold.
    pub async fn holds(&mut self, suite: Suite) -> Vec<Finding> {
        let findings = self.run(suite).await;
        let doubtful = |finding: &&Finding| matches!(finding.outcome(), Outcome::Fell | Outcome::Undecided);
        let doubtful: Vec<&Finding> = findings.iter().filter(doubtful).collect();
        assert!(doubtful.is_empty(), "{doubtful:#?}");
        let held: Vec<&Finding> = findings.iter().filter(|finding| finding.outcome() == Outcome::Held).collect();
        assert!(!held.is_empty(), "{suite}: nothing was tried");
        for finding in held {
            cases::held(finding.id, finding.name);
        }
        findings
    }

    /// Runs one suite and gives id and name of what fell; nothing is undecided.
    pub async fn fallen(&mut self, suite: Suite) -> Vec<(&'static str, &'static str)> {
        let findings = self.run(suite).await;
        let undecided: Vec<_> = findings.iter().filter(|finding| finding.outcome() == Outcome::Undecided).collect();
        assert!(undecided.is_empty(), "{undecided:#?}");
        let fell = findings.iter().filter(|finding| finding.outcome() == Outcome::Fell);
        fell.map(|finding| (finding.id, finding.name)).collect()
    }
}

/// Tells every finding on standard output, where a failing test shows it.
pub struct Aloud;

impl Progress for Aloud {
    fn begins(&mut self, suite: Suite, cases: usize) {
        println!("{suite}: {cases} cases");
    }

    fn tries(&mut self, _case: &wsgate::audit::Case) {}

    fn found(&mut self, finding: &Finding) {
        let took = finding.took.as_secs_f32();
        println!("{} {} {} ({took:.1} s): {}", finding.outcome(), finding.id, finding.name, finding.verdict.said);
    }
}
