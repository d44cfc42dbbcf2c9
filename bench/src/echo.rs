//! The backend: every data message comes back frame by frame, a Ping as a Pong, a Close as a Close.
//!
//! Frames are turned around as they stream by, in the buffer they arrived in: unmasked, moved together, sent with one
//! write for each read. Any path is answered; of the subprotocols offered the first is taken. It judges no more than it
//! needs to stay in step: that is the gateway's task.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use crate::fault::Outcome;
use crate::frame::{self, CLOSE, Header, LONGEST_HEADER, PING, PONG};
use crate::listen;
use crate::unsent::Unsent;
use crate::upgrade::{self, LONGEST_HEAD};

/// The most bytes of one read; the rest of a header stands before them.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; LONGEST_HEADER + READ_BYTES].into());
}

/// Echoes on every connection to `listen`.
pub(crate) fn run(listen: SocketAddr) -> Outcome<()> {
    listen::serve(listen, echo)
}

/// One connection: the handshake, then frames until a Close.
async fn echo(mut client: TcpStream) -> io::Result<()> {
    upgrade(&mut client).await?;
    let mut echo = Echo::default();
    poll_fn(|cx| echo.poll(cx, &mut client)).await
}

/// Answers the opening handshake, which is to be all that has come so far.
async fn upgrade(client: &mut TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    let end = loop {
        if let Some((head, rest)) = upgrade::split_head(&request) {
            break if rest.is_empty() { head.len() } else { return Err(ErrorKind::InvalidData.into()) };
        }
        if request.len() >= LONGEST_HEAD || client.read_buf(&mut request).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    };
    let head = str::from_utf8(request.get(..end).unwrap_or_default()).map_err(|_| ErrorKind::InvalidData)?;
    let answer = answer(head).unwrap_or_else(|| "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".into());
    client.write_all(answer.as_bytes()).await
}

/// The 101 to a request for one.
fn answer(head: &str) -> Option<String> {
    let asks = head.starts_with("GET ")
        && upgrade::lists(head, "upgrade", "websocket")
        && upgrade::lists(head, "connection", "upgrade")
        && upgrade::field(head, "sec-websocket-version") == Some("13");
    let accept = upgrade::accept(upgrade::field(head, "sec-websocket-key").filter(|_| asks)?);
    let subprotocol = match upgrade::field(head, "sec-websocket-protocol").and_then(|list| list.split(',').next()) {
        Some(first) => format!("Sec-WebSocket-Protocol: {}\r\n", first.trim()),
        None => String::new(),
    };
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{subprotocol}\r\n"
    ))
}

/// One connection's frames.
#[derive(Debug, Default)]
struct Echo {
    turn: Turn,
    unsent: Unsent,
}

impl Echo {
    /// Echoes what there is; ready once the end has been answered.
    fn poll(&mut self, cx: &mut Context<'_>, client: &mut TcpStream) -> Poll<io::Result<()>> {
        loop {
            ready!(self.unsent.poll_flush(cx, client))?;
            if self.turn.ended {
                return Pin::new(client).poll_shutdown(cx);
            }
            ready!(self.poll_turn(cx, client))?;
        }
    }

    /// One read and one write.
    fn poll_turn(&mut self, cx: &mut Context<'_>, client: &mut TcpStream) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let (front, back) = scratch.split_at_mut(LONGEST_HEADER);
            let mut arrived = ReadBuf::new(back);
            ready!(Pin::new(&mut *client).poll_read(cx, &mut arrived))?;
            let count = arrived.filled().len();
            if count == 0 {
                self.turn.ended = true;
            }
            let start = self.turn.put_back(front);
            let answer = self.turn.around(scratch, start..LONGEST_HEADER + count)?;
            Poll::Ready(self.unsent.send(cx, client, scratch.get(answer).unwrap_or_default()))
        })
    }
}

/// Where in the stream of frames a connection is.
#[derive(Debug, Default)]
struct Turn {
    /// The beginning of a header, of which the rest has not come.
    header: Vec<u8>,
    /// The frame whose payload streams by.
    frame: Option<Passing>,
    /// A Close or the end has come.
    ended: bool,
}

/// A frame on its way back.
#[derive(Debug)]
struct Passing {
    key: [u8; 4],
    opcode: u8,
    /// Payload bytes that have passed.
    passed: u64,
    length: u64,
}

impl Turn {
    /// Puts the beginning of a header to the end of `front` and says where it begins.
    fn put_back(&mut self, front: &mut [u8]) -> usize {
        let start = front.len().saturating_sub(self.header.len());
        if let Some(place) = front.get_mut(start..) {
            place.copy_from_slice(&self.header);
        }
        self.header.clear();
        start
    }

