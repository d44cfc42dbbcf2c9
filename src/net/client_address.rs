//! Who is really there, when a proxy stands between: the rules of trust, and X-Forwarded-For.
//!
//! A listener believes nobody, or one kind of word, and then requires it. The word is believed only from the networks
//! that the operator named. The PROXY protocol is read in [`proxy_protocol`](super::proxy_protocol).

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::peer::ClientAddr;
use crate::policy::Reason;

/// Entries of X-Forwarded-For that are looked at, from the right.
const MAX_HOPS: usize = 64;

/// Whether `address` is in one of the `trusted` networks, by its folded form.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = ClientAddr::new(address).ip();
    trusted.iter().any(|net| net.contains(&address))
}

/// The client's address out of X-Forwarded-For: the first one, from the right, that no trusted proxy has.
///
/// `values` are the header's lines in their order; `peer` is the socket's address. If every entry is trusted the
/// leftmost one is the client. What stands left of the client's entry is the client's own invention and is not looked
/// at. A malformed entry among the proxies' own, or a chain of more than 64, tells nothing: the client is then `peer`.
///
/// # Errors
/// [`Reason::ProxyUntrusted`] if the peer is not trusted; [`Reason::ForwardedForMissing`] if there is no entry.
pub fn client_from_forwarded<'a, I>(values: I, trusted: &[IpNet], peer: IpAddr) -> Result<ClientAddr, Reason>
where
    I: IntoIterator<Item = &'a str, IntoIter: DoubleEndedIterator>,
{
    if !is_trusted(peer, trusted) {
        return Err(Reason::ProxyUntrusted);
    }
    let entries = values.into_iter().rev().flat_map(|line| line.rsplit(','));
    let entries = entries.map(|entry| entry.trim_matches([' ', '\t'])).filter(|entry| !entry.is_empty());
    let mut client = None;
    for (hop, entry) in entries.enumerate() {
        let Some(address) = hop_address(entry).filter(|_| hop < MAX_HOPS) else {
            return Ok(ClientAddr::new(peer));
        };
        client = Some(ClientAddr::new(address));
        if !is_trusted(address, trusted) {
            break;
        }
    }
    client.ok_or(Reason::ForwardedForMissing)
}

/// The address of an entry: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`. A zone
/// (`fe80::1%eth0`) means nothing to another machine and is malformed.
fn hop_address(entry: &str) -> Option<IpAddr> {
    if entry.contains('%') {
        return None;
    }
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let bare = entry.parse().ok();
    bare.or_else(|| entry.parse().ok().map(|with_port: SocketAddr| with_port.ip())).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn client(lines: &[&str], peer: &str) -> Result<String, Reason> {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8:ffff::/48".parse().unwrap()];
        client_from_forwarded(lines.iter().copied(), &trusted, peer.parse().unwrap()).map(|client| client.to_string())
    }

    #[test]
    fn id03_the_chain_is_read_from_the_right() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("ID03 one", &["203.0.113.7"], "203.0.113.7"),
            ("ID03 spoofed left part", &["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
            ("ID03 behind two proxies", &["1.1.1.1, 203.0.113.7, 10.2.3.4"], "203.0.113.7"),
            ("ID03 two lines", &["1.1.1.1", "203.0.113.7,10.2.3.4"], "203.0.113.7"),
            ("ID03 two lines, the first spoofed whole", &["1.1.1.1", "203.0.113.7"], "203.0.113.7"),
            ("ID03 garbage left of the client", &["'; drop --, 203.0.113.7"], "203.0.113.7"),
            ("ID03 garbage where a proxy wrote", &["203.0.113.7, unknown"], PROXY),
            ("ID03 garbage behind a proxy", &["203.0.113.7, nonsense, 10.2.3.4"], PROXY),
            ("ID03 port", &["203.0.113.7:4711"], "203.0.113.7"),
            ("ID03 port out of range", &["203.0.113.7:99999"], PROXY),
            ("ID03 IPv6", &["2001:db8::7"], "2001:db8::7"),
            ("ID03 IPv6 and port", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("ID03 IPv6 in brackets", &["[2001:db8::7]"], "2001:db8::7"),
            ("ID03 zone id", &["fe80::1%eth0"], PROXY),
            ("ID03 zone id and port", &["[fe80::1%1]:80"], PROXY),
            ("ID03 octal", &["0203.0.113.7"], PROXY),
            ("ID03 empty elements", &[" , 203.0.113.7 ,,\t"], "203.0.113.7"),
            ("ID03 all trusted", &["10.9.9.9, 10.2.3.4"], "10.9.9.9"),
            ("ID03 IPv6 proxy", &["203.0.113.7, 2001:db8:ffff::2"], "203.0.113.7"),
            ("ID07 mapped client", &["::ffff:203.0.113.7"], "203.0.113.7"),
            ("ID07 mapped proxy in the chain", &["203.0.113.7, ::ffff:10.2.3.4"], "203.0.113.7"),
        ];
        for (name, lines, expected) in cases {
            assert_eq!(client(lines, PROXY).as_deref(), Ok(*expected), "{name}");
        }
        assert_eq!(client(&["203.0.113.7"], "::ffff:10.0.0.1").as_deref(), Ok("203.0.113.7"), "ID07 mapped peer");
        assert_eq!(cases.len(), 21);
    }

    #[test]
    fn id03_a_long_chain_is_not_walked() {
        let trusted_hops = |count: usize| format!("203.0.113.7{}", ", 10.2.3.4".repeat(count));
        assert_eq!(client(&[&trusted_hops(63)], PROXY).as_deref(), Ok("203.0.113.7"));
        assert_eq!(client(&[&trusted_hops(64)], PROXY).as_deref(), Ok(PROXY));
        assert_eq!(client(&[&trusted_hops(10_000)], PROXY).as_deref(), Ok(PROXY));
        let spoofed = format!("{}203.0.113.7", "1.1.1.1, ".repeat(10_000));
        assert_eq!(client(&[&spoofed], PROXY).as_deref(), Ok("203.0.113.7"));
    }

    #[test]
    fn id04_id05_the_word_is_required_and_only_trusted_peers_have_it() {
        type Case<'a> = (&'a str, &'a [&'a str], &'a str, Result<&'a str, Reason>);
        let cases: &[Case] = &[
            ("ID04 untrusted peer", &["203.0.113.7"], "192.0.2.9", Err(Reason::ProxyUntrusted)),
            ("ID04 trusted peer", &["203.0.113.7"], PROXY, Ok("203.0.113.7")),
            ("ID04 untrusted peer without the header", &[], "192.0.2.9", Err(Reason::ProxyUntrusted)),
            ("ID05 absent", &[], PROXY, Err(Reason::ForwardedForMissing)),
            ("ID05 blank", &[" ", ", ,"], PROXY, Err(Reason::ForwardedForMissing)),
        ];
        for (name, lines, peer, expected) in cases {
            assert_eq!(client(lines, peer).as_deref(), expected.as_ref().copied(), "{name}");
        }
        assert_eq!(cases.len(), 5);
    }
}
