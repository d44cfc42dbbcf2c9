//! What the gateway does when something changes about a server: it says so, and ends the sessions that are to end.

use std::sync::Arc;

use super::random;
use super::sessions::Sessions;
use super::snapshot::Snapshot;
use crate::event::{Event, Level, Notice, SharedObserver};
use crate::net::upstream::{Changed, Dialer, Ground, ServerChange};
use crate::policy::balance::condition::Change;
use crate::session::Cause;
use crate::units::format_duration;

/// What the dialers of this gateway stand on.
pub(super) fn ground(observer: &SharedObserver, sessions: &Sessions) -> Ground {
    let (observer, sessions) = (Arc::clone(observer), sessions.clone());
    let told = move |change: ServerChange| {
        if let Changed::SessionsLost = change.what {
            return sessions.end_on(&change.policy, &change.server, Cause::ServerDown);
        }
        observer.observe(&Event::Notice(notice(&change)));
    };
    Ground { told: Arc::new(told), random: random::fill }
}

fn notice(change: &ServerChange) -> Notice {
    let (level, code, what) = match &change.what {
        Changed::Condition(Change::Down) => (Level::Error, "server_down", String::from("is down: its checks fail")),
        Changed::Condition(Change::Up) => (Level::Info, "server_up", String::from("is up: its checks succeed")),
        Changed::Condition(Change::Ejected(time)) => {
            let what = format!("is left alone for {}: handshakes failed there on end", format_duration(*time));
            (Level::Warning, "server_ejected", what)
        }
        Changed::Condition(Change::Readmitted) => {
            (Level::Info, "server_readmitted", String::from("is back: it answered a handshake"))
        }
        Changed::Unchecked(why) => {
            let what = format!("cannot be checked: the gateway lacks what that takes ({why}); what was known holds");
            (Level::Error, "server_unchecked", what)
        }
        Changed::Unresolved(why) => {
            let what = format!("has a name that does not resolve ({why}); the addresses that it had stay in use");
            (Level::Warning, "server_unresolved", what)
        }
        Changed::Resolved => (Level::Info, "server_resolved", String::from("has a name that resolves again")),
        Changed::SessionsLost => (Level::Info, "server_down", String::from("loses its sessions")),
    };
    Notice { level, code, text: format!("server {} of policy {} {what}", change.server, change.policy) }
}

/// The dialers of `of` that `other` has not.
pub(super) fn only_of<'s>(of: &'s Snapshot, other: &'s Snapshot) -> impl Iterator<Item = &'s Arc<Dialer>> {
    let dialers = of.dialers.iter();
    dialers
        .filter(|(name, dialer)| !other.dialers.get(*name).is_some_and(|same| Arc::ptr_eq(dialer, same)))
        .map(|(_, dialer)| dialer)
}
