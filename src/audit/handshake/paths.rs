//! Targets that two readers may read differently (RFC 3986 section 6, RFC 9112 section 3.2): most of them some service
//! takes for another path than the one that its gateway judged.

use super::{Request, Row};

/// What must be refused: a target has one form, and a path one spelling.
pub(super) const ROWS: &[Row] = &[
    (
        "HS17",
        "a target that names another authority",
        &[
            ("http", |r| whole(r, |target| [b"http://nobody.invalid", target].concat())),
            ("https", |r| whole(r, |target| [b"https://nobody.invalid", target].concat())),
        ],
    ),
    (
        "HS17",
        "a target for a proxy",
        &[
            ("CONNECT", |r| r.method("CONNECT").target("nobody.invalid:443")),
            ("an authority alone", |r| r.target("nobody.invalid:443")),
            ("an asterisk", |r| r.target("*")),
        ],
    ),
    (
        "HS18",
        "empty segments",
        &[
            ("in front", |r| path(r, |path| format!("/{path}"))),
            ("behind", |r| below(r, "//")),
            ("inside", |r| below(r, "//x")),
        ],
    ),
    (
        "HS18",
        "dot segments",
        &[
            ("here, in front", |r| path(r, |path| format!("/.{path}"))),
            ("down and up, in front", |r| path(r, |path| format!("/x/..{path}"))),
            ("here, behind", |r| below(r, "/.")),
            ("up, behind", |r| below(r, "/..")),
            ("up and elsewhere", |r| below(r, "/../admin")),
        ],
    ),
    (
        "HS18",
        "dots and slashes in code",
        &[
            ("a dot in front", |r| path(r, |path| format!("/%2e{path}"))),
            ("two dots", |r| below(r, "/%2e%2e/admin")),
            ("half of two dots", |r| below(r, "/.%2E/admin")),
            ("a slash", |r| below(r, "%2fx")),
            ("slashes around dots", |r| below(r, "/x%2f..%2fadmin")),
        ],
    ),
    (
        "HS18",
        "parameters of a segment",
        &[
            ("behind the path", |r| below(r, ";a=b")),
            ("behind a dot", |r| below(r, "/.;/admin")),
            ("behind two dots", |r| below(r, "/..;/admin")),
        ],
    ),
    (
        "HS18",
        "backslashes",
        &[
            ("one", |r| below(r, "\\x")),
            ("around dots", |r| below(r, "\\..\\admin")),
            ("in code", |r| below(r, "%5c..%5cadmin")),
        ],
    ),
    ("HS18", "a fragment", &[("a word", |r| below(r, "#x")), ("an empty one", |r| below(r, "#"))]),
    (
        "HS18",
        "letters in code",
        &[("the first letter of the path", first_letter), ("a letter behind it", |r| below(r, "/%41"))],
    ),
    (
        "HS18",
        "codes that are none",
        &[
            ("a percent alone", |r| below(r, "/%")),
            ("half a code", |r| below(r, "/%2")),
            ("letters that are no digits", |r| below(r, "/%zz")),
            ("four digits", |r| below(r, "/%u002e")),
        ],
    ),
    (
        "HS18",
        "bytes that are no text",
        &[
            ("NUL in code", |r| below(r, "%00")),
            ("a line end in code", |r| below(r, "/%0d%0aX-Injected:1")),
            ("a slash in too many bytes", |r| below(r, "/%c0%af")),
            ("no UTF-8 in code", |r| below(r, "/%ff")),
            ("a bare byte above ASCII", |r| whole(r, |target| [target, b"\x80"].concat())),
            ("a bare control byte", |r| whole(r, |target| [target, b"\x01"].concat())),
            ("DEL", |r| whole(r, |target| [target, b"\x7f"].concat())),
        ],
    ),
];

fn whole(request: Request, change: impl Fn(&[u8]) -> Vec<u8>) -> Request {
    let target = change(request.target_bytes());
    request.target(target)
}

/// Changes the path; the query, in which a token may travel, stays.
fn path(request: Request, change: impl Fn(&str) -> String) -> Request {
    let target = String::from_utf8_lossy(request.target_bytes()).into_owned();
    let changed = match target.split_once('?') {
        Some((path, query)) => format!("{}?{query}", change(path)),
        None => change(&target),
    };
    request.target(changed)
}

/// Writes something behind the path, which keeps no slash at its end.
fn below(request: Request, end: &str) -> Request {
    path(request, |path| {
        let path = path.strip_suffix('/').unwrap_or(path);
        // What is no slash stands behind the root as a segment of its own.
        let slash = if path.is_empty() && !end.starts_with('/') { "/" } else { "" };
        format!("{path}{slash}{end}")
    })
}

fn first_letter(request: Request) -> Request {
    path(request, |path| match path.char_indices().find(|(_, letter)| letter.is_ascii_alphanumeric()) {
        Some((at, letter)) => {
            let (before, rest) = path.split_at_checked(at).unwrap_or_default();
            let behind = rest.strip_prefix(letter).unwrap_or_default();
            format!("{before}%{:02x}{behind}", u32::from(letter))
        }
        None => format!("{path}%61"),
    })
}
