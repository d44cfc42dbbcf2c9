//! A session of a browser: Chromium, headless, with a page that talks through the gateway.
//!
//! `WSGATE_CHROMIUM` names the browser, else `chromium` on PATH. Where there is none the test says that it was passed
//! over; where `WSGATE_CHROMIUM` is set it must be there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "that it was passed over is for the reader of the output")]

mod support;

use std::process::Command;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::endpoint::GENEROUS;
use support::process::Process;
use support::{House, Plan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use wsgate::session::Cause;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long a browser may take to start and to report: it is the slowest guest of this house.
const BROWSER: Duration = Duration::from_secs(60);

/// What the page reports when everything came out as it should.
const STEPS: &str = "opened, text echoed, 1048576 bytes echoed, closed with 1000 done";

/// `WSS` stands for the address of the gateway.
const PAGE: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>a page</title>
<script>
const steps = [];
const report = () => fetch("/result", { method: "POST", body: steps.join(", ") });
const text = "grün 🦀";
const bytes = new Uint8Array(1 << 20).map((_, index) => (index * 31 + (index >> 8)) & 255);
const same = (got) => got.length === bytes.length && got.every((byte, index) => byte === bytes[index]);
const socket = new WebSocket("WSS");
socket.binaryType = "arraybuffer";
socket.onopen = () => { steps.push("opened"); socket.send(text); };
socket.onmessage = ({ data }) => {
    if (typeof data === "string") {
        steps.push(data === text ? "text echoed" : `wrong text: ${data}`);
        socket.send(bytes);
    } else {
        steps.push(same(new Uint8Array(data)) ? `${data.byteLength} bytes echoed` : "wrong bytes");
        socket.close(1000, "done");
    }
};
socket.onclose = ({ wasClean, code, reason }) => {
    steps.push(`${wasClean ? "closed" : "lost"} with ${code} ${reason}`);
    report();
};
</script>
"#;

/// A browser; `None`: there is none, and none was asked for.
fn chromium() -> Option<String> {
    let asked = std::env::var("WSGATE_CHROMIUM").ok();
    let chromium = asked.clone().unwrap_or_else(|| String::from("chromium"));
    let runs = Command::new(&chromium).arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(runs || asked.is_none(), "WSGATE_CHROMIUM={chromium} does not run: apt-get install chromium");
    runs.then_some(chromium)
}

/// The request line and headers, and the body.
async fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Serves the page until it reports, and gives the report.
async fn reported(listener: &TcpListener, page: &str) -> String {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        // A browser opens connections on which it then asks nothing.
        let Ok(Some((head, body))) = timeout(Duration::from_secs(1), request(&mut stream)).await else { continue };
        let is_page = head.starts_with("GET / ");
        let answer = if is_page { page } else { "" };
        let kind = "Content-Type: text/html; charset=utf-8\r\nConnection: close\r\n";
        let answer = format!("HTTP/1.1 200 OK\r\n{kind}Content-Length: {}\r\n\r\n{answer}", answer.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        if head.starts_with("POST /result ") {
            return body;
        }
    }
}

/// What `--ignore-certificate-errors-spki-list` takes: this one key is trusted, and no other.
fn pin(house: &House) -> String {
    let certificate = CertificateDer::from_pem_file(house.folder.path().join("certs/server.pem")).unwrap();
    let (_, certificate) = X509Certificate::from_der(&certificate).unwrap();
    STANDARD.encode(digest(&SHA256, certificate.public_key().raw))
}

fn browser(chromium: &str, folder: &std::path::Path, pin: &str, url: &str) -> Process {
    let mut command = Command::new(chromium);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.args(["--disable-dev-shm-usage", "--remote-debugging-port=0"]);
    command.arg(format!("--user-data-dir={}", folder.join("browser").display()));
    command.arg(format!("--ignore-certificate-errors-spki-list={pin}")).arg(url);
    Process::start(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_talks_through_the_gateway() {
    let Some(chromium) = chromium() else {
        println!("passed over: no `chromium` on PATH; apt-get install chromium, or WSGATE_CHROMIUM names one");
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let plan = Plan::plain().policy(GENEROUS).policy("[route]\nhosts = [\"localhost\"]");
    let house = plan.policy(&format!("[origin]\nallow = [\"{origin}\"]")).build().await;
    let token = house.signer.token();
    let url = format!("wss://localhost:{}/chat?access_token={token}", house.address().port());
    let mark = house.record.mark();

    let running = browser(&chromium, house.folder.path(), &pin(&house), &origin);
    let told = timeout(BROWSER, reported(&listener, &PAGE.replace("WSS", &url))).await;
    let told = told.unwrap_or_else(|_| panic!("the page reported nothing: {}", running.complaints()));
    assert_eq!(told, STEPS, "{:?}", house.record.since(mark));
    let closure = house.closure(mark).await;
    assert_eq!((closure.cause, closure.code), (Cause::Closed, Some(1000)));
    running.signal(Signal::TERM);
    running.ends().await;
}
