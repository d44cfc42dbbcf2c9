//! The request target: an origin-form (RFC 9112 section 3.2.1) whose path has exactly one spelling.
//!
//! The gateway routes on the bytes it was sent and forwards those bytes. That is safe only if the service behind
//! cannot read them as another path, so every form that some service normalizes is refused instead of normalized.

use std::fmt;

/// A canonical request target.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// The path, as sent.
    pub path: String,
    /// The query, as sent, without its `?`.
    pub query: Option<String>,
}

impl fmt::Debug for Target {
    /// The query may hold a token: it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why a request target is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetFlaw {
    /// It does not begin with `/`: absolute-form, authority-form or asterisk-form.
    Form,
    /// It has a fragment.
    Fragment,
    /// The path has an empty segment (`//`).
    EmptySegment,
    /// The path has a segment `.` or `..`.
    DotSegment,
    /// A character may not stand bare in a path (RFC 3986 section 3.3), or is `;`, which servers cut at.
    Character,
    /// A `%` is not followed by two digits of upper-case hexadecimal (RFC 3986 section 2.1).
    Triplet,
    /// A triplet stands for a character that needs none, for `/`, `\\`, a control character, or another triplet.
    Encoding,
    /// The decoded path is not UTF-8 (overlong forms and surrogates included).
    NotUtf8,
}

impl fmt::Display for TargetFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "the request target does not begin with /",
            Self::Fragment => "the request target has a fragment",
            Self::EmptySegment => "the path has an empty segment",
            Self::DotSegment => "the path has a dot segment",
            Self::Character => "a character may not stand bare in the path",
            Self::Triplet => "a % is not followed by two digits of upper-case hexadecimal",
            Self::Encoding => "a percent-encoded character may not be encoded",
            Self::NotUtf8 => "the decoded path is not UTF-8",
        })
    }
}

impl std::error::Error for TargetFlaw {}

impl Target {
    /// Splits a request target and judges its path. The query may be any visible ASCII but `#`, as browsers send it.
    pub fn parse(target: &str) -> Result<Self, TargetFlaw> {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        if target.contains('#') {
            return Err(TargetFlaw::Fragment);
        }
        judge_path(path)?;
        if query.is_some_and(|query| !query.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(TargetFlaw::Character);
        }
        Ok(Self { path: path.to_owned(), query: query.map(str::to_owned) })
    }
}

/// Whether a path is canonical: see [`TargetFlaw`] for what is not.
pub fn judge_path(path: &str) -> Result<(), TargetFlaw> {
    let segments = path.strip_prefix('/').ok_or(TargetFlaw::Form)?;
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => decode_triplet(bytes.next(), bytes.next())?,
            _ if byte == b'/' || stands_bare(byte) => byte,
            _ => return Err(TargetFlaw::Character),
        });
    }
    judge_segments(segments)?;
    let decoded = str::from_utf8(&decoded).map_err(|_| TargetFlaw::NotUtf8)?;
    if decoded.chars().any(char::is_control) || has_triplet(decoded) {
        return Err(TargetFlaw::Encoding);
    }
    Ok(())
}

fn judge_segments(segments: &str) -> Result<(), TargetFlaw> {
    let mut rest = segments.split('/').peekable();
    while let Some(segment) = rest.next() {
        match segment {
            "" if rest.peek().is_some() => return Err(TargetFlaw::EmptySegment),
            "." | ".." => return Err(TargetFlaw::DotSegment),
            _ => {}
        }
    }
    Ok(())
}

fn decode_triplet(high: Option<u8>, low: Option<u8>) -> Result<u8, TargetFlaw> {
    let digit = |byte: Option<u8>| match byte {
        Some(byte) if byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte) => char::from(byte).to_digit(16),
        _ => None,
    };
    let (Some(high), Some(low)) = (digit(high), digit(low)) else { return Err(TargetFlaw::Triplet) };
    let byte = u8::try_from(high << 4 | low).map_err(|_| TargetFlaw::Triplet)?;
    let hidden = is_unreserved(byte) || byte == b'/' || byte == b'\\' || byte.is_ascii_control();
    if hidden { Err(TargetFlaw::Encoding) } else { Ok(byte) }
}

/// A triplet within the decoded path: a service that decodes twice would read another path.
fn has_triplet(decoded: &str) -> bool {
    decoded.split('%').skip(1).any(|after| after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2)
}

