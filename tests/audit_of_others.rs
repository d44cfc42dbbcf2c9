//! The suites in front of proxies that nobody here wrote: what stands of nginx and of HAProxy as they are usually
//! configured for WebSocket is what docs/audit-of-others.md shows.
//!
//! `WSGATE_WRITE_DOCUMENTS=1 cargo test --test audit_of_others -- --ignored` writes that page anew, in minutes; without
//! `--ignored` it writes the same outcomes with what is said around them. The page holds for the versions that it names:
//! of a program that is missing or of another version nothing is compared.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "what is passed over is for the reader of the output")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use support::certificates::Authority;
use support::examined::{Aloud, stranger};
use support::house::{HOST, ORIGIN};
use support::tokens::Signer;
use support::within;
use tokio::net::TcpStream;
use wsgate::audit::{Canary, Exam, Finding, Outcome, Patience, Suite, Target, rule};

/// What is run. Floods are not: what they measure is the machine too, and they take longer than all else.
const SUITES: [Suite; 5] = [Suite::Handshake, Suite::Cswsh, Suite::Auth, Suite::Frames, Suite::Tls];

/// A proxy.
struct Program {
    name: &'static str,
    command: &'static str,
    arguments: &'static [&'static str],
    configuration: &'static str,
}

const PROGRAMS: [Program; 2] = [
    Program {
        name: "nginx",
        command: "nginx",
        arguments: &[
            "-p",
            "__DIR__",
            "-e",
            "stderr",
            "-c",
            "__DIR__/proxy",
            "-g",
            "daemon off; master_process off; pid __DIR__/pid;",
        ],
        configuration: include_str!("others/nginx.conf"),
    },
    Program {
        name: "HAProxy",
        command: "haproxy",
        arguments: &["-db", "-f", "__DIR__/proxy"],
        configuration: include_str!("others/haproxy.cfg"),
    },
];

/// Long for a proxy of this machine: most of a run is waiting for what does not come.
const QUICK: Patience = Patience {
    answer: Duration::from_secs(2),
    busy: Duration::from_secs(60),
    close: Duration::from_secs(2),
    case: Duration::from_secs(120),
};

/// What ends a line of a configuration that only the target with a list of origins has.
const OF_THE_LIST: &str = "# LIST";

/// Whether a target looks at Origin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origins {
    Any,
    Listed,
}

/// The targets in the order of their columns.
const TARGETS: [(usize, Origins); 4] =
    [(0, Origins::Any), (0, Origins::Listed), (1, Origins::Any), (1, Origins::Listed)];

fn title((program, origins): (usize, Origins)) -> String {
    let name = PROGRAMS[program].name;
    if origins == Origins::Any { name.to_owned() } else { format!("{name}, list") }
}

impl Program {
    /// The version that it tells of itself; `None` where it is missing.
    fn version(&self) -> Option<String> {
        let output = Command::new(self.command).arg("-v").output().ok()?;
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let from = text.find(|letter: char| letter.is_ascii_digit())?;
        Some(text[from..].chars().take_while(|letter| letter.is_ascii_digit() || *letter == '.').collect())
    }
}

