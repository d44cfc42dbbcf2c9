//! `tell = "close"`: a page whose credential is refused is told why by a 101 and a Close frame, for a page cannot read the
//! status of a handshake that failed.
//!
//! Only a page of a listed origin is told so, and only what a credential or a rate was refused for: another page learns
//! nothing that it could not learn from a status. Nothing is dialled; for the log it is the refusal that it is.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::answer;
use super::house::House;
use crate::net::http;
use crate::net::tls::ClientStream;
use crate::peer::ConnectionId;
use crate::policy::refusal::Answer;
use crate::policy::screen::{Screened, Telling, first_choice};
use crate::policy::{Reason, Refusal};
use crate::session::CloseCodes;
use crate::ws::close;
use crate::ws::frame::{Header, Opcode};
use crate::ws::opening::{WebSocketKey, answer_101};

/// How many are told so at a time; beyond, the answer is the status.
pub(super) const SLOTS: usize = 256;
/// How long the closing handshake may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// How much is read of a client that does not close: its Close stands behind what its page sent at once.
const MOST_BYTES: u64 = 4096;

/// What a handshake would be told if its credential were refused.
pub(super) struct Words {
    key: WebSocketKey,
    subprotocol: Option<String>,
    codes: CloseCodes,
}

/// A refusal that is told by a Close frame.
pub(super) struct Told {
    pub(super) refusal: Refusal,
    bytes: Vec<u8>,
}

impl Words {
    /// `None` where the answer is a status: the policy says so, or no page of a listed origin asks.
    pub(super) fn of(screened: &Screened) -> Option<Self> {
        let Screened { opening, policy, origin, .. } = screened;
        let is_told = policy.tell == Telling::Close && origin.value().is_some();
        is_told.then(|| Self {
            key: opening.key.clone(),
            subprotocol: first_choice(&opening.subprotocols, &policy.auth),
            codes: policy.session.close,
        })
    }

    /// The refusal in these words; as it came where it has none.
    pub(super) fn tell(self, refusal: Refusal) -> Result<Told, Refusal> {
        let Some(code) = code(&refusal, &self.codes) else { return Err(refusal) };
        let mut bytes = answer_101(&self.key, self.subprotocol.as_deref(), None);
        bytes.extend_from_slice(&close::frame(code));
        Ok(Told { refusal, bytes })
    }
}

/// The code for a credential or a rate that was refused.
fn code(refusal: &Refusal, codes: &CloseCodes) -> Option<u16> {
    match refusal.reason.answer() {
        _ if refusal.reason == Reason::NetworkNotAllowed => None,
        Answer::Status(401) => Some(codes.unauthorized),
        Answer::Status(403) => Some(codes.forbidden),
        Answer::Status(429) => Some(codes.too_many),
        _ => None,
    }
}

/// Writes it, waits a moment for the client's own Close, and ends.
pub(super) async fn tell(house: &House, mut client: ClientStream, told: Told, id: ConnectionId) {
    let Ok(_slot) = house.telling.try_acquire() else {
        return answer::refuse(house, client, &told.refusal, id).await;
    };
    // Whatever ends it ends the connection.
    let _ = timeout(DEADLINE, close_in_order(&mut client, &told.bytes)).await;
    http::linger(client, &house.lingering).await;
}

async fn close_in_order<S: AsyncRead + AsyncWrite + Unpin>(client: &mut S, told: &[u8]) -> io::Result<()> {
    client.write_all(told).await?;
    client.flush().await?;
    let mut left = (&mut *client).take(MOST_BYTES);
    let mut said = Vec::new();
    while left.read_buf(&mut said).await? > 0 && !is_closed(&mut said) {}
    client.shutdown().await
}

