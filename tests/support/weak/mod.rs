//! A small gateway that is strict, and weak in exactly one thing where a [`Fault`] is switched on.
//!
//! It shows what the suites see and what they miss. Its strictness comes from wsgate's pure floors (the head reader,
//! the opening handshake, the policy, the session); accepting, TLS, dialling, carrying, deadlines and caps are its own. A
//! fault is a small deviation before, between or behind those judgements: what "is not looked at" is put right before
//! it is judged, and what "passes" goes around the judge.
//!
//! `fault` lists the faults and what falls by each; `head`, `origin`, `token`, `backend`, `frames` and `tls` are weak
//! where a fault is theirs.

mod backend;
mod fault;
mod frames;
mod head;
mod origin;
mod relay;
mod tls;
mod token;

pub use fault::Fault;

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use wsgate::config::AdmissionRules;
use wsgate::policy::admission::{Admission, authorize};
use wsgate::policy::auth::Auth;
use wsgate::policy::auth::keys::{Keys, VerifyingKey};
use wsgate::policy::refusal::Answer;
use wsgate::policy::screen::{PolicySet, Transport, screen};
use wsgate::policy::{Policy, Reason, Refusal};
use wsgate::session::{Extensions, Session};
use wsgate::units::{ByteSize, UnixSeconds};
use wsgate::ws::head::{HeadLimits, parse_request};
use wsgate::ws::opening::{answer_101, judge_request};

use super::house::{Plan, Written};
use super::tokens::{Signer, now};

/// For a backend to answer a handshake.
const BACKEND_DEADLINE: Duration = Duration::from_secs(3);
/// For a fault that knows no deadline: longer than any suite looks.
const FOREVER: Duration = Duration::from_secs(3600);
/// How long a refused client is listened to, so that its answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);

/// How long a fault stops everything: longer than a good handshake is repeated where it is dropped.
const STOPPED: Duration = Duration::from_secs(5);

/// A gateway that stands until it is dropped.
pub struct Weak {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its policy and certificates.
    pub files: Written,
    /// What it tells of every connection.
    pub log: PathBuf,
    _tasks: JoinSet<()>,
}

impl Weak {
    /// The gateway of a plan with this fault, or with none, in front of a backend.
    pub async fn standing(plan: &Plan, fault: Option<Fault>, backend: SocketAddr) -> Self {
        let files = plan.written(backend);
        let mut config = files.load().unwrap_or_else(|diagnostics| panic!("the plan does not load: {diagnostics}"));
        let log = files.folder.path().join("log");
        if let Some(fault) = fault {
            loosen(Arc::get_mut(&mut config.policies[0]).expect("a policy of its own"), fault);
        }
        let mut admission = config.gateway.admission;
        if fault == Some(Fault::HeadUnbounded) {
            admission.limits = HeadLimits { bytes: 64 << 20, fields: 1 << 20, target: 64 << 20 };
        }
        if fault == Some(Fault::FieldsUncounted) {
            admission.limits.fields = 1 << 20;
        }
        let gate = Gate {
            fault,
            policy: Arc::clone(&config.policies[0]),
            policies: PolicySet::new(config.policies).unwrap(),
            keys: config.keys,
            admission,
            pending: config.gateway.address.pending,
            signer: Arc::clone(plan.signs()),
            tls: tls::Server::new(&config.gateway.listeners[0], fault),
            backend,
            pool: Mutex::default(),
            stopped: Mutex::default(),
            taken: Mutex::default(),
            wrong: AtomicU32::default(),
            log: Mutex::new(File::create(&log).unwrap()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::new(gate)));
        Self { address, files, log, _tasks: tasks }
    }
}

