//! May this handshake come in? Pure judgements over what the client sent, what the operator wrote, and a time.
//!
//! [`screen`](screen::screen) judges host, path, Origin and subprotocol; [`authorize`](admission::authorize) judges the
//! credential. What they return are witness values that only they can make, so no check can be forgotten.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::session::SessionRules;

pub mod admission;
pub mod auth;
pub mod balance;
pub mod call;
pub mod credential;
pub mod forward;
pub mod origin;
pub mod quota;
pub mod refusal;
pub mod renewal;
pub mod revocation;
pub mod route;
pub mod screen;
pub mod standing;
pub mod ticket;

pub use refusal::{Reason, Refusal};

/// The name of a policy: its file's name without `.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyName(Arc<str>);

impl PolicyName {
    /// A name from a file's stem.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one service allows: one file of `policies/`, built and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The file's stem.
    pub name: PolicyName,
    /// Which handshakes are its own.
    pub route: route::Route,
    /// Where they go and what goes with them.
    pub upstream: forward::Upstream,
    /// Which pages may open a socket.
    pub origin: origin::OriginRules,
    /// How a page of a listed origin is told that its credential is refused.
    pub tell: screen::Telling,
    /// Ways to prove who one is; any one of them.
    pub auth: Vec<auth::Auth>,
    /// How many, how often, from where.
    pub quotas: quota::Quotas,
    /// What the session is held to.
    pub session: Arc<SessionRules>,
    /// What weakens it, with the operator's reason: key to reason.
    pub dangers: BTreeMap<String, String>,
}
