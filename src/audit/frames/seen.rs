//! What is seen of a session's end, and of what reached the backend.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::closes;
use crate::audit::canary::{Contact, Sent};
use crate::audit::finding::Exchange;
use crate::audit::frame::{FIN, Frame, opcode};
use crate::audit::wire::{End, Heard, Wire};
use crate::audit::{Canary, Exam};

/// What every foul payload holds, so that it is known again wherever it turns up.
pub(super) const MARK: &[u8] = b"wsgate-audit-foul";

/// The most bytes of frames that are shown.
const SHOWN_BYTES: usize = 48;

/// How a session went on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It ended by this Close, with its code where it has one.
    Closed(Option<u16>),
    /// It ended without one.
    Ended(End),
    /// It goes on.
    Lives,
    /// What came is nothing that may come; the sentence tells.
    Foul(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(Some(code)) => write!(f, "Close {code}"),
            Self::Closed(None) => f.write_str("a Close without a code"),
            Self::Ended(End::Clean) => f.write_str("the end of the connection"),
            Self::Ended(End::Cut) => f.write_str("a cut connection"),
            Self::Lives => f.write_str("nothing: the session goes on"),
            Self::Foul(what) => f.write_str(what),
        }
    }
}

impl Ending {
    /// Whether the session is over in a way that may be.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Ended(_))
    }
}

/// Listens for the end of a session. Honest frames before it are passed over.
pub(super) async fn ending(wire: &mut Wire, within: Duration) -> Ending {
    let until = Instant::now() + within;
    loop {
        match wire.frame(until.saturating_duration_since(Instant::now())).await {
            Heard::This(frame) => match flaw(&frame) {
                Some(flaw) => return Ending::Foul(flaw),
                None if frame.opcode() == opcode::CLOSE => return Ending::Closed(frame.close_code()),
                // A target that never stops sending is not listened to for ever; what is there already is heard.
                None if Instant::now() >= until && !within.is_zero() => return Ending::Lives,
                None => {}
            },
            Heard::End(end) => return Ending::Ended(end),
            Heard::Silence => return Ending::Lives,
            Heard::Garbled(what) => return Ending::Foul(what),
        }
    }
}

/// What a frame has that may not be, whoever sent it.
pub(super) fn flaw(frame: &Frame) -> Option<String> {
    let control = frame.opcode() >= opcode::CLOSE;
    let says = |what: &str| Some(format!("{what} (first byte {:02x})", frame.first));
    match frame.opcode() {
        _ if frame.first & 0x70 != 0 => says("a frame with a reserved bit"),
        3..=7 | 11.. => says("a frame with a reserved opcode"),
        _ if control && frame.first & FIN == 0 => says("a fragment of a control frame"),
        _ if control && frame.payload.len() > 125 => says("a control frame of more than 125 bytes"),
        opcode::CLOSE if !closes::may_be_sent(&frame.payload) => {
            Some(format!("a Close that may not be sent ({})", hex(&frame.payload)))
        }
        _ if frame.payload.windows(MARK.len()).any(|part| part == MARK) => says("its payload in a frame"),
        _ => None,
    }
}

/// What reached a backend beyond this honest payload of the data frames; `None`: nothing did.
pub(super) fn beyond(sent: &Sent, honest: &[u8]) -> Option<String> {
    if sent.unmasked > 0 {
        return Some(String::from("a frame without a mask"));
    }
    if let Some(flaw) = sent.frames.iter().find_map(flaw) {
        return Some(flaw);
    }
    if !sent.unfinished.is_empty() {
        return Some(format!("the beginning of a frame ({})", hex(&sent.unfinished)));
    }
    let data = sent.frames.iter().filter(|frame| frame.opcode() < opcode::CLOSE);
    let payload: Vec<u8> = data.flat_map(|frame| &frame.payload).copied().collect();
    (!honest.starts_with(&payload)).then(|| format!("{} bytes of payload, where {} may", payload.len(), honest.len()))
}

/// What the backend received of the session whose mark this is; `None` where there is no canary.
pub(super) async fn arrived(exam: &Exam, mark: Option<usize>) -> Option<Sent> {
    let (canary, mark) = (exam.canary.as_ref()?, mark?);
    canary.since(mark).await.first().map(Contact::frames)
}

/// The mark of the last session.
pub(super) fn mark_of_last(exam: &Exam) -> Option<usize> {
    exam.canary.as_ref().map(Canary::mark_of_last)
}

/// A session that answers a Ping.
///
/// # Errors
/// With a sentence where there is none.
pub(super) async fn session(exam: &mut Exam) -> Result<Wire, String> {
    let mut wire = exam.session().await?;
    if exam.lives(&mut wire, "before").await {
        return Ok(wire);
    }
    Err(String::from("a good session does not answer a Ping"))
}

/// The evidence: frames in hexadecimal, and what came of them.
pub(super) fn exchange(sent: &[u8], received: impl fmt::Display) -> Exchange {
    Exchange { sent: hex(sent), received: received.to_string() }
}

/// The first bytes in hexadecimal, and how many there are.
pub(super) fn hex(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len() > SHOWN_BYTES { " …" } else { "" };
    format!("{}{more} ({} bytes)", shown.join(" "), bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Frame {
        Frame { first, payload: payload.to_vec() }
    }

    #[test]
    fn what_may_not_come_is_known() {
        let long = [0; 126];
        let marked = [b"x", MARK].concat();
        let foul: [(u8, &[u8]); 8] = [
            (0xc1, b""),
            (0x83, b""),
            (0x8b, b""),
            (0x09, b""),
            (0x89, &long),
            (0x88, &[3]),
            (0x88, &[3, 237]),
            (0x82, &marked),
        ];
        for (first, payload) in foul {
            assert!(flaw(&frame(first, payload)).is_some(), "{first:02x}");
        }
        let honest: [(u8, &[u8]); 6] =
            [(0x81, b"x"), (0x01, b""), (0x80, &long), (0x8a, b"x"), (0x88, b""), (0x88, &[3, 232])];
        for (first, payload) in honest {
            assert_eq!(flaw(&frame(first, payload)), None, "{first:02x}");
        }
    }

    #[test]
    fn what_reached_the_backend_is_measured_by_what_may() {
        let sent = |frames: &[Frame]| Sent { frames: frames.to_vec(), ..Sent::default() };
        let good = sent(&[frame(0x89, b"before"), frame(0x01, b"ab"), frame(0x80, b"c"), frame(0x88, &[3, 233])]);
        assert_eq!(beyond(&good, b"abc"), None);
        assert_eq!(beyond(&good, b"abcd"), None, "the last of it may be missing");
        assert!(beyond(&good, b"ab").is_some());
        assert!(beyond(&Sent { unmasked: 1, ..good.clone() }, b"abc").is_some());
        assert!(beyond(&Sent { unfinished: vec![0x81], ..good }, b"abc").is_some());
        assert!(beyond(&sent(&[frame(0xc1, b"")]), b"").is_some());
    }
}
