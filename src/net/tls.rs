//! TLS, for clients and for `wss://` backends, behind one pair of types.
//!
//! rustls with the aws-lc-rs provider, named explicitly: TLS 1.3 and 1.2, hybrid post-quantum key exchange first, ALPN
//! `http/1.1`. Renegotiation, compression and 0-RTT are absent. Deadlines are the caller's: a future that is dropped
//! ends its handshake.

mod client;
mod handshake;
pub mod records;
mod server;
mod stream;

pub use client::{BackendTlsError, ClientTls, authorities};
pub use server::{ServerTls, TlsError};
pub use stream::{BackendStream, ClientStream, Stream, TlsStream};

use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one protocol that is spoken inside (RFC 7301; IANA's `http/1.1`).
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Bytes of rustls' sentence that an error keeps.
const WHY_BYTES: usize = 240;

/// Why TLS could not be set up.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsSetupError {
    /// A listener has no certificate.
    NoCertificate,
    /// There is no authority that could vouch for a backend.
    NoAuthority,
    /// The PEM of the authorities could not be read, or held something that is no certificate.
    Authorities(String),
    /// rustls refused.
    Rustls(rustls::Error),
}

impl fmt::Display for TlsSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("a TLS listener needs at least one certificate"),
            Self::NoAuthority => f.write_str(
                "no certificate authority is known: name a PEM file of authorities, or install the system's \
                 (Debian: ca-certificates)",
            ),
            Self::Authorities(why) => write!(f, "the authorities' PEM cannot be used: {why}"),
            Self::Rustls(error) => write!(f, "rustls refused the TLS settings: {error}"),
        }
    }
}

impl std::error::Error for TlsSetupError {}

impl From<rustls::Error> for TlsSetupError {
    fn from(error: rustls::Error) -> Self {
        Self::Rustls(error)
    }
}

/// aws-lc-rs, explicitly: no process-wide default decides.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// An error's sentence, bounded.
fn sentence(error: &dyn fmt::Display) -> String {
    let mut text = error.to_string();
    text.truncate(text.floor_char_boundary(WHY_BYTES));
    text
}

#[cfg(test)]
mod tests;
