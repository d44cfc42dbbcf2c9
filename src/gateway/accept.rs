//! The accept loop of one listener.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::connection;
use super::house::{Door, House};
use super::visit::Visit;
use crate::net::listener::Acceptor;

/// Takes connections from one listener until the gateway drains; never waits for what a connection does.
pub(super) async fn accept(house: Arc<House>, door: Arc<Door>, listener: TcpListener, connections: TaskTracker) {
    let mut acceptor = Acceptor::new(listener, Arc::clone(&house.observer), house.closing.clone());
    while let Some((tcp, peer)) = acceptor.next().await {
        let mut visit = Visit::begin(&house.observer, &house.end, peer.ip());
        match house.limits.admit_connection() {
            Ok(slot) => {
                let life = connection::serve(Arc::clone(&house), Arc::clone(&door), tcp, visit, slot);
                connections.spawn(life);
            }
            Err(reason) => visit.refused(&reason.into()),
        }
    }
}