/// `pchar` of RFC 3986 section 3.3 without `;`.
fn stands_bare(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,=:@".contains(&byte)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// One percent-decoding (RFC 3986 section 2.1) to text; `None` where an escape is broken or the bytes are not UTF-8.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
            let pair = digit()?.checked_mul(16)?.checked_add(digit()?)?;
            bytes.push(u8::try_from(pair).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: [(&str, TargetFlaw); 60] = [
        ("", TargetFlaw::Form),
        ("*", TargetFlaw::Form),
        ("chat", TargetFlaw::Form),
        ("http://other/ws", TargetFlaw::Form),
        ("other:443", TargetFlaw::Form),
        ("//ws", TargetFlaw::EmptySegment),
        ("//other/ws", TargetFlaw::EmptySegment),
        ("/a//b", TargetFlaw::EmptySegment),
        ("/a//", TargetFlaw::EmptySegment),
        ("/x/../ws", TargetFlaw::DotSegment),
        ("/ws/..", TargetFlaw::DotSegment),
        ("/ws/.", TargetFlaw::DotSegment),
        ("/./ws", TargetFlaw::DotSegment),
        ("/..", TargetFlaw::DotSegment),
        ("/ws/.;/admin", TargetFlaw::Character),
        ("/ws/..;/admin", TargetFlaw::Character),
        ("/ws;a=b", TargetFlaw::Character),
        ("/ws\\admin", TargetFlaw::Character),
        ("/ws/..\\admin", TargetFlaw::Character),
        ("/ws\"", TargetFlaw::Character),
        ("/ws<", TargetFlaw::Character),
        ("/ws|", TargetFlaw::Character),
        ("/ws^", TargetFlaw::Character),
        ("/ws`", TargetFlaw::Character),
        ("/ws[", TargetFlaw::Character),
        ("/ws{", TargetFlaw::Character),
        ("/ws b", TargetFlaw::Character),
        ("/ws\t", TargetFlaw::Character),
        ("/caf\u{e9}", TargetFlaw::Character),
        ("/%", TargetFlaw::Triplet),
        ("/%2", TargetFlaw::Triplet),
        ("/%zz", TargetFlaw::Triplet),
        ("/%2G", TargetFlaw::Triplet),
        ("/%+2", TargetFlaw::Triplet),
        ("/caf%c3%a9", TargetFlaw::Triplet),
        ("/%u002e", TargetFlaw::Triplet),
        ("/%2e%2e/ws", TargetFlaw::Triplet),
        ("/%2E%2E/ws", TargetFlaw::Encoding),
        ("/.%2E/ws", TargetFlaw::Encoding),
        ("/a%2fb", TargetFlaw::Triplet),
        ("/a%2Fb", TargetFlaw::Encoding),
        ("/..%2Fadmin", TargetFlaw::Encoding),
        ("/a%5Cb", TargetFlaw::Encoding),
        ("/a%00", TargetFlaw::Encoding),
        ("/a%0D%0AX:%20y", TargetFlaw::Encoding),
        ("/a%09", TargetFlaw::Encoding),
        ("/a%7F", TargetFlaw::Encoding),
        ("/%C2%85", TargetFlaw::Encoding),
        ("/%61dmin", TargetFlaw::Encoding),
        ("/%7Ea", TargetFlaw::Encoding),
        ("/%2D", TargetFlaw::Encoding),
        ("/%252E%252E/admin", TargetFlaw::Encoding),
        ("/%252e", TargetFlaw::Encoding),
        ("/%25%32%65", TargetFlaw::Encoding),
        ("/%C0%AE%C0%AE/admin", TargetFlaw::NotUtf8),
        ("/%C0%AF", TargetFlaw::NotUtf8),
        ("/%E0%80%AF", TargetFlaw::NotUtf8),
        ("/%ED%A0%80", TargetFlaw::NotUtf8),
        ("/%FF", TargetFlaw::NotUtf8),
        ("/%C3", TargetFlaw::NotUtf8),
    ];

    #[test]
    fn hs18_only_canonical_paths_pass() {
        let accepted = [
            "/",
            "/chat",
            "/chat/",
            "/a/b/c",
            "/socket.io/",
            "/a.b/..c",
            "/...",
            "/a-b_c~d",
            "/@a:b=c,d+e!$&'()*",
            "/caf%C3%A9",
            "/a%20b",
            "/%7C",
            "/a%40b",
            "/100%25",
            "/%3B",
            "/%F0%9F%98%80",
            "/a%3Fb",
            "/a%23b",
        ];
        for path in accepted {
            assert_eq!(judge_path(path), Ok(()), "{path}");
        }
        for (path, flaw) in REFUSED {
            assert_eq!(judge_path(path), Err(flaw), "{path}");
        }
    }

    #[test]
    fn a_query_is_what_browsers_send() {
        let cases = [
            ("/a", Some(("/a", None))),
            ("/a?", Some(("/a", Some("")))),
            ("/a?b=c&d=%zz;x|y^z`[]{}\\'\"<>/../?//", Some(("/a", Some("b=c&d=%zz;x|y^z`[]{}\\'\"<>/../?//")))),
            ("/a?b#c", None),
            ("/a#b", None),
            ("/a?b c", None),
            ("?a", None),
            ("//a?b", None),
        ];
        for (target, expected) in cases {
            let parsed = Target::parse(target).ok().map(|target| (target.path, target.query));
            let expected = expected.map(|(path, query)| (path.to_owned(), query.map(str::to_owned)));
            assert_eq!(parsed, expected, "{target}");
        }
    }
}
