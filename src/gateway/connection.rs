//! The life of a connection: [`serve`] tells it whole, [`open`] leads to its 101, [`admit`] is the way in.
//!
//! Cheap tests stand before dear ones. A refusal in any room leaves by one door; every permit is a value that returns
//! by being dropped, whatever the way out.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::entrance::{self, Entered};
use super::house::{Door, House};
use super::queue::Turn;
use super::sessions::{Registration, Resident};
use super::snapshot::Snapshot;
use super::tell::{self, Told, Words};
use super::visit::{Stay, Visit};
use super::{answer, calls, clock, proof, random};
use crate::config::ProxyMode;
use crate::limits::{AddressPermit, ConnectionPermit, ServerPermit, SessionPermit, SubjectPermit};
use crate::net::http;
use crate::net::listener::Incoming;
use crate::net::relay::Relay;
use crate::net::tls::{BackendStream, ClientStream};
use crate::net::upstream::{Call, UpstreamConnection};
use crate::policy::admission::{Admission, authorize_with_tickets};
use crate::policy::balance::HashKey;
use crate::policy::balance::condition::Client;
use crate::policy::forward::{self, ForwardFacts};
use crate::policy::screen::{Screened, screen};
use crate::policy::standing::{Standing, Upheld};
use crate::policy::{Policy, Reason, Refusal};
use crate::session::{By, Cause, Ended, Extensions, Session};
use crate::ws::call;
use crate::ws::opening::{self, WebSocketKey};

/// A handshake that was admitted, its backend connection, and the places it holds while its session lives.
struct Admitted {
    admission: Admission,
    /// What its session is held to.
    upheld: Upheld,
    upstream: UpstreamConnection<ServerPermit>,
    session: SessionPermit,
    subject: SubjectPermit,
    registration: Registration,
}

/// Where a way in leads that is not refused with a status.
enum Way {
    In(Box<Admitted>),
    /// A call to the gateway itself; the visit has been told.
    Answered(Vec<u8>),
    /// A refusal that its page is told by a Close frame.
    Told(Told),
}

/// What is charged and proved before a backend is dialled.
struct Proved {
    session: SessionPermit,
    subject: SubjectPermit,
    admission: Admission,
}

/// A relay whose 101 is written, and who tells of its end.
type Opened = (Relay<ClientStream, BackendStream, Permits>, Stay);

/// What a session holds while it lives.
type Permits = (ConnectionPermit, SessionPermit, SubjectPermit, ServerPermit, Registration);

/// Carries a connection from its accept to its last record.
pub(super) async fn serve(
    house: Arc<House>,
    door: Arc<Door>,
    socket: Incoming,
    mut visit: Visit,
    connection: ConnectionPermit,
) {
    let address = match entrance::charge_unread(&house, &door, &mut visit) {
        Ok(address) => address,
        Err(refusal) => return visit.refused(&refusal),
    };
    let opening = Box::pin(open(&house, &door, socket, visit, connection, address));
    if let Some(Some((relay, stay))) = house.end.run_until_cancelled(opening).await {
        // A task of its own: nothing of a finished handshake stays allocated beside its session.
        house.connections.spawn(relay.run(move |ended| stay.closed(ended)));
    }
}

/// Leads a connection to its 101, or answers it with a refusal.
async fn open(
    house: &House,
    door: &Door,
    socket: Incoming,
    mut visit: Visit,
    mut connection: ConnectionPermit,
    address: Option<AddressPermit>,
) -> Option<Opened> {
    let deadline = visit.deadline(house.rules.total);
    let Entered { tcp, tls_time, mut address, turn } =
        entrance::enter(house, door, socket, address, &mut visit).await?;
    let way_in = async {
        let mut client = entrance::secured(house, door, tcp, tls_time, &mut visit).await?;
        let way = timeout_at(deadline, admit(house, door, &mut client, &mut address, &mut visit, &turn)).await;
        Some((client, way.unwrap_or_else(|_| Err(Reason::AdmissionTimeout.into()))))
    };
    let (mut client, way) = turn.lasts(way_in).await?;
    let Admitted { admission, upheld, upstream, session: session_permit, subject, registration } = match way {
        Ok(Way::In(admitted)) => *admitted,
        Ok(Way::Answered(response)) => {
            http::answer(&mut client, response, &house.lingering).await;
            return None;
        }
        Ok(Way::Told(told)) => {
            visit.refused(&told.refusal);
            tell::tell(house, client, told, visit.id()).await;
            return None;
        }
        Err(refusal) => {
            visit.refused(&refusal);
            answer::refuse(house, client, &refusal, visit.id()).await;
            return None;
        }
    };

    let (head, subprotocol) = answer::switching_protocols(&admission, &upstream.accepted);
    let rules = Arc::clone(&upheld.policy.session);
    let stay = visit.opened(registration.resident(), subprotocol);
    if answer::write(&mut client, &head, deadline).await.is_err() {
        stay.closed(&Ended::before_any_frame(Cause::ClientLost, By::Client));
        return None;
    }
    connection.end_pending();
    let extensions = if upstream.accepted.extensions.is_some() { Extensions::Pass } else { Extensions::Strip };
    // What is left when the 101 is written: that may have taken its time.
    let (now, lease) = (Instant::now().into_std(), upheld.session_until.map(clock::left_until));
    let session = Session::new(rules, extensions, lease, now, random::fill);
    let UpstreamConnection { stream: backend, glued: backend_leftover, permit: server, .. } = upstream;
    let control = registration.resident().control.clone();
    let places = (connection, session_permit, subject, server, registration);
    let observer = Arc::clone(&house.observer);
    Some((Relay { client, backend, backend_leftover, session, control, observer, places }, stay))
}

