//! Bytes that come too early or too late: before the 101, and behind a refusal.

use std::time::Duration;

use super::{Attempt, Case, Change, Probe, Verdict, attempts, carries, contains, own, with_canary};
use crate::audit::canary::{Canary, Contact, Manner};
use crate::audit::exam::Asked;
use crate::audit::frame::{FIN, masked, opcode};
use crate::audit::wire::Heard;
use crate::audit::{Exam, Outcome};

/// When the early bytes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    /// With the handshake, in one write.
    SameWrite,
    /// The same, and the backend refuses.
    SameWriteRefused,
    /// So long behind the handshake, while the backend says nothing.
    Later(Duration),
}

/// What a careless gateway would pass on: a request, as smuggled by scenario 1 of 0ang3el's websocket-smuggle.
const SECOND: &str = "GET /wsgate-audit-second HTTP/1.1\r\nHost: ";

/// What an early Ping says.
const EARLY: &[u8] = b"wsgate-early";

/// What a backend says that refuses and keeps its connection.
const REFUSES: &str = "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n";

/// A version that no careful gateway passes on, and a careless one tunnels.
const WRONG_VERSION: &[(&str, Change)] = &[("another version", |r| r.with("Sec-WebSocket-Version", "1337"))];

/// Handshakes that are refused for different reasons: at least one of them is refused everywhere.
const REFUSED: &[(&str, Change)] = &[
    ("another site's Origin", |r| r.with("Origin", "https://evil.invalid")),
    ("no Upgrade", |r| r.without("Upgrade")),
    ("another method", |r| r.method("POST").with("Content-Length", "0")),
    ("no key", |r| r.without("Sec-WebSocket-Key")),
];

pub(super) fn cases(exam: &mut Exam) -> Vec<Case> {
    let moment = Early::Later(Duration::from_millis(1));
    let second = Early::Later(Duration::from_secs(1));
    let wrong_version = attempts(exam, WRONG_VERSION);
    let refused = attempts(exam, REFUSED);
    vec![
        Case { id: "SM01", name: "a tunnel behind a refused version", probe: own(Probe::Second(wrong_version)) },
        Case { id: "SM05", name: "bytes with the handshake", probe: own(Probe::Early(Early::SameWrite)) },
        Case {
            id: "SM05",
            name: "bytes with a handshake that the backend refuses",
            probe: with_canary(exam, Probe::Early(Early::SameWriteRefused)),
        },
        Case { id: "SM05", name: "bytes a moment later", probe: with_canary(exam, Probe::Early(moment)) },
        Case { id: "SM05", name: "bytes a second later", probe: with_canary(exam, Probe::Early(second)) },
        Case { id: "SM06", name: "a second request behind a refusal", probe: own(Probe::Second(refused)) },
    ]
}

fn second_request(exam: &Exam) -> Vec<u8> {
    format!("{SECOND}{}\r\n\r\n", exam.target.authority).into_bytes()
}

/// Judges that behind a refusal nothing is answered and nothing passes: whether the second request comes with the
/// refused handshake or behind its answer.
pub(super) async fn second(refused: &[Attempt], exam: &Exam) -> Verdict {
    let second = second_request(exam);
    let mut last = Verdict::undecided("none of the handshakes is refused");
    for Attempt { what, request } in refused {
        for at_once in [true, false] {
            let mark = exam.mark();
            if let Some(canary) = &exam.canary {
                canary.answers(Manner::Says(REFUSES.to_owned()));
            }
            let mut sent = request.bytes();
            if at_once {
                sent.extend_from_slice(&second);
            }
            let mut asked = exam.ask(&sent).await;
            if let Some(canary) = &exam.canary {
                canary.honest();
            }
            let told = exam.told(&asked);
            // Where this handshake is none that is refused, another case says so.
            let Asked::Answered(answer, wire) = &mut asked else { continue };
            if answer.is_busy() || !answer.is_refusal() {
                continue;
            }
            if !at_once {
                wire.send(&second).await;
                sent.extend_from_slice(&second);
            }
            wire.ended(exam.patience.close).await;
            let answered = contains(&wire.kept, b"HTTP/1.");
            let exchange = exam.exchange(&sent, &asked);
            let passed = |contact: &Contact| contains(&contact.received, b"/wsgate-audit-second");
            if let (Some(canary), Some(mark)) = (&exam.canary, mark)
                && canary.since(mark).await.iter().any(passed)
            {
                return Verdict::fell(format!("{what}: {told}, and what came behind it reached the backend"))
                    .with(exchange);
            }
            if answered {
                return Verdict::fell(format!("{what}: {told}, and the request behind it was answered")).with(exchange);
            }
            last = Verdict::held(format!("{what}: {told}, and nothing behind it was answered")).with(exchange);
        }
    }
    last
}

