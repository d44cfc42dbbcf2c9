//! `Sec-WebSocket-Key` and the `Sec-WebSocket-Accept` that answers it (RFC 6455 sections 4.1 and 4.2.2).

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What every WebSocket server appends to the key (RFC 6455 section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of `Sec-WebSocket-Key`: 16 bytes in canonical base64 (RFC 6455 section 4.1, point 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketKey(String);

impl WebSocketKey {
    /// The key for these 16 random bytes.
    pub fn generate(random: [u8; 16]) -> Self {
        Self(STANDARD.encode(random))
    }

    /// Reads 24 characters that are the one base64 form (RFC 4648 section 4) of 16 bytes.
    pub fn parse(value: &str) -> Option<Self> {
        let decoded = if value.len() == 24 { STANDARD.decode(value).ok()? } else { return None };
        (decoded.len() == 16).then(|| Self(value.to_owned()))
    }

    /// The value as it stands in the field.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The value of `Sec-WebSocket-Accept` that proves that `key` was read (RFC 6455 section 4.2.2, point 5.4).
pub fn accept_for(key: &WebSocketKey) -> String {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{}{GUID}", key.0).as_bytes());
    STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hs09_only_sixteen_bytes_in_canonical_base64_are_a_key() {
        let cases = [
            ("dGhlIHNhbXBsZSBub25jZQ==", true),
            ("AAAAAAAAAAAAAAAAAAAAAA==", true),
            ("AAAAAAAAAAAAAAAAAAAAAB==", false),
            ("dGhlIHNhbXBsZSBub25jZR==", false),
            ("dGhlIHNhbXBsZSBub25jZQ", false),
            ("dGhlIHNhbXBsZSBub25jZQ= ", false),
            ("dGhlIHNhbXBsZSBub25j", false),
            ("AAAAAAAAAAAAAAAAAAAAAAA=", false),
            ("AAAAAAAAAAAAAAAAAAAAAAAA", false),
            ("-_-_AAAAAAAAAAAAAAAAAA==", false),
            ("+/+/AAAAAAAAAAAAAAAAAA==", true),
            ("dGhlIHNh XBsZSBub25jZQ==", false),
            ("", false),
            ("caf\u{e9}", false),
        ];
        for (value, expected) in cases {
            assert_eq!(WebSocketKey::parse(value).is_some(), expected, "{value}");
        }
        assert!(WebSocketKey::parse(&"A".repeat(65_536)).is_none());
    }

    #[test]
    fn the_accept_is_that_of_the_rfc() {
        let key = WebSocketKey::parse("dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(accept_for(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_ne!(accept_for(&WebSocketKey::generate([0; 16])), accept_for(&key));
    }

    proptest! {
        #[test]
        fn a_generated_key_is_read(random in any::<[u8; 16]>()) {
            let key = WebSocketKey::generate(random);
            prop_assert_eq!(WebSocketKey::parse(key.as_str()), Some(key));
        }
    }
}
