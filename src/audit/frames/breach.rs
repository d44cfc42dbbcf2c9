//! Frames of a client that may not be.

use std::time::Duration;

use super::seen::{self, Ending, MARK};
use super::{Probe, case, closes, not_run};
use crate::audit::frame::{FIN, bare, header_16, header_64, masked, masked_body, opcode};
use crate::audit::wire::Wire;
use crate::audit::{Case, Exam, Outcome, Verdict};
use crate::session::SessionRules;

/// The fragments that are sent where no policy says how many a message may have.
const ASSUMED_FRAGMENTS: u32 = 5000;

/// The bytes of a message that are sent where no policy says how long it may be.
const ASSUMED_MESSAGE: u64 = 16 << 20;

/// The longest message that is sent to find its bound.
const LONGEST_SENT: u64 = 16 << 20;

/// The most payload of one fragment of it.
const PIECE: u64 = 64 << 10;

/// What may not be sent, behind what may.
#[derive(Clone, Debug)]
pub struct Breach {
    /// What is wrong, in a few words.
    pub what: String,
    /// The frames before it, which may reach the backend.
    pub good: Vec<Vec<u8>>,
    /// The payload of those.
    pub honest: Vec<u8>,
    /// The bytes that end the session.
    pub bad: Vec<u8>,
    /// How long the target may take for it beyond the exam's patience, because of its rate of bytes.
    pub slack: Duration,
}

impl Breach {
    fn new(what: impl Into<String>, bad: Vec<u8>) -> Self {
        Self { what: what.into(), good: Vec::new(), honest: Vec::new(), bad, slack: Duration::ZERO }
    }

    /// Behind a message of which one fragment was sent.
    fn inside(what: impl Into<String>, bad: Vec<u8>) -> Self {
        Self { good: vec![masked(opcode::TEXT, b"begun")], honest: b"begun".to_vec(), ..Self::new(what, bad) }
    }
}

/// A text frame that uses the bit of permessage-deflate.
pub(super) fn compressed() -> Breach {
    Breach::new("RSV1 on a text frame", masked(FIN | 0x40 | opcode::TEXT, MARK))
}

pub(super) fn cases(rules: Option<&SessionRules>) -> Vec<Case> {
    let breaches = |id, name, breaches| case(id, name, Probe::Breaches(breaches));
    let mut cases = vec![
        breaches("FR01", "a frame without a mask", unmasked()),
        breaches("FR03", "a reserved bit", reserved_bits()),
        breaches("FR03", "a reserved opcode", reserved_opcodes()),
        breaches("FR04", "a long control frame", long_control()),
        breaches("FR04", "a fragment of a control frame", fragmented_control()),
        breaches("FR05", "a length longer than it need be written", long_lengths()),
        breaches(
            "FR06",
            "a length with the highest bit",
            vec![
                Breach::new("a length of 2^63", header_64(FIN | opcode::BINARY, 1 << 63)),
                Breach::new("a length of 2^64 - 1", header_64(FIN | opcode::BINARY, u64::MAX)),
            ],
        ),
        breaches(
            "FR06",
            "lengths that overflow together",
            vec![Breach::inside(
                "a fragment of 2^63 - 1 bytes behind another",
                header_64(FIN | opcode::CONTINUATION, i64::MAX.unsigned_abs()),
            )],
        ),
        breaches("FR07", "an announced length beyond all bounds", bombs()),
        breaches(
            "FR10",
            "a continuation of nothing",
            vec![
                Breach::new("a last fragment", masked(FIN | opcode::CONTINUATION, MARK)),
                Breach::new("a fragment", masked(opcode::CONTINUATION, MARK)),
            ],
        ),
        breaches(
            "FR10",
            "a message inside a message",
            vec![
                Breach::inside("a text frame inside a text", masked(FIN | opcode::TEXT, MARK)),
                Breach::inside("a binary fragment inside a text", masked(opcode::BINARY, MARK)),
            ],
        ),
        breaches("FR14", "a Close that may not be sent", bad_closes()),
        breaches(
            "CO05",
            "RSV1 where no message begins",
            vec![
                Breach::new("RSV1 on a Ping", masked(FIN | 0x40 | opcode::PING, MARK)),
                Breach::inside("RSV1 on a continuation", masked(FIN | 0x40 | opcode::CONTINUATION, MARK)),
            ],
        ),
        breaches("FR09", "fragments without an end", endless(rules)),
    ];
    cases.extend(sizes(rules));
    cases
}

