//! The grammar of one side's frames (RFC 6455 sections 5.1 to 5.5), and the sizes a policy allows.
//!
//! It stores no payload: only a header that is not whole yet, or a control frame that is not whole yet. Nothing is
//! allocated for a length that is declared, and a header is judged before one byte of its frame is passed on.

use super::Side;
use super::cause::Cause;
use super::rules::{DirectionRules, Extensions};
use super::short_frame::ShortFrame;
use crate::ws::close::{self, CloseError};
use crate::ws::frame::{Header, HeaderError, Opcode, apply_mask};

/// Where one side stands in its frames.
#[derive(Debug)]
pub(super) struct Policer {
    held: ShortFrame,
    frame: Option<Remaining>,
    message: Option<Message>,
}

/// A data frame whose payload is on its way.
#[derive(Clone, Copy, Debug)]
struct Remaining {
    payload: u64,
    fin: bool,
}

/// A message that has begun.
#[derive(Clone, Copy, Debug)]
struct Message {
    size: u64,
    fragments: u32,
}

/// What a side may send, and in what form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grammar<'a> {
    pub(super) side: Side,
    pub(super) extensions: Extensions,
    pub(super) rules: &'a DirectionRules,
}

/// What comes next in a side's bytes; `taken` counts bytes of the input that belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Payload of the frame that has begun.
    Payload(u64),
    /// A header or a control frame that is not whole.
    Partial,
    /// The header of a data frame.
    Data { header: Header, taken: usize },
    /// A whole control frame.
    Control { content: Control, length: u64, taken: usize },
}

/// What a control frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// A ping, or a pong that answers somebody else's.
    PassOn,
    /// The pong to a ping of ours.
    OurPong,
    /// The side's last frame, with its code.
    Close(Option<u16>),
}

impl Policer {
    pub(super) fn new() -> Self {
        Self { held: ShortFrame::EMPTY, frame: None, message: None }
    }

    /// Whether what was passed on so far ends where a frame ends.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.frame.is_none()
    }

    /// Whether a header or control frame is unfinished.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// What comes next in `input`, which is not empty. Nothing changes by asking.
    pub(super) fn next(&self, input: &[u8], grammar: Grammar<'_>, our_ping: &[u8]) -> Result<Next, Cause> {
        if let Some(frame) = self.frame {
            return Ok(Next::Payload(frame.payload.min(wide(input.len()))));
        }
        if self.held.is_empty() {
            return self.judge(input, 0, grammar, our_ping);
        }
        let mut joined = self.held;
        joined.push(input);
        self.judge(joined.as_slice(), self.held.len(), grammar, our_ping)
    }

    fn judge(&self, bytes: &[u8], held: usize, grammar: Grammar<'_>, our_ping: &[u8]) -> Result<Next, Cause> {
        let Some(header) = Header::parse(bytes)? else { return Ok(Next::Partial) };
        self.judge_header(&header, grammar)?;
        let head = header.wire_len();
        if !header.opcode.is_control() {
            return Ok(Next::Data { header, taken: head.saturating_sub(held) });
        }
        let body = usize::try_from(header.payload).unwrap_or(usize::MAX);
        let whole = head.saturating_add(body);
        let Some(payload) = bytes.get(head..whole) else { return Ok(Next::Partial) };
        let content = read_control(&header, payload, our_ping)?;
        Ok(Next::Control { content, length: wide(whole), taken: whole.saturating_sub(held) })
    }

    fn judge_header(&self, header: &Header, grammar: Grammar<'_>) -> Result<(), Cause> {
        match (grammar.side, header.mask) {
            (Side::Client, None) => return Err(Cause::MaskMissing),
            (Side::Backend, Some(_)) => return Err(Cause::MaskUnexpected),
            (Side::Client, Some(_)) | (Side::Backend, None) => {}
        }
        let first = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        let allowed = if first && grammar.extensions == Extensions::Pass { Header::RSV1 } else { 0 };
        if header.rsv & !allowed != 0 {
            return Err(Cause::RsvSet);
        }
        match (header.opcode, self.message) {
            (Opcode::Continuation, None) => Err(Cause::ContinuationUnexpected),
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(Cause::MessageInterleaved),
            (Opcode::Continuation | Opcode::Text | Opcode::Binary, message) => {
                grown(message, header, grammar.rules).map(drop)
            }
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => Ok(()),
        }
    }

    /// Keeps the unfinished header or control frame that `input` is.
    pub(super) fn hold(&mut self, input: &[u8]) {
        self.held.push(input);
    }

    /// Gives back what was kept, because the rest of it came.
    pub(super) fn release(&mut self) -> ShortFrame {
        std::mem::replace(&mut self.held, ShortFrame::EMPTY)
    }

    /// Begins a data frame that was judged; says whether its message is whole by that.
    pub(super) fn begin(&mut self, header: &Header, grammar: Grammar<'_>) -> Finished {
        self.message = grown(self.message, header, grammar.rules).ok();
        self.frame = Some(Remaining { payload: header.payload, fin: header.fin });
        self.advance(0)
    }

    /// Counts payload that was passed on; says whether a frame or its message is whole by that.
    pub(super) fn advance(&mut self, count: u64) -> Finished {
        let Some(frame) = &mut self.frame else { return Finished::Nothing };
        frame.payload = frame.payload.saturating_sub(count);
        if frame.payload > 0 {
            return Finished::Nothing;
        }
        let fin = frame.fin;
        self.frame = None;
        if !fin {
            return Finished::Frame;
        }
        self.message = None;
        Finished::Message
    }
}

/// What is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finished {
    /// Nothing.
    Nothing,
    /// A fragment.
    Frame,
    /// A message.
    Message,
}

fn grown(message: Option<Message>, header: &Header, rules: &DirectionRules) -> Result<Message, Cause> {
    let Message { size, fragments } = message.unwrap_or(Message { size: 0, fragments: 0 });
    let size = size.checked_add(header.payload).filter(|size| *size <= rules.message_size.as_u64());
    let fragments = fragments.checked_add(1).filter(|fragments| *fragments <= rules.fragments);
    Ok(Message { size: size.ok_or(Cause::MessageTooBig)?, fragments: fragments.ok_or(Cause::TooManyFragments)? })
}

fn read_control(header: &Header, payload: &[u8], our_ping: &[u8]) -> Result<Control, Cause> {
    let mut clear = ShortFrame::EMPTY;
    clear.push(payload);
    if let Some(key) = header.mask {
        apply_mask(key, clear.as_mut_slice());
    }
    match header.opcode {
        Opcode::Close => Ok(Control::Close(close::parse(clear.as_slice())?)),
        Opcode::Pong if clear.as_slice() == our_ping => Ok(Control::OurPong),
        _ => Ok(Control::PassOn),
    }
}

impl From<HeaderError> for Cause {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::OpcodeReserved => Self::OpcodeReserved,
            HeaderError::ControlFragmented => Self::ControlFragmented,
            HeaderError::ControlTooLong => Self::ControlTooLong,
            HeaderError::LengthNotMinimal => Self::LengthNotMinimal,
            HeaderError::LengthInvalid => Self::LengthInvalid,
        }
    }
}

impl From<CloseError> for Cause {
    fn from(error: CloseError) -> Self {
        match error {
            CloseError::Invalid => Self::CloseInvalid,
            CloseError::NotUtf8 => Self::CloseNotUtf8,
        }
    }
}

/// A length in memory as a length on the wire.
pub(super) fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
