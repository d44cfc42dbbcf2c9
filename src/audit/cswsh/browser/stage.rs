//! Every site that the browser sees, on one port of this machine: the pages of a case, and the target.
//!
//! Whatever name the browser asks for leads here. What is asked for below a secret path is a page; a WebSocket handshake
//! goes to the target as the browser wrote it, byte for byte, over a TLS connection that verifies the target's own
//! certificate. So a page can stand under the target's own name (to leave a cookie there) and at an origin whose host
//! and port are the target's; and what the browser sent is evidence.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::pages::{Document, Pages};
use crate::audit::answer::Answer;
use crate::audit::request::Request;
use crate::audit::target::Target;
use crate::audit::wire::Wire;
use crate::config::{Certificate, CertificateSource, SecretSource, TlsConfig, UnknownName};
use crate::net::tls::{BackendStream, ClientStream, ServerTls, TlsError};

/// The most connections at a time: a browser keeps six to a site.
const MOST_SERVED: usize = 64;

/// The most bytes of a request or of an answer's head.
const HEAD_BYTES: usize = 64 << 10;

/// For a request or an answer to come.
const HEAD_DEADLINE: Duration = Duration::from_secs(20);

/// A WebSocket handshake of the browser's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Handshake {
    /// What it sent.
    pub(super) head: Vec<u8>,
    /// What the target answered.
    pub(super) answer: Option<Answer>,
}

impl Handshake {
    /// The value of a header of the browser's.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let mut lines = self.head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let request = Request {
            start: lines.next()?.to_vec(),
            lines: lines.map(<[u8]>::to_vec).collect(),
            line_end: b"\r\n",
            tail: Vec::new(),
        };
        request.value(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

/// What the stage saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The handshake; of several the first.
    pub(super) handshake: Option<Handshake>,
    /// The page's own word: `opened` or `refused`.
    pub(super) report: Option<String>,
}

/// The sites, served for as long as this value.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) address: SocketAddr,
    /// What `--ignore-certificate-errors-spki-list` takes: this one key is trusted, and no other.
    pub(super) pin: String,
    pub(super) seen: watch::Receiver<Seen>,
    _tasks: JoinSet<()>,
}

impl Stage {
    /// Opens the sites.
    ///
    /// # Errors
    /// With a sentence where there is no port, or no certificate.
    pub(super) async fn open(target: &Target, pages: Pages) -> Result<Self, String> {
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let pin = STANDARD.encode(digest(&SHA256, &key.subject_public_key_info()));
        let tls = server(&key).map_err(|why| format!("no certificate for the pages: {why}"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let (seeing, seen) = watch::channel(Seen::default());
        let set = Arc::new(Set { target: target.clone(), pages, tls, turns: Semaphore::new(MOST_SERVED), seeing });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, set));
        Ok(Self { address, pin, seen, _tasks: tasks })
    }
}

/// TLS with a certificate that names nobody: the browser knows its key.
fn server(key: &KeyPair) -> Result<ServerTls, String> {
    let params = CertificateParams::new(Vec::new()).map_err(|error| error.to_string())?;
    let certificate = params.self_signed(key).map_err(|error| error.to_string())?;
    let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(String::from)?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = CertifiedKey::from_der(vec![certificate.der().clone()], private, &provider);
    let certified = Arc::new(certified.map_err(|error| error.to_string())?);
    let loaded = Certificate { certified, names: Vec::new(), not_after: u64::MAX, not_before: 0, authority: false };
    let nowhere = PathBuf::new();
    let source =
        CertificateSource { chain: nowhere.clone(), key: SecretSource::File(nowhere), loaded: Arc::new(loaded) };
    let config = TlsConfig { certificates: vec![source], tls13_only: false, unknown_name: UnknownName::First };
    ServerTls::new(&config).map_err(|error| error.to_string())
}

/// What every connection needs.
struct Set {
    target: Target,
    pages: Pages,
    tls: ServerTls,
    turns: Semaphore,
    seeing: watch::Sender<Seen>,
}

