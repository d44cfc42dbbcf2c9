//! Frame headers, the mask, and the body of a Close frame.
//!
//! The input is the beginning of a frame; behind its header stands the payload.

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use wsgate::ws::close;
use wsgate::ws::frame::{Header, apply_mask};

use super::Verdict;

/// What is accepted is what tungstenite reads, bit for bit, and what RFC 6455 section 5.2 allows; it is written as it was
/// read; no prefix is judged otherwise than the whole.
pub fn frame(bytes: &[u8]) -> Verdict {
    let judged = Header::parse(bytes);
    for end in 0..bytes.len().min(14) {
        let prefix = Header::parse(&bytes[..end]);
        assert!(matches!(prefix, Ok(None)) || prefix == judged, "the verdict depends on the cut: {end}");
    }
    let naive = naive_header(bytes);
    assert_eq!(judged.ok().flatten().is_some(), naive.is_some(), "{judged:?}");
    let (Ok(Some(header)), Some((length, payload))) = (judged, naive) else { return Verdict::Refused };
    assert_eq!((header.wire_len(), header.payload), (length, payload));
    assert_eq!(header.bytes().collect::<Vec<u8>>(), &bytes[..length], "it is written as it was read");
    judge_by_tungstenite(&header, bytes);
    let body = &bytes[length..];
    judge_mask(&header, body);
    judge_close(body);
    Verdict::Accepted
}

/// The lengths of the header and of the payload, by the figure in RFC 6455 section 5.2; `None` where it is not whole or
/// breaks a rule that needs no knowledge of the sender.
fn naive_header(bytes: &[u8]) -> Option<(usize, u64)> {
    let (fin, opcode) = (bytes.first()? >> 7 == 1, bytes[0] & 15);
    let (masked, short) = (bytes.get(1)? >> 7 == 1, bytes[1] & 127);
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let number = bytes.get(2..2 + extended)?.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    let payload = if extended == 0 { u128::from(short) } else { number };
    let length = 2 + extended + if masked { 4 } else { 0 };
    bytes.get(..length)?;
    let shortest = match payload {
        0..=125 => 0,
        126..=65_535 => 2,
        _ => 8,
    };
    let is_known = [0, 1, 2, 8, 9, 10].contains(&opcode);
    let fits_control = opcode < 8 || (fin && payload <= 125);
    let allowed = is_known && fits_control && extended == shortest && payload < 1 << 63;
    allowed.then(|| (length, u64::try_from(payload).expect("below 2^63")))
}

fn judge_by_tungstenite(header: &Header, bytes: &[u8]) {
    let mut cursor = std::io::Cursor::new(bytes);
    let (theirs, payload) = FrameHeader::parse(&mut cursor).expect("it accepts").expect("it is whole");
    let rsv = u8::from(theirs.rsv1) << 6 | u8::from(theirs.rsv2) << 5 | u8::from(theirs.rsv3) << 4;
    assert_eq!((header.fin, header.rsv, header.opcode.bits()), (theirs.is_final, rsv, u8::from(theirs.opcode)));
    assert_eq!((header.mask, header.payload), (theirs.mask, payload));
    assert_eq!(u64::try_from(header.wire_len()).ok(), Some(cursor.position()));
}

fn judge_mask(header: &Header, body: &[u8]) {
    let Some(key) = header.mask else { return };
    let mut masked = body.to_vec();
    apply_mask(key, &mut masked);
    assert!(masked.iter().enumerate().all(|(at, byte)| *byte == body[at] ^ key[at % 4]), "octet i by key i modulo 4");
}

/// RFC 6455 sections 5.5.1 and 7.4; 1014 has been registered since tungstenite's list was written.
fn judge_close(body: &[u8]) {
    let expected = match *body {
        [] => Some(None),
        [_] => None,
        [high, low, ref reason @ ..] => {
            let code = u16::from_be_bytes([high, low]);
            let allowed = CloseCode::from(code).is_allowed() || code == 1014;
            (allowed && String::from_utf8(reason.to_vec()).is_ok()).then_some(Some(code))
        }
    };
    assert_eq!(close::parse(body).ok(), expected);
}
