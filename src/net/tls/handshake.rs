//! The handshake of either end, from its first byte to traffic.

use std::future::poll_fn;
use std::io::{self, ErrorKind};

use tokio::sync::Semaphore;

use super::records::End;
use super::stream::TlsStream;

/// Shakes hands over `tls`, working on what was received by `resume`, each time with a permit of `turns`. A server
/// of TLS 1.3 has only a ticket left to send when it is done (RFC 8446 section 2): that goes out with the first write.
///
/// # Errors
/// The socket's, or rustls' as `InvalidData`: its alert was sent before.
pub(super) async fn shake<E: End>(
    tls: &mut TlsStream<E>,
    turns: Option<&Semaphore>,
    mut resume: impl FnMut(&mut TlsStream<E>) -> Result<(), rustls::Error>,
) -> io::Result<()> {
    loop {
        let turn = match turns {
            Some(turns) => turns.acquire().await.ok(),
            None => None,
        };
        let resumed = resume(tls);
        drop(turn);
        let is_done = resumed.is_ok() && !tls.is_handshaking();
        if is_done && tls.is_server_of_tls13() {
            return Ok(());
        }
        let sent = poll_fn(|cx| tls.poll_drain(cx)).await;
        resumed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        sent?;
        if is_done {
            return Ok(());
        }
        poll_fn(|cx| tls.poll_put_off(cx)).await?;
    }
}
