//! Frames (RFC 6455 section 5.2): the header, read strictly and written, and the mask.
//!
//! Only what a header says by itself is judged here: a reserved opcode, a fragmented or long control frame, a length
//! that is not in its shortest form. What depends on who sends it and on what came before (mask, reserved bits,
//! fragmentation, sizes) is the session's. A payload is never looked at.

/// What a frame carries (RFC 6455 section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation,
    /// The first fragment of a text message.
    Text,
    /// The first fragment of a binary message.
    Binary,
    /// The end of what one side sends.
    Close,
    /// Are you there?
    Ping,
    /// I am here.
    Pong,
}

impl Opcode {
    /// Reads the low four bits of a frame's first byte; `None` where the opcode is reserved.
    pub fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// The low four bits of a frame's first byte.
    pub fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    /// Close, Ping and Pong (RFC 6455 section 5.5).
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last fragment of its message.
    pub fin: bool,
    /// RSV1, RSV2 and RSV3, where they stand in the first byte: `0x40`, `0x20`, `0x10`.
    pub rsv: u8,
    /// What the frame carries.
    pub opcode: Opcode,
    /// The masking key of a masked frame.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload; below 2^63.
    pub payload: u64,
}

/// Why a header is none, by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Opcodes 3 to 7 and 11 to 15.
    OpcodeReserved,
    /// A control frame without FIN.
    ControlFragmented,
    /// A control frame of more than 125 bytes.
    ControlTooLong,
    /// A length that a shorter form could have held.
    LengthNotMinimal,
    /// A 64-bit length with its highest bit set.
    LengthInvalid,
}

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

impl Header {
    /// RSV1, where it stands in the first byte.
    pub const RSV1: u8 = 0x40;
    /// The longest payload of a control frame (RFC 6455 section 5.5).
    pub const MAX_CONTROL_PAYLOAD: u8 = 125;

    /// Reads the header that `input` begins with; `None` where `input` ends before the header does.
    ///
    /// An error that a prefix has, every longer input has too, so a verdict does not depend on chunking.
    pub fn parse(input: &[u8]) -> Result<Option<Self>, HeaderError> {
        let Some((&first, rest)) = input.split_first() else { return Ok(None) };
        let opcode = Opcode::from_bits(first & 0x0F).ok_or(HeaderError::OpcodeReserved)?;
        let fin = first & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(HeaderError::ControlFragmented);
        }
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        let length = second & !MASKED;
        if opcode.is_control() && length > Self::MAX_CONTROL_PAYLOAD {
            return Err(HeaderError::ControlTooLong);
        }
        let Some((payload, rest)) = extended_length(length, rest)? else { return Ok(None) };
        let mask = if second & MASKED == 0 {
            None
        } else {
            let Some(key) = rest.first_chunk::<4>() else { return Ok(None) };
            Some(*key)
        };
        Ok(Some(Self { fin, rsv: first & RSV, opcode, mask, payload }))
    }

    /// Bytes of the header itself: 2 to 14.
    pub fn wire_len(&self) -> usize {
        let length: usize = match self.payload {
            0..=125 => 2,
            126..=0xFFFF => 4,
            _ => 10,
        };
        length.saturating_add(if self.mask.is_some() { 4 } else { 0 })
    }

    /// The header as it goes over the wire.
    pub fn bytes(&self) -> impl Iterator<Item = u8> {
        let first = if self.fin { FIN } else { 0 } | (self.rsv & RSV) | self.opcode.bits();
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        let wide = self.payload.to_be_bytes();
        let [.., high, low] = wide;
        let (length, skip) = match self.payload {
            0..=125 => (low, 8),
            126..=0xFFFF => (LENGTH_16, 6),
            _ => (LENGTH_64, 0),
        };
        debug_assert!(skip != 6 || u64::from(u16::from_be_bytes([high, low])) == self.payload);
        [first, masked | length].into_iter().chain(wide.into_iter().skip(skip)).chain(self.mask.into_iter().flatten())
    }
}

type Extended<'a> = Option<(u64, &'a [u8])>;

fn extended_length(length: u8, rest: &[u8]) -> Result<Extended<'_>, HeaderError> {
    let (value, shortest, rest) = match length {
        LENGTH_16 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*bytes)), 126, rest)
        }
        LENGTH_64 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
            (u64::from_be_bytes(*bytes), 0x1_0000, rest)
        }
        short => (u64::from(short), 0, rest),
    };
    if value >> 63 != 0 {
        return Err(HeaderError::LengthInvalid);
    }
    if value < shortest {
        return Err(HeaderError::LengthNotMinimal);
    }
    Ok(Some((value, rest)))
}

