//! Sessions that should be over, and silence: what a client goes on sending, never finishes, or does not say at all.

use std::time::Duration;

use tokio::time::Instant;

use super::seen::{self, Ending, MARK};
use super::{Probe, case, not_run, with_canary};
use crate::audit::canary::Manner;
use crate::audit::frame::{self, FIN, bare, header_64, masked, opcode};
use crate::audit::wire::{Heard, Wire};
use crate::audit::{Case, Exam, LONGER_TOKENS, Outcome, Verdict};
use crate::session::SessionRules;

/// The longest that something is waited for here.
const LONGEST: Duration = Duration::from_secs(35);

/// What a target may take beyond its own deadline.
const SLACK: Duration = Duration::from_secs(3);

/// Where no policy says how long.
const ASSUMED: Duration = Duration::from_secs(30);

/// How often a client that ignores a Close sends something.
const PACE: Duration = Duration::from_millis(250);

/// What is begun and never finished.
#[derive(Clone, Debug)]
pub struct Unfinished {
    /// What it is.
    pub what: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

pub(super) fn cases(rules: Option<&SessionRules>, exam: &Exam) -> Vec<Case> {
    let deadline = |of: fn(&SessionRules) -> Duration| rules.map_or(ASSUMED, of).saturating_add(SLACK);
    let timed = |id, name, within: Duration, probe: fn(Duration) -> Probe, needs| match () {
        () if within > LONGEST => not_run(id, name, needs),
        // Whatever ends with its token proves nothing of another deadline.
        () if !exam.target.may_live(within + exam.patience.answer) => not_run(id, name, LONGER_TOKENS),
        () => case(id, name, probe(within)),
    };
    vec![
        with_canary("FR15", "data behind a Close", exam.canary.as_ref(), || Probe::BehindClose),
        timed(
            "FR16",
            "a Close that is ignored",
            deadline(|rules| rules.close_timeout),
            Probe::CloseIgnored,
            "a close_timeout of at most 30 s",
        ),
        timed(
            "FR17",
            "a frame that is begun and never finished",
            deadline(|rules| rules.partial_header),
            |within| Probe::Unfinished(begun(), within),
            "a partial_header of at most 30 s",
        ),
        match rules {
            Some(_) => timed(
                "FR19",
                "a client that says nothing",
                deadline(|rules| rules.ping_interval),
                Probe::Silence,
                "a ping_interval of at most 30 s",
            ),
            None => not_run("FR19", "a client that says nothing", "--policy"),
        },
    ]
}

fn begun() -> Vec<Unfinished> {
    let bytes = |bytes: Vec<u8>, count: usize| bytes.into_iter().take(count).collect();
    vec![
        Unfinished { what: "one byte of a header", bytes: bytes(masked(FIN | opcode::TEXT, b"x"), 1) },
        Unfinished { what: "13 bytes of a header of 14", bytes: bytes(header_64(FIN | opcode::TEXT, 70_000), 13) },
        Unfinished { what: "half a Ping", bytes: bytes(masked(FIN | opcode::PING, MARK), 12) },
    ]
}

/// What comes behind a Close does not reach the backend, in the same write or behind the answer to it.
pub(super) async fn judge_behind_close(exam: &mut Exam) -> Verdict {
    let data = [masked(FIN | opcode::TEXT, MARK), masked(FIN | opcode::PING, MARK)].concat();
    let close = frame::close(1000, "");
    let mut last = Verdict::undecided("nothing was tried");
    for (when, first, then) in
        [("in the same write", [close.clone(), data.clone()].concat(), None), ("a moment later", close, Some(&data))]
    {
        let mut wire = match seen::session(exam).await {
            Ok(wire) => wire,
            Err(why) => return Verdict::undecided(why),
        };
        let mark = seen::mark_of_last(exam);
        wire.send(&first).await;
        let ending = seen::ending(&mut wire, exam.patience.close).await;
        if let Some(data) = then {
            wire.send(data).await;
        }
        wire.ended(Duration::from_millis(500)).await;
        let beyond = seen::arrived(exam, mark).await.and_then(|sent| seen::beyond(&sent, b""));
        let exchange = seen::exchange(&first, &ending);
        last = match beyond {
            Some(beyond) => Verdict::fell(format!("{when}: the backend received {beyond}")),
            None if ending.is_over() => {
                Verdict::held(format!("{when}: nothing reached the backend, {ending} came back"))
            }
            None => Verdict::undecided(format!("{when}: nothing reached the backend, but back came {ending}")),
        }
        .with(exchange);
        if last.outcome != Outcome::Held {
            return last;
        }
    }
    last
}

/// A connection ends within its time behind a Close of either side, although the client goes on.
pub(super) async fn judge_ignored(within: Duration, exam: &mut Exam) -> Verdict {
    let mut wire = match seen::session(exam).await {
        Ok(wire) => wire,
        Err(why) => return Verdict::undecided(why),
    };
    wire.send(&frame::close(1000, "")).await;
    let own = ends("after the client's Close", &mut wire, within).await;
    let Some(canary) = exam.canary.as_ref().filter(|_| own.outcome == Outcome::Held) else { return own };
    canary.answers(Manner::Sends(bare(FIN | opcode::CLOSE, &1000_u16.to_be_bytes())));
    let session = exam.session().await;
    if let Some(canary) = &exam.canary {
        canary.honest();
    }
    match session {
        Ok(mut wire) => ends("after the backend's Close", &mut wire, within).await,
        Err(why) => Verdict::undecided(why),
    }
}

async fn ends(when: &str, wire: &mut Wire, within: Duration) -> Verdict {
    let began = Instant::now();
    let frame = masked(FIN | opcode::TEXT, b"still here");
    while began.elapsed() < within {
        if wire.ended(PACE).await.is_some() {
            let took = began.elapsed().as_millis();
            return Verdict::held(format!("{when} the connection ended in {took} ms, whatever the client sent"));
        }
        wire.send(&frame).await;
    }
    let seconds = within.as_secs();
    Verdict::fell(format!("{when} the connection is open for {seconds} s, and the client goes on sending"))
        .with(seen::exchange(&frame, "nothing: the connection is open"))
}

/// Whatever is begun ends its session in time.
pub(super) async fn judge_unfinished(begun: &[Unfinished], within: Duration, exam: &mut Exam) -> Verdict {
    let mut opened = Vec::new();
    for unfinished in begun {
        match seen::session(exam).await {
            Ok(mut wire) => {
                wire.send(&unfinished.bytes).await;
                opened.push((unfinished, wire, Instant::now() + within));
            }
            Err(why) => return Verdict::undecided(why),
        }
    }
    let mut last = Verdict::undecided("nothing was tried");
    for (unfinished, mut wire, until) in opened {
        let left = until.saturating_duration_since(Instant::now());
        let ending = seen::ending(&mut wire, left).await;
        let (what, seconds) = (unfinished.what, within.as_secs());
        last = match &ending {
            Ending::Lives => Verdict::fell(format!("{what}: the session lives after {seconds} s")),
            Ending::Foul(foul) => Verdict::fell(format!("{what}: back came {foul}")),
            _ => Verdict::held(format!("{what}: {ending}")),
        }
        .with(seen::exchange(&unfinished.bytes, ending));
        if last.outcome != Outcome::Held {
            return last;
        }
    }
    last
}

/// A silent client is pinged, and its Pong goes no further.
pub(super) async fn judge_silence(within: Duration, exam: &mut Exam) -> Verdict {
    let mut wire = match exam.session().await {
        Ok(wire) => wire,
        Err(why) => return Verdict::undecided(why),
    };
    let mark = seen::mark_of_last(exam);
    let ping = match wire.frame(within).await {
        Heard::This(frame) if frame.opcode() == opcode::PING && seen::flaw(&frame).is_none() => frame,
        Heard::This(frame) => return Verdict::fell(format!("not a Ping came, but {}", seen::hex(&[frame.first]))),
        Heard::End(_) => return Verdict::fell("the session ended without a Ping before it"),
        Heard::Garbled(foul) => return Verdict::fell(foul),
        Heard::Silence => return Verdict::fell(format!("no Ping within {} s", within.as_secs())),
    };
    wire.send(&masked(FIN | opcode::PONG, &ping.payload)).await;
    let lives = exam.lives(&mut wire, "after").await;
    let passed = seen::arrived(exam, mark).await.is_some_and(|sent| {
        sent.unmasked > 0
            || sent.frames.iter().any(|frame| frame.opcode() == opcode::PONG && frame.payload == ping.payload)
    });
    exam.leave(wire).await;
    match (lives, passed) {
        (_, true) => Verdict::fell("the Pong to the gateway's own Ping reached the backend"),
        (false, _) => Verdict::fell("a session that answered its Ping does not live"),
        (true, false) => Verdict::held("a Ping came, and its Pong went no further"),
    }
}
