//! A gateway of the built binary with a recording backend behind it.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use rustls::ClientConfig;

use super::client::{Answer, Request, Wire};
use super::house::{HOST, ORIGIN, Written};
use super::process::{Ran, Running, WSGATE, ran};
use super::{Backend, Plan};

/// A gateway of the built binary in front of a recording backend.
pub struct Stand {
    /// The running gateway.
    pub running: Running,
    /// The service behind it.
    pub backend: Backend,
    /// Its files.
    pub written: Written,
    /// A good token, also in the file `token`.
    pub token: String,
    /// A client that trusts its certificate.
    pub client: Arc<ClientConfig>,
}

impl Stand {
    /// `wsgate run` with the files of this plan.
    pub async fn new(plan: Plan) -> Self {
        Self::started(plan, |config| {
            let mut command = Command::new(WSGATE);
            command.args(["run", "--config", config]);
            command
        })
        .await
    }

    /// The same by a command that is told where its configuration is.
    pub async fn started(plan: Plan, command: impl FnOnce(&str) -> Command) -> Self {
        let backend = Backend::echo().await;
        let plan = plan.gateway("log = { format = \"json\" }");
        let (written, token) = (plan.written(backend.address), plan.signs().token());
        fs::write(written.folder.path().join("token"), &token).unwrap();
        let config = written.folder.path().join("gateway.toml");
        let running = Running::start(command(config.to_str().unwrap())).await;
        let client = written.authority.client(&[b"http/1.1"]);
        Self { running, backend, written, token, client }
    }

    /// Another process with the same files.
    pub async fn again(&self) -> Running {
        let mut command = Command::new(WSGATE);
        command.args(["run", "--config"]).arg(self.written.folder.path().join("gateway.toml"));
        Running::start(command).await
    }

    /// A handshake that comes in.
    pub fn request(&self) -> Request {
        let mut request = Request::good(HOST, "/chat");
        request.set("Origin", ORIGIN);
        request.set("Authorization", format!("Bearer {}", self.token));
        request
    }

    /// Sends a handshake and reads the head of its answer.
    pub async fn asks(&self, request: &Request) -> (Wire, Answer) {
        self.running.asked(&self.client, HOST, request).await
    }

    /// A session that echoes.
    pub async fn session(&self) -> Wire {
        let request = self.request();
        let (mut wire, answer) = self.asks(&request).await;
        answer.is_switching(&request);
        wire.echoes("hello").await;
        wire
    }

    /// `wsgate` beside the running gateway.
    pub async fn ran(&self, arguments: &[&str], input: &str) -> Ran {
        ran(self.written.folder.path(), arguments, input).await
    }

    /// `wsgate connect` to the running gateway.
    pub async fn connects(&self, arguments: &[&str], input: &str) -> Ran {
        let url = format!("wss://localhost:{}/chat", self.running.address.port());
        let common = ["connect", &url, "--ca", "certs/authority.pem", "--token-file", "token"];
        self.ran(&[&common[..], arguments].concat(), input).await
    }
}
