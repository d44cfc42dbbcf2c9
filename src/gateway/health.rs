//! The health listener: is the process alive, may it get connections, and the metrics.
//!
//! It only reads: there is no request that changes anything. It believes no `Host` but an address or `localhost`, so
//! that no web page reaches it by rebinding a name (each browser sends the page's own name).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::handover::answer_under_way;
use crate::telemetry::metrics::{self, Metrics};

/// Connections served at a time; others wait in the kernel's queue.
const CONNECTIONS: usize = 64;

/// From accept to the end of the answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// From accept to the end of the request head.
const HEAD_DEADLINE: Duration = Duration::from_secs(2);

/// The pause after `accept` failed, for instance for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether the gateway may get connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The listeners are not open yet.
    Starting,
    /// It serves.
    Ready,
    /// It stops: no further connections, please.
    Draining,
}

/// What the health listener tells.
#[derive(Debug)]
pub struct HealthState {
    readiness: AtomicU8,
    metrics: Arc<Metrics>,
}

impl HealthState {
    /// A gateway that is starting.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { readiness: AtomicU8::new(Readiness::Starting.as_u8()), metrics }
    }

    /// Takes note that the gateway is starting, ready or draining.
    pub fn set(&self, readiness: Readiness) {
        self.readiness.store(readiness.as_u8(), Ordering::Release);
    }

    /// Whether the gateway may get connections.
    pub fn readiness(&self) -> Readiness {
        match self.readiness.load(Ordering::Acquire) {
            0 => Readiness::Starting,
            1 => Readiness::Ready,
            _ => Readiness::Draining,
        }
    }
}

impl Readiness {
    /// The word that `/readyz` answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }

    fn as_u8(self) -> u8 {
        match self {
            Self::Starting => 0,
            Self::Ready => 1,
            Self::Draining => 2,
        }
    }
}

