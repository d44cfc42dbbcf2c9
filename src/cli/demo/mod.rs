//! `wsgate demo`: the whole house once, on this machine, with nothing installed.
//!
//! Makes certificates and keys, starts an echo service and the gateway with the shipped configuration, asks for
//! sessions rightly and wrongly, and shows what came of it. Then it goes on serving.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::connect::ConnectOptions;
use super::exit::Exit;
use super::token::{KeyArgs, TokenArgs, TokenKind, mint_jwt};
use super::{certs, environment, file, token, unix_now};
use crate::config::{self, Config};
use crate::event::SharedObserver;
use crate::gateway::Gateway;
use crate::policy::Policy;
use crate::policy::auth::algorithm::Algorithm;
use crate::policy::forward::ServerHost;
use crate::secret::Secret;
use crate::telemetry::clock::system_clock;
use crate::telemetry::log::Log;

mod echo;
mod record;
mod steps;

use record::Record;
use steps::{ORIGIN, Outcome, Tokens};

/// The shipped configuration, for a folder that has none.
const SHIPPED: [(&str, &str); 2] = [
    ("gateway.toml", include_str!("../../../gateway.toml")),
    ("policies/demo.toml", include_str!("../../../policies/demo.toml")),
];

/// The path that the shipped policy serves.
const PATH: &str = "/echo";

/// How long the minted token is good.
const TOKEN_SECONDS: u64 = 12 * 3600;

/// `wsgate demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Do the steps on free ports and end; exit code 0 only if every step came out as told
    #[arg(long)]
    check: bool,
    /// The folder with gateway.toml, policies/ and certs/; what is missing is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// Runs the demo, telling it on `out`.
pub fn run(args: &DemoArgs, out: &mut dyn Write) -> Exit {
    let prepared = match Prepared::make(&args.dir, out) {
        Ok(prepared) => prepared,
        Err(error) => return super::could_not_run(error),
    };
    let runtime = match super::run::runtime(&prepared.config.gateway) {
        Ok(runtime) => runtime,
        Err(error) => return super::could_not_run(error),
    };
    let exit = runtime.block_on(show(args, prepared, out)).unwrap_or_else(super::could_not_run);
    runtime.shutdown_background();
    exit
}

/// What the demo needs before it starts.
struct Prepared {
    config: Config,
    authorities_pem: Vec<u8>,
    tokens: Tokens,
}

impl Prepared {
    fn make(dir: &Path, out: &mut dyn Write) -> Result<Self, String> {
        for (name, text) in SHIPPED {
            write_if_absent(&dir.join(name), text).map_err(|error| format!("{name}: {error}"))?;
        }
        let made = dir.join("certs");
        certs::ensure(&made, &[], certs::Existing::Keep, unix_now()).map_err(|error| error.to_string())?;
        let tokens = mint(&made)?;
        let (config, _) = config::load(&dir.join("gateway.toml"), &environment, unix_now())
            .map_err(|mistakes| mistakes.to_string())?;
        let authorities_pem = fs::read(made.join("ca.pem")).map_err(|error| format!("ca.pem: {error}"))?;
        let _ = writeln!(
            out,
            "Certificates, keys and a token are in {} (private keys and the token readable by you only).\n",
            made.display()
        );
        Ok(Self { config, authorities_pem, tokens })
    }
}

fn write_if_absent(path: &Path, text: &str) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    file::write_whole(path, file::Mode::Everybody, text.as_bytes())
}

/// Sees to the issuer's key pair, and mints the token that a person can try, and a forged one.
fn mint(made: &Path) -> Result<Tokens, String> {
    let private = made.join("demo-issuer.key");
    let pair = KeyArgs { private: private.clone(), public: Some(made.join("demo-issuer.pub.pem")) };
    token::run(&TokenArgs { kind: TokenKind::Key(pair) }, unix_now(), &mut io::sink())
        .map_err(|error| error.to_string())?;
    let now = unix_now().0;
    let claims = json!({
        "iss": "https://localhost/wsgate-demo", "aud": "demo", "sub": "alice",
        "iat": now, "exp": now.saturating_add(TOKEN_SECONDS),
    });
    let claims = claims.as_object().cloned().unwrap_or_default();
    let key = fs::read(&private).map(Secret::new).map_err(|error| format!("{}: {error}", private.display()))?;
    let stranger = rcgen::KeyPair::generate().map_err(|error| error.to_string())?.serialize_pem();
    let sign = |key: &[u8]| mint_jwt(&claims, key, Algorithm::Es256, None).map_err(|error| error.to_string());
    let tokens = Tokens { good: Secret::new(sign(key.expose())?), forged: Secret::new(sign(stranger.as_bytes())?) };
    file::write_whole(&made.join("demo.token"), file::Mode::Owner, tokens.good.expose().as_bytes())
        .map_err(|error| format!("demo.token: {error}"))?;
    Ok(tokens)
}

