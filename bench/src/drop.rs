//! Accept and drop: the least that a connection can cost a process that listens.

use std::net::{SocketAddr, TcpListener};

use crate::fault::{During as _, Outcome};
use crate::listen;

/// Drops every connection to `listen`.
pub(crate) fn run(listen: SocketAddr) -> Outcome<()> {
    let listener = TcpListener::bind(listen).during("listening")?;
    listen::announce(listener.local_addr().during("listening")?)?;
    loop {
        drop(listener.accept().during("accepting")?);
    }
}
