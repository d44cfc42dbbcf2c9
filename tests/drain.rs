//! The end of a gateway: who learns of it and when, and that nobody who is under way is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::disallowed_methods, reason = "tests own clocks and tasks of their own")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use support::backend::echo;
use support::client::Answer;
use support::frames::{CLOSE, FIN, close_body, masked};
use support::house::HOST;
use support::process::ran;
use support::time::passes;
use support::{Cases, House, Plan, Stand, Step, Wire, cases, nobody_listens, within};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
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

#[tokio::test]
async fn it_is_not_ready_at_once_and_accepts_until_the_lead_is_over() {
    let lead = Duration::from_secs(120);
    let plan = "drain = \"160s\"\ndrain_lead = \"120s\"\nhealth = { address = \"127.0.0.1:0\" }";
    let house = Plan::plain()
        .gateway(plan)
        .policy("session.ping_interval = \"1h\"\nsession.close_timeout = \"20s\"")
        .build()
        .await;
    let (record, health, address) =
        (Arc::clone(&house.record), house.gateway.health_address().unwrap(), house.address());
    let (request, client) = (house.request(), house.authority.client(&[b"http/1.1"]));
    assert_eq!(readiness(health).await, 200, "the twin");
    let mut before = house.session().await;
    let (mark, began) = (record.mark(), Instant::now());
    let House { gateway, backend, folder, .. } = house;
    let draining = tokio::spawn(gateway.drain());
    record.notice(mark, "draining").await;
    let mut cases = Cases::of("the lead");
    assert_eq!(readiness(health).await, 503);
    cases.held("OP12", "not ready at once");
    passes((lead - Duration::from_secs(20)).saturating_sub(began.elapsed())).await;
    let tcp = Wire::tcp_from("127.0.0.1", address).await.expect("who comes during the lead is accepted");
    let mut late = Wire::tls(tcp, client, HOST).await.unwrap();
    House::opened(&mut late, &request).await;
    for wire in [&mut before, &mut late] {
        wire.echoes("as before").await;
    }
    assert!(began.elapsed() < lead, "the lead was over before it was looked at");
    cases.held("OP01", "the lead still accepts");
    passes(lead.saturating_sub(began.elapsed())).await;
    nobody_listens(address).await;
    assert!(!draining.is_finished());
    passes(Duration::from_secs(20)).await;
    let codes = tokio::join!(goes(before), goes(late));
    assert_eq!(codes, (Some(1001), Some(1001)));
    within("the drain", draining).await.unwrap();
    drop((backend, folder));
    cases.held("OP01", "then nobody is accepted, and sessions close");
    cases.all(3);
}

#[tokio::test]
async fn sessions_close_one_after_the_other() {
    const SESSIONS: u32 = 60;
    const PART: Duration = Duration::from_millis(500);
    // 35 s less the time to close leave a part for each.
    let plan = Plan::plain()
        .gateway("drain = \"35s\"")
        .policy("session.close_timeout = \"5s\"\nsession.close.drain = 4500\nsession.ping_interval = \"1h\"");
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
    let told = watch::Sender::new(Vec::new());
    let mut clients = JoinSet::new();
    for mut wire in wires {
        let told = told.clone();
        clients.spawn(async move {
            let close = wire.frame().await.expect("a Close");
            told.send_modify(|told| told.push(began.elapsed()));
            assert_eq!(close.close_code(), Some(4500), "the policy's code");
            wire.send(&masked(FIN | CLOSE, &close_body(4500, ""))).await;
            wire.rest().await;
        });
    }
    let mut heard = told.subscribe();
    for (number, parts) in (1..=SESSIONS).zip(1..) {
        passes((parts * PART).saturating_sub(began.elapsed())).await;
        let all = heard.wait_for(|told| told.len() >= number as usize);
        drop(within("a session has its turn in its part", all).await.unwrap());
    }
    clients.join_all().await;
    let told = told.borrow().clone();
    let mut sixths = [0; 6];
    for (number, at) in (0..).zip(&told) {
        assert!(*at >= number * PART, "number {number} before its part: {at:?}");
        // What is told within a part is looked for at its end.
        sixths[usize::try_from(at.saturating_sub(PART).as_millis() / 5000).unwrap().min(5)] += 1;
    }
    assert!(sixths.iter().all(|count| (5..=15).contains(count)), "ten in each sixth of the window: {sixths:?}");
    within("the drain", draining).await.unwrap();
    assert_eq!(record.closed(mark).await.cause, Cause::Drain);
    assert_eq!(record.since(mark).len(), told.len(), "one record each");
    cases::held("OP01", "a histogram of sixty closes");
}

#[tokio::test]
async fn what_is_under_way_finishes_and_has_its_turn() {
    let plan = Plan::plain().gateway("drain = \"60s\"").policy("session.close_timeout = \"20s\"");
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
    // The window in which each has its turn.
    passes(Duration::from_secs(40)).await;
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
    // Of both half is for whom has his turn last.
    let plan = |drain: &str| {
        let gateway = format!("drain = \"{drain}\"\nadmin = {{ socket = \"state/admin.sock\" }}");
        Plan::plain().gateway(&gateway).policy("session.close_timeout = \"1m\"")
    };
    let mut cases = Cases::of("ways to drain");
    for (name, answers, drain) in [("a client that closes", true, "10s"), ("a client that does not", false, "2s")] {
        let stand = Stand::new(plan(drain)).await;
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
