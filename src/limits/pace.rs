//! The pace of admissions: a token for each session, taken before its TLS costs anything.

use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};

use super::store::{self, Take};
use super::{CAP_RETRY, Limits};

/// One token of the admission pace. It goes back unless it is [spent](PaceToken::spend): what is refused paces nobody.
#[must_use = "a token that is dropped is given back"]
pub struct PaceToken<'a, C: Clock = MonotonicClock> {
    limits: &'a Limits<C>,
    is_spent: bool,
}

impl<C: Clock> PaceToken<'_, C> {
    /// A session came of it.
    pub fn spend(mut self) {
        self.is_spent = true;
    }
}

impl<C: Clock> Drop for PaceToken<'_, C> {
    fn drop(&mut self) {
        if !self.is_spent {
            let Limits { admissions, bounds, .. } = self.limits;
            admissions.give_back(self.limits.key(&()), store::quota(bounds.admissions, 1));
        }
    }
}

impl<C: Clock> Limits<C> {
    /// Takes one token of the admission pace.
    ///
    /// # Errors
    /// How long there is none, where nobody gives one back.
    pub fn take_pace(&self) -> Result<PaceToken<'_, C>, Duration> {
        match self.admissions.take(self.key(&()), store::quota(self.bounds.admissions, 1), self.elapsed()) {
            Take::Taken => Ok(PaceToken { limits: self, is_spent: false }),
            Take::Empty(wait) => Err(wait),
            Take::SetFull => Err(CAP_RETRY),
        }
    }
}