/// Serves until another process does (`relieved`), which leaves the probes under way to this one, or the `end`, which cuts
/// them.
pub async fn serve(
    listener: Arc<TcpListener>,
    state: Arc<HealthState>,
    relieved: CancellationToken,
    end: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let mut by_age = VecDeque::new();
    loop {
        tokio::select! {
            () = relieved.cancelled() => return answer_under_way(connections, HEAD_DEADLINE, &end).await,
            Some(_) = connections.join_next(), if !connections.is_empty() => by_age.retain(|one: &AbortHandle| !one.is_finished()),
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    by_age.push_back(connections.spawn(serve_one(tcp, Arc::clone(&state))));
                    // A crowd that says nothing keeps nobody out who asks at once.
                    let oldest = (by_age.len() > CONNECTIONS).then(|| by_age.pop_front()).flatten();
                    oldest.inspect(AbortHandle::abort);
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

async fn serve_one(tcp: TcpStream, state: Arc<HealthState>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(&request, &state);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .keep_alive(false)
        .max_headers(64)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(tcp), service);
    // Whoever asks too slowly or wrongly is cut; there is nobody to tell.
    let _ = timeout(DEADLINE, connection).await;
}

type Answer = Response<Full<Bytes>>;

/// Judges a request by its head alone; a body is never read.
fn answer<B>(request: &Request<B>, state: &HealthState) -> Answer {
    if !host_is_local(request) {
        return text(StatusCode::MISDIRECTED_REQUEST, "Host must be an IP address or localhost\n");
    }
    let path = request.uri().path();
    if !matches!(path, "/healthz" | "/readyz" | "/metrics") {
        return text(StatusCode::NOT_FOUND, "not found: there are /healthz, /readyz and /metrics\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => ready(state.readiness()),
        _ => page(StatusCode::OK, metrics::CONTENT_TYPE, state.metrics.render().into()),
    }
}

fn ready(readiness: Readiness) -> Answer {
    let (status, word) = match readiness {
        Readiness::Ready => (StatusCode::OK, "ready\n"),
        Readiness::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    };
    text(status, word)
}

fn text(status: StatusCode, words: &'static str) -> Answer {
    page(status, "text/plain; charset=utf-8", Bytes::from_static(words.as_bytes()))
}

fn page(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn host_is_local<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    host.to_str().is_ok_and(is_local) && request.uri().authority().is_none_or(|authority| is_local(authority.as_str()))
}

/// Whether `host[:port]` names an address or `localhost`.
fn is_local(authority: &str) -> bool {
    if let Some(bracketed) = authority.strip_prefix('[') {
        return bracketed
            .split_once(']')
            .is_some_and(|(address, rest)| address.parse::<Ipv6Addr>().is_ok() && is_port(rest));
    }
    let (host, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
    is_port(rest) && (host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok())
}

/// Whether this is nothing, or a colon and a port.
fn is_port(rest: &str) -> bool {
    rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::telemetry::clock::system_clock;

    fn state() -> Arc<HealthState> {
        let metrics = Metrics::new(Arc::new(metrics::Readings::default), system_clock());
        Arc::new(HealthState::new(Arc::new(metrics)))
    }

    /// What the health listener answers to these bytes, read to the end.
    async fn exchange(state: &Arc<HealthState>, request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let asks = async {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            tcp.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            tcp.read_to_string(&mut answer).await.unwrap();
            stop.cancel();
            answer
        };
        tokio::join!(serve(listener.into(), Arc::clone(state), stop.clone(), stop.clone()), asks).1
    }

    fn get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:9090\r\n\r\n")
    }

    #[tokio::test]
    async fn op12_readiness_tells_the_truth() {
        let state = state();
        let mut ran = 0;
        for (readiness, status) in [(None, 503), (Some(Readiness::Ready), 200), (Some(Readiness::Draining), 503)] {
            if let Some(readiness) = readiness {
                state.set(readiness);
            }
            let answer = exchange(&state, &get("/readyz")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert!(answer.ends_with(&format!("\r\n\r\n{}\n", state.readiness().as_str())), "{answer}");
            assert!(exchange(&state, &get("/healthz")).await.ends_with("\r\n\r\nok\n"));
            ran += 1;
        }
        assert_eq!(ran, 3);
    }

    #[tokio::test]
    async fn op11_it_only_reads_and_only_for_local_names() {
        let cases = [
            ("GET", "/metrics", "127.0.0.1:9090", 200),
            ("HEAD", "/metrics", "[::1]:9090", 200),
            ("GET", "/healthz", "LOCALHOST", 200),
            ("GET", "/healthz?x=1", "10.1.2.3:1", 200),
            ("POST", "/healthz", "127.0.0.1", 405),
            ("DELETE", "/metrics", "127.0.0.1", 405),
            ("GET", "/", "127.0.0.1", 404),
            ("GET", "/metrics/", "127.0.0.1", 404),
            ("GET", "/healthz", "evil.example", 421),
            ("GET", "/healthz", "localhost.evil.example", 421),
            ("GET", "/healthz", "127.0.0.1.evil.example", 421),
            ("GET", "/healthz", "127.0.0.1@evil.example", 421),
            ("GET", "/healthz", "", 421),
            ("GET", "/healthz", "[::1", 421),
            ("GET", "/healthz", "127.0.0.1\r\nHost: evil.example", 421),
            ("GET", "http://evil.example/healthz", "127.0.0.1", 421),
        ];
        let state = state();
        for (method, path, host, status) in cases {
            let answer = exchange(&state, &format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path} {host}: {answer}");
            assert!(answer.contains("connection: close\r\n"), "{answer}");
            assert!(!answer.to_lowercase().contains("\r\nserver:"), "{answer}");
            assert_eq!(answer.ends_with("# EOF\n"), method == "GET" && path == "/metrics" && status == 200, "{answer}");
        }
        assert_eq!(cases.len(), 16);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_cut() {
        assert_eq!(exchange(&state(), "GET /healthz HTTP/1.1\r\n").await, "");
    }

    #[tokio::test(start_paused = true)]
    async fn op12_a_silent_crowd_keeps_nobody_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let asks = async {
            let began = tokio::time::Instant::now();
            let mut silent = Vec::new();
            for _ in 0..2 * CONNECTIONS {
                silent.push(TcpStream::connect(address).await.unwrap());
            }
            let mut tcp = TcpStream::connect(address).await.unwrap();
            tcp.write_all(get("/healthz").as_bytes()).await.unwrap();
            let mut answer = String::new();
            tcp.read_to_string(&mut answer).await.unwrap();
            stop.cancel();
            assert!(answer.ends_with("ok\n"), "{answer}");
            assert!(began.elapsed() < HEAD_DEADLINE, "{:?}", began.elapsed());
        };
        tokio::join!(serve(listener.into(), state(), stop.clone(), stop.clone()), asks);
    }
}
