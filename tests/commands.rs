//! Every command once, through the built binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "the names of the cases that ran are for the reader of the output")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;
use support::cases::{Cases, held};
use support::client::Wire;
use support::frames;
use support::house::{HEADER_ONLY, HOST, ORIGIN};
use support::process::{Process, WSGATE, ran};
use support::{Plan, Stand, Step, eventually};

const COMMANDS: [&str; 10] =
    ["run", "check", "explain", "demo", "connect", "init", "token", "certs", "schema", "completions"];

/// The kinds of services, and whether a policy for one asks for tokens of an issuer.
const KINDS: [(&str, bool); 7] = [
    ("plain", true),
    ("socketio", false),
    ("signalr", true),
    ("graphql", false),
    ("mqtt", false),
    ("phoenix", true),
    ("actioncable", false),
];

/// A folder for one command.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn help_names_every_command() {
    let folder = folder();
    let help = ran(folder.path(), &["--help"], "").await;
    help.ended(0).told(&["Without a command: run.", "Exit codes: 0 all well, 1 findings, 2 could not run, 78"]);
    for command in COMMANDS {
        assert!(help.out.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))), "{command}");
        ran(folder.path(), &[command, "--help"], "").await.ended(0).told(&["Usage: wsgate ", command]);
    }
    ran(folder.path(), &["dance"], "").await.ended(2).complained(&["unrecognized subcommand", "dance"]);
    ran(folder.path(), &["--version"], "").await.ended(0).told(&["wsgate 0."]);
    let [bare, run] = [ran(folder.path(), &[], "").await, ran(folder.path(), &["run"], "").await];
    assert_eq!(bare.ended(78).err, run.ended(78).err, "without a command: run");
    let elsewhere = ["-c", "elsewhere.toml"];
    let [bare, run] =
        [ran(folder.path(), &elsewhere, "").await, ran(folder.path(), &[&["run"], &elsewhere[..]].concat(), "").await];
    assert_eq!(bare.ended(78).complained(&["elsewhere.toml"]).err, run.ended(78).err, "with its option");
    ran(folder.path(), &["-c", "elsewhere.toml", "schema"], "").await.ended(2).complained(&["cannot be used with"]);
    let mut told = Command::new(WSGATE);
    told.arg("schema").env("WSGATE_CONFIG", "elsewhere.toml").current_dir(folder.path());
    Process::start(told).ends().await.ended(0);
    for command in ["run", "check"] {
        let mut elsewhere = Command::new(WSGATE);
        elsewhere.arg(command).env("WSGATE_CONFIG", "elsewhere.toml").current_dir(folder.path());
        Process::start(elsewhere).ends().await.ended(78).complained(&["elsewhere.toml"]);
    }
}

#[tokio::test]
async fn demo_checks_itself_on_free_ports() {
    let folder = folder();
    let demo = ran(folder.path(), &["demo", "--check"], "").await;
    demo.ended(0);
    let lines = [
        ("our page with a good token", "101, echoed"),
        ("another site's page with our user's token", "403 origin_not_allowed"),
        ("our page without a token", "401 credential_missing"),
        ("our page with a forged token", "401 token_signature"),
        ("a client that speaks version 8", "426 version_unsupported"),
        ("one session more than the subject may have", "429 subject_sessions"),
        ("our page again, once those have ended", "101, echoed"),
    ];
    for (step, outcome) in lines {
        let told = demo.out.lines().find(|line| line.contains(step)).unwrap_or_else(|| panic!("{step}: {}", demo.out));
        assert!(told.starts_with("  as told ") && told.ends_with(outcome), "{told}");
    }
    assert!(demo.out.ends_with("\nas told\n"), "{}", demo.out);
    for key in ["ca.key", "server.key", "demo-issuer.key", "demo.token"] {
        assert_eq!(mode(&folder.path().join("certs").join(key)), 0o600, "{key}");
    }
    // As an interrupted first run leaves it.
    fs::remove_file(folder.path().join("certs/demo-issuer.pub.pem")).unwrap();
    ran(folder.path(), &["demo", "--check"], "").await.ended(0).told(&["\nas told\n"]);
    ran(folder.path(), &["check"], "").await.ended(0).told(&["5 of 5 came out as told", "configuration ok"]);
}

#[tokio::test]
async fn every_kind_is_ready_after_what_init_says() {
    let mut ran_kinds = 0;
    for (kind, issuer) in KINDS {
        let folder = folder();
        let init = ran(folder.path(), &["init", kind], "").await;
        init.ended(0).told(&["wrote ./gateway.toml", &format!("wrote ./policies/{kind}.toml"), "wsgate certs"]);
        ran(folder.path(), &["check"], "").await.ended(78).complained(&["certs/server.pem"]);
        follow(folder.path(), &init.out).await;
        let check = ran(folder.path(), &["check"], "").await;
        let issuers = if issuer { "1 issuer " } else { "0 issuers " };
        check.ended(0).told(&["came out as told", "configuration ok: 1 listener, 1 policy, ", issuers]);

        let again = ran(folder.path(), &["init", kind], "").await;
        again.ended(2).complained(&["gateway.toml is there already"]);
        ran_kinds += 1;
    }
    assert_eq!(ran_kinds, 7);
}

