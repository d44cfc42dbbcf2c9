//! Which pages may open a socket (RFC 6455 section 10.2): an exact allow-list, byte for byte.
//!
//! A browser sends the one serialization of its page's origin (RFC 6454 section 6.2), so equality is enough and
//! nothing that a client sends is parsed, decoded or folded. Referer and Host are never asked instead.

use std::collections::HashSet;
use std::fmt;

use super::refusal::{Reason, Refusal};
use super::route::may_hold_names;
use crate::ws::opening::Authority;

/// The `[origin]` table of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginRules {
    /// Listed origins.
    pub allow: OriginSet,
    /// What a handshake without Origin gets.
    pub missing: MissingOrigin,
}

impl OriginRules {
    /// Judges the value of a handshake's one Origin, or its absence.
    pub fn judge(&self, origin: Option<&str>, ambient: AmbientCredential) -> Result<AllowedOrigin, Refusal> {
        match (origin, self.missing, ambient) {
            (Some(origin), _, _) if self.allow.admits(origin) => Ok(AllowedOrigin(Some(origin.to_owned()))),
            (Some(origin), _, _) => Err(Refusal::new(Reason::OriginNotAllowed).with_detail(origin)),
            (None, MissingOrigin::Cookieless, AmbientCredential::None) => Ok(AllowedOrigin(None)),
            (None, _, _) => Err(Refusal::new(Reason::OriginMissing)),
        }
    }
}

/// Whether a handshake carries a credential that a browser adds for whoever asks: a cookie, HTTP authentication
/// other than a bearer token, or a client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmbientCredential {
    /// Nothing of the kind.
    None,
    /// At least one.
    Carried,
}

/// Listed origins: found in constant time whatever their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginSet {
    /// `https://app.example.com`, as a browser serializes it (RFC 6454 section 6.2).
    pub exact: HashSet<String>,
    /// `https://*.example.org`: kept as (`https://`, `.example.org`, port part) for exactly one label between.
    pub one_label: HashSet<OneLabelOrigin>,
    /// `danger_wildcard_origin`: any origin at all.
    pub any: bool,
}

impl OriginSet {
    /// Lists an origin as an operator writes it: the exact serialization, `https://*.example.org[:port]` for one
    /// label, or the literal `null`.
    pub fn insert(&mut self, written: &str) -> Result<(), OriginError> {
        if written == "null" {
            self.exact.insert(written.to_owned());
            return Ok(());
        }
        if !written.is_ascii() {
            return Err(OriginError::NotAscii(written.to_owned()));
        }
        let malformed = || OriginError::Malformed(written.to_owned());
        let (scheme, rest) = written.split_once("://").ok_or_else(malformed)?;
        let (wildcard, rest) = rest.strip_prefix("*.").map_or(("", rest), |rest| ("*.", rest));
        let (name, canonical) = canonical_host(scheme, rest).ok_or_else(malformed)?;
        let right = format!("{}://{wildcard}{canonical}", scheme.to_ascii_lowercase());
        if right != written {
            return Err(OriginError::NotCanonical { written: written.to_owned(), right });
        }
        if wildcard.is_empty() {
            self.exact.insert(right);
        } else if may_hold_names(&name) {
            self.one_label.insert(OneLabelOrigin { scheme: format!("{scheme}://"), suffix: format!(".{canonical}") });
        } else {
            return Err(OriginError::WildcardTooWide(written.to_owned()));
        }
        Ok(())
    }

    /// Whether a handshake's Origin is listed, byte for byte.
    pub fn admits(&self, origin: &str) -> bool {
        self.any || self.exact.contains(origin) || self.admits_by_label(origin)
    }

    fn admits_by_label(&self, origin: &str) -> bool {
        let split = || {
            let (scheme, host) = origin.split_once("://")?;
            let (label, rest) = host.split_once('.')?;
            let wild = OneLabelOrigin { scheme: format!("{scheme}://"), suffix: format!(".{rest}") };
            Some(is_label(label) && self.one_label.contains(&wild))
        };
        !self.one_label.is_empty() && split().unwrap_or(false)
    }
}

/// A wildcard origin: one label may stand between `scheme` and `suffix`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OneLabelOrigin {
    /// `https://`
    pub scheme: String,
    /// `.example.org` or `.example.org:8443`
    pub suffix: String,
}

/// What a handshake without Origin gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingOrigin {
    /// It passes only if nothing ambient came with it: no cookie, no Basic credentials, no client certificate.
    Cookieless,
    /// It is refused.
    Refuse,
}

/// Proof that a handshake's Origin was judged. Only this module makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigin(Option<String>);

impl AllowedOrigin {
    /// The Origin, where one came.
    pub fn value(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

#[cfg(test)]
impl AllowedOrigin {
    /// A witness for tests of other rooms.
    pub(crate) fn for_tests(origin: Option<&str>) -> Self {
        Self(origin.map(String::from))
    }
}

/// Why an origin cannot be listed; the text says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginError {
    /// It is not ASCII.
    NotAscii(String),
    /// It is no origin.
    Malformed(String),
    /// No browser writes it so.
    NotCanonical {
        /// As written.
        written: String,
        /// As browsers write it.
        right: String,
    },
    /// `*.` stands before a top-level domain or an address.
    WildcardTooWide(String),
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAscii(text) => {
                write!(f, "`{text}` is not ASCII: write its A-label, as browsers send it (\"https://xn--...\")")
            }
            Self::Malformed(text) if text == "*" => f.write_str(
                "`*` would let every page in: list the origins, or give the reason as `danger_wildcard_origin = \"...\"`",
            ),
            Self::Malformed(text) => write!(
                f,
                "`{text}` is not an origin: write \"https://app.example.com\", \"https://app.example.com:8443\", or \
                 \"https://*.example.com\" for one label; origins are compared byte for byte, there are no regexes"
            ),
            Self::NotCanonical { written, right } => write!(f, "`{written}` is sent as \"{right}\": write it so"),
            Self::WildcardTooWide(text) => {
                write!(f, "`{text}` is too wide: `*.` stands for one label before a name such as example.com")
            }
        }
    }
}

impl std::error::Error for OriginError {}

/// The host, and the host with its port, of an origin as browsers serialize it.
fn canonical_host(scheme: &str, rest: &str) -> Option<(String, String)> {
    let mut letters = scheme.bytes();
    let is_scheme = letters.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let host = rest.strip_suffix('/').unwrap_or(rest);
    if !is_scheme {
        return None;
    }
    if host.is_empty() {
        // Web views of packaged applications send `file://`.
        return (rest.is_empty() && scheme.eq_ignore_ascii_case("file")).then(Default::default);
    }
    let authority = Authority::parse(host).ok()?;
    let port = authority.port.filter(|port| default_port(scheme) != Some(*port));
    let canonical = port.map_or_else(|| authority.host.clone(), |port| format!("{}:{port}", authority.host));
    Some((authority.host, canonical))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(443),
        "http" | "ws" => Some(80),
        _ => None,
    }
}

/// A label as browsers write it: letters in lower case, digits, and hyphens that are neither first nor last.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests;
