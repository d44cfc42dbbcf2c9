//! The adapters to the network: sockets, TLS, request heads, backends, and the relay between the two.
//!
//! Every wait here has a deadline, and every read a bound, that the caller or the configuration names.

pub mod abandon;
pub mod admin_socket;
pub mod client_address;
pub mod handover;
pub mod http;
pub mod listener;
pub mod proxy_protocol;
pub mod relay;
pub mod tls;
pub mod upstream;
mod waiting;