    /// Turns the frames of `buffer[arrived]` around in place, and says where the bytes to send are.
    fn around(&mut self, buffer: &mut [u8], arrived: Range<usize>) -> io::Result<Range<usize>> {
        let Range { start, end } = arrived;
        let (mut from, mut to) = (start, start);
        while from < end && !self.ended {
            let Some(mut frame) = self.frame.take() else {
                let rest = buffer.get(from..end).unwrap_or_default();
                let Some((header, size)) = Header::read(rest) else {
                    self.header.extend_from_slice(rest);
                    break;
                };
                from += size;
                to += self.begin(header, buffer.get_mut(to..from).unwrap_or_default())?;
                continue;
            };
            let count = usize::try_from(frame.length - frame.passed).unwrap_or(usize::MAX).min(end - from);
            let payload = buffer.get_mut(from..from + count).unwrap_or_default();
            frame::mask(payload, frame.key, frame.passed);
            if frame.opcode != PONG {
                buffer.copy_within(from..from + count, to);
                to += count;
            }
            from += count;
            frame.passed += count as u64;
            self.pass(frame);
        }
        Ok(start..to)
    }

    /// Writes the answer's header to the front of `place`, and returns its size.
    fn begin(&mut self, header: Header, place: &mut [u8]) -> io::Result<usize> {
        let key = header.mask.ok_or(ErrorKind::InvalidData)?;
        let mut out = Vec::with_capacity(LONGEST_HEADER);
        match header.opcode {
            PONG => {}
            PING => Header { opcode: PONG, mask: None, ..header }.write(&mut out),
            _ => Header { mask: None, ..header }.write(&mut out),
        }
        place.get_mut(..out.len()).ok_or(ErrorKind::InvalidData)?.copy_from_slice(&out);
        self.pass(Passing { key, opcode: header.opcode, passed: 0, length: header.length });
        Ok(out.len())
    }

    /// Goes on with a frame, or leaves it behind if it has passed.
    fn pass(&mut self, frame: Passing) {
        if frame.passed < frame.length {
            self.frame = Some(frame);
        } else if frame.opcode == CLOSE {
            self.ended = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{BINARY, TEXT, masked};

    /// What comes back of `stream`, which arrives in pieces of `piece` bytes.
    fn echoed(stream: &[u8], piece: usize) -> Vec<u8> {
        let mut turn = Turn::default();
        let mut out = Vec::new();
        for piece in stream.chunks(piece) {
            let mut buffer = vec![0; LONGEST_HEADER];
            let start = turn.put_back(&mut buffer);
            buffer.extend_from_slice(piece);
            let end = buffer.len();
            let answer = turn.around(&mut buffer, start..end).unwrap();
            out.extend_from_slice(&buffer[answer]);
        }
        out
    }

    #[test]
    fn frames_come_back_unmasked_however_they_arrive() {
        let key = [0xa1, 0xb2, 0xc3, 0xd4];
        let long = vec![7; 70_000];
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        let frames: [(u8, u8, &[u8]); 7] = [
            (TEXT, TEXT, b"hello"),
            (PING, PONG, b"are you there"),
            (PONG, PONG, b"not answered"),
            (BINARY, BINARY, &[]),
            (BINARY, BINARY, &long),
            (BINARY, BINARY, &long[..300]),
            (CLOSE, CLOSE, &[0x03, 0xe8]),
        ];
        for (opcode, answer, payload) in frames {
            stream.extend(masked(opcode, key, payload));
            if opcode != PONG {
                let length = payload.len() as u64;
                Header { fin: true, opcode: answer, mask: None, length }.write(&mut expected);
                expected.extend_from_slice(payload);
            }
        }
        stream.extend(masked(TEXT, key, b"after the end"));
        for piece in [1, 2, 3, 7, 64, 4096, 65_536, stream.len()] {
            assert!(echoed(&stream, piece) == expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn an_unmasked_frame_ends_the_connection() {
        let mut bare = Vec::new();
        Header { fin: true, opcode: TEXT, mask: None, length: 0 }.write(&mut bare);
        let end = bare.len();
        assert!(Turn::default().around(&mut bare, 0..end).is_err());
        let mut masked = masked(TEXT, [1; 4], b"");
        let end = masked.len();
        assert!(Turn::default().around(&mut masked, 0..end).is_ok());
    }

    #[test]
    fn the_first_subprotocol_is_taken() {
        let request = "GET /any HTTP/1.1\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let offered = format!("{request}Sec-WebSocket-Protocol: b, a\r\n\r\n");
        assert!(answer(&offered).unwrap().contains("\r\nSec-WebSocket-Protocol: b\r\n"));
        let bare = answer(&format!("{request}\r\n")).unwrap();
        assert!(!bare.contains("Protocol:") && bare.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(answer("GET /any HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"), None);
    }
}