/// Leads a connection from its first byte to a verified 101 of a backend.
async fn admit(
    house: &House,
    door: &Door,
    client: &mut ClientStream,
    address: &mut Option<AddressPermit>,
    visit: &mut Visit,
    turn: &Turn<'_>,
) -> Result<Way, Refusal> {
    let read = http::read_head(client, &house.rules.limits, Instant::now() + house.rules.head).await?;
    if door.proxy == ProxyMode::XForwardedFor {
        *address = entrance::charge_forwarded(house, door, &read.head.headers, visit)?;
    }
    visit.asks_for(&read.head);
    if call::is_call(&read.head) {
        return calls::serve(house, client, read, visit).map(Way::Answered);
    }
    let opening = opening::judge_request(read.head)?;
    if !read.rest.is_empty() {
        return Err(Reason::EarlyBytes.into());
    }

    let snapshot = house.snapshot.load_full();
    visit.is_judged_by(snapshot.generation);
    let transport = entrance::transport(client, visit);
    let screened = screen(opening, &transport, &snapshot.policies)?;
    let Screened { policy, .. } = &screened;
    visit.falls_under(&policy.name);
    let policy = Arc::clone(policy);

    let words = Words::of(&screened);
    let proved = match (prove(house, screened, &snapshot, visit, turn), words) {
        (Err(refusal), Some(words)) => return words.tell(refusal).map(Way::Told),
        (proved, _) => proved?,
    };
    let Proved { session, subject, admission } = proved;

    let dialer = snapshot.dialers.get(&policy.name).ok_or(Reason::Internal)?;
    let key = WebSocketKey::generate(random::bytes()?);
    let cap = policy.upstream.connections_per_server;
    let facts = ForwardFacts { client: transport.client, proto: door.scheme(), request_id: visit.id(), key: &key };
    let call = Call {
        key: &key,
        client: Client::new(transport.client.net(), visit.subject().map(HashKey::of)),
        hash: HashKey::asked_for(&policy.upstream.balancing.balance, &admission, transport.client),
        random: u64::from_be_bytes(random::bytes()?),
    };
    let dial = dialer.dial(
        &call,
        |server| house.limits.sessions_on(&policy.name, &server.name),
        |server| house.limits.reserve_server(&policy.name, &server.name, cap),
        |server| forward::build_request(&admission, server, facts),
    );
    let upstream = entrance::while_silent(client, dial).await.inspect_err(|refusal| {
        if let (true, Some(client)) = (refusal.reason.is_backend_denial(), visit.charged()) {
            house.limits.record_failure(client);
        }
    })?;
    let standing = Standing::new(&admission, transport.client, &upstream.accepted);
    let resident = Resident::new(visit.id(), standing, &upstream.server, visit.generation());
    let registration = house.sessions.register(resident)?;
    registration.resident().judge_by_facts(|facts| house.ledger.judge(facts, clock::unix_now()))?;
    let upheld = uphold(house, &admission, registration.resident(), visit)?;
    Ok(Way::In(Box::new(Admitted { admission, upheld, upstream, session, subject, registration })))
}

/// Judges a handshake again if policies or keys were replaced while it was under way, and its server if not. It is
/// registered by then: who replaces them, or takes its server down, after this look finds it among the sessions, so between
/// an old right and a changed one nothing slips through.
fn uphold(house: &House, admission: &Admission, resident: &Resident, visit: &mut Visit) -> Result<Upheld, Refusal> {
    let snapshot = house.snapshot.load_full();
    if snapshot.generation == visit.generation() {
        resident.judge_server(&admission.policy, &snapshot)?;
        let session_until = admission.principal.lease(&admission.policy.session);
        return Ok(Upheld { policy: Arc::clone(&admission.policy), session_until });
    }
    visit.is_judged_by(snapshot.generation);
    resident.judge(&snapshot)
}

/// Charges the address for a session and an attempt before any signature is checked, judges the credential and whether it
/// was revoked, and charges its subject. Only a credential that does not hold counts as a failed attempt.
fn prove(
    house: &House,
    screened: Screened,
    snapshot: &Snapshot,
    visit: &mut Visit,
    turn: &Turn<'_>,
) -> Result<Proved, Refusal> {
    let policy = Arc::clone(&screened.policy);
    let Policy { name, quotas, .. } = policy.as_ref();
    let (session, admission) = proof::attempted(house, visit, || {
        let session = house.limits.reserve_session(visit.charged(), name, quotas)?;
        let token = turn.take_token().map_or_else(|| house.limits.take_pace(), Ok);
        let token = token.map_err(|wait| Refusal::new(Reason::AdmissionPace).retry_after(wait))?;
        let now = clock::unix_now();
        let admission = authorize_with_tickets(screened, &snapshot.keys, now, |word| house.till.redeem(word))?;
        proof::judge_revoked(house, visit, name, &admission.principal, now)?;
        token.spend();
        Ok((session, admission))
    })?;
    visit.proved_to_be(&admission.principal);
    let subject = house.limits.reserve_subject(name, quotas, visit.subject())?;
    if admission.session.is_some_and(|session| house.sessions.called(session).is_some()) {
        return Err(Reason::SessionIdTaken.into());
    }
    Ok(Proved { session, subject, admission })
}

#[cfg(test)]
mod tests;
