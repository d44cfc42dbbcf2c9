//! `servers`: where a backend is, and where none may be.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::config::diagnostic::Code;
use crate::config::raw::List;
use crate::config::raw::words::{At, Text};
use crate::config::scope::Scope;
use crate::policy::forward::{Server, ServerHost};

/// The most servers of one policy.
const MOST_SERVERS: usize = 256;
const HELP: &str = "write servers = [\"ws://10.0.0.11:9001\"] or \"wss://chat.internal\", without path and query";

/// Builds the list of servers.
pub(super) fn build(written: &List<Text>, scope: &mut Scope<'_>, table: std::ops::Range<usize>) -> Vec<Server> {
    if written.as_ref().is_none_or(|list| list.get().is_empty()) {
        scope.missing("servers", written.as_ref().map(At::span).or(Some(table)), HELP);
    }
    let mut servers: Vec<Server> = Vec::new();
    for (name, span) in scope.list("servers", written, MOST_SERVERS) {
        let Some(server) = parse(&name) else {
            scope.error(Code::WrongValue, span, format!("`{name}` is not a server"), HELP);
            continue;
        };
        match &server.host {
            ServerHost::Address(address) if is_metadata(address.ip()) => {
                let help = "cloud machines hand out their own credentials there: name the service's own address";
                scope.error(Code::Danger, span.clone(), format!("`{name}` is a link-local or metadata address"), help);
            }
            ServerHost::Address(address) if !server.tls && is_public(address.ip()) => {
                let help = "use wss://, or a private network";
                scope.warning(
                    Code::Danger,
                    span.clone(),
                    format!("`{name}` crosses public networks without TLS"),
                    help,
                );
            }
            _ => {}
        }
        let same = |other: &Server| (other.tls, other.port, &other.host) == (server.tls, server.port, &server.host);
        if servers.iter().any(same) {
            scope.error(Code::Duplicate, span, format!("`{name}` is listed twice"), "one server is one entry");
        }
        servers.push(server);
    }
    servers
}

/// Reads `ws://host[:port]` or `wss://host[:port]`.
fn parse(name: &str) -> Option<Server> {
    let (tls, authority) = match name.split_once("://")? {
        ("ws", authority) => (false, authority),
        ("wss", authority) => (true, authority),
        _ => return None,
    };
    let default_port = if tls { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, decimal_port(port)?),
        _ => (authority, default_port),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address = match bracketed {
        Some(host) => Some(IpAddr::V6(host.parse().ok()?)),
        None => host.parse().ok().map(IpAddr::V4),
    };
    let host = match address {
        Some(ip) => ServerHost::Address(SocketAddr::new(ip, port)),
        None => ServerHost::Name(Some(host).filter(|host| is_host_name(host))?.to_owned()),
    };
    Some(Server { name: name.to_owned(), tls, host, port })
}

fn decimal_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|port| *port != 0)
}

/// A host name (RFC 1123 section 2.1) whose last label is no number: what looks like an address in another notation
/// (`0x7f.1`, `2130706433`) is none.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let number = last.starts_with(|first: char| first.is_ascii_digit());
    host.len() <= 253 && host.split('.').all(label) && !number
}

/// Link-local addresses (RFC 3927, RFC 4291 section 2.5.6) and those at which clouds hand out credentials.
fn is_metadata(ip: IpAddr) -> bool {
    const AMAZON: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast() || v6 == AMAZON,
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let carrier_grade = matches!(v4.octets(), [100, 64..=127, _, _]);
            !(v4.is_private() || v4.is_loopback() || carrier_grade || v4.is_documentation())
        }
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unique_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_read_strictly() {
        let good = [
            ("ws://10.0.0.11:9001", false, 9001),
            ("ws://10.0.0.11", false, 80),
            ("wss://chat.internal", true, 443),
            ("ws://[::1]:9001", false, 9001),
            ("wss://[2001:db8::1]", true, 443),
            ("ws://chat_backend:80", false, 80),
        ];
        for (name, tls, port) in good {
            let server = parse(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!((server.tls, server.port), (tls, port), "{name}");
        }
        let bad = [
            "",
            "ws://",
            "10.0.0.11:9001",
            "http://a:1",
            "ws://a:0",
            "ws://a:65536",
            "ws://a:+1",
            "ws://a/b",
            "ws://a?b",
            "ws://u@a",
            "ws://a b",
            "ws://[::1",
            "ws://::1",
            "ws://0x7f.1",
            "ws://2130706433",
            "ws://1.2.3",
            "ws://-a",
            "ws://a..b",
            "ws://a:",
        ];
        for name in bad {
            assert!(parse(name).is_none(), "{name}");
        }
    }

    #[test]
    fn be16_metadata_addresses_are_known() {
        for address in ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "fe80::1", "0.0.0.0", "::"] {
            assert!(is_metadata(address.parse().unwrap()), "{address}");
        }
        for address in ["10.0.0.1", "169.253.1.1", "fd00:ec2::255", "127.0.0.1", "2001:db8::1"] {
            assert!(!is_metadata(address.parse().unwrap()), "{address}");
        }
    }
}
