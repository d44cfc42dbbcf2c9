//! From a server to a WebSocket on it: the connection, TLS, and a handshake whose answer is verified whole.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::target::Target;
use crate::net::http;
use crate::net::tls::{BackendStream, ClientTls};
use crate::policy::balance::condition::Met;
use crate::policy::forward::{Server, UpstreamRequest};
use crate::policy::{Reason, Refusal};
use crate::ws::head::HeadLimits;
use crate::ws::opening::{self, Accepted, ResponseError, WebSocketKey};

/// A backend's answer is held to the bounds that a client's head has by default.
const ANSWER_LIMITS: HeadLimits = HeadLimits { bytes: 16 << 10, fields: 64, target: 8 << 10 };

/// How servers of one upstream are connected to.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub(super) tls: Option<ClientTls>,
    pub(super) connect_timeout: Duration,
    pub(super) handshake_timeout: Duration,
}

/// Why there is no WebSocket, and what that says of the server.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) refusal: Refusal,
    pub(super) met: Met,
}

impl Connector {
    /// Connects, with TLS where the server is spoken to over it.
    pub(super) async fn connect(&self, target: &Target) -> Result<BackendStream, Failed> {
        let deadline = Instant::now() + self.connect_timeout;
        self.connect_by(target, deadline).await.map_err(failed)
    }

    async fn connect_by(&self, target: &Target, deadline: Instant) -> Result<BackendStream, Refusal> {
        let late = |_| Refusal::new(Reason::BackendConnectTimeout);
        let tcp = timeout_at(deadline, target.connect_tcp(deadline)).await.map_err(late)?.map_err(connect_refusal)?;
        tcp.set_nodelay(true).map_err(connect_refusal)?;
        match (&self.tls, target.server.tls) {
            (Some(tls), true) => {
                let name = target.server.host_name();
                let handshake = tls.connect(&name, tcp);
                let stream = timeout_at(deadline, handshake).await.map_err(late)?;
                stream.map_err(|error| Refusal::new(Reason::BackendTls).with_detail(error.to_string()))
            }
            (None, true) => Err(Refusal::new(Reason::Internal)),
            (_, false) => Ok(BackendStream::Plain(tcp)),
        }
    }

    /// Writes the handshake and verifies its answer.
    pub(super) async fn open(
        &self,
        mut stream: BackendStream,
        key: &WebSocketKey,
        request: &UpstreamRequest,
    ) -> Result<(BackendStream, Vec<u8>, Accepted), Failed> {
        let deadline = Instant::now() + self.handshake_timeout;
        let no_answer = |refusal| Failed { refusal, met: Met::NoAnswer };
        let write = async {
            stream.write_all(&request.bytes).await?;
            stream.flush().await
        };
        match timeout_at(deadline, write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if is_own_lack(&error) => {
                return Err(failed(connect_refusal(error)));
            }
            Ok(Err(error)) => {
                return Err(no_answer(Refusal::new(Reason::BackendClosed).with_detail(error.to_string())));
            }
            Err(_) => return Err(no_answer(Reason::BackendHandshakeTimeout.into())),
        }
        let head = http::read_response_head(&mut stream, &ANSWER_LIMITS, deadline).await;
        let (head, glued) = head.map_err(no_answer)?;
        let accepted = opening::judge_response(&head, key, &request.offered_subprotocols, &request.offered_extensions);
        let accepted = accepted.map_err(|error| {
            // A status below 500 is a server's judgement of the handshake: it is well.
            let is_judgement = matches!(error, ResponseError::Status(200..=499));
            Failed { refusal: error.into(), met: if is_judgement { Met::Well } else { Met::NoAnswer } }
        })?;
        Ok((stream, glued, accepted))
    }
}

/// What a refusal to connect says of the server.
fn failed(refusal: Refusal) -> Failed {
    let is_ours = matches!(refusal.reason, Reason::BackendNoSocket | Reason::Internal);
    Failed { refusal, met: if is_ours { Met::Nothing } else { Met::NoConnection } }
}

/// Whether the gateway has no descriptor or memory for a connection, wherever to: it says nothing of a server.
pub(super) fn is_own_lack(error: &io::Error) -> bool {
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|errno| lacks.contains(&errno))
}

/// Whether the gateway has no port or address left toward one address of a server.
pub(super) fn is_lack_of_ports(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::ADDRNOTAVAIL)
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` takes")]
fn connect_refusal(error: io::Error) -> Refusal {
    let reason = match error.kind() {
        _ if is_own_lack(&error) || is_lack_of_ports(&error) => Reason::BackendNoSocket,
        io::ErrorKind::TimedOut => Reason::BackendConnectTimeout,
        _ => Reason::BackendUnreachable,
    };
    Refusal::new(reason).with_detail(error.to_string())
}

pub(super) fn name_server(refusal: Refusal, server: &Server) -> Refusal {
    let detail = match &refusal.detail {
        Some(detail) => format!("{}: {detail}", server.name),
        None => server.name.clone(),
    };
    refusal.with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn be12_what_the_gateway_lacks_is_no_failure_of_the_server() {
        let cases = [
            (Errno::MFILE, Reason::BackendNoSocket),
            (Errno::NFILE, Reason::BackendNoSocket),
            (Errno::NOBUFS, Reason::BackendNoSocket),
            (Errno::NOMEM, Reason::BackendNoSocket),
            (Errno::AGAIN, Reason::BackendNoSocket),
            (Errno::ADDRNOTAVAIL, Reason::BackendNoSocket),
            (Errno::CONNREFUSED, Reason::BackendUnreachable),
            (Errno::HOSTUNREACH, Reason::BackendUnreachable),
            (Errno::NETUNREACH, Reason::BackendUnreachable),
            (Errno::CONNRESET, Reason::BackendUnreachable),
            (Errno::TIMEDOUT, Reason::BackendConnectTimeout),
        ];
        for (errno, reason) in cases {
            let failed = failed(connect_refusal(errno.into()));
            let met = if reason == Reason::BackendNoSocket { Met::Nothing } else { Met::NoConnection };
            assert_eq!((failed.refusal.reason, failed.met), (reason, met), "{errno:?}");
        }
        assert_eq!(cases.len(), 11);
    }
}
