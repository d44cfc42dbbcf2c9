//! Which handshakes belong to a policy: hosts, paths and subprotocols.

use std::fmt;
use std::str::FromStr;

use crate::ws::call;
use crate::ws::opening::{Authority, TargetFlaw, judge_path};

/// The `[route]` table of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Hosts served, in lower case.
    pub hosts: Vec<HostPattern>,
    /// Paths served.
    pub paths: Vec<PathPattern>,
    /// Subprotocols that may be offered to the backend; `None`: whatever the client offers.
    pub subprotocols: Option<Vec<String>>,
}

/// `chat.example.com`, or `*.example.com` for exactly one label more. The port is not compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// Any one label before `.` and this host.
    OneLabelUnder(String),
}

impl HostPattern {
    /// Reads a host as an operator writes it: a name in lower case, an IPv4 address, an IPv6 address in brackets, or
    /// `*.` and a name of at least two labels (or `localhost`).
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        if !text.is_ascii() {
            return Err(HostPatternError::NotAscii(text.to_owned()));
        }
        let (name, wildcard) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        let authority = Authority::parse(name).map_err(|_| HostPatternError::Malformed(text.to_owned()))?;
        if authority.port.is_some() {
            return Err(HostPatternError::Port(text.to_owned()));
        }
        if authority.host != name {
            let right = if wildcard { format!("*.{}", authority.host) } else { authority.host };
            return Err(HostPatternError::NotCanonical { written: text.to_owned(), right });
        }
        match wildcard {
            false => Ok(Self::Exact(authority.host)),
            true if may_hold_names(name) => Ok(Self::OneLabelUnder(authority.host)),
            true => Err(HostPatternError::WildcardTooWide(text.to_owned())),
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        Self::parse(text)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::OneLabelUnder(host) => write!(f, "*.{host}"),
        }
    }
}

/// Whether one label may be wild before `name`, which is canonical: not before a top-level domain or an address.
pub(super) fn may_hold_names(name: &str) -> bool {
    let is_address = name.starts_with('[') || name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    !is_address && (name.contains('.') || name == "localhost")
}

/// Why a host of a policy is not accepted; the text says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPatternError {
    /// It is not ASCII.
    NotAscii(String),
    /// It is no host.
    Malformed(String),
    /// It has a port.
    Port(String),
    /// It is not written as hosts are compared.
    NotCanonical {
        /// As written.
        written: String,
        /// As it is compared.
        right: String,
    },
    /// `*.` stands before a top-level domain or an address.
    WildcardTooWide(String),
}

impl fmt::Display for HostPatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAscii(text) => {
                write!(f, "`{text}` is not ASCII: write its A-label, as browsers send it (\"xn--...\")")
            }
            Self::Malformed(text) => {
                write!(f, "`{text}` is not a host: write \"chat.example.com\", or \"*.example.com\" for one label more")
            }
            Self::Port(text) => write!(f, "`{text}` has a port: the port is not compared, so leave it out"),
            Self::NotCanonical { written, right } => write!(f, "`{written}` is compared as \"{right}\": write it so"),
            Self::WildcardTooWide(text) => {
                write!(f, "`{text}` is too wide: `*.` stands for one label before a name such as example.com")
            }
        }
    }
}

impl std::error::Error for HostPatternError {}

/// `/chat` exactly, or `/chat/*` for all below `/chat/`. The longest match wins; equals are an error at load.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path.
    Exact(String),
    /// Every path that begins with this prefix, which ends in `/`.
    Below(String),
}

impl PathPattern {
    /// Reads a path as an operator writes it: canonical, or such a path and `/*`.
    ///
    /// Characters that a client may send bare or encoded (`:` or `%3A`) are refused: the other spelling would slip
    /// past this pattern to a wider one, and the service behind would not see a difference.
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        let (path, below) = match text.strip_suffix('*') {
            Some(folder) if folder.ends_with('/') => (folder, true),
            _ => (text, false),
        };
        judge_path(path).map_err(|flaw| PathPatternError::NotCanonical { written: text.to_owned(), flaw })?;
        if path.starts_with(call::FOLDER) {
            return Err(PathPatternError::Ours(text.to_owned()));
        }
        if has_second_spelling(path) {
            return Err(PathPatternError::TwoSpellings(text.to_owned()));
        }
        Ok(if below { Self::Below(path.to_owned()) } else { Self::Exact(path.to_owned()) })
    }
}

impl FromStr for PathPattern {
    type Err = PathPatternError;