/// Judges that bytes before the 101 are not passed on.
pub(super) async fn early(early: Early, exam: &mut Exam) -> Verdict {
    let ping = masked(FIN | opcode::PING, EARLY);
    let request = second_request(exam);
    let tails = if exam.canary.is_some() { vec![ping, request] } else { vec![ping] };
    let mut verdict = Verdict::undecided("nothing was tried");
    for tail in tails {
        verdict = match early {
            Early::SameWrite => same_write(exam, &tail).await,
            Early::SameWriteRefused => same_write_refused(exam, &tail).await,
            Early::Later(pause) => later(exam, &tail, pause).await,
        };
        if let Some(canary) = &exam.canary {
            canary.honest();
        }
        if verdict.outcome != Outcome::Held {
            return verdict;
        }
    }
    verdict
}

async fn same_write(exam: &mut Exam, tail: &[u8]) -> Verdict {
    let bytes = exam.good().and_tail(tail).bytes();
    let mark = exam.mark();
    let mut asked = exam.ask(&bytes).await;
    let told = exam.told(&asked);
    // Whoever answers an early Ping, behind the 101 or before it, has taken it for a frame.
    let mut answered = matches!(&asked, Asked::Garbled(_, received) if contains(received, EARLY));
    if let Asked::Answered(answer, wire) = &mut asked
        && answer.is_switching()
    {
        answered = matches!(wire.frame(PONG).await, Heard::This(frame) if frame.payload == EARLY);
    }
    let passed = passed(exam, mark, tail).await;
    let exchange = exam.exchange(&bytes, &asked);
    let verdict = match &asked {
        _ if passed => Verdict::fell(format!("{told}, and the early bytes reached the backend")),
        _ if answered => Verdict::fell(format!("{told}, and the early bytes were taken for a frame")),
        Asked::Answered(answer, _) if answer.is_switching() && mark.is_some() => {
            Verdict::held("the socket opened, and the early bytes went nowhere")
        }
        Asked::Answered(answer, _) if answer.is_refusal() && !answer.is_busy() => Verdict::held(told),
        _ => Verdict::undecided(told),
    };
    verdict.with(exchange)
}

/// How long the answer to an early Ping is waited for.
const PONG: Duration = Duration::from_secs(1);

async fn same_write_refused(exam: &mut Exam, tail: &[u8]) -> Verdict {
    let bytes = exam.good().and_tail(tail).bytes();
    let Some(canary) = &exam.canary else { return Verdict::undecided("there is no canary") };
    let mark = canary.mark();
    canary.answers(Manner::Says(REFUSES.to_owned()));
    let asked = exam.ask_once(&bytes).await;
    let told = exam.told(&asked);
    let passed = passed(exam, Some(mark), tail).await;
    let verdict = match &asked {
        _ if passed => Verdict::fell(format!("{told}, and the early bytes reached the backend")),
        Asked::Answered(answer, _) if answer.is_refusal() && answer.status != 429 => Verdict::held(told),
        _ => Verdict::undecided(told),
    };
    verdict.with(exam.exchange(&bytes, &asked))
}

/// How often a handshake is tried until the backend hears of it.
const TRIES: u32 = 5;

async fn later(exam: &mut Exam, tail: &[u8], pause: Duration) -> Verdict {
    for _ in 0..TRIES {
        let bytes = exam.good().bytes();
        let Some(canary) = &exam.canary else { break };
        let mark = canary.mark();
        canary.answers(Manner::Silent);
        let Ok(mut wire) = exam.open().await else { continue };
        wire.send(&bytes).await;
        if !is_asked(exam, canary, mark).await {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        tokio::time::sleep(pause).await;
        wire.send(tail).await;
        let asked = Asked::on(wire, PONG).await;
        let passed = passed(exam, Some(mark), tail).await;
        let exchange = exam.exchange(&[bytes.as_slice(), tail].concat(), &asked);
        return match passed {
            true => Verdict::fell("the backend has not agreed, and got the client's bytes"),
            false => Verdict::held("the backend has not agreed, and got nothing"),
        }
        .with(exchange);
    }
    Verdict::undecided("the backend is not asked")
}

/// Waits until the backend has the whole head of a handshake; whether it does.
async fn is_asked(exam: &Exam, canary: &Canary, mark: usize) -> bool {
    let until = tokio::time::Instant::now() + exam.patience.answer;
    loop {
        let seen = canary.since(mark).await;
        if seen.first().is_some_and(|contact| contact.head().ends_with(b"\r\n\r\n")) {
            return true;
        }
        if tokio::time::Instant::now() > until {
            return false;
        }
    }
}

/// Whether the early bytes are found at the backend.
async fn passed(exam: &Exam, mark: Option<usize>, tail: &[u8]) -> bool {
    let (Some(canary), Some(mark)) = (&exam.canary, mark) else { return false };
    let found = |contact: &Contact| carries(contact, tail, EARLY) || contains(contact.head(), tail);
    canary.since(mark).await.iter().any(found)
}
