//! Who is it, and may they: the last judgement before a backend is dialled.
//!
//! A policy's `[[auth]]` are alternatives. A credential that came in a place that one of them names is judged, and refused
//! if it is bad, even where `by = "backend"` or `by = "none"` would let in somebody without any: a wrong key is no reason
//! to stop looking at keys.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::auth::keys::{Keys, issuer_of_tokens};
use super::auth::{Auth, JwtRules, TokenRules, jwt};
use super::credential::{self, Carrier};
use super::forward::CredentialForwarding;
use super::origin::{AllowedOrigin, AmbientCredential};
use super::revocation::{Holder, MAX_WORD};
use super::screen::Screened;
use super::ticket::{self, Place, Sold};
use super::{Policy, Reason, Refusal, renewal};
use crate::peer::SessionId;
use crate::secret::Secret;
use crate::session::SessionRules;
use crate::units::UnixSeconds;
use crate::ws::opening::OpeningHandshake;

#[cfg(test)]
pub(in crate::policy) mod tests;

/// Who a handshake proved to be.
#[derive(Clone, Debug)]
pub enum Principal {
    /// A verified token's subject.
    Verified(Verified),
    /// The backend judges (`by = "backend"`).
    Deferred,
    /// Nobody was asked (`by = "none"`).
    Anonymous,
}

impl Principal {
    /// `issuer/subject`, where no issuer holds a `/`; `None` where nobody was proved here.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Verified(verified) => Some(format!("{}/{}", verified.issuer, verified.subject)),
            Self::Deferred | Self::Anonymous => None,
        }
    }

    /// When the session must end for the credential's sake.
    pub fn session_until(&self) -> Option<UnixSeconds> {
        match self {
            Self::Verified(verified) => verified.session_until,
            Self::Deferred | Self::Anonymous => None,
        }
    }

    /// The same under these rules, which may let a session outlive its credential.
    pub fn lease(&self, rules: &SessionRules) -> Option<UnixSeconds> {
        self.session_until().filter(|_| !rules.outlives_credential)
    }

    /// Whose token it is, for what was revoked.
    pub fn holder(&self) -> Option<Holder<'_>> {
        match self {
            Self::Verified(verified) => Some(Holder {
                issuer: &verified.issuer,
                subject: &verified.subject,
                issued_at: verified.issued_at,
                token_id: verified.token_id(),
            }),
            Self::Deferred | Self::Anonymous => None,
        }
    }
}

/// What a verified token says. Only this module makes one.
#[derive(Clone)]
pub struct Verified {
    /// The issuer's name in gateway.toml, which holds no `:`, or `tokens:` and the token file's stem: subjects of two
    /// issuers are two people.
    pub issuer: Arc<str>,
    /// The subject, at most 256 bytes, without control characters.
    pub subject: String,
    /// When the session must end: `exp` plus leeway, or a token line's `session_until`.
    pub session_until: Option<UnixSeconds>,
    /// `iat` of a JWT.
    pub issued_at: Option<UnixSeconds>,
    /// The claims that `identity` may name; of a query token, `sub` alone.
    pub claims: Map<String, Value>,
    /// The token itself, for `credential = "authorization"`.
    pub token: Secret<String>,
    _witness: Witness,
}

impl Verified {
    /// `jti` of a JWT, where it is a string that an entry could name.
    pub fn token_id(&self) -> Option<&str> {
        self.claims.get("jti")?.as_str().filter(|id| !id.is_empty() && id.len() <= MAX_WORD)
    }
}

impl fmt::Debug for Verified {
    /// Claims are a person's, and the token is a secret: they are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("issuer", &self.issuer)
            .field("subject", &self.subject)
            .field("session_until", &self.session_until)
            .finish_non_exhaustive()
    }
}