/// Does what the lines of `init` that begin with `wsgate` say, as a shell would, up to the last one: that serves.
async fn follow(folder: &Path, told: &str) {
    let mut lines: Vec<&str> = told.lines().map(str::trim).filter(|line| line.starts_with("wsgate ")).collect();
    assert_eq!(lines.pop(), Some("wsgate run"), "{told}");
    assert!(lines.len() >= 2, "{told}");
    for line in lines {
        let mut shell = Command::new("sh");
        let line = line.split('#').next().unwrap().trim();
        shell.arg("-c").arg(line.replacen("wsgate", WSGATE, 1)).current_dir(folder);
        let ran = Process::start(shell).ends().await;
        ran.ended(0);
    }
}

#[tokio::test]
async fn certificates_are_made_once_and_keys_are_the_owners() {
    let folder = folder();
    let path = |name: &str| folder.path().join("certs").join(name);
    let made = ran(folder.path(), &["certs", "--host", "chat.test"], "").await;
    made.ended(0).told(&["ca.pem", "for localhost, 127.0.0.1, ::1, chat.test (397 days)", "To undo: rm"]);
    assert_eq!(
        ["ca.key", "server.key", "ca.pem", "server.pem"].map(|name| mode(&path(name))),
        [0o600, 0o600, 0o644, 0o644]
    );
    let first = fs::read(path("server.pem")).unwrap();
    ran(folder.path(), &["certs"], "").await.ended(0).told(&["kept"]);
    assert_eq!(fs::read(path("server.pem")).unwrap(), first);

    fs::remove_file(path("server.key")).unwrap();
    let partial = ran(folder.path(), &["certs"], "").await;
    partial.ended(2).complained(&["server.key is not: nothing was written; `wsgate certs --force certs`"]);
    assert!(!path("server.key").exists());
    ran(folder.path(), &["certs", "--force"], "").await.ended(0).told(&["made certs/server.key"]);
    assert_ne!(fs::read(path("server.pem")).unwrap(), first);
    assert_eq!(mode(&path("server.key")), 0o600);
    ran(folder.path(), &["certs", "--force", "--host", "a b"], "").await.ended(2).complained(&["neither a DNS name"]);
}

#[tokio::test]
async fn tokens_are_minted_from_files_and_never_from_arguments() {
    let folder = folder();
    let key = ran(folder.path(), &["token", "key", "--private", "login.key"], "").await;
    key.ended(0).told(&["-----BEGIN PUBLIC KEY-----"]);
    assert_eq!(mode(&folder.path().join("login.key")), 0o600);
    assert!(!key.out.contains("PRIVATE"));
    let again = ran(folder.path(), &["token", "key", "--private", "login.key"], "").await;
    assert_eq!(again.ended(0).complained(&["kept login.key"]).out, key.out);
    let written = ["token", "key", "--private", "login.key", "--public", "login.pub.pem"];
    ran(folder.path(), &written, "").await.ended(0).told(&["wrote login.pub.pem"]);
    assert_eq!(fs::read_to_string(folder.path().join("login.pub.pem")).unwrap().trim(), key.out.trim());

    let claims = ["--iss", "https://login.test", "--sub", "alice", "--aud", "chat", "--claim", "scope=chat:join"];
    let jwt = ran(folder.path(), &[&["token", "jwt", "--key", "login.key"][..], &claims].concat(), "").await;
    let parts: Vec<Value> = jwt.ended(0).out.trim().split('.').take(2).map(part).collect();
    assert_eq!(parts[0], serde_json::json!({ "alg": "ES256", "typ": "JWT" }));
    assert_eq!(
        (&parts[1]["sub"], &parts[1]["aud"], &parts[1]["scope"]),
        (&"alice".into(), &"chat".into(), &"chat:join".into())
    );
    assert_eq!(parts[1]["exp"].as_u64().unwrap() - parts[1]["iat"].as_u64().unwrap(), 3600);
    let hmac = ["token", "jwt", "--key", "-", "--alg", "HS256"];
    let secret = "a secret of more than thirty-two octets";
    ran(folder.path(), &[&hmac[..], &claims].concat(), secret).await.ended(0);
    let short = ran(folder.path(), &[&hmac[..], &claims].concat(), "short secret").await;
    assert!(!short.ended(2).err.contains("short secret"), "a secret is not repeated");

    let query = ran(folder.path(), &["token", "query", "--subject", "kiosk"], "").await;
    let lines: Vec<&str> =
        query.ended(0).out.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let [token, line] = lines[..] else { panic!("{lines:?}") };
    assert!(line.starts_with(&format!("{} kiosk use_until=", support::tokens::digest(token))), "{line}");
    assert!(!line.contains(token));
}