/// Masks or unmasks `payload`, which begins where the frame's payload begins (RFC 6455 section 5.3).
pub fn apply_mask(key: [u8; 4], payload: &mut [u8]) {
    for (byte, key) in payload.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

    fn header(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
        Header::parse(bytes)
    }

    #[test]
    fn what_a_header_cannot_say() {
        use HeaderError::{ControlFragmented, ControlTooLong, LengthInvalid, LengthNotMinimal, OpcodeReserved};
        // (id, wrong, why, the same with that one fact mended)
        let cases: [(&str, &[u8], HeaderError, &[u8]); 11] = [
            ("FR03", &[0x83, 0], OpcodeReserved, &[0x82, 0]),
            ("FR03", &[0x87, 0], OpcodeReserved, &[0x82, 0]),
            ("FR03", &[0x8B, 0], OpcodeReserved, &[0x8A, 0]),
            ("FR03", &[0x8F, 0], OpcodeReserved, &[0x8A, 0]),
            ("FR04", &[0x09, 0], ControlFragmented, &[0x89, 0]),
            ("FR04", &[0x89, 126, 0, 126], ControlTooLong, &[0x89, 125]),
            ("FR04", &[0x88, 127], ControlTooLong, &[0x88, 125]),
            ("FR05", &[0x82, 126, 0, 125], LengthNotMinimal, &[0x82, 126, 0, 126]),
            (
                "FR05",
                &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
                LengthNotMinimal,
                &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0],
            ),
            ("FR06", &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], LengthInvalid, &[0x82, 127, 0x40, 0, 0, 0, 0, 0, 0, 0]),
            (
                "FR06",
                &[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255],
                LengthInvalid,
                &[0x82, 127, 127, 255, 255, 255, 255, 255, 255, 255],
            ),
        ];
        let mut ran = 0;
        for (id, wrong, why, mended) in cases {
            assert_eq!(header(wrong), Err(why), "{id} {wrong:x?}");
            assert!(matches!(header(mended), Ok(Some(_))), "{id} {mended:x?}");
            ran += 1;
        }
        assert_eq!(ran, 11);
    }

    #[test]
    fn the_mask_undoes_itself() {
        // RFC 6455 section 5.7: "Hello", masked.
        let mut payload = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        apply_mask([0x37, 0xfa, 0x21, 0x3d], &mut payload);
        assert_eq!(&payload, b"Hello");
    }

    fn any_header() -> impl Strategy<Value = Header> {
        let length = prop_oneof![0u64..200, 0xFF00u64..0x1_0100, any::<u64>().prop_map(|n| n >> 1)];
        (any::<bool>(), 0u8..8, 0u8..16, any::<Option<[u8; 4]>>(), length).prop_filter_map(
            "opcodes that are defined",
            |(fin, rsv, opcode, mask, payload)| {
                let opcode = Opcode::from_bits(opcode)?;
                let (fin, payload) = if opcode.is_control() { (true, payload % 126) } else { (fin, payload) };
                Some(Header { fin, rsv: rsv << 4, opcode, mask, payload })
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(header in any_header()) {
            let bytes: Vec<u8> = header.bytes().collect();
            prop_assert_eq!(bytes.len(), header.wire_len());
            prop_assert_eq!(Header::parse(&bytes), Ok(Some(header)));
            for end in 0..bytes.len() {
                prop_assert_eq!(Header::parse(&bytes[..end]), Ok(None), "FR22");
            }
        }

        #[test]
        fn an_error_of_a_prefix_is_the_error_of_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let whole = Header::parse(&bytes);
            for end in 0..bytes.len() {
                match Header::parse(&bytes[..end]) {
                    Ok(None) => {}
                    verdict => prop_assert_eq!(verdict, whole),
                }
            }
        }

        #[test]
        fn tungstenite_reads_what_is_accepted_alike(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(Some(header)) = Header::parse(&bytes) {
                let theirs = FrameHeader::parse(&mut std::io::Cursor::new(&bytes)).unwrap();
                let (theirs, length) = theirs.unwrap();
                prop_assert_eq!((header.fin, header.mask, header.payload), (theirs.is_final, theirs.mask, length));
            }
        }
    }
}
