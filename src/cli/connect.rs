//! `wsgate connect`: a WebSocket client that a person can type into.
//!
//! Lines from the input are sent as text messages, what comes back is printed, end of input says goodbye with Close
//! 1000. It is a client like any other: it verifies certificates and knows no way around the gateway's judgement.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncBufRead, AsyncBufReadExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::exit::Exit;
use super::file;
use crate::net::tls::{BackendStream, BackendTlsError, ClientTls, TlsSetupError};
use crate::secret::Secret;
use crate::telemetry::text::misleads;

/// From the first packet to the 101.
const CONNECT_DEADLINE: Duration = Duration::from_secs(15);

/// For one message to be taken by the server.
const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// For the server to answer our Close.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// Bytes of one message, either way.
const MESSAGE_BYTES: usize = 16 << 20;

/// Bytes of a token file.
const TOKEN_BYTES: u64 = 16 << 10;

/// Bytes of a file of authorities.
const AUTHORITIES_BYTES: u64 = 1 << 20;

/// Characters of a refusal's body, or of bytes in hexadecimal, that are shown.
const SHOWN_CHARS: usize = 1024;

/// What a person writes after `wsgate connect`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "A line is a message; Ctrl-D closes.\n\
    Exit codes: 0 closed well, 1 refused or ended otherwise, 2 nobody could be asked.")]
pub struct ConnectArgs {
    /// Where to.
    #[arg(help = "Where to: wss://HOST[:PORT]/PATH or ws://HOST[:PORT]/PATH")]
    pub url: String,
    /// The Origin to send.
    #[arg(long, help = "The Origin to send, as a browser would: https://app.example.com")]
    pub origin: Option<String>,
    /// A file with a token, sent as Authorization: Bearer
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A PEM file of the authorities to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// A further header, in place of our own of that name: "X-Name: value"
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// A subprotocol to offer; may be repeated
    #[arg(long = "subprotocol", value_name = "NAME")]
    pub subprotocols: Vec<String>,
}

/// What a connection is opened with.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// `ws://` or `wss://`, host, path and query.
    pub url: String,
    /// The Origin to send.
    pub origin: Option<String>,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<Secret<String>>,
    /// PEM of the authorities to trust; `None`: the system's.
    pub authorities_pem: Option<Vec<u8>>,
    /// Further headers; one of the handshake's own names takes its place, wrong or right.
    pub headers: Vec<(String, String)>,
    /// The subprotocols to offer, in order.
    pub subprotocols: Vec<String>,
}

/// A WebSocket connection of ours, as the client.
pub type Socket = WebSocketStream<BackendStream>;

/// An answer that was no 101.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// What came of the body together with the head.
    pub body: String,
}

impl Refused {
    /// The id by which a gateway of ours knows the connection: the second and last word of its body.
    pub fn id(&self) -> Option<&str> {
        let (_, id) = self.body.trim_end().split_once(' ')?;
        (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    }
}

/// Why there is no WebSocket connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The URL is not one that this client can go to; the text says why.
    Url(String),
    /// A header cannot be sent as it is written.
    Header(String),
    /// A file could not be read.
    File(PathBuf, io::Error),
    /// TLS could not be set up.
    TlsSetup(TlsSetupError),
    /// The server could not be connected to.
    Connect(io::Error),
    /// TLS with the server failed.
    Tls(BackendTlsError),
    /// There was no answer in time.
    Timeout,
    /// The server refused the handshake.
    Refused(Box<Refused>),
    /// The server's answer was no valid 101.
    Handshake(String),
}

impl ConnectError {
    /// Findings where the server said no; it could not run where the server could not be asked.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) | Self::Handshake(_) => Exit::Findings,
            _ => Exit::CouldNotRun,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(why) => write!(f, "{why}: write wss://HOST[:PORT]/PATH or ws://HOST[:PORT]/PATH"),
            Self::Header(name) => {
                write!(f, "the header {name:?} cannot be sent: write \"NAME: VALUE\" in visible ASCII")
            }
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::TlsSetup(error) => error.fmt(f),
            Self::Connect(error) => write!(f, "could not connect: {error}"),
            Self::Tls(error) => write!(f, "TLS failed: {error}"),
            Self::Timeout => write!(f, "no answer within {} seconds", CONNECT_DEADLINE.as_secs()),
            Self::Refused(refused) => {
                write!(f, "refused: {}\n{}", refused.status, shown(refused.body.trim_end(), SHOWN_CHARS))
            }
            Self::Handshake(why) => write!(f, "the answer was no WebSocket handshake: {}", shown(why, SHOWN_CHARS)),
        }
    }
}

impl std::error::Error for ConnectError {}

impl TryFrom<ConnectArgs> for ConnectOptions {
    type Error = ConnectError;

