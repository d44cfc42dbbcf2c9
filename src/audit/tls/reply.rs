//! What a server says to the first bytes of a client, read leniently.

use std::time::Duration;

use rustls::AlertDescription;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::hello::{extension, version};
use crate::audit::wire::End;

/// The most bytes that are read: a ServerHello is far shorter.
const KEPT_BYTES: usize = 64 << 10;

/// The bytes of an answer that are shown.
const SHOWN_BYTES: usize = 48;

/// What a server chose (RFC 5246 section 7.4.1.3, RFC 8446 section 4.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerHello {
    /// The version, wherever it stands.
    pub version: u16,
    /// The suite; 0 where SSL 2.0 leaves the choice to the client.
    pub suite: u16,
    /// 0 is none.
    pub compression: u8,
    /// Whether renegotiation is bound to this connection (RFC 5746).
    pub binds_renegotiation: bool,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The handshake goes on.
    Hello(ServerHello),
    /// An alert: its description.
    Alert(u8),
    /// Something that is no TLS: its beginning.
    Other(Vec<u8>),
    /// The end, without a word.
    Ended(End),
    /// Nothing.
    Silence,
}

impl Reply {
    /// Whether the server said no: by an alert, or by hanging up.
    pub(super) fn is_no(&self) -> bool {
        matches!(self, Self::Alert(_) | Self::Ended(_))
    }

    /// It in a few words.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Hello(hello) => {
                format!("a ServerHello of {} with suite {:04x}", version_name(hello.version), hello.suite)
            }
            Self::Alert(description) => format!("alert {:?}", AlertDescription::from(*description)),
            Self::Other(bytes) => format!("no TLS: {}", hex(bytes)),
            Self::Ended(End::Clean) => String::from("closed without a word"),
            Self::Ended(End::Cut) => String::from("reset without a word"),
            Self::Silence => String::from("silence"),
        }
    }
}

/// Reads until something is understood, the connection ends, or the time is up.
pub(super) async fn read(tcp: &mut TcpStream, within: Duration) -> Reply {
    let until = Instant::now() + within;
    let mut kept = Vec::new();
    loop {
        if let Some(reply) = understood(&kept) {
            return reply;
        }
        let mut buffer = [0; 4096];
        let end = match timeout_at(until, tcp.read(&mut buffer)).await {
            Err(_) if kept.is_empty() => return Reply::Silence,
            Ok(Ok(0)) if kept.is_empty() => return Reply::Ended(End::Clean),
            Ok(Err(_)) if kept.is_empty() => return Reply::Ended(End::Cut),
            Err(_) | Ok(Ok(0) | Err(_)) => true,
            Ok(Ok(count)) => {
                kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
                kept.len() > KEPT_BYTES
            }
        };
        if end {
            return understood(&kept).unwrap_or(Reply::Other(kept));
        }
    }
}

/// What bytes are; `None` while more is needed.
fn understood(bytes: &[u8]) -> Option<Reply> {
    match bytes {
        [] => None,
        [20..=23, 3, _, ..] => in_records(bytes),
        [20..=23] | [20..=23, 3] => None,
        [length, _, 4, ..] if length & 0x80 != 0 => {
            Some(Reply::Hello(ServerHello { version: version::SSL2, ..ServerHello::default() }))
        }
        [length] | [length, _] if length & 0x80 != 0 => None,
        other => Some(Reply::Other(other.to_vec())),
    }
}

/// What the first records hold: an alert, or the messages of a handshake, in however many pieces.
fn in_records(bytes: &[u8]) -> Option<Reply> {
    let mut messages = Vec::new();
    let mut reader = Reader(bytes);
    loop {
        let (kind, _) = (reader.byte()?, reader.take(2)?);
        let length = reader.word()?;
        let fragment = reader.take(length.into())?;
        match (kind, fragment) {
            (21, [_, description]) => return Some(Reply::Alert(*description)),
            (22, piece) => messages.extend_from_slice(piece),
            _ => return Some(Reply::Other(bytes.to_vec())),
        }
        match messages.as_slice() {
            [2, rest @ ..] => {
                if let Some(hello) = server_hello(rest) {
                    return Some(Reply::Hello(hello));
                }
            }
            [] => {}
            _ => return Some(Reply::Other(bytes.to_vec())),
        }
    }
}

