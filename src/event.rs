//! What happened, as data: the gateway tells observers, and observers tell people.

use std::sync::Arc;
use std::time::Duration;

use crate::peer::{ClientAddr, ConnectionId};
use crate::policy::{PolicyName, Reason};
use crate::session::{Cause, Direction};

pub use crate::session::{By, Traffic};

/// Something that happened. Strings in it are bounded where they are made and escaped where they are written.
#[derive(Clone, Debug)]
pub enum Event {
    /// A session was admitted and its 101 is about to be written.
    Opened(Opened),
    /// A session ended.
    Closed(Closure),
    /// A connection was refused, with an answer or without.
    Refused(Refused),
    /// A call to the gateway itself was answered.
    Answered(Answered),
    /// Something an operator should know of the gateway itself.
    Notice(Notice),
}

/// Who a connection is, as far as it is known.
#[derive(Clone, Debug)]
pub struct Who {
    /// The connection.
    pub id: ConnectionId,
    /// The client's address, once known.
    pub client: Option<ClientAddr>,
    /// The policy, once found.
    pub policy: Option<PolicyName>,
    /// The policy version (snapshot generation) that judged it.
    pub generation: u64,
    /// `issuer/subject`, once proved.
    pub subject: Option<String>,
}

/// A session was admitted.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Who it is.
    pub who: Who,
    /// The path, without the query.
    pub path: String,
    /// The Origin, where one came.
    pub origin: Option<String>,
    /// The server that took it.
    pub server: String,
    /// The subprotocol that was chosen.
    pub subprotocol: Option<String>,
    /// From accept to admission.
    pub admission: Duration,
}

/// A session ended.
#[derive(Clone, Debug)]
pub struct Closure {
    /// Who it was.
    pub who: Who,
    /// Why.
    pub cause: Cause,
    /// Whose doing it was.
    pub by: By,
    /// The close code that the client saw or sent; `None`: no Close frame.
    pub code: Option<u16>,
    /// How long it lived after its 101.
    pub age: Duration,
    /// What the client sent.
    pub from_client: Traffic,
    /// What the backend sent.
    pub from_backend: Traffic,
}

/// A connection was refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Who it was.
    pub who: Who,
    /// Why.
    pub reason: Reason,
    /// The offending value; never a secret.
    pub detail: Option<String>,
    /// The path, once read, without the query.
    pub path: Option<String>,
    /// The Origin, once read.
    pub origin: Option<String>,
    /// Whether the client is answered, and shown its id; else the connection is closed unheard.
    pub answered: bool,
    /// From accept to the refusal.
    pub age: Duration,
}

/// A call to the gateway itself was answered with what it asked for.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Who asked.
    pub who: Who,
    /// `ticket`, `renew`, or `preflight`.
    pub call: &'static str,
    /// The Origin, where one came.
    pub origin: Option<String>,
    /// From accept to the answer.
    pub age: Duration,
}

/// Something an operator should know of the gateway itself.
#[derive(Clone, Debug)]
pub struct Notice {
    /// How loudly.
    pub level: Level,
    /// A stable word: `listening`, `certificate_replaced`, `certificate_kept`, `accept_paused`, ...
    pub code: &'static str,
    /// One sentence.
    pub text: String,
}

/// How loudly a notice is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// All is well.
    Info,
    /// Something wants looking at.
    Warning,
    /// Something failed.
    Error,
}

impl Level {
    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Is told what happened. Implementations return at once: they count, or queue a bounded line.
pub trait Observer: Send + Sync + 'static {
    /// Takes note of an event.
    fn observe(&self, event: &Event);

    /// Takes note of traffic of a live session, as it happens.
    fn traffic(&self, direction: Direction, delta: Traffic) {
        let _ = (direction, delta);
    }

    /// Events that it could not pass on since the start.
    fn untold(&self) -> u64 {
        0
    }
}

/// An observer shared by every connection.
pub type SharedObserver = Arc<dyn Observer>;