/// Takes whole frames off the front: whether one of them is a Close, or what comes is no frame.
fn is_closed(said: &mut Vec<u8>) -> bool {
    loop {
        let frame = match Header::parse(said) {
            Ok(Some(header)) if header.opcode != Opcode::Close => header,
            Ok(None) => return false,
            Ok(Some(_)) | Err(_) => return true,
        };
        let payload = usize::try_from(frame.payload).unwrap_or(usize::MAX);
        let length = frame.wire_len().saturating_add(payload);
        if said.len() < length {
            return false;
        }
        said.drain(..length);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::gateway::fixture::Stage;
    use crate::ws::close::may_be_sent;

    fn told() -> Told {
        let bytes = [b"HTTP/1.1 101 Switching Protocols\r\n\r\n".as_slice(), &close::frame(4401)].concat();
        Told { refusal: Reason::TokenExpired.into(), bytes }
    }

    /// What a client is told that says nothing.
    async fn heard(house: &House) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        client.shutdown().await.unwrap();
        tell(house, ClientStream::Plain(tcp), told(), ConnectionId::from_bytes([1; 16])).await;
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        String::from_utf8_lossy(&heard).into_owned()
    }

    #[tokio::test]
    async fn rx07_who_finds_no_place_is_answered_by_a_status() {
        let Stage { house, .. } = Stage::new();
        let all_but_one = house.telling.try_acquire_many(u32::try_from(SLOTS - 1).unwrap()).unwrap();
        assert!(heard(&house).await.starts_with("HTTP/1.1 101 "), "the last place");
        let last = house.telling.try_acquire().unwrap();
        assert!(heard(&house).await.starts_with("HTTP/1.1 401 "), "no place");
        drop((all_but_one, last));
        assert!(heard(&house).await.starts_with("HTTP/1.1 101 "), "a place again");
    }

    #[tokio::test]
    async fn rx07_of_a_client_that_does_not_close_little_is_read() {
        const SAID: usize = 1 << 20;
        let (mut client, mut gateway) = tokio::io::duplex(2 * SAID);
        // One frame that is longer than all that is read.
        client.write_all(&[0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0]).await.unwrap();
        client.write_all(&vec![0; SAID - 10]).await.unwrap();
        client.shutdown().await.unwrap();
        close_in_order(&mut gateway, &told().bytes).await.unwrap();
        let mut unread = Vec::new();
        gateway.read_to_end(&mut unread).await.unwrap();
        assert_eq!(unread.len(), SAID - usize::try_from(MOST_BYTES).unwrap());
    }

    #[test]
    fn a_close_is_found_behind_what_came_before_it() {
        let text = [0x81, 0x82, 1, 2, 3, 4, 0x88, 0x80];
        let closes = [0x88, 0x80, 1, 2, 3, 4];
        let cases = [
            (text.to_vec(), false),
            (closes.to_vec(), true),
            ([text.as_slice(), &text, &closes].concat(), true),
            ([text.as_slice(), &closes[..1]].concat(), false),
            (text[..7].to_vec(), false),
            (Vec::new(), false),
            (b"\x83".to_vec(), true),
        ];
        for (said, closed) in &cases {
            assert_eq!(is_closed(&mut said.clone()), *closed, "{said:?} at once");
            let mut kept = Vec::new();
            let by_bytes = said.iter().any(|byte| {
                kept.push(*byte);
                is_closed(&mut kept)
            });
            assert_eq!(by_bytes, *closed, "{said:?} byte by byte");
        }
        assert_eq!(cases.len(), 7);
    }

    #[test]
    fn credentials_and_rates_have_codes_and_nothing_else_has() {
        let codes = CloseCodes::default();
        let told = |reason: Reason| code(&reason.into(), &codes);
        let cases = [
            (Reason::CredentialMissing, Some(4401)),
            (Reason::TokenExpired, Some(4401)),
            (Reason::TicketUnknown, Some(4401)),
            (Reason::ClaimRequired, Some(4403)),
            (Reason::AddressFailures, Some(4429)),
            (Reason::AddressSessions, Some(4429)),
            (Reason::SubjectRate, Some(4429)),
            (Reason::SubjectSessions, Some(4429)),
            (Reason::CredentialAmbiguous, None),
            (Reason::SessionIdMalformed, None),
            (Reason::AdmissionPace, None),
            (Reason::RouteSessions, None),
            (Reason::KeysUnavailable, None),
            (Reason::NetworkNotAllowed, None),
            (Reason::Internal, None),
        ];
        for (reason, code) in cases {
            assert_eq!(told(reason), code, "{reason:?}");
        }
        assert!(Reason::ALL.iter().filter_map(|reason| told(*reason)).all(may_be_sent));
    }
}