/// A part of a JWT.
fn part(text: &str) -> Value {
    serde_json::from_slice(&support::tokens::decode(text)).unwrap()
}

#[tokio::test]
async fn schemas_and_completions_are_printed() {
    let folder = folder();
    for (file, key) in [("gateway", "listener"), ("policy", "route")] {
        let schema = ran(folder.path(), &["schema", file], "").await;
        let schema: Value = serde_json::from_str(&schema.ended(0).out).unwrap();
        assert!(schema["properties"].get(key).is_some(), "{file}");
    }
    let bash = ran(folder.path(), &["completions", "bash"], "").await;
    bash.ended(0).told(&["complete -F"]);
    assert!(COMMANDS.iter().all(|command| bash.out.contains(command)));
}

#[tokio::test]
async fn explain_answers_in_three_forms() {
    let ways = format!("{HEADER_ONLY}[[auth]]\nby = \"ticket\"\nfrom = [\"query:ticket\"]\n");
    let stand = Stand::new(Plan::plain().policy(&ways)).await;
    let code = stand.ran(&["explain", "origin_not_allowed"], "").await;
    code.ended(0).told(&["origin_not_allowed: answered 403. "]);
    let notice = stand.ran(&["explain", "reload_refused"], "").await;
    notice.ended(0).told(&["reload_refused: a notice of the log (error). ", "`wsgate check` tells every mistake"]);
    let both = stand.ran(&["explain", "server_down"], "").await;
    both.ended(0).told(&["server_down: the session ended. ", "server_down: a notice of the log (error). "]);
    let cause = stand.ran(&["explain", "idle_timeout"], "").await;
    cause.ended(0).told(&["idle_timeout: the session ended. "]);

    let mut request = stand.request();
    request.set("Origin", "https://evil.example");
    let (mut wire, answer) = stand.asks(&request).await;
    assert_eq!(answer.status, 403);
    let (body, _) = wire.rest().await;
    let body = String::from_utf8(body).unwrap();
    let id = body.split_whitespace().last().unwrap();
    let record = stand.running.process.record("the refusal", |record| record["event"] == "refused").await;
    assert_eq!(record["id"], id);
    let log = stand.running.process.out();
    let found = stand.ran(&["explain", id], &log).await;
    found.ended(0).told(&["refused\n", "reason: origin_not_allowed", "origin: https://evil.example", "path: /chat"]);
    let unknown = stand.ran(&["explain", "00000000"], &log).await;
    unknown.ended(1).told(&["neither a code of docs/reasons.md or docs/notices.md nor an id"]);

    let url = ["explain", "--url", "wss://chat.test/chat", "--credential", "authorization", "--token-file", "token"];
    let page = |origin: &'static str| [&url[..], &["--origin", origin]].concat();
    let good = stand.ran(&page(ORIGIN), "").await;
    good.ended(0).told(&["admitted by policy chat as login/alice"]);
    let bad = stand.ran(&page("https://evil.example"), "").await;
    bad.ended(1).told(&["refused: origin_not_allowed: answered 403", "detail: \"https://evil.example\""]);
    let ticket = ["explain", "--url", "wss://chat.test/chat?ticket=x", "--origin", ORIGIN];
    stand.ran(&ticket, "").await.ended(1).told(&["refused: ticket_unknown", "judges it by what bought it"]);
    let piped = [&url[..6], &["-", "--origin", ORIGIN]].concat();
    stand.ran(&piped, &stand.token).await.ended(0).told(&["admitted"]);
    let nothing = stand.ran(&["explain"], "").await;
    nothing.ended(2);
}

#[tokio::test]
async fn connect_talks_is_refused_or_finds_nobody() {
    let stand = Stand::new(Plan::plain().policy("route.hosts = [\"localhost\"]")).await;
    let talk = stand.connects(&["--origin", ORIGIN], "hello\nwhat else\n").await;
    talk.ended(0).told(&["connected", "< hello\n", "< what else\n", "closed: 1000"]);
    let refused = stand.connects(&["--origin", "https://evil.example"], "").await;
    refused.ended(1).complained(&["refused: 403 Forbidden"]);
    let record = stand.running.process.record("the refusal", |record| record["event"] == "refused").await;
    let explained = format!("\nexplain it with: wsgate explain {} < ", record["id"].as_str().unwrap());
    refused.complained(&[&explained]);
    assert!(!refused.err.contains("origin_not_allowed"), "the client is not told more than it needs");

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = stand.ran(&["connect", &format!("ws://127.0.0.1:{port}/")], "").await;
    nobody.ended(2).complained(&["could not connect"]);
    stand.ran(&["connect", "https://localhost/"], "").await.ended(2).complained(&["write wss://"]);
    let stranger = stand.ran(&["connect", &format!("wss://localhost:{}/", stand.running.address.port())], "").await;
    stranger.ended(2).complained(&["TLS failed"]);
}