/// A handshake that may come in. Only [`authorize`] makes one: each field is a witness of its check.
#[derive(Debug)]
pub struct Admission {
    /// The handshake, with every token that is ours taken out (unless `credential = "as_sent"`).
    pub opening: OpeningHandshake,
    /// The policy.
    pub policy: Arc<Policy>,
    /// Proof that the Origin was judged.
    pub origin: AllowedOrigin,
    /// Whether something came that browsers send by themselves.
    pub ambient: AmbientCredential,
    /// Proof that the credential was judged.
    pub principal: Principal,
    /// Where the verified token came, or the ticket that it bought.
    pub carrier: Option<Carrier>,
    /// Where the verified token came when it was first judged: of a ticket's session, when it bought the ticket.
    pub proved_by: Option<Carrier>,
    /// The id by which its session may be renewed.
    pub session: Option<SessionId>,
    /// The time at which it was judged.
    pub judged_at: UnixSeconds,
    /// The marker (`bearer`) to answer if the token came as a subprotocol and the backend chooses none.
    pub subprotocol_marker: Option<String>,
    _witness: Witness,
}

impl Admission {
    /// The last second that its session may see: the end of its lease or of the policy's greatest age. Chance may end it
    /// sooner.
    pub fn session_ends(&self) -> UnixSeconds {
        let rules = &self.policy.session;
        let oldest = self.judged_at.saturating_add(rules.max_age);
        self.principal.lease(rules).map_or(oldest, |lease| lease.min(oldest))
    }
}

/// Cannot be made outside this module.
#[derive(Clone, Copy, Debug)]
struct Witness;

/// Judges the credential of a screened handshake at the time `now`, where no ticket was sold.
///
/// Where several `[[auth]]` name the place in which it came and none accepts it, the answer is that of the one that came
/// furthest in judging; of equals, the first.
pub fn authorize(screened: Screened, keys: &Keys, now: UnixSeconds) -> Result<Admission, Refusal> {
    authorize_with_tickets(screened, keys, now, |_| None)
}

/// The same; `redeem` is asked what each ticket stands for that is shown, before anything else is judged: it is gone then,
/// whatever the handshake is refused for. What bought it is judged like any other credential: a key or a right that was
/// taken away meanwhile opens nothing.
pub fn authorize_with_tickets(
    screened: Screened,
    keys: &Keys,
    now: UnixSeconds,
    mut redeem: impl FnMut(&str) -> Option<Sold>,
) -> Result<Admission, Refusal> {
    let Screened { mut opening, policy, origin, ambient, .. } = screened;
    let ways = &policy.auth;
    let shown = ticket::shown(ways, opening.query.as_deref());
    let mut redeemed: Vec<_> = shown.iter().filter_map(|word| redeem(word.expose())).collect();
    let chosen = renewal::take_session_id(&mut opening)?;
    let presented = credential::find(&opening, &carriers(ways))?;
    let carrier = presented.as_ref().map(|presented| presented.carrier.clone());
    let (presented, session) = match presented {
        Some(ticket) if ticket::is_of_tickets(ways, &ticket.carrier) => {
            let place = Place::new(&policy.name, &opening.authority.host, &opening.path, &origin);
            if chosen.is_some() {
                return Err(Refusal::new(Reason::SessionIdMalformed).with_detail("the ticket names its session"));
            }
            // Where two were shown none was found.
            let sold = redeemed.pop().filter(|sold| sold.place == place).ok_or(Reason::TicketUnknown)?;
            (Some(sold.credential), Some(sold.session))
        }
        presented => (presented, chosen),
    };
    let principal = prove_presented(presented.as_ref(), ways, keys, now)?;
    let subprotocol_marker = match &carrier {
        Some(Carrier::Subprotocol(marker)) => Some(marker.clone()),
        _ => None,
    };
    credential::strip(&mut opening, &stripped(&policy));
    Ok(Admission {
        opening,
        policy,
        origin,
        ambient,
        principal,
        carrier,
        proved_by: presented.map(|presented| presented.carrier),
        session,
        judged_at: now,
        subprotocol_marker,
        _witness: Witness,
    })
}

/// The places of which no backend sees what stands there. A ticket is never passed on: it is used.
fn stripped(policy: &Policy) -> Vec<Carrier> {
    let all = carriers(&policy.auth);
    match policy.upstream.credential {
        CredentialForwarding::AsSent => {
            all.into_iter().filter(|carrier| ticket::is_of_tickets(&policy.auth, carrier)).collect()
        }
        CredentialForwarding::Strip | CredentialForwarding::Authorization => all,
    }
}

