//! A backend that is none, or that lies: a tunnel opens on its whole and correct 101 and on nothing else, and what it
//! says otherwise stays behind the gateway. The canary plays it.

use std::time::Duration;

use super::{Case, Probe, Verdict, carries, contains, with_canary};
use crate::audit::canary::{Contact, Manner};
use crate::audit::exam::Asked;
use crate::audit::finding::Exchange;
use crate::audit::frame::{FIN, masked, opcode};
use crate::audit::wire::Heard;
use crate::audit::{Exam, Outcome};

/// What a backend says instead of what it should.
#[derive(Debug)]
pub struct Lie {
    /// What is wrong with it, in a few words.
    what: String,
    manner: Manner,
    must: Must,
}

/// What a gateway must make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Must {
    /// No tunnel: no 101, and nothing that the client sends afterwards goes through.
    OpenNothing,
    /// Nor does the client learn what stands in it.
    TellNothing,
    /// Nor does it go where it is sent.
    StayHere,
    /// Nor is its connection used for somebody else.
    NotReuse,
    /// It is a good 101; but the end behind it is no end in order.
    EndAbnormally,
}

/// Where a target goes that follows a redirect; the canary knows it by its watchword.
const FOLLOWED: &str = "wsgate-audit-followed";

/// What must not be told to a client.
const INNER: &str = "wsgate-audit-inner";

