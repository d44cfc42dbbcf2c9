//! A connection that is cut at every await of its way in, one after the other, leaves nothing behind.
//!
//! Client and backend send piece by piece and wait after each until the connection was polled, and a turnstile makes it
//! wait for its turns of TLS: so it waits wherever it can wait. The n-th run ends it while it waits for the n-th time; the
//! first run that nobody had to cut is a handshake that came to its end. What is written here fits into the buffers of a
//! socket and never waits, and an await that does not wait is no place to be cut.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

mod cut;
mod peers;
mod told;

use cut::{Cut, How, Stage};
use peers::{Authority, CLOSED, Client, Progress, Service, authority, trusting, turnstile};
use told::{ending, generation};

use super::*;
use crate::config::fixture::Ground;
use crate::event::{Event, Observer};
use crate::gateway::ledger::Ledger;
use crate::net::http::LINGER_SLOTS;
use crate::net::listener::{Acceptor, Listener};
use crate::net::tls::ServerTls;
use crate::policy::auth::token::digest_hex;
use crate::policy::quota::NetworkRules;

/// More cuts than any way in has.
const TOO_MANY: usize = 300;

/// A way in: the door, what the client says there, what stands behind it, and how it ends when nobody cuts it.
struct Way {
    name: &'static str,
    listener: &'static str,
    preface: &'static str,
    origin: &'static str,
    behind: Behind,
    status: u16,
    /// It is cut at this many places at least.
    cuts: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    Plain,
    Tls,
    /// The first of two servers does not listen.
    DeadFirst,
    /// It answers 403.
    Denying,
}

const OVER_TLS: &str = r#"certificates = [{ chain = "certs/server.pem", key = { file = "certs/server.key" } }]"#;
const PROXIED: &str = "proxy = \"proxy_protocol\"\ntrusted = [\"127.0.0.1/32\"]";
const FORWARDED: &str = "proxy = \"x_forwarded_for\"\ntrusted = [\"127.0.0.1/32\"]";
const LISTED: &str = "https://app.test";
const FOREIGN: &str = "https://evil.test";
const PROXY_LINE: &str = "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n";

#[rustfmt::skip]
const WAYS: [Way; 6] = [
    Way { name: "TLS on both sides", listener: OVER_TLS, preface: "", origin: LISTED, behind: Behind::Tls, status: 101, cuts: 20 },
    Way { name: "a PROXY header", listener: PROXIED, preface: PROXY_LINE, origin: LISTED, behind: Behind::Plain, status: 101, cuts: 12 },
    Way { name: "X-Forwarded-For, and a second server", listener: FORWARDED, preface: "", origin: LISTED, behind: Behind::DeadFirst, status: 101, cuts: 11 },
    Way { name: "a refusal over TLS", listener: OVER_TLS, preface: "", origin: FOREIGN, behind: Behind::Plain, status: 403, cuts: 7 },
    Way { name: "a refusal in the clear", listener: FORWARDED, preface: "", origin: FOREIGN, behind: Behind::Plain, status: 403, cuts: 7 },
    Way { name: "a refusal of the backend", listener: OVER_TLS, preface: "", origin: LISTED, behind: Behind::Denying, status: 403, cuts: 12 },
];

#[tokio::test]
async fn rx16_h108_a_connection_may_be_cut_at_every_await() {
    let mut ran = 0;
    for way in &WAYS {
        for how in [How::Dropped, How::Panicking] {
            let stages = at_every_await(way, how, |_, _, _| ()).await;
            let dials = way.origin == LISTED;
            assert!(stages.contains(&Stage::Entering), "{}: {stages:?}", way.name);
            assert_eq!(stages.contains(&Stage::Dialling), dials, "{}: {stages:?}", way.name);
            assert_eq!(stages.contains(&Stage::Refused), way.status != 101, "{}: {stages:?}", way.name);
            ran += 1;
        }
    }
    assert_eq!(ran, 2 * WAYS.len());
}

#[tokio::test]
async fn op05_policies_may_be_replaced_at_every_await() {
    each_ends_with([(How::Losing, 403), (How::Keeping, 101)], |site, run| {
        assert_eq!(run.generation, site.house.snapshot.load().generation);
    })
    .await;
}

#[tokio::test]
async fn au28_access_may_be_revoked_at_every_await() {
    each_ends_with([(How::Revoked, 401), (How::Spared, 101)], |site, _| {
        assert_eq!(site.house.ledger.sets()[0].len(), 1);
    })
    .await;
}

