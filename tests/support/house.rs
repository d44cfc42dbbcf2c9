//! A gateway in front of a recording backend, with everything that it needs in a folder of its own.
//!
//! The bounds of a house are generous, so that a suite meets the one bound that it sets by itself. What a house refuses
//! and what it admits is judged here once for all suites: the invariants that every row of docs/threat-model.md asserts.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::TcpStream;
use toml::{Table, Value};
use wsgate::config;
use wsgate::event::{Closure, Event, SharedObserver};
use wsgate::gateway::Gateway;
use wsgate::gateway::reload::Reloaded;
use wsgate::policy::Reason;
use wsgate::policy::refusal::Answer as Told;
use wsgate::units::UnixSeconds;

use super::certificates::Authority;
use super::client::{Answer, Request, Wire};
use super::observer::Record;
use super::tokens::{ISSUER, Signer, now};
use super::{Backend, Step, eventually, within};

/// The host that a house serves.
pub const HOST: &str = "chat.test";
/// The page that may open a socket.
pub const ORIGIN: &str = "https://app.test";

/// No browser sends the token by itself: where one does, a list of origins may hold no wildcard.
pub const HEADER_ONLY: &str =
    "[[auth]]\nby = \"jwt\"\nissuer = \"login\"\nfrom = [\"authorization\"]\naudience = [\"chat\"]\n";

const GATEWAY: &str = r#"
policies = ["policies/*.toml"]
drain = "2s"
drain_lead = "1ms"
health = { address = "off" }

[[listener]]
address = "127.0.0.1:0"
certificates = [{ chain = "certs/server.pem", key = { file = "certs/server.key" } }]

[capacity]
sessions = 4096
pending = 4096
admissions = "100000/s burst 100000"

[address]
pending = 4096
sessions = 4096
connects = "100000/s burst 100000"
failures = "100000/s burst 100000"

[issuer.login]
algorithms = ["ES256"]
keys = [{ file = "certs/login.pem", id = "login" }]
"#;

const POLICY: &str = r#"
[route]
hosts = ["chat.test"]
paths = ["/chat", "/chat/*"]

[origin]
allow = ["https://app.test"]

[[auth]]
by = "jwt"
issuer = "login"
from = ["authorization", "subprotocol:bearer", "cookie:session", "query:access_token"]
audience = ["chat"]

[limits]
connections_per_address = 4096
connections_per_subject = 4096
handshakes_per_subject = "100000/s burst 100000"
"#;

/// A house before it stands: what an operator would write, less what a suite overrides.
pub struct Plan {
    gateway: Table,
    policies: Vec<(String, Table)>,
    files: Vec<(PathBuf, Vec<u8>)>,
    environment: HashMap<String, String>,
    script: Vec<Step>,
    backend: Option<Backend>,
    signer: Arc<Signer>,
    names: Vec<&'static str>,
    told: Option<SharedObserver>,
}

impl Plan {
    /// The plain house.
    pub fn plain() -> Self {
        Self {
            gateway: GATEWAY.parse().unwrap(),
            policies: vec![(String::from("chat"), POLICY.parse().unwrap())],
            files: Vec::new(),
            environment: HashMap::new(),
            script: super::backend::echo(),
            backend: None,
            signer: Arc::new(Signer::es256()),
            names: vec![HOST, "localhost"],
            told: None,
        }
    }

    /// Overrides in gateway.toml: tables are merged, everything else is replaced.
    pub fn gateway(mut self, toml: &str) -> Self {
        merge(&mut self.gateway, toml.parse().unwrap());
        self
    }

    /// Overrides in the policy.
    pub fn policy(mut self, toml: &str) -> Self {
        merge(&mut self.policies[0].1, toml.parse().unwrap());
        self
    }

    /// A second policy, written like the first but for these overrides.
    pub fn second_policy(mut self, name: &str, toml: &str) -> Self {
        let mut table = self.policies[0].1.clone();
        merge(&mut table, toml.parse().unwrap());
        self.policies.push((name.to_owned(), table));
        self
    }

