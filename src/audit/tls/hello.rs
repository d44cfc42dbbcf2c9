//! The first message of a client (ClientHello), made by hand: no library offers what is tried here.

use aws_lc_rs::rand;

/// A version as TLS writes it (RFC 8446 section 4.2.1).
pub(super) mod version {
    pub(crate) const SSL2: u16 = 0x0002;
    pub(crate) const SSL3: u16 = 0x0300;
    pub(crate) const TLS10: u16 = 0x0301;
    pub(crate) const TLS11: u16 = 0x0302;
    pub(crate) const TLS12: u16 = 0x0303;
    pub(crate) const TLS13: u16 = 0x0304;
}

/// Extensions (IANA's registry of TLS extension types).
pub(super) mod extension {
    pub(crate) const SERVER_NAME: u16 = 0;
    pub(crate) const GROUPS: u16 = 10;
    pub(crate) const POINT_FORMATS: u16 = 11;
    pub(crate) const SIGNATURES: u16 = 13;
    pub(crate) const ALPN: u16 = 16;
    pub(crate) const PADDING: u16 = 21;
    pub(crate) const VERSIONS: u16 = 43;
    pub(crate) const PSK_MODES: u16 = 45;
    pub(crate) const KEY_SHARE: u16 = 51;
    pub(crate) const RENEGOTIATION_INFO: u16 = 0xff01;
}

/// What a sound TLS 1.2 client offers: ephemeral keys and authenticated encryption.
pub(super) const STRONG: &[u16] = &[0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8];

/// The suites of TLS 1.3.
const STRONG_13: &[u16] = &[0x1301, 0x1302, 0x1303];

/// x25519, secp256r1, secp384r1, secp521r1, ffdhe2048.
const GROUPS: &[u16] = &[0x001d, 0x0017, 0x0018, 0x0019, 0x0100];

/// What a certificate may be signed with, SHA-1 and PKCS #1 included: a hello must not fail for want of one.
const SIGNATURES: &[u16] =
    &[0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201];

/// The most of a fragment (RFC 8446 section 5.1).
const FRAGMENT_BYTES: usize = 1 << 14;

/// A ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// `client_version`, the legacy one in TLS 1.3.
    pub version: u16,
    /// What is offered.
    pub suites: Vec<u16>,
    /// 0 is none, 1 is DEFLATE.
    pub compressions: Vec<u8>,
    /// Types and bodies; `None`: not even their length, as before TLS 1.0.
    pub extensions: Option<Vec<(u16, Vec<u8>)>>,
}

impl Hello {
    /// A hello of TLS 1.0 to 1.2 for a server of this name.
    pub(super) fn before_13(version: u16, suites: &[u16], name: &str) -> Self {
        let mut extensions = named(name);
        extensions.extend([
            (extension::GROUPS, list_16(GROUPS)),
            (extension::POINT_FORMATS, vec![1, 0]),
            (extension::RENEGOTIATION_INFO, vec![0]),
        ]);
        if version == version::TLS12 {
            extensions.push((extension::SIGNATURES, list_16(SIGNATURES)));
        }
        Self { version, suites: suites.to_vec(), compressions: vec![0], extensions: Some(extensions) }
    }

    /// A hello that every sound server answers, of TLS 1.3 and 1.2.
    pub(super) fn sound(name: &str) -> Self {
        let suites = [STRONG_13, STRONG].concat();
        let mut hello = Self::before_13(version::TLS12, &suites, name);
        let share = [&[0x00, 0x1d, 0x00, 0x20], random().as_slice()].concat();
        for (kind, body) in [
            (extension::VERSIONS, vec![4, 3, 4, 3, 3]),
            (extension::PSK_MODES, vec![1, 1]),
            (extension::KEY_SHARE, prefixed_16(&share)),
        ] {
            hello.extend(kind, body);
        }
        hello
    }

    /// Adds an extension, or replaces the one of its kind.
    pub(super) fn extend(&mut self, kind: u16, body: Vec<u8>) {
        let extensions = self.extensions.get_or_insert_default();
        extensions.retain(|(other, _)| *other != kind);
        extensions.push((kind, body));
    }

    /// The handshake message.
    pub(super) fn message(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend_from_slice(&random());
        body.push(0);
        body.extend(list_16(&self.suites));
        body.extend(prefixed_8(&self.compressions));
        if let Some(extensions) = &self.extensions {
            let each = |(kind, body): &(u16, Vec<u8>)| [kind.to_be_bytes().to_vec(), prefixed_16(body)].concat();
            body.extend(prefixed_16(&extensions.iter().flat_map(each).collect::<Vec<u8>>()));
        }
        message(1, &body)
    }

    /// The message in as few records as it needs.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let record = self.version.clamp(version::SSL3, version::TLS10);
        self.message().chunks(FRAGMENT_BYTES).flat_map(|piece| record_of(22, record, piece)).collect()
    }
}

/// A hello as it costs a key exchange and a signature to answer, in one record: of TLS 1.3 and 1.2, for HTTP/1.1. Its key
/// share is random bytes, from which nothing is derived.
pub(in crate::audit) fn client_hello(name: &str) -> Vec<u8> {
    let mut hello = Hello::sound(name);
    hello.extend(extension::ALPN, prefixed_16(&prefixed_8(b"http/1.1")));
    hello.bytes()
}

