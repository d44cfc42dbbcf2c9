//! Calls to the gateway itself: a ticket is sold, a lease renewed, a browser told whether its page may ask.
//!
//! A call goes through the rooms of a handshake: its connection was charged to its address, it is screened by the policy of
//! the handshake that it is about, the address's failure budget stands before the signature, and the subject's rate behind
//! it. It takes no session's place. Who may not read the answer, a page of another origin, leaves by the one door of
//! refusals; who may is told more than that, so that a page learns the status.

use super::entrance;
use super::house::House;
use super::snapshot::Snapshot;
use super::visit::Visit;
use super::{clock, proof, random};
use crate::net::http::{self, HeadRead, Reply, TransportSecurity};
use crate::net::tls::ClientStream;
use crate::peer::{ClientAddr, SessionId};
use crate::policy::admission::Principal;
use crate::policy::call::{ScreenedCall, Sharing, prove_call, screen_call};
use crate::policy::credential::Presented;
use crate::policy::standing::Renewal;
use crate::policy::ticket::{Buyer, Sold, TICKET_LIFE};
use crate::policy::{Reason, Refusal};
use crate::session::Cause;
use crate::units::UnixSeconds;
use crate::ws::call::{Method, Service, judge_call};

/// How long a browser may remember what it was told of a page.
const PREFLIGHT_LIFE: &str = "600";

/// Who makes a call, what with, and when it was judged.
struct Caller {
    principal: Principal,
    presented: Presented,
    now: UnixSeconds,
}

/// Answers a call. What comes back is the whole answer, and the visit has been told of it; the error is a refusal that
/// leaves by the one door.
pub(super) fn serve(
    house: &House,
    client: &ClientStream,
    read: HeadRead,
    visit: &mut Visit,
) -> Result<Vec<u8>, Refusal> {
    let call = judge_call(read.head)?;
    if !read.rest.is_empty() {
        return Err(Reason::EarlyBytes.into());
    }
    let snapshot = house.snapshot.load_full();
    visit.is_judged_by(snapshot.generation);
    let call = screen_call(call, &entrance::transport(client, visit), &snapshot.policies)?;
    visit.falls_under(&call.policy.name);
    let served = match call.call.method {
        Method::Preflight => Ok(None),
        Method::Post => post(house, &snapshot, &call, visit).map(Some),
    };
    let security = TransportSecurity::of(client.is_tls());
    let fields = |preflight| call.sharing().map_or_else(String::new, |sharing| fields_of(sharing, preflight));
    match served {
        Ok(body) => {
            let preflight = body.is_none();
            visit.answered(if preflight { "preflight" } else { call.call.service.as_str() });
            Ok(http::reply(&Reply { body: body.as_deref(), fields: &fields(preflight) }, security))
        }
        Err(refusal) => refuse(refusal, &fields(false), security, visit),
    }
}

/// The answer to a refusal that its page may read; one that is not answered leaves by the one door.
fn refuse(refusal: Refusal, fields: &str, security: TransportSecurity, visit: &mut Visit) -> Result<Vec<u8>, Refusal> {
    match http::refusal_reply(&refusal, visit.id(), security, random::jitter(), fields) {
        Some(reply) => {
            visit.refused(&refusal);
            Ok(reply)
        }
        None => Err(refusal),
    }
}

/// The fields by which a browser lets its page read an answer, and when to come back; `Vary`, so that no cache hands it to
/// another page.
fn fields_of(sharing: Sharing<'_>, preflight: bool) -> String {
    let Sharing { origin, credentials } = sharing;
    let mut fields = format!("Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n");
    if credentials {
        fields.push_str("Access-Control-Allow-Credentials: true\r\n");
    }
    if preflight {
        fields.push_str("Access-Control-Allow-Methods: POST\r\nAccess-Control-Allow-Headers: authorization\r\n");
        fields.extend(["Access-Control-Max-Age: ", PREFLIGHT_LIFE, "\r\n"]);
    } else {
        fields.push_str("Access-Control-Expose-Headers: Retry-After\r\n");
    }
    fields
}

