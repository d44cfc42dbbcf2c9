//! Frames as fast as they go.
//!
//! Behind the flood goes a Ping: its Pong says that everything before it was taken. Where that comes sooner than the
//! rate allows, there is no rate. A session that ends, or is slowed, holds.

use std::time::Duration;

use tokio::time::Instant;

use super::seen::{self, Ending};
use super::{Probe, case, not_applicable};
use crate::audit::frame::{FIN, masked, opcode};
use crate::audit::wire::Heard;
use crate::audit::{Case, Exam, Outcome, Verdict};
use crate::session::SessionRules;
use crate::units::Rate;

/// How many are sent where no policy names a rate.
const ASSUMED_COUNT: u32 = 10_000;

/// The time in which they must not all be taken: two thousand a second are no client's.
const ASSUMED_TIME: Duration = Duration::from_secs(5);

/// The most that are sent.
const MOST_SENT: u64 = 20_000;

/// For how long beyond its burst a rate is tried.
const SPAN: Duration = Duration::from_secs(3);

/// The longest that is waited.
const LONGEST: Duration = Duration::from_secs(10);

/// The last of a flood.
const FENCE: &[u8] = b"behind the flood";

/// One frame, again and again.
#[derive(Clone, Debug)]
pub struct Flood {
    /// What it is.
    pub what: &'static str,
    /// The frame.
    pub frame: Vec<u8>,
    /// How often it is sent.
    pub count: u32,
    /// All of them may not be taken sooner.
    pub no_sooner: Duration,
}

pub(super) fn cases(rules: Option<&SessionRules>) -> Vec<Case> {
    let messages: [(&str, Vec<u8>); 2] = [
        ("messages of one byte", masked(FIN | opcode::BINARY, b"x")),
        ("empty messages", masked(FIN | opcode::TEXT, b"")),
    ];
    let pings = [("Pings", masked(FIN | opcode::PING, b"flood"))];
    let pongs = [("Pongs", masked(FIN | opcode::PONG, b"flood"))];
    let message_rate = rules.map(|rules| rules.from_client.messages);
    let control_rate = rules.map(|rules| rules.from_client.control);
    vec![
        floods("FR11", "messages as fast as they go", &messages, message_rate),
        floods("FR12", "Pings as fast as they go", &pings, control_rate),
        floods("FR12", "Pongs that nobody asked for", &pongs, control_rate),
    ]
}

/// A case of these frames at this rate: not known, known to be none, or known.
fn floods(
    id: &'static str,
    name: &'static str,
    frames: &[(&'static str, Vec<u8>)],
    rate: Option<Option<Rate>>,
) -> Case {
    let (count, no_sooner) = match rate {
        None => (ASSUMED_COUNT, ASSUMED_TIME),
        Some(None) => return not_applicable(id, name, "the policy sets no such rate"),
        Some(Some(rate)) => match beyond(rate) {
            Some(flood) => flood,
            None => return not_applicable(id, name, "the policy lets more through than a suite sends"),
        },
    };
    let flood = |(what, frame): &(&'static str, Vec<u8>)| Flood { what, frame: frame.clone(), count, no_sooner };
    case(id, name, Probe::Floods(frames.iter().map(flood).collect()))
}

/// How many exceed a rate for a while, and two thirds of the time that they must take.
fn beyond(rate: Rate) -> Option<(u32, Duration)> {
    let each = rate.period.checked_div(rate.count.get())?.max(Duration::from_nanos(1));
    let more = SPAN.as_nanos().div_ceil(each.as_nanos());
    let more = u64::try_from(more).ok()?;
    let count = u64::from(rate.burst.get()).saturating_add(more);
    let takes = u32::try_from(more).ok().and_then(|more| each.checked_mul(more))?;
    let count = u32::try_from(count).ok().filter(|_| count <= MOST_SENT)?;
    Some((count, (takes / 3).saturating_mul(2).min(LONGEST)))
}

/// Every one of them is slowed, or ends the session.
pub(super) async fn judge(floods: &[Flood], exam: &mut Exam) -> Verdict {
    let mut last = Verdict::undecided("nothing was tried");
    for flood in floods {
        last = slowed(flood, exam).await;
        if last.outcome != Outcome::Held {
            return last;
        }
    }
    last
}

async fn slowed(flood: &Flood, exam: &mut Exam) -> Verdict {
    let mut wire = match seen::session(exam).await {
        Ok(wire) => wire,
        Err(why) => return Verdict::undecided(why),
    };
    let Flood { what, frame, count, no_sooner } = flood;
    let mut bytes = frame.repeat(usize::try_from(*count).unwrap_or_default());
    bytes.extend(masked(FIN | opcode::PING, FENCE));
    let began = Instant::now();
    wire.send(&bytes).await;
    let until = began + *no_sooner;
    let ending = loop {
        match wire.frame(until.saturating_duration_since(Instant::now())).await {
            Heard::This(frame) if frame.opcode() == opcode::PONG && frame.payload == FENCE => break None,
            Heard::This(frame) if frame.opcode() == opcode::CLOSE => break Some(Ending::Closed(frame.close_code())),
            Heard::This(_) => {}
            Heard::End(end) => break Some(Ending::Ended(end)),
            Heard::Silence => break Some(Ending::Lives),
            Heard::Garbled(foul) => break Some(Ending::Foul(foul)),
        }
    };
    let took = began.elapsed().as_millis();
    let least = no_sooner.as_millis();
    match ending {
        None => Verdict::fell(format!("{count} {what} were all taken in {took} ms; {least} ms at least were expected")),
        Some(Ending::Lives) => Verdict::held(format!("{count} {what} were not taken within {least} ms")),
        Some(Ending::Foul(foul)) => Verdict::undecided(format!("{count} {what}: back came {foul}")),
        Some(ending) => Verdict::held(format!("{count} {what}: {ending} after {took} ms")),
    }
    .with(seen::exchange(frame, format!("so often: {count}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_three_seconds_beyond_its_burst() {
        let rates = [
            ("100/s burst 500", Some((800, 2000))),
            ("10/s burst 20", Some((50, 2000))),
            ("1/m burst 5", Some((6, 10_000))),
            ("100000/s burst 100000", None),
        ];
        for (rate, expected) in rates {
            let flood = beyond(rate.parse().unwrap());
            assert_eq!(flood.map(|(count, time)| (count, time.as_millis())), expected, "{rate}");
        }
    }
}