/// Who presents this credential, which came in a place that the rules name.
pub(super) fn prove_presented(
    presented: Option<&credential::Presented>,
    rules: &[Auth],
    keys: &Keys,
    now: UnixSeconds,
) -> Result<Principal, Refusal> {
    match presented {
        None => without_credential(rules),
        Some(presented) => judge(presented, rules, keys, now).map(Principal::Verified),
    }
}

/// Every place that the rules name, once, in their order.
pub fn carriers(rules: &[Auth]) -> Vec<Carrier> {
    let mut places: Vec<Carrier> = Vec::new();
    for rule in rules {
        for carrier in rule.from() {
            if !places.contains(carrier) {
                places.push(carrier.clone());
            }
        }
    }
    places
}

fn without_credential(rules: &[Auth]) -> Result<Principal, Refusal> {
    let lenient = rules.iter().find_map(|rule| match rule {
        Auth::Backend => Some(Principal::Deferred),
        Auth::Open => Some(Principal::Anonymous),
        Auth::Jwt(_) | Auth::Token(_) | Auth::Ticket(_) => None,
    });
    lenient.ok_or_else(|| Reason::CredentialMissing.into())
}

fn judge(
    presented: &credential::Presented,
    rules: &[Auth],
    keys: &Keys,
    now: UnixSeconds,
) -> Result<Verified, Refusal> {
    let mut furthest = Refusal::new(Reason::CredentialMissing);
    for rule in rules.iter().filter(|rule| rule.from().contains(&presented.carrier)) {
        let judged = match rule {
            Auth::Jwt(rules) => judge_jwt(&presented.token, rules, keys, now),
            Auth::Token(rules) => judge_token(&presented.token, rules, keys, now),
            Auth::Ticket(_) | Auth::Backend | Auth::Open => continue,
        };
        match judged {
            Ok(verified) => return Ok(verified),
            Err(refusal) if progress(refusal.reason) > progress(furthest.reason) => furthest = refusal,
            Err(_) => {}
        }
    }
    Err(furthest)
}

/// How far a credential came before it was refused, in the order in which [`jwt::verify`] judges; a claim may be invalid
/// at each step and counts as the first. A verified token's refusal says more than an unknown token's; that keys were
/// unavailable says that an unverified one might have passed.
fn progress(reason: Reason) -> u8 {
    match reason {
        Reason::ClaimRequired => 6,
        Reason::TokenAudience => 5,
        Reason::TokenExpired | Reason::TokenNotYetValid | Reason::TokenLifeTooLong => 4,
        Reason::TokenIssuer | Reason::TokenClaimInvalid => 3,
        Reason::KeysUnavailable => 2,
        Reason::CredentialMissing => 0,
        _ => 1,
    }
}

fn judge_jwt(token: &Secret<String>, rules: &JwtRules, keys: &Keys, now: UnixSeconds) -> Result<Verified, Refusal> {
    let issuer = keys.issuers.get(&rules.issuer).ok_or(Reason::KeysUnavailable)?;
    let jwt::Proof { subject, session_until, issued_at, claims } = jwt::verify(token.expose(), rules, issuer, now)?;
    let session_until = Some(session_until);
    let issuer = Arc::clone(&rules.issuer);
    Ok(Verified { issuer, subject, session_until, issued_at, claims, token: token.clone(), _witness: Witness })
}

fn judge_token(token: &Secret<String>, rules: &TokenRules, keys: &Keys, now: UnixSeconds) -> Result<Verified, Refusal> {
    let table = keys.token_tables.get(&rules.tokens).ok_or(Reason::KeysUnavailable)?;
    let row = table.find(token.expose(), now)?;
    Ok(Verified {
        issuer: Arc::from(issuer_of_tokens(&rules.tokens)),
        subject: row.subject.clone(),
        session_until: row.session_until,
        issued_at: None,
        claims: Map::from_iter([(String::from("sub"), Value::from(row.subject.as_str()))]),
        token: token.clone(),
        _witness: Witness,
    })
}
