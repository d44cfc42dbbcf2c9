//! The suite of floods in front of a strict house, which it leaves standing, and of houses with one thing missing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "what was found is for the reader of the output")]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use support::Plan;
use support::examined::{Examined, examined};
use support::process::{Running, wsgate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wsgate::audit::dos::{self, Bounds};
use wsgate::audit::{Case, Exam, Outcome, Probe, Suite, Verdict};

/// Deadlines of a second, and caps that a test exceeds with few connections.
const STRICT: &str = r#"
[admission]
tls = "1s"
head = "1s"
total = "5s"

[address]
pending = 48
"#;

const STRICT_POLICY: &str = r#"
[limits]
connections_per_address = 16
connections_per_subject = 8

[session]
ping_interval = "1s"
pong_timeout = "500ms"
partial_header = "500ms"
close_timeout = "500ms"
"#;

/// Deadlines that a test does not live to see.
const PATIENT: &str = "[admission]\ntls = \"60s\"\nhead = \"60s\"\ntotal = \"60s\"";

const PATIENT_POLICY: &str = r#"
[session]
ping_interval = "60s"
pong_timeout = "60s"
partial_header = "60s"
close_timeout = "60s"
"#;

fn strict() -> Plan {
    Plan::plain().gateway(STRICT).policy(STRICT_POLICY)
}

/// Judges every case of these ids; each is told.
async fn judged(exam: &mut Exam, ids: &[&str]) -> Vec<(&'static str, &'static str, Verdict)> {
    let mut told = Vec::new();
    for Case { id, name, probe } in wsgate::audit::cases(Suite::Dos, exam) {
        if !ids.contains(&id) {
            continue;
        }
        let began = Instant::now();
        let verdict = match probe {
            Probe::Dos(probe) => dos::judge(&probe, exam).await,
            Probe::NotRun(needs) => Verdict::new(Outcome::NotRun, needs),
            Probe::NotApplicable(why) => Verdict::new(Outcome::NotApplicable, why),
            other => panic!("{other:?} is no case of this suite's"),
        };
        println!("{:.1} s: {} {id} {name}: {}", began.elapsed().as_secs_f64(), verdict.outcome, verdict.said);
        told.push((id, name, verdict));
    }
    assert!(ids.iter().all(|id| told.iter().any(|(told, ..)| told == id)), "an id of {ids:?} has no case");
    told
}

/// Every case of these ids holds; what is not run is named.
async fn all_hold(exam: &mut Exam, ids: &[&str], not_run: &[&str]) {
    let told = judged(exam, ids).await;
    let doubtful: Vec<_> = told.iter().filter(|(.., verdict)| verdict.outcome != Outcome::Held).collect();
    let names: Vec<&str> = doubtful.iter().map(|(_, name, _)| *name).collect();
    assert_eq!(names, not_run, "{doubtful:#?}");
    for (_, name, verdict) in told.iter().filter(|(.., verdict)| verdict.outcome == Outcome::Held) {
        let course = verdict.courses.iter().find(|course| course.unit == "ms");
        assert!(course.is_some_and(|course| course.points.len() > 2), "{name}: no course of round trips");
    }
}

/// Of the cases of these ids exactly these fall, and nothing is undecided.
async fn fall(exam: &mut Exam, ids: &[&str], fallen: &[&str]) {
    let told = judged(exam, ids).await;
    let undecided: Vec<_> = told.iter().filter(|(.., verdict)| verdict.outcome == Outcome::Undecided).collect();
    assert!(undecided.is_empty(), "{undecided:#?}");
    let fell = told.iter().filter(|(.., verdict)| verdict.outcome == Outcome::Fell).map(|(_, name, _)| *name);
    assert_eq!(fell.collect::<Vec<_>>(), fallen);
}

async fn quick(plan: Plan) -> Examined {
    let mut examined = examined(plan).await;
    examined.exam.bounds = Bounds::quick();
    examined
}

/// The same, with nothing known of the policy, and with less patience.
async fn stranger(plan: Plan) -> Examined {
    let mut examined = quick(plan).await;
    examined.exam.target.policy = None;
    examined.exam.bounds.hold = Duration::from_secs(2);
    examined
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_house_holds() {
    let silent = async {
        let mut examined = quick(strict()).await;
        let ids = ["TL01", "TL02", "H101", "H104", "H106", "RX06", "FR16", "FR17"];
        all_hold(&mut examined.exam, &ids, &["large frames, a byte at a time"]).await;
    };
    let connections = async {
        let mut examined = quick(strict()).await;
        let ids = ["TL05", "RX01", "RX02", "RX03", "RX04", "RX05", "RX16", "RX22"];
        all_hold(&mut examined.exam, &ids, &[]).await;
    };
    let frames = async {
        let mut examined = quick(strict()).await;
        all_hold(&mut examined.exam, &["RX07", "RX15", "FR07", "FR09", "FR11", "FR12"], &[]).await;
        let cases = wsgate::audit::cases(Suite::Dos, &mut examined.exam);
        let names: BTreeSet<_> = cases.iter().map(|case| (case.id, case.name)).collect();
        assert_eq!(
            (cases.len(), names.len()),
            (27, 27),
            "every case has a name of its own, and is in one of the groups"
        );
    };
    tokio::join!(silent, connections, frames);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_without_deadlines_falls() {
    let before = async {
        let mut examined = stranger(Plan::plain().gateway(PATIENT)).await;
        let fallen = [
            "a TCP connection that stays silent",
            "a ClientHello, a byte at a time",
            "silence behind the server's first flight",
            "silence where a head should come",
            "a head, a byte at a time",
            "silent connections of one address",
        ];
        fall(&mut examined.exam, &["TL01", "TL02", "H101", "H106", "RX01"], &fallen).await;
    };
    let behind = async {
        let mut examined = stranger(Plan::plain().policy(PATIENT_POLICY)).await;
        let fallen =
            ["a session that answers nothing", "frame headers that stay incomplete", "large frames, a byte at a time"];
        fall(&mut examined.exam, &["RX06", "FR07", "FR16", "FR17"], &fallen).await;
    };
    tokio::join!(before, behind);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_without_caps_and_rates_falls() {
    let loose = r#"
        [session.from_client]
        fragments = 100000
        messages = "100000/s burst 100000"
        control = "100000/s burst 100000"
    "#;
    let heads = "[admission]\nhead_size = \"64KiB\"";
    let mut examined = quick(Plan::plain().gateway(heads).policy(loose)).await;
    // The policy that the suite is told of says less than the house does.
    let policy = Arc::get_mut(examined.exam.target.policy.as_mut().unwrap()).expect("a policy of the exam's own");
    policy.quotas.connections_per_address = 16;
    policy.quotas.connections_per_subject = 8;
    fall(
        &mut examined.exam,
        &["RX04", "RX05"],
        &["more sessions of an address than allowed", "more sessions of a subject than allowed"],
    )
    .await;
    examined.exam.target.policy = None;
    examined.exam.bounds.head_bytes = 32 << 10;
    let fallen = [
        "heads that do not end",
        "a flood of fragments of one message",
        "a flood of messages of one byte",
        "a flood of empty messages",
        "a flood of pings",
        "a flood of pongs that nobody asked for",
    ];
    fall(&mut examined.exam, &["H104", "FR09", "FR11", "FR12"], &fallen).await;
}

/// An endpoint without TLS that bounds nothing but, where it is said, its places.
async fn hoarder(places: usize) -> (Examined, Hoarder) {
    let mut examined = stranger(Plan::plain()).await;
    let hoarder = Hoarder::before(examined.exam.canary.as_ref().unwrap().address(), places).await;
    (examined.exam.target.address, examined.exam.target.tls) = (hoarder.address, None);
    examined.exam.bounds.sessions = 1;
    (examined, hoarder)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_takes_every_place_is_seen_to_shut_others_out() {
    let (mut examined, _hoarder) = hoarder(40).await;
    examined.exam.bounds.flood = Duration::from_secs(4);
    let told = judged(&mut examined.exam, &["RX01"]).await;
    assert!(told[0].2.outcome == Outcome::Fell, "{told:#?}");
    assert!(told[0].2.said.contains("while it lasted no newcomer came in"), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_bounds_nothing_falls() {
    let (mut examined, _hoarder) = hoarder(Semaphore::MAX_PERMITS).await;
    let exam = &mut examined.exam;
    (exam.bounds.hold, exam.patience.close) = (Duration::from_secs(1), Duration::from_secs(1));
    let told = judged(exam, &["TL01", "TL02", "TL05"]).await;
    assert!(told.iter().all(|(.., verdict)| verdict.outcome == Outcome::NotApplicable), "{told:#?}");
    exam.bounds.head_bytes = 64 << 10;
    let fallen = [
        "silence where a head should come",
        "a head, a byte at a time",
        "heads that do not end",
        "refusals that are not read",
        "silent connections of one address",
        "a session that answers nothing",
        "a flood of frames that announce 2^62 bytes",
        "frame headers that stay incomplete",
        "large frames, a byte at a time",
    ];
    let ids = ["H101", "H104", "H106", "RX01", "RX06", "FR07", "FR17"];
    fall(exam, &ids, &fallen).await;
    exam.bounds.hold = Duration::from_secs(10);
    fall(exam, &["RX07"], &["a session that asks for much and does not read"]).await;
}

/// Passes on whatever comes, both ways, and keeps what cannot go on yet: without bound.
struct Hoarder {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Hoarder {
    async fn before(backend: SocketAddr, places: usize) -> Self {
        let places = Arc::new(Semaphore::new(places));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            loop {
                let place = Arc::clone(&places).acquire_owned().await.unwrap();
                let (client, _) = listener.accept().await.unwrap();
                let backend = TcpStream::connect(backend).await.unwrap();
                let ((from, to), (back_from, back_to)) = (client.into_split(), backend.into_split());
                served.spawn(async move {
                    tokio::join!(hoard(from, back_to), hoard(back_from, to));
                    drop(place);
                });
            }
        });
        Self { address, _tasks: tasks }
    }
}

async fn hoard(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (put, mut take) = unbounded_channel::<Vec<u8>>();
    let reads = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            put.send(buffer[..count].to_vec()).unwrap_or_default();
        }
    };
    let writes = async move {
        while let Some(bytes) = take.recv().await {
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(reads, writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_watched_and_has_back_what_it_gave() {
    let mut examined = quick(strict()).await;
    let running = Running::start(wsgate(examined.house.folder.path(), &["run", "-c", "gateway.toml"])).await;
    let exam = &mut examined.exam;
    exam.target.address = running.address;
    exam.target.process = Some(running.process.id());
    let told = judged(exam, &["RX02", "RX16"]).await;
    assert_eq!(told.len(), 2);
    for (_, name, verdict) in &told {
        assert_eq!(verdict.outcome, Outcome::Held, "{name}: {}", verdict.said);
        for unit in ["ms", "MiB", "descriptors", "% of a core"] {
            let course = verdict.courses.iter().find(|course| course.unit == unit);
            assert!(course.is_some_and(|course| course.points.len() > 2), "{name}: {unit}");
        }
    }
}
