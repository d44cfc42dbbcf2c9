//! What one client network may do: connect, wait, hold sessions, and fail.
//!
//! A client is charged as one IPv4 address or one IPv6 /64. Whoever owns a /64 often owns more, so a connection also
//! counts against the /56 and the /48 around it, which may do [`IN_56`] and [`IN_48`] times as much. An IPv4 /24 caps
//! nothing: its bucket only serves addresses for which the table has no room.

use std::sync::Arc;
use std::time::Duration;

use governor::Quota;
use governor::clock::Clock;
use governor::nanos::Nanos;

use super::permits::{AddressPermit, Payer, Tiers};
use super::slots::Slots;
use super::store::{self, BucketTable, Key, Take};
use super::sync::atomic::Ordering;
use super::{Limits, cap_reached};
use crate::config::AddressRules;
use crate::peer::{ClientAddr, ClientNet};
use crate::policy::{Reason, Refusal};
use crate::units::Rate;

/// How many times the bounds of one IPv6 /64 its /56 has: a household's share of a provider's delegation.
pub const IN_56: u32 = 8;

/// How many times the bounds of one IPv6 /64 its /48 has: a site.
pub const IN_48: u32 = 32;

/// How many times the rate of one IPv4 address its /24 has, when addresses must share its bucket.
pub const IN_24: u32 = 8;

/// When to come back where not even a shared bucket was free.
const NO_BUCKET_RETRY: Duration = Duration::from_secs(1);

/// Which networks a charge reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The narrowest that has a bucket.
    Narrowest,
    /// Every tier that caps.
    EveryTier,
}

/// What a charge reached.
struct Charged {
    key: Key,
    quota: Quota,
    payer: Payer,
}

/// One attempt of an address to prove who it is. It counts as failed unless it is [forgiven](Attempt::forgive).
#[must_use = "an attempt that is dropped counts as failed"]
pub struct Attempt<'a, C: Clock> {
    limits: &'a Limits<C>,
    charged: Charged,
    at: Nanos,
}

impl<C: Clock> Attempt<'_, C> {
    /// Takes the attempt off the failure budget: it succeeded, or what it failed at was not the credential.
    ///
    /// An attempt older than the budget's refill interval is left alone: its token has come back by itself.
    pub fn forgive(self) {
        let age = self.limits.elapsed().saturating_sub(self.at);
        if age <= Nanos::from(self.charged.quota.replenish_interval()) {
            self.limits.failures.give_back(self.charged.key, self.charged.quota);
        }
    }
}

impl<C: Clock> Limits<C> {
    /// Charges an address for a connection, as soon as it is known: its static lists, its connect rate, its live
    /// sessions over all policies, and a place among its pending connections.
    ///
    /// # Errors
    /// [`Reason::AddressDenied`], [`Reason::AddressConnectRate`], [`Reason::AddressSessionsHard`] or
    /// [`Reason::AddressPending`], in this order; the detail names the network that is over its bound.
    pub fn charge_address(&self, client: ClientAddr) -> Result<AddressPermit, Refusal> {
        let bounds = self.bounds();
        let rules = &bounds.address;
        rules.rules.judge(client, Reason::AddressDenied)?;
        let charged = self
            .charge(&self.connects, client, rules.connects, times(client, rules), Reach::EveryTier)
            .map_err(|denied| denied.refusal(Reason::AddressConnectRate))?;
        let full = |net: ClientNet| {
            let cap = bound(rules.sessions, net, times(client, rules));
            self.address_sessions.count(self.key(&net)) >= cap
        };
        if let Some(net) = tiers(client).find(|net| full(*net)) {
            return Err(cap_reached(Reason::AddressSessionsHard).with_detail(net.to_string()));
        }
        let (pending, most) = self.pending_caps(rules.pending, bounds.pending);
        let pending = self
            .take_tiers(&self.address_pending, client, rules, pending, most)
            .map_err(|net| cap_reached(Reason::AddressPending).with_detail(net.to_string()))?;
        Ok(AddressPermit::new(pending, charged.payer))
    }

