//! The value of `Host` (RFC 9110 section 7.2), read strictly.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of the longest `Host` that is read.
const MAX_BYTES: usize = 255;
/// Bytes of the longest label of a domain name (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// What the client asked for in `Host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// As sent: `Chat.example.com:8443`.
    pub raw: String,
    /// The host in lower case without port: `chat.example.com`, `[::1]`.
    pub host: String,
    /// The port, where one was sent.
    pub port: Option<u16>,
}

/// Why a `Host` is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidHost {
    /// None came.
    Missing,
    /// More than one came.
    Repeated,
    /// This one is neither a domain name of letters, digits, hyphens and underscores, nor an IPv4 address, nor an
    /// IPv6 address in brackets; or its port is no number from 1 to 65535. User information is left out.
    Malformed(String),
}

impl fmt::Display for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("Host is missing"),
            Self::Repeated => f.write_str("Host came more than once"),
            Self::Malformed(value) => write!(f, "`{value}` is no host with an optional port"),
        }
    }
}

impl std::error::Error for InvalidHost {}

impl Authority {
    /// Reads `host`, `host:port`, `[address]` or `[address]:port`.
    ///
    /// Narrower than RFC 3986 section 3.2: no user information, no percent-encoding, no empty port, no leading zero,
    /// no trailing dot, and a name whose last label is a number must be an IPv4 address in four decimal parts.
    pub fn parse(raw: &str) -> Result<Self, InvalidHost> {
        let parsed = if raw.len() <= MAX_BYTES { read(raw) } else { None };
        parsed.ok_or_else(|| InvalidHost::Malformed(without_user(raw).to_owned()))
    }
}

fn read(raw: &str) -> Option<Authority> {
    let (host, port) = match raw.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) = bracketed.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            (format!("[{address}]"), if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => {
            let (name, port) = raw.split_once(':').map_or((raw, None), |(name, port)| (name, Some(port)));
            (read_name(name)?, port)
        }
    };
    let port = match port {
        Some(digits) => Some(read_port(digits)?),
        None => None,
    };
    Some(Authority { raw: raw.to_owned(), host, port })
}

fn without_user(raw: &str) -> &str {
    raw.rsplit_once('@').map_or(raw, |(_user, host)| host)
}

fn read_name(name: &str) -> Option<String> {
    let is_label = |label: &str| {
        let bytes = 1..=MAX_LABEL;
        bytes.contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let ends_in_number = name.rsplit('.').next()?.bytes().all(|byte| byte.is_ascii_digit());
    let accepted = if ends_in_number { name.parse::<Ipv4Addr>().is_ok() } else { name.split('.').all(is_label) };
    accepted.then(|| name.to_ascii_lowercase())
}

fn read_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hs15_hosts_are_read_strictly() {
        let label = "a".repeat(63);
        let long = format!("{label}.{label}.{label}.{label}");
        assert_eq!(long.len(), 255);
        let accepted: [(&str, &str, Option<u16>); 9] = [
            ("chat.example.com", "chat.example.com", None),
            ("Chat.EXAMPLE.com:8443", "chat.example.com", Some(8443)),
            ("localhost:1", "localhost", Some(1)),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8:0:0::1]:443", "[2001:db8::1]", Some(443)),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
            ("my_service", "my_service", None),
            (&long, &long, None),
        ];
        for (raw, host, port) in accepted {
            let expected = Authority { raw: raw.into(), host: host.into(), port };
            assert_eq!(Authority::parse(raw), Ok(expected));
        }
        let over = format!("a{long}");
        let refused = [
            "",
            ":80",
            "a:",
            "a:0",
            "a:080",
            "a:65536",
            "a:+80",
            "a:8o",
            "a:80:80",
            "a b",
            "a/b",
            "a\\b",
            "u@a",
            "u:p@a",
            "a?",
            "a#",
            "a%61",
            "a..b",
            ".a",
            "a.",
            "a,b",
            "a;b",
            "127.1",
            "2130706433",
            "127.0.0.01",
            "127.0.0.256",
            "1.2.3.4.5",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:",
            "[fe80::1%25eth0]",
            "[127.0.0.1]",
            "[]",
            "a:80 ",
            "caf\u{e9}.example",
            &over,
        ];
        for raw in refused {
            assert_eq!(Authority::parse(raw), Err(InvalidHost::Malformed(without_user(raw).into())));
        }
        assert!(!format!("{:?}", Authority::parse("user:hunter2@a")).contains("hunter2"));
        assert_eq!(refused.len(), 37);
    }
}
