//! What is known of a connection while it is on its way, and the one record that tells of it.
//!
//! A visit reports when it is refused, opened and closed. One that is dropped without having reported was ended by a
//! panic or by the end of the drain, and says so: every connection leaves exactly one refusal or one closure.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::sessions::Resident;
use super::{End, random};
use crate::event::{Answered, By, Closure, Event, Level, Notice, Opened, Refused, SharedObserver, Who};
use crate::peer::{ClientAddr, ConnectionId};
use crate::policy::admission::Principal;
use crate::policy::refusal::Answer;
use crate::policy::{PolicyName, Reason, Refusal};
use crate::session::{Cause, Ended};
use crate::ws::head::RequestHead;

/// A connection on its way to a session.
pub(super) struct Visit {
    observer: SharedObserver,
    end: End,
    pub(super) peer: IpAddr,
    charged: Option<ClientAddr>,
    accepted_at: Instant,
    who: Who,
    path: Option<String>,
    origin: Option<String>,
    reported: bool,
}

impl Visit {
    /// A connection was accepted.
    pub(super) fn begin(observer: &SharedObserver, end: &End, peer: IpAddr) -> Self {
        // Ids only bring log lines together; where the generator fails the first check that needs it refuses.
        let id = ConnectionId::from_bytes(random::bytes().unwrap_or_default());
        Self {
            observer: Arc::clone(observer),
            end: end.clone(),
            peer,
            charged: None,
            accepted_at: Instant::now(),
            who: Who { id, client: None, policy: None, generation: 0, subject: None },
            path: None,
            origin: None,
            reported: false,
        }
    }

    pub(super) fn id(&self) -> ConnectionId {
        self.who.id
    }

    /// The time by which it must be answered with a 101.
    pub(super) fn deadline(&self, total: Duration) -> Instant {
        self.accepted_at + total
    }

    pub(super) fn client_is(&mut self, client: ClientAddr) {
        self.who.client = Some(client);
    }

    /// What the head asks for, before anybody has judged it. What may hold a token is left out: the query however it is
    /// begun, parameters, and who stands before an `@`.
    pub(super) fn asks_for(&mut self, head: &RequestHead) {
        let plain = head.target.split(['?', '#', ';']).next().unwrap_or_default();
        let end = plain.to_ascii_lowercase().find("%3f").unwrap_or(plain.len());
        self.path = plain.get(..end).filter(|path| path.starts_with('/')).map(str::to_owned);
        let origin = head.headers.all("origin").next().filter(|origin| !origin.contains('@'));
        self.origin = origin.map(str::to_owned);
    }

    /// The policy version that judges it from here on.
    pub(super) fn is_judged_by(&mut self, generation: u64) {
        self.who.generation = generation;
    }

    pub(super) fn falls_under(&mut self, policy: &PolicyName) {
        self.who.policy = Some(policy.clone());
    }

    /// The client's address is the one that its connection and its attempts are charged to.
    pub(super) fn charge_to(&mut self, client: ClientAddr) {
        self.charged = Some(client);
    }

    /// Whose address is charged; `None` for a trusted proxy that speaks for itself.
    pub(super) fn charged(&self) -> Option<ClientAddr> {
        self.charged
    }

    /// The policy version that judged it.
    pub(super) fn generation(&self) -> u64 {
        self.who.generation
    }

    /// The client, once known; the peer until then.
    pub(super) fn client(&self) -> ClientAddr {
        self.who.client.unwrap_or_else(|| ClientAddr::new(self.peer))
    }

    /// `issuer/subject`, once proved.
    pub(super) fn subject(&self) -> Option<&str> {
        self.who.subject.as_deref()
    }

    pub(super) fn proved_to_be(&mut self, principal: &Principal) {
        self.who.subject = principal.name();
    }

    /// Reports a refusal that the client is told of, if its reason has an answer; the visit is over.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.report(refusal, refusal.reason.answer() != Answer::Drop);
    }

    /// Reports a refusal that the client is not told of; the visit is over.
    pub(super) fn dropped(&mut self, refusal: &Refusal) {
        self.report(refusal, false);
    }

    fn report(&mut self, refusal: &Refusal, answered: bool) {
        self.reported = true;
        if refusal.reason == Reason::Internal {
            tell_bug(&self.observer, self.who.id, refusal.detail.as_deref());
        }
        self.observer.observe(&Event::Refused(Refused {
            who: self.who.clone(),
            reason: refusal.reason,
            detail: refusal.detail.clone(),
            path: self.path.take(),
            origin: self.origin.take(),
            answered,
            age: self.accepted_at.elapsed(),
        }));
    }

    /// Reports that a call to the gateway itself was answered with what it asked for; the visit is over.
    pub(super) fn answered(&mut self, call: &'static str) {
        self.reported = true;
        self.observer.observe(&Event::Answered(Answered {
            who: self.who.clone(),
            call,
            origin: self.origin.take(),
            age: self.accepted_at.elapsed(),
        }));
    }

    /// Reports that the 101 is about to be written; what follows is reported by the stay.
    pub(super) fn opened(mut self, resident: &Arc<Resident>, subprotocol: Option<String>) -> Stay {
        self.reported = true;
        // From here on the stay tells of the end, even where telling of the beginning panics.
        let stay = Stay {
            observer: Arc::clone(&self.observer),
            end: self.end.clone(),
            resident: Arc::clone(resident),
            reported: false,
        };
        self.observer.observe(&Event::Opened(Opened {
            who: self.who.clone(),
            path: self.path.take().unwrap_or_default(),
            origin: self.origin.take(),
            server: resident.server.as_ref().into(),
            subprotocol,
            admission: self.accepted_at.elapsed(),
        }));
        stay
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if !self.reported {
            let cut = if self.end.is_cancelled() { Reason::Draining } else { Reason::Internal };
            self.dropped(&cut.into());
        }
    }
}

/// A session's time in the house.
pub(super) struct Stay {
    observer: SharedObserver,
    end: End,
    resident: Arc<Resident>,
    reported: bool,
}

impl Stay {
    /// Reports how the session ended.
    pub(super) fn closed(mut self, ended: &Ended) {
        self.report(ended);
    }

    fn report(&mut self, ended: &Ended) {
        self.reported = true;
        if ended.cause == Cause::Internal {
            tell_bug(&self.observer, self.resident.id, None);
        }
        self.observer.observe(&Event::Closed(Closure {
            who: self.resident.who(),
            cause: ended.cause,
            by: ended.by,
            code: ended.code,
            age: self.resident.since.elapsed(),
            from_client: ended.from_client,
            from_backend: ended.from_backend,
        }));
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if !self.reported {
            let cut = if self.end.is_cancelled() { Cause::Drain } else { Cause::Internal };
            self.report(&Ended::before_any_frame(cut, By::Gateway));
        }
    }
}

/// A bug of ours is never sampled away: it has a notice beside its record.
fn tell_bug(observer: &SharedObserver, id: ConnectionId, detail: Option<&str>) {
    let text = format!("a bug in the gateway ended connection {id}: {}", detail.unwrap_or("a panic"));
    observer.observe(&Event::Notice(Notice { level: Level::Error, code: "internal", text }));
}
