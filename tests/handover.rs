//! A restart in which nobody is refused: descriptors that go from one process to the next.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "how many connections were made is for the reader of the output")]
#![allow(clippy::disallowed_methods, reason = "tests own clocks and tasks of their own")]

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;
use rustls::ClientConfig;
use support::client::Request;
use support::frames::{CLOSE, FIN, close_body, masked};
use support::house::HOST;
use support::process::{Process, Running, WSGATE, ran};
use support::{Cases, House, Plan, Stand, Wire, cases, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wsgate::gateway::handover::Inherited;

const SOCKET: &str = "state/admin.sock";

fn plan() -> Plan {
    Plan::plain().gateway("drain = \"6s\"\ndrain_lead = \"2s\"\nadmin = { socket = \"state/admin.sock\" }")
}

fn config(stand: &Stand) -> PathBuf {
    stand.written.folder.path().join("gateway.toml")
}

/// `wsgate run --take-over` with the files of a gateway that runs.
fn taking_over(stand: &Stand) -> Command {
    let mut command = Command::new(WSGATE);
    command.args(["run", "--take-over", "--config"]).arg(config(stand));
    command
}

/// Does `once` again and again until it is stopped; says how often.
fn again_and_again<F>(
    stop: &CancellationToken,
    pace: Duration,
    once: impl Fn() -> F + Send + 'static,
) -> JoinHandle<usize>
where
    F: Future<Output = ()> + Send,
{
    let stop = stop.clone();
    tokio::spawn(async move {
        let (mut pace, mut count) = (tokio::time::interval(pace), 0);
        while !stop.is_cancelled() {
            pace.tick().await;
            once().await;
            count += 1;
        }
        count
    })
}

/// Opens a session and closes it.
async fn comes_and_goes(address: SocketAddr, client: Arc<ClientConfig>, request: Request) {
    let tcp = Wire::tcp_from("127.0.0.3", address).await.expect("no connection is refused");
    let mut wire = Wire::tls(tcp, client, HOST).await.expect("no handshake is cut");
    House::opened(&mut wire, &request).await;
    wire.send(&masked(FIN | CLOSE, &close_body(1000, ""))).await;
    wire.rest().await;
}

/// Asks who is here; the answer is good.
async fn asks(socket: PathBuf) {
    let mut stream = UnixStream::connect(&socket).await.expect("somebody serves the admin socket");
    stream.write_all(b"GET /api/sessions HTTP/1.1\r\nHost: admin\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_takes_over_and_nobody_is_refused() {
    let stand = Stand::new(plan()).await;
    let (address, socket) = (stand.running.address, stand.written.folder.path().join(SOCKET));
    let mut before = stand.session().await;
    let stop = CancellationToken::new();
    let connects = again_and_again(&stop, Duration::from_millis(1), move || async move {
        drop(TcpStream::connect(address).await.expect("no connection is refused"));
    });
    let (client, request) = (Arc::clone(&stand.client), stand.request());
    let sessions = again_and_again(&stop, Duration::from_millis(10), move || {
        comes_and_goes(address, Arc::clone(&client), request.clone())
    });
    let admin = socket.clone();
    let calls = again_and_again(&stop, Duration::from_millis(5), move || asks(admin.clone()));

    let next = Running::start(taking_over(&stand)).await;
    assert_eq!(next.address, address, "the port is that of the first process");
    next.process.notice("taken_over").await;
    let told = stand.running.process.notice("handed_over").await;
    assert!(told["why"].as_str().unwrap().contains("each counts its caps apart"), "{told}");
    let mut cases = Cases::of("a hand-over");
    before.echoes("old sessions live on").await;
    let (mut after, answer) = next.asked(&stand.client, HOST, &stand.request()).await;
    answer.is_switching(&stand.request());
    after.echoes("new ones are the next process's").await;
    assert!(next.process.out().contains("\"opened\""), "by its own record");
    cases.held("OP02", "old sessions live on beside new ones");
    assert_eq!(before.frame().await.and_then(|frame| frame.close_code()), Some(1001));
    before.send(&masked(FIN | CLOSE, &close_body(1001, ""))).await;
    before.rest().await;
    drop(before);
    let Stand { running, written, .. } = stand;
    running.process.ends().await.ended(0);
    cases.held("OP02", "the first process drains and ends");
    after.echoes("and the next one goes on").await;
    // A while longer with the next process alone.
    asks(socket.clone()).await;
    stop.cancel();
    let [connects, sessions, calls] = [connects, sessions, calls].map(|one| within("a loop ends", one));
    let [connects, sessions, calls] = [connects.await.unwrap(), sessions.await.unwrap(), calls.await.unwrap()];
    println!("{connects} connections, {sessions} sessions, {calls} admin calls, none of them refused");
    assert!(connects > 500 && sessions > 20 && calls > 50, "{connects} {sessions} {calls}");
    cases.held("OP02", "nobody was refused meanwhile");
    next.process.signal(Signal::TERM);
    drop(after);
    next.process.ends().await.ended(0);
    assert!(!socket.exists(), "the socket goes with the last process");
    drop(written);
    cases.all(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_fails_changes_nothing() {
    let stand = Stand::new(plan()).await;
    let socket = stand.written.folder.path().join(SOCKET);
    let mut session = stand.session().await;
    let taken = within("the descriptors", Inherited::take_over(&socket)).await.unwrap().expect("somebody is there");
    assert_eq!(taken.len(), 2, "a listener and the admin socket");
    drop(taken);
    stand.running.process.notice("handover_failed").await;
    let mut cases = Cases::of("a hand-over that fails");
    let mut other = stand.session().await;
    for wire in [&mut session, &mut other] {
        wire.echoes("as before").await;
    }
    asks(socket.clone()).await;
    cases.held("OP02", "who asked is gone");
    let text = fs::read_to_string(config(&stand)).unwrap();
    let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(
        config(&stand),
        text.replace("address = \"off\"", &format!("address = \"{}\"", occupied.local_addr().unwrap())),
    )
    .unwrap();
    let failed = Process::start(taking_over(&stand)).ends().await;
    failed.ended(2).complained(&["the address is in use"]);
    session.echoes("still as before").await;
    asks(socket.clone()).await;
    cases.held("OP02", "the next process cannot start");
    drop((session, other));
    stand.running.process.signal(Signal::TERM);
    stand.running.process.ends().await.ended(0);
    assert!(!socket.exists(), "the socket was still the first process's");
    cases.all(2);
}

#[tokio::test]
async fn without_anybody_to_take_over_from_it_just_runs() {
    let written = plan().written("127.0.0.1:9".parse().unwrap());
    let folder = written.folder.path();
    let mut command = Command::new(WSGATE);
    command.args(["run", "--take-over"]).current_dir(folder).env_remove("WSGATE_CONFIG");
    let running = Running::start(command).await;
    running.process.signal(Signal::TERM);
    assert!(!running.process.ends().await.ended(0).out.contains("taken_over"));
    let without = Plan::plain().written("127.0.0.1:9".parse().unwrap());
    ran(without.folder.path(), &["run", "--take-over"], "").await.ended(2).complained(&["admin = { socket"]);
    cases::held("OP02", "nobody is there");
}

/// `wsgate run` with a listening socket as the service manager passes it.
fn activated(folder: &Path, listener: &TcpListener) -> Command {
    fcntl_setfd(listener.as_fd(), FdFlags::empty()).unwrap();
    let script = format!(
        "exec 3<&{}; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=ws; exec \"$0\" run",
        listener.as_raw_fd()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script, WSGATE]).current_dir(folder).env_remove("WSGATE_CONFIG");
    command
}

#[tokio::test]
async fn a_socket_of_the_service_manager_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let plan = Plan::plain().listener(&format!("address = \"{address}\""));
    let stand = Stand::started(plan, |config| activated(Path::new(config).parent().unwrap(), &listener)).await;
    assert_eq!(stand.running.address, address);
    let mut cases = Cases::of("socket activation");
    stand.session().await.closes(1000).await;
    cases.held("OP02", "its address is configured");
    stand.running.process.signal(Signal::TERM);
    let waiting = TcpStream::connect(address).await.expect("between two processes nobody is refused");
    let Stand { running, written, client, .. } = stand;
    running.process.ends().await.ended(0);
    let next = Running::start(activated(written.folder.path(), &listener)).await;
    let patient = TcpStream::connect(address).await.unwrap();
    drop(waiting);
    Wire::tls(patient, client, HOST).await.expect("TLS with the next process");
    next.process.signal(Signal::TERM);
    next.process.ends().await.ended(0);
    cases.held("OP02", "the next process goes on with it");
    let text = fs::read_to_string(written.folder.path().join("gateway.toml")).unwrap();
    let other = text.replace(&address.to_string(), "127.0.0.1:0");
    fs::write(written.folder.path().join("gateway.toml"), other).unwrap();
    let refused = Process::start(activated(written.folder.path(), &listener)).ends().await;
    refused.ended(2).complained(&[&format!("the service manager listens on {address}"), "no [[listener]]"]);
    cases.held("OP02", "its address is not configured");
    cases.all(3);
}