/// The faults that are values of a policy.
fn loosen(policy: &mut Policy, fault: Fault) {
    let rules = Arc::make_mut(&mut policy.session);
    match fault {
        Fault::MessageSizeUnlimited => rules.from_client.message_size = ByteSize::bytes(u64::MAX),
        Fault::FragmentsUnlimited => rules.from_client.fragments = u32::MAX,
        Fault::MessageRateUnlimited => rules.from_client.messages = None,
        Fault::ControlRateUnlimited => rules.from_client.control = None,
        Fault::NoPing => rules.ping_interval = FOREVER,
        Fault::NoCloseDeadline => rules.close_timeout = FOREVER,
        Fault::PartialFrameForever => rules.partial_header = FOREVER,
        Fault::BackendSizeUnlimited => rules.from_backend.message_size = ByteSize::bytes(u64::MAX),
        Fault::LostBackendIsNormal => rules.close.backend_lost = 1000,
        Fault::LeewayOfAnHour => {
            for auth in &mut policy.auth {
                if let Auth::Jwt(rules) = auth {
                    rules.leeway = Duration::from_secs(3600);
                }
            }
        }
        Fault::ExtensionsPassed => policy.upstream.extensions = Extensions::Pass,
        _ => {}
    }
}

/// What every connection is judged by.
struct Gate {
    fault: Option<Fault>,
    policy: Arc<Policy>,
    policies: PolicySet,
    keys: Arc<Keys>,
    admission: AdmissionRules,
    /// Connections of one address that are not admitted.
    pending: u32,
    signer: Arc<Signer>,
    tls: tls::Server,
    backend: SocketAddr,
    /// A connection to the backend that [`Fault::BackendPooled`] keeps.
    pool: Mutex<Option<TcpStream>>,
    /// Until when a fault has stopped everything.
    stopped: Mutex<Option<Instant>>,
    /// How often each place is taken.
    taken: Mutex<HashMap<Seat, u32>>,
    /// Handshakes on end whose credential was wrong.
    wrong: AtomicU32,
    log: Mutex<File>,
}

impl Gate {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Takes a place, where there is one.
    fn place(self: &Arc<Self>, seat: Seat) -> Option<Place> {
        let quotas = &self.policy.quotas;
        let (most, capless) = match seat {
            Seat::Pending(_) => (self.pending, Fault::NoPendingCap),
            Seat::Session(_) => (quotas.connections_per_address, Fault::NoAddressCap),
            Seat::Subject(_) => (quotas.connections_per_subject, Fault::NoSubjectCap),
        };
        let mut places = self.taken.lock().unwrap();
        let taken = places.entry(seat.clone()).or_default();
        if *taken >= most && !self.has(capless) {
            return None;
        }
        *taken += 1;
        drop(places);
        Some(Place(Arc::clone(self), seat))
    }

    fn stop(&self) {
        *self.stopped.lock().unwrap() = Some(Instant::now() + STOPPED);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.lock().unwrap().is_some_and(|until| Instant::now() < until)
    }

    /// The issuer's public key.
    fn key(&self) -> &VerifyingKey {
        &self.keys.issuers.values().next().expect("an issuer").keys()[0]
    }

