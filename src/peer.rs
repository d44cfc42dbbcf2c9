//! Who is at the other end: connection ids, client addresses, and the networks that are charged for them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::ParseIntError;
use std::str::FromStr;

use ipnet::IpNet;

/// The name of one connection, unique within a process and hard to guess from outside.
///
/// Shown to the client in a refusal and written to every log line, so that the two can be brought together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u128);

impl ConnectionId {
    /// An id from 16 random bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl FromStr for ConnectionId {
    type Err = ParseIntError;

    /// Reads an id as it is shown: 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(if is_id { text } else { "" }, 16).map(Self)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The id by which a client renews its session: a UUID (RFC 9562), of the client's own or told to it with its ticket. The
/// connection's id is the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 16]);

/// A text that is no [`SessionId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSessionId;

impl SessionId {
    /// An id from 16 random bytes, as a UUID of version 4.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        const OURS: u128 = (4 << 76) | (0b10 << 62);
        const FIXED: u128 = (0xf << 76) | (0b11 << 62);
        Self(((u128::from_be_bytes(bytes) & !FIXED) | OURS).to_be_bytes())
    }
}

impl FromStr for SessionId {
    type Err = NoSessionId;

    /// Reads 32 hexadecimal digits with hyphens behind the 8th, 12th, 16th and 20th.
    fn from_str(text: &str) -> Result<Self, NoSessionId> {
        let is_hyphen = |place: usize| matches!(place, 8 | 13 | 18 | 23);
        let fits = |(place, byte): (usize, u8)| if is_hyphen(place) { byte == b'-' } else { byte.is_ascii_hexdigit() };
        if text.len() != 36 || !text.bytes().enumerate().all(fits) {
            return Err(NoSessionId);
        }
        let bits = u128::from_str_radix(&text.replace('-', ""), 16).map_err(|_| NoSessionId)?;
        Ok(Self(bits.to_be_bytes()))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let (first, second, third) = (bits >> 96, bits >> 80 & 0xffff, bits >> 64 & 0xffff);
        write!(f, "{first:08x}-{second:04x}-{third:04x}-{:04x}-{:012x}", bits >> 48 & 0xffff, bits & 0xffff_ffff_ffff)
    }
}

/// A client's address, with the IPv6 forms that carry an IPv4 address folded to that address by their bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientAddr(IpAddr);

impl ClientAddr {
    /// Folds `::ffff:0:0/96` (RFC 4291 section 2.5.5.2) and `64:ff9b::/96` (RFC 6052 section 2.1) to IPv4.
    pub fn new(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self(address),
            IpAddr::V6(v6) => Self(embedded_v4(v6).unwrap_or(address)),
        }
    }

    /// The folded address.
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// The network that is charged for this client: one IPv4 address or one IPv6 /64.
    pub fn net(self) -> ClientNet {
        match self.0 {
            IpAddr::V4(v4) => ClientNet { bits: u128::from(v4.to_ipv6_mapped()), prefix: 128 },
            IpAddr::V6(v6) => ClientNet::masked(u128::from(v6), 64),
        }
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn embedded_v4(v6: Ipv6Addr) -> Option<IpAddr> {
    const NAT64: u128 = 0x0064_ff9b_u128 << 96;
    let bits = u128::from(v6);
    let low = u32::try_from(bits & u128::from(u32::MAX)).ok()?;
    let is_nat64 = bits >> 32 == NAT64 >> 32;
    (v6.to_ipv4_mapped().is_some() || is_nat64).then(|| IpAddr::V4(low.into()))
}

/// Reads a network that can hold clients: no bits behind its prefix, and IPv4 in its own form.
///
/// # Errors
/// One sentence that says what would be right.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let wrong = || format!("`{text}` is not a network: write \"10.0.0.0/8\" or \"2001:db8::/32\"");
    let net: IpNet = text.parse().map_err(|_| wrong())?;
    if let Some(v4) = embedded_network(net) {
        return Err(format!("`{text}` holds nobody: clients of these forms count as IPv4; write \"{v4}\""));
    }
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(format!("`{text}` has bits behind its prefix: write \"{}\"", net.trunc()))
    }
}

/// The IPv4 network that an IPv6 network stands for, where every client of it is folded to IPv4.
fn embedded_network(net: IpNet) -> Option<IpNet> {
    let prefix = net.prefix_len().checked_sub(96)?;
    match (net, ClientAddr::new(net.addr()).ip()) {
        (IpNet::V6(_), IpAddr::V4(v4)) => IpNet::new(v4.into(), prefix).ok().map(|net| net.trunc()),
        _ => None,
    }
}

