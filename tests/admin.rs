//! The admin socket: who may open it, what it does, and that a wrong call changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};
use support::admin::{ADMIN, SOCKET, call, exchange};
use support::house::ORIGIN;
use support::process::ran;
use support::{Cases, House, Plan, cases, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use wsgate::gateway::{Gateway, StartError};
use wsgate::policy::Reason;
use wsgate::session::Cause;

fn plan() -> Plan {
    Plan::plain().gateway(ADMIN)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_call_is_told_so_and_changes_nothing() {
    let house = plan().build().await;
    let mut session = house.session().await;
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(65 << 10));
    let json = "Content-Type: application/json\r\n";
    let nobody = "/api/sessions/00000000000000000000000000000000";
    let refusal = "/api/refusals/00000000000000000000000000000000";
    #[rustfmt::skip]
    let wrong = [
        ("no such path", "GET", "/", "", "", 404, "not_found"),
        ("a path of the health listener", "GET", "/metrics", "", "", 404, "not_found"),
        ("a reload that is read", "GET", "/api/reload", "", "", 405, "method_not_allowed"),
        ("a drain that is read", "GET", "/api/drain", "", "", 405, "method_not_allowed"),
        ("sessions that are written", "POST", "/api/sessions", "", "", 405, "method_not_allowed"),
        ("a session that is read", "GET", nobody, "", "", 405, "method_not_allowed"),
        ("a body without its type", "POST", "/api/drain", "", "{}", 415, "content_type"),
        ("a form", "POST", "/api/drain", "Content-Type: application/x-www-form-urlencoded\r\n", "a=b", 415, "content_type"),
        ("a body that is no JSON", "POST", "/api/drain", json, "{", 400, "malformed"),
        ("a body that is no object", "POST", "/api/drain", json, "[]", 400, "malformed"),
        ("a body that asks for more", "POST", "/api/drain", json, "{\"now\":true}", 400, "malformed"),
        ("a body that is too long", "POST", "/api/drain", json, long.as_str(), 413, "too_large"),
        ("an id that is none", "DELETE", "/api/sessions/..", "", "", 400, "malformed"),
        ("a refusal that is written", "POST", refusal, "", "", 405, "method_not_allowed"),
        ("a refusal whose id is none", "GET", "/api/refusals/", "", "", 400, "malformed"),
        ("a refusal that nobody had", "GET", refusal, "", "", 404, "unknown_refusal"),
        ("a top that is written", "DELETE", "/api/top/bytes", "", "", 405, "method_not_allowed"),
        ("a top of nothing", "GET", "/api/top", "", "", 404, "not_found"),
        ("a session that is not here", "DELETE", nobody, "", "", 404, "unknown_session"),
    ];
    let mut cases = Cases::of("wrong calls");
    for (name, method, path, fields, body, status, code) in wrong {
        let (got, told) = call(&house, method, path, fields, body).await;
        assert_eq!((got, &told["error"]), (status, &json!(code)), "{name}: {told}");
        assert!(told["message"].as_str().is_some_and(|message| !message.is_empty()), "{name}: {told}");
        cases.held("OP11", name);
    }
    cases.all(wrong.len());
    session.echoes("nothing happened").await;
    let (status, told) = call(&house, "GET", "/api/sessions", json, "{}").await;
    assert_eq!((status, &told["total"]), (200, &json!(1)), "the twin");
    assert!(exchange(&house, b"\x16\x03\x01\x00\x00").await.starts_with(b"HTTP/1.1 400 "), "no HTTP");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended() {
    let house = plan().build().await;
    let (mut session, mut other) = (house.session().await, house.session().await);
    let (_, told) = call(&house, "GET", "/api/sessions", "", "").await;
    let list = told["sessions"].as_array().unwrap();
    assert_eq!((list.len(), &told["total"]), (2, &json!(2)));
    for one in list {
        let facts = ["client", "policy", "generation", "path"].map(|name| one[name].clone());
        assert_eq!(facts, [json!("127.0.0.1"), json!("chat"), json!(1), json!("/chat")]);
        assert!(one["subject"].as_str().is_some_and(|subject| subject.starts_with("login/")), "{one}");
        assert_eq!(one["server"], json!(format!("ws://{}", house.backend.address)));
    }
    let token = house.signer.token();
    assert!(!told.to_string().contains(&token[..20]), "OP10: no token is listed");
    let mark = house.record.mark();
    let id = list[0]["id"].as_str().unwrap();
    let (status, told) = call(&house, "DELETE", &format!("/api/sessions/{id}"), "", "").await;
    assert_eq!((status, told), (200, json!({ "ended": id })));
    let closure = house.record.closed(mark).await;
    assert_eq!((closure.who.id.to_string().as_str(), closure.cause), (id, Cause::Revoked));
    let (first, second) = (session.frame(), other.frame());
    let ended = tokio::select! { frame = first => frame, frame = second => frame };
    assert_eq!(ended.unwrap().close_code(), Some(4403));
    drop((session, other));
    house.is_at_rest().await;
    cases::held("OP11", "a session is seen and ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reload_list_and_drain() {
    let house = plan().build().await;
    let folder = house.folder.path();
    let mut session = house.session().await;
    let mut cases = Cases::of("commands");
    ran(folder, &["sessions"], "").await.ended(0).told(&[" chat login/", "1 of 1 sessions"]);
    ran(folder, &["sessions", "--end", &"0".repeat(32)], "").await.ended(1).complained(&["unknown_session"]);
    cases.held("OP11", "sessions");
    house.rewrite("policies/chat.toml", "[origin]\nallow = [\"*\"]");
    let refused = ran(folder, &["reload"], "").await;
    refused.ended(78).complained(&["nothing was changed", "error[danger] ", "policies/chat.toml:"]);
    cases.held("OP04", "a reload that is refused");
    house.rewrite("policies/chat.toml", &format!("[origin]\nallow = [\"{ORIGIN}\", \"https://other.test\"]"));
    ran(folder, &["reload"], "").await.ended(0).told(&["policy version 2; 1 session judged again, 0 ended"]);
    cases.held("OP05", "a reload");
    let socket = folder.join(SOCKET);
    ran(folder, &["drain", "--socket", socket.to_str().unwrap()], "").await.ended(0).told(&["draining 1 session\n"]);
    within("the drain is asked for", house.gateway.drain_asked()).await;
    session.echoes("until whoever runs it drains").await;
    drop(session);
    let House { gateway, folder, .. } = house;
    within("the drain", gateway.drain()).await;
    assert!(!folder.path().join(SOCKET).exists(), "its socket goes with it");
    let gone = ran(folder.path(), &["reload"], "").await;
    gone.ended(2).complained(&["does the gateway run?"]);
    cases.held("OP01", "a drain");
    cases.all(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_explained_by_the_gateway_that_told_it() {
    let house = plan().build().await;
    let folder = house.folder.path();
    let mark = house.record.mark();
    let mut foreign = house.request_with(|request| request.set("Origin", "https://evil.test"));
    foreign.target("/chat?access_token=a-secret-that-nobody-may-see");
    let answer = house.refuses(&foreign, Reason::OriginNotAllowed).await.unwrap();
    let id = house.record.refused(mark).await.who.id.to_string();
    assert!(String::from_utf8_lossy(&answer.body).contains(&id), "the client was shown it");
    let (status, told) = call(&house, "GET", &format!("/api/refusals/{id}"), "", "").await;
    let facts = ["id", "reason", "status", "client", "path", "origin"].map(|name| told[name].clone());
    let expected = json!([id, "origin_not_allowed", 403, "127.0.0.1", "/chat", "https://evil.test"]);
    assert_eq!((status, json!(facts)), (200, expected));
    assert!(!told.to_string().contains("secret"), "OP10: {told}");
    let explained =
        ["refused 403", "reason: origin_not_allowed", "origin: https://evil.test", "not in the policy's list"];
    ran(folder, &["explain", &id], "").await.ended(0).told(&explained);
    let elsewhere = tempfile::tempdir().unwrap();
    let socket = folder.join(SOCKET);
    let asked = ["explain", &id, "--socket", socket.to_str().unwrap()];
    ran(elsewhere.path(), &asked, "").await.ended(0).told(&explained);
    let log = format!("{{\"id\":\"{id}\",\"event\":\"refused\",\"reason\":\"from_the_log\"}}\n");
    ran(folder, &["explain", &id], &log).await.ended(0).told(&["reason: from_the_log"]);
    let unknown = "0".repeat(32);
    ran(folder, &["explain", &unknown], "").await.ended(1).told(&["none of the last 4096 refusals"]);
    ran(elsewhere.path(), &["explain", &id], "").await.ended(1).told(&["no gateway can be asked: gateway.toml"]);
    cases::held("OP11", "a refusal is explained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_nobody_was_told_of_is_not_kept() {
    let house = plan().gateway("capacity.admissions = \"1/h burst 1\"\nadmission.queue = \"3s\"").build().await;
    house.admits(&house.request()).await;
    let found = async |mark: usize| {
        let refused = house.record.refused(mark).await;
        assert_eq!(refused.reason, Reason::AdmissionPace);
        let (status, told) = call(&house, "GET", &format!("/api/refusals/{}", refused.who.id), "", "").await;
        (status, told["error"].as_str().map(str::to_owned))
    };
    let mark = house.record.mark();
    let mut slow = house.tcp().await;
    slow.write_all(&[0x16]).await.unwrap();
    assert_eq!(found(mark).await, (404, Some(String::from("unknown_refusal"))), "he had no TLS to be told by");
    drop(slow);
    house.is_at_rest().await;
    let mark = house.record.mark();
    house.refuses(&house.request(), Reason::AdmissionPace).await;
    assert_eq!(found(mark).await, (200, None), "the twin");
    cases::held("OP11", "a refusal without an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_slowly_keeps_nobody_waiting() {
    let house = plan().build().await;
    let mut cases = Cases::of("slow calls");
    let mut silent = Vec::new();
    for _ in 0..3 * 16 {
        silent.push(connect(&house).await);
    }
    assert_eq!(call(&house, "GET", "/api/sessions", "", "").await.0, 200);
    cases.held("OP11", "beside a crowd that says nothing");
    for mut stream in silent {
        assert_eq!(rest(&mut stream).await, "", "it is cut, for its silence or for another");
    }
    cases.held("OP11", "silence");
    let mut stream = connect(&house).await;
    stream.write_all(b"POST /api/drain HTTP/1.1\r\nHost: admin\r\n").await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    cases.held("OP11", "a head that does not end");
    let mut stream = connect(&house).await;
    let head = "POST /api/drain HTTP/1.1\r\nHost: admin\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n";
    stream.write_all(format!("{head}{{").as_bytes()).await.unwrap();
    let told = rest(&mut stream).await;
    assert!(told.starts_with("HTTP/1.1 408 ") && told.contains("\"slow\""), "{told}");
    cases.held("OP11", "a body that does not end");
    house.session().await.closes(1000).await;
    cases.all(4);
}

/// A connection to the admin socket, once there is room for it in the kernel's queue.
async fn connect(house: &House) -> UnixStream {
    loop {
        match UnixStream::connect(house.folder.path().join(SOCKET)).await {
            Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::task::yield_now().await,
            connected => return connected.unwrap(),
        }
    }
}

async fn rest(stream: &mut UnixStream) -> String {
    let mut told = Vec::new();
    let _ = within("the end of a call", stream.read_to_end(&mut told)).await;
    String::from_utf8(told).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_who_sends_how_much() {
    let house = plan().second_policy("other", "[route]\npaths = [\"/other\"]").build().await;
    let mut quiet = house.session().await;
    let (other, _) = house.session_of(&house.request_with(|request| request.target("/other"))).await;
    quiet.echoes("before anybody looked").await;
    for by in ["bytes", "messages"] {
        let mark = house.record.mark();
        let mut busy = house.session().await;
        let id = house.record.opened(mark).await.who.id.to_string();
        let path = format!("/api/top/{by}");
        let talks = async {
            loop {
                busy.echoes("a message of some bytes").await;
            }
        };
        let (status, told) =
            tokio::select! { told = call(&house, "GET", &path, "", "") => told, () = talks => unreachable!() };
        assert_eq!((status, &told["total"]), (200, &json!(3)), "{told}");
        let policies = told["policies"].as_array().unwrap();
        let counts: Vec<_> = policies.iter().map(|one| (one["policy"].as_str(), one["sessions"].as_u64())).collect();
        assert_eq!(counts, [(Some("chat"), Some(2)), (Some("other"), Some(1))]);
        let sessions = told["sessions"].as_array().unwrap();
        assert_eq!(sessions[0]["id"], json!(id), "{told}");
        for way in ["from_client", "from_backend"] {
            let rates = |one: &Value| ["messages_per_s", "bytes_per_s"].map(|what| one[way][what].as_u64().unwrap());
            let [messages, bytes] = rates(&sessions[0]);
            assert!(messages > 0 && bytes > 20 * messages, "{told}");
            assert_eq!([&sessions[1], &sessions[2], &policies[1]].map(rates), [[0, 0]; 3], "{told}");
            assert_eq!(rates(&policies[0]), [messages, bytes], "{told}");
        }
        drop(busy);
        house.record.closed(mark).await;
    }
    let shown = ran(house.folder.path(), &["top", "--messages", "-n", "1"], "").await;
    shown.ended(0).told(&[
        "2 sessions; a second's worth",
        "policy chat: 1 session, up 0/s 0B/s",
        "policy other: 1 session,",
    ]);
    assert_eq!(shown.out.lines().count(), 4, "{}", shown.out);
    assert!(!shown.out.contains('\u{1b}'), "a pipe is no terminal");
    drop((quiet, other));
    house.is_at_rest().await;
    cases::held("OP11", "who sends how much");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_the_owners_alone() {
    let house = plan().build().await;
    let path = house.folder.path().join(SOCKET);
    let metadata = fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    cases::held("OP11", "the mode of the socket");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_socket_is_replaced_and_anything_else_is_not() {
    let start = async |prepare: &dyn Fn(&std::path::Path) -> Option<UnixListener>| {
        let written = plan().written("127.0.0.1:9".parse().unwrap());
        let path = written.folder.path().join(SOCKET);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let kept = prepare(&path);
        let observer = std::sync::Arc::new(support::observer::Record::before(None));
        let started = Gateway::start(written.load().unwrap(), observer).await;
        let stands = fs::symlink_metadata(&path).unwrap().file_type().is_socket();
        drop(kept);
        (started, stands)
    };
    let (started, _) = start(&|path| {
        drop(UnixListener::bind(path).unwrap());
        None
    })
    .await;
    started.expect("a socket that nobody serves is replaced");
    let (started, stands) = start(&|path| Some(UnixListener::bind(path).unwrap())).await;
    let Err(StartError::Unusable(said)) = started else { panic!("a socket that somebody serves") };
    assert!(stands && said.contains("another gateway serves it"), "{said}");
    let (started, stands) = start(&|path| fs::write(path, "precious").map(|()| None).unwrap()).await;
    let Err(StartError::Unusable(said)) = started else { panic!("a file that is no socket") };
    assert!(!stands && said.contains("something else than a socket"), "{said}");
    cases::held("OP03", "sockets that stand there already");
}
