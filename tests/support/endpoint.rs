//! One end of a connection, moved by hand: which bytes stand in one TLS record, which in one TCP segment, and when the
//! next ones go. [`Ends`] is a gateway with both ends of its sessions in the hand of the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::backend::{SWITCHING, Seen};
use super::client::{End, Request, Wire};
use super::house::{HOST, ORIGIN, Written};
use super::process::{Running, wsgate};
use super::queues::queues;
use super::{House, Plan, within};

/// What a connection goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP alone.
    Plain,
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Transport {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static TLS12: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
        static TLS13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        if self == Self::Tls12 { &TLS12 } else { &TLS13 }
    }
}

/// One end of a connection.
pub struct Endpoint {
    tcp: TcpStream,
    tls: Option<Connection>,
    kept: Vec<u8>,
    end: Option<End>,
    received: usize,
}

impl Endpoint {
    /// Over TCP alone.
    pub fn plain(tcp: TcpStream) -> Self {
        tcp.set_nodelay(true).unwrap();
        Self { tcp, tls: None, kept: Vec::new(), end: None, received: 0 }
    }

    /// Over TLS, of which this is either side; shakes hands.
    pub async fn tls(tcp: TcpStream, tls: impl Into<Connection>) -> Self {
        let (mut endpoint, flight) = Self::tls_but_last_flight(tcp, tls).await;
        endpoint.put(&flight).await;
        endpoint
    }

    /// The same, less what this side sends last: a server's tickets.
    pub async fn tls_but_last_flight(tcp: TcpStream, tls: impl Into<Connection>) -> (Self, Vec<u8>) {
        let mut tls = tls.into();
        tls.set_buffer_limit(None);
        let mut endpoint = Self::plain(tcp);
        endpoint.tls = Some(tls);
        loop {
            let flight = endpoint.unsent();
            if !endpoint.connection().is_handshaking() {
                return (endpoint, flight);
            }
            endpoint.put(&flight).await;
            assert!(endpoint.read().await, "the connection ended in the TLS handshake");
        }
    }

    /// The TLS connection.
    pub fn connection(&mut self) -> &mut Connection {
        self.tls.as_mut().expect("an endpoint over TLS")
    }

    /// How many bytes of the wire were read.
    pub fn received(&self) -> usize {
        self.received
    }

    /// Lets the kernel keep no more than this for the other side.
    pub fn send_buffer(&self, bytes: usize) {
        socket2::SockRef::from(&self.tcp).set_send_buffer_size(bytes).unwrap();
    }

    /// Lets the kernel keep no more than this for this side.
    pub fn receive_buffer(&self, bytes: usize) {
        socket2::SockRef::from(&self.tcp).set_recv_buffer_size(bytes).unwrap();
    }

