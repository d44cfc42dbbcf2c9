//! Access that is taken away: from live sessions, from handshakes under way, and from whoever comes later, restarts
//! included.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit, setrlimit};
use serde_json::{Value, json};
use support::admin::{ADMIN, call, call_in, tell};
use support::backend::{SWITCHING, Seen};
use support::observer::Record;
use support::process::{Process, Running, WSGATE, ran, wsgate};
use support::tokens::{digest, now};
use support::{Backend, Cases, House, Plan, Request, Step, Wire, cases, within};
use wsgate::config;
use wsgate::event::SharedObserver;
use wsgate::gateway::{Gateway, StartError};
use wsgate::policy::Reason;
use wsgate::session::Cause;
use wsgate::units::UnixSeconds;

const STATE: &str = "state/revocations";
const LIST: &str = "revoked.txt";
const WORD: &str = "0123456789abcdef0123";

fn plan() -> Plan {
    Plan::plain().gateway(ADMIN).second_policy("other", "[route]\npaths = [\"/other\"]")
}

fn kept() -> Plan {
    plan().gateway("state = \"state\"")
}

fn listed(text: &str) -> Plan {
    plan().gateway("revocations = \"revoked.txt\"").file(LIST, text)
}

/// A handshake of this subject, issued so many seconds ago, with this token id.
fn of(house: &House, subject: &str, age: u64, id: &str) -> Request {
    let token = house.signer.token_with(|claims| {
        claims.insert("sub".into(), json!(subject));
        claims.insert("iat".into(), json!(now() - age));
        claims.insert("nbf".into(), json!(now() - age));
        claims.insert("jti".into(), json!(id));
    });
    house.request_as(&token)
}

fn to_the_other(mut request: Request) -> Request {
    request.target("/other");
    request
}

async fn revoked(house: &House, body: &Value) -> Value {
    let (status, told) = tell(house, "POST", "/api/revoke", body).await;
    assert_eq!(status, 200, "{body}: {told}");
    told
}

/// The same files, read by another process's worth of gateway.
async fn restarted(house: House) -> House {
    let House { gateway, backend, signer, authority, folder, .. } = house;
    within("the drain", gateway.drain()).await;
    let record = Arc::new(Record::before(None));
    let observer: SharedObserver = Arc::<Record>::clone(&record);
    let config = load(folder.path()).unwrap();
    let gateway = Gateway::start(config, observer).await.unwrap();
    House { gateway, backend, record, signer, authority, folder }
}

