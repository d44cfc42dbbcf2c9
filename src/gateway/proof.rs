//! What stands around the proof of every credential, of a handshake and of a call: the address's failure budget before it,
//! what was revoked behind it.

use super::house::House;
use super::visit::Visit;
use crate::policy::admission::Principal;
use crate::policy::revocation::Facts;
use crate::policy::{PolicyName, Reason, Refusal};
use crate::units::UnixSeconds;

/// Charges the address for an attempt before `prove`, and forgives it unless a credential was shown that does not hold. A
/// ticket of the process before this one is no such credential.
pub(super) fn attempted<T>(
    house: &House,
    visit: &Visit,
    prove: impl FnOnce() -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let attempt = visit.charged().map(|client| house.limits.check_failures(client)).transpose()?;
    let proof = prove();
    let is_of_before = |reason: Reason| reason == Reason::TicketUnknown && house.till.is_new();
    let failed = matches!(&proof, Err(refusal) if refusal.reason.is_failed_proof() && !is_of_before(refusal.reason));
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

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::config::fixture::{GATEWAY, Ground};
    use crate::gateway::fixture::Stage;
    use crate::peer::ClientAddr;
    use crate::policy::ticket::TICKET_LIFE;

    /// How often somebody from this address may fail so before he is not looked at any longer; no more than ten times.
    fn failures(house: &House, address: [u8; 4], reason: Reason) -> usize {
        let mut visit = Visit::begin(&house.observer, &house.end, address.into());
        visit.charge_to(ClientAddr::new(address.into()));
        let fails = || attempted(house, &visit, || Err::<(), _>(reason.into())).unwrap_err().reason;
        (0..10).take_while(|_| fails() == reason).count()
    }

    #[tokio::test(start_paused = true)]
    async fn au26_a_ticket_of_the_process_before_spends_no_budget() {
        let ground = Ground::new();
        ground.write("gateway.toml", GATEWAY.replace("1/s burst 60", "1/h burst 3"));
        let Stage { house, .. } = Stage::on(ground);
        assert_eq!(failures(&house, [192, 0, 2, 1], Reason::TicketUnknown), 10);
        assert_eq!(failures(&house, [192, 0, 2, 1], Reason::TokenUnknown), 3, "the twin: it was all there");
        advance(TICKET_LIFE).await;
        assert_eq!(failures(&house, [192, 0, 2, 2], Reason::TicketUnknown), 3, "none of before can be shown now");
    }
}
