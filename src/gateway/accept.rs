//! The accept loop of one listener.

use std::net::SocketAddr;
use std::sync::Arc;

use super::connection;
use super::house::{Door, House};
use super::visit::Visit;
use crate::net::listener::{Acceptor, Incoming, Listener};

/// Takes connections from one listener until the gateway drains; never waits for what a connection does.
pub(super) async fn accept(house: Arc<House>, door: Arc<Door>, listener: Listener) {
    let mut acceptor = Acceptor::new(listener, Arc::clone(&house.observer), house.closing.clone());
    while let Some((socket, peer)) = acceptor.next().await {
        receive(&house, &door, socket, peer);
    }
    // Where another process listens on the same socket, that one takes them.
    while let Some((socket, peer)) = (!house.relieved.is_cancelled()).then(|| acceptor.next_left()).flatten() {
        receive(&house, &door, socket, peer);
    }
}

fn receive(house: &Arc<House>, door: &Arc<Door>, socket: Incoming, peer: SocketAddr) {
    let mut visit = Visit::begin(&house.observer, &house.end, peer.ip());
    match house.limits.admit_connection() {
        Ok(place) => {
            let life = connection::serve(Arc::clone(house), Arc::clone(door), socket, visit, place);
            house.connections.spawn(life);
        }
        Err(reason) => visit.refused(&reason.into()),
    }
}
