//! TLS against an implementation that nobody here wrote: OpenSSL, by its own client and from Python.
//!
//! `openssl` must be on PATH, and `python3`, or the Python that `WSGATE_PYTHON` names: its standard library is enough.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};

use support::backend::{SWITCHING, Step};
use support::endpoint::GENEROUS;
use support::frames::{BINARY, CLOSE, FIN, TEXT, bare, close_body, masked, noise};
use support::house::HOST;
use support::process::Process;
use support::{Cases, House, Plan};
use wsgate::session::Cause;

/// A session of `openssl s_client`.
struct OpenSsl {
    process: Process,
    input: ChildStdin,
    read: usize,
}

impl OpenSsl {
    /// Connects, and brings a handshake of ours in.
    async fn session(house: &House, version: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &house.address().to_string(), "-servername", HOST, version]);
        command.args(["-CAfile", "certs/authority.pem", "-verify_return_error", "-alpn", "http/1.1"]);
        command.args(arguments).current_dir(house.folder.path());
        let mut process = Process::start(command);
        let input = process.take_input();
        let mut session = Self { process, input, read: 0 };
        session.send(&house.request().bytes());
        let head = session.until(b"\r\n\r\n").await;
        assert!(String::from_utf8_lossy(&head).contains("HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        session
    }

    /// Writes in one piece: a piece that begins with K, k or Q is a command.
    fn send(&mut self, bytes: &[u8]) {
        self.input.write_all(bytes).unwrap();
        self.input.flush().unwrap();
    }

    /// Changes keys, with a request to answer ("K") or without ("k").
    async fn turns_keys(&mut self, letter: &str, count: usize) {
        self.send(letter.as_bytes());
        self.process.complaint("a key update", |text| text.matches("KEYUPDATE").count() == count).await;
    }

    /// Sends a message and waits for its echo.
    async fn echoes(&mut self, payload: &[u8]) {
        self.send(&masked(FIN | BINARY, payload));
        self.until(&bare(FIN | BINARY, payload)).await;
    }

    /// What came up to these bytes and with them; s_client's own words may stand among it.
    async fn until(&mut self, bytes: &[u8]) -> Vec<u8> {
        let read = self.read;
        let (found, end) = self
            .process
            .bytes("the bytes of the gateway", |all| {
                let place = all[read..].windows(bytes.len()).position(|window| window == bytes)?;
                let end = read + place + bytes.len();
                Some((all[read..end].to_vec(), end))
            })
            .await;
        self.read = end;
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_holds_sessions_turns_keys_and_resumes() {
    let house = Plan::plain().policy(GENEROUS).build().await;
    let mut cases = Cases::of("openssl s_client");
    for (version, name) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let tickets = format!("{name}.pem");
        let mut first = OpenSsl::session(&house, version, &["-sess_out", &tickets]).await;
        assert!(first.process.out().contains(&format!("New, {name}")), "{}", first.process.out());
        first.echoes(b"word").await;
        first.echoes(&noise(100_000, 1)).await;
        cases.held("TL07", &format!("{name}: a session of OpenSSL's"));
        if version == "-tls1_3" {
            for (letters, count) in [("K", 1), ("k", 2), ("K", 3), ("k", 4)] {
                first.turns_keys(letters, count).await;
                first.echoes(&noise(40_000, 2)).await;
            }
            cases.held("TL06", "key updates of OpenSSL's, with and without a request");
        }
        drop(first);
        assert!(house.folder.path().join(&tickets).is_file(), "a ticket was kept");
        let mut second = OpenSsl::session(&house, version, &["-sess_in", &tickets]).await;
        assert!(second.process.out().contains(&format!("Reused, {name}")), "{}", second.process.out());
        second.echoes(&noise(40_000, 3)).await;
        cases.held("TL11", &format!("{name}: resumed by OpenSSL"));
        drop(second);
        house.is_at_rest().await;
    }
    cases.all(5);
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/tls_ends.py")
}

/// A client from Python that sends a last frame and ends in this way; gives what it got behind the 101.
async fn ends(house: &House, version: &str, frame: &[u8], end: &str) -> Vec<u8> {
    let folder = house.folder.path();
    std::fs::write(folder.join("request"), house.request().bytes()).unwrap();
    std::fs::write(folder.join("frame"), frame).unwrap();
    let mut command = Command::new(std::env::var("WSGATE_PYTHON").unwrap_or_else(|_| String::from("python3")));
    command.arg(script()).arg(house.address().port().to_string()).arg("certs/authority.pem").arg(version);
    command.args(["request", "frame", end]).current_dir(folder);
    let process = Process::start(command);
    let written = process.whole().await;
    process.ends().await.ended(0);
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_notify_of_openssl_is_half_an_end() {
    let payload = noise(1 << 20, 4);
    let answer = [bare(FIN | BINARY, &payload), bare(FIN | CLOSE, &close_body(1000, ""))].concat();
    let steps = vec![Step::Head, Step::Send(SWITCHING.into()), Step::Swallow, Step::Send(answer.clone())];
    let house = Plan::plain().policy(GENEROUS).script(steps).build().await;
    let word = masked(FIN | TEXT, b"the last word");
    let mut cases = Cases::of("close_notify");
    for version in ["1.3", "1.2"] {
        let mark = house.record.mark();
        assert!(ends(&house, version, &word, "close_notify").await == answer, "the rest, and then close_notify");
        assert_eq!(house.closure(mark).await.cause, Cause::ClientLost, "it said no Close");
        assert_eq!(house.backend.last().after, word, "the last word, and then the end");
        cases.held("BE07", &format!("TLS {version}"));
    }
    cases.all(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_of_tcp_without_close_notify_is_a_loss() {
    let steps = vec![Step::Head, Step::Send(SWITCHING.into()), Step::Swallow, Step::Hold];
    let house = Plan::plain().policy(GENEROUS).policy("[session]\nhalf_close = \"5m\"").script(steps).build().await;
    let word = masked(FIN | TEXT, b"the last word");
    let mut cases = Cases::of("bare ends");
    for version in ["1.3", "1.2"] {
        let mark = house.record.mark();
        assert!(ends(&house, version, &word, "bare").await.is_empty());
        house.backend.wait("the backend is told", |seen| seen.last().is_some_and(|seen| seen.ended)).await;
        assert_eq!(house.closure(mark).await.cause, Cause::ClientLost);
        assert_eq!(house.backend.last().after, word, "no Close frame says that this was an orderly end");
        cases.held("TL12", &format!("TLS {version}"));
    }
    cases.all(2);
}
