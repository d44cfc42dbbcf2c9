//! The pace of admissions: a token for each session, taken before its TLS costs anything.

use std::time::Duration;

use governor::Quota;
use governor::clock::{Clock, MonotonicClock};

use super::store::{self, Take};
use super::{CAP_RETRY, Limits};

/// One token of the admission pace. It goes back unless it is [spent](PaceToken::spend): what is refused paces nobody.
#[must_use = "a token that is dropped is given back"]
pub struct PaceToken<'a, C: Clock = MonotonicClock> {
    limits: &'a Limits<C>,
    /// What it was taken under.
    quota: Quota,
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
            self.limits.admissions.give_back(self.limits.key(&()), self.quota);
        }
    }
}

impl<C: Clock> Limits<C> {
    /// Takes one token of the admission pace.
    ///
    /// # Errors
    /// How long there is none, where nobody gives one back.
    pub fn take_pace(&self) -> Result<PaceToken<'_, C>, Duration> {
        let quota = store::quota(self.bounds().admissions, 1);
        match self.admissions.take(self.key(&()), quota, self.elapsed()) {
            Take::Taken => Ok(PaceToken { limits: self, quota, is_spent: false }),
            Take::Empty(wait) => Err(wait),
            Take::SetFull => Err(CAP_RETRY),
        }
    }
}
