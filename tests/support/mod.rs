//! What every suite stands on: a gateway on port 0, clients and backends that may be wrong byte by byte, throwaway
//! keys and certificates, and an observer that remembers.
//!
//! Nothing here sleeps to let something happen: a test waits for an event, a byte or a state, and a deadline ends the
//! wait. Hostile peers that trickle bytes do so by a timer, because slowness is what they are made of.

#![allow(dead_code, reason = "each suite uses a part of this house")]
#![allow(unused_imports, reason = "each suite uses a part of this house")]
#![allow(unreachable_pub, reason = "modules of a test binary have no outside")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "the names of the cases that ran are for the reader of the output")]
#![allow(clippy::disallowed_methods, reason = "tests own clocks and tasks of their own")]

use std::future::Future;
use std::time::Duration;

pub mod admin;
pub mod backend;
pub mod cases;
pub mod certificates;
pub mod client;
pub mod endpoint;
pub mod examined;
pub mod frames;
pub mod house;
pub mod observer;
pub mod peers;
pub mod process;
pub mod queues;
pub mod shipped;
pub mod stand;
pub mod time;
pub mod tokens;
pub mod weak;

pub use backend::{Backend, Step};
pub use cases::Cases;
pub use client::{Answer, End, Request, Wire};
pub use endpoint::{Endpoint, Ends, Transport};
pub use examined::{Examined, examined};
pub use frames::Frame;
pub use house::{House, Plan};
pub use stand::Stand;

/// How long a test waits for what must happen: far beyond what it takes, so that only a broken gateway meets it.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// Awaits something that must happen within [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

/// Looks at a state that no event announces until it holds, or [`PATIENCE`] ends.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    within(what, async {
        while !holds() {
            looks.tick().await;
        }
    })
    .await;
}

/// Waits until connections to this address are refused.
pub async fn nobody_listens(address: std::net::SocketAddr) {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    within("nobody listens any longer", async {
        loop {
            looks.tick().await;
            match tokio::net::TcpStream::connect(address).await {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return,
                Ok(_) | Err(_) => {}
            }
        }
    })
    .await;
}
