//! Access that was taken away before its time: which token, session, address or policy may come in no longer, and until
//! when.
//!
//! [`RevocationSet`] is data: whoever holds one asks it at a handshake, and again of every live session when an entry
//! comes. Each entry has an end, by which the last token that it is about has ended too, so a set does not grow for ever.
//! Looking costs a few lookups by hash, and for networks one for each length of prefix that is listed.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::auth::Auth;
use super::{Policy, PolicyName, Reason, Refusal};
use crate::peer::{ClientAddr, ConnectionId};
use crate::units::UnixSeconds;

pub mod list;
pub mod order;
#[cfg(test)]
mod tests;

/// The most entries of a set.
pub const MOST_ENTRIES: usize = 10_000;
/// The most bytes of a subject, an issuer's name, a token's id or a policy's name.
pub const MAX_WORD: usize = 256;

const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// The words for what may be revoked, as calls, files and answers have them.
pub const KINDS: [&str; 6] = ["subject", "token_id", "session", "address", "policy", "deny"];

/// Who or what may come in no longer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A subject; of one issuer, or of every issuer that has one of this name.
    Subject {
        /// `sub`.
        subject: Box<str>,
        /// The issuer's name in gateway.toml, or `tokens:` and a token file's stem.
        issuer: Option<Box<str>>,
    },
    /// One token.
    TokenId {
        /// `jti`.
        id: Box<str>,
        /// As for a subject.
        issuer: Option<Box<str>>,
    },
    /// One session.
    Session(ConnectionId),
    /// Whoever comes from a network; told so, with a status.
    Address(IpNet),
    /// Everybody, on one policy.
    Policy(PolicyName),
    /// Whoever comes from a network; dropped before TLS, as by `[address] deny`.
    Denial(IpNet),
}

/// A target, and the times between which it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who or what.
    pub target: Target,
    /// Of a subject's tokens, those that were issued at or before this second, and those that do not say; `None`: all.
    pub since: Option<UnixSeconds>,
    /// From this second on the entry says nothing.
    pub until: UnixSeconds,
}

/// What a handshake or a session is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'f> {
    /// Its id.
    pub session: ConnectionId,
    /// Where it comes from.
    pub client: ClientAddr,
    /// The policy that it falls under.
    pub policy: &'f PolicyName,
    /// Whose token it came with, where somebody was proved.
    pub holder: Option<Holder<'f>>,
}

/// Whose token a handshake came with.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'f> {
    /// The issuer's name.
    pub issuer: &'f str,
    /// `sub`.
    pub subject: &'f str,
    /// `iat`, where the token says.
    pub issued_at: Option<UnixSeconds>,
    /// `jti`, where the token says.
    pub token_id: Option<&'f str>,
}

/// What is revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevocationSet {
    times: HashMap<Target, Times>,
    /// The lengths of IPv4 and of IPv6 prefixes among the targets.
    prefixes: [BTreeSet<u8>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    since: Option<UnixSeconds>,
    until: UnixSeconds,
}

/// A set that has no room for another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MOST_ENTRIES} entries hold already: lift some, wait for their end, or revoke by policy or network")
    }
}

impl std::error::Error for Full {}

/// The longest life that a token may have under these policies, by which an entry has outlived every token that it is
/// about; a day where none asks for tokens that say.
pub fn longest_life<'p>(policies: impl Iterator<Item = &'p Policy>) -> Duration {
    let lives = policies.flat_map(|policy| policy.auth.iter()).filter_map(|way| match way {
        Auth::Jwt(rules) => Some(rules.max_life.saturating_add(rules.leeway)),
        Auth::Token(_) | Auth::Ticket(_) | Auth::Backend | Auth::Open => None,
    });
    lives.max().unwrap_or(A_DAY)
}

impl RevocationSet {
    /// Adds an entry. Of two with the same target one is kept, which reaches as far as both; that one is returned.
    pub fn insert(&mut self, entry: Entry) -> Result<Entry, Full> {
        let Entry { target, since, until } = entry;
        let times = match self.times.get(&target) {
            // No time at all reaches the furthest.
            Some(known) => {
                Times { since: known.since.and_then(|known| Some(known.max(since?))), until: known.until.max(until) }
            }
            None if self.times.len() >= MOST_ENTRIES => return Err(Full),
            None => Times { since, until },
        };
        self.note_prefix(&target);
        self.times.insert(target.clone(), times);
        Ok(Entry { target, since: times.since, until: times.until })
    }

    /// Takes an entry out; whether there was one.
    pub fn lift(&mut self, target: &Target) -> bool {
        self.times.remove(target).is_some()
    }

    /// Takes out the entries whose time is over.
    pub fn prune(&mut self, now: UnixSeconds) {
        if self.has_ended(now) {
            self.times.retain(|_, times| now < times.until);
            self.prefixes = Default::default();
            for target in self.times.keys().cloned().collect::<Vec<_>>() {
                self.note_prefix(&target);
            }
        }
    }

    /// Whether the time of an entry is over.
    pub fn has_ended(&self, now: UnixSeconds) -> bool {
        self.times.values().any(|times| times.until <= now)
    }

    /// Whether every entry of `other` is one of this set that reaches as far.
    pub fn includes(&self, other: &Self) -> bool {
        other.times.iter().all(|(target, theirs)| {
            self.times.get(target).is_some_and(|ours| {
                let since = ours.since.is_none_or(|ours| theirs.since.is_some_and(|theirs| theirs <= ours));
                since && theirs.until <= ours.until
            })
        })
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Every entry, in the order of their targets.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self
            .times
            .iter()
            .map(|(target, times)| Entry { target: target.clone(), since: times.since, until: times.until })
            .collect();
        entries.sort_by(|a, b| a.target.cmp(&b.target));
        entries
    }

