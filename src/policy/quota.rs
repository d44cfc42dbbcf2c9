//! How many, how often, and from which networks.

use ipnet::IpNet;

use super::{Reason, Refusal};
use crate::peer::ClientAddr;
use crate::units::Rate;

/// The `[limits]` table of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Live sessions of the route.
    pub connections: Option<u32>,
    /// Live sessions of one IPv4 address or IPv6 /64 on this route.
    pub connections_per_address: u32,
    /// Live sessions of one subject on this route.
    pub connections_per_subject: u32,
    /// Handshakes of one subject on this route.
    pub handshakes_per_subject: Rate,
    /// Networks that may come, and networks that may not.
    pub networks: NetworkRules,
}

/// Static allow and deny lists. A denied network is denied even where an allowed one holds it; with no allowed
/// network every address that is not denied may come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkRules {
    /// If not empty: only these.
    pub allow: Vec<IpNet>,
    /// Never these.
    pub deny: Vec<IpNet>,
}

impl NetworkRules {
    /// Whether this client may come.
    fn admits(&self, client: ClientAddr) -> bool {
        let holds = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&client.ip()));
        !holds(&self.deny) && (self.allow.is_empty() || holds(&self.allow))
    }

    /// Refuses a client that may not come, for this reason.
    pub fn judge(&self, client: ClientAddr, reason: Reason) -> Result<(), Refusal> {
        if self.admits(client) { Ok(()) } else { Err(Refusal::new(reason).with_detail(client.to_string())) }
    }
}