/// What only a bound of the policy tells, or is assumed.
fn sizes(rules: Option<&SessionRules>) -> Vec<Case> {
    const ONE_MORE: (&str, &str) = ("FR07", "an announced length beyond the bound by one");
    const TOO_BIG: (&str, &str) = ("FR08", "a message too big by its fragments");
    let bound = rules.map(|rules| rules.from_client.message_size.as_u64());
    let one_more = match bound {
        None => not_run(ONE_MORE.0, ONE_MORE.1, "--policy"),
        Some(bound) => {
            let announced = announce(FIN | opcode::BINARY, bound.saturating_add(1));
            case(ONE_MORE.0, ONE_MORE.1, Probe::Breaches(vec![Breach::new("the header alone", announced)]))
        }
    };
    let too_big = match bound.unwrap_or(ASSUMED_MESSAGE) {
        bound if bound > LONGEST_SENT => not_run(TOO_BIG.0, TOO_BIG.1, "a message_size of at most 16 MiB"),
        bound => case(TOO_BIG.0, TOO_BIG.1, Probe::Breaches(vec![in_pieces(bound, rules)])),
    };
    vec![one_more, too_big]
}

/// A masked header that announces so much, as short as it may be written.
fn announce(first: u8, length: u64) -> Vec<u8> {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => masked(first, &vec![0; usize::from(short)]).into_iter().take(6).collect(),
        (_, Ok(length)) => header_16(first, length),
        _ => header_64(first, length),
    }
}

fn unmasked() -> Vec<Breach> {
    let frames = [("text", opcode::TEXT), ("binary", opcode::BINARY), ("Ping", opcode::PING)];
    frames.map(|(what, code)| Breach::new(format!("a {what} frame"), bare(FIN | code, MARK))).to_vec()
}

fn reserved_bits() -> Vec<Breach> {
    let bits = [("RSV1", 0x40), ("RSV2", 0x20), ("RSV3", 0x10)];
    bits.map(|(what, bit)| Breach::new(what, masked(FIN | bit | opcode::TEXT, MARK))).to_vec()
}

fn reserved_opcodes() -> Vec<Breach> {
    let codes = (3..=7).chain(11..=15);
    codes.map(|code| Breach::new(format!("opcode {code:x}"), masked(FIN | code, MARK))).collect()
}

fn long_control() -> Vec<Breach> {
    let payload = [MARK, &[b'x'; 126]].concat();
    let payload = payload.get(..126).unwrap_or_default();
    let frames = [("Ping", opcode::PING), ("Pong", opcode::PONG)];
    let mut breaches =
        frames.map(|(what, code)| Breach::new(format!("a {what}"), masked(FIN | code, payload))).to_vec();
    let close = [&1000_u16.to_be_bytes(), [b'x'; 124].as_slice()].concat();
    breaches.push(Breach::new("a Close", masked(FIN | opcode::CLOSE, &close)));
    breaches
}

fn fragmented_control() -> Vec<Breach> {
    let frames = [("Ping", opcode::PING), ("Pong", opcode::PONG), ("Close", opcode::CLOSE)];
    frames.map(|(what, code)| Breach::new(format!("a {what}"), masked(code, &1000_u16.to_be_bytes()))).to_vec()
}

fn long_lengths() -> Vec<Breach> {
    let short = u16::try_from(MARK.len()).unwrap_or_default();
    let long = [MARK, &[b'x'; 200]].concat();
    let frame = |header: Vec<u8>, payload: &[u8]| [header, masked_body(payload)].concat();
    let text = FIN | opcode::TEXT;
    vec![
        Breach::new("17 in 16 bits", frame(header_16(text, short), MARK)),
        Breach::new("17 in 64 bits", frame(header_64(text, u64::from(short)), MARK)),
        Breach::new("217 in 64 bits", frame(header_64(text, 217), &long)),
        Breach::new("a Ping's 17 in 16 bits", frame(header_16(FIN | opcode::PING, short), MARK)),
    ]
}

fn bombs() -> Vec<Breach> {
    let lengths = [("2^60", 1 << 60), ("2^40", 1 << 40), ("2^32", 1 << 32)];
    let mut bombs: Vec<Breach> =
        lengths.map(|(what, length)| Breach::new(what, header_64(FIN | opcode::BINARY, length))).to_vec();
    bombs.push(Breach::inside("2^40 in a continuation", header_64(FIN | opcode::CONTINUATION, 1 << 40)));
    bombs
}

fn bad_closes() -> Vec<Breach> {
    closes::bad().into_iter().map(|(what, body)| Breach::new(what, masked(FIN | opcode::CLOSE, &body))).collect()
}

/// As many fragments as a message may have, and one more.
fn endless(rules: Option<&SessionRules>) -> Vec<Breach> {
    let count = rules.map_or(ASSUMED_FRAGMENTS, |rules| rules.from_client.fragments).min(ASSUMED_FRAGMENTS);
    let breach = |what: &str, payload: &[u8]| {
        let first = std::iter::once(masked(opcode::TEXT, payload));
        let more = masked(opcode::CONTINUATION, payload);
        let good: Vec<Vec<u8>> =
            first.chain((1..count).map(|_| more.clone())).collect::<Vec<_>>().chunks(64).map(<[_]>::concat).collect();
        let honest = payload.repeat(usize::try_from(count).unwrap_or_default());
        Breach { good, honest, ..Breach::new(format!("{what}, {count} and one more"), more) }
    };
    vec![breach("empty ones", b""), breach("ones of a byte", b"x")]
}

