//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`), read before anything else.
//!
//! Not one byte beyond the header is read, so what follows is TLS or HTTP untouched. The header is at most 107 bytes
//! (version 1) or 16 + 520 bytes (version 2), complete before one deadline, and required: a connection without one ends.
//! The grammar is judged by the `ppp` crate. Type-length-values must be well formed and are not used; the CRC32C among
//! them is not verified, because TCP and the trusted path stand for it.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::client_address::is_trusted;
use crate::peer::ClientAddr;
use crate::policy::Reason;

/// The longest version 1 header, with its CR LF (section 2.1).
const V1_MAX: usize = 107;

/// Version 1 of a proxy that does not know; what stands behind it is to be ignored (section 2.1).
const V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN";

/// Both versions begin with at least this many bytes: version 2's signature, and less than version 1's shortest line.
const START: usize = 12;

/// The fixed part of a version 2 header (section 2.2).
const V2_FIXED: usize = 16;

/// The longest rest of a version 2 header that is read: addresses are 36 bytes, what balancers add fits in the rest.
const V2_REST_MAX: usize = 520;

/// Version 2 and the command LOCAL: the proxy speaks for itself, and the rest says nothing (section 2.2).
const V2_LOCAL: u8 = 0x20;

/// Nobody, TCP over IPv4 and TCP over IPv6; what is no transport that is named must be dropped (section 2.2).
const V2_FAMILIES: [u8; 3] = [0x00, 0x11, 0x21];

/// Reads the header that `peer` must send first, within `deadline`, and returns the client that it names. A header that
/// names none (LOCAL, UNKNOWN, UNSPEC) leaves the client to be the peer.
///
/// # Errors
/// [`Reason::ProxyUntrusted`] if the peer is not trusted: nothing is read. [`Reason::ProxyHeaderMissing`] if no header
/// began, or it was not complete in time. [`Reason::ProxyHeaderInvalid`] if it is malformed, too long, or for
/// something else than TCP over IP.
pub async fn read_client<S>(
    stream: &mut S,
    peer: IpAddr,
    trusted: &[IpNet],
    deadline: Duration,
) -> Result<ClientAddr, Reason>
where
    S: AsyncRead + Unpin,
{
    if !is_trusted(peer, trusted) {
        return Err(Reason::ProxyUntrusted);
    }
    let named = timeout(deadline, read_header(stream)).await.map_err(|_| Reason::ProxyHeaderMissing)??;
    Ok(ClientAddr::new(named.unwrap_or(peer)))
}

async fn read_header<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<IpAddr>, Reason> {
    let mut header = Vec::with_capacity(V1_MAX);
    read_more(stream, &mut header, START).await?;
    if header == v2::PROTOCOL_PREFIX {
        read_v2(stream, header).await
    } else if header.starts_with(b"PROXY ") {
        read_v1(stream, header).await
    } else {
        Err(Reason::ProxyHeaderMissing)
    }
}

async fn read_v1<S: AsyncRead + Unpin>(stream: &mut S, mut header: Vec<u8>) -> Result<Option<IpAddr>, Reason> {
    while !header.ends_with(b"\r\n") {
        // Two bytes are still to come, or one if the first of them is there.
        let missing = if header.ends_with(b"\r") { 1 } else { 2 };
        if header.len().saturating_add(missing) > V1_MAX {
            return Err(Reason::ProxyHeaderInvalid);
        }
        read_more(stream, &mut header, missing).await?;
    }
    if header.strip_prefix(V1_UNKNOWN).is_some_and(|rest| rest.starts_with(b" ") || rest == b"\r\n") {
        return Ok(None);
    }
    let parsed = v1::Header::try_from(header.as_slice()).map_err(|_| Reason::ProxyHeaderInvalid)?;
    Ok(match parsed.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
    })
}

async fn read_v2<S: AsyncRead + Unpin>(stream: &mut S, mut header: Vec<u8>) -> Result<Option<IpAddr>, Reason> {
    read_more(stream, &mut header, V2_FIXED - START).await?;
    let &[command, family, high, low] = header.last_chunk().ok_or(Reason::ProxyHeaderInvalid)?;
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if rest > V2_REST_MAX {
        return Err(Reason::ProxyHeaderInvalid);
    }
    read_more(stream, &mut header, rest).await?;
    if command == V2_LOCAL {
        return Ok(None);
    }
    if !V2_FAMILIES.contains(&family) {
        return Err(Reason::ProxyHeaderInvalid);
    }
    let parsed = v2::Header::try_from(header.as_slice()).map_err(|_| Reason::ProxyHeaderInvalid)?;
    if parsed.tlvs().any(|tlv| tlv.is_err()) {
        return Err(Reason::ProxyHeaderInvalid);
    }
    match parsed.addresses {
        v2::Addresses::Unspecified => Ok(None),
        v2::Addresses::IPv4(addresses) => Ok(Some(addresses.source_address.into())),
        v2::Addresses::IPv6(addresses) => Ok(Some(addresses.source_address.into())),
        v2::Addresses::Unix(_) => Err(Reason::ProxyHeaderInvalid),
    }
}

