//! WebSocket frames as bytes (RFC 6455 section 5.2), honest or not, independent of the gateway's own reader.

/// Opcodes.
pub mod opcode {
    /// Continues a message.
    pub const CONTINUATION: u8 = 0x0;
    /// Text.
    pub const TEXT: u8 = 0x1;
    /// Binary.
    pub const BINARY: u8 = 0x2;
    /// Close.
    pub const CLOSE: u8 = 0x8;
    /// Ping.
    pub const PING: u8 = 0x9;
    /// Pong.
    pub const PONG: u8 = 0xa;
}

/// The bit that ends a message.
pub const FIN: u8 = 0x80;

/// A mask of the client's: any will do, its bytes differ.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The most payload of a frame that is read: more is no answer to anything a suite sends.
const MOST_PAYLOAD: usize = 1 << 20;

/// A frame as it came, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub first: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The opcode.
    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// The code of a Close; `None` where it has none.
    pub fn close_code(&self) -> Option<u16> {
        self.payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }

    /// Takes a whole frame of a server from the front of `bytes`; `None` while it is incomplete.
    ///
    /// # Errors
    /// With a sentence where it is masked or longer than 1 MiB.
    pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, String> {
        let [first, second, rest @ ..] = bytes.as_slice() else { return Ok(None) };
        if second & 0x80 != 0 {
            return Err(String::from("the server sent a masked frame"));
        }
        let (length, at) = match (second & 0x7f, rest) {
            (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4),
            (127, [a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 10),
            (126 | 127, _) => return Ok(None),
            (short, _) => (u64::from(short), 2),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= MOST_PAYLOAD);
        let length = length.ok_or_else(|| String::from("the server sent a frame of more than 1 MiB"))?;
        let Some(payload) = bytes.get(at..at + length) else { return Ok(None) };
        let frame = Self { first: *first, payload: payload.to_vec() };
        bytes.drain(..at + length);
        Ok(Some(frame))
    }
}

/// An honest frame of a client: masked, minimal length.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => bytes.push(0x80 | length),
        (_, Ok(length)) => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A frame without a mask: an honest one of a server, and never of a client.
pub fn bare(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => bytes.push(length),
        (_, Ok(length)) => {
            bytes.push(126);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// The header of a masked frame alone, with a length in the 16-bit form, whatever it is.
pub fn header_16(first: u8, length: u16) -> Vec<u8> {
    [&[first, 0x80 | 126], length.to_be_bytes().as_slice(), &MASK].concat()
}

/// The header of a masked frame alone, with a length in the 64-bit form, whatever it is.
pub fn header_64(first: u8, length: u64) -> Vec<u8> {
    [&[first, 0x80 | 127], length.to_be_bytes().as_slice(), &MASK].concat()
}

/// What stands behind such a header: these bytes, masked.
pub fn masked_body(payload: &[u8]) -> Vec<u8> {
    payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

/// A Close of a client.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    masked(FIN | opcode::CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_built_and_read_at_each_length() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let sent = masked(FIN | opcode::BINARY, &payload);
            let header = sent.len() - length;
            assert_eq!(
                header,
                if length < 126 {
                    6
                } else if length < 65_536 {
                    8
                } else {
                    14
                }
            );
            // The same frame as a server sends it: no mask.
            let mut bytes = sent[..header - 4].to_vec();
            bytes[1] &= 0x7f;
            bytes.extend_from_slice(&payload);
            for cut in [1, header - 5, bytes.len() - 1] {
                let mut part = bytes[..cut].to_vec();
                if cut < bytes.len() {
                    assert_eq!(Frame::take(&mut part), Ok(None), "{length} bytes cut at {cut}");
                }
            }
            bytes.extend_from_slice(b"next");
            let frame = Frame::take(&mut bytes).unwrap().unwrap();
            assert_eq!((frame.opcode(), frame.payload.len()), (opcode::BINARY, length));
            assert_eq!(bytes, b"next");
        }
        assert!(Frame::take(&mut masked(FIN | opcode::TEXT, b"x")).is_err(), "a server does not mask");
    }
}