/// As many bytes as a message may have in fragments, and one byte more.
fn in_pieces(bound: u64, rules: Option<&SessionRules>) -> Breach {
    let most = rules.map_or(ASSUMED_FRAGMENTS, |rules| rules.from_client.fragments);
    let piece = bound.div_ceil(u64::from(most.saturating_sub(1).clamp(1, 16))).max(PIECE).min(bound.max(1));
    let mut good = Vec::new();
    let mut left = bound;
    while left > 0 {
        let length = usize::try_from(left.min(piece)).unwrap_or_default();
        let code = if good.is_empty() { opcode::BINARY } else { opcode::CONTINUATION };
        good.push(masked(code, &vec![b'x'; length]));
        left = left.saturating_sub(piece);
    }
    let last = if good.is_empty() { opcode::BINARY } else { opcode::CONTINUATION };
    let rate = rules.and_then(|rules| rules.from_client.bytes);
    let slack = rate.map_or(Duration::ZERO, |rate| {
        let debt = bound.saturating_add(bound / 8).saturating_sub(rate.burst.as_u64());
        Duration::from_secs(debt.div_ceil(rate.per_second.as_u64().max(1)))
    });
    let honest = vec![b'x'; usize::try_from(bound).unwrap_or_default()];
    let bad = masked(FIN | last, b"x");
    Breach { good, honest, slack, ..Breach::new(format!("{bound} bytes and one more"), bad) }
}

/// Every one ends the session.
pub(super) async fn judge(breaches: &[Breach], exam: &mut Exam) -> Verdict {
    let mut last = Verdict::undecided("nothing was tried");
    for breach in breaches {
        let verdict = match seen::session(exam).await {
            Ok(wire) => ends(breach, wire, exam).await,
            Err(why) => Verdict::undecided(why),
        };
        if verdict.outcome != Outcome::Held {
            return verdict;
        }
        last = verdict;
    }
    last
}

/// One ends this session, and nothing of it reaches the backend.
pub(super) async fn ends(breach: &Breach, mut wire: Wire, exam: &Exam) -> Verdict {
    let mark = seen::mark_of_last(exam);
    let mut early = None;
    for frame in &breach.good {
        wire.send(frame).await;
        // What comes back is read meanwhile, so that an echo does not stop both.
        early = match seen::ending(&mut wire, Duration::ZERO).await {
            Ending::Lives => None,
            ending => Some(ending),
        };
        if early.is_some() {
            break;
        }
    }
    wire.send(&breach.bad).await;
    let ending = match early {
        Some(ending) => ending,
        None => seen::ending(&mut wire, exam.patience.close + breach.slack).await,
    };
    let arrived = seen::arrived(exam, mark).await.and_then(|sent| seen::beyond(&sent, &breach.honest));
    let what = &breach.what;
    let verdict = match (&ending, arrived) {
        (_, Some(beyond)) => Verdict::fell(format!("{what}: the backend received {beyond}; back came {ending}")),
        (Ending::Lives, None) => Verdict::fell(format!("{what}: the session goes on")),
        (Ending::Foul(foul), None) => Verdict::fell(format!("{what}: back came {foul}")),
        (_, None) => Verdict::held(format!("{what}: {ending}")),
    };
    verdict.with(seen::exchange(&breach.bad, ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_sum_up_to_the_bound() {
        for bound in [0, 1, 100, 64 << 10, (64 << 10) + 1, 1 << 20] {
            let breach = in_pieces(bound, None);
            assert_eq!(breach.honest.len() as u64, bound);
            let rules = SessionRules::default();
            let breach = in_pieces(bound, Some(&rules));
            assert!(breach.good.len() < rules.from_client.fragments as usize, "{bound}");
        }
    }

    #[test]
    fn an_announcement_is_as_short_as_it_may_be() {
        for (length, header) in [(0, 6), (125, 6), (126, 8), (65_535, 8), (65_536, 14)] {
            assert_eq!(announce(FIN | opcode::BINARY, length).len(), header, "{length}");
        }
    }

    #[test]
    fn endless_fragments_are_as_many_as_the_policy_lets_and_one_more() {
        let rules = SessionRules::default();
        for (rules, count) in [(Some(&rules), 64), (None, 5000)] {
            for breach in endless(rules) {
                let bytes = breach.good.concat().len();
                assert_eq!(bytes, breach.bad.len() * count, "{}", breach.what);
            }
        }
    }
}