    /// Charges an address for an attempt, before any signature is checked. Each attempt takes one token of the failure
    /// budget and is given it back when it is forgiven, so that attempts side by side cannot overdraw it. With the
    /// budget spent, attempts pass at its refill rate: who shares the address goes on slowly, and is never locked out.
    ///
    /// # Errors
    /// [`Reason::AddressFailures`] with the time until the next token.
    pub fn check_failures(&self, client: ClientAddr) -> Result<Attempt<'_, C>, Refusal> {
        let charged = self.charge_failure(client).map_err(|denied| denied.refusal(Reason::AddressFailures))?;
        Ok(Attempt { limits: self, charged, at: self.elapsed() })
    }

    /// Takes one token of the address's failure budget, if it has one: for a failure that shows after the attempt was
    /// forgiven, such as a backend's 401.
    pub fn record_failure(&self, client: ClientAddr) {
        let _ = self.charge_failure(client);
    }

    fn charge_failure(&self, client: ClientAddr) -> Result<Charged, Denied> {
        let bounds = self.bounds();
        let factor = times(client, &bounds.address);
        self.charge(&self.failures, client, bounds.address.failures, factor, Reach::Narrowest)
    }

    /// Takes a token for `client`. A network whose set is full pays from the bucket of the wider one around it; where
    /// none has room the charge is denied. What a wider network denies stays charged to the narrower ones.
    fn charge(
        &self,
        table: &BucketTable,
        client: ClientAddr,
        rate: Rate,
        times: u32,
        reach: Reach,
    ) -> Result<Charged, Denied> {
        let now = self.elapsed();
        let mut charged = None;
        let mut payer = Payer::Own;
        for net in widening(client) {
            if charged.is_some() && (reach == Reach::Narrowest || !caps(net)) {
                break;
            }
            let (key, quota) = (self.key(&net), store::quota(rate, share(net).saturating_mul(times)));
            match table.take(key, quota, now) {
                Take::Taken => {
                    charged.get_or_insert(Charged { key, quota, payer });
                }
                Take::Empty(wait) => return Err(Denied { net, wait }),
                Take::SetFull if charged.is_none() => {
                    payer = Payer::Shared;
                    self.shared.fetch_add(1, Ordering::Relaxed);
                }
                Take::SetFull => {}
            }
        }
        charged.ok_or(Denied { net: client.net(), wait: NO_BUCKET_RETRY })
    }

    /// Takes a slot of each tier of `client`, or names the one that is full.
    pub(super) fn take_tiers(
        &self,
        slots: &Arc<Slots>,
        client: ClientAddr,
        rules: &AddressRules,
        cap: u32,
        most: u32,
    ) -> Result<Tiers, ClientNet> {
        let factor = times(client, rules);
        let mut taken: Tiers = Default::default();
        for (place, net) in taken.iter_mut().zip(tiers(client)) {
            *place = Some(slots.take(self.key(&net), bound(cap, net, factor).min(most)).ok_or(net)?);
        }
        Ok(taken)
    }

    /// How many pending connections one network may have, and how many any wider one: an eighth of the gateway's. With
    /// half of those taken each network has an eighth of its own, so that a few that say nothing cannot keep everybody
    /// else out.
    fn pending_caps(&self, written: u32, all: u32) -> (u32, u32) {
        let crowded = self.pending.live() > usize::try_from(all / 2).unwrap_or(usize::MAX);
        let cap = if crowded { (written / 8).max(1) } else { written };
        (cap, (all / 8).max(1))
    }
}

/// A charge that was denied: whose bucket is empty, and for how long.
struct Denied {
    net: ClientNet,
    wait: Duration,
}

impl Denied {
    fn refusal(&self, reason: Reason) -> Refusal {
        Refusal::new(reason).with_detail(self.net.to_string()).retry_after(self.wait)
    }
}

/// The factor of the first known network that holds the client; one if none does.
pub(super) fn times(client: ClientAddr, rules: &AddressRules) -> u32 {
    let holds = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&client.ip()));
    rules.networks.iter().find(|known| holds(&known.nets)).map_or(1, |known| known.times.max(1))
}

/// The client's own network and the wider ones, from the narrowest.
fn widening(client: ClientAddr) -> impl Iterator<Item = ClientNet> {
    std::iter::successors(Some(client.net()), |net| net.wider())
}

/// The networks of the client that have bounds of their own.
fn tiers(client: ClientAddr) -> impl Iterator<Item = ClientNet> {
    widening(client).filter(|net| caps(*net))
}

/// Whether a network has bounds of its own: every one but the IPv4 /24.
fn caps(net: ClientNet) -> bool {
    net.prefix() != 120
}

/// How many times the bounds of a single client network this one has.
fn share(net: ClientNet) -> u32 {
    match net.prefix() {
        120 => IN_24,
        56 => IN_56,
        48 => IN_48,
        _ => 1,
    }
}

fn bound(cap: u32, net: ClientNet, times: u32) -> u32 {
    cap.saturating_mul(share(net)).saturating_mul(times)
}