    /// A file of the operator's, by its path from the folder of gateway.toml.
    pub fn file(mut self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Self {
        self.files.push((path.as_ref().to_owned(), bytes.as_ref().to_vec()));
        self
    }

    /// A variable of the environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What the backend plays.
    pub fn script(mut self, script: Vec<Step>) -> Self {
        self.script = script;
        self
    }

    /// A backend that stands already.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Who signs good tokens.
    pub fn signer(mut self, signer: Signer) -> Self {
        let algorithm = signer.algorithm();
        let keys = match &signer {
            Signer::Hmac(secret) => {
                let text = String::from_utf8(secret.clone()).expect("a secret that fits a variable");
                self.environment.insert(String::from("LOGIN_SECRET"), text);
                String::from("{ env = \"LOGIN_SECRET\" }")
            }
            _ => String::from("{ file = \"certs/login.pem\", id = \"login\" }"),
        };
        self.signer = Arc::new(signer);
        self.gateway(&format!("issuer.login.algorithms = [\"{algorithm}\"]\nissuer.login.keys = [{keys}]"))
    }

    /// No TLS on the listener: for what is sent below it, and for listeners behind a proxy.
    pub fn without_tls(mut self) -> Self {
        for listener in self.gateway["listener"].as_array_mut().unwrap() {
            listener.as_table_mut().unwrap().remove("certificates");
        }
        self
    }

    /// Sets keys of the only listener.
    pub fn listener(mut self, toml: &str) -> Self {
        let listener = &mut self.gateway["listener"].as_array_mut().unwrap()[0];
        merge(listener.as_table_mut().unwrap(), toml.parse().unwrap());
        self
    }

    /// Names of the server's certificate.
    pub fn names(mut self, names: &[&'static str]) -> Self {
        self.names = names.to_vec();
        self
    }

    /// Takes a key of the policy out: `without("limits.connections")`.
    pub fn without(mut self, path: &str) -> Self {
        let (table, key) = path.rsplit_once('.').unwrap();
        let policy = &mut self.policies[0].1;
        policy.get_mut(table).and_then(Value::as_table_mut).and_then(|table| table.remove(key));
        self
    }

    /// Who is told of everything beside the record.
    pub fn told_to(mut self, told: SharedObserver) -> Self {
        self.told = Some(told);
        self
    }

    /// Who signs good tokens.
    pub fn signs(&self) -> &Arc<Signer> {
        &self.signer
    }

    /// Builds the house and opens its doors.
    pub async fn build(mut self) -> House {
        let backend = match self.backend.take() {
            Some(backend) => backend,
            None => Backend::playing(std::mem::take(&mut self.script)).await,
        };
        let written = self.written(backend.address);
        let config = written.load().unwrap_or_else(|diagnostics| panic!("the plan does not load: {diagnostics}"));
        let record = Arc::new(Record::before(self.told.take()));
        let observer: SharedObserver = Arc::<Record>::clone(&record);
        let gateway = Gateway::start(config, observer).await.unwrap_or_else(|error| panic!("{error:?}"));
        House { gateway, backend, record, signer: self.signer, authority: written.authority, folder: written.folder }
    }

    /// What is said where this plan does not load; the house is never built.
    pub fn refused_at_load(self) -> String {
        let loaded = self.written(SocketAddr::from(([127, 0, 0, 1], 9))).load();
        loaded.expect_err("a configuration that is refused at load")
    }

    /// Whether this plan loads.
    pub fn loads(self) {
        let loaded = self.written(SocketAddr::from(([127, 0, 0, 1], 9))).load();
        loaded.map(drop).unwrap_or_else(|diagnostics| panic!("the plan does not load: {diagnostics}"));
    }

    /// Writes every file of the plan into a folder of its own; the policies' server is `backend`.
    pub fn written(&self, backend: SocketAddr) -> Written {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::throwaway();
        let leaf = authority.leaf(&self.names);
        let write = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            private(&path);
        };
        write("certs/server.pem", leaf.chain_pem.as_bytes());
        write("certs/server.key", leaf.key_pem.as_bytes());
        write("certs/authority.pem", authority.pem().as_bytes());
        if !matches!(*self.signer, Signer::Hmac(_)) {
            write("certs/login.pem", self.signer.public_pem().as_bytes());
        }
        let mut gateway = self.gateway.clone();
        merge(&mut gateway, format!("issuer.login.iss = \"{ISSUER}\"").parse().unwrap());
        write("gateway.toml", toml::to_string(&gateway).unwrap().as_bytes());
        for (name, policy) in &self.policies {
            let mut policy = policy.clone();
            let upstream = policy.entry("upstream").or_insert_with(|| Value::Table(Table::new()));
            let server = Value::String(format!("ws://{backend}"));
            upstream.as_table_mut().unwrap().entry("servers").or_insert_with(|| Value::Array(vec![server]));
            write(&format!("policies/{name}.toml"), toml::to_string(&policy).unwrap().as_bytes());
        }
        for (path, bytes) in &self.files {
            write(path.to_str().unwrap(), bytes);
        }
        Written { folder, authority, environment: self.environment.clone() }
    }
}

/// The files of a plan.
pub struct Written {
    /// gateway.toml, policies, certificates.
    pub folder: TempDir,
    /// Who signed the certificates.
    pub authority: Authority,
    environment: HashMap<String, String>,
}

impl Written {
    /// Reads them.
    pub fn load(&self) -> Result<config::Config, String> {
        let variable = |name: &str| self.environment.get(name).cloned();
        match config::load(&self.folder.path().join("gateway.toml"), &variable, UnixSeconds(now())) {
            Ok((config, _)) => Ok(config),
            Err(diagnostics) => Err(format!("{diagnostics:?}")),
        }
    }
}

/// A gateway in front of a recording backend.
pub struct House {
    /// The gateway.
    pub gateway: Gateway,
    /// The service behind it.
    pub backend: Backend,
    /// What the gateway told.
    pub record: Arc<Record>,
    /// Who signs good tokens.
    pub signer: Arc<Signer>,
    /// Who signed the certificates.
    pub authority: Authority,
    /// gateway.toml, policies, certificates.
    pub folder: TempDir,
}

impl House {
    /// The plain house.
    pub async fn plain() -> Self {
        Plan::plain().build().await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.gateway.addresses()[0]
    }

