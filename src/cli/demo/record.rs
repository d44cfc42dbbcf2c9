//! What the gateway told of the demo's connections: the reason behind each id that a refused client was shown, and how
//! many sessions have ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::event::{Event, Observer, SharedObserver, Traffic};
use crate::policy::Reason;
use crate::session::Direction;

/// Refusals that are kept; the demo's own steps make half a dozen.
const KEPT: usize = 64;

/// How long a record may lag behind what a client saw.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps what the steps ask for, and passes every event on.
pub(super) struct Record {
    told: watch::Sender<Told>,
    next: SharedObserver,
}

#[derive(Default)]
struct Told {
    refused: HashMap<String, Reason>,
    closed: usize,
}

impl Record {
    pub(super) fn before(next: SharedObserver) -> Arc<Self> {
        Arc::new(Self { told: watch::Sender::new(Told::default()), next })
    }

    /// Why the connection of this id was refused.
    pub(super) async fn reason(&self, id: &str) -> Option<Reason> {
        let mut told = self.told.subscribe();
        let found = timeout(PATIENCE, told.wait_for(|told| told.refused.contains_key(id))).await.ok()?.ok()?;
        found.refused.get(id).copied()
    }

    /// Waits until this many sessions have ended; `false` if they do not in time.
    pub(super) async fn ended(&self, sessions: usize) -> bool {
        let mut told = self.told.subscribe();
        matches!(timeout(PATIENCE, told.wait_for(|told| told.closed >= sessions)).await, Ok(Ok(_)))
    }
}

impl Observer for Record {
    fn observe(&self, event: &Event) {
        self.told.send_modify(|told| match event {
            Event::Refused(refused) if told.refused.len() < KEPT => {
                told.refused.insert(refused.who.id.to_string(), refused.reason);
            }
            Event::Closed(_) => told.closed = told.closed.saturating_add(1),
            _ => {}
        });
        self.next.observe(event);
    }

    fn traffic(&self, direction: Direction, delta: Traffic) {
        self.next.traffic(direction, delta);
    }
}