async fn show(args: &DemoArgs, prepared: Prepared, out: &mut dyn Write) -> Result<Exit, String> {
    let Prepared { mut config, authorities_pem, tokens } = prepared;
    let echo = if args.check { on_free_ports(&mut config).await? } else { listen(echo_address(&config)?).await? };
    let echo_address = echo.local_addr().map_err(|error| error.to_string())?;
    let mut service = JoinSet::new();
    service.spawn(echo::serve(echo));
    let shown = Arc::new(AtomicBool::new(false));
    let (log, writer) = Log::start(&config.gateway.log, system_clock(), Curtain(Arc::clone(&shown)))
        .map_err(|error| error.to_string())?;
    let record = Record::before(Arc::new(log));
    let observer: SharedObserver = Arc::clone(&record) as SharedObserver;
    // Nobody sends clients here who has to learn that it ends.
    config.gateway.drain_lead = Duration::ZERO;
    let gateway = Gateway::start(config, observer).await.map_err(|error| error.to_string())?;
    let port = gateway.addresses().first().map_or(0, SocketAddr::port);
    let url = format!("wss://localhost:{port}{PATH}");
    let _ = writeln!(out, "Gateway: {url}    echo service: ws://{echo_address}\n");

    let good = ConnectOptions {
        url: url.clone(),
        origin: Some(ORIGIN.into()),
        token: Some(tokens.good.clone()),
        authorities_pem: Some(authorities_pem),
        ..ConnectOptions::default()
    };
    let outcome = steps::run(&good, &tokens, &record, out).await;
    if args.check {
        let _ = writeln!(out, "\n{}", if outcome == Outcome::AsTold { "as told" } else { "NOT as told" });
        gateway.drain().await;
    } else {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
        invite(&args.dir, &url, gateway.health_address(), out);
        shown.store(true, Ordering::Relaxed);
        // The demo ends as it came, by Ctrl-C; a second one does not wait for the drain.
        interrupt.recv().await;
        tokio::select! {
            () = gateway.drain() => {}
            _ = interrupt.recv() => {}
        }
    }
    service.shutdown().await;
    let _ = writer.finish(Duration::from_secs(1));
    Ok(if outcome == Outcome::AsTold { Exit::Well } else { Exit::Findings })
}

/// Standard output for the log, once the steps are told.
struct Curtain(Arc<AtomicBool>);

impl Write for Curtain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.load(Ordering::Relaxed) { io::stdout().write(bytes) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Moves every listener and the health listener to a free port, and the policy to an echo service on another.
async fn on_free_ports(config: &mut Config) -> Result<TcpListener, String> {
    let echo = listen((Ipv4Addr::LOCALHOST, 0).into()).await?;
    let address = echo.local_addr().map_err(|error| error.to_string())?;
    for listener in &mut config.gateway.listeners {
        listener.address.set_port(0);
    }
    config.gateway.health = config.gateway.health.map(|health| (health.ip(), 0).into());
    for policy in &mut config.policies {
        let policy = Arc::get_mut(policy).ok_or("a policy is in use already")?;
        for server in &mut policy.upstream.servers {
            server.host = ServerHost::Address(address);
            server.port = address.port();
        }
    }
    Ok(echo)
}

/// Where the shipped policy looks for the echo service.
fn echo_address(config: &Config) -> Result<SocketAddr, String> {
    let servers = config.policies.iter().flat_map(|policy: &Arc<Policy>| policy.upstream.servers.iter());
    let addresses = servers.filter_map(|server| match server.host {
        ServerHost::Address(address) => Some(address),
        ServerHost::Name(_) => None,
    });
    addresses.into_iter().next().ok_or_else(|| "no policy names a server by address".into())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("the echo service cannot listen on {address}: {error}"))
}

/// The lines with which a person goes on.
fn invite(dir: &Path, url: &str, health: Option<SocketAddr>, out: &mut dyn Write) {
    let certs = dir.join("certs");
    let (ca, token) = (certs.join("ca.pem"), certs.join("demo.token"));
    let (ca, token) = (ca.display(), token.display());
    let metrics = health.map(|health| format!("  curl http://{health}/metrics\n")).unwrap_or_default();
    let _ = writeln!(
        out,
        "\nNow you, from another terminal (wsgate: target/release/wsgate):\n\n\
         \x20 wsgate connect {url} --ca {ca} --origin {ORIGIN} --token-file {token}\n\
         \x20 wsgate connect {url} --ca {ca} --origin https://evil.example --token-file {token}\n\
         \x20 curl --cacert {ca} -i {}\n\
         {metrics}\n\
         What the gateway tells of it follows here. Ctrl-C ends it.\n",
        url.replace("wss://", "https://"),
    );
}
