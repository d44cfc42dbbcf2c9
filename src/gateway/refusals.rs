//! The last refusals that clients were told of, for whoever asks why: a client shows its id, and the gateway knows the rest.
//!
//! Kept are those that were answered. A client that was dropped has no id to show, and a flood of such would wash out what
//! somebody asks for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::clock;
use crate::event::{Event, Observer, Refused, SharedObserver, Traffic};
use crate::peer::{ClientAddr, ConnectionId};
use crate::policy::refusal::Answer;
use crate::policy::revocation::order::show_time;
use crate::policy::{PolicyName, Reason};
use crate::session::Direction;
use crate::units::UnixSeconds;

/// How many are kept: 5 MiB at most, with every text at its bound.
pub(super) const MOST: usize = 4096;
/// Bytes of each text that are kept.
const LONGEST_TEXT: usize = 256;

/// Keeps refusals, and passes everything on.
pub(super) struct Refusals {
    last: Mutex<VecDeque<Told>>,
    next: SharedObserver,
}

/// A refusal, and the status of its answer.
struct Told {
    id: ConnectionId,
    at: UnixSeconds,
    reason: Reason,
    status: u16,
    client: Option<ClientAddr>,
    policy: Option<PolicyName>,
    generation: u64,
    age: Duration,
    subject: Option<Box<str>>,
    detail: Option<Box<str>>,
    path: Option<Box<str>>,
    origin: Option<Box<str>>,
}

impl Refusals {
    /// None yet; `next` is told of everything.
    pub(super) fn before(next: SharedObserver) -> Arc<Self> {
        Arc::new(Self { last: Mutex::default(), next })
    }

    /// What is known of the refusal with this id.
    pub(super) fn find(&self, id: ConnectionId) -> Option<Value> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().rev().find(|told| told.id == id).map(Told::as_json)
    }

    fn keep(&self, refused: &Refused) {
        let Answer::Status(status) = refused.reason.answer() else { return };
        if !refused.answered {
            return;
        }
        let told = Told::new(refused, status, clock::unix_now());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == MOST {
            last.pop_front();
        }
        last.push_back(told);
    }
}

impl Observer for Refusals {
    fn observe(&self, event: &Event) {
        if let Event::Refused(refused) = event {
            self.keep(refused);
        }
        self.next.observe(event);
    }

    fn traffic(&self, direction: Direction, delta: Traffic) {
        self.next.traffic(direction, delta);
    }

    fn untold(&self) -> u64 {
        self.next.untold()
    }
}

impl Told {
    fn new(refused: &Refused, status: u16, at: UnixSeconds) -> Self {
        let Refused { who, reason, detail, path, origin, age, .. } = refused;
        let bounded = |text: &Option<String>| {
            let text = text.as_deref()?;
            Some(Box::from(text.get(..text.floor_char_boundary(LONGEST_TEXT)).unwrap_or_default()))
        };
        Self {
            id: who.id,
            at,
            reason: *reason,
            status,
            client: who.client,
            policy: who.policy.clone(),
            generation: who.generation,
            age: *age,
            subject: bounded(&who.subject),
            detail: bounded(detail),
            path: bounded(path),
            origin: bounded(origin),
        }
    }

    fn as_json(&self) -> Value {
        json!({
            "id": self.id.to_string(),
            "at": show_time(self.at),
            "reason": self.reason.code(),
            "status": self.status,
            "why": self.reason.explanation(),
            "detail": self.detail,
            "client": self.client.map(|client| client.to_string()),
            "policy": self.policy.as_ref().map(PolicyName::as_str),
            "generation": self.generation,
            "subject": self.subject,
            "path": self.path,
            "origin": self.origin,
            "age_ms": u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Who;
    use crate::gateway::fixture::Deaf;

    fn id(number: usize) -> ConnectionId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        ConnectionId::from_bytes(bytes)
    }

    fn refused(number: usize, reason: Reason, answered: bool, text: &str) -> Event {
        let who = Who { id: id(number), client: None, policy: None, generation: 3, subject: None };
        let text = Some(text.to_owned());
        let (path, origin) = (text.clone(), text.clone());
        Event::Refused(Refused { who, reason, detail: text, path, origin, answered, age: Duration::ZERO })
    }

    #[test]
    fn rx17_the_last_ones_are_kept_and_no_more_of_them_than_is_needed() {
        let refusals = Refusals::before(Arc::new(Deaf));
        let long = format!("{}é", "x".repeat(LONGEST_TEXT - 1));
        for number in 0..=MOST {
            refusals.observe(&refused(number, Reason::OriginNotAllowed, true, &long));
            refusals.observe(&refused(MOST + 1 + number, Reason::AddressDenied, false, "dropped"));
            refusals.observe(&refused(2 * MOST + 2 + number, Reason::HandshakeQueue, false, "no room to answer"));
        }
        assert_eq!(refusals.find(id(0)), None, "the oldest one");
        for dropped in [MOST + 1, 3 * MOST + 2] {
            assert_eq!(refusals.find(id(dropped)), None, "one that was dropped unheard");
        }
        let found = refusals.find(id(1)).unwrap();
        assert_eq!((&found["reason"], &found["status"]), (&json!("origin_not_allowed"), &json!(403)));
        assert_eq!(found["path"].as_str().unwrap().len(), LONGEST_TEXT - 1, "cut between characters");
        assert!(refusals.find(id(MOST)).is_some());
        assert_eq!(refusals.last.lock().unwrap().len(), MOST);
    }
}
