//! Heads off the wire, and the one door by which a refusal leaves.
//!
//! A head is read into a buffer that is freed with it, under a bound in bytes and a total deadline. A refusal is
//! written, flushed and lingered over, so that a client that is still sending reads the answer instead of a reset.
//! Absent on purpose: bodies, keep-alive, and anything of the request in the answer.

use std::io;
use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use crate::peer::ConnectionId;
use crate::policy::refusal::{Answer, Reason, Refusal};
use crate::ws::head::{HeadError, HeadLimits, HeadScanner, RequestHead, ResponseHead, parse_request, parse_response};

/// How long a client may take to read a refusal.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// How long a refused client is read, and how much of what it sends.
pub const LINGER_DEADLINE: Duration = Duration::from_secs(1);
/// Bytes of a refused client that are read and thrown away.
pub const LINGER_BYTES: u64 = 64 * 1024;
/// How many refused clients are lingered over at a time: permits of the semaphore that [`refuse`] takes.
pub const LINGER_SLOTS: usize = 512;

/// Bytes by which the buffer of a head grows at first.
const FIRST_READ: usize = 1024;

/// A request head, and what came behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadRead {
    /// The head.
    pub head: RequestHead,
    /// Bytes that came with the end of the head: of a handshake, early ones.
    pub rest: Vec<u8>,
}

/// Reads one request head, whole by `deadline` however its bytes are spread.
///
/// At most one byte more than `limits.bytes` is read. Refuses with `head_timeout`, `head_incomplete` (end of stream or
/// a failed read), or what [`parse_request`] found.
pub async fn read_head<S>(stream: &mut S, limits: &HeadLimits, deadline: Instant) -> Result<HeadRead, Refusal>
where
    S: AsyncRead + Unpin,
{
    let (received, end) = match timeout_at(deadline, receive_head(stream, limits)).await {
        Err(_elapsed) => return Err(Refusal::new(Reason::HeadTimeout)),
        Ok(Err(HeadFailure::Ended)) => return Err(Refusal::new(Reason::HeadIncomplete)),
        Ok(Err(HeadFailure::Read(error))) => {
            return Err(Refusal::new(Reason::HeadIncomplete).with_detail(error.kind().to_string()));
        }
        Ok(Err(HeadFailure::Grammar(error))) => return Err(error.into()),
        Ok(Ok(received)) => received,
    };
    let (head, rest) = received.split_at_checked(end).unwrap_or((&received, &[]));
    Ok(HeadRead { head: parse_request(head, limits)?, rest: rest.to_vec() })
}

/// Reads one response head of a backend, whole by `deadline`, and what came behind it.
///
/// An interim answer (100, 103) is returned like any other: toward a handshake it is none. Refuses with
/// `backend_handshake_timeout`, `backend_closed`, or `backend_handshake_invalid`.
pub async fn read_response_head<S>(
    stream: &mut S,
    limits: &HeadLimits,
    deadline: Instant,
) -> Result<(ResponseHead, Vec<u8>), Refusal>
where
    S: AsyncRead + Unpin,
{
    let invalid = |error: HeadError| Refusal::new(Reason::BackendHandshakeInvalid).with_detail(error.to_string());
    let (received, end) = match timeout_at(deadline, receive_head(stream, limits)).await {
        Err(_elapsed) => return Err(Refusal::new(Reason::BackendHandshakeTimeout)),
        Ok(Err(HeadFailure::Ended)) => return Err(Refusal::new(Reason::BackendClosed)),
        Ok(Err(HeadFailure::Read(error))) => {
            return Err(Refusal::new(Reason::BackendClosed).with_detail(error.kind().to_string()));
        }
        Ok(Err(HeadFailure::Grammar(error))) => return Err(invalid(error)),
        Ok(Ok(received)) => received,
    };
    let (head, rest) = received.split_at_checked(end).unwrap_or((&received, &[]));
    Ok((parse_response(head, limits).map_err(invalid)?, rest.to_vec()))
}