    /// Its own address, and that of the gateway.
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.tcp.local_addr().unwrap(), self.tcp.peer_addr().unwrap())
    }

    /// What goes on the wire for these bytes: themselves, or as few TLS records as hold them.
    pub fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some(tls) = &mut self.tls else { return bytes.to_vec() };
        std::io::Write::write_all(&mut tls.writer(), bytes).unwrap();
        self.unsent()
    }

    /// What TLS has to send of itself.
    pub fn unsent(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.connection().wants_write() {
            self.connection().write_tls(&mut wire).unwrap();
        }
        wire
    }

    /// Writes bytes of the wire.
    pub async fn put(&mut self, wire: &[u8]) {
        within("the gateway takes bytes", self.tcp.write_all(wire)).await.unwrap();
    }

    /// Writes these bytes, over TLS in records of their own.
    pub async fn send(&mut self, bytes: &[u8]) {
        let wire = self.seal(bytes);
        self.put(&wire).await;
    }

    /// Waits until the gateway has read everything that was written.
    pub async fn is_read(&self) {
        let (here, there) = self.addresses();
        let read = was_read(here, there);
        within("the gateway reads what was written", read).await;
    }

    /// The next `count` bytes.
    pub async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.kept.len() < count {
            assert!(self.read().await, "the connection ended at {} of {count} bytes", self.kept.len());
        }
        let rest = self.kept.split_off(count);
        std::mem::replace(&mut self.kept, rest)
    }

    /// The next bytes up to an empty line.
    pub async fn head(&mut self) -> Vec<u8> {
        loop {
            if let Some(at) = self.kept.windows(4).position(|window| window == b"\r\n\r\n") {
                return self.take(at + 4).await;
            }
            assert!(self.read().await, "the connection ended inside a head: {:?}", self.kept);
        }
    }

    /// Everything until the connection ends, and how it ends.
    pub async fn rest(&mut self) -> (Vec<u8>, End) {
        while self.read().await {}
        (std::mem::take(&mut self.kept), self.end.unwrap())
    }

    /// Writes these bytes of the wire, each in a segment of its own and where told not before the one in front of it was
    /// read, and at the same time takes `count` bytes.
    pub async fn exchange(&mut self, segments: &[(Vec<u8>, Wait)], count: usize) -> Vec<u8> {
        let Self { tcp, tls, kept, end, received } = self;
        let (here, there) = (tcp.local_addr().unwrap(), tcp.peer_addr().unwrap());
        let (mut reader, mut writer) = tcp.split();
        let writing = async {
            for (segment, wait) in segments {
                if *wait == Wait::UntilRead {
                    was_read(here, there).await;
                }
                writer.write_all(segment).await.unwrap();
            }
        };
        let reading = async {
            let mut buffer = vec![0; 64 << 10];
            while kept.len() < count {
                let read = reader.read(&mut buffer).await.unwrap();
                *received += read;
                *end = open(tls.as_mut(), &buffer[..read], kept);
                assert_eq!(*end, None, "the connection ended at {} of {count} bytes", kept.len());
            }
        };
        within("both ways come to their end", async { tokio::join!(writing, reading) }).await;
        self.take(count).await
    }

    /// Ends this side's stream; over TLS with close_notify.
    pub async fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let wire = self.unsent();
            self.put(&wire).await;
        }
        self.cut().await;
    }

    /// Ends this side's TCP stream; over TLS that is no orderly end.
    pub async fn cut(&mut self) {
        self.tcp.shutdown().await.unwrap();
    }

    async fn read(&mut self) -> bool {
        if self.end.is_some() {
            return false;
        }
        let mut buffer = [0; 16 << 10];
        self.end = match within("the gateway sends or ends", self.tcp.read(&mut buffer)).await {
            Ok(count) => {
                self.received += count;
                open(self.tls.as_mut(), &buffer[..count], &mut self.kept)
            }
            Err(_) => Some(End::Cut),
        };
        self.end.is_none()
    }
}

/// Whether a segment waits for the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It goes at once.
    No,
    /// It goes when what was written before has been read.
    UntilRead,
}

