//! May this call be answered: the judgements of a handshake, for a call to the gateway itself.
//!
//! Host and path are those of the handshake that the call is about, and so is the policy. Origin is judged as for that
//! handshake, for a cookie comes with a call as it comes with one. Of the carriers only header and cookie are looked at: a
//! call's query says what it is about.

use std::sync::Arc;

use super::admission::{Principal, carriers, prove_presented};
use super::auth::keys::Keys;
use super::auth::{Auth, TicketRules};
use super::credential::{self, Carrier, Presented};
use super::origin::{AllowedOrigin, AmbientCredential};
use super::screen::{PolicySet, Transport, ambient_credential, judge_place, judge_server_name};
use super::ticket::Place;
use super::{Policy, Reason, Refusal};
use crate::units::UnixSeconds;
use crate::ws::call::{Call, Method};
use crate::ws::head::Headers;

#[cfg(test)]
mod tests;

/// A call whose page may make it. Only [`screen_call`] makes one.
#[derive(Debug)]
pub struct ScreenedCall {
    /// The call.
    pub call: Call,
    /// The policy of the handshake that it is about.
    pub policy: Arc<Policy>,
    /// Proof that its Origin was judged.
    pub origin: AllowedOrigin,
    _witness: Witness,
}

/// Cannot be made outside this module.
#[derive(Clone, Copy, Debug)]
struct Witness;

/// What a page is told of a call's answer (the Fetch standard, section 3.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing<'c> {
    /// The page's origin.
    pub origin: &'c str,
    /// Whether it may send its cookies and read what comes of them.
    pub credentials: bool,
}

impl ScreenedCall {
    /// What the page that made the call is told; `None` where no page did.
    ///
    /// Cookies are shared where the policy takes a credential from one, and never with any page at all.
    pub fn sharing(&self) -> Option<Sharing<'_>> {
        let in_cookie = self.policy.auth.iter().flat_map(Auth::from).any(|carrier| !carrier.is_explicit());
        let credentials = in_cookie && !self.policy.origin.allow.any;
        self.origin.value().map(|origin| Sharing { origin, credentials })
    }

    /// Where a ticket that is bought by this call may be used; `None` where the policy takes none.
    pub fn place(&self) -> Option<Place> {
        let takes = |way: &Auth| matches!(way, Auth::Ticket(TicketRules { .. }));
        let Self { call, policy, origin, .. } = self;
        let is_taken = policy.auth.iter().any(takes);
        is_taken.then(|| Place::new(&policy.name, &call.authority.host, &call.path, origin))
    }
}

/// Judges host, path, network and Origin of a call.
pub fn screen_call(call: Call, transport: &Transport, policies: &PolicySet) -> Result<ScreenedCall, Refusal> {
    let host = &call.authority.host;
    let policy = Arc::clone(policies.policy_of(host, &call.path)?);
    judge_server_name(host, transport)?;
    let ambient = match call.method {
        Method::Post => ambient_credential(&call.headers, transport),
        // A browser asks without credentials, whatever it will send.
        Method::Preflight => AmbientCredential::None,
    };
    let origin = judge_place(&policy, transport.client, call.origin.as_deref(), ambient)?;
    if call.method == Method::Preflight && origin.value().is_none() {
        return Err(Reason::OriginMissing.into());
    }
    judge_fetch_metadata(&call.headers)?;
    Ok(ScreenedCall { call, policy, origin, _witness: Witness })
}

/// Fetch Metadata: a page makes a call by `fetch`, not by a form, a link or an image.
fn judge_fetch_metadata(headers: &Headers) -> Result<(), Refusal> {
    match headers.all("sec-fetch-mode").find(|mode| !matches!(*mode, "cors" | "same-origin")) {
        Some(mode) => Err(Refusal::new(Reason::FetchMetadata).with_detail(format!("Sec-Fetch-Mode {mode}"))),
        None => Ok(()),
    }
}

/// Who makes a call, and with what. Whoever brings no credential makes none, even where a handshake needs none.
pub fn prove_call(call: &ScreenedCall, keys: &Keys, now: UnixSeconds) -> Result<(Principal, Presented), Refusal> {
    let ways = &call.policy.auth;
    let places: Vec<Carrier> = carriers(ways).into_iter().filter(is_in_a_field).collect();
    let presented = credential::find_in_fields(&call.call.headers, &places)?.ok_or(Reason::CredentialMissing)?;
    let principal = prove_presented(Some(&presented), ways, keys, now)?;
    Ok((principal, presented))
}

fn is_in_a_field(carrier: &Carrier) -> bool {
    matches!(carrier, Carrier::Authorization | Carrier::Cookie(_))
}