#[tokio::test]
async fn a_signal_drains_and_a_second_ends() {
    let mut cases = Cases::of("signals");
    for (name, signal) in [("SIGTERM", Signal::TERM), ("SIGINT", Signal::INT)] {
        let stand = Stand::new(Plan::plain().gateway("drain = \"10s\"\n[address]\npending = 512")).await;
        let mut wire = stand.session().await;
        stand.running.process.signal(Signal::HUP);
        stand.running.process.notice("reloaded").await;
        wire.echoes("still there").await;

        stand.running.process.signal(signal);
        let close = wire.frame().await.expect("a Close");
        assert_eq!((close.opcode(), close.close_code()), (frames::CLOSE, Some(1001)));
        wire.send(&frames::masked(frames::FIN | frames::CLOSE, &frames::close_body(1001, ""))).await;
        let closed = stand.running.process.record("the closure", |record| record["event"] == "closed").await;
        assert_eq!((&closed["cause"], &closed["code"]), (&"drain".into(), &1001.into()));
        let ended = stand.running.process.ends().await;
        ended.ended(0).told(&["\"draining\""]);
        assert!(!ended.out.contains("drain_cut"), "within the drain time");
        assert_eq!(ended.err, "");
        cases.held("OP01", name);
    }
    cases.all(2);
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_the_drain() {
    // What is in flight has minutes: only the second signal can end this within a test's patience.
    let long = "drain = \"10m\"\nadmission.total = \"5m\"";
    let mut cases = Cases::of("second signals");
    for (name, second) in [("SIGTERM", Signal::TERM), ("SIGINT", Signal::INT)] {
        let stand = Stand::new(Plan::plain().gateway(long).policy("upstream.handshake_timeout = \"4m\"")).await;
        stand.backend.play(vec![Step::Head, Step::Gate]);
        let mut wire = stand.running.wire(&stand.client, HOST).await;
        wire.send(&stand.request().bytes()).await;
        stand.backend.wait("a handshake in flight", |seen| seen.iter().any(|seen| !seen.head.is_empty())).await;
        stand.running.process.signal(Signal::TERM);
        stand.running.process.notice("draining").await;
        stand.running.process.signal(second);
        let ended = stand.running.process.ends().await;
        let records = |event: &str| ended.out.matches(&format!("\"event\":\"{event}\"")).count();
        assert_eq!(records("refused") + records("closed") + records("cut"), 1, "{ended:?}");
        ended.ended(0);
        cases.held("OP03", name);
    }
    cases.all(2);
}

/// Open files of a gateway that is short of them; it starts with about twenty.
const FILES: u64 = 64;

/// Ticks of a second in /proc, on every Linux.
const TICKS: u64 = 100;

#[tokio::test]
async fn no_descriptor_left_pauses_and_recovers() {
    let stand = Stand::started(Plan::plain(), |config| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {FILES}; exec \"$0\" run --config \"$1\"")).args([WSGATE, config]);
        command
    })
    .await;
    let process = &stand.running.process;
    leave_descriptors(process.id(), 1);
    let mut open = Vec::new();
    for _ in 0..FILES {
        open.push(Wire::tcp_from("127.0.0.1", stand.running.address).await.unwrap());
    }
    let paused = process.notice("accept_paused").await;
    assert!(paused["why"].as_str().unwrap().contains("raise the limit of open files"), "{paused}");
    let before = cpu_ticks(process.id());
    let pauses = || process.out().matches("accept_paused").count();
    eventually("three pauses were told", || pauses() >= 3).await;
    let spent = cpu_ticks(process.id()) - before;
    assert!(spent <= TICKS / 4, "{spent} ticks of the processor within two seconds of waiting");
    drop(open);
    leave_descriptors(process.id(), 8);
    let mut wire = stand.session().await;
    wire.closes(1000).await;
    held("RX12", "no descriptor left pauses and recovers");
}

/// Takes a process's descriptors but so many: the gateway itself keeps strangers from taking them all.
fn leave_descriptors(id: u32, left: u64) {
    let taken = fs::read_dir(format!("/proc/{id}/fd")).unwrap().count() as u64;
    let limit = Rlimit { current: Some(taken + left), maximum: Some(FILES) };
    prlimit(Pid::from_raw(id.cast_signed()), Resource::Nofile, limit).unwrap();
}

/// Time of the processor that a process has spent, in hundredths of a second.
fn cpu_ticks(id: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}
