//! What every decision is made from: policies and keys of one generation, swapped as a whole.

use std::collections::HashMap;
use std::sync::Arc;

use crate::net::upstream::Dialer;
use crate::policy::PolicyName;
use crate::policy::auth::keys::Keys;
use crate::policy::screen::PolicySet;

/// Policies, their dialers and the keys that credentials are verified against.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Counts up with every swap; the policy version of log lines.
    pub(super) generation: u64,
    /// The policies.
    pub(super) policies: PolicySet,
    /// The way to each policy's backends.
    pub(super) dialers: HashMap<PolicyName, Arc<Dialer>>,
    /// Keys and token tables.
    pub(super) keys: Arc<Keys>,
}

impl Snapshot {
    /// The next generation: the same policies with other keys.
    pub(super) fn with_keys(&self, keys: Keys) -> Self {
        Self {
            generation: self.generation.saturating_add(1),
            policies: self.policies.clone(),
            dialers: self.dialers.clone(),
            keys: Arc::new(keys),
        }
    }
}
