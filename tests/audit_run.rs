//! How the suites run: what they do with a target that is busy, slow or gone, and through the command.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::process::{Process, Ran, ran, wsgate};
use support::shipped::{PAGE, Shipped};
use support::{eventually, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use wsgate::audit::{Canary, Case, Exam, Finding, Outcome, Patience, Progress, Suite, Target, cases, run, run_cases};

const OPENS: &str = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
const BUSY: &str = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n";

/// What a server says to the handshake of this number; `None`: nothing.
type Says = fn(usize, &str) -> Option<&'static str>;

/// A server that says what it is told.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn saying(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let count = Arc::clone(&asked);
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                served.spawn(answered(stream, count.fetch_add(1, Ordering::SeqCst), says));
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    fn exam(&self, patience: Patience) -> Exam {
        let target = Target {
            url: format!("ws://{}/chat", self.address),
            address: self.address,
            tls: None,
            name: String::from("127.0.0.1"),
            authority: self.address.to_string(),
            path: String::from("/chat"),
            origin: Some(String::from("https://app.test")),
            listed: vec![String::from("https://app.test")],
            credential: None,
            subprotocols: Vec::new(),
            policy: None,
            signing: None,
            process: None,
            log: None,
            browser: None,
        };
        Exam::new(target, None, patience)
    }
}