/// A hello of SSL 2.0 that offers nothing later, as its draft writes it.
pub(super) fn ssl2() -> Vec<u8> {
    const KINDS: [[u8; 3]; 7] =
        [[1, 0, 0x80], [2, 0, 0x80], [3, 0, 0x80], [4, 0, 0x80], [5, 0, 0x80], [6, 0, 0x40], [7, 0, 0xc0]];
    let mut message = vec![1];
    message.extend_from_slice(&version::SSL2.to_be_bytes());
    message.extend_from_slice(&[0, 21, 0, 0, 0, 16]);
    message.extend_from_slice(KINDS.as_flattened());
    message.extend_from_slice(random().get(..16).unwrap_or_default());
    let length = u16::try_from(message.len()).unwrap_or_default() | 0x8000;
    [length.to_be_bytes().as_slice(), &message].concat()
}

/// A record (RFC 8446 section 5.1).
pub(super) fn record_of(kind: u8, version: u16, fragment: &[u8]) -> Vec<u8> {
    [&[kind], version.to_be_bytes().as_slice(), &prefixed_16(fragment)].concat()
}

/// The header of a handshake message that claims this length, and its body.
pub(super) fn claiming(kind: u8, length: u32, body: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = length.to_be_bytes();
    [&[kind], length.as_slice(), body].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    claiming(kind, u32::try_from(body.len()).unwrap_or(u32::MAX), body)
}

/// The body of `server_name` for these names as they are, whatever they are (RFC 6066 section 3).
pub(super) fn server_names(names: &[&[u8]]) -> Vec<u8> {
    prefixed_16(&names.iter().flat_map(|name| [vec![0], prefixed_16(name)].concat()).collect::<Vec<u8>>())
}

/// `server_name` where the name may stand there: an address may not.
fn named(name: &str) -> Vec<(u16, Vec<u8>)> {
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    let body = server_names(&[name.as_bytes()]);
    if is_address { Vec::new() } else { vec![(extension::SERVER_NAME, body)] }
}

fn prefixed_8(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap_or(u8::MAX)], bytes].concat()
}

fn prefixed_16(bytes: &[u8]) -> Vec<u8> {
    [u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes().as_slice(), bytes].concat()
}

fn list_16(words: &[u16]) -> Vec<u8> {
    prefixed_16(&words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>())
}

/// Randomness of a hello; also a public value of X25519, which may be any 32 bytes.
fn random() -> [u8; 32] {
    let mut bytes = [7; 32];
    // Without randomness the bytes are the same each time, which no server minds.
    let _ = rand::fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use rustls::server::Acceptor;

    use super::*;

    /// What rustls reads in it.
    fn read(hello: &[u8]) -> Result<(Option<String>, Vec<u16>), String> {
        let mut acceptor = Acceptor::default();
        let mut rest = hello;
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest).map_err(|error| error.to_string())?;
            if let Some(accepted) = acceptor.accept().map_err(|(error, _)| error.to_string())? {
                let hello = accepted.client_hello();
                let suites = hello.cipher_suites().iter().map(|suite| u16::from(*suite)).collect();
                return Ok((hello.server_name().map(String::from), suites));
            }
        }
        Err(String::from("half a hello"))
    }

    #[test]
    fn tl07_another_reader_understands_what_is_made_by_hand() {
        let (name, suites) = read(&Hello::sound("chat.test").bytes()).unwrap();
        assert_eq!(name.as_deref(), Some("chat.test"));
        assert_eq!(suites, [STRONG_13, STRONG].concat());
        let weak = Hello::before_13(version::TLS12, &[0x0005, 0x0004], "chat.test");
        assert_eq!(read(&weak.bytes()).unwrap().1, [0x0005, 0x0004]);
        assert_eq!(read(&Hello::sound("192.0.2.1").bytes()).unwrap().0, None);
        let mut cut = Hello::sound("chat.test").bytes();
        cut.truncate(cut.len() - 1);
        assert_eq!(read(&cut), Err(String::from("half a hello")));
    }

    #[test]
    fn a_hello_of_a_flood_is_whole_and_another_each_time() {
        for (name, is_named) in [("chat.test", true), ("127.0.0.1", false), ("::1", false)] {
            let hello = client_hello(name);
            let mut acceptor = Acceptor::default();
            acceptor.read_tls(&mut hello.as_slice()).unwrap();
            let accepted = acceptor.accept().unwrap().expect("a whole ClientHello");
            let seen = accepted.client_hello();
            assert_eq!(seen.server_name(), is_named.then_some(name));
            assert_eq!(seen.alpn().unwrap().collect::<Vec<_>>(), [b"http/1.1"]);
            assert_ne!(hello, client_hello(name), "each has a share of its own");
        }
    }

    #[test]
    fn tl04_a_long_hello_is_many_records() {
        let mut hello = Hello::sound("chat.test");
        hello.extend(extension::PADDING, vec![0; 60_000]);
        let bytes = hello.bytes();
        assert_eq!(bytes.len(), hello.message().len() + 4 * 5);
        assert!(read(&bytes).is_ok());
    }
}