async fn was_read(here: SocketAddr, there: SocketAddr) {
    let waits = || {
        let both = queues(here, there).zip(queues(there, here));
        let (ours, theirs) = both.expect("a connection that the gateway has not given up");
        ours.unsent > 0 || theirs.unread > 0
    };
    for look in 0_u32.. {
        match (waits(), look) {
            (false, _) => return,
            (true, 0..100) => yield_now().await,
            (true, _) => sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Puts the plaintext of what was read behind `kept`; says if that was the end.
fn open(tls: Option<&mut Connection>, mut wire: &[u8], kept: &mut Vec<u8>) -> Option<End> {
    let is_end = wire.is_empty();
    let Some(tls) = tls else {
        kept.extend_from_slice(wire);
        return is_end.then_some(End::Clean);
    };
    while !wire.is_empty() {
        tls.read_tls(&mut wire).unwrap();
        let state = tls.process_new_packets().unwrap_or_else(|error| panic!("what the gateway sends: {error}"));
        let length = kept.len();
        kept.resize(length + state.plaintext_bytes_to_read(), 0);
        std::io::Read::read_exact(&mut tls.reader(), &mut kept[length..]).unwrap();
        if state.peer_has_closed() {
            return Some(End::Clean);
        }
    }
    is_end.then_some(End::Cut)
}

/// A gateway, in this process or as one of its own, and both ends of its sessions.
pub struct Ends<G = House> {
    /// The gateway.
    pub house: G,
    address: SocketAddr,
    service: Service,
    client: Arc<ClientConfig>,
    over: Transport,
}

/// Where backends stand that the test moves by hand.
pub struct Service {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

/// Rates and deadlines that no test of bytes meets.
pub const GENEROUS: &str = r#"
[session]
ping_interval = "10m"
from_client = { message_size = "64MiB", bytes = "1GiB/s", messages = "1000000/s", control = "1000000/s" }
from_backend = { message_size = "64MiB" }
"#;

impl Service {
    /// A service that is reached over `transport`, and the plan of a house in front of it.
    pub async fn planned(transport: Transport, plan: Plan) -> (Self, Plan) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        if transport == Transport::Plain {
            let plan = plan.policy(&format!("[upstream]\nservers = [\"ws://{address}\"]"));
            return (Self { listener, tls: None }, plan);
        }
        let authority = super::certificates::Authority::throwaway();
        let tls = authority.leaf(&["127.0.0.1"]).server_with(transport.versions());
        let upstream = format!("[upstream]\nservers = [\"wss://{address}\"]\nauthorities = \"service-ca.pem\"");
        let plan = plan.file("policies/service-ca.pem", authority.pem()).policy(&upstream);
        (Self { listener, tls: Some(tls) }, plan)
    }

    /// The next connection of the gateway.
    pub async fn accept(&self) -> Endpoint {
        let (tcp, _) = within("the gateway dials", self.listener.accept()).await.unwrap();
        match &self.tls {
            None => Endpoint::plain(tcp),
            Some(tls) => Endpoint::tls(tcp, ServerConnection::new(Arc::clone(tls)).unwrap()).await,
        }
    }

    /// The same over TLS, less what the server sends last.
    pub async fn accept_but_last_flight(&self) -> (Endpoint, Vec<u8>) {
        let (tcp, _) = within("the gateway dials", self.listener.accept()).await.unwrap();
        let tls = self.tls.as_ref().expect("a service over TLS");
        Endpoint::tls_but_last_flight(tcp, ServerConnection::new(Arc::clone(tls)).unwrap()).await
    }
}

/// Everybody may come in: the bytes are looked at.
const OPEN: &str = "auth = [{ by = \"none\", danger_no_auth = \"what is looked at are the bytes\" }]";

impl Ends {
    /// A house whose clients and whose backend are reached over these.
    pub async fn over(client: Transport, backend: Transport) -> Self {
        Self::planned(client, backend, |plan| plan).await
    }

    /// The same with a change to its plan.
    pub async fn planned(client: Transport, backend: Transport, change: impl FnOnce(Plan) -> Plan) -> Self {
        let plan = change(Plan::plain().policy(OPEN).policy(GENEROUS));
        let (service, plan) = Service::planned(backend, plan).await;
        let plan = if client == Transport::Plain { plan.without_tls() } else { plan };
        let house = plan.build().await;
        let config = house.authority.client_with(&[b"http/1.1"], client.versions());
        Self { address: house.address(), house, service, client: config, over: client }
    }
}

impl Ends<(Running, Written)> {
    /// `wsgate run`, over TLS on both sides.
    pub async fn running() -> Self {
        Self::running_by(|plan| plan).await
    }

    /// The same with a change to its plan.
    pub async fn running_by(change: impl FnOnce(Plan) -> Plan) -> Self {
        let plan = Plan::plain().gateway("log = { format = \"json\" }").policy(OPEN).policy(GENEROUS);
        let (service, plan) = Service::planned(Transport::Tls13, change(plan)).await;
        let written = plan.written(service.listener.local_addr().unwrap());
        let running = Running::start(wsgate(written.folder.path(), &["run", "--config", "gateway.toml"])).await;
        let client = written.authority.client_with(&[b"http/1.1"], Transport::Tls13.versions());
        Self { address: running.address, house: (running, written), service, client, over: Transport::Tls13 }
    }
}

impl<G> Ends<G> {
    /// A handshake that comes in.
    pub fn request(&self) -> Request {
        let mut request = Request::good(HOST, "/chat");
        request.set("Origin", ORIGIN);
        request
    }

    /// A connection of a client.
    pub async fn client(&self) -> Endpoint {
        let tcp = Wire::tcp_from("127.0.0.1", self.address).await.unwrap();
        if self.over == Transport::Plain {
            return Endpoint::plain(tcp);
        }
        let name = ServerName::try_from(HOST).unwrap();
        Endpoint::tls(tcp, ClientConnection::new(Arc::clone(&self.client), name).unwrap()).await
    }

    /// The connection that the gateway makes for it.
    pub async fn service(&self) -> Endpoint {
        self.service.accept().await
    }

    /// Where the gateway dials.
    pub fn behind(&self) -> &Service {
        &self.service
    }

    /// Both ends of a session.
    pub async fn session(&self) -> (Endpoint, Endpoint) {
        let (client, mut service) = self.asked().await;
        let head = service.head().await;
        service.send(&switching(&head)).await;
        self.opened(client, service).await
    }

    /// Both ends, with a handshake of the client's under way.
    pub async fn asked(&self) -> (Endpoint, Endpoint) {
        let mut client = self.client().await;
        client.send(&self.request().bytes()).await;
        (client, self.service().await)
    }

    async fn opened(&self, mut client: Endpoint, service: Endpoint) -> (Endpoint, Endpoint) {
        let head = client.head().await;
        super::Answer::read(&head).is_switching(&self.request());
        (client, service)
    }
}

/// The 101 that belongs to a request head.
pub fn switching(head: &[u8]) -> Vec<u8> {
    let seen = Seen { head: head.to_vec(), ..Seen::default() };
    let key = seen.request().one("sec-websocket-key").expect("a key").to_owned();
    SWITCHING.replace("{accept}", &derive_accept_key(key.as_bytes())).into_bytes()
}
