//! What a connection holds while it may: each permit gives its places back when it is dropped.

use super::slots::Slot;

/// Places held on one network and on the wider ones around it.
pub(super) type Tiers = [Option<Slot>; 3];

/// The place of a connection in the whole gateway; kept until the socket is closed.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct ConnectionPermit {
    _live: Slot,
    pending: Option<Slot>,
}

impl ConnectionPermit {
    pub(super) fn new(live: Slot, pending: Slot) -> Self {
        Self { _live: live, pending: Some(pending) }
    }

    /// Gives back the place among pending connections: the 101 is written, and the session's own permits hold.
    pub fn end_pending(&mut self) {
        self.pending = None;
    }
}

/// The places of an address among pending connections; dropped when the 101 is written.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct AddressPermit {
    _pending: Tiers,
    payer: Payer,
}

impl AddressPermit {
    pub(super) fn new(pending: Tiers, payer: Payer) -> Self {
        Self { _pending: pending, payer }
    }

    /// Whose bucket paid for the connection.
    pub fn payer(&self) -> Payer {
        self.payer
    }
}

/// Whose bucket a charge went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payer {
    /// The client network's own.
    Own,
    /// That of a wider network: the table had no room for another key.
    Shared,
}

/// The places of a session in its policy, address and gateway; kept until the session is closed.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct SessionPermit {
    _address: Option<(Slot, Tiers)>,
    _gateway: Slot,
}

impl SessionPermit {
    pub(super) fn new(address: Option<(Slot, Tiers)>, gateway: Slot) -> Self {
        Self { _address: address, _gateway: gateway }
    }
}

/// The places of a session among its subject's and its route's; kept until the session is closed.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct SubjectPermit {
    _subject: Option<Slot>,
    _route: Slot,
}

impl SubjectPermit {
    pub(super) fn new(subject: Option<Slot>, route: Slot) -> Self {
        Self { _subject: subject, _route: route }
    }
}

/// The place of a session on its server; kept until the session is closed.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct ServerPermit {
    _server: Slot,
}

impl ServerPermit {
    pub(super) fn new(server: Slot) -> Self {
        Self { _server: server }
    }
}