/// A proxy that runs, and the examination of it.
struct Other {
    child: Child,
    exam: Exam,
    _folder: tempfile::TempDir,
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Other {
    /// Starts it in front of a canary and waits until it listens.
    async fn start(program: &Program, origins: Origins) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let place = |name: &str| folder.path().join(name);
        let authority = Authority::throwaway();
        let leaf = authority.leaf(&[HOST]);
        fs::write(place("chat.pem"), &leaf.chain_pem).unwrap();
        fs::write(place("chat.key"), &leaf.key_pem).unwrap();
        fs::write(place("chat-and-key.pem"), format!("{}{}", leaf.chain_pem, leaf.key_pem)).unwrap();
        fs::write(place("origins"), format!("{ORIGIN}\n")).unwrap();

        let canary = Canary::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = unused();
        let filled = |text: &str| {
            let text = text.replace("__DIR__", folder.path().to_str().unwrap());
            let text = text.replace("__BACKEND__", &canary.address().port().to_string());
            text.replace("__PORT__", &address.port().to_string())
        };
        let lines = program.configuration.lines();
        let lines = lines.filter(|line| origins == Origins::Listed || !line.ends_with(OF_THE_LIST));
        fs::write(place("proxy"), filled(&lines.collect::<Vec<_>>().join("\n")) + "\n").unwrap();
        let log = File::options().create(true).append(true).open(place("access.log")).unwrap();
        let mut command = Command::new(program.command);
        command.args(program.arguments.iter().map(|argument| filled(argument)));
        let mut child = command.stdin(Stdio::null()).stdout(log).spawn().unwrap();
        within("the proxy listens", async {
            while TcpStream::connect(address).await.is_err() {
                assert_eq!(child.try_wait().unwrap(), None, "{} ended", program.name);
                tokio::task::yield_now().await;
            }
        })
        .await;
        let exam = Exam::new(target(address, &authority, place("access.log")), Some(canary), QUICK);
        Self { child, exam, _folder: folder }
    }

    /// What all suites find.
    async fn findings(mut self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let ran = wsgate::audit::run(&SUITES, &mut self.exam, &mut Aloud, &mut findings).await;
        ran.expect("a good twin that comes in");
        findings
    }
}

/// A port that nobody listened on a moment ago.
fn unused() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A service whose tokens the suite can make, so that what becomes of wrong ones is seen.
fn target(address: SocketAddr, authority: &Authority, log: PathBuf) -> Target {
    Target { log: Some(log), ..stranger(address, authority, &Signer::es256()) }
}

/// What the page shows of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Scores {
    /// Of the programs.
    versions: Vec<String>,
    /// Suite, id and name of a case, and its outcome at each target.
    rows: Vec<[String; 7]>,
    /// Suite, id and name of a case, an outcome that is neither held nor fell, the targets, and why.
    open: Vec<[String; 6]>,
}

impl Scores {
    fn of(versions: Vec<String>, found: &[Vec<Finding>; 4]) -> Self {
        let mut scores = Self { versions, ..Self::default() };
        for at in 0..found[0].len() {
            let findings = found.each_ref().map(|findings| &findings[at]);
            let first = findings[0];
            let [suite, id, name] = [first.suite.as_str(), first.id, first.name].map(String::from);
            assert!(findings.iter().all(|other| (other.id, other.name) == (first.id, first.name)), "{id} {name}");
            let [a, b, c, d] = findings.map(|finding| finding.outcome().to_string());
            scores.rows.push([suite.clone(), id.clone(), name.clone(), a, b, c, d]);
            let mut open: BTreeMap<(Outcome, String), Vec<String>> = BTreeMap::new();
            for (finding, target) in findings.iter().zip(TARGETS) {
                if !matches!(finding.outcome(), Outcome::Held | Outcome::Fell) {
                    let why = finding.verdict.said.replace('\n', " ").replace('|', "/");
                    open.entry((finding.outcome(), why)).or_default().push(title(target));
                }
            }
            for ((outcome, why), targets) in open {
                let targets = if targets.len() == TARGETS.len() { String::from("all") } else { targets.join("; ") };
                scores.open.push([suite.clone(), id.clone(), name.clone(), outcome.to_string(), targets, why]);
            }
        }
        scores
    }

