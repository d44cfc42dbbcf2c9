//! Rules that change while a session lives.
//!
//! What goes on under a deadline keeps it: a frame that has begun, a ping that was sent, a closing handshake. Whatever is
//! judged next is judged by the rules as they are.

use std::sync::Arc;
use std::time::Instant;

use super::boundary::Ping;
use super::closing::Phase;
use super::deadlines::{Tick, Timer};
use super::{Cause, Session, SessionRules, Side, lease_jitter, shortened};

impl Session {
    /// Holds the session to these rules from here on. `credential_ends` is when its credential does; `None`: never.
    pub fn adopt(&mut self, rules: Arc<SessionRules>, credential_ends: Option<Instant>, now: Instant) {
        if self.phase == Phase::Closed {
            return;
        }
        let before = std::mem::replace(&mut self.rules, rules);
        self.adopt_age(&before, credential_ends);
        if self.phase != Phase::Open {
            return;
        }
        let rules = Arc::clone(&self.rules);
        let tick = self.tick(now);
        for side in Side::BOTH {
            let party = self.party_mut(side);
            party.limits.adopt(before.of(side), rules.of(side), tick);
            if party.outlet.ping == Ping::Idle {
                let due = party.heard.after(rules.ping_interval);
                self.deadlines.set(Timer::Liveness(side), due);
            }
        }
        self.deadlines.set(Timer::Idle, self.last_message.after(rules.idle_timeout));
        self.adopt_first_message(tick);
    }

    /// An end stays where it was unless what it is due to changed: its chance is drawn once.
    fn adopt_age(&mut self, before: &SessionRules, credential_ends: Option<Instant>) {
        let set = self.deadlines.at(Timer::Age);
        let oldest = match set.filter(|_| self.age == Cause::MaxAge) {
            Some(kept) if before.max_age == self.rules.max_age => kept,
            _ => Tick::START.after(self.rules.shortened_age(self.random)),
        };
        let lease = credential_ends.map(|end| {
            let span = end.saturating_duration_since(self.start);
            let (whole, most) = (Tick::START.after(span), lease_jitter(span));
            let is_of_this = |kept: &Tick| *kept <= whole && whole.since(*kept) <= most;
            let kept = set.filter(|_| self.age == Cause::CredentialExpired).filter(is_of_this);
            kept.unwrap_or_else(|| Tick::START.after(shortened(span, most, self.random)))
        });
        let (age, end) = match lease {
            Some(lease) if lease <= oldest => (Cause::CredentialExpired, lease),
            _ => (Cause::MaxAge, oldest),
        };
        self.age = age;
        self.deadlines.set(Timer::Age, end);
    }

    /// A client that has not spoken yet gets no later deadline than it has, and none where there is none any longer.
    fn adopt_first_message(&mut self, now: Tick) {
        match self.rules.first_message {
            None => self.deadlines.clear(Timer::FirstMessage),
            Some(span) if self.client.traffic.messages == 0 => {
                let end = now.after(span);
                let end = self.deadlines.at(Timer::FirstMessage).map_or(end, |kept| kept.min(end));
                self.deadlines.set(Timer::FirstMessage, end);
            }
            Some(_) => {}
        }
    }
}