    /// Whether connections of this client are dropped.
    pub fn denies(&self, client: ClientAddr, now: UnixSeconds) -> bool {
        self.covers(client, now, Target::Denial)
    }

    /// Judges a handshake whose credential holds, or a live session.
    pub fn judge(&self, facts: &Facts<'_>, now: UnixSeconds) -> Result<(), Refusal> {
        if self.times.is_empty() {
            return Ok(());
        }
        let refuse = |reason: Reason, what: &str| Err(Refusal::new(reason).with_detail(what));
        if self.denies(facts.client, now) || self.covers(facts.client, now, Target::Address) {
            return refuse(Reason::AccessRevoked, "its address");
        }
        if self.holds(&Target::Policy(facts.policy.clone()), now) {
            return refuse(Reason::AccessRevoked, "its policy");
        }
        if self.holds(&Target::Session(facts.session), now) {
            return refuse(Reason::AccessRevoked, "its session");
        }
        let Some(holder) = &facts.holder else { return Ok(()) };
        if self.names(now, holder, |issuer| Target::Subject { subject: holder.subject.into(), issuer }) {
            return refuse(Reason::CredentialRevoked, "its subject");
        }
        let by_id = |id: &str| self.names(now, holder, |issuer| Target::TokenId { id: id.into(), issuer });
        if holder.token_id.is_some_and(by_id) {
            return refuse(Reason::CredentialRevoked, "its token");
        }
        Ok(())
    }

    /// Whether the target, of the holder's issuer or of any, is an entry that reaches the holder's token.
    fn names(&self, now: UnixSeconds, holder: &Holder<'_>, target: impl Fn(Option<Box<str>>) -> Target) -> bool {
        [None, Some(holder.issuer.into())].into_iter().filter_map(|issuer| self.times.get(&target(issuer))).any(
            |times| {
                let reaches = times.since.is_none_or(|since| holder.issued_at.is_none_or(|issued| issued <= since));
                reaches && now < times.until
            },
        )
    }

    fn holds(&self, target: &Target, now: UnixSeconds) -> bool {
        self.times.get(target).is_some_and(|times| now < times.until)
    }

    fn covers(&self, client: ClientAddr, now: UnixSeconds, target: fn(IpNet) -> Target) -> bool {
        let address = client.ip();
        let mut nets = self.prefixes_of(address).iter().filter_map(|length| IpNet::new(address, *length).ok());
        nets.any(|net| self.holds(&target(net.trunc()), now))
    }

    fn prefixes_of(&self, address: IpAddr) -> &BTreeSet<u8> {
        let [v4, v6] = &self.prefixes;
        if address.is_ipv4() { v4 } else { v6 }
    }

    fn note_prefix(&mut self, target: &Target) {
        if let Target::Address(net) | Target::Denial(net) = target {
            let [v4, v6] = &mut self.prefixes;
            let lengths = if net.addr().is_ipv4() { v4 } else { v6 };
            lengths.insert(net.prefix_len());
        }
    }
}

impl Target {
    /// The word for its kind, as calls, files and answers have it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Subject { .. } => "subject",
            Self::TokenId { .. } => "token_id",
            Self::Session(_) => "session",
            Self::Address(_) => "address",
            Self::Policy(_) => "policy",
            Self::Denial(_) => "deny",
        }
    }

    /// What it is, without its kind and its issuer.
    pub fn value(&self) -> String {
        match self {
            Self::Subject { subject: word, .. } | Self::TokenId { id: word, .. } => word.to_string(),
            Self::Session(id) => id.to_string(),
            Self::Address(net) | Self::Denial(net) => net.to_string(),
            Self::Policy(name) => name.to_string(),
        }
    }

    /// Whose subject or token it is, where only one issuer's is meant.
    pub fn issuer(&self) -> Option<&str> {
        match self {
            Self::Subject { issuer, .. } | Self::TokenId { issuer, .. } => issuer.as_deref(),
            Self::Session(_) | Self::Address(_) | Self::Policy(_) | Self::Denial(_) => None,
        }
    }

    /// Reads a target of this kind. `None`: there is no such kind; an error says what would be right.
    fn read(kind: &str, value: &str, issuer: Option<&str>) -> Option<Result<Self, String>> {
        let word = || is_word(value).then(|| Box::from(value)).ok_or_else(|| not_a_word(kind));
        let issuer = || issuer.map(Box::from);
        Some(match kind {
            "subject" => word().map(|subject| Self::Subject { subject, issuer: issuer() }),
            "token_id" => word().map(|id| Self::TokenId { id, issuer: issuer() }),
            "session" => value.parse().map(Self::Session).map_err(|_| String::from("an id has 32 hexadecimal digits")),
            "address" => network(value).map(Self::Address),
            "policy" => word().map(|name: Box<str>| Self::Policy(PolicyName::new(&name))),
            "deny" => network(value).map(Self::Denial),
            _ => return None,
        })
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_WORD && !text.chars().any(char::is_control)
}

fn not_a_word(what: &str) -> String {
    format!("`{what}` has 1 to {MAX_WORD} bytes without control characters")
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(ClientAddr::new(address).ip())),
        Err(_) => crate::peer::parse_network(text),
    }
}
