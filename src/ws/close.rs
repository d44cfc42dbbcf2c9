//! The body of a Close frame (RFC 6455 sections 5.5.1 and 7.4).

/// The code by which "no code was sent" is told; never sent itself (RFC 6455 section 7.4.1).
pub const NO_STATUS: u16 = 1005;

/// Why the body of a Close frame is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseError {
    /// One byte, or a code that may not be sent.
    Invalid,
    /// The reason is not UTF-8.
    NotUtf8,
}

/// A Close frame of this code as a server sends it.
pub fn frame(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [0x88, 2, high, low]
}

/// Whether an endpoint may send this code: 1000 to 1003, 1007 to 1014, 3000 to 4999.
pub fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Reads an unmasked body: its code, or `None` where the body is empty.
pub fn parse(body: &[u8]) -> Result<Option<u16>, CloseError> {
    if body.is_empty() {
        return Ok(None);
    }
    let (code, reason) = body.split_first_chunk::<2>().ok_or(CloseError::Invalid)?;
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        return Err(CloseError::Invalid);
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(CloseError::NotUtf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(code: u16, reason: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes(), reason].concat()
    }

    #[test]
    fn codes_that_may_not_be_sent() {
        // FR14: (wrong, mended)
        let pairs = [
            (0, 1000),
            (999, 1000),
            (1004, 1003),
            (1005, 1007),
            (1006, 1007),
            (1015, 1014),
            (1016, 1014),
            (2999, 3000),
            (5000, 4999),
            (u16::MAX, 4401),
        ];
        for (wrong, mended) in pairs {
            assert_eq!(parse(&body(wrong, b"")), Err(CloseError::Invalid), "FR14 {wrong}");
            assert_eq!(parse(&body(mended, b"")), Ok(Some(mended)), "FR14 {mended}");
        }
        assert_eq!((0..=u16::MAX).filter(|code| may_be_sent(*code)).count(), 4 + 8 + 2000);
    }

    #[test]
    fn bodies() {
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(&[0x03]), Err(CloseError::Invalid), "FR14: one byte");
        assert_eq!(parse(&body(1000, &[b'x'; 123])), Ok(Some(1000)));
        // Overlong, a surrogate, a cut code point; and each mended.
        let reasons: [(&[u8], &[u8]); 3] =
            [(&[0xC0, 0xAF], b"/"), (&[0xED, 0xA0, 0x80], "\u{d7ff}".as_bytes()), (&[0xE2, 0x82], "€".as_bytes())];
        for (wrong, mended) in reasons {
            assert_eq!(parse(&body(1000, wrong)), Err(CloseError::NotUtf8), "FR14 {wrong:x?}");
            assert_eq!(parse(&body(1000, mended)), Ok(Some(1000)));
        }
    }
}
