//! The handshake of either end, from its first byte to traffic.

use std::future::poll_fn;
use std::io::{self, ErrorKind};

use tokio::sync::Semaphore;

use super::records::Endpoint;
use super::stream::TlsStream;

/// Shakes hands over `tls`, working on what is received by `resume`, each time with a permit of `turns`. What answers the
/// peer's last flight is left for the caller to send.
///
/// # Errors
/// The socket's, or rustls' as `InvalidData`: its alert was sent before.
pub(super) async fn shake<E: Endpoint>(
    tls: &mut TlsStream<E>,
    turns: Option<&Semaphore>,
    mut resume: impl FnMut(&mut TlsStream<E>) -> Result<(), rustls::Error>,
) -> io::Result<()> {
    while tls.is_handshaking() {
        flush(tls).await?;
        poll_fn(|cx| tls.poll_put_off(cx)).await?;
        let turn = match turns {
            Some(turns) => turns.acquire().await.ok(),
            None => None,
        };
        let resumed = resume(tls);
        drop(turn);
        if let Err(error) = resumed {
            // The alert may find no taker: what failed is told in any case.
            let _ = flush(tls).await;
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
    }
    Ok(())
}

/// Sends what the handshake has to send.
pub(super) async fn flush<E: Endpoint>(tls: &mut TlsStream<E>) -> io::Result<()> {
    poll_fn(|cx| tls.poll_drain(cx)).await
}
