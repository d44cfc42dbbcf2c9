//! Bytes that the kernel did not take at once.
//!
//! What is to be sent stands in a scratch that all connections share; only the rest of a short write is kept, in a buffer
//! of the connection's own that is given back once it is empty.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// The rest of a short write.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    bytes: Vec<u8>,
    at: usize,
}

impl Unsent {
    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Sends what is kept; ready once nothing is.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, to: &mut TcpStream) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.at..).filter(|rest| !rest.is_empty()) {
            self.at += match ready!(Pin::new(&mut *to).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => written,
            };
        }
        *self = Self::default();
        Poll::Ready(Ok(()))
    }

    /// Sends `bytes` with one write and keeps what the kernel does not take, behind what is kept already.
    pub(crate) fn send(&mut self, cx: &mut Context<'_>, to: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        if self.is_empty() && !bytes.is_empty() {
            match Pin::new(to).poll_write(cx, bytes) {
                Poll::Ready(count) => written = count?,
                Poll::Pending => {}
            }
        }
        if let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            self.bytes.extend_from_slice(rest);
        }
        Ok(())
    }
}
