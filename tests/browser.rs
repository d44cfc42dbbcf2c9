//! A session of a browser: Chromium, headless, with a page that talks through the gateway.
//!
//! `WSGATE_CHROMIUM` names the browser, else `chromium` on PATH. Where there is none the test says that it was passed
//! over; where `WSGATE_CHROMIUM` is set it must be there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "that it was passed over is for the reader of the output")]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use support::endpoint::GENEROUS;
use support::peers::Tool;
use support::process::Process;
use support::shipped::{heard, service};
use support::tokens::{Signer, now};
use support::{House, Plan};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use wsgate::event::Event;
use wsgate::policy::Reason;
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

/// Who may do what by `fetch`, and what a page reads of it.
const CALLING: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>a page</title>
<script>
const bearer = (token) => ({ headers: { Authorization: `Bearer ${token}` } });
const cookie = { credentials: "include" };
const ask = (what, by) => fetch(`https://GATE/.wsgate/${what}`, { method: "POST", ...by });
const buy = async (by) => (await ask("ticket?path=/chat", by)).json();
const refused = async (asked) => {
    const answer = await asked;
    return `${answer.status} ${(await answer.text()).split(" ")[0]}`;
};
const unread = (asked) => asked.then(({ type }) => type, ({ name }) => name);
const token = async (life) => (await fetch(`/token?${life}`)).json();
const until = (second) => new Promise((done) => setTimeout(done, second * 1000 - Date.now()));
function open(query, protocols = []) {
    const socket = new WebSocket(`wss://GATE/chat${query}`, protocols);
    socket.closing = new Promise((told) => {
        socket.onclose = ({ wasClean, code, reason }) => told(`${wasClean ? "closed" : "lost"} with ${code} "${reason}"`);
    });
    const echoed = new Promise((told) => { socket.onmessage = ({ data }) => told(`${data} echoed`); });
    socket.echo = (text) => (socket.send(text), Promise.race([echoed, socket.closing]));
    const opened = new Promise((told) => { socket.onopen = () => told("opened"); });
    return Promise.race([opened, socket.closing]).then((how) => Object.assign(socket, { how }));
}
const report = (told) => fetch("/result", { method: "POST", body: told.join(", ") });
</script>
"#;

/// A page of the listed origin.
const LISTED: &str = r#"<script>
async function steps() {
    const told = [];
    const brief = await token(10), lasting = await token(300);
    const first = await buy(bearer(brief.token));
    const renewed = await open(`?ticket=${first.ticket}`);
    told.push(`by a ticket for a header: ${renewed.how}`);
    document.cookie = `session=${brief.token}; Secure; SameSite=Strict`;
    const second = await buy(cookie);
    const left = await open(`?ticket=${second.ticket}`);
    told.push(`by a ticket for a cookie: ${left.how}`, await left.echo("second"));
    const { session, expires } = await (await ask(`renew?path=/chat&session=${first.session}`, bearer(lasting.token))).json();
    told.push(session === first.session && expires > brief.exp + 200 ? "renewed" : `renewed until ${expires}`);
    told.push(`left alone: ${await left.closing}`);
    // A leeway of a second, and one by which a clock of whole seconds may be late.
    await until(brief.exp + 2.5);
    told.push(`renewed: ${await renewed.echo("first")}`);
    renewed.close(1000, "done");
    told.push(await renewed.closing);
    for (const [name, query, protocols] of [
        ["a used ticket", `?ticket=${first.ticket}`],
        ["a cookie that is over", ""],
        ["a lesser token", "", ["bearer", (await token("lesser")).token]],
    ]) {
        const socket = await open(query, protocols);
        told.push(`${name}: ${socket.how}, ${await socket.closing}`);
    }
    const forged = bearer(lasting.token.slice(0, -8) + "AAAAAAAA");
    told.push(`a forged token: ${await refused(ask("ticket?path=/chat", forged))}`);
    told.push(`a session that is gone: ${await refused(ask(`renew?path=/chat&session=${first.session}`, bearer(lasting.token)))}`);
    return told;
}
steps().catch((error) => [String(error)]).then(report);
</script>
"#;

