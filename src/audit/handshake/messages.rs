//! HTTP/1.1 messages that two readers cut differently, noise that is no message, and heads that are dear to read.

use std::time::Duration;

use tokio::time::Instant;

use super::heads::offering;
use super::{Attempt, Exam, Request, Row, Verdict, contains};
use crate::audit::exam::Asked;
use crate::audit::finding::Exchange;

/// What must be refused: a body, a coding, or a head against the grammar of RFC 9112, or beyond any bound.
pub(super) const ROWS: &[Row] = &[
    (
        "SM07",
        "a body by Content-Length",
        &[
            ("five bytes", |r| r.and_line("Content-Length: 5").and_tail("hello")),
            ("five bytes that do not come", |r| r.and_line("Content-Length: 5")),
        ],
    ),
    (
        "SM08",
        "a body by Transfer-Encoding",
        &[
            ("chunked", |r| coded(r, "chunked")),
            ("chunks that do not come", |r| r.and_line("Transfer-Encoding: chunked")),
            ("chunked with a trailer", |r| {
                coded(r, "chunked").and_line("Trailer: X-Late").and_tail("0\r\nX-Late: 1\r\n\r\n")
            }),
        ],
    ),
    (
        "SM09",
        "both at once",
        &[
            ("both", |r| coded(r, "chunked").and_line("Content-Length: 5")),
            ("both, and nothing comes", |r| r.and_line("Transfer-Encoding: chunked").and_line("Content-Length: 5")),
        ],
    ),
    (
        "SM10",
        "odd spellings of a coding",
        &[
            ("chunked, chunked", |r| coded(r, "chunked, chunked")),
            ("xchunked", |r| coded(r, "xchunked")),
            ("gzip, chunked", |r| coded(r, "gzip, chunked")),
            ("identity", |r| coded(r, "identity")),
            ("a vertical tab behind", |r| coded(r, "chunked\x0b")),
            ("two fields", |r| coded(r, "chunked").and_line("Transfer-Encoding: identity")),
            ("xchunked, and nothing comes", |r| r.and_line("Transfer-Encoding: xchunked")),
            ("identity, and nothing comes", |r| r.and_line("Transfer-Encoding: identity")),
        ],
    ),
    (
        "SM11",
        "lengths that are none",
        &[
            ("+0", |r| r.and_line("Content-Length: +0")),
            ("0x0", |r| r.and_line("Content-Length: 0x0")),
            ("empty", |r| r.and_line("Content-Length: ")),
            ("-1", |r| r.and_line("Content-Length: -1")),
            ("2^64", |r| r.and_line("Content-Length: 18446744073709551616")),
        ],
    ),
    (
        "SM11",
        "two lengths",
        &[
            ("in one field", |r| r.and_line("Content-Length: 0, 0")),
            ("equal", |r| r.and_line("Content-Length: 0").and_line("Content-Length: 0")),
            ("different", |r| r.and_line("Content-Length: 0").and_line("Content-Length: 5").and_tail("hello")),
        ],
    ),
    (
        "SM12",
        "folded lines",
        &[
            ("by a space", |r| r.and_line("X-A: 1\r\n 2")),
            ("by a tab", |r| r.and_line("X-A: 1\r\n\t2")),
            ("before the first field", |mut r| {
                r.lines.insert(0, b" X-A: 1".to_vec());
                r
            }),
        ],
    ),
    (
        "SM12",
        "white space before a colon",
        &[("a space", |r| r.and_line("X-A : 1")), ("a tab", |r| r.and_line("X-A\t: 1"))],
    ),
    (
        "SM12",
        "control bytes",
        &[
            ("a bare CR", |r| r.and_line("X-A: 1\r2")),
            ("NUL in a value", |r| r.and_line(b"X-A: 1\x002")),
            ("NUL in a name", |r| r.and_line(b"X-\0A: 1")),
            ("an escape", |r| r.and_line(b"X-A: \x1b[31m")),
        ],
    ),
    (
        "SM12",
        "names that are no tokens",
        &[
            ("a parenthesis", |r| r.and_line("X-(A): 1")),
            ("no name", |r| r.and_line(": 1")),
            ("no colon", |r| r.and_line("X-A")),
        ],
    ),
    (
        "SM13",
        "lines that end in a bare LF",
        &[
            ("all of them", |mut r| {
                r.line_end = b"\n";
                r
            }),
            ("one", |r| r.and_line("X-A: 1\nX-B: 2")),
        ],
    ),
    (
        "SM14",
        "an expectation",
        &[("100-continue", |r| r.with("Expect", "100-continue")), ("another", |r| r.with("Expect", "x"))],
    ),
    ("H104", "a field of 60 KB", &[("60 KB", |r| r.with("X-A", "a".repeat(60_000)))]),
    ("H104", "a thousand fields", &[("a thousand", a_thousand_fields)]),
    (
        "H104",
        "a target of 60 KB",
        &[("60 KB", |r| {
            let sign: &[u8] = if r.target_bytes().contains(&b'?') { b"&" } else { b"?" };
            let target = [r.target_bytes(), sign, b"x=", "a".repeat(60_000).as_bytes()].concat();
            r.target(target)
        })],
    ),
    (
        "H111",
        "bytes above ASCII where tokens stand",
        &[
            ("in Connection", |r| r.with("Connection", b"Upgrade, \xff")),
            ("in Upgrade", |r| r.with("Upgrade", b"websocket\xff")),
            ("in Host", |r| {
                let host = [r.value("Host").unwrap_or_default(), b"\xff"].concat();
                r.with("Host", host)
            }),
            ("in a name", |r| r.and_line(b"X-\xff: 1")),
        ],
    ),
];