/// Why no whole head came.
enum HeadFailure {
    Ended,
    Read(io::Error),
    Grammar(HeadError),
}

/// Everything read up to the end of a head, and where that end is.
async fn receive_head<S>(stream: &mut S, limits: &HeadLimits) -> Result<(Vec<u8>, usize), HeadFailure>
where
    S: AsyncRead + Unpin,
{
    let mut scanner = HeadScanner::new(*limits);
    let mut received = Vec::new();
    // One byte past the limit tells a head that is too long from one that fits.
    let most = limits.bytes.saturating_add(1);
    loop {
        if received.len() == received.capacity() {
            let step = received.len().max(FIRST_READ);
            received.reserve_exact(step.min(most.saturating_sub(received.len())));
        }
        let room = received.capacity().min(most).saturating_sub(received.len());
        let count = stream.read_buf(&mut (&mut received).limit(room)).await.map_err(HeadFailure::Read)?;
        if let Some(end) = scanner.scan(&received).map_err(HeadFailure::Grammar)? {
            return Ok((received, end));
        }
        if count == 0 {
            return Err(HeadFailure::Ended);
        }
    }
}

/// Whether a refusal travels over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportSecurity {
    /// Over TLS: the answer carries Strict-Transport-Security (RFC 6797).
    Tls,
    /// In the clear, where browsers must ignore that field.
    Plain,
}

impl TransportSecurity {
    /// That of a stream.
    pub fn of(is_tls: bool) -> Self {
        if is_tls { Self::Tls } else { Self::Plain }
    }

    fn fields(self) -> &'static str {
        match self {
            Self::Tls => "Strict-Transport-Security: max-age=63072000\r\n",
            Self::Plain => "",
        }
    }
}

/// What a call to the gateway itself is answered.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'r> {
    /// JSON; `None`: there is nothing to say.
    pub body: Option<&'r str>,
    /// Fields of the gateway's own, each with its line end.
    pub fields: &'r str,
}

/// The bytes of it. No cache keeps it: it may hold a ticket.
pub fn reply(reply: &Reply<'_>, security: TransportSecurity) -> Vec<u8> {
    let status = if reply.body.is_some() { "200 OK" } else { "204 No Content" };
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nCache-Control: no-store\r\n");
    head.push_str(security.fields());
    head.push_str(reply.fields);
    let body = reply.body.unwrap_or_default();
    if reply.body.is_some() {
        let length = body.len();
        head.push_str(&format!(
            "Content-Type: application/json\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {length}\r\n"
        ));
    }
    format!("{head}\r\n{body}").into_bytes()
}

/// Answers a refusal and closes: writes, ends our side, and reads on for a moment so that the answer is not lost to a
/// reset (RFC 9112 section 9.6).
///
/// `random` jitters Retry-After. Where no permit of `lingering` is free the connection is closed at once. A refusal
/// whose answer is [`Answer::Drop`] writes nothing. The caller drops the stream.
pub async fn refuse<S>(
    stream: &mut S,
    refusal: &Refusal,
    id: ConnectionId,
    security: TransportSecurity,
    random: u32,
    lingering: &Semaphore,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(response) = refusal_response(refusal, id, security, random) {
        answer(stream, response, lingering).await;
    }
}

/// Writes an answer and closes as [`refuse`] does.
pub async fn answer<S>(stream: &mut S, response: Vec<u8>, lingering: &Semaphore)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let written = timeout(WRITE_DEADLINE, write_and_end(stream, &response)).await;
    if !matches!(written, Ok(Ok(()))) {
        return;
    }
    drop(response);
    linger(stream, lingering).await;
}

