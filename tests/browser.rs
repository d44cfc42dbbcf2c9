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
use support::peers::Tool;
use support::process::Process;
use support::shipped::{heard, service};
use support::{House, Plan};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
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

/// What the second page reports when everything came out as it should.
const STEPS_BEHIND_WS: &str = "by subprotocol: chat.v2 /chat/page alice -, by query: chat.v2 /chat/page?lang=en alice -, \
     by cookie: chat.v2 /chat/page alice theme=dark, fragments: in three fragments, ping: ponged, \
     16777216 bytes echoed, closed with 4001 as you wish, closed with 4002 grün as I wish, \
     a wrong token: lost with 1006";

/// `WSS` stands for the address of the gateway, `TOKEN` for a token.
const PAGE_BEHIND_WS: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>a page</title>
<script>
async function open(query, protocols) {
    const socket = new WebSocket("WSS/chat/page" + query, protocols);
    const messages = [], waiting = [];
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => (waiting.length ? waiting.shift()(data) : messages.push(data));
    const message = () => new Promise((take) => (messages.length ? take(messages.shift()) : waiting.push(take)));
    socket.next = () => Promise.race([message(), socket.closing]);
    socket.asked = (text) => (socket.send(text), socket.next());
    socket.closing = new Promise((told) => {
        socket.onclose = ({ wasClean, code, reason }) => told(`${wasClean ? "closed" : "lost"} with ${code} ${reason}`);
    });
    await new Promise((opened) => { socket.onopen = opened; socket.onerror = opened; });
    return socket;
}
const greeted = async (socket) => `${socket.protocol} ${(await socket.next()).replace(/ -$/, "")}`;
async function steps() {
    const told = [];
    const first = await open("", ["bearer", "TOKEN", "chat.v2"]);
    told.push(`by subprotocol: ${await greeted(first)}`);
    const query = await open("?access_token=TOKEN&lang=en", ["chat.v2"]);
    told.push(`by query: ${await greeted(query)}`);
    document.cookie = "session=TOKEN; Secure; SameSite=Strict";
    document.cookie = "theme=dark; Secure; SameSite=Strict";
    document.cookie = "mood=grim; Secure; SameSite=Strict";
    const cookie = await open("", ["chat.v2"]);
    told.push(`by cookie: ${await greeted(cookie)}`);
    told.push(`fragments: ${await first.asked("please fragment")}`, `ping: ${await first.asked("please ping")}`);
    const bytes = new Uint8Array(16 << 20).map((_, index) => (index * 31 + (index >> 8)) & 255);
    const back = new Uint8Array(await first.asked(bytes));
    told.push(`${bytes.every((byte, index) => byte === back[index]) ? back.length : "other"} bytes echoed`);
    first.send("please close 4001 as you wish");
    told.push(await first.closing);
    query.close(4002, "grün as I wish");
    told.push(await query.closing);
    cookie.close();
    await cookie.closing;
    document.cookie = "session=; Secure; SameSite=Strict; Max-Age=0";
    const refused = await open("", ["bearer", "TOKEN".slice(0, -8) + "AAAAAAAA", "chat.v2"]);
    told.push(`a wrong token: ${(await refused.closing).trim()}`);
    return told.join(", ");
}
steps().catch(String).then((body) => fetch("/result", { method: "POST", body }));
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
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, String)> {
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

/// Answers one request; what the page reports, if that was it.
async fn answered(mut stream: impl AsyncRead + AsyncWrite + Unpin, page: &str) -> Option<String> {
    // A browser opens connections on which it then asks nothing.
    let (head, body) = timeout(Duration::from_secs(1), request(&mut stream)).await.ok()??;
    let is_page = head.starts_with("GET / ");
    let answer = if is_page { page } else { "" };
    let kind = "Content-Type: text/html; charset=utf-8\r\nConnection: close\r\n";
    let answer = format!("HTTP/1.1 200 OK\r\n{kind}Content-Length: {}\r\n\r\n{answer}", answer.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
    let _ = stream.shutdown().await;
    head.starts_with("POST /result ").then_some(body)
}

/// Serves the page, over TLS where there is some, until it reports, and gives the report.
async fn reported(listener: &TcpListener, tls: Option<TlsAcceptor>, page: &str) -> String {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let told = match &tls {
            None => answered(stream, page).await,
            Some(tls) => match timeout(Duration::from_secs(1), tls.accept(stream)).await {
                Ok(Ok(stream)) => answered(stream, page).await,
                _ => None,
            },
        };
        if let Some(told) = told {
            return told;
        }
    }
}

/// What `--ignore-certificate-errors-spki-list` takes: this one key is trusted, and no other.
fn pin(certificate: &CertificateDer<'_>) -> String {
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    STANDARD.encode(digest(&SHA256, certificate.public_key().raw))
}

/// The key of a house.
fn pin_of(house: &House) -> String {
    pin(&CertificateDer::from_pem_file(house.folder.path().join("certs/server.pem")).unwrap())
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
async fn a_page_carries_its_token_three_ways_to_a_service_that_nobody_here_wrote() {
    let Some(chromium) = chromium() else {
        println!("passed over: no `chromium` on PATH; apt-get install chromium, or WSGATE_CHROMIUM names one");
        return;
    };
    let Some(node) = Tool::Node.or_passed_over() else { return };
    let (service, port) = service(node, "server").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let policy = format!(
        "[route]\nhosts = [\"localhost\"]\nsubprotocols = [\"chat.v2\"]\n[origin]\nallow = [\"{origin}\"]\n[upstream]\n\
         servers = [\"ws://127.0.0.1:{port}\"]\ncookies = [\"theme\"]\nidentity = {{ \"x-user-id\" = \"/sub\" }}"
    );
    let house = Plan::plain().policy(GENEROUS).policy(&policy).build().await;
    let page = PAGE_BEHIND_WS.replace("WSS", &format!("wss://localhost:{}", house.address().port()));
    let page = page.replace("TOKEN", &house.signer.token());
    let mark = house.record.mark();

    let leaf = house.authority.leaf(&["localhost"]);
    let pins =
        format!("{},{}", pin_of(&house), pin(&CertificateDer::from_pem_slice(leaf.chain_pem.as_bytes()).unwrap()));
    let running = browser(&chromium, house.folder.path(), &pins, &origin);
    let told = timeout(BROWSER, reported(&listener, Some(leaf.server().into()), &page)).await;
    let told = told.unwrap_or_else(|_| panic!("the page reported nothing: {}", running.complaints()));
    assert_eq!(told, STEPS_BEHIND_WS, "{:?}", house.record.since(mark));
    house.is_at_rest().await;
    assert_eq!(heard(service).await, ["4001 as you wish", "4002 grün as I wish", "1005 "]);
    running.signal(Signal::TERM);
    running.ends().await;
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

    let running = browser(&chromium, house.folder.path(), &pin_of(&house), &origin);
    let told = timeout(BROWSER, reported(&listener, None, &PAGE.replace("WSS", &url))).await;
    let told = told.unwrap_or_else(|_| panic!("the page reported nothing: {}", running.complaints()));
    assert_eq!(told, STEPS, "{:?}", house.record.since(mark));
    let closure = house.closure(mark).await;
    assert_eq!((closure.cause, closure.code), (Cause::Closed, Some(1000)));
    running.signal(Signal::TERM);
    running.ends().await;
}
