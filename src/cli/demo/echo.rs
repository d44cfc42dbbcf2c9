//! The service that the demo puts behind the gateway: it sends back whatever it is sent.

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::TaskTracker;

/// Accepts and echoes until it is dropped; its sessions end when the gateway's do.
pub(super) async fn serve(listener: TcpListener) {
    let sessions = TaskTracker::new();
    while let Ok((tcp, _)) = listener.accept().await {
        sessions.spawn(echo(tcp));
    }
}

async fn echo(tcp: TcpStream) {
    let Ok(mut socket) = accept_async(tcp).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}