    /// Reads the files that the arguments name.
    fn try_from(args: ConnectArgs) -> Result<Self, ConnectError> {
        let token = args.token_file.as_deref().map(read_token).transpose()?;
        let authorities_pem = args.ca.as_deref().map(|path| read_file(path, AUTHORITIES_BYTES)).transpose()?;
        let headers = args.headers.iter().map(|header| split_header(header)).collect::<Result<_, _>>()?;
        let ConnectArgs { url, origin, subprotocols, .. } = args;
        Ok(Self { url, origin, token, authorities_pem, headers, subprotocols })
    }
}

/// Opens a WebSocket connection within 15 seconds.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(options: &ConnectOptions) -> Result<Socket, ConnectError> {
    let target = Target::read(&options.url)?;
    let request = request(options)?;
    let tls = if target.tls {
        Some(ClientTls::new(options.authorities_pem.as_deref()).map_err(ConnectError::TlsSetup)?)
    } else {
        None
    };
    timeout(CONNECT_DEADLINE, open(&target, tls, request)).await.unwrap_or(Err(ConnectError::Timeout))
}

/// Carries lines and messages between a person and a server until one of them ends, and returns how that was:
/// well for a clean end, findings for an abnormal one.
///
/// # Errors
/// If the input cannot be read or `out` cannot be written.
pub async fn talk<I, O>(mut socket: Socket, mut input: I, out: &mut O) -> io::Result<Exit>
where
    I: AsyncBufRead + Unpin,
    O: Write,
{
    let mut line = Vec::new();
    loop {
        tokio::select! {
            received = socket.next() => if let Some(exit) = show(received, out)? {
                return Ok(exit);
            },
            part = next_part(&mut input, &mut line) => {
                let part = part?;
                if part != Part::Unfinished
                    && let Some(exit) = send_line(&mut socket, &mut line, out).await?
                {
                    return Ok(exit);
                }
                if part == Part::Last {
                    return goodbye(socket, out).await;
                }
            },
        }
    }
}

/// What a piece of the input brought a line to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Unfinished,
    Line,
    Last,
}

/// Moves what there is of a line from the input to `line`. Dropping the future loses nothing.
async fn next_part<I: AsyncBufRead + Unpin>(input: &mut I, line: &mut Vec<u8>) -> io::Result<Part> {
    let bytes = input.fill_buf().await?;
    let Some(part) = bytes.split_inclusive(|byte| *byte == b'\n').next() else {
        return Ok(Part::Last);
    };
    line.extend_from_slice(part);
    let count = part.len();
    input.consume(count);
    if line.len() > MESSAGE_BYTES {
        let why = format!("a line is longer than {MESSAGE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(if line.ends_with(b"\n") { Part::Line } else { Part::Unfinished })
}

/// Sends the line without its end, unless it is empty because the input ended.
async fn send_line(socket: &mut Socket, line: &mut Vec<u8>, out: &mut impl Write) -> io::Result<Option<Exit>> {
    let ended = line.ends_with(b"\n");
    let mut bytes = std::mem::take(line);
    if ended {
        bytes.pop();
    } else if bytes.is_empty() {
        return Ok(None);
    }
    let Ok(text) = Utf8Bytes::try_from(bytes) else {
        writeln!(out, "that line is not UTF-8: it was not sent")?;
        return Ok(None);
    };
    match timeout(SEND_DEADLINE, socket.send(Message::Text(text))).await {
        // What the server said of its going comes with the next read.
        Ok(Ok(()) | Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => Ok(None),
        Ok(Err(error)) => lost(&error, out).map(Some),
        Err(_) => {
            writeln!(out, "the server did not take the message within {} seconds", SEND_DEADLINE.as_secs())?;
            Ok(Some(Exit::Findings))
        }
    }
}

/// Shows what came. Returns how it ended where it was the last.
fn show(received: Option<Result<Message, WsError>>, out: &mut impl Write) -> io::Result<Option<Exit>> {
    match received {
        Some(Ok(Message::Text(text))) => writeln!(out, "< {}", shown(&text, MESSAGE_BYTES))?,
        Some(Ok(Message::Binary(bytes))) => {
            let hex: String = bytes.iter().take(SHOWN_CHARS / 2).map(|byte| format!("{byte:02x}")).collect();
            writeln!(out, "< {} bytes: {hex}", bytes.len())?;
        }
        // Pings are answered by the library.
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
        Some(Ok(Message::Close(frame))) => return show_close(frame.as_ref(), out).map(Some),
        Some(Err(error)) => return lost(&error, out).map(Some),
        None => {
            writeln!(out, "the connection ended without a Close")?;
            return Ok(Some(Exit::Findings));
        }
    }
    Ok(None)
}

fn show_close(frame: Option<&CloseFrame>, out: &mut impl Write) -> io::Result<Exit> {
    let Some(frame) = frame else {
        writeln!(out, "closed without a code")?;
        return Ok(Exit::Well);
    };
    writeln!(out, "closed: {} {}", u16::from(frame.code), shown(&frame.reason, SHOWN_CHARS))?;
    Ok(if frame.code == CloseCode::Normal { Exit::Well } else { Exit::Findings })
}

fn lost(error: &WsError, out: &mut impl Write) -> io::Result<Exit> {
    writeln!(out, "the connection was lost: {}", shown(&error.to_string(), SHOWN_CHARS))?;
    Ok(Exit::Findings)
}

/// Closes with 1000, shows what still comes, and waits for the server's Close within bounds.
async fn goodbye(mut socket: Socket, out: &mut impl Write) -> io::Result<Exit> {
    let ours = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
    let farewell = async {
        if let Err(error) = socket.close(Some(ours)).await {
            return lost(&error, out);
        }
        loop {
            if let Some(exit) = show(socket.next().await, out)? {
                return Ok(exit);
            }
        }
    };
    match timeout(CLOSE_DEADLINE, farewell).await {
        Ok(exit) => exit,
        Err(_) => {
            writeln!(out, "the server did not answer our Close within {} seconds", CLOSE_DEADLINE.as_secs())?;
            Ok(Exit::Findings)
        }
    }
}

/// Where a URL leads.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    tls: bool,
    /// Without brackets.
    host: String,
    port: u16,
}

impl Target {
    fn read(url: &str) -> Result<Self, ConnectError> {
        let wrong = |why: &str| ConnectError::Url(format!("{:?} {why}", shown(url, SHOWN_CHARS).to_string()));
        let uri: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            _ => return Err(wrong("is no WebSocket URL")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("holds a user name: credentials come from --token-file"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || authority.as_str().ends_with(':') {
            return Err(wrong("names no host or no port"));
        }
        Ok(Self { tls, host: host.to_owned(), port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }) })
    }
}

async fn open(target: &Target, tls: Option<ClientTls>, request: Request) -> Result<Socket, ConnectError> {
    let tcp = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(ConnectError::Connect)?;
    // A typed line is one packet: waiting for more only delays it.
    tcp.set_nodelay(true).map_err(ConnectError::Connect)?;
    let stream = match tls {
        Some(tls) => tls.connect(&target.host, tcp).await.map_err(ConnectError::Tls)?,
        None => BackendStream::Plain(tcp),
    };
    let bounds = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES)).max_frame_size(Some(MESSAGE_BYTES));
    match client_async_with_config(request, stream, Some(bounds)).await {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(answer)) => {
            let (head, body) = answer.into_parts();
            let body = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
            Err(ConnectError::Refused(Box::new(Refused { status: head.status, headers: head.headers, body })))
        }
        Err(error) => Err(ConnectError::Handshake(error.to_string())),
    }
}

