//! What both ends of an opening handshake need (RFC 6455, section 4): the end of a head, its fields, the accept value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The most bytes of a head.
pub(crate) const LONGEST_HEAD: usize = 16 * 1024;

/// What section 1.3 appends to a key before it is hashed.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
pub(crate) fn accept(key: &str) -> String {
    let mut sha1 = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    sha1.update(key.as_bytes());
    sha1.update(GUID);
    STANDARD.encode(sha1.finish())
}

/// The head at the front of `bytes`, its empty line included, and what follows it; nothing while it is not whole.
pub(crate) fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    bytes.split_at_checked(end + 4)
}

/// The value of the first field `name` of a head.
pub(crate) fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let of_line = |line: &'h str| line.split_once(':').filter(|(its, _)| its.eq_ignore_ascii_case(name));
    head.lines().skip(1).find_map(of_line).map(|(_, value)| value.trim())
}

/// Whether a field's list of words has `word`.
pub(crate) fn lists(head: &str, name: &str, word: &str) -> bool {
    field(head, name).is_some_and(|list| list.split(',').any(|its| its.trim().eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_the_one_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn fields_are_found_by_name_and_lists_by_word() {
        let head = "GET / HTTP/1.1\r\nHost: a:1\r\nconnection: keep-alive, Upgrade\r\n\r\n";
        assert_eq!(field(head, "host"), Some("a:1"));
        assert_eq!(field(head, "origin"), None);
        assert!(lists(head, "Connection", "upgrade"));
        assert!(!lists(head, "Connection", "close"));
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert_eq!(split_head(b"a\r\nb: c\r\n\r"), None);
        assert_eq!(split_head(b"a\r\nb: c\r\n\r\nrest"), Some((b"a\r\nb: c\r\n\r\n".as_slice(), b"rest".as_slice())));
    }
}