/// Id, name, what must come of it, and what is said, by what is wrong with it.
type Row = (&'static str, &'static str, Must, &'static [(&'static str, &'static str)]);

const ROWS: &[Row] = &[
    (
        "SM02",
        "another status with the fields of a 101",
        Must::OpenNothing,
        &[
            (
                "200",
                "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\
                 Content-Length: 0\r\n\r\n",
            ),
            ("204", "HTTP/1.1 204 No Content\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
            (
                "426",
                "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
            ),
        ],
    ),
    (
        "SM03",
        "a 101 from something that knows no WebSocket",
        Must::OpenNothing,
        &[("a status line alone", "HTTP/1.1 101 Switching Protocols\r\n\r\n")],
    ),
    (
        "SM04",
        "an Accept that is wrong",
        Must::OpenNothing,
        &[
            ("none", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
            (
                "another key's",
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            ),
        ],
    ),
    (
        "SM04",
        "two Accepts",
        Must::OpenNothing,
        &[(
            "the right one and another",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )],
    ),
    (
        "SM04",
        "an Upgrade or a Connection that is wrong",
        Must::OpenNothing,
        &[
            (
                "no Upgrade",
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
            ),
            (
                "another Upgrade",
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n",
            ),
            (
                "no Connection",
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
            ),
            (
                "another Connection",
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: close\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n",
            ),
        ],
    ),
    (
        "SM04",
        "a 101 that is no message",
        Must::OpenNothing,
        &[
            (
                "in HTTP/1.0",
                "HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n",
            ),
            ("garbage", "\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}\u{28}\r\n\r\n"),
        ],
    ),
    (
        "HS14",
        "a choice that nobody offered",
        Must::OpenNothing,
        &[
            (
                "a subprotocol",
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: wsgate.nobody\r\n\r\n",
            ),
            (
                "an extension",
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            ),
        ],
    ),
    (
        "SM17",
        "two answers at once",
        Must::TellNothing,
        &[(
            "a second one behind a 403",
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\nwsgate-audit-inner",
        )],
    ),
    (
        "BE13",
        "what a refusal gives away",
        Must::TellNothing,
        &[
            (
                "fields of a 403",
                "HTTP/1.1 403 Forbidden\r\nServer: wsgate-audit-inner/1.0\r\nX-Powered-By: wsgate-audit-inner\r\n\
                 Content-Length: 0\r\n\r\n",
            ),
            (
                "the body of a 500",
                "HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 18\r\n\r\nwsgate-audit-inner",
            ),
            (
                "where a 302 leads",
                "HTTP/1.1 302 Found\r\nLocation: http://wsgate-audit-inner.invalid/\r\nContent-Length: 0\r\n\r\n",
            ),
        ],
    ),
    (
        "SM16",
        "a connection that refused",
        Must::NotReuse,
        &[("kept alive behind a 403", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n")],
    ),
];

/// An honest 101.
const HONEST: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: {accept}\r\n\r\n";

/// How many interim answers are too many.
const INTERIM: usize = 10_000;

pub(super) fn cases(exam: &Exam) -> Vec<Case> {
    let mut cases: Vec<Case> = ROWS
        .iter()
        .map(|(id, name, must, said)| {
            let lie = |(what, text): &(&str, &str)| lie(what, Manner::Says((*text).to_owned()), *must);
            Case { id, name, probe: with_canary(exam, Probe::Lies(said.iter().map(lie).collect())) }
        })
        .collect();
    let mut add = |id, name, lies| cases.push(Case { id, name, probe: with_canary(exam, Probe::Lies(lies)) });
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(INTERIM) + HONEST;
    add("SM17", "ten thousand interim answers", vec![lie("103", Manner::Says(interim), Must::OpenNothing)]);
    let followed = exam.canary.as_ref().map(|canary| format!("http://{}/{FOLLOWED}", canary.address()));
    let redirect =
        format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", followed.unwrap_or_default());
    add("SM20", "a redirect", vec![lie("302", Manner::Says(redirect), Must::StayHere)]);
    let ends = |what, text: &str| lie(what, Manner::Ends(text.to_owned()), Must::OpenNothing);
    let half = HONEST.split_at_checked(40).unwrap_or_default().0;
    add("BE03", "an end before the 101", vec![ends("at once", ""), ends("in the middle", half)]);
    let behind = lie("at once", Manner::Ends(HONEST.to_owned()), Must::EndAbnormally);
    add("BE03", "an end behind the 101", vec![behind]);
    cases
}

fn lie(what: &str, manner: Manner, must: Must) -> Lie {
    Lie { what: what.to_owned(), manner, must }
}

/// How often a lie is told until it was heard: the target may be busy.
const TRIES: u32 = 5;

/// Judges what becomes of each.
pub(super) async fn judge(lies: &[Lie], exam: &mut Exam) -> Verdict {
    let mut verdict = Verdict::undecided("nothing was tried");
    for lie in lies {
        for _ in 0..TRIES {
            verdict = one(lie, exam).await;
            if let Some(canary) = &exam.canary {
                canary.honest();
            }
            if verdict.outcome != Outcome::Undecided {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if verdict.outcome != Outcome::Held {
            return verdict;
        }
    }
    verdict
}

async fn one(lie: &Lie, exam: &mut Exam) -> Verdict {
    let Lie { what, manner, must } = lie;
    let bytes = exam.good().bytes();
    let Some(canary) = &exam.canary else { return Verdict::undecided("there is no canary") };
    let mark = canary.mark();
    canary.answers(manner.clone());
    let through = masked(FIN | opcode::TEXT, THROUGH);
    let mut asked = exam.ask_once(&bytes).await;
    let told = exam.told(&asked);
    if *must == Must::EndAbnormally {
        return ends_abnormally(exam, &mut asked).await;
    }
    if let Asked::Answered(answer, wire) = &mut asked
        && !answer.is_switching()
    {
        // What a tunnel would carry, and the rest of the answer.
        wire.send(&through).await;
        wire.ended(REST).await;
    }
    let seen = canary.since(mark).await;
    let exchange = exam.exchange(&bytes, &asked);
    if seen.is_empty() {
        return Verdict::undecided(format!("{what}: {told}, and the backend was not asked")).with(exchange);
    }
    let fell = |why: &str| Verdict::fell(format!("{what}: {why}")).with(exchange.clone());
    match &asked {
        Asked::Answered(answer, _) if answer.is_switching() => return fell("the socket opened"),
        Asked::Answered(_, wire) if contains(&wire.kept, b"HTTP/1.1 101 ") => {
            return fell("the socket opened behind interim answers");
        }
        Asked::Silent => return Verdict::undecided(format!("{what}: {told}")).with(exchange),
        _ => {}
    }
    if seen.iter().any(|contact| carries(contact, &through, THROUGH)) {
        return fell(&format!("a tunnel stands open behind the {told}"));
    }
    match must {
        Must::TellNothing if contains(exchange.received.as_bytes(), INNER.as_bytes()) => {
            fell("the client is told what the backend said")
        }
        Must::StayHere if seen.iter().any(|contact| contains(&contact.received, FOLLOWED.as_bytes())) => {
            fell("the target went where it was sent")
        }
        Must::NotReuse => reuse(exam, mark, &exchange).await,
        _ => Verdict::held(format!("{what}: {told}")).with(exchange),
    }
}

/// What is sent behind an answer that opens nothing.
const THROUGH: &[u8] = b"wsgate-audit-through";

/// How long the rest of an answer is waited for.
const REST: Duration = Duration::from_millis(500);

/// Whether the next client's handshake comes on a connection of its own.
async fn reuse(exam: &mut Exam, mark: usize, exchange: &Exchange) -> Verdict {
    let bytes = exam.good().bytes();
    let asked = exam.ask_once(&bytes).await;
    let seen = match &exam.canary {
        Some(canary) => canary.since(mark).await,
        None => Vec::new(),
    };
    let used_twice = |contact: &Contact| contains(contact.behind(), b"HTTP/1.");
    let verdict = match (seen.iter().any(used_twice), seen.len()) {
        (true, _) => Verdict::fell("two clients' handshakes came on one connection"),
        (false, 2..) => Verdict::held("the next handshake came on a connection of its own"),
        (false, _) => Verdict::undecided(format!("the next handshake: {}", exam.told(&asked))),
    };
    if let Asked::Answered(answer, wire) = asked
        && answer.is_switching()
    {
        exam.leave(wire).await;
    }
    verdict.with(exchange.clone())
}

/// Whether a client is told that its backend is gone: by any end but one in order.
async fn ends_abnormally(exam: &Exam, asked: &mut Asked) -> Verdict {
    let told = format!("the backend ends behind its 101: {}", exam.told(asked));
    let (answer, wire) = match asked {
        Asked::Answered(answer, wire) => (answer, wire),
        Asked::Dropped(_) => return Verdict::held(told),
        Asked::Silent | Asked::Garbled(..) | Asked::Failed(_) => return Verdict::undecided(told),
    };
    if !answer.is_switching() {
        return if answer.status == 429 { Verdict::undecided(told) } else { Verdict::held(told) };
    }
    match wire.frame(exam.patience.close).await {
        Heard::This(frame) if frame.opcode() == opcode::CLOSE && frame.close_code() == Some(1000) => {
            Verdict::fell("the backend is gone, and the client is told 1000: all went well")
        }
        Heard::This(frame) if frame.opcode() == opcode::CLOSE => match frame.close_code() {
            Some(code) => Verdict::held(format!("the client is told {code}")),
            None => Verdict::held("the client is told by a Close without a code"),
        },
        Heard::End(_) => Verdict::held("the client's connection ends"),
        Heard::Silence => Verdict::fell("the backend is gone, and the client is not told"),
        Heard::This(_) | Heard::Garbled(_) => Verdict::undecided("something else than an end came"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lie_differs_from_an_honest_answer() {
        let said: Vec<&str> = ROWS.iter().flat_map(|(.., said)| said.iter().map(|(_, text)| *text)).collect();
        assert_eq!(said.len(), 20);
        assert!(
            said.iter().all(|text| *text != HONEST && text.ends_with("\r\n\r\n") || text.ends_with(INNER)),
            "{said:#?}"
        );
    }
}
