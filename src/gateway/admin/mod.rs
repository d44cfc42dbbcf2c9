//! The admin listener: all that changes something, on a unix socket that only its owner may open.
//!
//! A call is judged whole before anything is done: path, method, content type, body. Whoever calls wrongly gets a 4xx in
//! JSON, and nothing was changed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

mod fault;
mod revoke;
mod top;

use fault::Fault;
use top::By;

use super::End;
use super::handover::{Offer, PROTOCOL, answer_under_way};
use super::house::House;
use super::ledger::Lent;
use super::refusals::Refusals;
use super::reload::{Asked, Judged, Reloaded};
use super::sessions::Resident;
use crate::config::Diagnostic;
use crate::config::diagnostic::Severity;
use crate::event::Level;
use crate::net::admin_socket::{AdminSocket, is_owners};
use crate::peer::ConnectionId;
use crate::policy::revocation::Target;
use crate::policy::revocation::order::Order;
use crate::session::Cause;

/// Connections served at a time; beyond, the oldest is cut.
const CONNECTIONS: usize = 16;
/// From accept to the end of the answer: a reload reads every file.
const DEADLINE: Duration = Duration::from_secs(60);
/// From accept to the end of the request head, and from there to the end of the body.
const READ_DEADLINE: Duration = Duration::from_secs(2);
/// The longest body.
const LONGEST_BODY: usize = 64 << 10;
/// The pause after `accept` failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Below this path each refusal has its own.
const REFUSALS: &str = "/api/refusals/";
/// The most sessions of one answer.
const MOST_SESSIONS: usize = 1000;

/// What calls reach.
pub(super) struct Admin {
    pub(super) house: Arc<House>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) reloads: mpsc::Sender<Asked>,
    /// Cancelled by a call that asks for a drain.
    pub(super) drain: End,
    /// What another process may take over.
    pub(super) offer: Offer,
    pub(super) socket: AdminSocket,
    /// One process takes over at a time.
    pub(super) takers: Semaphore,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Reload,
    Drain,
    TakeOver,
    Sessions,
    Session(ConnectionId),
    Revoke,
    Revocations,
    Deny,
    Refusal(ConnectionId),
    Top(By),
}

/// What a call asks for.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    Reload,
    Drain,
    TakeOver,
    Sessions,
    End(ConnectionId),
    Revoke(Order),
    Lift(Order),
    Revocations,
    Denials,
    Refusal(ConnectionId),
    Top(By),
}