/// What it reports when everything came out as it should.
const STEPS_LISTED: &str = "by a ticket for a header: opened, by a ticket for a cookie: opened, second echoed, renewed, \
     left alone: closed with 4401 \"\", renewed: first echoed, closed with 1000 \"done\", \
     a used ticket: opened, closed with 4401 \"\", a cookie that is over: opened, \
     closed with 4401 \"\", a lesser token: opened, closed with 4403 \"\", a forged token: 401 unauthorized, \
     a session that is gone: 404 unknown_session";

/// Another page of the same site: the user's cookie goes with what it asks.
const UNLISTED: &str = r#"<script>
async function steps() {
    const told = [];
    const good = await token(300);
    document.cookie = `session=${good.token}; Secure; SameSite=Strict`;
    told.push(`by a cookie: ${await unread(ask("ticket?path=/chat", cookie))}`);
    told.push(`by a cookie, unread: ${await unread(ask("ticket?path=/chat", { ...cookie, mode: "no-cors" }))}`);
    told.push(`by a header: ${await unread(ask("ticket?path=/chat", bearer(good.token)))}`);
    told.push(`a socket: ${(await open("?ticket=none")).how}`);
    return told;
}
steps().catch((error) => [String(error)]).then(report);
</script>
"#;

/// What it reports when it learned nothing.
const STEPS_UNLISTED: &str = "by a cookie: TypeError, by a cookie, unread: opaque, by a header: TypeError, \
     a socket: lost with 1006 \"\"";

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

/// What stands at a path.
type Pages = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// One page and nothing else.
fn only(page: String) -> Pages {
    Arc::new(move |path| (path == "/").then(|| page.clone()))
}

/// A page, and tokens as it asks for them: a good one that ends in so many seconds, or one that may do less.
fn with_tokens(page: String, signer: Arc<Signer>) -> Pages {
    let token = move |life: &str| {
        let exp = now() + life.parse().unwrap_or(300);
        let token = signer.token_with(|claims| {
            claims.insert("exp".into(), json!(exp));
            let scope = if life == "lesser" { "chat:read" } else { "chat:join" };
            claims.insert("scope".into(), json!(scope));
        });
        json!({ "token": token, "exp": exp }).to_string()
    };
    Arc::new(move |path| match path.strip_prefix("/token?") {
        Some(life) => Some(token(life)),
        None => (path == "/").then(|| page.clone()),
    })
}

/// Answers one request; what the page reports, if that was it.
async fn answered(mut stream: impl AsyncRead + AsyncWrite + Unpin, pages: &Pages) -> Option<String> {
    let (head, body) = request(&mut stream).await?;
    let answer = head.split(' ').nth(1).and_then(|path| pages(path)).unwrap_or_default();
    let kind = "Content-Type: text/html; charset=utf-8\r\nConnection: close\r\n";
    let answer = format!("HTTP/1.1 200 OK\r\n{kind}Content-Length: {}\r\n\r\n{answer}", answer.len());
    stream.write_all(answer.as_bytes()).await.ok()?;
    let _ = stream.shutdown().await;
    head.starts_with("POST /result ").then_some(body)
}

async fn served(stream: TcpStream, tls: Option<TlsAcceptor>, pages: Pages) -> Option<String> {
    match tls {
        None => answered(stream, &pages).await,
        Some(tls) => answered(tls.accept(stream).await.ok()?, &pages).await,
    }
}

