//! The end of a gateway: who learns of it and when, and that nobody who is under way is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::disallowed_methods, reason = "tests own clocks and tasks of their own")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::backend::echo;
use support::client::Answer;
use support::frames::{CLOSE, FIN, close_body, masked};
use support::house::HOST;
use support::process::ran;
use support::{Cases, House, Plan, Stand, Step, Wire, cases, nobody_listens, within};
use tokio::net::TcpStream;
use wsgate::session::Cause;

/// What the health listener says of readiness.
async fn readiness(health: SocketAddr) -> u16 {
    let mut wire = Wire::over(TcpStream::connect(health).await.unwrap());
    wire.send(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
    Answer::read(&wire.rest().await.0).status
}

/// Waits for a Close frame, answers it, and gives its code.
async fn goes(mut wire: Wire) -> Option<u16> {
    let frame = wire.frame().await?;
    assert_eq!(frame.opcode(), CLOSE);
    wire.send(&masked(FIN | CLOSE, &close_body(1001, ""))).await;
    wire.rest().await;
    frame.close_code()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_not_ready_at_once_and_accepts_until_the_lead_is_over() {
    let lead = Duration::from_secs(2);
    let plan = "drain = \"20s\"\ndrain_lead = \"2s\"\nhealth = { address = \"127.0.0.1:0\" }";
    let house = Plan::plain().gateway(plan).build().await;
    let (record, health, address) =
        (Arc::clone(&house.record), house.gateway.health_address().unwrap(), house.address());
    let (request, client) = (house.request(), house.authority.client(&[b"http/1.1"]));
    assert_eq!(readiness(health).await, 200, "the twin");
    let mut before = house.session().await;
    let (mark, began) = (record.mark(), Instant::now());
    let draining = tokio::spawn(house.drain());
    record.notice(mark, "draining").await;
    let mut cases = Cases::of("the lead");
    assert_eq!(readiness(health).await, 503);
    cases.held("OP12", "not ready at once");
    let tcp = Wire::tcp_from("127.0.0.1", address).await.expect("who comes during the lead is accepted");
    let mut late = Wire::tls(tcp, client, HOST).await.unwrap();
    House::opened(&mut late, &request).await;
    for wire in [&mut before, &mut late] {
        wire.echoes("as before").await;
    }
    assert!(began.elapsed() < lead, "the lead was over before it was looked at");
    cases.held("OP01", "the lead still accepts");
    nobody_listens(address).await;
    assert!(began.elapsed() >= lead, "{:?}", began.elapsed());
    assert!(!draining.is_finished());
    let codes = tokio::join!(goes(before), goes(late));
    assert_eq!(codes, (Some(1001), Some(1001)));
    within("the drain", draining).await.unwrap();
    cases.held("OP01", "then nobody is accepted, and sessions close");
    cases.all(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_close_one_after_the_other() {
    const SESSIONS: usize = 60;
    // 4 s less the time to close leave a window of 3 s.
    let plan =
        Plan::plain().gateway("drain = \"4s\"").policy("session.close_timeout = \"1s\"\nsession.close.drain = 4500");
    let house = plan.build().await;
    let record = Arc::clone(&house.record);
    let mut wires = Vec::new();
    for _ in 0..SESSIONS {
        wires.push(house.session().await);
    }
    let mark = record.mark();
    let draining = tokio::spawn(house.drain());
    record.notice(mark, "draining").await;
    let began = Instant::now();
    let told = wires.into_iter().map(|wire| async move { (goes(wire).await, began.elapsed()) });
    let told = futures_util::future::join_all(told).await;
    let mut sixths = [0; 6];
    for (code, at) in &told {
        assert_eq!(*code, Some(4500), "the policy's code");
        // The last one may see its Close a little behind the window.
        sixths[usize::try_from(at.as_millis() / 500).unwrap().min(5)] += 1;
    }
    assert!(sixths.iter().all(|count| (3..=20).contains(count)), "ten in each half second: {sixths:?}");
    within("the drain", draining).await.unwrap();
    assert_eq!(record.closed(mark).await.cause, Cause::Drain);
    assert_eq!(record.since(mark).len(), SESSIONS, "one record each");
    cases::held("OP01", "a histogram of sixty closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_finishes_and_has_its_turn() {
    let plan = Plan::plain().gateway("drain = \"8s\"").policy("session.close_timeout = \"1s\"");
    let house = plan.build().await;
    house.backend.play([vec![Step::Head, Step::Gate], echo().split_off(1)].concat());
    let address = house.address();
    let (request, client) = (house.request(), house.authority.client(&[b"http/1.1"]));
    let mut dialling = house.wire().await;
    dialling.send(&request.bytes()).await;
    house.backend.wait("a handshake in flight", |seen| seen.iter().any(|seen| !seen.head.is_empty())).await;
    let silent = house.tcp().await;
    let House { gateway, backend, record, folder, .. } = house;
    let mark = record.mark();
    let draining = tokio::spawn(gateway.drain());
    record.notice(mark, "draining").await;
    nobody_listens(address).await;
    backend.release();
    let mut cases = Cases::of("what is under way");
    dialling.answer_head().await.is_switching(&request);
    let mut secured = Wire::tls(silent, client, HOST).await.unwrap();
    secured.send(&request.bytes()).await;
    backend.wait("another handshake", |seen| seen.iter().filter(|seen| !seen.head.is_empty()).count() == 2).await;
    backend.release();
    secured.answer_head().await.is_switching(&request);
    let told = tokio::join!(goes(dialling), goes(secured));
    assert_eq!(told, (Some(1001), Some(1001)));
    cases.held("OP01", "a backend that had not answered");
    cases.held("OP01", "a connection that had not said anything");
    within("the drain", draining).await.unwrap();
    drop(folder);
    cases.all(2);
}

#[tokio::test]
async fn the_process_ends_well_however_it_is_drained() {
    let plan = || Plan::plain().gateway("drain = \"2s\"\nadmin = { socket = \"state/admin.sock\" }");
    let mut cases = Cases::of("ways to drain");
    for (name, answers) in [("a client that closes", true), ("a client that does not", false)] {
        let stand = Stand::new(plan()).await;
        let mut wire = stand.session().await;
        stand.ran(&["drain"], "").await.ended(0).told(&["draining 1 session\n"]);
        let close = wire.frame().await.expect("a Close");
        assert_eq!(close.close_code(), Some(1001));
        if answers {
            wire.send(&masked(FIN | CLOSE, &close_body(1001, ""))).await;
            wire.rest().await;
            drop(wire);
        }
        let ended = stand.running.process.ends().await;
        ended.ended(0);
        assert_eq!(ended.out.contains("\"drain_cut\""), !answers, "{name}: {}", ended.out);
        assert_eq!(ended.out.matches("\"cause\":\"drain\"").count(), 1, "{name}: {}", ended.out);
        assert!(!stand.written.folder.path().join("state/admin.sock").exists(), "{name}");
        cases.held("OP01", name);
    }
    cases.all(2);
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_the_lead() {
    let stand = Stand::new(Plan::plain().gateway("drain = \"10m\"\ndrain_lead = \"5m\"")).await;
    let wire = stand.session().await;
    stand.running.process.signal(Signal::TERM);
    stand.running.process.notice("draining").await;
    stand.running.process.signal(Signal::TERM);
    let ended = stand.running.process.ends().await;
    ended.ended(0);
    assert_eq!(ended.out.matches("\"cause\":\"drain\"").count(), 1, "{}", ended.out);
    drop(wire);
    cases::held("OP03", "a second signal during the lead");
}

#[tokio::test]
async fn what_a_killed_gateway_leaves_stops_nobody() {
    let plan = Plan::plain().gateway("admin = { socket = \"state/admin.sock\" }");
    let stand = Stand::new(plan).await;
    let folder = stand.written.folder.path();
    let first = stand.running.address;
    let _session = stand.session().await;
    stand.running.process.signal(Signal::KILL);
    nobody_listens(first).await;
    assert!(folder.join("state/admin.sock").exists(), "it had no time to take its socket away");
    ran(folder, &["sessions"], "").await.ended(2).complained(&["does the gateway run?"]);
    let config = folder.join("gateway.toml");
    // On the same port, with the connections of the killed one still in the kernel.
    let text = std::fs::read_to_string(&config).unwrap().replace("127.0.0.1:0", &first.to_string());
    std::fs::write(&config, text).unwrap();
    let again = stand.again().await;
    assert_eq!(again.address, first);
    ran(folder, &["sessions"], "").await.ended(0).told(&["0 of 0 sessions"]);
    assert_eq!(std::fs::read_dir(folder.join("state")).unwrap().count(), 1, "nothing is left beside the socket");
    again.process.signal(Signal::TERM);
    again.process.ends().await.ended(0);
    assert_eq!(std::fs::read_dir(folder.join("state")).unwrap().count(), 0);
    cases::held("OP03", "kill -9 and a restart");
}