fn load(folder: &Path) -> Result<config::Config, String> {
    let loaded = config::load(&folder.join("gateway.toml"), &|_| None, UnixSeconds(now()));
    loaded.map(|(config, _)| config).map_err(|mistakes| mistakes.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_ends_its_sessions_and_refuses_newcomers() {
    use Reason::{AccessRevoked, AddressDenied, CredentialRevoked};
    #[rustfmt::skip]
    let kinds = [
        ("a subject", "/api/revoke", json!({ "subject": "alice" }), CredentialRevoked),
        ("a subject of its issuer", "/api/revoke", json!({ "subject": "alice", "issuer": "login" }), CredentialRevoked),
        ("a token", "/api/revoke", json!({ "token_id": "t-alice" }), CredentialRevoked),
        ("a session", "/api/revoke", json!({ "session": "?" }), AccessRevoked),
        ("an address", "/api/revoke", json!({ "address": "127.0.0.1/32" }), AccessRevoked),
        ("a policy", "/api/revoke", json!({ "policy": "chat" }), AccessRevoked),
        ("an address that is denied", "/api/deny", json!({ "address": "127.0.0.1" }), AddressDenied),
    ];
    let mut cases = Cases::of("kinds of revocations");
    for (name, path, mut body, reason) in kinds.clone() {
        let house = plan().build().await;
        let request = of(&house, "alice", 60, "t-alice");
        let mark = house.record.mark();
        let mut lost = house.session_of(&request).await.0;
        let id = house.record.opened(mark).await.who.id.to_string();
        let twin = to_the_other(of(&house, "bob", 60, "t-bob"));
        let mut stays = house.wire_from("127.0.0.2").await;
        House::opened(&mut stays, &twin).await;
        if body["session"].is_string() {
            body["session"] = json!(id);
        }
        let mark = house.record.mark();
        let (status, told) = tell(&house, "POST", path, &body).await;
        assert_eq!((status, &told["ended"], &told["kept"]), (200, &json!(1), &json!(false)), "{name}: {told}");
        assert_eq!(house.record.closed(mark).await.cause, Cause::Revoked, "{name}");
        lost.is_closed_with(4403).await;
        stays.echoes("nobody meant me").await;
        stays.closes(1000).await;
        drop((lost, stays));
        house.is_at_rest().await;
        if reason == AddressDenied {
            let mark = house.record.mark();
            assert!(house.try_wire("127.0.0.1", support::house::HOST).await.is_err(), "{name}: before TLS");
            assert_eq!(house.record.refused(mark).await.reason, reason, "{name}");
        } else if !body["session"].is_string() {
            house.refuses(&request, reason).await;
        }
        house.admits_on(house.wire_from("127.0.0.2").await, &twin).await;
        let (status, _) = tell(&house, "DELETE", path, &body).await;
        assert_eq!(status, 200, "{name}: it is lifted");
        house.admits(&request).await;
        let (status, told) = tell(&house, "DELETE", path, &body).await;
        assert_eq!((status, &told["error"]), (404, &json!("unknown_entry")), "{name}: once");
        cases.held("AU28", name);
    }
    cases.all(kinds.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_close_is_gone_with_its_place() {
    let house = plan().build().await;
    let mut session = house.session().await;
    let begun = tokio::time::Instant::now();
    revoked(&house, &json!({ "subject": "alice" })).await;
    assert_eq!(session.frame().await.and_then(|frame| frame.close_code()), Some(4403));
    // It says nothing, ends nothing and keeps its socket open.
    assert!(session.frame().await.is_none(), "its stream ends");
    within("its place is free", async { while call(&house, "GET", "/api/sessions", "", "").await.1["total"] != 0 {} })
        .await;
    let lived = begun.elapsed();
    assert!(lived < Duration::from_millis(1900), "the second, and not the time to linger: {lived:?}");
    drop(session);
    cases::held("AU28", "a client that ignores its Close");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_logs_in_again_comes_in_and_whoever_does_not_say_when_does_not() {
    let way = "[[auth]]\nby = \"token\"\ntokens = \"chat.tokens\"\nfrom = [\"query:token\"]";
    let line = format!("{} kiosk use_until=9000-01-01T00:00:00Z\n", digest(WORD));
    let house = plan().policy(way).file("policies/chat.tokens", line).build().await;
    let mut session = house.session_of(&to_the_other(of(&house, "alice", 60, "t"))).await.0;
    let told = revoked(&house, &json!({ "subject": "alice", "since": now() - 30, "for": "1h" })).await;
    assert_eq!(told["ended"], 1);
    session.is_closed_with(4403).await;
    drop(session);
    house.refuses(&to_the_other(of(&house, "alice", 30, "t")), Reason::CredentialRevoked).await;
    house.admits(&to_the_other(of(&house, "alice", 20, "t"))).await;
    cases::held("AU28", "a token that was issued later");
    let by_word = house.request_with(|request| {
        request.remove("Authorization");
        request.target(format!("/chat?token={WORD}"));
    });
    house.admits(&by_word).await;
    revoked(&house, &json!({ "subject": "kiosk", "issuer": "tokens:chat" })).await;
    house.refuses(&by_word, Reason::CredentialRevoked).await;
    cases::held("AU28", "a token that does not say when it was issued");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_under_way_is_judged_again() {
    let script = vec![Step::Head, Step::Gate, Step::Send(SWITCHING.into()), Step::Echo];
    let mut cases = Cases::of("revoked under way");
    let orders = [
        ("its subject", json!({ "subject": "alice" }), Some((401, Reason::CredentialRevoked))),
        ("its network", json!({ "address": "127.0.0.0/8" }), Some((403, Reason::AccessRevoked))),
        ("another subject", json!({ "subject": "bob" }), None),
    ];
    for (name, body, expected) in &orders {
        let house = plan().script(script.clone()).build().await;
        let mark = house.record.mark();
        let mut wire = house.wire().await;
        wire.send(&house.request().bytes()).await;
        let asked = |seen: &[Seen]| seen.last().is_some_and(|last| !last.head.is_empty());
        house.backend.wait("the handshake is at the backend", asked).await;
        assert_eq!(revoked(&house, body).await["ended"], 0, "{name}: it is no session yet");
        house.backend.release();
        let status = wire.answer_head().await.status;
        match expected {
            Some((refused, reason)) => {
                assert_eq!(status, *refused, "{name}");
                assert_eq!(house.record.refused(mark).await.reason, *reason, "{name}");
            }
            None => assert_eq!(status, 101, "{name}"),
        }
        drop(wire);
        house.is_at_rest().await;
        cases.held("AU28", name);
    }
    cases.all(orders.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_order_names_its_member_and_changes_nothing() {
    let house = plan().build().await;
    let mut session = house.session().await;
    #[rustfmt::skip]
    let wrong = [
        ("POST", "/api/revoke", "", 400, "the body"),
        ("POST", "/api/revoke", "{}", 400, "exactly one of"),
        ("POST", "/api/revoke", r#"{"subject":"alice","policy":"chat"}"#, 400, "`policy`"),
        ("POST", "/api/revoke", r#"{"subject":"alice","subject":"alice"}"#, 400, "`subject`"),
        ("POST", "/api/revoke", r#"{"subject":"alice","from":"now"}"#, 400, "`from`"),
        ("POST", "/api/revoke", r#"{"subject":["alice"]}"#, 400, "`subject`"),
        ("POST", "/api/revoke", r#"{"subject":"alice","until":1}"#, 400, "`until`"),
        ("POST", "/api/revoke", r#"{"subject":"alice","for":"0s"}"#, 400, "`for`"),
        ("POST", "/api/revoke", r#"{"subject":"alice","for":"100000000h"}"#, 400, "`for`"),
        ("POST", "/api/revoke", r#"{"subject":"alice","until":253402300800}"#, 400, "`until`"),
        ("POST", "/api/revoke", r#"{"policy":"chess"}"#, 404, "`policy`"),
        ("POST", "/api/revoke", r#"{"subject":"alice","issuer":"nope"}"#, 404, "`issuer`"),
        ("POST", "/api/revoke", r#"{"token_id":"t","issuer":"tokens:chat"}"#, 404, "`issuer`"),
        ("POST", "/api/deny", r#"{"subject":"alice"}"#, 400, "`subject`"),
        ("POST", "/api/deny", r#"{"address":"127.0.0.1/8"}"#, 400, "`address`"),
        ("DELETE", "/api/revoke", r#"{"subject":"alice","for":"1h"}"#, 400, "`for`"),
        ("PUT", "/api/revoke", r#"{"subject":"alice"}"#, 405, "POST, DELETE"),
        ("POST", "/api/revocations", "", 405, "GET"),
        ("GET", "/api/deny", r#"{"address":"127.0.0.1"}"#, 400, "takes nothing"),
    ];
    let mut cases = Cases::of("wrong orders");
    for (method, path, body, status, said) in wrong {
        let (got, told) = call(&house, method, path, "Content-Type: application/json\r\n", body).await;
        assert_eq!(got, status, "{body}: {told}");
        assert!(told["message"].as_str().unwrap().contains(said), "{body}: {told}");
        cases.held("OP11", body);
    }
    cases.all(wrong.len());
    assert_eq!(call(&house, "GET", "/api/revocations", "", "").await.1["total"], 0);
    session.echoes("nothing happened").await;
    for number in 0..3 {
        revoked(&house, &json!({ "token_id": format!("t-{number}"), "for": "1h" })).await;
    }
    let (_, told) = call(&house, "GET", "/api/revocations", "", "").await;
    assert_eq!((told["total"].as_u64(), &told["revocations"][2]["token_id"]), (Some(3), &json!("t-2")), "the twin");
    assert_eq!(call(&house, "GET", "/api/deny", "", "").await.1["total"], 0, "none of them denies an address");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_stays_so_after_a_restart() {
    let house = kept().build().await;
    let (alice, bob) = (of(&house, "alice", 60, "a"), of(&house, "bob", 60, "b"));
    assert_eq!(revoked(&house, &json!({ "subject": "alice" })).await["kept"], true);
    revoked(&house, &json!({ "subject": "bob" })).await;
    tell(&house, "DELETE", "/api/revoke", &json!({ "subject": "bob" })).await;
    let (_, told) = tell(&house, "POST", "/api/deny", &json!({ "address": "127.0.0.3" })).await;
    assert_eq!(told["kept"], true);
    let (_, before) = call(&house, "GET", "/api/revocations", "", "").await;
    let house = restarted(house).await;
    assert_eq!(call(&house, "GET", "/api/revocations", "", "").await.1, before);
    house.refuses(&alice, Reason::CredentialRevoked).await;
    house.admits(&bob).await;
    assert!(house.try_wire("127.0.0.3", support::house::HOST).await.is_err());
    cases::held("AU28", "a restart");
    // Whoever ends in the midst of a line leaves a part of it.
    let path = house.folder.path().join(STATE);
    let torn = fs::read_to_string(&path).unwrap() + "0123456789abcdef + {\"subject\":\"car";
    let House { gateway, folder, .. } = house;
    within("the drain", gateway.drain()).await;
    fs::write(&path, torn).unwrap();
    let record = Arc::new(Record::before(None));
    let observer: SharedObserver = Arc::<Record>::clone(&record);
    let gateway = Gateway::start(load(folder.path()).unwrap(), observer).await.unwrap();
    let said = record.notice(0, "state_torn").await.text;
    assert!(said.contains("revocations: line 4 was torn"), "{said}");
    // Nobody else writes there meanwhile.
    let second = Gateway::start(load_beside(folder.path()), Arc::new(Record::before(None))).await;
    let Err(StartError::Unusable(said)) = second else { panic!("two gateways write to one state") };
    assert!(said.contains("state/lock: another gateway holds this state"), "{said}");
    within("the drain", gateway.drain()).await;
    cases::held("OP03", "a state that somebody holds");
    let damaged = fs::read_to_string(&path).unwrap().replacen("alice", "alicia", 1);
    fs::write(&path, damaged).unwrap();
    let refused = Gateway::start(load(folder.path()).unwrap(), Arc::new(Record::before(None))).await;
    let Err(StartError::Unusable(said)) = refused else { panic!("a damaged state is believed") };
    assert!(said.contains("state/revocations:2: the line is damaged"), "{said}");
    cases::held("OP03", "a state that is damaged");
}

/// The same configuration with an admin socket of its own.
fn load_beside(folder: &Path) -> config::Config {
    let mut config = load(folder).unwrap();
    config.gateway.admin = None;
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_watched_and_a_bad_one_is_told_with_its_place() {
    let line = |subject: &str| format!("subject {subject} until=9000-01-01T00:00:00Z # left\n");
    let said = listed("subject alice\n\npolicy  chess=1 until=never\n").refused_at_load();
    assert!(said.contains("until=TIME is missing") && said.contains("until=never"), "{said}");
    cases::held("OP04", "a list of revocations that is wrong at the start");
    let house = listed(&line("bob")).build().await;
    let shown = load_error(&house, "address 1.2.3.4/8 until=1\n");
    assert!(shown.contains("revoked.txt:1:9"), "{shown}");
    put(&house, &line("bob"));
    let (alice, bob) = (of(&house, "alice", 60, "a"), of(&house, "bob", 60, "b"));
    house.refuses(&bob, Reason::CredentialRevoked).await;
    let mut session = house.session_of(&alice).await.0;
    let mark = house.record.mark();
    put(&house, "\n  who is this\n");
    let notice = house.record.notice(mark, "revocations_kept").await.text;
    assert!(notice.contains("revoked.txt:2:3: a line begins with"), "{notice}");
    session.echoes("nobody could read that").await;
    let mut wire = house.wire().await;
    wire.send(&bob.bytes()).await;
    assert_eq!(wire.answer_head().await.status, 401, "what was read before stays in use");
    drop(wire);
    let mark = house.record.mark();
    put(&house, &line("alice"));
    let notice = house.record.notice(mark, "revocations_replaced").await.text;
    assert_eq!(notice, "read 1 revocations again; 1 sessions ended");
    session.is_closed_with(4403).await;
    drop(session);
    house.is_at_rest().await;
    house.refuses(&alice, Reason::CredentialRevoked).await;
    house.admits(&bob).await;
    let (_, told) = call(&house, "GET", "/api/revocations", "", "").await;
    assert_eq!((&told["total"], &told["revocations"][0]["from"]), (&json!(1), &json!("file")));
    let (status, told) = tell(&house, "DELETE", "/api/revoke", &json!({ "subject": "alice" })).await;
    assert_eq!((status, &told["error"]), (404, &json!("unknown_entry")), "a file's line is lifted in the file");
    cases::held("AU28", "a list that is watched");
    fs::write(house.folder.path().join("other.txt"), line("bob")).unwrap();
    house.rewrite("gateway.toml", "revocations = \"other.txt\"");
    house.reloads().await;
    house.refuses(&bob, Reason::CredentialRevoked).await;
    house.admits(&alice).await;
    cases::held("OP04", "another list by a reload");
}

/// Puts a list in the other's place, as an operator does who wants nobody to read a half of it.
fn put(house: &House, list: &str) {
    let folder = house.folder.path();
    fs::write(folder.join("beside.txt"), list).unwrap();
    fs::rename(folder.join("beside.txt"), folder.join(LIST)).unwrap();
}

/// What is said of this list where a gateway starts with it.
fn load_error(house: &House, list: &str) -> String {
    put(house, list);
    load(house.folder.path()).unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_revoke_deny_list_and_lift() {
    let house = plan().build().await;
    let folder = house.folder.path();
    let mut session = house.session().await;
    let run = async |arguments: &[&str]| ran(folder, arguments, "").await;
    run(&["revoke", "--subject", "bob", "--for", "1h"]).await.ended(0).told(&[
        "revoked: subject bob since=",
        "0 sessions ended",
        "a restart forgets this",
    ]);
    session.echoes("I am alice").await;
    run(&["revoke", "--subject", "alice", "--issuer", "login"])
        .await
        .ended(0)
        .told(&["issuer=login", "1 session ended"]);
    session.is_closed_with(4403).await;
    run(&["deny", "203.0.113.0/24", "--for", "1h"]).await.ended(0).told(&["revoked: deny 203.0.113.0/24 until="]);
    run(&["deny", "--list"]).await.ended(0).told(&["deny 203.0.113.0/24 until=", "from=call", "1 entry\n"]);
    run(&["revoke", "--list"]).await.ended(0).told(&["subject alice issuer=login", "subject bob", "3 entries"]);
    run(&["deny", "203.0.113.0/24", "--lift"]).await.ended(0).told(&["lifted: deny 203.0.113.0/24"]);
    run(&["deny", "203.0.113.0/24", "--lift"]).await.ended(1).complained(&["unknown_entry"]);
    let shorter = run(&["revoke", "--subject", "bob", "--for", "1m"]).await;
    shorter.ended(0).told(&["revoked: subject bob", "reaches further than this one", "a restart forgets this"]);
    let longer = run(&["revoke", "--subject", "bob", "--for", "2h"]).await;
    assert!(!longer.out.contains("reaches further"), "{}", longer.out);
    longer.ended(0);
    run(&["revoke", "--subject", "bob", "--issuer", "nope"]).await.ended(1).complained(&["unknown_issuer", "`issuer`"]);
    run(&["revoke", "--policy", "chess"]).await.ended(1).complained(&["unknown_policy", "`policy`"]);
    run(&["revoke", "--subject", "a", "--policy", "b"]).await.ended(2).complained(&["cannot be used with"]);
    run(&["revoke"]).await.ended(2).complained(&["required"]);
    cases::held("OP11", "commands that revoke");
    drop(session);
    house.is_at_rest().await;
}
/// A gateway whose files may have a kilobyte, as a disk that is full: a write beyond it fails.
fn on_a_full_disk(folder: &Path) -> Command {
    let mut command = Command::new("sh");
    // The signal that comes with such a write would end the process: it is ignored, and the write fails.
    command.args(["-c", "trap '' XFSZ; ulimit -S -f 1; exec \"$0\" run", WSGATE]).current_dir(folder);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_made_up_for() {
    let backend = Backend::echo().await;
    let written = kept().gateway("health = { address = \"127.0.0.1:0\" }").written(backend.address);
    let folder = written.folder.path();
    let process = Process::start(on_a_full_disk(folder));
    process.notice("listening").await;
    let revoke = async |number: u32| {
        let subject = format!("somebody-with-a-long-name-{number:04}");
        ran(folder, &["revoke", "--subject", &subject, "--for", "1h"], "").await
    };
    let mut lost = 0;
    let mut written = 0;
    while lost == 0 {
        let told = revoke(written).await;
        told.ended(0).told(&["0 sessions ended"]);
        if told.out.contains("it holds, and is not written yet") {
            lost = written + 1
        } else {
            written += 1
        }
        assert!(written < 100, "the disk is never full");
    }
    assert!(written > 0, "the twin: what was written before");
    ran(folder, &["revoke", "--list"], "")
        .await
        .ended(0)
        .told(&[&format!("{lost} entries"), &format!("-name-{written:04}")]);
    process.notice("state_lost").await;
    let pid = Pid::from_raw(process.id().try_into().unwrap());
    prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
    process.notice("state_written").await;
    let text = fs::read_to_string(folder.join(STATE)).unwrap();
    assert_eq!(text.lines().count(), 1 + usize::try_from(lost).unwrap(), "{text}");
    revoke(lost).await.ended(0);
    process.signal(Signal::TERM);
    process.ends().await.ended(0);
    cases::held("OP03", "a full disk");
}

/// How many live at once: each takes two descriptors of the gateway's 20 000, and one of a client and of a backend here.
const MANY: usize = 8000;

const FOR_MANY: &str = "[capacity]\nsessions = 9000\npending = 9000\n[address]\nsessions = 9000\npending = 9000";
const POLICY_FOR_MANY: &str = "[limits]\nconnections_per_address = 9000\nconnections_per_subject = 9000";

/// The processor time of a process so far, as the kernel accounts it.
fn cpu(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods, reason = "it measures")]
#[ignore = "8000 sessions take 16 000 descriptors and the whole machine: .ci/long"]
async fn eight_thousand_sessions_end_within_a_second() {
    let files = getrlimit(Resource::Nofile).maximum;
    assert!(files.is_none_or(|files| files >= 20_000), "{files:?} open files are too few");
    setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files }).unwrap();
    let backend = Backend::echo().await;
    let plan = kept().without_tls().gateway(FOR_MANY).policy(POLICY_FOR_MANY);
    let written = plan.written(backend.address);
    let folder = written.folder.path();
    let gateway = Running::start(wsgate(folder, &["run"])).await;
    let mut request = Request::good(support::house::HOST, "/chat");
    request.set("Origin", support::house::ORIGIN);
    request.set("Authorization", format!("Bearer {}", plan.signs().token()));
    let mut wires = Vec::with_capacity(MANY);
    let begun = Instant::now();
    while wires.len() < MANY {
        let mut wire = Wire::over(Wire::tcp_from("127.0.0.1", gateway.address).await.unwrap());
        wire.send(&request.bytes()).await;
        assert_eq!(wire.answer_head().await.status, 101, "{}", wires.len());
        wires.push(wire);
    }
    println!("{MANY} sessions opened in {:?}", begun.elapsed());
    let json = "Content-Type: application/json\r\n";

    let policy = folder.join("policies/chat.toml");
    let text = fs::read_to_string(&policy).unwrap();
    fs::write(&policy, format!("{text}\n[session]\nmax_age = \"11h\"\n")).unwrap();
    let begun = Instant::now();
    let (status, told) = call_in(folder, "POST", "/api/reload", "", "").await;
    println!("a reload that judged {} again: {:?}", told["judged"], begun.elapsed());
    assert_eq!((status, &told["judged"], &told["ended"]), (200, &json!(MANY), &json!({})), "{told}");

    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for mut wire in wires {
        clients.spawn(async move {
            let code = wire.frame().await.and_then(|frame| frame.close_code());
            (code, Instant::now())
        });
    }
    println!("{MANY} clients wait after {:?}", begun.elapsed());
    let before = [cpu(gateway.process.id()), cpu(std::process::id())];
    let begun = Instant::now();
    let (status, told) = call_in(folder, "POST", "/api/revoke", json, "{\"subject\":\"alice\"}").await;
    let answered = begun.elapsed();
    assert_eq!((status, &told["ended"], &told["kept"]), (200, &json!(MANY), &json!(true)));
    let mut last = begun;
    while let Some(client) = within("a client is told", clients.join_next()).await {
        let (code, at) = client.unwrap();
        assert_eq!(code, Some(4403));
        last = last.max(at);
    }
    let told = last.duration_since(begun);
    let ended = within("the last session is over", async {
        while call_in(folder, "GET", "/api/sessions", "", "").await.1["total"] != 0 {}
        begun.elapsed()
    })
    .await;
    println!(
        "{MANY} sessions: answered after {answered:?}, the last client told after {told:?}, all over after {ended:?}"
    );
    let [of_gateway, of_peers] = [cpu(gateway.process.id()) - before[0], cpu(std::process::id()) - before[1]];
    println!("processor time: {of_gateway:?} of the gateway, {of_peers:?} of its clients and backend");
    assert!(ended.as_millis() < 1000, "{ended:?}");
    cases::held("AU28", "8000 sessions at once");
}

/// A way in by tokens that live so long at most.
fn living(life: &str) -> String {
    let way = "[[auth]]\nby = \"jwt\"\nissuer = \"login\"\nfrom = [\"authorization\"]\naudience = [\"chat\"]";
    format!("{way}\nmax_life = \"{life}\"\nleeway = \"30s\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_end_an_entry_lasts_as_long_as_the_longest_token_may() {
    let plan = Plan::plain().gateway(ADMIN).policy(&living("20m"));
    let house = plan.second_policy("other", &format!("[route]\npaths = [\"/other\"]\n{}", living("2h"))).build().await;
    let lasts = async |path: &str, body: Value| {
        let before = now();
        let (status, told) = tell(&house, "POST", path, &body).await;
        assert_eq!(status, 200, "{body}: {told}");
        let until: jiff::Timestamp = told["entry"]["until"].as_str().unwrap().parse().unwrap();
        let until = u64::try_from(until.as_second()).unwrap();
        (until.saturating_sub(now()))..=(until - before)
    };
    let mut cases = Cases::of("ends of entries");
    let two_hours = 7230;
    for (name, path, body) in [
        ("a subject", "/api/revoke", json!({ "subject": "alice" })),
        ("a token", "/api/revoke", json!({ "token_id": "t" })),
        ("a network", "/api/deny", json!({ "address": "203.0.113.0/24" })),
    ] {
        assert!(lasts(path, body).await.contains(&two_hours), "{name}");
        cases.held("AU28", name);
    }
    assert!(lasts("/api/revoke", json!({ "subject": "bob", "for": "10m" })).await.contains(&600), "who says is obeyed");
    house.rewrite("policies/other.toml", &living("4h"));
    house.reloads().await;
    assert!(lasts("/api/revoke", json!({ "subject": "carol" })).await.contains(&14_430));
    cases.held("AU28", "by the policies as they are");
    assert!(lasts("/api/revoke", json!({ "subject": "alice" })).await.contains(&14_430));
    cases.held("AU28", "once more");
    cases.all(5);
}
