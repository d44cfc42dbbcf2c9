//! A second reader of frames (RFC 6455 section 5.2), and what a stream of them must be.

use wsgate::session::{Extensions, Side};

use super::script::{FRAGMENTS, MESSAGE, PING};

/// One frame of a stream; the last may be cut off.
#[derive(Debug)]
pub struct Frame {
    pub first: u8,
    pub is_masked: bool,
    /// Unmasked, as far as it came.
    pub payload: Vec<u8>,
    /// Bytes of payload that the header announces.
    pub length: u64,
    /// Bytes on the wire, as far as they came.
    pub wire: usize,
}

impl Frame {
    pub fn opcode(&self) -> u8 {
        self.first & 15
    }

    pub fn is_control(&self) -> bool {
        self.opcode() >= 8
    }

    pub fn is_whole(&self) -> bool {
        self.payload.len() as u64 == self.length
    }

    /// The answer to a ping of the gateway's own, which goes no further.
    pub fn is_our_pong(&self) -> bool {
        self.first == 0x8A && self.is_whole() && self.payload == PING
    }
}

/// Every frame whose header is whole, in order, whatever they say.
pub fn frames(mut stream: &[u8]) -> Vec<Frame> {
    let mut found = Vec::new();
    while let Some((head, length, key)) = header(stream) {
        let here = usize::try_from(length).unwrap_or(usize::MAX).min(stream.len() - head);
        let key = key.unwrap_or_default();
        let payload = stream[head..head + here].iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
        let is_masked = stream[1] & 0x80 != 0;
        found.push(Frame { first: stream[0], is_masked, payload, length, wire: head + here });
        stream = &stream[head + here..];
    }
    found
}

/// The length of the header, that of the payload, and the key.
fn header(stream: &[u8]) -> Option<(usize, u64, Option<[u8; 4]>)> {
    let second = *stream.get(1)?;
    let (mut head, length) = match second & 0x7F {
        126 => (4, u64::from(u16::from_be_bytes(*stream[2..].first_chunk()?))),
        127 => (10, u64::from_be_bytes(*stream[2..].first_chunk()?)),
        short => (2, u64::from(short)),
    };
    let key = if second & 0x80 == 0 { None } else { Some(*stream.get(head..)?.first_chunk()?) };
    head += if key.is_some() { 4 } else { 0 };
    Some((head, length, key))
}

/// Holds what goes toward `to` against the grammar: an endpoint of another make must find no fault with it.
pub fn judge(to: Side, stream: &[u8], extensions: Extensions) {
    let frames = frames(stream);
    let mut message: Option<(u64, u32)> = None;
    let mut is_closed = false;
    for (index, frame) in frames.iter().enumerate() {
        assert!(!is_closed, "{to:?}: a frame behind Close: {frame:x?}");
        assert_eq!(frame.is_masked, to == Side::Backend, "{to:?}: {frame:x?}");
        assert!(frame.is_whole() || index + 1 == frames.len(), "{frame:x?}");
        let fin = frame.first & 0x80 != 0;
        let shortest = match frame.length {
            0..126 => 2,
            126..65_536 => 4,
            _ => 10,
        } + if frame.is_masked { 4 } else { 0 };
        assert_eq!(frame.wire - frame.payload.len(), shortest, "the shortest form of a length: {frame:x?}");
        let begins = matches!(frame.opcode(), 1 | 2);
        let rsv1 = if begins && extensions == Extensions::Pass { 0x40 } else { 0 };
        assert_eq!(frame.first & 0x70 & !rsv1, 0, "{to:?}: {frame:x?}");
        match (frame.opcode(), message) {
            (0, Some((size, count))) => message = Some((size + frame.length, count + 1)),
            (1 | 2, None) => message = Some((frame.length, 1)),
            (8, _) => {
                is_closed = true;
                judge_close(&frame.payload);
            }
            (9 | 10, _) => {}
            _ => panic!("{to:?}: {frame:x?} within {message:?}"),
        }
        assert!(!frame.is_control() || (fin && frame.length <= 125 && frame.is_whole()), "{to:?}: {frame:x?}");
        if let Some((size, count)) = message {
            assert!(size <= MESSAGE && count <= FRAGMENTS, "{to:?}: {size} bytes in {count} frames");
        }
        if fin && !frame.is_control() {
            message = None;
        }
    }
    let read: usize = frames.iter().map(|frame| frame.wire).sum();
    assert_eq!(read, stream.len(), "{to:?}: half a header went on");
}

fn judge_close(body: &[u8]) {
    match *body {
        [] => {}
        [high, low, ref reason @ ..] => {
            let code = u16::from_be_bytes([high, low]);
            assert!(matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999), "{code}");
            assert!(str::from_utf8(reason).is_ok(), "{reason:x?}");
        }
        _ => panic!("half a code: {body:x?}"),
    }
}