fn request(options: &ConnectOptions) -> Result<Request, ConnectError> {
    let mut request =
        options.url.as_str().into_client_request().map_err(|error| ConnectError::Url(error.to_string()))?;
    let headers = request.headers_mut();
    if let Some(origin) = &options.origin {
        headers.insert(ORIGIN, header_value("Origin", origin)?);
    }
    if !options.subprotocols.is_empty() {
        let offer = options.subprotocols.join(", ");
        headers.insert(SEC_WEBSOCKET_PROTOCOL, header_value("Sec-WebSocket-Protocol", &offer)?);
    }
    if let Some(token) = &options.token {
        let bearer = Secret::new(format!("Bearer {}", token.expose()));
        let mut value = header_value("Authorization", bearer.expose())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    for (name, value) in &options.headers {
        let value = header_value(name, value)?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| ConnectError::Header(name.clone()))?;
        headers.insert(name, value);
    }
    Ok(request)
}

/// The value may be a secret: the error shows the name alone.
fn header_value(name: &str, value: &str) -> Result<HeaderValue, ConnectError> {
    HeaderValue::from_str(value).map_err(|_| ConnectError::Header(name.to_owned()))
}

fn split_header(header: &str) -> Result<(String, String), ConnectError> {
    let (name, value) = header.split_once(':').ok_or_else(|| ConnectError::Header(header.to_owned()))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn read_token(path: &Path) -> Result<Secret<String>, ConnectError> {
    let bytes = Secret::new(read_file(path, TOKEN_BYTES)?);
    let text = str::from_utf8(bytes.expose()).map_err(|error| {
        let error = io::Error::new(io::ErrorKind::InvalidData, format!("is no token: {error}"));
        ConnectError::File(path.to_owned(), error)
    })?;
    Ok(Secret::new(text.trim().to_owned()))
}

fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, ConnectError> {
    file::read(path, limit).map_err(|error| ConnectError::File(path.to_owned(), error))
}

/// What a server sent, fit for a terminal: at most `limit` characters, those that control escaped.
fn shown(text: &str, limit: usize) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        for character in text.chars().take(limit) {
            match character {
                '\n' | '\t' => write!(f, "{character}")?,
                _ if misleads(character) => write!(f, "\\u{{{:x}}}", u32::from(character))?,
                _ => write!(f, "{character}")?,
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests;
