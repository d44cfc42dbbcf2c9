//! Who a trusted proxy says the client is: X-Forwarded-For, and the PROXY protocol.
//!
//! The first byte of the input chooses: `x` is followed by the lines of X-Forwarded-For, anything else by what the proxy
//! sends first, in pieces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::{AsyncRead, ReadBuf};
use wsgate::net::client_address::client_from_forwarded;
use wsgate::net::proxy_protocol::read_client;
use wsgate::peer::ClientAddr;

use super::Verdict;
use super::chunks::cuts;
use super::naive_head::trimmed;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The client is who a naive reader of the same words finds; nothing behind a PROXY header is read, however it comes.
pub fn forwarded(bytes: &[u8]) -> Verdict {
    match bytes.split_first() {
        Some((b'x', lines)) => str::from_utf8(lines).map_or(Verdict::Refused, forwarded_for),
        Some((_, sent)) => proxy_protocol(sent),
        None => Verdict::Refused,
    }
}

fn forwarded_for(lines: &str) -> Verdict {
    let trusted: [IpNet; 2] = ["10.0.0.0/8", "2001:db8:ffff::/48"].map(|net| net.parse().expect("a network"));
    let is_trusted = |address: IpAddr| match ClientAddr::new(address).ip() {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.segments()[..3] == [0x2001, 0xdb8, 0xffff],
    };
    let client = client_from_forwarded(lines.lines(), &trusted, PEER).ok().map(ClientAddr::ip);
    let all = lines.lines().collect::<Vec<_>>().join(",");
    let entries: Vec<&str> = all.split(',').map(trimmed).filter(|entry| !entry.is_empty()).collect();
    // The proxies' own entries, and one more: the client's.
    let mut seen = Vec::new();
    for entry in entries.iter().rev() {
        let address = entry_address(entry).filter(|_| seen.len() < 64);
        seen.push(address);
        if !address.is_some_and(is_trusted) {
            break;
        }
    }
    let expected = seen.last().map(|last| last.map_or(PEER, |address| ClientAddr::new(address).ip()));
    assert_eq!(client, expected, "{lines:?}");
    Verdict::of(&client)
}

fn entry_address(entry: &str) -> Option<IpAddr> {
    let with_port: Option<SocketAddr> = entry.parse().ok();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|bare| bare.contains(':'));
    let address: Option<IpAddr> = bare.unwrap_or(entry).parse().ok();
    address.or(with_port.map(|address| address.ip())).filter(|_| !entry.contains('%'))
}

fn proxy_protocol(sent: &[u8]) -> Verdict {
    let read = cuts(sent).map(|pieces| {
        let mut stream = Pieces { pieces, read: 0, turn: false };
        let trusted = ["10.0.0.0/8".parse().expect("a network")];
        let client = block_on(read_client(&mut stream, PEER, &trusted, Duration::from_secs(60)));
        (client, stream.read)
    });
    assert!(read.iter().all(|one| *one == read[0]), "the verdict depends on the cut: {read:?}");
    let (client, count) = &read[0];
    assert!(*count <= 16 + 520, "{count}");
    let expected = naive_v1(sent).or_else(|| naive_v2(sent));
    let Ok(client) = client else {
        assert_eq!(expected, None, "it was refused");
        return Verdict::Refused;
    };
    let (address, end) = expected.expect("it was accepted");
    assert_eq!((*client, *count), (ClientAddr::new(address), end), "who, and the bytes that were read");
    Verdict::Accepted
}

/// The client of a version 1 header, and where it ends (section 2.1).
fn naive_v1(sent: &[u8]) -> Option<(IpAddr, usize)> {
    let end = sent.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let line = sent.get(..end).filter(|line| line.len() <= 107)?.strip_suffix(b"\r\n")?;
    // What stands behind it is to be ignored.
    if line == b"PROXY UNKNOWN" || line.starts_with(b"PROXY UNKNOWN ") {
        return Some((PEER, end));
    }
    let line = str::from_utf8(line).ok()?;
    if line.contains('\r') {
        return None;
    }
    let words: Vec<&str> = line.split(' ').collect();
    let address = match words[..] {
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, from, to] => {
            // Ports are not used: that ppp reads `+443` does no harm.
            let is_port = |port: &str| port == "0" || (!port.starts_with('0') && port.parse::<u16>().is_ok());
            let [source, destination] = [source, destination].map(|text| text.parse::<IpAddr>().ok());
            let of_family = |address: &IpAddr| address.is_ipv4() == (family == "TCP4");
            destination.filter(|address| of_family(address) && is_port(from) && is_port(to))?;
            source.filter(of_family)?
        }
        _ => return None,
    };
    Some((address, end))
}

/// The client of a version 2 header, and where it ends (section 2.2).
fn naive_v2(sent: &[u8]) -> Option<(IpAddr, usize)> {
    let [command, family, high, low] = *sent.strip_prefix(V2_SIGNATURE)?.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let end = 16 + length;
    let rest = sent.get(16..end).filter(|rest| rest.len() <= 520)?;
    if command == 0x20 {
        return Some((PEER, end));
    }
    let (address, room) = match (command, family) {
        (0x21, 0x11) => (IpAddr::from(Ipv4Addr::from(*rest.first_chunk::<4>()?)), 12),
        (0x21, 0x21) => (IpAddr::from(Ipv6Addr::from(*rest.first_chunk::<16>()?)), 36),
        (0x21, 0x00) => return Some((PEER, end)),
        _ => return None,
    };
    are_tlvs(rest.get(room..)?).then_some((address, end))
}

fn are_tlvs(bytes: &[u8]) -> bool {
    match *bytes {
        [] => true,
        [_, high, low, ref rest @ ..] => rest.get(usize::from(u16::from_be_bytes([high, low]))..).is_some_and(are_tlvs),
        _ => false,
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// A stream that gives one piece at a time, and counts what was taken.
struct Pieces<'a> {
    pieces: Vec<&'a [u8]>,
    read: usize,
    turn: bool,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        self.turn = !self.turn;
        if self.turn {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(piece) = self.pieces.first_mut() {
            let count = piece.len().min(into.remaining());
            into.put_slice(&piece[..count]);
            *piece = &piece[count..];
            let is_gone = piece.is_empty();
            self.pieces.drain(..usize::from(is_gone));
            self.read += count;
        }
        Poll::Ready(Ok(()))
    }
}