    /// Of a page.
    fn read(page: &str) -> Self {
        let mut scores = Self::default();
        let mut heading = "";
        for line in page.lines() {
            if let Some(text) = line.strip_prefix("## ") {
                heading = text;
            }
            for program in &PROGRAMS {
                let version = line.strip_prefix(&format!("### {} ", program.name));
                scores.versions.extend(version.map(String::from));
            }
            let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else { continue };
            let cells: Vec<String> = cells.split(" | ").map(String::from).collect();
            if cells.iter().any(|cell| cell == "case") {
                continue;
            }
            if SUITES.iter().any(|suite| suite.as_str() == heading) {
                let row: Vec<String> = std::iter::once(heading.to_owned()).chain(cells).collect();
                scores.rows.push(row.try_into().unwrap());
            } else if heading == OPEN {
                scores.open.push(cells.try_into().unwrap());
            }
        }
        scores
    }

    /// The column of a target: suite, id, name and outcome of every case.
    fn column(&self, target: usize) -> Vec<String> {
        self.rows.iter().map(|row| [&row[..3], &row[target + 3..target + 4]].concat().join(" · ")).collect()
    }

    fn count(&self, suite: Suite, target: usize, outcome: Outcome) -> usize {
        let is = |row: &&[String; 7]| row[0] == suite.as_str() && row[target + 3] == outcome.as_str();
        self.rows.iter().filter(is).count()
    }

    /// The page.
    fn page(&self) -> String {
        let mut page = String::from(HEAD);
        for ((program, told), version) in PROGRAMS.iter().zip(TOLD).zip(&self.versions) {
            let name = program.name;
            write!(page, "\n### {name} {version}\n\n{told}\n\n```\n{}```\n", program.configuration).unwrap();
        }
        self.counts(&mut page);
        for suite in SUITES {
            write!(page, "\n## {suite}\n\n| id | case |").unwrap();
            TARGETS.into_iter().for_each(|target| write!(page, " {} |", title(target)).unwrap());
            page.push_str("\n|---|---|---|---|---|---|\n");
            for row in self.rows.iter().filter(|row| row[0] == suite.as_str()) {
                writeln!(page, "| {} |", row[1..].join(" | ")).unwrap();
            }
        }
        write!(page, "\n## {OPEN}\n\n{OPEN_TOLD}\n\n| suite | id | case | outcome | where | why |\n").unwrap();
        page.push_str("|---|---|---|---|---|---|\n");
        self.open.iter().for_each(|row| writeln!(page, "| {} |", row.join(" | ")).unwrap());
        self.meanings(&mut page);
        page
    }

    /// Held of tried, by suite, and the sums of every outcome.
    fn counts(&self, page: &mut String) {
        page.push_str("\n## Counts\n\nHeld, of the cases that were held or fell.\n\n| suite |");
        TARGETS.into_iter().for_each(|target| write!(page, " {} |", title(target)).unwrap());
        page.push_str("\n|---|---|---|---|---|\n");
        for suite in SUITES {
            write!(page, "| {suite} |").unwrap();
            for target in 0..TARGETS.len() {
                let held = self.count(suite, target, Outcome::Held);
                write!(page, " {held} of {} |", held + self.count(suite, target, Outcome::Fell)).unwrap();
            }
            page.push('\n');
        }
        for outcome in [Outcome::Held, Outcome::Fell, Outcome::Undecided, Outcome::NotApplicable, Outcome::NotRun] {
            write!(page, "| **{outcome}** |").unwrap();
            for target in 0..TARGETS.len() {
                let count: usize = SUITES.iter().map(|suite| self.count(*suite, target, outcome)).sum();
                write!(page, " **{count}** |").unwrap();
            }
            page.push('\n');
        }
    }

    /// What the fall of each id means.
    fn meanings(&self, page: &mut String) {
        page.push_str("\n## What a fall means\n\n| id | what must hold | where it does not |\n|---|---|---|\n");
        let mut told = Vec::new();
        for row in self.rows.iter().filter(|row| row[3..].iter().any(|outcome| outcome == Outcome::Fell.as_str())) {
            if told.contains(&&row[1]) {
                continue;
            }
            told.push(&row[1]);
            let rule = rule::rule(&row[1]).expect("every id has its rule");
            writeln!(page, "| {} | {} | {} |", rule.id, rule.must, rule.means).unwrap();
        }
    }
}

