//! Which server takes a handshake, and which are left alone for a while.
//!
//! [`order`](order::order) chooses, [`Condition`](condition::Condition) says who may be chosen. Both are functions of
//! what they are told: counts, times and randomness come in as arguments.

use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use super::admission::Admission;
use super::credential::cookies_of_line;
use crate::peer::ClientAddr;

pub mod condition;
pub mod order;

/// How the servers of an upstream share its handshakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balancing {
    /// How one of them is chosen.
    pub balance: Balance,
    /// A server that was added, or came back, grows into its whole share over this time.
    pub slow_start: Duration,
    /// When a server that fails is left alone for a while; `None`: never.
    pub eject: Option<EjectRules>,
    /// How servers are asked whether they are well; `None`: they are not.
    pub health: Option<HealthRules>,
    /// What becomes of the sessions of a server that a reload takes out.
    pub removed: Orphans,
}

impl Default for Balancing {
    fn default() -> Self {
        Self {
            balance: Balance::RoundRobin,
            slow_start: Duration::from_secs(30),
            eject: Some(EjectRules::default()),
            health: None,
            removed: Orphans::Keep,
        }
    }
}

/// How a server is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest live sessions.
    LeastSessions,
    /// The one that belongs to something of the handshake.
    Hash(HashOn),
}

/// What of a handshake says to which server it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    /// The client's IPv4 address or IPv6 /64.
    Address,
    /// The verified subject.
    Subject,
    /// The cookie of this name.
    Cookie(String),
    /// The header of this name, in lower case.
    Header(String),
}

impl FromStr for HashOn {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':') {
            None if text == "address" => Ok(Self::Address),
            None if text == "subject" => Ok(Self::Subject),
            Some(("cookie", name)) => Ok(Self::Cookie(name.to_owned())),
            Some(("header", name)) => Ok(Self::Header(name.to_ascii_lowercase())),
            _ => Err(()),
        }
    }
}

/// When a server is left alone for a while because handshakes failed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EjectRules {
    /// Failures on end.
    pub failures: u32,
    /// The first time; each further one is twice as long.
    pub time: Duration,
    /// The longest time.
    pub longest: Duration,
}

impl Default for EjectRules {
    fn default() -> Self {
        Self { failures: 5, time: Duration::from_secs(10), longest: Duration::from_secs(300) }
    }
}

/// How a server is asked whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthRules {
    /// What is asked.
    pub check: Check,
    /// From the end of one check to the next; chance shortens it by up to a fifth.
    pub interval: Duration,
    /// For a whole check.
    pub timeout: Duration,
    /// Good checks on end that bring a server up.
    pub rise: u32,
    /// Bad checks on end that take it down.
    pub fall: u32,
    /// What becomes of the sessions of a server that goes down.
    pub down: Orphans,
}

/// What a check asks of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A connection, TLS included.
    Tcp,
    /// A whole 101 at this path.
    WebSocket(String),
}

/// What becomes of sessions whose server is no longer to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphans {
    /// They stay for as long as their server carries them.
    Keep,
    /// They are closed, so that their clients come back to another one.
    Close,
}

/// What a name, or something of a handshake, is hashed to: the same in every process and on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey(u64);

impl HashKey {
    /// The key of this text.
    pub fn of(text: &str) -> Self {
        let digest = digest(&SHA256, text.as_bytes());
        let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
        Self(u64::from_be_bytes(first))
    }

    /// The key by which this balance chooses; `None`: it chooses by none.
    pub fn asked_for(balance: &Balance, admission: &Admission, client: ClientAddr) -> Option<Self> {
        match balance {
            Balance::Hash(on) => Some(Self::of_handshake(on, admission, client)),
            Balance::RoundRobin | Balance::LeastSessions => None,
        }
    }

    /// The key of what `on` names; where the handshake does not have it, that of the client's network.
    fn of_handshake(on: &HashOn, admission: &Admission, client: ClientAddr) -> Self {
        let headers = &admission.opening.headers;
        let found = match on {
            HashOn::Address => None,
            HashOn::Subject => admission.principal.name(),
            HashOn::Cookie(name) => {
                let mut cookies = headers.all("cookie").flat_map(cookies_of_line).filter(|cookie| cookie.name == name);
                cookies.next().map(|cookie| cookie.pair.to_owned())
            }
            HashOn::Header(name) => headers.all(name).next().map(str::to_owned),
        };
        Self::of(&found.unwrap_or_else(|| client.net().to_string()))
    }
}

#[cfg(test)]
mod tests;
