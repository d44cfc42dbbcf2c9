//! Whether a server may be chosen: what its checks say, what handshakes met there, and how long it has been back.
//!
//! A server at which handshakes fail on end is ejected: nobody goes there for a time that doubles with each time on end.
//! Then one handshake at a time finds out whether it is back. What a client could bring about by what it asks for, an
//! answer that fails, counts once for each site that clients are of (an IPv4 address, an IPv6 /48) and once for each subject
//! that was proved, so that nobody alone has a sound server ejected, from however many addresses; a connection that fails is
//! nobody's doing but the server's. Nor does anybody alone keep one ejected: whose probe failed, or was broken off, leaves the
//! next one to others for a time, and makes no ejection longer that it had a part in.

use std::time::{Duration, Instant};

use super::order::Share;
use super::{EjectRules, HashKey, HealthRules};
use crate::peer::ClientNet;

/// Whose handshake it is: what one person can be told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    site: ClientNet,
    /// That of `issuer/subject`, where somebody was proved.
    subject: Option<HashKey>,
}

impl Client {
    /// Who comes from this network and was proved to be this subject.
    pub fn new(net: ClientNet, subject: Option<HashKey>) -> Self {
        Self { site: net.site(), subject }
    }

    /// Whether both may be one person.
    fn may_be(&self, other: &Self) -> bool {
        self.site == other.site || (self.subject.is_some() && self.subject == other.subject)
    }

    fn may_be_among(&self, others: &[Self]) -> bool {
        others.iter().any(|other| self.may_be(other))
    }
}

/// What is known of one server.
#[derive(Debug, Default)]
pub struct Condition {
    /// Whether its checks say so.
    is_down: bool,
    /// Checks on end that say otherwise.
    contrary: u32,
    /// Connections that failed since the last handshake that did not.
    failed_connects: u32,
    /// Whose handshakes failed since then behind the connection, no two of them the same person's; no more than failures
    /// eject it.
    failed_for: Vec<Client>,
    ejection: Option<Ejection>,
    /// Ejections on end.
    ejections: u32,
    /// When it came up, back or into the list; `None`: it was there from the beginning.
    risen: Option<Instant>,
}

/// A time in which nobody goes to a server.
#[derive(Debug)]
struct Ejection {
    until: Instant,
    /// Whether somebody finds out whether it is over.
    is_probed: bool,
    /// Who leaves the next probe to others, and until when; no more than failures eject a server.
    leaving: Vec<(Client, Instant)>,
    /// Whose failed answers brought it about or made it longer; no more than failures eject a server.
    blamed: Vec<Client>,
}

/// Whether a server may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Openness {
    /// By everybody.
    Open,
    /// By the one who finds out whether it is back.
    HalfOpen,
    /// By nobody; for how long, where that is known.
    Shut(Option<Duration>),
}

/// How somebody goes to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Like everybody.
    Plain,
    /// To find out whether it is back.
    Probe,
}

/// What somebody met at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// It answered as a server that is well does, be it with a refusal.
    Well,
    /// It could not be connected to.
    NoConnection,
    /// It was connected to, and answered too late, wrongly, not at all, or that it failed.
    NoAnswer,
    /// Nothing was learned: the failure was the gateway's own.
    Nothing,
    /// The client went away before anything was learned.
    BrokenOff,
}

/// What changed about a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its checks fail.
    Down,
    /// Its checks succeed again.
    Up,
    /// It is left alone for this long.
    Ejected(Duration),
    /// It answered a handshake again.
    Readmitted,
}

impl Condition {
    /// That of a server which was added while others were there.
    pub fn added(now: Instant) -> Self {
        Self { risen: Some(now), ..Self::default() }
    }

    /// Whether this client may choose it.
    pub fn openness(&self, client: Client, rules: Option<&EjectRules>, now: Instant) -> Openness {
        if self.is_down {
            return Openness::Shut(None);
        }
        let (Some(ejection), Some(_)) = (&self.ejection, rules) else { return Openness::Open };
        let left = ejection.until.saturating_duration_since(now);
        let leaves_it = ejection.leaving.iter().any(|(other, until)| client.may_be(other) && now < *until);
        match ejection.is_probed {
            _ if !left.is_zero() => Openness::Shut(Some(left)),
            true => Openness::Shut(None),
            false if leaves_it => Openness::Shut(None),
            false => Openness::HalfOpen,
        }
    }

    /// Whether its checks say that it is down.
    pub fn is_down(&self) -> bool {
        self.is_down
    }

    /// Whether everybody may choose it.
    pub fn is_open(&self) -> bool {
        !self.is_down && self.ejection.is_none()
    }

    /// Lets this client go there; `None`: it may not.
    pub fn enter(&mut self, client: Client, rules: Option<&EjectRules>, now: Instant) -> Option<Entry> {
        match self.openness(client, rules, now) {
            Openness::Open => Some(Entry::Plain),
            Openness::HalfOpen => {
                if let Some(ejection) = &mut self.ejection {
                    ejection.is_probed = true;
                }
                Some(Entry::Probe)
            }
            Openness::Shut(_) => None,
        }
    }

