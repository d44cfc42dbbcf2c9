//! Ways to prove who one is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::credential::Carrier;

pub mod algorithm;
pub mod claims;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod jwt;
pub mod key_file;
pub mod keys;
pub mod strict_json;
pub mod token;

/// One `[[auth]]` of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A JSON Web Token (RFC 7519).
    Jwt(JwtRules),
    /// A query token: a random word whose SHA-256 digest is in a file.
    Token(TokenRules),
    /// A ticket, bought with a token of one of the other ways.
    Ticket(TicketRules),
    /// The service behind judges for itself.
    Backend,
    /// Everybody (`danger_no_auth`).
    Open,
}

impl Auth {
    /// Where its token may travel; empty where it has none.
    pub fn from(&self) -> &[Carrier] {
        match self {
            Self::Jwt(rules) => &rules.from,
            Self::Token(rules) => &rules.from,
            Self::Ticket(rules) => &rules.from,
            Self::Backend | Self::Open => &[],
        }
    }
}

/// `by = "jwt"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRules {
    /// The `[issuer.NAME]` whose keys count.
    pub issuer: Arc<str>,
    /// Where the token may travel.
    pub from: Vec<Carrier>,
    /// At least one of these must be in `aud`.
    pub audience: Vec<String>,
    /// Claims that must be there.
    pub require: Vec<ClaimRule>,
    /// Where set, the header's `typ` must be this (case-insensitively, with or without `application/`).
    pub typ: Option<String>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// The longest life a token may have: from `iat`, or `nbf` where there is no `iat`, or its first use where there is
    /// neither, to `exp`.
    pub max_life: Duration,
}

/// One line of `require`: a JSON pointer and the words of which any one must be there.
///
/// A string claim holds a word if it is the word, or one of its space-separated words; a list claim if one of its
/// elements is the word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRule {
    /// `/realm_access/roles` (RFC 6901).
    pub pointer: String,
    /// Any of these.
    pub any_of: Vec<String>,
}

/// `by = "token"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// The watched file; also the key of its table in [`keys::Keys`].
    pub tokens: PathBuf,
    /// Where the token may travel.
    pub from: Vec<Carrier>,
}

/// `by = "ticket"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketRules {
    /// The query parameters in which a ticket may travel; nothing else travels there.
    pub from: Vec<Carrier>,
}