    fn from_str(text: &str) -> Result<Self, PathPatternError> {
        Self::parse(text)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Below(folder) => write!(f, "{folder}*"),
        }
    }
}

/// Whether a canonical path holds a character that may stand bare and encoded: `!$&'()*+,=:@`.
fn has_second_spelling(path: &str) -> bool {
    const BARE: &str = "!$&'()*+,=:@";
    const ENCODED: [&str; 12] = ["21", "24", "26", "27", "28", "29", "2A", "2B", "2C", "3D", "3A", "40"];
    path.contains(|character| BARE.contains(character))
        || path.split('%').skip(1).any(|after| ENCODED.iter().any(|digits| after.starts_with(digits)))
}

/// Why a path of a policy is not accepted; the text says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPatternError {
    /// No client's request can match it.
    NotCanonical {
        /// As written.
        written: String,
        /// What is wrong with it.
        flaw: TargetFlaw,
    },
    /// It holds a character that may stand bare and encoded.
    TwoSpellings(String),
    /// It is below `/.wsgate/`.
    Ours(String),
}

impl fmt::Display for PathPatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCanonical { written, flaw } => {
                write!(f, "`{written}` is not a path: {flaw}; write \"/chat\", or \"/chat/*\" for all below")
            }
            Self::Ours(written) => {
                write!(f, "`{written}` is the gateway's own: what is below {} is no policy's", call::FOLDER)
            }
            Self::TwoSpellings(written) => write!(
                f,
                "`{written}` holds a character that clients may also send percent-encoded (one of !$&'()*+,=:@): \
                 write the folder above it and `/*`"
            ),
        }
    }
}

impl std::error::Error for PathPatternError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_they_are_compared() {
        let accepted = ["chat.example.com", "localhost", "127.0.0.1", "[::1]", "my_service", "xn--bcher-kva.example"];
        for text in accepted {
            assert_eq!(HostPattern::parse(text), Ok(HostPattern::Exact(text.into())));
        }
        for (text, under) in [("*.example.com", "example.com"), ("*.localhost", "localhost")] {
            let pattern = HostPattern::parse(text);
            assert_eq!(pattern, Ok(HostPattern::OneLabelUnder(under.into())));
            assert_eq!(pattern.map(|pattern| pattern.to_string()), Ok(text.into()));
        }
        let refused = [
            ("Chat.example.com", "\"chat.example.com\""),
            ("*.Example.com", "\"*.example.com\""),
            ("[0:0::1]", "\"[::1]\""),
            ("chat.example.com:443", "port"),
            ("b\u{fc}cher.example", "A-label"),
            ("*", "\"*.example.com\""),
            ("*.com", "too wide"),
            ("*.10.0.0.1", "too wide"),
            ("*.[::1]", "too wide"),
            ("*.*.example.com", "is not a host"),
            ("a.*.example.com", "is not a host"),
            ("chat.example.com.", "is not a host"),
            ("https://chat.example.com", "is not a host"),
            ("", "is not a host"),
            ("^chat$", "is not a host"),
        ];
        for (text, says) in refused {
            let error = HostPattern::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn paths_are_read_as_they_are_compared() {
        let accepted = [
            "/",
            "/chat",
            "/chat/",
            "/*",
            "/chat/*",
            "/caf%C3%A9",
            "/socket.io/",
            "/a%20b/*",
            "/%3B",
            "/.wsgate",
            "/.wsgates/*",
        ];
        for text in accepted {
            assert_eq!(PathPattern::parse(text).map(|pattern| pattern.to_string()), Ok(text.into()));
        }
        assert_eq!(PathPattern::parse("/chat/*"), Ok(PathPattern::Below("/chat/".into())));
        assert_eq!(PathPattern::parse("/*"), Ok(PathPattern::Below("/".into())));
        let refused = [
            ("", "begin with /"),
            ("chat", "begin with /"),
            ("*", "begin with /"),
            ("/chat*", "percent-encoded"),
            ("/*/chat", "percent-encoded"),
            ("/@user", "percent-encoded"),
            ("/a%40b", "percent-encoded"),
            ("/a%3Ab/*", "percent-encoded"),
            ("/a//b", "empty segment"),
            ("/a/../b", "dot segment"),
            ("/a;b", "stand bare"),
            ("/a?b", "stand bare"),
            ("/caf\u{e9}", "stand bare"),
            ("/%61", "may not be encoded"),
            ("/.wsgate/ticket", "gateway's own"),
            ("/.wsgate/*", "gateway's own"),
        ];
        for (text, says) in refused {
            let error = PathPattern::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
