//! Bytes that wait, for a socket to take them or for their turn to be judged.

/// A queue of bytes: none, and no memory, most of the time.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    bytes: Vec<u8>,
    gone: usize,
}

impl Waiting {
    /// What waits in `bytes` behind the first `gone`.
    pub(super) fn behind(gone: usize, bytes: Vec<u8>) -> Self {
        if gone < bytes.len() { Self { bytes, gone } } else { Self::default() }
    }

    /// The reverse of [`Self::behind`].
    pub(super) fn into_parts(self) -> (usize, Vec<u8>) {
        (self.gone, self.bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.gone..).unwrap_or_default()
    }

    /// Where more may be added behind what waits.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes `count` bytes off the front.
    pub(super) fn advance(&mut self, count: usize) {
        self.gone = self.gone.saturating_add(count);
        if self.gone >= self.bytes.len() {
            *self = Self::default();
        }
    }
}
