//! **wsgate**: a security-hardened WebSocket gateway.
//!
//! It terminates TLS, decides whether an opening handshake may come in, and then carries the two streams between
//! client and backend, judging every frame as it passes.
//!
//! The modules stand on floors (ARCHITECTURE.md): a file imports from its own folder and from lower floors only.
//! Floors 0 to 4 hold no `async`, no sockets, no clocks and no locks; `tests/tidy.rs` checks it.

// Floor 0
pub mod peer;
pub mod secret;
pub mod units;
// Floor 1
pub mod ws;
// Floor 2
pub mod session;
// Floor 3
pub mod policy;
// Floor 4
pub mod event;
// Floor 5
pub mod config;
// Floor 6
pub mod limits;
pub mod net;
pub mod telemetry;
// Floor 7
pub mod audit;
pub mod gateway;
// Floor 8
pub mod cli;
