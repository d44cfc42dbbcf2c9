//! Frames of a backend that may not be: the canary says them behind its 101.

use super::seen::{self, Ending, MARK};
use super::{Probe, closes, not_run, with_canary};
use crate::audit::canary::Manner;
use crate::audit::frame::{FIN, bare, masked, opcode};
use crate::audit::{Canary, Case, Exam, Outcome, Verdict};
use crate::session::SessionRules;

/// What a backend may not send.
#[derive(Clone, Debug)]
pub struct Lie {
    /// What is wrong, in a few words.
    pub what: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Lie {
    fn new(what: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { what: what.into(), bytes }
    }
}

pub(super) fn cases(rules: Option<&SessionRules>, canary: Option<&Canary>) -> Vec<Case> {
    let lies = |id, name, lies: fn() -> Vec<Lie>| with_canary(id, name, canary, || Probe::Lies(lies()));
    let bound = rules.map(|rules| rules.from_backend.message_size.as_u64());
    let too_big = |bound: u64| {
        let length = bound.saturating_add(1);
        Probe::Lies(vec![Lie::new(format!("a header of {length} bytes"), announce(length))])
    };
    const TOO_BIG: &str = "a backend's announced length beyond the bound by one";
    vec![
        lies("FR02", "a masked frame of the backend's", masked_frames),
        lies("FR14", "a Close of the backend's that may not be sent", bad_closes),
        lies("BE14", "a backend's reserved bit or opcode", reserved),
        lies("BE14", "a backend's broken control frame", control),
        lies("BE14", "a backend's fragments out of order", fragments),
        lies("BE14", "a backend's impossible length", lengths),
        match bound {
            Some(bound) => with_canary("BE14", TOO_BIG, canary, || too_big(bound)),
            None => not_run("BE14", TOO_BIG, "--policy"),
        },
    ]
}

fn masked_frames() -> Vec<Lie> {
    vec![
        Lie::new("a text frame", masked(FIN | opcode::TEXT, MARK)),
        Lie::new("a Ping", masked(FIN | opcode::PING, MARK)),
    ]
}

fn bad_closes() -> Vec<Lie> {
    closes::bad().into_iter().map(|(what, body)| Lie::new(what, bare(FIN | opcode::CLOSE, &body))).collect()
}

fn reserved() -> Vec<Lie> {
    let bits = [("RSV1", 0x40), ("RSV2", 0x20), ("RSV3", 0x10)];
    let mut lies = bits.map(|(what, bit)| Lie::new(what, bare(FIN | bit | opcode::TEXT, MARK))).to_vec();
    lies.extend([3, 7, 11, 15].map(|code| Lie::new(format!("opcode {code:x}"), bare(FIN | code, MARK))));
    lies
}

fn control() -> Vec<Lie> {
    vec![
        Lie::new("a Ping of 126 bytes", bare(FIN | opcode::PING, &[b'x'; 126])),
        Lie::new("a fragment of a Ping", bare(opcode::PING, MARK)),
    ]
}

fn fragments() -> Vec<Lie> {
    let inside = [bare(opcode::TEXT, b"begun"), bare(FIN | opcode::TEXT, MARK)].concat();
    vec![
        Lie::new("a continuation of nothing", bare(FIN | opcode::CONTINUATION, MARK)),
        Lie::new("a text frame inside a text", inside),
    ]
}

fn lengths() -> Vec<Lie> {
    let short = [&[FIN | opcode::TEXT, 126, 0, 17], MARK].concat();
    vec![
        Lie::new("17 in 16 bits", short),
        Lie::new("a length of 2^63", announce(1 << 63)),
        Lie::new("a length of 2^60", announce(1 << 60)),
    ]
}

/// An unmasked header of a binary frame, in the form that its length asks for.
fn announce(length: u64) -> Vec<u8> {
    let first = FIN | opcode::BINARY;
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => vec![first, short],
        (_, Ok(length)) => [&[first, 126], length.to_be_bytes().as_slice()].concat(),
        _ => [&[first, 127], length.to_be_bytes().as_slice()].concat(),
    }
}

/// Every one ends the session, and the client gets nothing of it.
pub(super) async fn judge(lies: &[Lie], exam: &mut Exam) -> Verdict {
    let mut last = Verdict::undecided("nothing was tried");
    for lie in lies {
        last = kept_away(lie, exam).await;
        if let Some(canary) = &exam.canary {
            canary.honest();
        }
        if last.outcome != Outcome::Held {
            return last;
        }
    }
    last
}

async fn kept_away(lie: &Lie, exam: &mut Exam) -> Verdict {
    if let Some(canary) = &exam.canary {
        canary.answers(Manner::Sends(lie.bytes.clone()));
    }
    let mut wire = match exam.session().await {
        Ok(wire) => wire,
        Err(why) => return Verdict::undecided(why),
    };
    let ending = seen::ending(&mut wire, exam.patience.close).await;
    let left = wire.kept.len();
    let what = &lie.what;
    match &ending {
        Ending::Lives if left > 0 => Verdict::fell(format!("{what}: the client received the beginning of it")),
        Ending::Lives => Verdict::fell(format!("{what}: the session goes on")),
        Ending::Foul(foul) => Verdict::fell(format!("{what}: to the client: {foul}")),
        Ending::Ended(_) if left > 0 => Verdict::fell(format!("{what}: the client received the beginning of it")),
        _ => Verdict::held(format!("{what}: the client received {ending}")),
    }
    .with(seen::exchange(&lie.bytes, ending))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::frame::Frame;

    #[test]
    fn every_lie_is_one_that_a_client_would_notice() {
        let kinds = [masked_frames(), bad_closes(), reserved(), control(), fragments(), lengths()];
        assert_eq!(kinds.iter().map(Vec::len).sum::<usize>(), 2 + 15 + 7 + 2 + 2 + 3);
        for lie in kinds.iter().flatten() {
            let mut bytes = lie.bytes.clone();
            let noticed = loop {
                match Frame::take(&mut bytes) {
                    Ok(Some(frame)) if seen::flaw(&frame).is_some() => break true,
                    Ok(Some(_)) => {}
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            };
            assert!(noticed, "{}", lie.what);
        }
    }
}