/// Serves until the gateway ends, and takes the socket away.
pub(super) async fn serve(admin: Arc<Admin>) {
    let mut connections = JoinSet::new();
    let mut by_age = VecDeque::new();
    let end = admin.house.relieved.clone();
    loop {
        tokio::select! {
            biased;
            () = end.cancelled() => return answer_under_way(connections, READ_DEADLINE, &admin.house.end).await,
            Some(_) = connections.join_next(), if !connections.is_empty() => by_age.retain(|one: &AbortHandle| !one.is_finished()),
            accepted = admin.socket.accept() => match accepted {
                Ok(stream) if is_owners(&stream) => {
                    by_age.push_back(connections.spawn(serve_one(stream, Arc::clone(&admin))));
                    let oldest = (by_age.len() > CONNECTIONS).then(|| by_age.pop_front()).flatten();
                    oldest.inspect(AbortHandle::abort);
                }
                Ok(_) => {}
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

async fn serve_one(stream: UnixStream, admin: Arc<Admin>) {
    let takes_over = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        let (admin, takes_over) = (Arc::clone(&admin), &takes_over);
        async move {
            let answer = answer(request, &admin).await;
            takes_over.store(answer.status() == StatusCode::SWITCHING_PROTOCOLS, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_DEADLINE)
        .keep_alive(false)
        .max_headers(64)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever calls too slowly or wrongly is cut; there is nobody to tell.
    let served = timeout(DEADLINE, connection.without_shutdown()).await;
    if let (true, Ok(Ok(parts))) = (takes_over.load(Ordering::Relaxed), served) {
        admin.hand_over(&parts.io.into_inner()).await;
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(request: Request<Incoming>, admin: &Admin) -> Answer {
    let done = match judge(request).await {
        Ok(Call::TakeOver) if !admin.drain.is_cancelled() => return switching(),
        Ok(call) => admin.does(call).await,
        Err(fault) => Err(fault),
    };
    match done {
        Ok(value) => page(StatusCode::OK, &value),
        Err(fault) => fault.answer(),
    }
}

async fn judge(request: Request<Incoming>) -> Result<Call, Fault> {
    let (head, body) = request.into_parts();
    let place = Place::of(head.uri.path())?;
    let methods = place.methods();
    if !methods.split(", ").any(|method| method == head.method.as_str()) {
        return Err(Fault::Method(methods));
    }
    let body = timeout(READ_DEADLINE, Limited::new(body, LONGEST_BODY).collect()).await.map_err(|_| Fault::Slow)?;
    let body = body.map_err(|error| {
        let malformed = || Fault::Malformed(String::from("the body"));
        if error.is::<http_body_util::LengthLimitError>() { Fault::TooLarge } else { malformed() }
    })?;
    let body = body.to_bytes();
    judge_type(&body, head.headers.get(CONTENT_TYPE))?;
    place.asked(&head.method, &body)
}

impl Place {
    fn of(path: &str) -> Result<Self, Fault> {
        Ok(match path {
            "/api/reload" => Self::Reload,
            "/api/drain" => Self::Drain,
            "/api/take-over" => Self::TakeOver,
            "/api/sessions" => Self::Sessions,
            "/api/revoke" => Self::Revoke,
            "/api/revocations" => Self::Revocations,
            "/api/deny" => Self::Deny,
            "/api/top/bytes" => Self::Top(By::Bytes),
            "/api/top/messages" => Self::Top(By::Messages),
            _ if path.starts_with(REFUSALS) => Self::Refusal(id_below(REFUSALS, path)?),
            _ => Self::Session(id_below("/api/sessions/", path)?),
        })
    }

    fn methods(self) -> &'static str {
        match self {
            Self::Reload | Self::Drain | Self::TakeOver => "POST",
            Self::Sessions | Self::Revocations | Self::Refusal(_) | Self::Top(_) => "GET",
            Self::Session(_) => "DELETE",
            Self::Revoke => "POST, DELETE",
            Self::Deny => "GET, POST, DELETE",
        }
    }

    /// What a call here asks for, with one of its methods.
    fn asked(self, method: &Method, body: &[u8]) -> Result<Call, Fault> {
        let takes_away = *method == Method::DELETE;
        let call = match self {
            Self::Revoke if takes_away => return Ok(Call::Lift(Order::read(body, revoke::REVOKED)?)),
            Self::Revoke => return Ok(Call::Revoke(Order::read(body, revoke::REVOKED)?)),
            Self::Deny if takes_away => return Ok(Call::Lift(revoke::read_denial(body)?)),
            Self::Deny if *method == Method::POST => return Ok(Call::Revoke(revoke::read_denial(body)?)),
            Self::Deny => Call::Denials,
            Self::Reload => Call::Reload,
            Self::Drain => Call::Drain,
            Self::TakeOver => Call::TakeOver,
            Self::Sessions => Call::Sessions,
            Self::Session(id) => Call::End(id),
            Self::Revocations => Call::Revocations,
            Self::Refusal(id) => Call::Refusal(id),
            Self::Top(by) => Call::Top(by),
        };
        takes_nothing(body).map(|()| call)
    }
}

fn id_below(folder: &str, path: &str) -> Result<ConnectionId, Fault> {
    let id = path.strip_prefix(folder).ok_or(Fault::NotFound)?;
    id.parse().map_err(|_| Fault::Malformed(String::from("the id: 32 hexadecimal digits")))
}

fn judge_type(body: &[u8], content_type: Option<&HeaderValue>) -> Result<(), Fault> {
    let is_json = content_type.is_none_or(|value| value.as_bytes().eq_ignore_ascii_case(b"application/json"));
    if !is_json || (content_type.is_none() && !body.is_empty()) {
        return Err(Fault::ContentType);
    }
    Ok(())
}

/// The body of a call that takes nothing is absent, or an empty JSON object.
fn takes_nothing(body: &[u8]) -> Result<(), Fault> {
    let malformed = |what: &str| Err(Fault::Malformed(format!("the body: {what}")));
    match serde_json::from_slice::<Map<String, Value>>(body) {
        _ if body.is_empty() => Ok(()),
        Ok(object) if object.is_empty() => Ok(()),
        Ok(_) => malformed("this call takes nothing"),
        Err(_) => malformed("not a JSON object"),
    }
}

impl Admin {
    async fn does(&self, call: Call) -> Result<Value, Fault> {
        match call {
            Call::Reload => self.reload().await,
            Call::Drain => {
                self.house.notice(Level::Info, "drain_asked", "a drain was asked for by the admin socket".into());
                self.drain.cancel();
                Ok(json!({ "draining": self.house.sessions.len() }))
            }
            // Answered by 101 before it comes here, but by a gateway that ends.
            Call::TakeOver => Err(Fault::Ending),
            Call::Sessions => {
                let (residents, total) = self.house.sessions.some(MOST_SESSIONS);
                let sessions: Vec<Value> = residents.iter().map(|resident| told(resident)).collect();
                Ok(json!({ "total": total, "sessions": sessions }))
            }
            Call::End(id) => {
                let resident = self.house.sessions.find(id).ok_or(Fault::UnknownSession)?;
                resident.control.end(Cause::Revoked);
                Ok(json!({ "ended": id.to_string() }))
            }
            Call::Revoke(order) => self.revoke(order).await,
            Call::Lift(order) => self.lift(order).await,
            Call::Revocations => Ok(self.revocations(|_| true)),
            Call::Refusal(id) => self.refusals.find(id).ok_or(Fault::UnknownRefusal),
            Call::Top(by) => Ok(self.top(by).await),
            Call::Denials => Ok(self.revocations(|target| matches!(target, Target::Denial(_)))),
        }
    }

    /// Gives what is listened on to the process at the other end, and begins to drain once that one accepts.
    async fn hand_over(&self, stream: &UnixStream) {
        let Ok(_only) = self.takers.try_acquire() else { return };
        match self.give(stream).await {
            Ok(lent) => {
                lent.into_iter().for_each(Lent::relieve);
                let text =
                    "another process has taken over the listeners; until this one ends, each counts its caps apart";
                self.house.notice(Level::Info, "handed_over", text.into());
                // From here on only the other process is called. The drain comes last: it has no lead where that is so.
                self.house.relieved.cancel();
                self.house.closing.cancel();
                self.drain.cancel();
            }
            Err(error) => {
                let text = format!("nothing was handed over, and this process goes on: {error}");
                self.house.notice(Level::Warning, "handover_failed", text);
            }
        }
    }

    /// Where anything fails the state is taken back.
    async fn give(&self, stream: &UnixStream) -> io::Result<Option<Lent>> {
        let lent = self.house.lend_ledger().await?;
        self.offer.give(&self.socket, lent.as_ref().map(AsFd::as_fd), stream).await?;
        Ok(lent)
    }

    async fn reload(&self) -> Result<Value, Fault> {
        let (who, came_of_it) = oneshot::channel();
        self.reloads.send(who).await.map_err(|_| Fault::Ending)?;
        let reloaded = came_of_it.await.map_err(|_| Fault::Ending)?;
        let Reloaded { generation, judged, warnings } = reloaded.map_err(Fault::Configuration)?;
        let Judged { sessions, ended } = judged;
        let warnings: Vec<Value> = warnings.iter().map(diagnostic).collect();
        Ok(json!({ "generation": generation, "judged": sessions, "ended": ended, "warnings": warnings }))
    }
}

fn told(resident: &Resident) -> Value {
    let standing = &resident.standing;
    json!({
        "id": resident.id.to_string(),
        "session": standing.session().map(|session| session.to_string()),
        "client": standing.client().to_string(),
        "subject": standing.subject(),
        "policy": standing.policy().as_str(),
        "generation": resident.generation(),
        "path": standing.path(),
        "server": resident.server,
        "age_s": resident.since.elapsed().as_secs(),
    })
}

fn diagnostic(one: &Diagnostic) -> Value {
    let severity = match one.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let file: PathBuf = one.place.path().into();
    json!({
        "severity": severity,
        "code": one.code.as_str(),
        "file": file.to_string_lossy(),
        "line": one.place.line(),
        "message": one.message,
        "help": one.help,
    })
}

/// What follows is no HTTP.
fn switching() -> Answer {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    response
}

fn page(status: StatusCode, value: &Value) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(format!("{value}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
