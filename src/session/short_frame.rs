//! The longest thing that a session ever stores: one header, or one whole control frame.

use crate::ws::frame::{Header, Opcode, apply_mask};

/// At most 131 bytes of frame, inline: 2 of header, 4 of mask and 125 of payload.
#[derive(Clone, Copy)]
pub struct ShortFrame {
    bytes: [u8; ShortFrame::CAPACITY],
    len: u8,
}

impl ShortFrame {
    /// A masked control frame with the longest payload (RFC 6455 section 5.5).
    pub const CAPACITY: usize = 131;

    /// None.
    pub(super) const EMPTY: Self = Self { bytes: [0; Self::CAPACITY], len: 0 };

    /// The bytes as they go over the wire.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len()).unwrap_or_default()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes it holds.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// A control frame; what is beyond 125 bytes of payload is cut off.
    pub fn control(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) -> Self {
        let longest = usize::from(Header::MAX_CONTROL_PAYLOAD);
        let payload = payload.get(..longest).unwrap_or(payload);
        let length = u64::try_from(payload.len()).unwrap_or(0);
        let header = Header { fin: true, rsv: 0, opcode, mask, payload: length };
        let mut frame = Self::EMPTY;
        for byte in header.bytes() {
            frame.push(&[byte]);
        }
        frame.push(payload);
        if let (Some(key), Some(place)) = (mask, frame.as_mut_slice().get_mut(header.wire_len()..)) {
            apply_mask(key, place);
        }
        frame
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..usize::from(self.len)).unwrap_or_default()
    }

    /// Appends as much of `input` as there is room for and says how much that was.
    pub(super) fn push(&mut self, input: &[u8]) -> usize {
        let room = self.bytes.get_mut(usize::from(self.len)..).unwrap_or_default();
        let taken = room.len().min(input.len());
        if let (Some(place), Some(bytes)) = (room.get_mut(..taken), input.get(..taken)) {
            place.copy_from_slice(bytes);
        }
        self.len = self.len.saturating_add(u8::try_from(taken).unwrap_or(0));
        taken
    }
}

impl std::fmt::Debug for ShortFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShortFrame({} bytes)", self.len)
    }
}
