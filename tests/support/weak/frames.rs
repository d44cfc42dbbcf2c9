//! A client's or a backend's bytes, cut into what the session judges and what goes around it.
//!
//! Without a fault of frames everything is judged. With one, the frames that the fault lets pass are told by their
//! headers, a Close by its body, and go on as they are.

use wsgate::session::Side;
use wsgate::ws::close::parse;
use wsgate::ws::frame::apply_mask;

use super::Fault;

/// What becomes of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The session judges them.
    Judged(Vec<u8>),
    /// They go on.
    Passed(Vec<u8>),
}

/// One side's bytes.
pub(super) struct Cutter {
    fault: Option<Fault>,
    side: Side,
    /// A header that is not whole.
    held: Vec<u8>,
    /// Payload of the frame that has begun, and whether it goes around the session.
    rest: u64,
    passes: bool,
    is_in_message: bool,
    is_closed: bool,
}

impl Cutter {
    pub(super) fn new(fault: Option<Fault>, side: Side) -> Self {
        let is_of_frames = fault.is_some_and(|fault| OF_FRAMES.contains(&fault));
        let fault = fault.filter(|_| is_of_frames);
        Self { fault, side, held: Vec::new(), rest: 0, passes: false, is_in_message: false, is_closed: false }
    }

    /// Whether a header has begun and is not whole: the session has not seen it.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Cuts what was read.
    pub(super) fn cut(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let Some(fault) = self.fault else { return vec![Piece::Judged(bytes.to_vec())] };
        let mut bytes = [std::mem::take(&mut self.held).as_slice(), bytes].concat();
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let mut taken = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
            if self.rest == 0 {
                let Some(frame) = Frame::read(&bytes) else { break };
                if fault == Fault::CloseCodesUnchecked && frame.is_close() && frame.body(&bytes).is_none() {
                    break;
                }
                self.passes = self.passes(fault, &frame, &bytes);
                if !self.passes && !frame.is_control() {
                    self.is_in_message = !frame.is_final();
                }
                self.is_closed |= frame.is_close();
                self.rest = frame.payload;
                taken = frame.header;
            } else {
                self.rest -= taken as u64;
            }
            let rest = bytes.split_off(taken);
            pieces.push(if self.passes { Piece::Passed(bytes) } else { Piece::Judged(bytes) });
            bytes = rest;
        }
        self.held = bytes;
        pieces
    }

    /// Whether the fault lets a frame pass, of which these are the first bytes.
    fn passes(&self, fault: Fault, frame: &Frame, bytes: &[u8]) -> bool {
        let is_continuation = frame.opcode == 0;
        match fault {
            Fault::UnmaskedPassed => self.side == Side::Client && !frame.is_masked,
            Fault::MaskedPassed => self.side == Side::Backend && frame.is_masked,
            Fault::ReservedBitsPassed => frame.first & 0x70 != 0,
            Fault::ReservedOpcodesPassed => matches!(frame.opcode, 3..=7 | 11..=15),
            Fault::LongControlPassed => frame.is_control() && frame.payload > 125,
            Fault::FragmentedControlPassed => frame.is_control() && !frame.is_final(),
            Fault::LongLengthPassed => match frame.form {
                16 => frame.payload < 126,
                64 => frame.payload < 65_536,
                _ => false,
            },
            Fault::HighestBitPassed => frame.payload >> 63 == 1,
            Fault::FragmentOrderUnchecked => !frame.is_control() && is_continuation != self.is_in_message,
            Fault::CloseCodesUnchecked => {
                frame.is_close() && frame.body(bytes).is_some_and(|body| parse(&body).is_err())
            }
            Fault::DataAfterClose => self.is_closed && self.side == Side::Client,
            _ => false,
        }
    }
}

/// The faults that let frames go around the session.
const OF_FRAMES: [Fault; 11] = [
    Fault::UnmaskedPassed,
    Fault::MaskedPassed,
    Fault::ReservedBitsPassed,
    Fault::ReservedOpcodesPassed,
    Fault::LongControlPassed,
    Fault::FragmentedControlPassed,
    Fault::LongLengthPassed,
    Fault::HighestBitPassed,
    Fault::FragmentOrderUnchecked,
    Fault::CloseCodesUnchecked,
    Fault::DataAfterClose,
];

/// A header (RFC 6455 section 5.2), whatever it says.
struct Frame {
    first: u8,
    opcode: u8,
    is_masked: bool,
    /// 7, 16 or 64: the bits in which the length is written.
    form: u8,
    /// Bytes of the header.
    header: usize,
    payload: u64,
}

impl Frame {
    /// `None`: not whole.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (form, payload, end) = match second & 0x7f {
            126 => (16, u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
            127 => (64, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
            short => (7, u64::from(short), 2),
        };
        let is_masked = second & 0x80 != 0;
        let header = if is_masked { end + 4 } else { end };
        bytes.get(..header)?;
        Some(Self { first, opcode: first & 0x0f, is_masked, form, header, payload })
    }

    fn is_final(&self) -> bool {
        self.first & 0x80 != 0
    }

    fn is_control(&self) -> bool {
        self.opcode >= 8
    }

    /// A Close of a length that a Close may have.
    fn is_close(&self) -> bool {
        self.opcode == 8 && self.payload <= 125
    }

    /// What it carries, in the clear; `None`: not whole.
    fn body(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let end = self.header + usize::try_from(self.payload).ok()?;
        let mut body = bytes.get(self.header..end)?.to_vec();
        if self.is_masked {
            apply_mask(*bytes[..self.header].last_chunk()?, &mut body);
        }
        Some(body)
    }
}