    /// Counts wrong credentials on end.
    fn count(&self, is_right: bool) {
        if is_right {
            self.wrong.store(0, Ordering::Relaxed);
        } else {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tell(&self, line: &str) {
        writeln!(self.log.lock().unwrap(), "{line}").unwrap();
    }
}

/// A client's or a backend's byte stream, with TLS or without.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A client whose TLS stands.
struct Client {
    stream: Box<dyn Duplex>,
    /// What was read and is not judged.
    kept: Vec<u8>,
    transport: Transport,
    /// Whether its session of TLS was there before.
    is_resumed: bool,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Seat {
    /// Connections of an address that are not admitted.
    Pending(IpAddr),
    /// Sessions of an address.
    Session(IpAddr),
    /// Sessions of a subject.
    Subject(String),
}

/// A place, given back when it is dropped.
struct Place(Arc<Gate>, Seat);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(taken) = self.0.taken.lock().unwrap().get_mut(&self.1) {
            *taken -= 1;
        }
    }
}

async fn accept(listener: TcpListener, gate: Arc<Gate>) {
    let mut served = JoinSet::new();
    loop {
        let (tcp, peer) = listener.accept().await.unwrap();
        while served.try_join_next().is_some() {}
        if gate.is_stopped() {
            continue;
        }
        if let Some(pending) = gate.place(Seat::Pending(peer.ip())) {
            tcp.set_nodelay(true).unwrap();
            served.spawn(serve(Arc::clone(&gate), tcp, peer.ip(), pending));
        }
    }
}

/// A connection from its accept to its end.
async fn serve(gate: Arc<Gate>, tcp: TcpStream, peer: IpAddr, pending: Place) {
    let deadline = if gate.has(Fault::NoTlsDeadline) { FOREVER } else { gate.admission.tls };
    if gate.has(Fault::EndlessHelloTaken) && tls::is_endless(&tcp, deadline).await {
        return tls::swallow(tcp).await;
    }
    let entered = timeout(deadline, gate.tls.enter(&gate, tcp, peer)).await;
    let Ok(Some(mut client)) = entered else { return };
    loop {
        match admit(&gate, &mut client).await {
            Ok(admitted) => {
                drop(pending);
                relay::carry(&gate, client, admitted.backend, admitted.session).await;
                return;
            }
            Err(refused)
                if gate.has(Fault::TunnelOnRefusal) && refused.refusal.reason == Reason::VersionUnsupported =>
            {
                return backend::tunnel(&gate, client, &refused.asked).await;
            }
            Err(refused) if head::is_forwarded(&gate, &refused.asked) => {
                return backend::tunnel(&gate, client, &refused.asked).await;
            }
            Err(refused) if refuse(&gate, &mut client, &refused).await => {}
            Err(_) => return,
        }
    }
}

/// A session about to begin.
struct Admitted {
    backend: Backend,
    session: Session,
    _places: [Place; 2],
}

/// A backend that agreed.
struct Backend {
    stream: TcpStream,
    /// What it sent behind its answer.
    glued: Vec<u8>,
}

/// What is refused, and what was asked for.
struct Refused {
    refusal: Refusal,
    asked: head::Head,
    /// A backend's own answer, where it is passed on.
    passed: Vec<u8>,
}

impl Refused {
    fn of(asked: &head::Head) -> impl Fn(Refusal) -> Self + use<'_> {
        |refusal| Self { refusal, asked: asked.clone(), passed: Vec::new() }
    }
}

/// From a connection's first byte, or the first behind a refusal, to its 101.
async fn admit(gate: &Arc<Gate>, client: &mut Client) -> Result<Admitted, Refused> {
    let deadline = if gate.has(Fault::NoHeadDeadline) { FOREVER } else { gate.admission.head };
    let read = timeout(deadline, head::read(gate, client)).await;
    let bytes = read.unwrap_or_else(|_| Err(Reason::HeadTimeout.into()));
    if gate.has(Fault::LongHeadAwaited) && matches!(&bytes, Err(refusal) if refusal.reason == Reason::HeadTooLarge) {
        head::pass_over(client).await;
    }
    let unread = if gate.has(Fault::NoiseForwarded) { client.kept.as_slice() } else { &[] };
    let asked = head::Head::of(bytes.as_deref().unwrap_or(unread));
    let refused = Refused::of(&asked);
    bytes.map_err(&refused)?;

    let mut mended = asked.clone();
    head::wait(gate, client, &asked).await;
    head::mend(gate, client, &mut mended);
    let head = parse_request(&mended.bytes(), &gate.admission.limits).map_err(|error| refused(error.into()))?;
    let mut opening = judge_request(head).map_err(|error| refused(error.into()))?;
    let early = std::mem::take(&mut client.kept);
    if !early.is_empty() && !gate.has(Fault::EarlyBytesForwarded) {
        client.kept = early;
        return Err(refused(Reason::EarlyBytes.into()));
    }
    origin::mend(gate, &mut opening);
    let mut screened = screen(opening, &client.transport, &gate.policies).map_err(&refused)?;
    token::mend(gate, client, &mut screened);
    let admission = authorize(screened, &gate.keys, UnixSeconds(now()));
    gate.count(admission.is_ok());
    let admission = admission.map_err(&refused)?;
    let place = |seat, full: Reason| gate.place(seat).ok_or_else(|| refused(full.into()));
    let subject = admission.principal.name().unwrap_or_default();
    let places = [
        place(Seat::Session(client.transport.client.ip()), Reason::AddressSessions)?,
        place(Seat::Subject(subject), Reason::SubjectSessions)?,
    ];

    let (backend, accepted) = backend::dial(gate, client, &asked, &admission, early).await?;
    gate.tell(&format!("admitted {}", told(gate, &asked)));
    let chosen = accepted.subprotocol.as_deref().or(admission.subprotocol_marker.as_deref());
    let chosen = token::chosen(gate, &asked, chosen);
    let answer = answer_101(&admission.opening.key, chosen.as_deref(), accepted.extensions.as_deref());
    let _ = client.stream.write_all(&answer).await;
    let _ = client.stream.flush().await;
    let extensions = if accepted.extensions.is_some() { Extensions::Pass } else { Extensions::Strip };
    Ok(Admitted { backend, session: session(gate, &admission, extensions), _places: places })
}

