//! What `wsgate init KIND` writes, in front of a service: the addresses are edited, and nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::peers::{script, takes_steps};
use super::process::{Process, Running, ran, wsgate};

/// The page that every written policy lists.
pub const PAGE: &str = "https://app.example.com";

/// A running gateway of a kind.
pub struct Shipped {
    folder: TempDir,
    running: Running,
}

impl Shipped {
    /// Does what `wsgate init` says, and starts the gateway in front of the service at this port.
    pub async fn of(kind: &str, port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let init = ran(at, &["init", kind], "").await;
        init.ended(0);
        ran(at, &["certs"], "").await.ended(0);
        if init.out.contains("wsgate token key") {
            let key = ["token", "key", "--private", "certs/login.key", "--public", "certs/login.pub.pem"];
            ran(at, &key, "").await.ended(0);
        }
        edit(&at.join("gateway.toml"), "\"[::]:8443\"", "\"127.0.0.1:0\"");
        edit(&at.join("gateway.toml"), "\"127.0.0.1:9090\"", "\"off\"");
        let policy = at.join(format!("policies/{kind}.toml"));
        let written: toml::Table = std::fs::read_to_string(&policy).unwrap().parse().unwrap();
        let server = written["upstream"]["servers"][0].as_str().unwrap();
        edit(&policy, server, &format!("ws://127.0.0.1:{port}"));
        ran(at, &["check"], "").await.ended(0).told(&["came out as told", "configuration ok"]);
        let running = Running::start(wsgate(at, &["run"])).await;
        Self { folder, running }
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it is, for a client: the certificate is for `localhost`.
    pub fn url(&self, path: &str) -> String {
        format!("wss://localhost:{}{path}", self.running.address.port())
    }

    /// A file of its folder with this in it.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A file with a token of the issuer that gateway.toml names, for this audience.
    pub async fn token(&self, audience: &str) -> PathBuf {
        let claims = ["--iss", "https://login.example.com", "--sub", "alice", "--aud", audience];
        let jwt = [&["token", "jwt", "--key", "certs/login.key"], &claims[..]].concat();
        self.file("token", &ran(self.folder.path(), &jwt, "").await.ended(0).out)
    }

    /// A script of tests/node, which trusts the certificate of this gateway.
    pub fn client(&self, node: Command, name: &str) -> Command {
        let mut client = node;
        client
            .arg(script(&format!("node/{name}.js")))
            .env("NODE_EXTRA_CA_CERTS", self.folder.path().join("certs/ca.pem"));
        client
    }

    /// The client takes these steps; the gateway refuses for these reasons and ends sessions by itself for these causes,
    /// in any order.
    pub async fn shows(&self, client: Command, steps: &str, refusals: &[&str], endings: &[&str]) {
        takes_steps(Process::start(client), steps).await;
        let told = self.running.process.bytes("every refusal and every ending", |bytes| {
            let log = String::from_utf8_lossy(bytes);
            let records: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let all_ended = told(&records, "closed", "id").len() == told(&records, "opened", "id").len();
            let refused = told(&records, "refused", "reason");
            (all_ended && refused.len() >= refusals.len()).then(|| (refused, told(&records, "closed", "cause")))
        });
        let (refused, mut ended) = told.await;
        // A peer that hangs up without a Close frame is no doing of the gateway.
        ended.retain(|cause| !["closed", "client_lost", "backend_lost"].contains(&cause.as_str()));
        assert_eq!((refused, ended), (sorted(refusals), sorted(endings)));
    }

    /// The log holds nothing of this file.
    pub fn keeps(&self, file: &Path) {
        let secret = std::fs::read_to_string(file).unwrap();
        let secret = secret.trim();
        assert!(secret.len() > 8, "a secret that can be searched for");
        assert!(!self.running.process.out().contains(secret), "a secret in the log");
    }
}

/// What a field holds in the records of an event.
fn told(records: &[Value], event: &str, field: &str) -> Vec<String> {
    let of_event = records.iter().filter(|record| record["event"] == event);
    let values: Vec<&str> = of_event.map(|record| record[field].as_str().unwrap()).collect();
    sorted(&values)
}

fn sorted(values: &[&str]) -> Vec<String> {
    let mut values: Vec<String> = values.iter().copied().map(String::from).collect();
    values.sort_unstable();
    values
}

/// A service by a script of tests/node, and its port.
pub async fn service(mut node: Command, name: &str) -> (Process, u16) {
    node.arg(script(&format!("node/{name}.js")));
    listening(node).await
}

/// A service whose script prints its port.
pub async fn listening(command: Command) -> (Process, u16) {
    let service = Process::start(command);
    let port = service.line("the port of the service", |line| line.parse().ok()).await;
    (service, port)
}

/// What a service told behind its port, once its input has ended.
pub async fn heard(mut service: Process) -> Vec<String> {
    service.input("");
    let ended = service.ends().await;
    ended.ended(0).out.lines().skip(1).map(String::from).collect()
}

/// Replaces what stands in a file exactly once.
fn edit(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from} in {}", file.display());
    std::fs::write(file, text.replace(from, to)).unwrap();
}