    /// A handshake that comes in: listed Origin, good token.
    pub fn request(&self) -> Request {
        let mut request = Request::good(HOST, "/chat");
        request.set("Origin", ORIGIN);
        request.set("Authorization", format!("Bearer {}", self.signer.token()));
        request
    }

    /// The same with one thing changed.
    pub fn request_with(&self, change: impl FnOnce(&mut Request)) -> Request {
        let mut request = self.request();
        change(&mut request);
        request
    }

    /// A good handshake with this token, or without any.
    pub fn request_as(&self, token: &str) -> Request {
        self.request_with(|request| request.set("Authorization", format!("Bearer {token}")))
    }

    /// A connection over TLS.
    pub async fn wire(&self) -> Wire {
        self.wire_from("127.0.0.1").await
    }

    /// A connection over TLS from a loopback address of one's choice.
    pub async fn wire_from(&self, from: &str) -> Wire {
        self.try_wire(from, HOST).await.expect("a TLS connection")
    }

    /// A connection over TLS that the gateway may refuse.
    pub async fn try_wire(&self, from: &str, name: &str) -> std::io::Result<Wire> {
        let stream = Wire::tcp_from(from, self.address()).await?;
        Wire::tls(stream, self.authority.client(&[b"http/1.1"]), name).await
    }

    /// A connection below TLS.
    pub async fn tcp(&self) -> TcpStream {
        Wire::tcp_from("127.0.0.1", self.address()).await.unwrap()
    }

    /// A connection without TLS.
    pub async fn plain_wire(&self) -> Wire {
        Wire::over(self.tcp().await)
    }

    /// A session: its 101 was read and judged.
    pub async fn session(&self) -> Wire {
        self.session_of(&self.request()).await.0
    }

    /// A session of this handshake, and its 101.
    pub async fn session_of(&self, request: &Request) -> (Wire, Answer) {
        let mut wire = self.wire().await;
        let answer = Self::opened(&mut wire, request).await;
        (wire, answer)
    }

    /// Sends a handshake on a connection and reads its 101.
    pub async fn opened(wire: &mut Wire, request: &Request) -> Answer {
        wire.send(&request.bytes()).await;
        let answer = wire.answer_head().await;
        answer.is_switching(request);
        answer
    }

    /// The handshake comes in, a message is echoed, the session closes in order, and everything returns.
    pub async fn admits(&self, request: &Request) -> Answer {
        let wire = self.wire().await;
        self.admits_on(wire, request).await
    }