/// What is no handshake at all.
pub(super) const NOISE: &[Row] = &[
    (
        "H110",
        "noise before a request",
        &[
            ("a TLS record", |r| bare(r, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")),
            ("60 KB of empty lines", |r| bare(r, "\r\n".repeat(30_000).as_bytes())),
            ("bytes above ASCII", |r| bare(r, b"\xff\xfe\xfd\xfc\r\n\r\n")),
        ],
    ),
    (
        "HS02",
        "a line without a version",
        &[("GET and a path", |r| {
            let line = [b"GET ", r.target_bytes(), b"\r\n\r\n"].concat();
            bare(r, &line)
        })],
    ),
    ("SM15", "the preface of HTTP/2", &[("PRI", |r| bare(r, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"))]),
];

/// Heads that a careless reader reads in time that grows faster than they do.
pub(super) const COSTLY: &[Row] = &[
    (
        "HS12",
        "spaces among subprotocols",
        &[("12 000 spaces", |r| offering(r, &format!("wsgate{}x", " ".repeat(12_000))))],
    ),
    (
        "HS13",
        "escapes among extensions",
        &[
            ("escapes without an end", |r| extending(r, &format!("a;b=\"{}", "\\c".repeat(40)))),
            ("6000 of them", |r| extending(r, &format!("a;b=\"{}", "\\c".repeat(6000)))),
            ("a thousand extensions", |r| extending(r, &vec!["x;a"; 1000].join(","))),
        ],
    ),
];

fn coded(request: Request, coding: &str) -> Request {
    request.and_line(format!("Transfer-Encoding: {coding}")).and_tail("0\r\n\r\n")
}

/// As short as fields are: their number is meant, and not their bytes.
fn a_thousand_fields(request: Request) -> Request {
    (0..1000).fold(request, |request, number| request.and_line(format!("X{number}:a")))
}

fn bare(mut request: Request, bytes: &[u8]) -> Request {
    request.start = bytes.to_vec();
    request.lines.clear();
    request.line_end = b"";
    request
}

fn extending(request: Request, value: &str) -> Request {
    request.with("Sec-WebSocket-Extensions", value)
}

/// Judges that noise opens nothing: an answer that is no 101, garbage or an end will do.
pub(super) async fn noise(noise: &[Attempt], exam: &Exam) -> Verdict {
    let mut verdict = Verdict::undecided("nothing was tried");
    for Attempt { what, request } in noise {
        let mark = exam.mark();
        let bytes = request.bytes();
        let asked = exam.ask_once(&bytes).await;
        let told = exam.told(&asked);
        let exchange = exam.exchange(&bytes, &asked);
        if exam.reached(mark, &bytes).await {
            return Verdict::fell(format!("{what}: it reached the backend ({told})")).with(exchange);
        }
        verdict = match &asked {
            Asked::Answered(answer, wire) if answer.is_switching() || contains(&wire.kept, b" 101 ") => {
                return Verdict::fell(format!("{what}: the socket opened")).with(exchange);
            }
            Asked::Answered(answer, _) if answer.is_busy() => Verdict::undecided(format!("{what}: {told}")),
            Asked::Silent => Verdict::undecided(format!("{what}: {told}")),
            _ => Verdict::held(format!("{what}: {told}")),
        }
        .with(exchange);
        if verdict.outcome != super::super::Outcome::Held {
            return verdict;
        }
    }
    verdict
}

/// How much longer than a harmless head of its length a costly one may take, and how much more than that.
const TIMES: u32 = 4;
const MORE: Duration = Duration::from_millis(250);

/// Judges that a head is answered as fast as a harmless one of the same length: the best of three, each.
pub(super) async fn prompt(costly: &[Attempt], exam: &mut Exam) -> Verdict {
    let mut slowest: Option<(Duration, &Attempt, Exchange)> = None;
    for attempt in costly {
        let bytes = attempt.request.bytes();
        let harmless = exam.good();
        let length = bytes.len().saturating_sub(harmless.bytes().len());
        let harmless = harmless.with("X-A", "a".repeat(length)).bytes();
        let usual = match fastest(exam, &harmless).await {
            Ok(Some((usual, _))) => usual,
            Ok(None) => {
                return Verdict::undecided(format!("{}: a harmless head of its length is not answered", attempt.what));
            }
            Err(why) => return Verdict::undecided(why),
        };
        let (took, exchange) = match fastest(exam, &bytes).await {
            Ok(Some(fastest)) => fastest,
            Ok(None) => {
                let said = format!("{}: no answer, where a harmless head takes {} ms", attempt.what, usual.as_millis());
                return Verdict::fell(said);
            }
            Err(why) => return Verdict::undecided(format!("{}: {why}", attempt.what)),
        };
        if took > usual.saturating_mul(TIMES).saturating_add(MORE) {
            let said = format!("{}: {} ms; a harmless head {} ms", attempt.what, took.as_millis(), usual.as_millis());
            return Verdict::fell(said).with(exchange);
        }
        if slowest.as_ref().is_none_or(|(longest, ..)| *longest < took) {
            slowest = Some((took, attempt, exchange));
        }
    }
    match slowest {
        Some((took, attempt, exchange)) => {
            Verdict::held(format!("{}: answered in {} ms", attempt.what, took.as_millis())).with(exchange)
        }
        None => Verdict::undecided("nothing was tried"),
    }
}

/// The least time to an answer of three times, and what was exchanged then; `None` where none came.
///
/// # Errors
/// With a sentence where nothing is proved: the target drops the connection, or is busy for too long.
async fn fastest(exam: &Exam, bytes: &[u8]) -> Result<Option<(Duration, Exchange)>, String> {
    let mut fastest: Option<(Duration, Exchange)> = None;
    for _ in 0..3 {
        let (took, asked) = timed(exam, bytes).await?;
        if matches!(asked, Asked::Silent) {
            return Ok(None);
        }
        if fastest.as_ref().is_none_or(|(least, _)| took < *least) {
            fastest = Some((took, exam.exchange(bytes, &asked)));
        }
        if let Asked::Answered(answer, wire) = asked
            && answer.is_switching()
        {
            exam.leave(wire).await;
        }
    }
    Ok(fastest)
}

/// Asks on a new connection and says how long the answer took. A target that is busy, or drops, is waited for.
async fn timed(exam: &Exam, bytes: &[u8]) -> Result<(Duration, Asked), String> {
    let mut took = Duration::ZERO;
    let once = async || match exam.open().await {
        Ok(wire) => {
            let began = Instant::now();
            let asked = exam.ask_on(wire, bytes).await;
            took = began.elapsed();
            asked
        }
        Err(error) => Asked::Failed(error.to_string()),
    };
    let asked = exam.ask_by(once).await;
    match &asked {
        Asked::Answered(answer, _) if answer.is_busy() => Err(format!("{} to everybody", exam.told(&asked))),
        // Who drops may have read for long or not at all.
        Asked::Dropped(_) | Asked::Failed(_) => Err(exam.told(&asked)),
        Asked::Answered(..) | Asked::Garbled(..) | Asked::Silent => Ok((took, asked)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::handshake::Change;

    #[test]
    fn h104_a_thousand_fields_are_few_bytes() {
        let request = a_thousand_fields(Request::new("a.test", "/", [0; 16]));
        assert_eq!(request.lines.len(), 1005);
        assert!(request.bytes().len() < 12 << 10, "{}", request.bytes().len());
    }

    #[test]
    fn sm07_to_sm10_a_body_is_announced_with_bytes_behind_it_and_without() {
        let good = Request::new("a.test", "/", [0; 16]);
        for id in ["SM07", "SM08", "SM09", "SM10"] {
            let of_id = ROWS.iter().filter(|(row, ..)| *row == id).flat_map(|(.., changes)| *changes);
            let (with, without): (Vec<&(&str, Change)>, Vec<_>) =
                of_id.partition(|(_, change)| !change(good.clone()).tail.is_empty());
            assert!(!with.is_empty() && !without.is_empty(), "{id}: {} and {}", with.len(), without.len());
        }
    }
}