fn session(gate: &Gate, admission: &Admission, extensions: Extensions) -> Session {
    let until = admission.principal.session_until().filter(|_| !gate.has(Fault::SessionOutlivesToken));
    let lease = until.map(|until| until.saturating_since(UnixSeconds(now())));
    let random = |bytes: &mut [u8]| aws_lc_rs::rand::fill(bytes).unwrap();
    Session::new(Arc::clone(&gate.policy.session), extensions, lease, Instant::now(), random)
}

/// What the log says of a request: its path.
fn told(gate: &Gate, asked: &head::Head) -> String {
    let target = asked.start.split(' ').nth(1).unwrap_or_default();
    if gate.has(Fault::TokenLogged) {
        return format!("{target} {:?}", asked.lines);
    }
    target.split(['?', '#', ';']).next().unwrap_or_default().escape_default().to_string()
}

/// Answers a refusal; says whether the connection goes on.
async fn refuse(gate: &Gate, client: &mut Client, refused: &Refused) -> bool {
    let Refused { refusal, asked, passed } = refused;
    gate.tell(&format!("refused {} {}", refusal.reason.code(), told(gate, asked)));
    let goes_on = gate.has(Fault::KeepAliveAfterRefusal) && !asked.start.is_empty();
    let Answer::Status(status) = refusal.reason.answer() else { return false };
    if gate.has(Fault::SenderCut) && !asked.start.is_empty() && head::still_sends(client).await {
        return false;
    }
    let bytes = if passed.is_empty() { answer(gate, refusal.reason, status, asked, goes_on) } else { passed.clone() };
    let written = async { client.stream.write_all(&bytes).await.is_ok() && client.stream.flush().await.is_ok() };
    let is_written = timeout(LINGER, written).await.unwrap_or(false);
    if goes_on {
        // The next request has all the time that it wants.
        return !client.kept.is_empty() || matches!(client.stream.read_buf(&mut client.kept).await, Ok(1..));
    }
    if !is_written {
        return false;
    }
    if gate.has(Fault::RefusalStays) {
        let _ = tokio::io::copy(&mut client.stream, &mut tokio::io::sink()).await;
    }
    let _ = timeout(LINGER, client.stream.shutdown()).await;
    let mut rest = (&mut client.stream).take(64 << 10);
    let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    false
}

fn answer(gate: &Gate, reason: Reason, status: u16, asked: &head::Head, goes_on: bool) -> Vec<u8> {
    let body = match gate.fault {
        Some(Fault::RefusalReflects) => format!("{} from {:?} is refused\n", asked.target(), asked.value("origin")),
        Some(Fault::TokenReflected) if status == 401 => format!("{:?} is refused\n", asked.value("authorization")),
        Some(Fault::ReasonTold) if status == 401 => format!("{}\n", reason.code()),
        _ => String::from("refused\n"),
    };
    let mut head =
        format!("HTTP/1.1 {status} Refused\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n", body.len());
    head += if goes_on { "Connection: keep-alive\r\n" } else { "Connection: close\r\n" };
    head += match status {
        401 => "WWW-Authenticate: Bearer\r\n",
        405 => "Allow: GET\r\n",
        426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        429 | 503 => "Retry-After: 1\r\n",
        _ => "",
    };
    if !gate.has(Fault::NoHsts) {
        head += "Strict-Transport-Security: max-age=63072000\r\n";
    }
    if gate.has(Fault::RefusalNamesServer) {
        head += "Server: weak/1.0.2\r\n";
    }
    if gate.has(Fault::RefusalAllowsOrigin) {
        head += &format!("Access-Control-Allow-Origin: {}\r\n", asked.value("origin").unwrap_or("*"));
    }
    format!("{head}\r\n{body}").into_bytes()
}