#[tokio::test]
async fn be12_a_server_may_go_down_at_every_await() {
    let mut ran = 0;
    let is_alone = |way: &&Way| way.status == 101 && way.behind != Behind::DeadFirst;
    for way in WAYS.iter().filter(is_alone) {
        for (how, under_way) in [(How::Lost, 503), (How::Down, 101)] {
            let judge = |_: &Site, stage, run: &Run| {
                // Whoever comes later is led to no server that is down.
                let expected = if stage == Stage::Dialling { under_way } else { 503 };
                assert_eq!(run.status(), Some(expected), "{}, {how:?} at {stage:?}", way.name);
            };
            let stages = at_every_await(way, how, judge).await;
            assert_eq!(stages, BTreeSet::from([Stage::Entering, Stage::Dialling]), "{}", way.name);
            ran += 1;
        }
    }
    assert_eq!(ran, 4);
}

/// A handshake that would come in ends with the status beside what befalls it, wherever it waits then.
async fn each_ends_with(befalls: [(How, u16); 2], judge: impl Fn(&Site, &Run)) {
    let mut ran = 0;
    for way in WAYS.iter().filter(|way| way.status == 101) {
        for (how, status) in befalls {
            let judge = |site: &Site, stage, run: &Run| {
                assert_eq!(run.status(), Some(status), "{}, {how:?} at {stage:?}", way.name);
                judge(site, run);
            };
            let stages = at_every_await(way, how, judge).await;
            assert_eq!(stages, BTreeSet::from([Stage::Entering, Stage::Dialling]), "{}", way.name);
            ran += 1;
        }
    }
    assert_eq!(ran, 6);
}

/// Leads one connection after the other through the house: this befalls the n-th while it waits for the n-th time, until one
/// comes to its end before. `judge` looks at each, and behind it somebody comes in. The stages at which they were met.
async fn at_every_await(way: &Way, how: How, judge: impl Fn(&Site, Stage, &Run)) -> BTreeSet<Stage> {
    let mut site = Site::of(way, how.upstream()).await;
    site.fails = how == How::Revoked;
    let (mut stages, mut times) = (BTreeSet::new(), 0);
    loop {
        let run = site.run(way, way.origin, Some((times + 1, how))).await;
        if let Some(stage) = run.cut_at {
            judge(&site, stage, &run);
            how.is_made_good(&site.house);
        }
        site.good_twin(way).await;
        let Some(stage) = run.cut_at else {
            assert_eq!(run.status(), Some(way.status), "{}, {how:?}: it waited no more often", way.name);
            break;
        };
        stages.insert(stage);
        times += 1;
        assert!(times < TOO_MANY, "{}, {how:?}: it never comes to an end", way.name);
    }
    site.listening.shutdown().await;
    println!("{}, {how:?}: at {times} places, {stages:?}", way.name);
    assert!(times >= way.cuts, "{}, {how:?}: {times} places", way.name);
    stages
}

/// Everything that was told.
#[derive(Default)]
struct Record(Mutex<Vec<Event>>);