/// Reads exactly `count` more bytes; a stream that ends before has no header.
async fn read_more<S: AsyncRead + Unpin>(stream: &mut S, into: &mut Vec<u8>, count: usize) -> Result<(), Reason> {
    let wanted = u64::try_from(count).map_err(|_| Reason::ProxyHeaderInvalid)?;
    let read = stream.take(wanted).read_to_end(into).await.map_err(|_| Reason::ProxyHeaderMissing)?;
    if read == count { Ok(()) } else { Err(Reason::ProxyHeaderMissing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::io::AsyncWriteExt;
    use tokio::time::Instant;

    const PEER: &str = "10.0.0.1";
    const AFTER: &[u8] = b"\x16\x03\x01 what follows";

    async fn read(bytes: &[u8], peer: &str) -> (Result<String, Reason>, usize) {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let mut stream = bytes;
        let client = read_client(&mut stream, peer.parse().unwrap(), &trusted, Duration::from_secs(3)).await;
        (client.map(|client| client.to_string()), stream.len())
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, rest].concat()
    }

    fn ipv4(tlvs: &[u8]) -> Vec<u8> {
        let addresses = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x34, 0x01, 0xbb];
        [&addresses, tlvs].concat()
    }

    fn ipv6() -> Vec<u8> {
        let source = "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets();
        [source.as_slice(), &[0; 16], &[0x12, 0x34, 0x01, 0xbb]].concat()
    }

    #[tokio::test]
    async fn id06_headers_name_the_client_and_nothing_behind_them_is_read() {
        let worst = format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
        assert_eq!(worst.len(), V1_MAX);
        let cases: &[(&str, Vec<u8>, &str)] = &[
            ("v1 TCP4", b"PROXY TCP4 203.0.113.7 10.0.0.1 4660 443\r\n".to_vec(), "203.0.113.7"),
            ("v1 TCP6", b"PROXY TCP6 2001:db8::7 ::1 4660 443\r\n".to_vec(), "2001:db8::7"),
            ("v1 TCP6 mapped, ID07", b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 443\r\n".to_vec(), "203.0.113.7"),
            ("v1 UNKNOWN", b"PROXY UNKNOWN\r\n".to_vec(), PEER),
            ("v1 UNKNOWN, anything behind it", b"PROXY UNKNOWN a\tb \n \xff c d e f\rg\r\n".to_vec(), PEER),
            ("v1 UNKNOWN of 107 bytes", worst.into_bytes(), PEER),
            ("v2 IPv4", v2(0x21, 0x11, &ipv4(&[])), "203.0.113.7"),
            ("v2 IPv4, TLV", v2(0x21, 0x11, &ipv4(&[0x04, 0, 2, 1, 2])), "203.0.113.7"),
            ("v2 IPv6", v2(0x21, 0x21, &ipv6()), "2001:db8::7"),
            ("v2 LOCAL", v2(0x20, 0x00, &[]), PEER),
            ("v2 LOCAL with a rest that is skipped", v2(0x20, 0x11, &[1, 2, 3]), PEER),
            ("v2 UNSPEC", v2(0x21, 0x00, &[9; 7]), PEER),
            ("v2 of 536 bytes", v2(0x21, 0x11, &ipv4(&[[4, 1, 249].as_slice(), &[0; 505]].concat())), "203.0.113.7"),
        ];
        for (name, header, expected) in cases {
            let (client, left) = read(&[header.as_slice(), AFTER].concat(), PEER).await;
            assert_eq!(client.as_deref(), Ok(*expected), "ID06 {name}");
            assert_eq!(left, AFTER.len(), "ID06 {name}: bytes left");
        }
        assert_eq!(cases.len(), 13);
    }

    #[tokio::test]
    async fn id05_id06_what_is_no_header_is_dropped() {
        use Reason::{ProxyHeaderInvalid as Invalid, ProxyHeaderMissing as Missing};
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX));
        let huge = [v2::PROTOCOL_PREFIX, &[0x21, 0x11, 0xff, 0xff], &[0; 600]].concat();
        let cases: &[(&str, Vec<u8>, Reason)] = &[
            ("ID05 TLS at once", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00".to_vec(), Missing),
            ("ID05 HTTP at once", b"GET /chat HTTP/1.1\r\n".to_vec(), Missing),
            ("ID05 nothing", vec![], Missing),
            ("ID05 an end inside v1", b"PROXY TCP4 203.0.113.7".to_vec(), Missing),
            ("ID05 an end inside v2", v2(0x21, 0x11, &ipv4(&[]))[..20].to_vec(), Missing),
            ("ID06 v1 over 107 bytes", long.into_bytes(), Invalid),
            ("ID06 v1 without an end", [b"PROXY TCP4 ".as_slice(), &[b'1'; 4096]].concat(), Invalid),
            ("ID06 v1 bare LF", [b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n".as_slice(), &[b'x'; 200]].concat(), Invalid),
            ("ID06 v1 CR inside", b"PROXY UNKNOWN\rx\r\n".to_vec(), Invalid),
            ("ID06 v1 two CR", b"PROXY UNKNOWN\r\r\n".to_vec(), Invalid),
            ("ID06 v1 lower case", b"PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(), Invalid),
            ("ID06 v1 two spaces", b"PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n".to_vec(), Invalid),
            ("ID06 v1 port", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n".to_vec(), Invalid),
            ("ID06 v1 family", b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(), Invalid),
            ("ID06 v1 not UTF-8", b"PROXY TCP4 \xff\xff 2.2.2.2 1 2\r\n".to_vec(), Invalid),
            ("ID06 v2 length 65535", huge, Invalid),
            ("ID06 v2 length 521", v2(0x21, 0x00, &[0; V2_REST_MAX + 1]), Invalid),
            ("ID06 v2 too short for its family", v2(0x21, 0x11, &[1; 11]), Invalid),
            ("ID06 v2 version 1", v2(0x11, 0x11, &ipv4(&[])), Invalid),
            ("ID06 v2 unknown command", v2(0x22, 0x11, &ipv4(&[])), Invalid),
            ("ID06 v2 unknown family", v2(0x21, 0x41, &ipv4(&[])), Invalid),
            ("ID06 v2 IPv4 without a transport", v2(0x21, 0x10, &ipv4(&[])), Invalid),
            ("ID06 v2 IPv6 without a transport", v2(0x21, 0x20, &ipv6()), Invalid),
            ("ID06 v2 TCP over nothing", v2(0x21, 0x01, &[9; 7]), Invalid),
            ("ID06 v2 datagram", v2(0x21, 0x12, &ipv4(&[])), Invalid),
            ("ID06 v2 UNIX", v2(0x21, 0x31, &[0; 216]), Invalid),
            ("ID06 v2 TLV longer than the header", v2(0x21, 0x11, &ipv4(&[0x04, 0, 9, 1])), Invalid),
            ("ID06 v2 TLV cut off", v2(0x21, 0x11, &ipv4(&[0x04, 0])), Invalid),
        ];
        for (name, bytes, reason) in cases {
            assert_eq!(read(bytes, PEER).await.0, Err(*reason), "{name}");
        }
        assert_eq!(cases.len(), 28);
    }

    #[tokio::test]
    async fn id04_an_untrusted_peer_is_not_read() {
        let header = b"PROXY TCP4 203.0.113.7 10.0.0.1 4660 443\r\n";
        assert_eq!(read(header, "192.0.2.9").await, (Err(Reason::ProxyUntrusted), header.len()));
        assert_eq!(read(header, PEER).await, (Ok(String::from("203.0.113.7")), 0), "the twin");
        assert_eq!(read(header, "::ffff:10.0.0.1").await.0.as_deref(), Ok("203.0.113.7"), "ID07");
    }

    #[tokio::test(start_paused = true)]
    async fn id06_a_dripping_header_ends_at_the_deadline() {
        for (pause, expected) in [(100, Err(Reason::ProxyHeaderMissing)), (10, Ok(String::from("203.0.113.7")))] {
            let (mut far, mut near) = tokio::io::duplex(64);
            let drip = async {
                for byte in b"PROXY TCP4 203.0.113.7 10.0.0.1 4660 443\r\n" {
                    if far.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            };
            let start = Instant::now();
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            let client = async {
                let peer = PEER.parse().unwrap();
                let client = read_client(&mut near, peer, &trusted, Duration::from_secs(3)).await;
                (client.map(|client| client.to_string()), start.elapsed())
            };
            let ((client, took), ()) = tokio::join!(client, drip);
            assert_eq!(client, expected, "{pause}");
            assert!(took <= Duration::from_secs(3));
        }
    }

    proptest::proptest! {
        #[test]
        fn id06_no_bytes_panic(start in 0..3_usize, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..700)) {
            let prefix: &[u8] = [b"PROXY TCP4 ".as_slice(), v2::PROTOCOL_PREFIX, b""][start];
            let all = [prefix, &bytes].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let (_, left) = runtime.block_on(read(&all, PEER));
            proptest::prop_assert!(all.len() - left <= V2_FIXED + V2_REST_MAX);
        }
    }
}