    /// The same on an open connection.
    pub async fn admits_on(&self, mut wire: Wire, request: &Request) -> Answer {
        let mark = self.record.mark();
        let answer = Self::opened(&mut wire, request).await;
        wire.echoes("is anybody there?").await;
        wire.closes(1000).await;
        drop(wire);
        self.record.closed(mark).await;
        let told = self.record.since(mark);
        assert!(matches!(told.as_slice(), [Event::Opened(_), Event::Closed(_)]), "one record: {told:?}");
        self.is_at_rest().await;
        answer
    }

    /// The handshake is refused for this reason before any backend hears of it (I1, I2, I10, one record).
    pub async fn refuses(&self, request: &Request, reason: Reason) -> Option<Answer> {
        let wire = self.wire().await;
        self.refuses_on(wire, request, reason).await
    }

    /// The same on an open connection.
    pub async fn refuses_on(&self, wire: Wire, request: &Request, reason: Reason) -> Option<Answer> {
        let heard = self.backend.connections();
        let answer = self.refuses_after_dial(wire, request, reason).await;
        assert_eq!(self.backend.connections(), heard, "the backend saw a connection");
        answer
    }

    /// The handshake is refused for this reason, which may be the backend's doing.
    pub async fn refuses_after_dial(&self, mut wire: Wire, request: &Request, reason: Reason) -> Option<Answer> {
        let mark = self.record.mark();
        wire.send(&request.bytes()).await;
        let (bytes, _) = wire.rest().await;
        drop(wire);
        let answer = match reason.answer() {
            Told::Drop => {
                assert!(bytes.is_empty(), "{reason:?} is not answered: {:?}", String::from_utf8_lossy(&bytes));
                None
            }
            Told::Status(status) => {
                let told = String::from_utf8_lossy(&bytes).matches("HTTP/1.").count();
                assert_eq!(told, 1, "one answer, not {told}: {:?}", String::from_utf8_lossy(&bytes));
                let answer = Answer::read(&bytes);
                answer.is_refusal(status, request);
                Some(answer)
            }
        };
        let refused = self.record.refused(mark).await;
        assert_eq!(refused.reason, reason, "{:?}", refused.detail);
        self.is_at_rest().await;
        assert_eq!(self.record.since(mark).len(), 1, "one record");
        answer
    }

    /// Every permit is back (I10).
    pub async fn is_at_rest(&self) {
        let rest = || {
            let usage = self.gateway.usage();
            [usage.connections, usage.pending, usage.sessions, usage.subjects, usage.servers, usage.networks]
        };
        eventually("every permit is given back", || rest() == [0; 6]).await;
    }

    /// The end of the first session that closes behind a mark, with every permit back.
    pub async fn closure(&self, mark: usize) -> Closure {
        let closure = self.record.closed(mark).await;
        self.is_at_rest().await;
        closure
    }

    /// Nothing that anybody was told, and nothing that reached the backend, holds this secret.
    pub fn keeps(&self, secret: &str) {
        assert!(secret.len() > 8, "a secret that can be searched for");
        assert!(!self.record.as_text().contains(secret), "a secret in the record");
        let seen = self.backend.all_bytes();
        assert!(!seen.windows(secret.len()).any(|part| part == secret.as_bytes()), "a secret at the backend");
    }

    /// Overrides in a file of the operator's, as in a [`Plan`]; nothing is told of it.
    pub fn rewrite(&self, path: &str, toml: &str) {
        let path = self.folder.path().join(path);
        let mut table: Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        merge(&mut table, toml.parse().unwrap());
        fs::write(&path, toml::to_string(&table).unwrap()).unwrap();
    }

    /// What SIGHUP does, where the configuration is good.
    pub async fn reloads(&self) -> Reloaded {
        let reloaded = within("the reload", self.gateway.reload()).await;
        reloaded.unwrap_or_else(|mistakes| panic!("the reload is refused: {mistakes}"))
    }

    /// What SIGHUP does, where it is not: what is said of it.
    pub async fn refuses_to_reload(&self) -> String {
        let mark = self.record.mark();
        let refused = within("the reload", self.gateway.reload()).await.expect_err("a reload that is refused");
        self.record.notice(mark, "reload_refused").await;
        refused.to_string()
    }

    /// What SIGTERM does.
    pub async fn drain(self) {
        within("the drain", self.gateway.drain()).await;
    }
}

/// Puts `over` on top of `base`: tables are merged, everything else is replaced.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