/// Reads on for a moment, so that what was written last is not lost to a reset. Where no permit of `lingering` is free
/// it returns at once.
pub async fn linger<S>(stream: S, lingering: &Semaphore)
where
    S: AsyncRead + Unpin,
{
    if let Ok(_permit) = lingering.try_acquire() {
        let rest = &mut stream.take(LINGER_BYTES);
        // Whatever ends the reading ends the connection.
        let _ = timeout(LINGER_DEADLINE, tokio::io::copy(rest, &mut tokio::io::sink())).await;
    }
}

async fn write_and_end<S: AsyncWrite + Unpin>(stream: &mut S, response: &[u8]) -> io::Result<()> {
    stream.write_all(response).await?;
    stream.flush().await?;
    stream.shutdown().await
}

/// The bytes that answer a refusal; `None` where nothing is answered.
///
/// The body is one word for the status and the connection's id. Nothing in it comes from the request.
pub fn refusal_response(
    refusal: &Refusal,
    id: ConnectionId,
    security: TransportSecurity,
    random: u32,
) -> Option<Vec<u8>> {
    refusal_reply(refusal, id, security, random, "")
}

/// The same with fields of the gateway's own, each with its line end.
pub fn refusal_reply(
    refusal: &Refusal,
    id: ConnectionId,
    security: TransportSecurity,
    random: u32,
    fields: &str,
) -> Option<Vec<u8>> {
    let Answer::Status(status) = refusal.reason.answer() else { return None };
    let (phrase, word) = status_words(status);
    // Whoever renews must tell a session that is gone from a path that is wrong.
    let word = if refusal.reason == Reason::UnknownSession { refusal.reason.code() } else { word };
    let body = format!("{word} {id}\n");
    let mut head = format!(
        "HTTP/1.1 {status} {phrase}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nCache-Control: no-store\r\n",
        body.len()
    );
    head.push_str(security.fields());
    head.push_str(fields);
    match status {
        401 => head.push_str("WWW-Authenticate: Bearer\r\n"),
        405 if refusal.reason == Reason::CallMethod => head.push_str("Allow: POST, OPTIONS\r\n"),
        405 => head.push_str("Allow: GET\r\n"),
        426 => head.push_str("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        429 | 503 => head.push_str(&format!("Retry-After: {}\r\n", retry_after_seconds(refusal.retry_after, random))),
        _ => {}
    }
    Some(format!("{head}\r\n{body}").into_bytes())
}

/// Whole seconds: the wait rounded up and up to half of it more, so that those refused together do not come back
/// together; one to five where nothing is known.
fn retry_after_seconds(wait: Option<Duration>, random: u32) -> u64 {
    let random = u64::from(random);
    let Some(wait) = wait else { return 1 + random % 5 };
    let least = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
    least.saturating_add(random % (least / 2).saturating_add(1))
}

/// The phrase of a status (RFC 9110 section 15), and the word that a client is told.
fn status_words(status: u16) -> (&'static str, &'static str) {
    match status {
        400 => ("Bad Request", "bad_request"),
        401 => ("Unauthorized", "unauthorized"),
        403 => ("Forbidden", "forbidden"),
        404 => ("Not Found", "not_found"),
        405 => ("Method Not Allowed", "method_not_allowed"),
        409 => ("Conflict", "conflict"),
        408 => ("Request Timeout", "request_timeout"),
        414 => ("URI Too Long", "target_too_long"),
        417 => ("Expectation Failed", "expectation_failed"),
        421 => ("Misdirected Request", "misdirected_request"),
        426 => ("Upgrade Required", "upgrade_required"),
        429 => ("Too Many Requests", "too_many_requests"),
        431 => ("Request Header Fields Too Large", "head_too_large"),
        502 => ("Bad Gateway", "bad_gateway"),
        503 => ("Service Unavailable", "unavailable"),
        504 => ("Gateway Timeout", "gateway_timeout"),
        505 => ("HTTP Version Not Supported", "version_not_supported"),
        _ => ("Internal Server Error", "internal"),
    }
}

#[cfg(test)]
mod tests;