const OPEN: &str = "What is undecided, and what was not tried";

const OPEN_TOLD: &str = "\
Undecided: what came back proves neither, and the last column tells what it was. Most of it needs a refusal, and a target
without a list refuses little of what the suites try. Not run: a policy of wsgate, from which bounds are known, or a browser
was not given.";

const HEAD: &str = r#"# The audit of others

What `wsgate audit` finds at nginx and at HAProxy as they are usually configured for WebSocket, TLS in front, with and without
a list of origins. This page is made by `tests/audit_of_others.rs`, which starts both on the loopback with the suite's canary as
the only service behind them:

```sh
cargo test --test audit_of_others -- --ignored                             # compares with this page: minutes
WSGATE_WRITE_DOCUMENTS=1 cargo test --test audit_of_others -- --ignored    # writes it anew
```

It holds for the versions named below, as Debian 12 has them. The floods (`dos`) are left out: they take longer than everything
else together, and what they measure is the machine as well. At an endpoint of your own it is `wsgate audit all URL --canary ADDR`.

## What they do not claim

The suites ask of a target what wsgate asks of itself. nginx and HAProxy are proxies for all of HTTP and claim less. What falls
here is not broken in them: it is what the service behind must do by itself, or a line of configuration must add. The canary
does nothing of it: it takes every handshake and echoes every frame, so that what gets through is seen.

- **Credentials.** Neither configuration looks at a token; services do. The suite `auth` and OR23, OR25 (a cookie that is no
  credential) show what reaches the service unjudged: everything. That wrong tokens are kept out of log and answers holds.
- **Origin without a list.** The columns `nginx` and `HAProxy` look at no Origin, as most configurations that one finds. The
  columns with a list show what the usual check is worth. OR24 looks at other fields than Origin, which neither list claims.
- **Frames.** Behind the 101 both pass bytes on and know of no frame. A service that follows RFC 6455 ends most of these
  sessions by itself; rates, bounds and pings are its own business then.
- **The rules of RFC 6455 for the handshake** (HS03 to HS12). They bind the server. A proxy may leave them to it, and passes a
  request without Upgrade on as the plain request that it is. So it is with the 101: a browser verifies what SM04 and HS14 try.
- **What HTTP allows a recipient.** RFC 9112 lets it take a bare LF for a line end (SM13), put a space for a folded line (SM12),
  let Transfer-Encoding win over Content-Length (SM09) and take equal lengths once (SM11); RFC 3986 has letters in code be
  letters (HS18); a connection that lives on behind a refusal (SM01, SM06, H102) is HTTP/1.1 as it is meant. The suites ask for
  less leniency, because no browser needs it and two readers differ in it.
- **Fields.** Both pass on what a client sends unless a line removes it (ID01, ID11, SM19), and append to X-Forwarded-For (ID04):
  a service that counts from its end reads the right address. One server, one prefix: any Host and what begins with the path
  are served (HS16, HS18); more lines would bound both.

## What their lists let in

- **nginx** compares the keys of a `map` without regard to case (OR14), which no browser makes use of. Of two fields Origin,
  `$http_origin` of this version is the first (OR04): the service may look at the other.
- **HAProxy** splits `req.hdr` at commas and is content with one part that is listed: several origins in one field (OR05), in two
  fields (OR04), and a host with a comma, which browsers know (OR16), come in. `req.fhdr` takes the whole field. A listed name with
  a NUL behind it comes in as well (OR20).

## The targets

`__DIR__`, `__PORT__` and `__BACKEND__` are filled in by the test. The target without a list lacks the lines that end in `# LIST`.
The suites know one origin that is listed, `https://app.test`, and good tokens in `Authorization`.
"#;

