//! WebSocket frames as they lie on the wire (RFC 6455 section 5.2), honest or not. Independent of the code under test.

/// Opcodes.
pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

/// The bit that ends a message.
pub const FIN: u8 = 0x80;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as it was read; the payload is unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub first: u8,
    /// The masking key, where the frame was masked.
    pub mask: Option<[u8; 4]>,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The opcode.
    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// The code of a Close frame; `None` where it has no body.
    pub fn close_code(&self) -> Option<u16> {
        self.payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }

    /// Takes one whole frame from the front of `bytes`.
    pub fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (length, mut at) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
            short => (usize::from(short), 2),
        };
        let mask: Option<[u8; 4]> = if second & 0x80 == 0 {
            None
        } else {
            at += 4;
            Some(bytes.get(at - 4..at)?.try_into().ok()?)
        };
        let mut payload = bytes.get(at..at + length)?.to_vec();
        if let Some(key) = mask {
            apply(key, &mut payload);
        }
        bytes.drain(..at + length);
        Some(Self { first, mask, payload })
    }
}

/// An honest frame from a client: masked, minimal length.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, 0x80, payload.len());
    bytes.extend_from_slice(&KEY);
    let mut body = payload.to_vec();
    apply(KEY, &mut body);
    bytes.extend_from_slice(&body);
    bytes
}

/// An honest frame from a server: not masked, minimal length.
pub fn bare(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, 0, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

/// The body of a Close frame.
pub fn close_body(code: u16, reason: &str) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    body.extend_from_slice(reason.as_bytes());
    body
}

/// A masked header alone with the length in the 16-bit or 64-bit form, whatever it is.
pub fn masked_header_16(first: u8, length: u16) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | 126];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&KEY);
    bytes
}

/// A masked header alone with the length in the 64-bit form, whatever it is.
pub fn masked_header_64(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | 127];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&KEY);
    bytes
}

/// Bytes in which no two neighbourhoods are alike, the same for the same seed.
pub fn noise(count: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn header(first: u8, mask_bit: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(mask_bit | u8::try_from(length).unwrap()),
        126..=65_535 => {
            bytes.push(mask_bit | 126);
            bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            bytes.push(mask_bit | 127);
            bytes.extend_from_slice(&u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    bytes
}

fn apply(key: [u8; 4], payload: &mut [u8]) {
    for (byte, mask) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= mask;
    }
}
