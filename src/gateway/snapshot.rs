//! What every decision is made from: policies and keys of one generation, swapped as a whole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::net::upstream::{Dialer, Ground};
use crate::peer::ClientAddr;
use crate::policy::auth::Auth;
use crate::policy::auth::keys::Keys;
use crate::policy::quota::NetworkRules;
use crate::policy::screen::PolicySet;
use crate::policy::{Policy, PolicyName, Reason, Refusal};

/// Policies, their dialers and the keys that credentials are verified against.
pub(super) struct Snapshot {
    /// Counts up with every swap; the policy version of log lines.
    pub(super) generation: u64,
    /// The policies.
    pub(super) policies: PolicySet,
    /// The way to each policy's backends.
    pub(super) dialers: HashMap<PolicyName, Arc<Dialer>>,
    /// Keys and token tables.
    pub(super) keys: Arc<Keys>,
    /// The networks that are let in at all.
    networks: NetworkRules,
    /// What its dialers stand on.
    ground: Ground,
}

impl Snapshot {
    /// The first generation.
    ///
    /// # Errors
    /// Says what cannot be used: the authorities of an upstream, or two policies for the same path.
    pub(super) fn first(
        policies: Vec<Arc<Policy>>,
        keys: &Keys,
        networks: NetworkRules,
        ground: Ground,
    ) -> Result<Self, String> {
        let nothing = Self {
            generation: 0,
            policies: PolicySet::default(),
            dialers: HashMap::new(),
            keys: Arc::default(),
            networks: NetworkRules::default(),
            ground,
        };
        nothing.next(policies, keys, networks)
    }

    /// The next generation. A policy that did not change is the one of this generation, and so is its dialer: it goes on
    /// where it was in its turn of servers. What is known of a server stays where the policy names it still.
    ///
    /// # Errors
    /// As for [`Self::first`].
    pub(super) fn next(&self, policies: Vec<Arc<Policy>>, keys: &Keys, networks: NetworkRules) -> Result<Self, String> {
        let known: HashMap<_, _> = self.policies.iter().map(|policy| (&policy.name, policy)).collect();
        let (mut kept, mut dialers) = (Vec::with_capacity(policies.len()), HashMap::new());
        for policy in policies {
            let is_same = known.get(&policy.name).is_some_and(|before| before.upstream == policy.upstream);
            let dialer = match self.dialers.get(&policy.name) {
                Some(dialer) if is_same => Arc::clone(dialer),
                before => Arc::new(
                    Dialer::new(&policy.name, &policy.upstream, before.map(Arc::as_ref), &self.ground)
                        .map_err(|error| format!("upstream of policy {}: {error}", policy.name))?,
                ),
            };
            dialers.insert(policy.name.clone(), dialer);
            let is_same = known.get(&policy.name).filter(|before| ***before == policy);
            kept.push(is_same.map_or(policy, |before| Arc::clone(before)));
        }
        let policies = PolicySet::new(kept).map_err(|error| error.to_string())?;
        Ok(Self {
            generation: self.generation.saturating_add(1),
            policies,
            dialers,
            keys: self.keys_as(keys),
            networks,
            ground: self.ground.clone(),
        })
    }

    /// The next generation: the same policies with other keys.
    pub(super) fn with_keys(&self, keys: &Keys) -> Self {
        Self {
            generation: self.generation.saturating_add(1),
            policies: self.policies.clone(),
            dialers: self.dialers.clone(),
            keys: self.keys_as(keys),
            networks: self.networks.clone(),
            ground: self.ground.clone(),
        }
    }

    /// Whether the client's network is let in at all.
    ///
    /// # Errors
    /// [`Reason::AddressDenied`].
    pub(super) fn judge_address(&self, client: ClientAddr) -> Result<(), Refusal> {
        self.networks.judge(client, Reason::AddressDenied)
    }

    /// Whether `next` lets other networks in.
    pub(super) fn has_other_networks(&self, next: &Self) -> bool {
        self.networks != next.networks
    }

    /// These keys, of which those that did not change are the ones of this generation.
    fn keys_as(&self, keys: &Keys) -> Arc<Keys> {
        let Keys { mut issuers, mut token_tables } = keys.clone();
        for (name, issuer) in &mut issuers {
            if let Some(same) = self.keys.issuers.get(name).filter(|same| *same == issuer) {
                *issuer = Arc::clone(same);
            }
        }
        for (file, table) in &mut token_tables {
            if let Some(same) = self.keys.token_tables.get(file).filter(|same| *same == table) {
                *table = Arc::clone(same);
            }
        }
        Arc::new(Keys { issuers, token_tables })
    }

    /// The policies of this generation all of whose sessions `next` may judge otherwise: those that it has not, has in
    /// another form, or judges with other keys.
    pub(super) fn touched_by(&self, next: &Self) -> HashSet<PolicyName> {
        let after: HashMap<_, _> = next.policies.iter().map(|policy| (&policy.name, policy)).collect();
        let is_same = |policy: &Policy, same: &Policy| {
            std::ptr::eq(policy, same) && policy.auth.iter().all(|way| self.has_same_keys(next, way))
        };
        let stays = |policy: &Policy| after.get(&policy.name).is_some_and(|same| is_same(policy, same));
        self.policies.iter().filter(|policy| !stays(policy)).map(|policy| policy.name.clone()).collect()
    }

    fn has_same_keys(&self, next: &Self, way: &Auth) -> bool {
        fn is_same<T>(before: Option<&Arc<T>>, after: Option<&Arc<T>>) -> bool {
            match (before, after) {
                (Some(before), Some(after)) => Arc::ptr_eq(before, after),
                (None, None) => true,
                _ => false,
            }
        }
        let (before, after) = (&self.keys, &next.keys);
        match way {
            Auth::Jwt(rules) => is_same(before.issuers.get(&rules.issuer), after.issuers.get(&rules.issuer)),
            Auth::Token(rules) => {
                is_same(before.token_tables.get(&rules.tokens), after.token_tables.get(&rules.tokens))
            }
            // What bought a ticket is of another way.
            Auth::Ticket(_) | Auth::Backend | Auth::Open => true,
        }
    }
}
