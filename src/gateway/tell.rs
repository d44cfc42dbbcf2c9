//! `tell = "close"`: a page whose credential is refused is told why by a 101 and a Close frame, for a page cannot read the
//! status of a handshake that failed.
//!
//! Only a page of a listed origin is told so, and only what a credential or a rate was refused for: another page learns
//! nothing that it could not learn from a status. Nothing is dialled; for the log it is the refusal that it is.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
use crate::ws::opening::{WebSocketKey, answer_101};

/// How many are told so at a time; beyond, the answer is the status.
pub(super) const SLOTS: usize = 256;
/// How long the closing handshake may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// The first byte of a whole Close frame.
const CLOSE: u8 = 0x88;

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
    let closing = async {
        client.write_all(&told.bytes).await?;
        client.flush().await?;
        let mut bytes = [0; 256];
        loop {
            let count = client.read(&mut bytes).await?;
            if count == 0 || bytes.first() == Some(&CLOSE) {
                return client.shutdown().await;
            }
        }
    };
    // Whatever ends it ends the connection.
    let _ = timeout(DEADLINE, closing).await;
    http::linger(client, &house.lingering).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::close::may_be_sent;

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
