//! What is kept of a handshake while its session lives, so that it can be judged again where policies or keys are
//! replaced: the facts of the way in, at the time of the way in.
//!
//! A session belongs to the policy that admitted it. Where its host and path fall to another one, or to none, it stands no
//! longer: what the other allows for its own services says nothing of the service that this session reached.

use std::sync::Arc;

use super::admission::{Admission, Principal, carriers, prove_presented};
use super::auth::keys::Keys;
use super::credential::Presented;
use super::origin::AmbientCredential;
use super::revocation::{Facts, Holder};
use super::screen::{PolicySet, judge_place};
use super::{Policy, PolicyName, Reason, Refusal};
use crate::peer::{ClientAddr, ConnectionId, SessionId};
use crate::session::Extensions;
use crate::units::UnixSeconds;
use crate::ws::opening::Accepted;

#[cfg(test)]
mod tests;

/// The facts of an admitted handshake. The token is kept as it came: whether it still holds is judged by the same gate,
/// signature included, and its claims need not be kept beside it.
#[derive(Debug)]
pub struct Standing {
    policy: PolicyName,
    host: Box<str>,
    path: Box<str>,
    origin: Option<Box<str>>,
    ambient: AmbientCredential,
    client: ClientAddr,
    subprotocol: Option<Box<str>>,
    extensions: Extensions,
    credential: Option<Presented>,
    subject: Option<Box<str>>,
    session: Option<SessionId>,
    issued_at: Option<UnixSeconds>,
    token_id: Option<Box<str>>,
    judged_at: UnixSeconds,
}

/// A fresher credential of a session, in the place of the one that it came in by.
#[derive(Debug)]
pub struct Renewal {
    /// The credential.
    pub credential: Presented,
    /// When its token was issued, where that says so.
    pub issued_at: Option<UnixSeconds>,
    /// Its token's id.
    pub token_id: Option<Box<str>>,
    /// When it was judged.
    pub judged_at: UnixSeconds,
}

impl Renewal {
    /// A credential that proved this principal.
    pub fn new(principal: &Principal, credential: Presented, judged_at: UnixSeconds) -> Self {
        let holder = principal.holder();
        let issued_at = holder.and_then(|holder| holder.issued_at);
        let token_id = holder.and_then(|holder| holder.token_id).map(Box::from);
        Self { credential, issued_at, token_id, judged_at }
    }
}

/// What holds for a session that may stay.
#[derive(Debug)]
pub struct Upheld {
    /// The policy, as it is.
    pub policy: Arc<Policy>,
    /// When the session must end for its credential's sake.
    pub session_until: Option<UnixSeconds>,
}

impl Standing {
    /// What is kept of a handshake of this client to which a backend has agreed.
    pub fn new(admission: &Admission, client: ClientAddr, accepted: &Accepted) -> Self {
        let Admission { opening, policy, origin, ambient, principal, proved_by, session, judged_at, .. } = admission;
        let boxed = |text: Option<&str>| text.map(Box::from);
        let credential = match (principal, proved_by) {
            (Principal::Verified(verified), Some(carrier)) => {
                Some(Presented { carrier: carrier.clone(), token: verified.token.clone() })
            }
            _ => None,
        };
        Self {
            policy: policy.name.clone(),
            host: opening.authority.host.as_str().into(),
            path: opening.path.as_str().into(),
            origin: boxed(origin.value()),
            ambient: *ambient,
            client,
            subprotocol: boxed(accepted.subprotocol.as_deref()),
            extensions: if accepted.extensions.is_some() { Extensions::Pass } else { Extensions::Strip },
            credential,
            subject: boxed(principal.name().as_deref()),
            session: *session,
            issued_at: principal.holder().and_then(|holder| holder.issued_at),
            token_id: boxed(principal.holder().and_then(|holder| holder.token_id)),
            judged_at: *judged_at,
        }
    }

    /// The policy that it belongs to.
    pub fn policy(&self) -> &PolicyName {
        &self.policy
    }

    /// Whether its host and path still fall to the policy that it belongs to.
    pub fn is_served_by_its_policy(&self, policies: &PolicySet) -> bool {
        policies.policy_of(&self.host, &self.path).is_ok_and(|policy| policy.name == self.policy)
    }

    /// The path that was asked for.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Who asked.
    pub fn client(&self) -> ClientAddr {
        self.client
    }

    /// `issuer/subject`, where somebody was proved.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// What it is judged by where something was revoked; `session` is its id, `renewal` the credential that renewed it last.
    pub fn facts<'f>(&'f self, session: ConnectionId, renewal: Option<&'f Renewal>) -> Facts<'f> {
        // No issuer's name holds a slash.
        let name = self.subject.as_deref().and_then(|name| name.split_once('/'));
        let (issued_at, token_id) = match renewal {
            Some(Renewal { issued_at, token_id, .. }) => (*issued_at, token_id.as_deref()),
            None => (self.issued_at, self.token_id.as_deref()),
        };
        let holder = name.map(|(issuer, subject)| Holder { issuer, subject, issued_at, token_id });
        Facts { session, client: self.client, policy: &self.policy, holder }
    }

    /// The id by which it may be renewed.
    pub fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// Whether the session may stay under these policies and keys, by the credential that renewed it last. Times are judged
    /// as they were when that was shown: what bounds a token's use does not end its session, and its lease is a deadline of
    /// its own.
    pub fn judge(&self, renewal: Option<&Renewal>, policies: &PolicySet, keys: &Keys) -> Result<Upheld, Refusal> {
        let policy = policies.policy_of(&self.host, &self.path)?;
        if policy.name != self.policy {
            return Err(Refusal::new(Reason::PolicyReplaced).with_detail(format!("{} serves it", policy.name)));
        }
        judge_place(policy, self.client, self.origin.as_deref(), self.ambient)?;
        self.judge_agreement(policy)?;
        let ways = &policy.auth;
        let (credential, judged_at) = match renewal {
            Some(Renewal { credential, judged_at, .. }) => (Some(credential), *judged_at),
            None => (self.credential.as_ref(), self.judged_at),
        };
        let presented = credential.filter(|one| carriers(ways).contains(&one.carrier));
        let principal = prove_presented(presented, ways, keys, judged_at)?;
        self.judge_identity(&principal)?;
        Ok(Upheld { policy: Arc::clone(policy), session_until: principal.lease(&policy.session) })
    }

    /// Client and backend keep to what they agreed on, so it must be allowed as it is.
    fn judge_agreement(&self, policy: &Policy) -> Result<(), Refusal> {
        if let (Some(listed), Some(spoken)) = (&policy.route.subprotocols, &self.subprotocol)
            && !listed.iter().any(|one| **one == **spoken)
        {
            return Err(
                Refusal::new(Reason::SubprotocolNotAllowed).with_detail(format!("listed: {}", listed.join(", ")))
            );
        }
        if self.extensions == Extensions::Pass && policy.upstream.extensions == Extensions::Strip {
            return Err(Refusal::new(Reason::PolicyReplaced).with_detail("extensions pass no longer"));
        }
        Ok(())
    }

    /// The backend was told who it is: somebody else, or nobody, is not the one it serves.
    fn judge_identity(&self, principal: &Principal) -> Result<(), Refusal> {
        match (principal.name(), &self.subject) {
            (None, Some(_)) => Err(Reason::CredentialMissing.into()),
            (name, subject) if name.as_deref() != subject.as_deref() => {
                Err(Refusal::new(Reason::TokenUnknown).with_detail("the token is another subject's"))
            }
            _ => Ok(()),
        }
    }
}