async fn answered(mut stream: TcpStream, number: usize, says: Says) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    match says(number, &String::from_utf8_lossy(&head)) {
        Some(says) => stream.write_all(says.as_bytes()).await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

/// Waits for nobody.
const HASTY: Patience = Patience {
    answer: Duration::from_secs(60),
    busy: Duration::ZERO,
    close: Duration::from_secs(1),
    case: Duration::from_secs(60),
};

#[derive(Default)]
struct First(Notify);

impl Progress for &First {
    fn begins(&mut self, _suite: Suite, _cases: usize) {}
    fn tries(&mut self, _case: &Case) {}
    fn found(&mut self, _finding: &Finding) {
        self.0.notify_one();
    }
}

async fn findings(exam: &mut Exam) -> Vec<Finding> {
    let mut findings = Vec::new();
    let progress = &mut &First::default();
    let ran = within("the end of a run", run(&[Suite::Cswsh], exam, progress, &mut findings)).await;
    ran.expect("a good twin that comes in");
    assert_eq!(findings.len(), cases(Suite::Cswsh, exam).len(), "every case is told");
    findings
}

/// The outcomes of the cases that need nothing more.
fn tried(findings: &[Finding]) -> Vec<&Finding> {
    let is_tried = |finding: &&Finding| !matches!(finding.outcome(), Outcome::NotApplicable | Outcome::NotRun);
    let tried: Vec<&Finding> = findings.iter().filter(is_tried).collect();
    assert!(tried.len() > 20, "{}", tried.len());
    tried
}

#[tokio::test]
async fn a_target_that_lets_nobody_in_any_longer_is_left_alone() {
    let server = Server::saying(|number, _| Some(if number < 2 { OPENS } else { BUSY })).await;
    let findings = findings(&mut server.exam(HASTY)).await;
    let tried = tried(&findings);
    for finding in &tried {
        assert_eq!(finding.outcome(), Outcome::Undecided, "{finding:?}");
    }
    let given_up = |finding: &&&Finding| finding.verdict.said.contains("the good twin was tried 3 times");
    assert_eq!(tried.iter().filter(given_up).count(), tried.len() - 3, "{tried:#?}");
    let asked = server.asked.load(Ordering::SeqCst);
    assert!((5..100).contains(&asked), "{asked} handshakes");
}

#[tokio::test]
async fn a_case_that_takes_too_long_is_broken_off_and_the_next_is_tried() {
    let server = Server::saying(|_, head| head.contains("Origin: https://app.test\r\n").then_some(OPENS)).await;
    let findings = findings(&mut server.exam(Patience { case: Duration::from_millis(20), ..HASTY })).await;
    let broken_off = |finding: &&&Finding| finding.verdict.said.starts_with("broken off");
    let tried = tried(&findings);
    assert!(tried.iter().filter(broken_off).count() > 20, "{tried:#?}");
}

/// What these cases of the handshakes come to, by id and outcome.
async fn outcomes(server: &Server, ids: &[&str]) -> Vec<String> {
    let mut exam = server.exam(Patience { busy: Duration::from_secs(20), ..HASTY });
    let mut chosen = cases(Suite::Handshake, &mut exam);
    chosen.retain(|case| ids.contains(&case.id));
    let (mut findings, mut progress) = (Vec::new(), &First::default());
    let ran = run_cases(Suite::Handshake, chosen, &mut exam, &mut progress, &mut findings);
    within("the end of the cases", ran).await;
    findings.iter().map(|finding| format!("{} {}", finding.id, finding.outcome())).collect()
}

#[tokio::test]
async fn a_busy_target_is_asked_again_whatever_the_way_of_asking() {
    let server = Server::saying(|number, _| Some(if number % 2 == 0 { BUSY } else { OPENS })).await;
    let expected = ["ID05 fell", "ID05 fell", "H105 held", "H108 held"];
    assert_eq!(outcomes(&server, &["ID05", "H105", "H108"]).await, expected);
}

#[tokio::test]
async fn a_costly_head_that_is_dropped_is_not_answered_in_time() {
    for (says, expected) in [
        (Server::saying(|_, _| Some(OPENS)).await, "HS12 held"),
        (Server::saying(|_, head| Some(if head.contains("  ") { "" } else { OPENS })).await, "HS12 undecided"),
    ] {
        let found = outcomes(&says, &["HS12"]).await;
        assert_eq!(found.last().map(String::as_str), Some(expected), "{found:?}");
    }
}

#[tokio::test]
async fn what_a_run_has_found_is_there_when_it_is_dropped() {
    let server = Server::saying(|_, _| Some(OPENS)).await;
    let mut exam = server.exam(HASTY);
    let (mut findings, first) = (Vec::new(), First::default());
    let mut progress = &first;
    tokio::select! {
        biased;
        () = first.0.notified() => {}
        ran = run(&[Suite::Cswsh], &mut exam, &mut progress, &mut findings) => panic!("it came to its end: {ran:?}"),
    }
    assert!((1..20).contains(&findings.len()), "{}", findings.len());
}

#[tokio::test]
async fn who_takes_every_origin_is_told_what_fell_in_every_report() {
    let folder = tempfile::tempdir().unwrap();
    let canary = Canary::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let secret = "kJ3vPq8sLx0ZtYw2";
    let url = format!("ws://{}/chat?token={secret}", canary.address());
    let files = ["--report", "a.html", "--json", "a.json", "--junit", "a.xml", "--sarif", "a.sarif"];
    let arguments = [&["audit", "cswsh", url.as_str(), "--origin", PAGE], &files[..]].concat();
    let told = ran(folder.path(), &arguments, "").await;
    told.ended(1).told(&["fell", "OR01 no Origin", "  remedy: "]);
    let read = |name: &str| {
        let path = folder.path().join(name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        fs::read_to_string(path).unwrap()
    };
    let [page, json, junit, sarif] = ["a.html", "a.json", "a.xml", "a.sarif"].map(read);
    for text in [&told.out, &told.err, &page, &json, &junit, &sarif] {
        assert!(!text.contains(secret), "the token of the URL: {text}");
    }
    let fell = |json: &str| serde_json::from_str::<Value>(json).unwrap()["counts"]["fell"].as_u64().unwrap();
    assert!(fell(&json) > 20, "{json}");
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    let suites = quick_junit::Report::deserialize_from_str(&junit).unwrap();
    assert_eq!(u64::try_from(suites.failures).unwrap(), fell(&json));
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    let failed = sarif["runs"][0]["results"].as_array().unwrap().iter().filter(|result| result["kind"] == "fail");
    assert_eq!(u64::try_from(failed.count()).unwrap(), fell(&json));
}

/// Runs the audit of what `wsgate init plain` writes.
async fn audit(shipped: &Shipped, arguments: &[&str]) -> Ran {
    ran(shipped.folder(), &arguments_for(shipped, arguments).iter().map(String::as_str).collect::<Vec<_>>(), "").await
}

fn arguments_for(shipped: &Shipped, arguments: &[&str]) -> Vec<String> {
    let url = shipped.url("/chat");
    let known = ["--policy", "policies/plain.toml", "--signing-key", "certs/login.key", "--json", "audit.json"];
    [&["audit"], arguments, &[url.as_str()], &known].concat().into_iter().map(String::from).collect()
}

fn report(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("audit.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn the_exit_code_says_what_came_of_it() {
    let canary = Canary::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let shipped = Shipped::of("plain", canary.address().port()).await;
    audit(&shipped, &["tls"]).await.ended(0).told(&["tls: ", " held, 0 fell, 0 undecided"]);
    assert_eq!(report(shipped.folder())["cut_short"], Value::Null);

    audit(&shipped, &["frames", "--within", "1s"]).await.ended(2).told(&["not all was tried: the time of 1s is up"]);
    assert_eq!(report(shipped.folder())["cut_short"], "the time of 1s is up");

    let nowhere = audit(&shipped, &["tls", "--junit", "no/such/folder/audit.xml"]).await;
    nowhere.ended(2).complained(&["no/such/folder/audit.xml"]);
    assert_eq!(nowhere.out, "", "nothing was tried");

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = ran(shipped.folder(), &["audit", "tls", &format!("ws://{closed}/"), "--origin", PAGE], "").await;
    gone.ended(2).complained(&["a good handshake does not come in"]);
    assert!(!gone.err.contains("--kid"), "nothing was refused: {}", gone.err);
    let unknown = audit(&shipped, &["tls", "--claim", "aud=nobody"]).await;
    unknown.ended(2).complained(&["a good handshake does not come in: 401", "--kid", "--carrier", "wsgate explain"]);
    let nobody =
        ran(shipped.folder(), &["audit", "tls", &shipped.url("/chat"), "--origin", PAGE, "--ca", "certs/ca.pem"], "")
            .await;
    nobody.ended(2).complained(&["a good handshake does not come in: 401", "no credential was given"]);

    audit(&shipped, &["auth", "--log", "policies"]).await.ended(2).complained(&["--log policies: is no plain file"]);
    audit(&shipped, &["auth", "--pid", "999999999"]).await.ended(2).complained(&["--pid 999999999: "]);
    audit(&shipped, &["auth", "--origin", "https://a.test/"])
        .await
        .ended(2)
        .complained(&["--origin: ", "https://a.test"]);
    let blind = ran(shipped.folder(), &["audit", "cswsh", &shipped.url("/chat")], "").await;
    blind.ended(2).complained(&["nothing to compare with: give --origin"]);

    fs::write(shipped.folder().join("policies/plain.toml"), "[route\n").unwrap();
    audit(&shipped, &["tls"]).await.ended(78).complained(&["policies/plain.toml:1:"]);
}

#[tokio::test]
async fn an_interrupted_run_reports_what_it_has_found() {
    let canary = Canary::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let shipped = Shipped::of("plain", canary.address().port()).await;
    let mut command = wsgate(shipped.folder(), &[]);
    command.args(arguments_for(&shipped, &["frames"]));
    let process = Process::start(command);
    process.line("a case that held", |line| line.starts_with("held").then_some(())).await;
    process.signal(Signal::INT);
    process.ends().await.ended(2).told(&[
        "not all was tried: it was interrupted",
        "  left of frames: ",
        " cases, from ",
    ]);
    let report = report(shipped.folder());
    assert_eq!(report["cut_short"], "it was interrupted");
    let counted = |of: &str| report[of].as_array().unwrap().len();
    assert!(counted("left") > 10 && counted("findings") > 0, "{report}");
    assert_eq!(report["given"][0], "--policy policies/plain.toml");
    assert!(report["counts"]["held"].as_u64().unwrap() > 0, "{report}");
}

/// Where nobody reads what is told, the first signal waits; the second does not.
#[tokio::test]
async fn a_second_interrupt_ends_a_run_at_once() {
    let server = Server::saying(|_, _| Some(OPENS)).await;
    let (_reader, mut full) = std::io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&full, rustix::fs::OFlags::NONBLOCK).unwrap();
    while std::io::Write::write(&mut full, &[b'x'; 512]).is_ok() {}
    rustix::fs::fcntl_setfl(&full, rustix::fs::OFlags::empty()).unwrap();
    let mut command = wsgate(Path::new("."), &["audit", "tls", &format!("ws://{}/chat", server.address)]);
    let mut child = command.stdout(full).stderr(std::process::Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    // The second bit of each set of signals is SIGINT's.
    let has = |set: &str| {
        let status = fs::read_to_string(&status).unwrap();
        let signals = status.lines().find_map(|line| line.strip_prefix(set)).unwrap().trim();
        u64::from_str_radix(signals, 16).unwrap() & 2 != 0
    };
    eventually("it listens to signals", || has("SigCgt:")).await;
    let pid = Pid::from_child(&child);
    let interrupt = || kill_process(pid, Signal::INT).unwrap();
    interrupt();
    eventually("the first is taken", || !has("ShdPnd:")).await;
    assert_eq!(child.try_wait().unwrap(), None, "the first is no reason to lose what was found");
    let mut code = None;
    eventually("the process ends", || {
        // Two that come too close are one.
        interrupt();
        code = child.try_wait().unwrap().and_then(|status| status.code());
        code.is_some()
    })
    .await;
    assert_eq!(code, Some(2));
}
