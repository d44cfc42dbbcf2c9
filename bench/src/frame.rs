//! Frame headers and masking (RFC 6455, section 5.2): as much as a load and its echo need.

/// The most bytes of a frame header.
pub(crate) const LONGEST_HEADER: usize = 14;
/// The most bytes of a control frame's payload (section 5.5).
pub(crate) const LONGEST_CONTROL: u64 = 125;

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// One frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The last frame of its message.
    pub(crate) fin: bool,
    /// What the frame is: its opcode, and the reserved bits before it, which nobody here sets.
    pub(crate) opcode: u8,
    /// The masking key, from clients.
    pub(crate) mask: Option<[u8; 4]>,
    /// Payload bytes.
    pub(crate) length: u64,
}

impl Header {
    /// The header at the front of `bytes` and its size in bytes; nothing while it is not whole.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (length, rest) = match second & 0x7f {
            126 => rest.split_first_chunk().map(|(wide, rest)| (u64::from(u16::from_be_bytes(*wide)), rest))?,
            127 => rest.split_first_chunk().map(|(wide, rest)| (u64::from_be_bytes(*wide), rest))?,
            short => (u64::from(short), rest),
        };
        let (mask, rest) = match second & 0x80 {
            0 => (None, rest),
            _ => rest.split_first_chunk().map(|(key, rest)| (Some(*key), rest))?,
        };
        let header = Self { fin: first & 0x80 != 0, opcode: first & 0x7f, mask, length };
        Some((header, bytes.len() - rest.len()))
    }

    /// The header as it goes over the wire, behind what `out` holds.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        out.push(if self.fin { 0x80 } else { 0 } | self.opcode);
        match (u8::try_from(self.length), u16::try_from(self.length)) {
            (Ok(short @ 0..=125), _) => out.push(masked | short),
            (_, Ok(wide)) => {
                out.push(masked | 126);
                out.extend_from_slice(&wide.to_be_bytes());
            }
            _ => {
                out.push(masked | 127);
                out.extend_from_slice(&self.length.to_be_bytes());
            }
        }
        out.extend_from_slice(self.mask.as_ref().map_or(&[], |key| key.as_slice()));
    }
}

/// A whole masked frame.
pub(crate) fn masked(opcode: u8, key: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(LONGEST_HEADER + payload.len());
    Header { fin: true, opcode, mask: Some(key), length: payload.len() as u64 }.write(&mut frame);
    let start = frame.len();
    frame.extend_from_slice(payload);
    if let Some(payload) = frame.get_mut(start..) {
        mask(payload, key, 0);
    }
    frame
}

/// Masks or unmasks `bytes`, of which the first is byte number `offset` of its payload (section 5.3).
pub(crate) fn mask(bytes: &mut [u8], mut key: [u8; 4], offset: u64) {
    key.rotate_left((offset % 4) as usize);
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// What ends with a piece of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    Nothing,
    Frame,
    Message,
}

/// A piece of a frame's payload, as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'b> {
    /// The header of its frame.
    pub(crate) header: Header,
    pub(crate) payload: &'b [u8],
    pub(crate) ends: Ends,
}

/// Frames as they stream by, in whatever pieces.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The beginning of a header, of which the rest has not come.
    partial: Vec<u8>,
    /// The frame that is under way, and the payload bytes of it that are to come.
    current: Option<(Header, u64)>,
}

impl Frames {
    /// Takes the next piece from the front of `bytes`; nothing once they are used up.
    pub(crate) fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Option<Piece<'b>> {
        let (header, remaining) = match self.current.take() {
            Some(current) if bytes.is_empty() => {
                self.current = Some(current);
                return None;
            }
            Some(current) => current,
            None => self.header(bytes).map(|header| (header, header.length))?,
        };
        let count = usize::try_from(remaining).unwrap_or(usize::MAX).min(bytes.len());
        let (payload, rest) = bytes.split_at_checked(count)?;
        *bytes = rest;
        let ends = match remaining - count as u64 {
            0 if header.fin => Ends::Message,
            0 => Ends::Frame,
            remaining => {
                self.current = Some((header, remaining));
                Ends::Nothing
            }
        };
        Some(Piece { header, payload, ends })
    }

    /// Takes a header, or keeps what there is of one.
    fn header(&mut self, bytes: &mut &[u8]) -> Option<Header> {
        while !self.partial.is_empty() {
            if let Some((header, _)) = Header::read(&self.partial) {
                self.partial.clear();
                return Some(header);
            }
            let (first, rest) = bytes.split_first()?;
            self.partial.push(*first);
            *bytes = rest;
        }
        let Some((header, size)) = Header::read(bytes) else {
            self.partial.extend_from_slice(bytes);
            *bytes = &[];
            return None;
        };
        *bytes = bytes.get(size..)?;
        Some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_the_same_in_whatever_pieces_they_arrive() {
        let long = vec![5; 70_000];
        let sent: [(bool, u8, &[u8]); 5] = [
            (true, PING, b""),
            (false, BINARY, b"ab"),
            (true, CONTINUATION, &long),
            (true, BINARY, &long[..300]),
            (true, CLOSE, b"xy"),
        ];
        let mut stream = Vec::new();
        for (fin, opcode, payload) in sent {
            Header { fin, opcode, mask: None, length: payload.len() as u64 }.write(&mut stream);
            stream.extend_from_slice(payload);
        }
        for piece in [1, 2, 3, 5, 1000, stream.len()] {
            let (mut frames, mut got, mut payload) = (Frames::default(), Vec::new(), Vec::new());
            for mut bytes in stream.chunks(piece) {
                while let Some(piece) = frames.next(&mut bytes) {
                    payload.extend_from_slice(piece.payload);
                    if piece.ends != Ends::Nothing {
                        assert_eq!(piece.ends == Ends::Message, piece.header.fin);
                        got.push((piece.header.fin, piece.header.opcode, std::mem::take(&mut payload)));
                    }
                }
                assert!(bytes.is_empty());
            }
            assert!(got.iter().map(|(fin, opcode, payload)| (*fin, *opcode, payload.as_slice())).eq(sent), "{piece}");
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written_and_not_before_it_is_whole() {
        let mut tried = 0;
        for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 40] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let header = Header { fin: length % 2 == 0, opcode: BINARY, mask, length };
                let mut bytes = Vec::new();
                header.write(&mut bytes);
                for short in 0..bytes.len() {
                    assert_eq!(Header::read(&bytes[..short]), None);
                }
                let size = bytes.len();
                bytes.push(0xff);
                assert_eq!(Header::read(&bytes), Some((header, size)));
                tried += 1;
            }
        }
        assert_eq!(tried, 14);
    }

    #[test]
    fn a_frame_is_the_one_of_the_rfc() {
        // Section 5.7: a single-frame masked text message, "Hello".
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(masked(TEXT, [0x37, 0xfa, 0x21, 0x3d], b"Hello"), hello);
    }

    #[test]
    fn masking_goes_on_where_it_stopped() {
        let plain: Vec<u8> = (0..=255).collect();
        let mut whole = plain.clone();
        mask(&mut whole, [9, 8, 7, 6], 0);
        for split in 0..plain.len() {
            let mut parts = plain.clone();
            let (front, back) = parts.split_at_mut(split);
            mask(front, [9, 8, 7, 6], 0);
            mask(back, [9, 8, 7, 6], split as u64);
            assert_eq!(parts, whole);
        }
    }
}
