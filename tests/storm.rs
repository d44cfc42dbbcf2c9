//! Everybody comes back at once: handshakes are paced before TLS, live sessions notice nothing, and all are in soon.
//!
//! A process may have 20 000 files open here, so in the large storm the gateway, its backend and the clients are processes
//! of their own: this file plays their parts, too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "a part tells its figures to the process that started it")]
#![allow(clippy::disallowed_methods, reason = "tests own clocks and tasks of their own")]

mod support;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use support::house::{HOST, ORIGIN, Written};
use support::process::{Process, Running, WSGATE};
use support::queues::queues;
use support::tokens::now;
use support::{Backend, Cases, House, PATIENCE, Plan, Request, Wire, cases, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wsgate::event::Event;
use wsgate::policy::Reason;

/// How long an attempt may take before its client gives it up and comes again, in the large storm.
const IMPATIENCE: Duration = Duration::from_secs(10);

/// What a client needs to come in.
#[derive(Clone)]
struct Storm {
    address: SocketAddr,
    client: Arc<ClientConfig>,
    handshake: Arc<Vec<u8>>,
    impatience: Duration,
}

/// How it went: when each client was in, and how many attempts that took.
#[derive(Default)]
struct Course {
    came_in: Vec<Duration>,
    attempts: usize,
    told_to_wait: usize,
}

impl Storm {
    fn on(address: SocketAddr, written: &Written, token: &str) -> Self {
        let client = written.authority.client(&[b"http/1.1"]);
        Self { address, client, handshake: Arc::new(handshake(token)), impatience: IMPATIENCE }
    }

    /// All come at once, each again and again until it is in. The first `stay` of them stay until the end.
    async fn breaks(&self, clients: usize, stay: usize) -> (Course, Vec<Wire>) {
        let began = Instant::now();
        let mut all = JoinSet::new();
        for number in 0..clients {
            let storm = self.clone();
            all.spawn(async move {
                let (stream, attempts, told) = storm.comes_in(number).await;
                (began.elapsed(), attempts, told, (number < stay).then_some(stream))
            });
        }
        let (mut course, mut stayed) = (Course::default(), Vec::new());
        while let Some(one) = all.join_next().await {
            let (at, attempts, told, stream) = one.unwrap();
            course.came_in.push(at);
            course.attempts += attempts;
            course.told_to_wait += told;
            stayed.extend(stream.map(Wire::over));
        }
        course.came_in.sort_unstable();
        (course, stayed)
    }

    /// Comes until it is in: when it is told how long to wait it does, and else it waits a second or two, as the
    /// libraries of browsers do.
    async fn comes_in(&self, number: usize) -> (TlsStream<TcpStream>, usize, usize) {
        let (mut attempts, mut told) = (0, 0);
        loop {
            attempts += 1;
            let wait = match tokio::time::timeout(self.impatience, self.attempt(number)).await {
                Ok(Ok(Ok(stream))) => return (stream, attempts, told),
                Ok(Ok(Err(seconds))) => {
                    told += 1;
                    Duration::from_secs(seconds)
                }
                Ok(Err(_)) | Err(_) => {
                    Duration::from_millis(1000 + (number as u64 * 7919 + attempts as u64 * 104_729) % 1000)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// One attempt: a session that echoes, or how many seconds to wait.
    async fn attempt(&self, number: usize) -> io::Result<Result<TlsStream<TcpStream>, u64>> {
        // More addresses than one, which has too few ports.
        let tcp = Wire::tcp_from(&format!("127.0.1.{}", 1 + number % 8), self.address).await?;
        let name = ServerName::try_from(HOST).unwrap();
        let mut stream = TlsConnector::from(Arc::clone(&self.client)).connect(name, tcp).await?;
        stream.write_all(&self.handshake).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if head.starts_with("HTTP/1.1 101 ") {
            return Ok(Ok(stream));
        }
        let wait = head.lines().find_map(|line| line.strip_prefix("Retry-After: ")).map(|wait| wait.parse().unwrap());
        wait.map(Err).ok_or_else(|| io::Error::other(head))
    }
}

/// Each of those who stayed is there still.
async fn all_echo(stayed: &mut [Wire]) {
    for (number, wire) in stayed.iter_mut().enumerate() {
        wire.echoes(&format!("still here, number {number}")).await;
    }
}

fn handshake(token: &str) -> Vec<u8> {
    let mut request = Request::good(HOST, "/chat");
    request.set("Origin", ORIGIN);
    request.set("Authorization", format!("Bearer {token}"));
    request.bytes()
}

/// A session that echoes until it is told to stop, and how long each echo took.
struct Control {
    stop: oneshot::Sender<()>,
    echoes: JoinHandle<Vec<Duration>>,
}

impl Control {
    async fn beside(storm: &Storm) -> Self {
        let tcp = Wire::tcp_from("127.0.0.100", storm.address).await.unwrap();
        let mut wire = Wire::tls(tcp, Arc::clone(&storm.client), HOST).await.unwrap();
        wire.send(&storm.handshake).await;
        assert_eq!(wire.answer_head().await.status, 101);
        let (stop, mut stopped) = oneshot::channel();
        let echoes = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            let mut took = Vec::new();
            while stopped.try_recv().is_err() {
                pace.tick().await;
                let began = Instant::now();
                wire.echoes("still here?").await;
                took.push(began.elapsed());
            }
            took
        });
        Self { stop, echoes }
    }

    /// Its 99th percentile, which a starved session breaks.
    async fn noticed_nothing(self) -> Duration {
        self.stop.send(()).unwrap();
        let mut took = within("the control session", self.echoes).await.unwrap();
        took.sort_unstable();
        let p99 = took[(took.len() - 1) * 99 / 100];
        assert!(p99 < Duration::from_secs(1), "p99 {p99:?} of {} echoes", took.len());
        p99
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_are_in_at_the_pace_of_admissions() {
    const CLIENTS: usize = 500;
    // Nobody loses his patience on a machine that is slow.
    let patience = "[admission]\nqueue = \"10m\"\ntotal = \"10m\"";
    let plan = Plan::plain().gateway("[capacity]\nadmissions = \"200/s burst 100\"\nhandshakes = 64").gateway(patience);
    let house = plan.build().await;
    let (handshake, client) = (Arc::new(house.request().bytes()), house.authority.client(&[b"http/1.1"]));
    let storm = Storm { address: house.address(), client, handshake, impatience: 2 * PATIENCE };
    let control = Control::beside(&storm).await;
    let (course, mut stayed) = within("all are in", storm.breaks(CLIENTS, CLIENTS)).await;
    assert_eq!((course.came_in.len(), stayed.len()), (CLIENTS, CLIENTS));
    for (number, at) in (1_u32..).zip(&course.came_in) {
        let earliest = Duration::from_millis(5) * number.saturating_sub(101);
        assert!(*at >= earliest, "number {number} came in after {at:?}");
    }
    assert_eq!((course.attempts, course.told_to_wait), (CLIENTS, 0), "who waits in order is not sent away");
    assert_eq!(house.gateway.usage().sessions, CLIENTS + 1);
    control.noticed_nothing().await;
    all_echo(&mut stayed).await;
    drop(stayed);
    house.is_at_rest().await;
    cases::held("RX22", "a storm of five hundred");
}

/// A client that says no more than a byte, and has its place: the gateway has read it.
async fn dawdles(house: &House) -> TcpStream {
    let mut tcp = house.tcp().await;
    tcp.write_all(&[0x16]).await.unwrap();
    let (ours, theirs) = (tcp.local_addr().unwrap(), tcp.peer_addr().unwrap());
    eventually("it arrives", || queues(ours, theirs).is_some_and(|ours| ours.unsent == 0)).await;
    eventually("it is read", || queues(theirs, ours).is_some_and(|theirs| theirs.unread == 0)).await;
    tcp
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_a_slow_client_holds_is_soon_the_next_ones() {
    let hold = Duration::from_millis(900);
    let mut cases = Cases::of("places");
    let house = Plan::plain().gateway("[capacity]\nhandshakes = 1").build().await;
    let began = Instant::now();
    let slow = dawdles(&house).await;
    house.session().await.closes(1000).await;
    assert!(began.elapsed() >= hold, "TLS began beside the only handshake under way: {:?}", began.elapsed());
    let mut byte = [0];
    assert!(slow.try_read(&mut byte).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock), "it is not cut");
    drop(slow);
    cases.held("RX22", "the only place is held");
    let house = Plan::plain().gateway("[capacity]\nhandshakes = 2").build().await;
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let slow = dawdles(&house).await;
        let began = Instant::now();
        house.session().await.closes(1000).await;
        fastest = fastest.min(began.elapsed());
        drop(slow);
        house.is_at_rest().await;
    }
    assert!(fastest < hold, "the twin: another place is free, and took {fastest:?}");
    cases.held("RX22", "another place is free");
    cases.all(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_is_told_when_to_come_back() {
    let house = Plan::plain().gateway("[capacity]\nhandshakes = 1\n[admission]\nqueue = \"200ms\"").build().await;
    let mut is_told = false;
    for _ in 0..10 {
        let (mark, heard) = (house.record.mark(), house.backend.connections());
        let slow = dawdles(&house).await;
        let placed = Instant::now();
        let mut wire = house.wire().await;
        wire.send(&house.request().bytes()).await;
        let answer = wire.answer_head().await;
        let took = placed.elapsed();
        drop((slow, wire));
        house.is_at_rest().await;
        // Where this machine took as long as the slow one has its place, nobody had to wait: that shows nothing.
        if answer.status == 101 && took > Duration::from_millis(700) {
            continue;
        }
        assert_eq!((answer.status, house.backend.connections()), (503, heard), "no backend hears of it");
        assert!(answer.one("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
        let refused = house.record.wait("who waited", mark, |event| match event {
            Event::Refused(refused) if refused.reason == Reason::HandshakeQueue => Some(()),
            _ => None,
        });
        refused.await;
        is_told = true;
        break;
    }
    assert!(is_told, "each time it came in");
    house.admits(&house.request()).await;
    cases::held("RX22", "a wait in vain, and its twin");
}

/// The files of the large storm, for the parts that other processes play.
fn part() -> Option<PathBuf> {
    std::env::var_os("WSGATE_STORM").map(PathBuf::from)
}

/// Another process that plays a part of this file.
fn playing(part: &str, folder: &std::path::Path, more: &[(&str, String)]) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--nocapture", "--exact", part]).env("WSGATE_STORM", folder);
    command.envs(more.iter().map(|(name, value)| (*name, value)));
    Process::start(command)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: 20 000 attempts, run by .ci/long"]
async fn rx22_twenty_thousand_come_back() {
    const CLIENTS: usize = 20_000;
    const LIVE: usize = 8_000;
    const PARTS: usize = 2;
    let bounds = "log = { format = \"json\", refusals = \"1/s burst 1\" }\n[capacity]\nsessions = 9000\npending = 2048\n\
                  admissions = \"500/s burst 2000\"\n[address]\nsessions = 9000";
    // Who stays says nothing until all are in, which takes minutes, and would be taken for gone.
    let policy = "limits.connections_per_address = 9000\nlimits.connections_per_subject = 9000\n\
                  session.ping_interval = \"1h\"";
    let plan = Plan::plain().gateway(bounds).policy(policy);
    let folder = tempfile::tempdir().unwrap();
    let backend = playing("part_backend", folder.path(), &[]);
    let backend_address = backend.line("the backend listens", |line| line.strip_prefix("at ")?.parse().ok()).await;
    let token = plan.signs().token_with(|claims| drop(claims.insert("exp".into(), json!(now() + 3600))));
    let written = plan.written(backend_address);
    fs::write(folder.path().join("authority.pem"), written.authority.pem()).unwrap();
    fs::write(folder.path().join("token"), &token).unwrap();
    let mut command = Command::new(WSGATE);
    command.args(["run", "--config"]).arg(written.folder.path().join("gateway.toml"));
    let running = Running::start(command).await;
    let control = Control::beside(&Storm::on(running.address, &written, &token)).await;
    let began = Instant::now();
    let facts = [
        ("WSGATE_STORM_AT", running.address.to_string()),
        ("WSGATE_STORM_CLIENTS", (CLIENTS / PARTS).to_string()),
        ("WSGATE_STORM_STAY", (LIVE / PARTS).to_string()),
    ];
    let parts = [(); PARTS].map(|()| playing("part_clients", folder.path(), &facts));
    let mut told = Vec::new();
    for part in &parts {
        // Longer than a test's patience: each takes minutes.
        let all_in = async {
            loop {
                if let Some(line) = part.out().lines().find(|line| line.starts_with("in ")) {
                    return line.to_owned();
                }
                assert!(
                    began.elapsed() < Duration::from_secs(600),
                    "all are in within ten minutes: {}",
                    part.complaints()
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        told.push(all_in.await);
    }
    let took = began.elapsed();
    let p99 = control.noticed_nothing().await;
    println!("{CLIENTS} clients, {LIVE} stay: all in after {took:?}; echoes of a live session p99 {p99:?}; {told:?}");
    for mut part in parts {
        part.input("end\n");
        part.ends().await.ended(0).told(&[&format!("{} echo still", LIVE / PARTS)]);
    }
    cases::held("RX22", "twenty thousand");
}

/// The service of the large storm.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the large storm, played by a process of its own"]
async fn part_backend() {
    if part().is_none() {
        return;
    }
    let backend = Backend::echo().await;
    println!("\nat {}", backend.address);
    std::future::pending::<()>().await;
}

/// Some of the clients of the large storm.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the large storm, played by a process of its own"]
async fn part_clients() {
    let Some(folder) = part() else { return };
    let fact = |name: &str| std::env::var(name).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(folder.join("authority.pem")).unwrap()).unwrap();
    let mut client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let token = fs::read_to_string(folder.join("token")).unwrap();
    let storm = Storm {
        address: fact("WSGATE_STORM_AT").parse().unwrap(),
        client: Arc::new(client),
        handshake: Arc::new(handshake(&token)),
        impatience: IMPATIENCE,
    };
    let [clients, stay] = ["WSGATE_STORM_CLIENTS", "WSGATE_STORM_STAY"].map(|name| fact(name).parse().unwrap());
    let (course, mut stayed) = storm.breaks(clients, stay).await;
    let last = course.came_in.last().unwrap();
    let median = course.came_in[course.came_in.len() / 2];
    println!(
        "\nin {} after {last:?}, half after {median:?}; {} attempts, {} told to wait",
        course.came_in.len(),
        course.attempts,
        course.told_to_wait
    );
    let mut end = String::new();
    io::stdin().read_line(&mut end).unwrap();
    all_echo(&mut stayed).await;
    println!("\n{} echo still", stayed.len());
}