impl Observer for Record {
    fn observe(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// A house with one door, and what stands behind it.
struct Site {
    house: Arc<House>,
    door: Arc<Door>,
    address: SocketAddr,
    acceptor: Acceptor,
    record: Arc<Record>,
    service: Arc<Service>,
    progress: Arc<watch::Sender<Progress>>,
    client: Client,
    listening: JoinSet<()>,
    /// Whether credentials were presented that did not hold.
    fails: bool,
}

/// How a run ended.
struct Run {
    cut_at: Option<Stage>,
    answer: Vec<u8>,
    /// The policy version that its record names.
    generation: u64,
}

impl Run {
    fn status(&self) -> Option<u16> {
        std::str::from_utf8(self.answer.get(9..12)?).ok()?.parse().ok()
    }
}

/// What is counted when nobody is there.
#[derive(Debug, PartialEq, Eq)]
struct Rest {
    permits: [usize; 6],
    registered: usize,
    turns: usize,
    lingering: usize,
    backend: usize,
    connections: usize,
    tasks: usize,
}

impl Site {
    async fn of(way: &Way, upstream: &str) -> Self {
        let behind = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let served = behind.local_addr().unwrap();
        let ground = Ground::new();
        let authority = authority();
        let acceptor = write(&ground, way, (served, upstream), &authority);
        let (config, _) = ground.load().map_err(|diagnostics| format!("{diagnostics:?}")).unwrap();

        let listener = &config.gateway.listeners[0];
        let tls = listener.tls.as_ref().map(|tls| ServerTls::new(tls).unwrap());
        let trusts = tls.is_some().then(|| Arc::new(trusting(&authority)));
        let door = Arc::new(Door::new(listener, tls));
        let record = Arc::new(Record::default());
        let house = Arc::new(House::new(config, Ledger::default(), Arc::<Record>::clone(&record)).unwrap());

        let progress = Arc::new(watch::Sender::new(Progress::default()));
        let client = Client { tls: trusts, progress: progress.subscribe() };
        let service = Arc::new(Service {
            tls: (way.behind == Behind::Tls).then_some(acceptor),
            denies: AtomicBool::new(false),
            live: AtomicUsize::new(0),
            progress: progress.subscribe(),
        });
        let mut listening = JoinSet::new();
        listening.spawn(Arc::clone(&service).listen(behind));
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = front.local_addr().unwrap();
        let acceptor = Acceptor::new(Listener::new(front).unwrap(), house.observer.clone(), house.closing.clone());
        Self { house, door, address, acceptor, record, service, progress, client, listening, fails: false }
    }

    /// Leads one connection through the house, unless it is cut on the way.
    async fn run(&mut self, way: &Way, origin: &str, cut: Option<(usize, How)>) -> Run {
        self.service.denies.store(way.behind == Behind::Denying && cut.is_some(), Ordering::SeqCst);
        let at_rest = self.rest();
        self.progress.send_replace(Progress::default());
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let (socket, peer) = self.acceptor.next().await.unwrap();
        let visit = Visit::begin(&self.house.observer, &self.house.end, peer.ip());
        let place = self.house.limits.admit_connection().unwrap();
        let found = Arc::new(Mutex::new(None));
        let (house, record) = (Arc::clone(&self.house), Arc::clone(&self.record));
        let look = move || match house.limits.usage() {
            _ if record.0.lock().unwrap().iter().any(|event| matches!(event, Event::Refused(_))) => Stage::Refused,
            usage if usage.servers == 1 && usage.subjects == 1 && usage.sessions == 1 => Stage::Dialling,
            usage => {
                assert_eq!((usage.connections, usage.pending), (1, 1));
                assert_eq!((usage.servers, usage.subjects, usage.sessions), (0, 0, 0), "reserved without an await");
                Stage::Entering
            }
        };
        let life = serve(Arc::clone(&self.house), Arc::clone(&self.door), socket, visit, place);
        self.house.connections.spawn(Cut {
            life: Some(Box::pin(life)),
            cut,
            house: Arc::clone(&self.house),
            progress: Arc::clone(&self.progress),
            look: Box::new(look),
            found: Arc::clone(&found),
        });
        let (answer, ()) = tokio::join!(
            self.client.run(tcp, way.preface, origin),
            turnstile(&self.house.tls_turns, self.progress.subscribe()),
        );
        self.comes_to(&at_rest, way).await;
        let cut_at = *found.lock().unwrap();
        let generation = self.judge_record(way, cut_at.zip(cut.map(|(_, how)| how)));
        Run { cut_at, answer, generation }
    }

    /// Behind every cut somebody comes in.
    async fn good_twin(&mut self, way: &Way) {
        let run = self.run(way, LISTED, None).await;
        assert_eq!(run.status(), Some(101), "{}: {:?}", way.name, String::from_utf8_lossy(&run.answer));
        assert!(run.answer.ends_with(&CLOSED), "{}: {:?}", way.name, run.answer);
    }

    /// One ending, that of the cut where there was one; and no attempt counts as failed that did not fail.
    fn judge_record(&self, way: &Way, cut_at: Option<(Stage, How)>) -> u64 {
        let told = std::mem::take(&mut *self.record.0.lock().unwrap());
        let endings: Vec<String> = told.iter().filter_map(ending).collect();
        let expected = match cut_at {
            Some((_, How::Losing)) => Some("origin_not_allowed"),
            Some((_, How::Revoked)) => Some("credential_revoked"),
            Some((_, How::Keeping | How::Spared) | (Stage::Dialling, How::Down)) => Some("closed"),
            Some((_, How::Lost | How::Down)) => Some("backend_down"),
            Some((Stage::Entering | Stage::Dialling, _)) => Some("internal"),
            Some((Stage::Refused, _)) | None => None,
        };
        assert_eq!(endings.len(), 1, "{}, {cut_at:?}: {told:?}", way.name);
        assert!(expected.is_none_or(|expected| endings == [expected]), "{}, {cut_at:?}: {endings:?}", way.name);
        let failed = usize::from(way.behind == Behind::Denying || self.fails);
        assert!(self.house.limits.usage().failure_buckets.spent <= failed, "{}, {cut_at:?}", way.name);
        told.iter().filter_map(generation).next_back().unwrap_or_default()
    }

    async fn comes_to(&self, at_rest: &Rest, way: &Way) {
        let mut looks = tokio::time::interval(Duration::from_millis(1));
        for _ in 0..10_000 {
            let tasks = Handle::current().metrics().num_alive_tasks();
            if tasks == at_rest.tasks && self.rest() == *at_rest {
                return;
            }
            looks.tick().await;
        }
        panic!("{}: left behind: {:?}", way.name, self.rest());
    }

    fn rest(&self) -> Rest {
        let usage = self.house.limits.usage();
        Rest {
            permits: [usage.connections, usage.pending, usage.sessions, usage.subjects, usage.servers, usage.networks],
            registered: self.house.sessions.len(),
            turns: self.house.tls_turns.available_permits(),
            lingering: LINGER_SLOTS - self.house.lingering.available_permits(),
            backend: self.service.live.load(Ordering::SeqCst),
            connections: self.house.connections.len(),
            tasks: Handle::current().metrics().num_alive_tasks(),
        }
    }
}

/// Judges by a policy that lists this origin alone, sessions included.
fn replace(house: &House, origin: &str) {
    let current = house.snapshot.load_full();
    let mut policy = Policy::clone(current.policies.iter().next().unwrap());
    policy.origin.allow = Default::default();
    policy.origin.allow.insert(origin).unwrap();
    let next = Arc::new(current.next(vec![Arc::new(policy)], &current.keys, NetworkRules::default()).unwrap());
    for resident in house.replace(&current, Arc::clone(&next)) {
        let _ = resident.judge_and_tell(&next);
    }
}

/// Writes what an operator writes; returns the TLS of the service.
fn write(ground: &Ground, way: &Way, (served, upstream): (SocketAddr, &str), authority: &Authority) -> TlsAcceptor {
    let names = [String::from("chat.test"), String::from("127.0.0.1")];
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, authority).unwrap();
    let server_key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth();
    let server = server.with_single_cert(vec![leaf.der().clone()], server_key).unwrap();

    let gateway =
        "policies = [\"policies/*.toml\"]\nhealth = { address = \"off\" }\n[[listener]]\naddress = \"127.0.0.1:0\"\n";
    let bounds = "[capacity]\ntls_handshakes = 1\nadmissions = \"100000/s burst 100000\"\n\
                  [address]\nconnects = \"100000/s burst 100000\"\nfailures = \"1/h burst 1000\"\n";
    ground.write("gateway.toml", format!("{gateway}{}\n{bounds}", way.listener));
    ground.write("certs/server.pem", leaf.pem());
    ground.write("certs/server.key", key.serialize_pem());
    ground.write("policies/ca.pem", authority.pem());
    let servers = match way.behind {
        Behind::Tls => format!("servers = [\"wss://{served}\"]\nauthorities = \"ca.pem\""),
        // Nobody listens on port 1.
        Behind::DeadFirst => format!("servers = [\"ws://127.0.0.1:1\", \"ws://{served}\"]\neject = \"never\""),
        Behind::Plain | Behind::Denying => format!("servers = [\"ws://{served}\"]"),
    };
    let policy = "[route]\nhosts = [\"chat.test\"]\npaths = [\"/chat\"]\n[origin]\nallow = [\"https://app.test\"]\n\
                  [[auth]]\nby = \"token\"\ntokens = \"chat.tokens\"\nfrom = [\"query:token\"]\n\
                  [limits]\nhandshakes_per_subject = \"100000/s burst 100000\"\n";
    ground.write("policies/chat.toml", format!("{policy}[upstream]\n{servers}\n{upstream}\n"));
    let token = digest_hex("0123456789abcdef");
    ground.write("policies/chat.tokens", format!("{token} kiosk use_until=9000-01-01T00:00:00Z\n"));
    TlsAcceptor::from(Arc::new(server))
}
