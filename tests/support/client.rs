//! A client that is right by default and can be wrong byte by byte.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::frames::{self, Frame};
use super::within;

/// Anything that bytes go over.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The key of RFC 6455 section 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// An opening handshake, good until it is changed.
#[derive(Clone, Debug)]
pub struct Request {
    /// The request line, without its line end.
    pub start: Vec<u8>,
    /// The header lines, without their line ends.
    pub lines: Vec<Vec<u8>>,
    /// What follows the empty line.
    pub tail: Vec<u8>,
    line_end: &'static [u8],
}

impl Request {
    /// A handshake that follows RFC 6455 section 4.1.
    pub fn good(host: &str, target: &str) -> Self {
        let mut request = Self {
            start: format!("GET {target} HTTP/1.1").into_bytes(),
            lines: Vec::new(),
            tail: Vec::new(),
            line_end: b"\r\n",
        };
        request.set("Host", host);
        request.set("Upgrade", "websocket");
        request.set("Connection", "Upgrade");
        request.set("Sec-WebSocket-Key", KEY);
        request.set("Sec-WebSocket-Version", "13");
        request
    }

    /// Another request line.
    pub fn start(&mut self, line: impl AsRef<[u8]>) {
        self.start = line.as_ref().to_vec();
    }

    /// Another method.
    pub fn method(&mut self, method: &str) {
        self.word(0, method.as_bytes());
    }

    /// Another target.
    pub fn target(&mut self, target: impl AsRef<[u8]>) {
        self.word(1, target.as_ref());
    }

    /// Another version.
    pub fn version(&mut self, version: &str) {
        self.word(2, version.as_bytes());
    }

    fn word(&mut self, index: usize, word: &[u8]) {
        let mut words: Vec<&[u8]> = self.start.splitn(3, |byte| *byte == b' ').collect();
        words[index] = word;
        self.start = words.join(&b' ');
    }

    /// Sets the value of a header: in place where it stands, else behind the others.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let line = [name.as_bytes(), b": ", value.as_ref()].concat();
        match self.place(name) {
            Some(at) => self.lines[at] = line,
            None => self.lines.push(line),
        }
    }

    /// Takes a header out.
    pub fn remove(&mut self, name: &str) {
        while let Some(at) = self.place(name) {
            self.lines.remove(at);
        }
    }

    /// Appends a header beside any of the same name.
    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.lines.push([name.as_bytes(), b": ", value.as_ref()].concat());
    }

    /// Appends a raw line.
    pub fn line(&mut self, line: impl AsRef<[u8]>) {
        self.lines.push(line.as_ref().to_vec());
    }

    /// Puts a raw line before all others.
    pub fn first_line(&mut self, line: impl AsRef<[u8]>) {
        self.lines.insert(0, line.as_ref().to_vec());
    }

    /// Bytes behind the head.
    pub fn tail(&mut self, bytes: impl AsRef<[u8]>) {
        self.tail = bytes.as_ref().to_vec();
    }

    /// Ends every line with a bare LF.
    pub fn bare_lf(&mut self) {
        self.line_end = b"\n";
    }

    /// The value of a header as text.
    pub fn value(&self, name: &str) -> Option<String> {
        let line = &self.lines[self.place(name)?];
        Some(String::from_utf8_lossy(&line[name.len() + 1..]).trim().to_owned())
    }

    /// The bytes of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in std::iter::once(&self.start).chain(&self.lines) {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(self.line_end);
        }
        bytes.extend_from_slice(self.line_end);
        bytes.extend_from_slice(&self.tail);
        bytes
    }

    /// The bytes of the head alone.
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes.truncate(bytes.len() - self.tail.len());
        bytes
    }

    fn place(&self, name: &str) -> Option<usize> {
        let named = |line: &Vec<u8>| {
            line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
                && line.get(name.len()) == Some(&b':')
        };
        self.lines.iter().position(named)
    }
}