/// Proves who calls, and does what is asked; the body of the answer.
fn post(house: &House, snapshot: &Snapshot, call: &ScreenedCall, visit: &mut Visit) -> Result<String, Refusal> {
    let place = match call.call.service {
        Service::Ticket => Some(call.place().ok_or(Reason::TicketsNotSold)?),
        Service::Renew => None,
    };
    let session = call.call.session.as_deref().map(str::parse::<SessionId>).transpose();
    let session = session.map_err(|_| Reason::SessionIdMalformed)?;
    let caller = prove(house, snapshot, call, visit)?;
    let subject = caller.principal.name().ok_or(Reason::CredentialMissing)?;
    let policy = &call.policy;
    house.limits.charge_call(&policy.name, &policy.quotas, &subject)?;
    if house.closing.is_cancelled() {
        return Err(Reason::Draining.into());
    }
    match (place, session) {
        (Some(place), _) => {
            let session = SessionId::from_bytes(random::bytes()?);
            let sold = Sold { place, credential: caller.presented, session };
            let net = visit.charged().map(ClientAddr::net);
            let ticket = house.till.sell(sold, Buyer { subject: subject.into(), net })?;
            let expires = caller.now.saturating_add(TICKET_LIFE).0;
            // Words of base64url and hexadecimal: nothing in them needs an escape.
            Ok(format!("{{\"ticket\":\"{}\",\"session\":\"{session}\",\"expires\":{expires}}}\n", ticket.expose()))
        }
        (None, Some(session)) => {
            let expires = renew(house, call, session, &subject, caller)?.0;
            Ok(format!("{{\"session\":\"{session}\",\"expires\":{expires}}}\n"))
        }
        (None, None) => Err(Reason::SessionIdMalformed.into()),
    }
}

/// Charges the address's failure budget, and judges the credential.
fn prove(house: &House, snapshot: &Snapshot, call: &ScreenedCall, visit: &mut Visit) -> Result<Caller, Refusal> {
    let now = clock::unix_now();
    let (principal, presented) = proof::attempted(house, visit, || {
        let (principal, presented) = prove_call(call, &snapshot.keys, now)?;
        proof::judge_revoked(house, visit, &call.policy.name, &principal, now)?;
        Ok((principal, presented))
    })?;
    visit.proved_to_be(&principal);
    Ok(Caller { principal, presented, now })
}

