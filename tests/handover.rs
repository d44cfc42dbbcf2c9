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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;
use rustls::ClientConfig;
use serde_json::{Value, json};
use support::admin::call_in;
use support::client::{Answer, Request};
use support::frames::{CLOSE, FIN, close_body, masked};
use support::house::HOST;
use support::observer::Record;
use support::process::{Process, Running, WSGATE, ran, wsgate};
use support::time::{Stopped, passes};
use support::tokens::now;
use support::{Cases, House, Plan, Stand, Wire, cases, eventually, nobody_listens, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wsgate::config;
use wsgate::event::{Event, SharedObserver};
use wsgate::gateway::Gateway;
use wsgate::gateway::handover::Inherited;
use wsgate::net::handover::{receive, send};
use wsgate::units::UnixSeconds;

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

/// What is done again and again until it is stopped.
struct Loop {
    count: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Loop {
    fn new<F>(stop: &CancellationToken, pace: Duration, once: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        let (stop, count) = (stop.clone(), Arc::<AtomicUsize>::default());
        let done = Arc::clone(&count);
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(pace);
            while !stop.is_cancelled() {
                pace.tick().await;
                once().await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { count, task }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until it was done so often more, or failed.
    async fn goes_on(&self, times: usize) {
        let enough = self.count() + times;
        eventually("a loop goes on", || self.count() >= enough || self.task.is_finished()).await;
    }
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
    let connects = Loop::new(&stop, Duration::from_millis(1), move || async move {
        drop(TcpStream::connect(address).await.expect("no connection is refused"));
    });
    let (client, request) = (Arc::clone(&stand.client), stand.request());
    let sessions = Loop::new(&stop, Duration::from_millis(10), move || {
        comes_and_goes(address, Arc::clone(&client), request.clone())
    });
    let admin = socket.clone();
    let calls = Loop::new(&stop, Duration::from_millis(5), move || asks(admin.clone()));

    let loops = [connects, sessions, calls];
    for (one, times) in loops.iter().zip([200, 5, 20]) {
        one.goes_on(times).await;
    }
    let next = Running::start(taking_over(&stand)).await;
    assert_eq!(next.address, address, "the port is that of the first process");
    next.process.notice("taken_over").await;
    let told = stand.running.process.notice("handed_over").await;
    assert!(told["why"].as_str().unwrap().contains("each counts its caps apart"), "{told}");
    let draining = stand.running.process.notice("draining").await;
    assert!(draining["why"].as_str().unwrap().contains("listeners stop at once"), "without a lead: {draining}");
    let mut cases = Cases::of("a hand-over");
    let (mut after, answer) = next.asked(&stand.client, HOST, &stand.request()).await;
    answer.is_switching(&stand.request());
    after.echoes("new ones are the next process's").await;
    next.process.record("its own record", |record| record["event"] == "opened").await;
    cases.held("OP02", "new sessions are the next process's");
    assert_eq!(before.frame().await.and_then(|frame| frame.close_code()), Some(1001));
    before.send(&masked(FIN | CLOSE, &close_body(1001, ""))).await;
    before.rest().await;
    drop(before);
    let Stand { running, written, .. } = stand;
    running.process.ends().await.ended(0);
    cases.held("OP02", "old sessions live on until they are told, and the first process ends");
    after.echoes("and the next one goes on").await;
    // A while longer with the next process alone.
    for (one, times) in loops.iter().zip([200, 5, 20]) {
        one.goes_on(times).await;
    }
    stop.cancel();
    let [connects, sessions, calls] = loops.each_ref().map(Loop::count);
    for one in loops {
        within("a loop ends", one.task).await.expect("nobody is refused");
    }
    println!("{connects} connections, {sessions} sessions, {calls} admin calls, none of them refused");
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

/// With a state, and with so long a drain that no session has its turn before the test is over.
fn kept() -> Plan {
    plan().gateway("state = \"state\"\ndrain = \"24h\"")
}

const STATE: &str = "state/revocations";

async fn tells(folder: &Path, method: &str, path: &str, body: &Value) -> (u16, Value) {
    call_in(folder, method, path, "Content-Type: application/json\r\n", &body.to_string()).await
}

/// Revokes all tokens of a subject; how many sessions that ended.
async fn revokes(folder: &Path, subject: &str) -> Value {
    let (status, told) = tells(folder, "POST", "/api/revoke", &json!({ "subject": subject, "for": "1h" })).await;
    assert_eq!((status, &told["kept"]), (200, &json!(true)), "{subject}: {told}");
    told["ended"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_over_who_would_forget_what_is_revoked() {
    let stand = Stand::new(kept()).await;
    let folder = stand.written.folder.path();
    revokes(folder, "mallory").await;
    let written = fs::read_to_string(config(&stand)).unwrap();
    let mut cases = Cases::of("the state of the next process");
    for (name, state) in [("none", ""), ("another folder", "state = \"other\"")] {
        let changed = written.replace("state = \"state\"", state);
        assert_ne!(changed, written);
        fs::write(config(&stand), changed).unwrap();
        let failed = Process::start(taking_over(&stand)).ends().await;
        failed.ended(2).complained(&["keeps what is revoked", name]);
        revokes(folder, name).await;
        cases.held("OP02", name);
    }
    fs::write(config(&stand), written).unwrap();
    let next = Running::start(taking_over(&stand)).await;
    next.process.notice("taken_over").await;
    let (status, told) = call_in(folder, "GET", "/api/revocations", "", "").await;
    assert_eq!((status, &told["total"]), (200, &json!(3)), "the twin has them all: {told}");
    cases.all(2);
}

/// The subjects that calls revoked.
async fn revoked(folder: &Path) -> Vec<String> {
    let (status, told) = call_in(folder, "GET", "/api/revocations", "", "").await;
    assert_eq!(status, 200, "{told}");
    told["revocations"].as_array().unwrap().iter().map(|one| one["subject"].as_str().unwrap().to_owned()).collect()
}

/// A session of whoever has this token.
async fn session_of(running: &Running, stand: &Stand, token: &str) -> Wire {
    let mut request = stand.request();
    request.set("Authorization", format!("Bearer {token}"));
    let (mut wire, answer) = running.asked(&stand.client, HOST, &request).await;
    answer.is_switching(&request);
    wire.echoes("hello").await;
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_goes_along_and_reaches_the_sessions_left_behind() {
    const LOST: [&str; 5] = ["alice", "dave", "erin", "frank", "grace"];
    let plan = kept();
    let signer = Arc::clone(plan.signs());
    let token = |subject: &str| signer.token_with(|claims| drop(claims.insert("sub".into(), json!(subject))));
    let (bob, carol) = (token("bob"), token("carol"));
    let stand = Stand::new(plan).await;
    let folder = stand.written.folder.path();
    assert_eq!(revokes(folder, "carol").await, 0);
    let mut lost = Vec::new();
    for subject in LOST {
        lost.push(session_of(&stand.running, &stand, &token(subject)).await);
    }
    let mut stays = session_of(&stand.running, &stand, &bob).await;

    let next = Running::start(taking_over(&stand)).await;
    next.process.notice("taken_over").await;
    stand.running.process.notice("draining").await;
    let mut cases = Cases::of("a hand-over of the state");
    assert_eq!(revoked(folder).await, ["carol"]);
    let mut request = stand.request();
    request.set("Authorization", format!("Bearer {carol}"));
    assert_eq!(next.asked(&stand.client, HOST, &request).await.1.status, 401);
    drop(session_of(&next, &stand, &bob).await);
    cases.held("AU28", "an entry of before holds in the next process");

    let mut took = Vec::new();
    for (subject, lost) in LOST.iter().zip(&mut lost) {
        assert_eq!(revokes(folder, subject).await, 0, "the next process has no session of theirs");
        let begun = Instant::now();
        lost.is_closed_with(4403).await;
        took.push(begun.elapsed());
    }
    println!("sessions in the process that drains ended {took:?} after the answer");
    took.sort_unstable();
    assert!(took[LOST.len() / 2] < Duration::from_secs(2), "as a rule within two seconds: {took:?}");
    stays.echoes("its twin is another subject's").await;
    cases.held("AU28", "an entry of afterwards reaches the process that drains");

    next.process.signal(Signal::TERM);
    next.process.notice("draining").await;
    next.process.signal(Signal::TERM);
    next.process.ends().await.ended(0);
    let again = stand.again().await;
    let mut all = [&LOST[..], &["carol"]].concat();
    all.sort_unstable();
    assert_eq!(revoked(folder).await, all);
    stays.echoes("the first process drains still, and holds no lock").await;
    again.process.signal(Signal::TERM);
    cases.held("OP02", "the state is the next process's alone");
    cases.all(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_not_taken_is_taken_back() {
    let stand = Stand::new(kept()).await;
    let folder = stand.written.folder.path();
    revokes(folder, "carol").await;
    let mut session = stand.session().await;
    let taken = within("the descriptors", Inherited::take_over(&folder.join(SOCKET))).await.unwrap().unwrap();
    assert_eq!(taken.len(), 3, "a listener, the admin socket and the lock of the state");
    let mut cases = Cases::of("a hand-over of the state that fails");
    for (method, subject) in [("POST", "alice"), ("DELETE", "carol")] {
        let (status, told) = tells(folder, method, "/api/revoke", &json!({ "subject": subject })).await;
        assert_eq!((status, &told["error"]), (503, &json!("handing_over")), "{method}: {told}");
    }
    session.echoes("nothing happened").await;
    cases.held("OP02", "nothing is changed meanwhile");
    // A file of whoever was to take over stands there.
    fs::copy(folder.join(STATE), folder.join("beside")).unwrap();
    fs::rename(folder.join("beside"), folder.join(STATE)).unwrap();
    drop(taken);
    stand.running.process.notice("handover_failed").await;
    assert_eq!(revokes(folder, "alice").await, 1);
    session.is_closed_with(4403).await;
    cases.held("AU28", "it revokes as before");
    stand.running.process.signal(Signal::TERM);
    let Stand { running, written, .. } = stand;
    running.process.ends().await.ended(0);
    let again = Running::start(wsgate(written.folder.path(), &["run"])).await;
    assert_eq!(revoked(written.folder.path()).await, ["alice", "carol"]);
    again.process.signal(Signal::TERM);
    again.process.ends().await.ended(0);
    cases.held("OP02", "a restart finds both");
    cases.all(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_not_given_after_all_is_left_as_it_is() {
    let written = kept().gateway("log = { format = \"json\" }").written("127.0.0.1:9".parse().unwrap());
    let folder = written.folder.path();
    fs::create_dir(folder.join("state")).unwrap();
    fs::write(folder.join(STATE), "wsgate revocations 1\n0123456789abcdef + {\"torn").unwrap();
    let before = fs::read(folder.join(STATE)).unwrap();
    let lock = fs::File::create(folder.join("state/lock")).unwrap();
    lock.try_lock().unwrap();
    // A process that gives all it has, and then does not.
    let admin = UnixListener::bind(folder.join(SOCKET)).unwrap();
    let next = Process::start(wsgate(folder, &["run", "--take-over"]));
    let (mut giver, _) = within("a call", admin.accept()).await.unwrap();
    let mut call = vec![0; 1024];
    assert!(giver.read(&mut call).await.unwrap() > 0);
    giver.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap();
    send(&giver, "[\"admin\",\"state\"]", &[admin.as_fd(), lock.as_fd()]).await.unwrap();
    assert_eq!(within("it accepts", receive(&giver)).await.unwrap().0, "accepting");
    let (status, told) = tells(folder, "POST", "/api/revoke", &json!({ "subject": "alice" })).await;
    assert_eq!((status, &told["error"]), (503, &json!("handing_over")), "{told}");
    drop(giver);
    next.ends().await.ended(2);
    assert_eq!(fs::read(folder.join(STATE)).unwrap(), before, "nothing was written");
    cases::held("OP02", "a state that is not given after all");
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

/// Two listeners and a health listener, with a lead and a drain that no test waits for.
fn with_two_listeners() -> Plan {
    let listener = |address: &str| {
        format!(
            "[[listener]]\naddress = \"{address}\"\n\
             certificates = [{{ chain = \"certs/server.pem\", key = {{ file = \"certs/server.key\" }} }}]\n"
        )
    };
    plan()
        .gateway("drain = \"24h\"\ndrain_lead = \"60s\"\nhealth = { address = \"127.0.0.1:0\" }")
        .gateway(&(listener("127.0.0.1:0") + &listener("127.0.0.2:0")))
        .policy("session.ping_interval = \"1h\"")
}

/// What the health listener says of readiness: the status, and the word.
async fn readiness(health: SocketAddr) -> (u16, String) {
    let mut wire = Wire::over(TcpStream::connect(health).await.expect("no probe is refused"));
    wire.send(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
    told_of_readiness(wire).await
}

async fn told_of_readiness(mut wire: Wire) -> (u16, String) {
    let (bytes, _) = wire.rest().await;
    assert!(!bytes.is_empty(), "no probe is cut");
    let answer = Answer::read(&bytes);
    (answer.status, String::from_utf8(answer.body).unwrap())
}

fn ready() -> (u16, String) {
    (200, String::from("ready\n"))
}

/// A session on each of these addresses.
async fn sessions_on(addresses: &[SocketAddr], client: &Arc<ClientConfig>, request: &Request) -> Vec<Wire> {
    let mut sessions = Vec::new();
    for address in addresses {
        let tcp = TcpStream::connect(address).await.expect("no connection is refused");
        let mut wire = Wire::tls(tcp, Arc::clone(client), HOST).await.unwrap();
        House::opened(&mut wire, request).await;
        wire.echoes("hello").await;
        sessions.push(wire);
    }
    sessions
}

/// A gateway that goes on with these sockets, with the files of this folder; and what it tells.
async fn next_process(folder: &Path, taken: Inherited) -> (Gateway, Arc<Record>) {
    let (config, _) = config::load(&folder.join("gateway.toml"), &|_| None, UnixSeconds(now())).unwrap();
    let record = Arc::new(Record::before(None));
    let observer: SharedObserver = Arc::<Record>::clone(&record);
    (Gateway::start_with(config, observer, taken).await.unwrap(), record)
}

/// What a process does with its gateway.
fn drains_when_asked(gateway: Gateway) -> JoinHandle<()> {
    tokio::spawn(async move {
        gateway.drain_asked().await;
        gateway.drain().await;
    })
}

#[tokio::test]
async fn a_probe_under_way_is_answered_by_the_process_that_took_it() {
    let house = with_two_listeners().build().await;
    let health = house.gateway.health_address().unwrap();
    let session = house.session().await;
    let mut probe = Wire::over(TcpStream::connect(health).await.unwrap());
    probe
        .send(
            b"GET /readyz HTTP/1.1
Host: 127.0.0.1
",
        )
        .await;
    assert_eq!(readiness(health).await, ready(), "who asks later is answered, so that one was taken");
    // However long the hand-over takes, its time to ask is not over.
    let stopped = Stopped::clock();
    let taken = Inherited::take_over(&house.folder.path().join(SOCKET)).await.unwrap().expect("somebody is there");
    let House { gateway, record, backend, folder, .. } = house;
    let first = drains_when_asked(gateway);
    let (next, _) = next_process(folder.path(), taken).await;
    record.notice(0, "draining").await;
    probe
        .send(
            b"
",
        )
        .await;
    assert_eq!(told_of_readiness(probe).await, ready(), "the next process is");
    assert_eq!(readiness(health).await, ready());
    drop((stopped, session));
    within("the first process ends", first).await.unwrap();
    drop((next, backend, folder));
    cases::held("OP12", "a probe under way at a hand-over");
}

fn opened(record: &Record) -> usize {
    record.since(0).iter().filter(|event| matches!(event, Event::Opened(_))).count()
}

#[tokio::test]
async fn readiness_tells_of_whoever_accepts_all_through_a_hand_over() {
    let house = with_two_listeners().build().await;
    let (addresses, health) = (house.gateway.addresses().to_vec(), house.gateway.health_address().unwrap());
    let (client, request) = (house.authority.client(&[b"http/1.1"]), house.request());
    let socket = house.folder.path().join(SOCKET);
    let stop = CancellationToken::new();
    let probes =
        Loop::new(&stop, Duration::from_millis(2), move || async move { assert_eq!(readiness(health).await, ready()) });
    probes.goes_on(5).await;

    let taken = within("the descriptors", Inherited::take_over(&socket)).await.unwrap().expect("somebody is there");
    assert_eq!(taken.len(), 4, "two listeners, health and the admin socket");
    let mut before = sessions_on(&addresses, &client, &request).await;
    assert_eq!(opened(&house.record), 2, "until the next process accepts the first one does");
    probes.goes_on(5).await;
    let mut cases = Cases::of("readiness in a hand-over");
    cases.held("OP12", "before the next process accepts");

    let House { gateway, record, backend, folder, .. } = house;
    let draining = drains_when_asked(gateway);
    let (next, next_record) = next_process(folder.path(), taken).await;
    assert_eq!((next.addresses(), next.health_address()), (addresses.as_slice(), Some(health)));
    let told = record.notice(0, "draining").await.text;
    assert!(told.contains("listeners stop at once"), "nobody has to look elsewhere: {told}");
    probes.goes_on(20).await;
    let after = sessions_on(&addresses, &client, &request).await;
    assert_eq!((opened(&record), opened(&next_record)), (2, 2), "both listeners are the next process's");
    for wire in &mut before {
        wire.echoes("old sessions live on").await;
    }
    cases.held("OP12", "while the first process drains");
    drop(before);
    within("the first process ends", draining).await.unwrap();
    probes.goes_on(20).await;
    stop.cancel();
    within("the probes end", probes.task).await.expect("readiness never said no");
    cases.held("OP12", "once the first process has ended");

    let mark = next_record.mark();
    let draining = tokio::spawn(next.drain());
    let told = next_record.notice(mark, "draining").await.text;
    assert!(told.contains("listeners stop in 60s"), "who took over drains like any other: {told}");
    assert_eq!(readiness(health).await, (503, String::from("draining\n")));
    let late = sessions_on(&addresses, &client, &request).await;
    passes(Duration::from_secs(60)).await;
    for address in addresses {
        nobody_listens(address).await;
    }
    drop((after, late));
    within("the next process ends", draining).await.unwrap();
    drop((backend, folder));
    cases.held("OP12", "when the next process drains");
    cases.all(4);
}
