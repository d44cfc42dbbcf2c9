//! Bodies of Close frames (RFC 6455 sections 5.5.1 and 7.4), good and bad.

/// Codes that may not be sent, or that nobody has defined.
const FORBIDDEN: [u16; 11] = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX];

/// Bodies that may not be sent: what is wrong with each, and its bytes.
pub(super) fn bad() -> Vec<(String, Vec<u8>)> {
    let mut bodies = vec![(String::from("a Close of one byte"), vec![3])];
    let codes = FORBIDDEN.iter().map(|code| (format!("a Close with code {code}"), code.to_be_bytes().to_vec()));
    bodies.extend(codes);
    let reasons: [(&str, &[u8]); 3] =
        [("overlong", &[0xc0, 0xaf]), ("a surrogate", &[0xed, 0xa0, 0x80]), ("cut short", &[0xe2, 0x82])];
    let reasons = reasons.iter().map(|(what, reason)| {
        (format!("a Close whose reason is no UTF-8: {what}"), [&1000_u16.to_be_bytes(), *reason].concat())
    });
    bodies.extend(reasons);
    bodies
}

/// Whether a body may be sent.
pub(super) fn may_be_sent(body: &[u8]) -> bool {
    match body.split_first_chunk::<2>() {
        None => body.is_empty(),
        Some((code, reason)) => {
            let code = u16::from_be_bytes(*code);
            (matches!(code, 1000..=1014 | 3000..=4999) && !matches!(code, 1004..=1006))
                && str::from_utf8(reason).is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bad_body_may_be_sent() {
        let bodies = bad();
        assert_eq!(bodies.len(), 15);
        for (what, body) in &bodies {
            assert!(!may_be_sent(body), "{what}");
        }
        for code in [1000_u16, 1003, 1007, 1014, 3000, 4401, 4999] {
            assert!(may_be_sent(&code.to_be_bytes()), "{code}");
        }
        assert!(may_be_sent(b""));
    }
}