/// Gives a session the lease of the caller's credential; when it ends then. A session that is not here, of another policy
/// or of another subject: nobody learns which.
fn renew(
    house: &House,
    call: &ScreenedCall,
    session: SessionId,
    subject: &str,
    caller: Caller,
) -> Result<UnixSeconds, Refusal> {
    let resident = house.sessions.called(session).ok_or(Reason::UnknownSession)?;
    let standing = &resident.standing;
    if *standing.policy() != call.policy.name || standing.subject() != Some(subject) {
        return Err(Reason::UnknownSession.into());
    }
    let Caller { principal, presented, now } = caller;
    let expires = resident.renew(&house.snapshot, Renewal::new(&principal, presented, now))?;
    // Renewed first, compared then: who revokes this credential meanwhile finds it with its session, or is found here.
    if let Err(revoked) = resident.judge_by_facts(|facts| house.ledger.judge(facts, now)) {
        resident.control.end(Cause::Revoked);
        return Err(revoked);
    }
    Ok(expires)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::fixture::{GATEWAY, Ground};
    use crate::gateway::fixture::Stage;
    use crate::gateway::sessions::{Registration, Resident};
    use crate::peer::ConnectionId;
    use crate::policy::admission::authorize;
    use crate::policy::auth::algorithm::Algorithm;
    use crate::policy::auth::fixtures::{CLAIMS, NOW, Signer};
    use crate::policy::refusal::Answer;
    use crate::policy::revocation::{Entry, Target};
    use crate::policy::screen::{Transport, screen};
    use crate::policy::standing::Standing;
    use crate::ws::head::{HeadLimits, parse_request};
    use crate::ws::opening::{Accepted, judge_request};

    const ID: &str = "f81d4fae-7dec-41d0-a765-00a0c91e6bf6";
    const POLICY: &str = "[route]\nhosts = [\"chat.test\"]\npaths = [\"/chat\"]\n[upstream]\nservers = [\"ws://127.0.0.1:1\"]\n\
                          [origin]\nallow = [\"https://app.test\"]\n[[auth]]\nby = \"jwt\"\nissuer = \"login\"\n\
                          from = [\"authorization\"]\naudience = [\"chat\"]\n";

    /// A gateway, and who signs its tokens.
    fn house() -> (Stage, Signer) {
        let (ground, signer) = (Ground::new(), Signer::new(Algorithm::Es256));
        ground.write("certs/login-a.pem", &signer.public_pem);
        ground.write("gateway.toml", GATEWAY.replace(", \"certs/login-b.pem\"", ""));
        ground.write("policies/chat.toml", POLICY);
        (Stage::on(ground), signer)
    }

    fn transport() -> Transport {
        Transport {
            client: "127.0.0.1".parse().map(ClientAddr::new).unwrap(),
            server_name: None,
            client_certificate: false,
        }
    }

    /// A token with this id.
    fn token(signer: &Signer, id: &str) -> String {
        signer.token(&CLAIMS.replace("\"sub\"", &format!("\"jti\":\"{id}\",\"sub\"")))
    }

    fn head(start: &str, token: &str, fields: &str) -> crate::ws::head::RequestHead {
        let head = format!("{start} HTTP/1.1\r\nHost: chat.test\r\nAuthorization: Bearer {token}\r\n{fields}\r\n");
        parse_request(head.as_bytes(), &HeadLimits { bytes: 16_384, fields: 32, target: 2048 }).unwrap()
    }

    /// A session of alice's that has its 101.
    fn session(house: &House, signer: &Signer) -> Registration {
        let fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let opening = judge_request(head(&format!("GET /chat?wsgate_session={ID}"), &token(signer, "first"), fields));
        let snapshot = house.snapshot.load_full();
        let screened = screen(opening.unwrap(), &transport(), &snapshot.policies).unwrap();
        let admission = authorize(screened, &snapshot.keys, NOW).unwrap();
        let standing = Standing::new(&admission, transport().client, &Accepted::default());
        let resident = Resident::new(ConnectionId::from_bytes([7; 16]), standing, "ws://127.0.0.1:1", 1);
        house.sessions.register(resident).unwrap()
    }

    #[test]
    fn a_call_is_answered_or_leaves_by_the_one_door() {
        let Stage { house, .. } = Stage::new();
        let mut answered = 0;
        for reason in Reason::ALL {
            let mut visit = Visit::begin(&house.observer, &house.end, Ipv4Addr::LOCALHOST.into());
            match (reason.answer(), refuse((*reason).into(), "X-Y: z\r\n", TransportSecurity::Plain, &mut visit)) {
                (Answer::Status(status), Ok(reply)) => {
                    let reply = String::from_utf8(reply).unwrap();
                    assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
                    assert!(reply.contains("\r\nX-Y: z\r\n"), "{reply}");
                    answered += 1;
                }
                (Answer::Drop, Err(refusal)) => assert_eq!(refusal.reason, *reason),
                (answer, told) => panic!("{reason:?}, {answer:?}: {told:?}"),
            }
        }
        assert!((1..Reason::ALL.len()).contains(&answered), "some are answered, and some are not");
    }

    #[tokio::test]
    async fn au28_a_credential_that_is_revoked_while_it_renews_ends_what_it_renewed() {
        let mut ran = 0;
        let cases = [
            ("fresh", Some(Reason::CredentialRevoked)),
            // Its session is ending.
            ("first", Some(Reason::UnknownSession)),
            ("another", None),
        ];
        for (revoked, expected) in cases {
            let (Stage { house, .. }, signer) = house();
            let registration = session(&house, &signer);
            let snapshot = house.snapshot.load_full();
            let start = format!("POST /.wsgate/renew?path=/chat&session={ID}");
            let call = judge_call(head(&start, &token(&signer, "fresh"), "")).unwrap();
            let call = screen_call(call, &transport(), &snapshot.policies).unwrap();
            let (principal, presented) = prove_call(&call, &snapshot.keys, NOW).unwrap();
            // It was proved by now, and nothing of it was revoked.
            let target = Target::TokenId { id: revoked.into(), issuer: None };
            let entry = Entry { target, since: None, until: UnixSeconds(u64::MAX) };
            let ended = house.revoke(entry, NOW).unwrap().ended;
            assert_eq!(ended, usize::from(revoked == "first"), "{revoked}: the session is not this token's yet");
            let caller = Caller { principal, presented, now: NOW };
            let renewed = renew(&house, &call, ID.parse().unwrap(), "login/alice", caller);
            assert_eq!(renewed.err().map(|refusal| refusal.reason), expected, "{revoked}");
            let is_ended = !registration.resident().control.mark(Cause::Revoked);
            assert_eq!(is_ended, revoked != "another", "{revoked}");
            ran += 1;
        }
        assert_eq!(ran, 3);
    }
}