/// Serves pages, over TLS where there is some, until one reports, and gives the report.
async fn reported(listener: &TcpListener, tls: Option<TlsAcceptor>, pages: &Pages) -> String {
    // A browser opens connections on which it then asks nothing: nobody waits for them.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                connections.spawn(served(accepted.unwrap().0, tls.clone(), Arc::clone(pages)));
            }
            Some(told) = connections.join_next() => {
                if let Some(told) = told.unwrap() {
                    return told;
                }
            }
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
    let told = timeout(BROWSER, reported(&listener, Some(leaf.server().into()), &only(page))).await;
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
    let told = timeout(BROWSER, reported(&listener, None, &only(PAGE.replace("WSS", &url)))).await;
    let told = told.unwrap_or_else(|_| panic!("the page reported nothing: {}", running.complaints()));
    assert_eq!(told, STEPS, "{:?}", house.record.since(mark));
    let closure = house.closure(mark).await;
    assert_eq!((closure.cause, closure.code), (Cause::Closed, Some(1000)));
    running.signal(Signal::TERM);
    running.ends().await;
}

/// Tickets for what a page carries in a field, and what it is told where that is refused.
const BY_TICKET: &str = "[route]\nhosts = [\"localhost\"]\n[origin]\ntell = \"close\"\n[[auth]]\nby = \"jwt\"\nissuer = \"login\"\n\
     from = [\"authorization\", \"cookie:session\", \"subprotocol:bearer\"]\naudience = [\"chat\"]\nleeway = \"1s\"\n\
     require = { \"/scope\" = \"chat:join\" }\n[[auth]]\nby = \"ticket\"\nfrom = [\"query:ticket\"]";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_buys_tickets_renews_and_reads_why_it_is_refused_and_no_other_page_does() {
    let Some(chromium) = chromium() else {
        println!("passed over: no `chromium` on PATH; apt-get install chromium, or WSGATE_CHROMIUM names one");
        return;
    };
    let listeners = [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let origins = listeners.each_ref().map(|one| format!("https://localhost:{}", one.local_addr().unwrap().port()));
    let listed = format!("[origin]\nallow = [\"{}\"]", origins[0]);
    let house = Plan::plain().policy(BY_TICKET).policy(&listed).build().await;
    let gate = format!("localhost:{}", house.address().port());
    let leaf = house.authority.leaf(&["localhost"]);
    let pins =
        format!("{},{}", pin_of(&house), pin(&CertificateDer::from_pem_slice(leaf.chain_pem.as_bytes()).unwrap()));
    let tls: TlsAcceptor = leaf.server().into();
    let mark = house.record.mark();

    for (number, (script, steps)) in [(LISTED, STEPS_LISTED), (UNLISTED, STEPS_UNLISTED)].into_iter().enumerate() {
        let page = CALLING.replace("GATE", &gate) + script;
        let pages = with_tokens(page, Arc::clone(&house.signer));
        let running = browser(&chromium, house.folder.path(), &pins, &origins[number]);
        let told = timeout(BROWSER, reported(&listeners[number], Some(tls.clone()), &pages)).await;
        let told = told.unwrap_or_else(|_| panic!("the page reported nothing: {}", running.complaints()));
        assert_eq!(told, steps, "{:?}", house.record.since(mark));
        running.signal(Signal::TERM);
        running.ends().await;
    }
    house.is_at_rest().await;
    let told = house.record.since(mark);
    let answered: Vec<_> = told
        .iter()
        .filter_map(|event| match event {
            Event::Answered(answered) => Some((answered.call, answered.origin.as_deref())),
            _ => None,
        })
        .collect();
    let of_listed = |call| (call, Some(origins[0].as_str()));
    assert_eq!(answered, ["preflight", "ticket", "ticket", "preflight", "renew"].map(of_listed), "nobody else's");
    let refused: Vec<_> = told
        .iter()
        .filter_map(|event| match event {
            Event::Refused(refused) => Some(refused.reason),
            _ => None,
        })
        .collect();
    use Reason::*;
    let by_listed = [TicketUnknown, TokenExpired, ClaimRequired, TokenSignature, UnknownSession];
    assert_eq!(refused, [&by_listed[..], &[OriginNotAllowed; 4]].concat());
    assert_eq!(house.backend.connections(), 2, "the two sessions of the tickets");
}