    /// Takes note of what this client met there. `random` shortens the time of an ejection by up to a quarter.
    pub fn leave(
        &mut self,
        entry: Entry,
        met: Met,
        client: Client,
        rules: Option<&EjectRules>,
        (now, random): (Instant, u32),
    ) -> Option<Change> {
        let Some(rules) = rules else {
            self.forget_ejection();
            return None;
        };
        match (entry, &mut self.ejection) {
            (Entry::Probe, Some(ejection)) => match met {
                Met::Nothing => {
                    ejection.is_probed = false;
                    None
                }
                Met::BrokenOff => {
                    ejection.is_probed = false;
                    ejection.leave_to_others(client, rules, (now, now + rules.time));
                    None
                }
                Met::Well => {
                    self.forget_ejection();
                    self.risen = Some(now);
                    Some(Change::Readmitted)
                }
                Met::NoConnection | Met::NoAnswer => Some(self.eject(rules, Some((client, met)), now, random)),
            },
            // Who went there before it was ejected learned nothing about now.
            (Entry::Plain, Some(_)) => None,
            (_, None) => {
                self.count(met, client, rules);
                let failures = self.failed_for.len().saturating_add(usize::try_from(self.failed_connects).ok()?);
                let is_too_many = usize::try_from(rules.failures).is_ok_and(|most| failures >= most);
                is_too_many.then(|| self.eject(rules, None, now, random))
            }
        }
    }

    fn count(&mut self, met: Met, client: Client, rules: &EjectRules) {
        match met {
            Met::Well => {
                self.failed_connects = 0;
                self.failed_for.clear();
            }
            Met::NoConnection => self.failed_connects = self.failed_connects.saturating_add(1).min(rules.failures),
            Met::NoAnswer if !client.may_be_among(&self.failed_for) => self.failed_for.push(client),
            Met::NoAnswer | Met::Nothing | Met::BrokenOff => {}
        }
    }

    /// Ejects it, after a probe of this client's that met this, or after failures on end.
    fn eject(&mut self, rules: &EjectRules, probe: Option<(Client, Met)>, now: Instant, random: u32) -> Change {
        let (leaving, mut blamed) = self.ejection.take().map(|it| (it.leaving, it.blamed)).unwrap_or_default();
        blamed.append(&mut self.failed_for);
        let asked = probe.filter(|(_, met)| *met == Met::NoAnswer).map(|(client, _)| client);
        // Who had a part in it makes it no longer by asking again.
        let is_longer = asked.is_none_or(|client| !client.may_be_among(&blamed));
        blamed.extend(asked.filter(|_| is_longer));
        keep_last(&mut blamed, rules);
        let was_well = self.risen.is_none_or(|risen| now.saturating_duration_since(risen) >= rules.longest);
        let is_first = probe.is_none() && was_well;
        let before = match (is_first, is_longer) {
            (true, _) => 0,
            (false, true) => self.ejections,
            (false, false) => self.ejections.saturating_sub(1),
        };
        self.ejections = before.saturating_add(1);
        let doubled = rules.time.saturating_mul(1_u32.checked_shl(before).unwrap_or(u32::MAX));
        let time = doubled.min(rules.longest);
        let time = time.saturating_sub(part(time / 4, random));
        self.failed_connects = 0;
        let mut ejection = Ejection { until: now + time, is_probed: false, leaving, blamed };
        if let Some((client, _)) = probe {
            ejection.leave_to_others(client, rules, (now, now + time + rules.time));
        }
        self.ejection = Some(ejection);
        Change::Ejected(time)
    }

    fn forget_ejection(&mut self) {
        self.ejection = None;
        self.failed_connects = 0;
        self.failed_for.clear();
    }

    /// Takes note of a check.
    pub fn checked(&mut self, is_well: bool, rules: &HealthRules, now: Instant) -> Option<Change> {
        if is_well != self.is_down {
            self.contrary = 0;
            return None;
        }
        self.contrary = self.contrary.saturating_add(1);
        let needed = if self.is_down { rules.rise } else { rules.fall };
        if self.contrary < needed {
            return None;
        }
        (self.contrary, self.is_down) = (0, !is_well);
        if is_well {
            self.risen = Some(now);
        }
        Some(if is_well { Change::Up } else { Change::Down })
    }

    /// Nobody checks it any longer: what checks said holds no longer either.
    pub fn forget_checks(&mut self) {
        (self.contrary, self.is_down) = (0, false);
    }

    /// How much of its share it gets.
    pub fn share(&self, slow_start: Duration, now: Instant) -> Share {
        let risen = self.risen.map(|risen| now.saturating_duration_since(risen)).filter(|age| *age < slow_start);
        let Some(age) = risen else { return Share::WHOLE };
        let thousandths = age.as_micros().saturating_mul(1000).checked_div(slow_start.as_micros());
        thousandths.map_or(Share::WHOLE, Share::thousandths)
    }
}

impl Ejection {
    /// Notes that this client leaves the next probe to others from `now` until then.
    fn leave_to_others(&mut self, client: Client, rules: &EjectRules, (now, until): (Instant, Instant)) {
        self.leaving.retain(|(other, until)| *other != client && now < *until);
        self.leaving.push((client, until));
        keep_last(&mut self.leaving, rules);
    }
}

/// Drops the oldest of more than eject a server.
fn keep_last<T>(list: &mut Vec<T>, rules: &EjectRules) {
    let most = usize::try_from(rules.failures).unwrap_or(usize::MAX).max(1);
    list.drain(..list.len().saturating_sub(most));
}

/// A random part of a time.
pub fn part(time: Duration, random: u32) -> Duration {
    let nanos = time.as_nanos().saturating_mul(u128::from(random)) >> 32;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