async fn accept(listener: TcpListener, set: Arc<Set>) {
    let mut served = JoinSet::new();
    loop {
        while served.len() >= MOST_SERVED {
            served.join_next().await;
        }
        while served.try_join_next().is_some() {}
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let set = Arc::clone(&set);
        served.spawn(async move {
            // A browser opens connections on which it then asks nothing.
            let _ = set.serve(tcp).await;
        });
    }
}

impl Set {
    async fn serve(&self, tcp: TcpStream) -> io::Result<()> {
        let shaken = timeout(HEAD_DEADLINE, self.tls.accept(tcp, &self.turns)).await?;
        let mut browser = match shaken {
            Ok(stream) => stream,
            // A page of an http:// origin.
            Err(TlsError::PlainHttp(tcp)) => ClientStream::Plain(tcp),
            Err(_) => return Ok(()),
        };
        let Some((head, body)) = timeout(HEAD_DEADLINE, request(&mut browser)).await?? else { return Ok(()) };
        let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
        let path = line.split(' ').nth(1).unwrap_or_default();
        match self.pages.at(path) {
            Some(Document::Report) => {
                let report = String::from_utf8_lossy(&body).into_owned();
                self.seeing.send_modify(|seen| seen.report = seen.report.take().or(Some(report)));
                answer(&mut browser, "204 No Content", "", "").await
            }
            Some(Document::Html(text)) => {
                answer(&mut browser, "200 OK", "Content-Type: text/html; charset=utf-8\r\n", &text).await
            }
            Some(Document::Cookies(fields, Some(next))) => {
                answer(&mut browser, "302 Found", &format!("{fields}Location: {next}\r\n"), "").await
            }
            Some(Document::Cookies(fields, None)) => answer(&mut browser, "204 No Content", &fields, "").await,
            None if head.windows(9).any(|nine| nine.eq_ignore_ascii_case(b"websocket")) => {
                self.relay(browser, head).await
            }
            None => answer(&mut browser, "404 Not Found", "", "").await,
        }
    }

    /// Gives a handshake to the target, and tells what came of it.
    async fn relay(&self, mut browser: ClientStream, head: Vec<u8>) -> io::Result<()> {
        let handshake = Handshake { head: head.clone(), answer: None };
        self.seeing.send_modify(|seen| seen.handshake = seen.handshake.take().or(Some(handshake)));
        let tcp = Wire::tcp(&self.target, None).await?;
        let mut target = match &self.target.tls {
            None => BackendStream::Plain(tcp),
            Some(tls) => tls.client.connect(&self.target.name, tcp).await.map_err(io::Error::other)?,
        };
        target.write_all(&head).await?;
        target.flush().await?;
        let mut came = Vec::new();
        let (answer, whole) = loop {
            let count = timeout(HEAD_DEADLINE, target.read_buf(&mut came)).await??;
            let mut rest = came.clone();
            match Answer::take(&mut rest) {
                Ok(Some(answer)) => break (Some(answer), came),
                Ok(None) if count > 0 && came.len() < HEAD_BYTES => {}
                _ => break (None, came),
            }
        };
        let is_whole = |seen: &Handshake| seen.head == head;
        self.seeing.send_modify(|seen| {
            if let Some(handshake) = seen.handshake.as_mut().filter(|handshake| is_whole(handshake)) {
                handshake.answer = answer;
            }
        });
        browser.write_all(&whole).await?;
        browser.flush().await?;
        copy_bidirectional(&mut browser, &mut target).await.map(drop)
    }
}

/// The head of a request and its body; `None` where the browser leaves.
async fn request(browser: &mut ClientStream) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if bytes.len() >= length.unwrap_or(0_usize).saturating_add(end + 4) {
                let body = bytes.split_off(end + 4);
                return Ok(Some((bytes, body)));
            }
        }
        if bytes.len() > HEAD_BYTES || browser.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

async fn answer(browser: &mut ClientStream, status: &str, fields: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    );
    browser.write_all(head.as_bytes()).await?;
    browser.write_all(body.as_bytes()).await?;
    browser.flush().await?;
    browser.shutdown().await
}