/// Reads a ServerHello behind its type; `None` while it is incomplete.
fn server_hello(bytes: &[u8]) -> Option<ServerHello> {
    let mut reader = Reader(bytes);
    let (high, low) = (reader.byte()?, reader.word()?);
    let mut body = Reader(reader.take((usize::from(high) << 16) | usize::from(low))?);
    let mut hello = ServerHello { version: body.word()?, ..ServerHello::default() };
    body.take(32)?;
    let session = body.byte()?;
    body.take(session.into())?;
    (hello.suite, hello.compression) = (body.word()?, body.byte()?);
    let mut extensions = Reader(body.word().and_then(|length| body.take(length.into())).unwrap_or_default());
    while let (Some(kind), Some(length)) = (extensions.word(), extensions.word()) {
        let Some(value) = extensions.take(length.into()) else { break };
        match (kind, value) {
            (extension::VERSIONS, [high, low]) => hello.version = u16::from_be_bytes([*high, *low]),
            (extension::RENEGOTIATION_INFO, _) => hello.binds_renegotiation = true,
            _ => {}
        }
    }
    Some(hello)
}

/// What is left to read.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn word(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|word| u16::from_be_bytes(*word))
    }
}

/// How a version is called.
pub(super) fn version_name(version: u16) -> String {
    match version {
        version::SSL2 => String::from("SSL 2.0"),
        version::SSL3 => String::from("SSL 3.0"),
        version::TLS10 => String::from("TLS 1.0"),
        version::TLS11 => String::from("TLS 1.1"),
        version::TLS12 => String::from("TLS 1.2"),
        version::TLS13 => String::from("TLS 1.3"),
        other => format!("version {other:04x}"),
    }
}

/// The first bytes as they are.
pub(super) fn hex(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len() > SHOWN_BYTES { " …" } else { "" };
    format!("{}{more} ({} bytes)", shown.join(" "), bytes.len())
}

#[cfg(test)]
mod tests {
    use super::super::hello::{claiming, record_of};
    use super::*;

    fn hello(version: u16, extensions: &[u8]) -> Vec<u8> {
        let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
        let body =
            [&version.to_be_bytes(), [7; 32].as_slice(), &[2, 9, 9, 0xc0, 0x2f, 1], &length, extensions].concat();
        claiming(2, u32::try_from(body.len()).unwrap(), &body)
    }

    #[test]
    fn tl07_a_choice_is_read_wherever_it_stands() {
        let old = ServerHello { version: 0x0301, suite: 0xc02f, compression: 1, binds_renegotiation: false };
        let bound = ServerHello { binds_renegotiation: true, ..old };
        let late = ServerHello { version: 0x0304, ..old };
        let cases = [
            ("TLS 1.0", hello(0x0301, &[]), old),
            ("renegotiation", hello(0x0301, &[0xff, 1, 0, 1, 0]), bound),
            ("TLS 1.3", hello(0x0303, &[0, 43, 0, 2, 3, 4]), late),
        ];
        for (what, message, expected) in cases {
            let whole = record_of(22, 0x0301, &message);
            let pieces: Vec<u8> = message.chunks(3).flat_map(|piece| record_of(22, 0x0301, piece)).collect();
            for bytes in [whole, pieces] {
                assert_eq!(understood(&bytes), Some(Reply::Hello(expected)), "{what}");
                assert_eq!(understood(&bytes[..bytes.len() - 1]), None, "{what}, but its last byte");
            }
        }
    }

    #[test]
    fn tl04_what_else_may_come_is_told_apart() {
        let ssl2 = ServerHello { version: version::SSL2, ..ServerHello::default() };
        let cases: [(&[u8], Option<Reply>); 7] = [
            (b"", None),
            (&[0x15, 3, 3, 0, 2, 2, 40], Some(Reply::Alert(40))),
            (&[0x15, 3, 3, 0, 2, 2], None),
            (&[0x80, 40, 4, 0, 1], Some(Reply::Hello(ssl2))),
            (&[0x80, 40], None),
            (b"HTTP/1.1 400 Bad Request", Some(Reply::Other(b"HTTP/1.1 400 Bad Request".to_vec()))),
            (&[0x17, 3, 3, 0, 1, 0], Some(Reply::Other(vec![0x17, 3, 3, 0, 1, 0]))),
        ];
        for (bytes, expected) in cases {
            assert_eq!(understood(bytes), expected, "{bytes:?}");
        }
    }
}
