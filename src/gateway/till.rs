//! Where tickets are sold and redeemed: one lock around all of them, so that of two who show one ticket at the same moment
//! exactly one comes in. They live in this process alone: a restart voids them.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use super::random;
use crate::policy::Refusal;
use crate::policy::ticket::{Buyer, Sold, TICKET_LIFE, Tickets};
use crate::secret::Secret;

/// Random bytes of a ticket.
const RANDOM_BYTES: usize = 32;
/// Characters of a ticket: those bytes in base64url.
const LENGTH: usize = (RANDOM_BYTES * 4).div_ceil(3);

/// Every ticket that nobody has used yet.
pub(super) struct Till {
    tickets: Mutex<Tickets>,
    /// When it began to sell.
    opened: Instant,
}

impl fmt::Debug for Till {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Till").finish_non_exhaustive()
    }
}

impl Till {
    /// None is sold yet.
    pub(super) fn new() -> Self {
        Self { tickets: Mutex::default(), opened: Instant::now() }
    }

    /// Whether a ticket of the process before this one may be shown still: who shows one has done nothing wrong.
    pub(super) fn is_new(&self) -> bool {
        self.opened.elapsed() < TICKET_LIFE
    }

    /// Sells a ticket: the word that its buyer is told.
    pub(super) fn sell(&self, sold: Sold, buyer: Buyer) -> Result<Secret<String>, Refusal> {
        let bytes = Secret::new(random::bytes::<RANDOM_BYTES>()?);
        let word = Secret::new(URL_SAFE_NO_PAD.encode(bytes.expose()));
        self.tickets().sell(word.expose(), sold, buyer, Instant::now().into_std())?;
        Ok(word)
    }

    /// What this ticket stands for; it is gone then.
    pub(super) fn redeem(&self, word: &str) -> Option<Sold> {
        if word.len() != LENGTH {
            return None;
        }
        self.tickets().redeem(word, Instant::now().into_std())
    }

    /// Drops the tickets whose time is over.
    pub(super) fn tend(&self) {
        self.tickets().forget(Instant::now().into_std());
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        // A panic in there may leave a count too high, never a ticket that was used.
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;
    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::*;
    use crate::gateway::fixture::Stage;
    use crate::gateway::reload::Keeper;
    use crate::gateway::watch::PERIOD;
    use crate::peer::SessionId;
    use crate::policy::PolicyName;
    use crate::policy::credential::{Carrier, Presented};
    use crate::policy::origin::AllowedOrigin;
    use crate::policy::ticket::{Place, TICKET_LIFE};

    #[tokio::test(start_paused = true)]
    async fn au26_a_ticket_that_nobody_shows_is_dropped_in_time() {
        let stage = Stage::new();
        let house = &stage.house;
        let (_reloads, asked) = mpsc::channel(1);
        let mut keeping = JoinSet::new();
        keeping.spawn(Keeper::new(Arc::clone(house), Vec::new(), stage.kept).run(asked));
        let sold = Sold {
            place: Place::new(&PolicyName::new("chat"), "chat.test", "/chat", &AllowedOrigin::for_tests(None)),
            credential: Presented { carrier: Carrier::Authorization, token: Secret::new(String::from("t")) },
            session: SessionId::from_bytes([7; 16]),
        };
        house.till.sell(sold, Buyer { subject: "login/alice".into(), net: None }).unwrap();
        sleep(TICKET_LIFE - PERIOD).await;
        assert_eq!(house.till.tickets().len(), 1);
        sleep(3 * PERIOD).await;
        assert!(house.till.tickets().is_empty(), "nobody bought another one meanwhile");
    }
}
