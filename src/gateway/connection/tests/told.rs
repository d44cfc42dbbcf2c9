//! What the record says of a connection.

use crate::event::Event;

/// The policy version that its end names.
pub(super) fn generation(event: &Event) -> Option<u64> {
    match event {
        Event::Refused(refused) => Some(refused.who.generation),
        Event::Closed(closure) => Some(closure.who.generation),
        Event::Opened(_) | Event::Answered(_) | Event::Notice(_) => None,
    }
}

/// How it ended.
pub(super) fn ending(event: &Event) -> Option<String> {
    match event {
        Event::Refused(refused) => Some(refused.reason.code().to_owned()),
        Event::Closed(closure) => Some(closure.cause.code().to_owned()),
        Event::Opened(_) | Event::Answered(_) | Event::Notice(_) => None,
    }
}
