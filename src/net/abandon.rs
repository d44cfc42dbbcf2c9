//! Giving a stream up together with what the kernel still holds of it.

use tokio::net::TcpStream;

/// A stream that can be given up.
pub trait Abandon {
    /// From here on, closing it resets it (`SO_LINGER` of zero, socket(7)): what was written and not taken is freed at
    /// once, where else the kernel would go on offering it for a minute.
    fn abandon(&self);
}

impl Abandon for TcpStream {
    fn abandon(&self) {
        // A socket that is gone already holds nothing.
        let _ = self.set_zero_linger();
    }
}
