//! RFC 6455 on paper: pure functions of bytes.
//!
//! Nothing here reads a socket or a clock. `head` holds the strict grammar of an HTTP/1.1 head (RFC 9112), `opening`
//! judges a head as an opening handshake (RFC 6455 section 4), `call` as a call to
//! the gateway itself, `subprotocol` reads the offered list, and `frame` and
//! `close` hold the rules of sections 5 and 7. The text of messages is not judged: whether it is UTF-8 is for the
//! backend to say, to which it goes byte for byte.

#![deny(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects))]

pub mod call;
pub mod close;
pub mod frame;
pub mod head;
pub mod opening;
pub mod subprotocol;
