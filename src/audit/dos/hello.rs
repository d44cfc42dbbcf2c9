//! A ClientHello that costs nothing to make and a key exchange and a signature to answer (RFC 8446 section 4.1.2).
//!
//! Its key share is random bytes, which is a valid X25519 share. Nothing is ever derived from it.

use std::net::IpAddr;

use aws_lc_rs::rand;

/// A ClientHello for TLS 1.3 and 1.2 as one record; the name goes in SNI where it is no address.
pub(super) fn client_hello(name: &str) -> Vec<u8> {
    let mut random = [0; 96];
    // Without randomness every hello is the same, which is as good.
    let _ = rand::fill(&mut random);
    let (random, rest) = random.split_at(32);
    let (session, share) = rest.split_at(32);

    let mut hello = vec![0x03, 0x03];
    hello.extend_from_slice(random);
    hello.extend(short(session));
    // TLS 1.3 AES-128 and ChaCha20, then ECDHE with ECDSA and RSA for TLS 1.2.
    hello.extend(long(&[0x13, 0x01, 0x13, 0x03, 0xc0, 0x2b, 0xc0, 0x2f]));
    hello.extend(short(&[0]));

    let mut extensions = Vec::new();
    if name.parse::<IpAddr>().is_err() {
        extensions.extend(extension(0, &long(&[&[0], long(name.as_bytes()).as_slice()].concat())));
    }
    extensions.extend(extension(10, &long(&[0x00, 0x1d])));
    extensions.extend(extension(11, &short(&[0])));
    extensions.extend(extension(13, &long(&[0x04, 0x03, 0x05, 0x03, 0x08, 0x07, 0x08, 0x04, 0x08, 0x05, 0x04, 0x01])));
    extensions.extend(extension(16, &long(&short(b"http/1.1"))));
    extensions.extend(extension(43, &short(&[0x03, 0x04, 0x03, 0x03])));
    extensions.extend(extension(51, &long(&[&[0x00, 0x1d], long(share).as_slice()].concat())));
    hello.extend(long(&extensions));

    let message = [&[0x01, 0x00], long(&hello).as_slice()].concat();
    [&[0x16, 0x03, 0x01], long(&message).as_slice()].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().as_slice(), &long(body)].concat()
}

/// Bytes behind their length in one byte.
fn short(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    [&[length], bytes].concat()
}

/// Bytes behind their length in two.
fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [length.to_be_bytes().as_slice(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_takes_it_for_a_hello() {
        for (name, is_named) in [("chat.test", true), ("127.0.0.1", false), ("::1", false)] {
            let hello = client_hello(name);
            let mut acceptor = rustls::server::Acceptor::default();
            acceptor.read_tls(&mut hello.as_slice()).unwrap();
            let accepted = acceptor.accept().unwrap().expect("a whole ClientHello");
            let seen = accepted.client_hello();
            assert_eq!(seen.server_name(), is_named.then_some(name));
            assert_eq!(seen.alpn().unwrap().collect::<Vec<_>>(), [b"http/1.1"]);
            assert_ne!(hello, client_hello(name), "each has a share of its own");
        }
    }
}
