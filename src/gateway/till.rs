//! Where tickets are sold and redeemed: one lock around all of them, so that of two who show one ticket at the same moment
//! exactly one comes in. They live in this process alone: a restart voids them.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use super::random;
use crate::policy::Refusal;
use crate::policy::ticket::{Buyer, Sold, Tickets};
use crate::secret::Secret;

/// Random bytes of a ticket.
const RANDOM_BYTES: usize = 32;
/// Characters of a ticket: those bytes in base64url.
const LENGTH: usize = (RANDOM_BYTES * 4).div_ceil(3);

/// Every ticket that nobody has used yet.
#[derive(Default)]
pub(super) struct Till(Mutex<Tickets>);

impl fmt::Debug for Till {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Till").finish_non_exhaustive()
    }
}

impl Till {
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

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        // A panic in there may leave a count too high, never a ticket that was used.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