/// What came back for a handshake.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The status line and the header lines as they came.
    pub head: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// What followed the head until the connection ended; empty for a 101, whose frames stay on the wire.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads an answer of which all bytes are there.
    pub fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no whole answer: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).expect("an answer of ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").expect("HTTP/1.1");
        let status = status.get(..3).and_then(|digits| digits.parse().ok()).expect("a status");
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').expect("a header");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Self { status, headers: headers.collect(), body: bytes[end + 4..].to_vec(), head: head.clone() }
    }

    /// The value of the only header called `name` (lower case).
    pub fn one(&self, name: &str) -> Option<&str> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect();
        assert!(values.len() < 2, "{name} came {} times", values.len());
        values.first().copied()
    }

    /// A refusal as every refusal is: this status, the connection given up, a fixed sentence, nothing reflected.
    pub fn is_refusal(&self, status: u16, request: &Request) {
        assert_eq!(self.status, status, "{}", self.head);
        assert_eq!(self.one("connection").map(str::to_ascii_lowercase).as_deref(), Some("close"), "{}", self.head);
        for absent in ["access-control-allow-origin", "server", "x-powered-by", "sec-websocket-accept", "location"] {
            assert_eq!(self.one(absent), None, "{absent} in a refusal");
        }
        let length: usize = self.one("content-length").expect("a length").parse().unwrap();
        assert_eq!(self.body.len(), length, "{:?}", String::from_utf8_lossy(&self.body));
        assert!(length < 512, "a short sentence");
        self.reflects_nothing(request);
        if matches!(status, 429 | 503) {
            let wait: u32 = self.one("retry-after").expect("when to come back").parse().expect("whole seconds");
            assert!((1..=7200).contains(&wait), "Retry-After: {wait}");
        }
    }

    /// No word of the request comes back, in the body or in a header.
    fn reflects_nothing(&self, request: &Request) {
        const OURS: [&str; 5] = ["websocket", "upgrade", "close", "bearer", "http/1.1"];
        let answer = format!("{}\n{}", self.head, String::from_utf8_lossy(&self.body)).to_ascii_lowercase();
        let line = String::from_utf8_lossy(&request.start).to_ascii_lowercase();
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let values = request.lines.iter().filter_map(|line| {
            let text = String::from_utf8_lossy(line).to_ascii_lowercase();
            text.split_once(':').map(|(_, value)| value.trim().to_owned())
        });
        for value in values.chain([target]) {
            if value.len() > 4 && !OURS.contains(&value.as_str()) {
                assert!(!answer.contains(&value), "the answer reflects {value:?}: {answer}");
            }
        }
    }

    /// The 101 of RFC 6455 section 4.2.2: nothing more than it must hold, nothing that frames a body.
    pub fn is_switching(&self, request: &Request) {
        assert_eq!(self.status, 101, "{}\n{}", self.head, String::from_utf8_lossy(&self.body));
        let key = request.value("Sec-WebSocket-Key").unwrap();
        assert_eq!(self.one("sec-websocket-accept"), Some(derive_accept_key(key.as_bytes()).as_str()));
        assert_eq!(self.one("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
        assert_eq!(self.one("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
        for absent in ["content-length", "transfer-encoding", "server", "access-control-allow-origin"] {
            assert_eq!(self.one(absent), None, "{absent} in a 101");
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the end of the stream; over TLS with close_notify.
    Clean,
    /// With a reset, or over TLS without close_notify.
    Cut,
}

/// A connection to the gateway.
pub struct Wire {
    io: Box<dyn Io>,
    /// Bytes that were read and not yet looked at.
    pub kept: Vec<u8>,
    end: Option<End>,
}

impl Wire {
    /// Over plain TCP, from a chosen loopback address.
    pub async fn tcp_from(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Over anything.
    pub fn over(io: impl Io + 'static) -> Self {
        Self { io: Box::new(io), kept: Vec::new(), end: None }
    }

    /// Over TLS on an open stream.
    pub async fn tls(stream: TcpStream, config: Arc<ClientConfig>, name: &str) -> std::io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = within("a TLS handshake", TlsConnector::from(config).connect(name, stream)).await?;
        Ok(Self::over(stream))
    }

    /// Writes, and does not mind if the other side has had enough.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = async { self.io.write_all(bytes).await.is_ok() && self.io.flush().await.is_ok() };
        within("the gateway takes bytes", sent).await
    }

    /// Ends the client's side of the stream.
    pub async fn finish(&mut self) {
        let _ = self.io.shutdown().await;
    }

    /// Reads the head of an answer; what follows stays on the wire.
    pub async fn answer_head(&mut self) -> Answer {
        loop {
            if let Some(at) = self.kept.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.kept.split_off(at + 4);
                let head = std::mem::replace(&mut self.kept, rest);
                return Answer::read(&head);
            }
            assert!(self.read().await, "the connection ended before an answer: {:?}", self.kept);
        }
    }

    /// Waits until this many bytes are here, and leaves them for whoever reads.
    pub async fn holds(&mut self, count: usize) {
        while self.kept.len() < count {
            assert!(self.read().await, "the connection ended before {count} bytes: {:?}", self.kept);
        }
    }

    /// Reads everything until the connection ends.
    pub async fn rest(&mut self) -> (Vec<u8>, End) {
        while self.read().await {}
        (std::mem::take(&mut self.kept), self.end.unwrap())
    }

    /// The next frame; `None` where the connection ended before one.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Frame::take(&mut self.kept) {
                return Some(frame);
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// Reads until the connection ends and gives the frames.
    pub async fn frames_rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await {
            frames.push(frame);
        }
        frames
    }

    /// Sends a text message and expects it back.
    pub async fn echoes(&mut self, text: &str) {
        self.send(&frames::masked(frames::FIN | frames::TEXT, text.as_bytes())).await;
        let frame = self.frame().await.expect("an echo");
        assert_eq!((frame.first, frame.payload.as_slice()), (frames::FIN | frames::TEXT, text.as_bytes()));
        assert_eq!(frame.mask, None, "a server does not mask");
    }

    /// The closing handshake of RFC 6455 section 7, begun by the client; then the connection ends.
    pub async fn closes(&mut self, code: u16) {
        self.send(&frames::masked(frames::FIN | frames::CLOSE, &frames::close_body(code, ""))).await;
        let frame = self.frame().await.expect("a Close in answer");
        assert_eq!((frame.opcode(), frame.close_code()), (frames::CLOSE, Some(code)));
        let (rest, _) = self.rest().await;
        assert!(rest.is_empty(), "bytes behind the Close: {rest:?}");
    }

    /// The Close that the gateway sends by itself, and then the end.
    pub async fn is_closed_with(&mut self, code: u16) {
        let frames = self.frames_rest().await;
        let last = frames.last().unwrap_or_else(|| panic!("no Close {code} before the end"));
        assert_eq!((last.opcode(), last.close_code()), (frames::CLOSE, Some(code)), "{frames:?}");
        assert_eq!(last.mask, None, "a server does not mask");
    }

    /// Two halves that read and write at the same time.
    pub fn split(self) -> (Self, Self) {
        let (reader, writer) = tokio::io::split(self.io);
        let reader = tokio::io::join(reader, tokio::io::sink());
        let writer = tokio::io::join(tokio::io::empty(), writer);
        (Self { io: Box::new(reader), kept: self.kept, end: self.end }, Self::over(writer))
    }

    async fn read(&mut self) -> bool {
        if self.end.is_some() {
            return false;
        }
        let mut buffer = [0; 16 * 1024];
        match within("the gateway sends or ends", self.io.read(&mut buffer)).await {
            Ok(0) => self.end = Some(End::Clean),
            Ok(count) => self.kept.extend_from_slice(&buffer[..count]),
            Err(error) => {
                let cut = [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof, ErrorKind::BrokenPipe];
                assert!(cut.contains(&error.kind()), "{error}");
                self.end = Some(End::Cut);
            }
        }
        self.end.is_none()
    }
}
