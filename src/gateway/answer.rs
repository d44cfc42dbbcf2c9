//! What a client is answered: its 101, or the one door by which every refusal leaves.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::house::House;
use super::random;
use crate::net::http::{self, TransportSecurity};
use crate::net::tls::ClientStream;
use crate::peer::ConnectionId;
use crate::policy::Refusal;
use crate::policy::admission::Admission;
use crate::ws::opening::{self, Accepted};

/// Answers a refusal and lingers, so that the answer is not lost to a reset.
pub(super) async fn refuse(house: &House, mut client: ClientStream, refusal: &Refusal, id: ConnectionId) {
    let security = TransportSecurity::of(client.is_tls());
    http::refuse(&mut client, refusal, id, security, random::jitter(), &house.lingering).await;
}

/// The head of our 101 and the subprotocol in it: the backend's choice, else the marker of a token that came as a
/// subprotocol, because browsers fail a handshake that offered some and got none.
pub(super) fn switching_protocols(admission: &Admission, accepted: &Accepted) -> (Vec<u8>, Option<String>) {
    let subprotocol = accepted.subprotocol.clone().or_else(|| admission.subprotocol_marker.clone());
    let head = opening::answer_101(&admission.opening.key, subprotocol.as_deref(), accepted.extensions.as_deref());
    (head, subprotocol)
}

/// Writes the 101.
pub(super) async fn write(client: &mut ClientStream, head: &[u8], deadline: Instant) -> io::Result<()> {
    let write = async {
        client.write_all(head).await?;
        client.flush().await
    };
    timeout_at(deadline, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