/// A network of clients: IPv4 /32 or /24, IPv6 /64, /56 or /48. IPv4 is kept in its mapped form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientNet {
    bits: u128,
    prefix: u8,
}

impl ClientNet {
    fn masked(bits: u128, prefix: u8) -> Self {
        let host_bits = 128_u32.saturating_sub(u32::from(prefix));
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Self { bits: bits & mask, prefix }
    }

    /// The next wider network that clients share: IPv4 /32 to /24; IPv6 /64 to /56 to /48; then none.
    pub fn wider(self) -> Option<Self> {
        match self.prefix {
            128 => Some(Self::masked(self.bits, 120)),
            64 => Some(Self::masked(self.bits, 56)),
            56 => Some(Self::masked(self.bits, 48)),
            _ => None,
        }
    }

    /// The network of the site that it may be a part of: an IPv4 network is its own, an IPv6 site has a /48 (RFC 6177).
    pub fn site(self) -> Self {
        if self.prefix <= 64 { Self::masked(self.bits, self.prefix.min(48)) } else { self }
    }

    /// How many bits of the address name the network, counted in IPv6 terms (an IPv4 /32 is 128).
    pub fn prefix(self) -> u8 {
        self.prefix
    }
}

impl fmt::Display for ClientNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from(self.bits);
        match address.to_ipv4_mapped() {
            Some(v4) if self.prefix >= 96 => write!(f, "{v4}/{}", self.prefix.saturating_sub(96)),
            _ => write!(f, "{address}/{}", self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> ClientAddr {
        ClientAddr::new(text.parse().unwrap())
    }

    #[test]
    fn an_id_is_read_as_it_is_shown() {
        let id = ConnectionId::from_bytes([0x0a; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            "",
            "0a",
            "+a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
            "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
            "zz0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
        ] {
            assert!(text.parse::<ConnectionId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_session_id_is_a_uuid() {
        let text = "f81d4fae-7dec-41d0-a765-00a0c91e6bf6";
        let read = |text: &str| text.parse::<SessionId>().map(|id| id.to_string());
        assert_eq!(read(text), Ok(text.into()));
        assert_eq!(read(&text.to_uppercase()), Ok(text.into()));
        assert_eq!(SessionId::from_bytes([0; 16]).to_string(), "00000000-0000-4000-8000-000000000000");
        assert_eq!(SessionId::from_bytes([0xff; 16]).to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let wrong = [
            "",
            "f81d4fae7dec41d0a76500a0c91e6bf6",
            "f81d4fae-7dec-41d0-a765-00a0c91e6bf",
            "f81d4fae-7dec-41d0-a765-00a0c91e6bf66",
            "{f81d4fae-7dec-41d0-a765-00a0c91e6bf}",
            "f81d4fae-7dec-41d0-a76500-a0c91e6bf66",
            "+81d4fae-7dec-41d0-a765-00a0c91e6bf6",
            "f81d4fa\u{e9}-7dec-41d0-a765-00a0c91e6b6",
        ];
        for text in wrong {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_ipv4_address_in_every_notation_is_one_client() {
        let forms = ["1.2.3.4", "::ffff:1.2.3.4", "::ffff:102:304", "64:ff9b::1.2.3.4", "64:ff9b::102:304"];
        for form in forms {
            assert_eq!(client(form), client("1.2.3.4"), "{form}");
        }
        assert_ne!(client("::ffff:1.2.3.5").net(), client("1.2.3.4").net());
        assert_ne!(client("64:ff9c::102:304"), client("1.2.3.4"));
        assert_ne!(client("::1.2.3.4"), client("1.2.3.4"), "the deprecated compatible form is not folded");
    }

    #[test]
    fn a_site_is_one_network() {
        let site = |text: &str| client(text).net().site();
        let home = site("2001:db8:1:200::1");
        assert_eq!((home.to_string().as_str(), home.site()), ("2001:db8:1::/48", home));
        assert_eq!(site("2001:db8:1:2ff:3::4"), home);
        assert_ne!(site("2001:db8:2:200::1"), home);
        assert_eq!(site("203.0.113.7").to_string(), "203.0.113.7/32");
    }

    #[test]
    fn networks_widen_step_by_step() {
        let cases = [
            ("203.0.113.7", vec!["203.0.113.7/32", "203.0.113.0/24"]),
            ("2001:db8:1:2ff:3::4", vec!["2001:db8:1:2ff::/64", "2001:db8:1:200::/56", "2001:db8:1::/48"]),
        ];
        for (address, expected) in cases {
            let nets = std::iter::successors(Some(client(address).net()), |net| net.wider());
            assert_eq!(nets.map(|net| net.to_string()).collect::<Vec<_>>(), expected);
        }
    }
}
