//! What stands around the proof of every credential, of a handshake and of a call: the address's failure budget before it,
//! what was revoked behind it.

use super::house::House;
use super::visit::Visit;
use crate::policy::admission::Principal;
use crate::policy::revocation::Facts;
use crate::policy::{PolicyName, Refusal};
use crate::units::UnixSeconds;

/// Charges the address for an attempt before `prove`, and forgives it unless a credential was shown that does not hold.
pub(super) fn attempted<T>(
    house: &House,
    visit: &Visit,
    prove: impl FnOnce() -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let attempt = visit.charged().map(|client| house.limits.check_failures(client)).transpose()?;
    let proof = prove();
    let failed = matches!(&proof, Err(refusal) if refusal.reason.is_failed_proof());
    if let (false, Some(attempt)) = (failed, attempt) {
        attempt.forgive();
    }
    proof
}

/// Judges whether the access of whoever was proved was taken away.
pub(super) fn judge_revoked(
    house: &House,
    visit: &Visit,
    policy: &PolicyName,
    principal: &Principal,
    now: UnixSeconds,
) -> Result<(), Refusal> {
    let facts = Facts { session: visit.id(), client: visit.client(), policy, holder: principal.holder() };
    house.ledger.judge(&facts, now)
}