/// What is said of each program above its configuration.
const TOLD: [&str; 2] = [
    "As nginx's own page on WebSocket has it, the versions and suites of TLS as Mozilla's intermediate configuration, and timeouts\n\
     that let an idle socket live.",
    "As Debian ships it, with a frontend, a backend, and a timeout that lets an idle socket live. The file `origins` holds one\n\
     line: `https://app.test`.",
];

fn page_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/audit-of-others.md")
}

#[test]
fn the_page_is_made_of_its_tables_and_of_the_configurations() {
    let page = fs::read_to_string(page_path()).unwrap();
    let scores = Scores::read(&page);
    if std::env::var_os("WSGATE_WRITE_DOCUMENTS").is_some() {
        fs::write(page_path(), scores.page()).unwrap();
        return;
    }
    assert!(scores.rows.len() > 150 && scores.versions.len() == PROGRAMS.len(), "the page was read");
    assert!(page == scores.page(), "docs/audit-of-others.md is out of date: see the head of tests/audit_of_others.rs");
}

/// What one column has and the other has not.
fn differences(shown: &[String], found: &[String]) -> Vec<String> {
    let beyond = |these: &[String], those: &[String], whose: &str| -> Vec<String> {
        these.iter().filter(|this| !those.contains(this)).map(|this| format!("{whose}: {this}")).collect()
    };
    [beyond(shown, found, "shown"), beyond(found, shown, "found")].concat()
}

#[test]
fn an_outcome_that_is_not_the_shown_one_is_seen() {
    let page = fs::read_to_string(page_path()).unwrap();
    let shown = Scores::read(&page);
    for target in 0..TARGETS.len() {
        let mut found = Scores::read(&page);
        found.rows[0][target + 3] = Outcome::NotRun.to_string();
        for other in 0..TARGETS.len() {
            let count = differences(&shown.column(other), &found.column(other)).len();
            assert_eq!(count, if other == target { 2 } else { 0 }, "{target} {other}");
        }
        assert_ne!(found.page(), page, "the counts and the table tell it");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: .ci/long runs it"]
async fn what_stands_and_falls_is_what_the_page_shows() {
    let versions = PROGRAMS.each_ref().map(Program::version);
    if std::env::var_os("WSGATE_WRITE_DOCUMENTS").is_some() {
        let versions = versions.map(|version| version.expect("both programs")).into();
        let found = join_all(TARGETS.map(audited)).await.try_into().unwrap();
        fs::write(page_path(), Scores::of(versions, &found).page()).unwrap();
        return;
    }
    let shown = Scores::read(&fs::read_to_string(page_path()).unwrap());
    let mut compared = Vec::new();
    for (at, program) in PROGRAMS.iter().enumerate() {
        let (name, expected) = (program.name, &shown.versions[at]);
        match &versions[at] {
            Some(version) if version == expected => {
                compared.extend((0..TARGETS.len()).filter(|to| TARGETS[*to].0 == at))
            }
            Some(version) => println!("passed over: {name} is {version} here, and the page shows {expected}"),
            None => println!("passed over: no {name} on this machine; the page shows {expected}"),
        }
    }
    let found = join_all(compared.iter().map(|target| audited(TARGETS[*target]))).await;
    let mut differing = Vec::new();
    for (target, findings) in compared.into_iter().zip(&found) {
        let told = differences(&shown.column(target), &findings.iter().map(told).collect::<Vec<_>>());
        differing.extend(told.into_iter().map(|line| format!("{}, {line}", title(TARGETS[target]))));
    }
    assert!(differing.is_empty(), "docs/audit-of-others.md says otherwise:\n{}", differing.join("\n"));
}

/// A finding as [`Scores::column`] has it.
fn told(finding: &Finding) -> String {
    format!("{} · {} · {} · {}", finding.suite, finding.id, finding.name, finding.outcome())
}

async fn audited((program, origins): (usize, Origins)) -> Vec<Finding> {
    Other::start(&PROGRAMS[program], origins).await.findings().await
}
