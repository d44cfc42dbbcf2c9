//! What an answer says and gives away, how a connection ends behind it, and what is answered at all.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{Case, Change, Probe, Request, Verdict, own};
use crate::audit::answer::Answer;
use crate::audit::canary::accept_for;
use crate::audit::exam::{Asked, until_free};
use crate::audit::finding::Exchange;
use crate::audit::wire::{End, OpenError, Wire};
use crate::audit::{Exam, Outcome};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Whether the 101 is whole and nothing else.
    Whole,
    /// What a PROXY header of a stranger does, in this version of it.
    ProxyHeader(ProxyVersion),
    /// Whether a refusal tells a browser to stay with TLS.
    TransportSecurity,
    /// Whether an answer tells which software in which version gave it.
    Software,
    /// Whether a refused connection ends.
    End,
    /// Whether a body is waited for that never comes.
    BodyUnread,
    /// Whether a good handshake may come byte by byte.
    Pieces,
    /// Whether a refusal arrives where the client still sends.
    Lingering,
    /// Whether a connection ends whose client has ended.
    ClientGone,
}

/// A version of HAProxy's PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    One,
    /// A binary header.
    Two,
}

/// The least Strict-Transport-Security, in seconds: a year (ASVS 5.0, 3.4.1).
const YEAR: u64 = 31_536_000;

pub(super) fn cases(exam: &Exam) -> Vec<Case> {
    let over_tls = |look| match exam.target.tls {
        Some(_) => own(Probe::Answer(look)),
        None => crate::audit::Probe::NotApplicable(String::from("the target has no TLS")),
    };
    let case = |id, name, look| Case { id, name, probe: own(Probe::Answer(look)) };
    vec![
        case("HS20", "a whole 101", Look::Whole),
        case("ID05", "a PROXY line of a stranger", Look::ProxyHeader(ProxyVersion::One)),
        case("ID05", "a binary PROXY header of a stranger", Look::ProxyHeader(ProxyVersion::Two)),
        Case { id: "TL17", name: "a refusal that keeps browsers with TLS", probe: over_tls(Look::TransportSecurity) },
        case("TL17", "the software and its version", Look::Software),
        case("H102", "a refused connection that stays", Look::End),
        case("H103", "a body that never comes", Look::BodyUnread),
        case("H105", "a head byte by byte", Look::Pieces),
        case("H107", "a refusal while the client still sends", Look::Lingering),
        case("H108", "a client that ends behind its head", Look::ClientGone),
    ]
}

/// Judges one.
pub(super) async fn judge(look: &Look, exam: &mut Exam) -> Verdict {
    match look {
        Look::Whole => whole(exam).await,
        Look::ProxyHeader(version) => proxy_header(*version, exam).await,
        Look::TransportSecurity => refusal_says(exam, stays_with_tls).await,
        Look::Software => refusal_says(exam, names_no_version).await,
        Look::End => refused_ends(exam).await,
        Look::BodyUnread => body_unread(exam).await,
        Look::Pieces => pieces(exam).await,
        Look::Lingering => lingering(exam).await,
        Look::ClientGone => client_gone(exam).await,
    }
}

/// What a handshake is refused for, each by itself: what a policy minds, what RFC 6455 minds, and what whoever looks at
/// neither reads at least. Behind the last one a server may be unable to go on, so it is tried last.
const WRONGS: [Change; 3] = [
    |r| r.with("Origin", "https://evil.invalid"),
    |r| r.with("Sec-WebSocket-Version", "1337"),
    |r| r.and_line("Content-Length: none"),
];

async fn whole(exam: &mut Exam) -> Verdict {
    let request = exam.good();
    let bytes = request.bytes();
    let asked = exam.ask(&bytes).await;
    let exchange = exam.exchange(&bytes, &asked);
    let Asked::Answered(answer, wire) = asked else {
        return Verdict::undecided(exam.told(&asked)).with(exchange);
    };
    if !answer.is_switching() {
        return Verdict::undecided(format!("a good handshake gets {}", answer.status)).with(exchange);
    }
    exam.leave(wire).await;
    match flaw(&request, &answer) {
        Some(flaw) => Verdict::fell(flaw).with(exchange),
        None => Verdict::held("the 101 is whole").with(exchange),
    }
}

/// What is wrong with a 101 (RFC 6455 section 4.2.2, RFC 9110 section 8.6).
fn flaw(request: &Request, answer: &Answer) -> Option<String> {
    let is = |name: &str, right: &str| answer.value(name).is_some_and(|value| value.eq_ignore_ascii_case(right));
    let count = |name: &str| answer.headers.iter().filter(|(key, _)| key == name).count();
    let offered = String::from_utf8_lossy(request.value("Sec-WebSocket-Protocol").unwrap_or_default()).into_owned();
    let chosen = answer.value("sec-websocket-protocol");
    let is_offered = |chosen: &str| offered.split(',').any(|one| one.trim() == chosen);
    let upgrades = |value: &str| value.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    let accept = accept_for(&request.bytes());
    if answer.value("sec-websocket-accept") != Some(accept.as_str()) || count("sec-websocket-accept") != 1 {
        Some(String::from("the 101 has not the one Sec-WebSocket-Accept that belongs to the key"))
    } else if !is("upgrade", "websocket") || !answer.value("connection").is_some_and(upgrades) {
        Some(String::from("the 101 does not say `Upgrade: websocket` and `Connection: Upgrade`"))
    } else if count("content-length") + count("transfer-encoding") > 0 {
        Some(String::from("the 101 announces a body"))
    } else if chosen.is_some_and(|chosen| !is_offered(chosen)) {
        Some(String::from("the 101 chooses a subprotocol that was not offered"))
    } else if count("sec-websocket-extensions") > 0 {
        Some(String::from("the 101 chooses an extension where none was offered"))
    } else {
        None
    }
}

async fn proxy_header(version: ProxyVersion, exam: &mut Exam) -> Verdict {
    let header: &[u8] = match version {
        ProxyVersion::One => b"PROXY TCP4 203.0.113.66 203.0.113.1 40000 443\r\n",
        ProxyVersion::Two => b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x42\xcb\0\x71\x01\x9c\x40\x01\xbb",
    };
    let bytes = exam.good().bytes();
    let mark = exam.mark();
    let sent = [header, bytes.as_slice()].concat();
    // No connection, or one that ends at once, says nothing of the header; TLS that fails refuses it.
    let mut unheard = None;
    let once = async || match behind(header, exam).await {
        Ok(wire) => exam.ask_on(wire, &bytes).await,
        Err(error) => {
            unheard = matches!(error, OpenError::Unreachable(_)).then(|| error.to_string());
            Asked::Failed(error.to_string())
        }
    };
    let asked = exam.repeated(once, until_free).await;
    if let Some(why) = unheard {
        return Verdict::undecided(why);
    }
    let told = exam.told(&asked);
    let reached = exam.reached(mark, &sent).await;
    let verdict = match &asked {
        Asked::Answered(answer, _) if answer.is_switching() => {
            Verdict::fell("the socket opens: whoever writes a PROXY header is believed, and has any address he likes")
        }
        _ if reached => Verdict::fell(format!("{told}: it reached the backend")),
        Asked::Answered(answer, _) if answer.is_busy() => Verdict::undecided(format!("{told} to everybody")),
        Asked::Silent => Verdict::undecided(told),
        _ => Verdict::held(told),
    };
    verdict.with(exam.exchange(&sent, &asked))
}

/// A connection on which this was sent before everything else.
async fn behind(header: &[u8], exam: &Exam) -> Result<Wire, OpenError> {
    let mut tcp = Wire::tcp(&exam.target, None).await.map_err(OpenError::Unreachable)?;
    tcp.write_all(header).await.map_err(OpenError::Unreachable)?;
    Wire::on(tcp, &exam.target).await
}

/// Judges what a refusal says.
async fn refusal_says(exam: &mut Exam, judge: fn(&Answer) -> Result<String, String>) -> Verdict {
    match refusal(exam).await {
        Ok((answer, _, exchange)) => match judge(&answer) {
            Ok(said) => Verdict::held(said),
            Err(said) => Verdict::fell(said),
        }
        .with(exchange),
        Err(undecided) => undecided,
    }
}

/// The refusal of the first of the [`WRONGS`] that does not come in.
///
/// # Errors
/// With what came of the last one where none is refused.
async fn refusal(exam: &mut Exam) -> Result<(Answer, Wire, Exchange), Verdict> {
    let mut last = Verdict::undecided("nothing was tried");
    for wrong in WRONGS {
        let bytes = wrong(exam.good()).bytes();
        let asked = exam.ask(&bytes).await;
        let (told, exchange) = (exam.told(&asked), exam.exchange(&bytes, &asked));
        match asked {
            Asked::Answered(answer, _) if answer.is_busy() => {
                return Err(Verdict::undecided(format!("{told} to everybody")).with(exchange));
            }
            Asked::Answered(answer, wire) if answer.is_refusal() => return Ok((answer, wire, exchange)),
            Asked::Answered(answer, wire) if answer.is_switching() => exam.leave(wire).await,
            _ => {}
        }
        last = Verdict::undecided(format!("{told}, which is no refusal")).with(exchange);
    }
    Err(last)
}

fn stays_with_tls(answer: &Answer) -> Result<String, String> {
    let Some(value) = answer.value("strict-transport-security") else {
        return Err(String::from("the refusal has no Strict-Transport-Security"));
    };
    let age = value.split(';').find_map(|part| part.trim().strip_prefix("max-age="));
    match age.and_then(|age| age.trim_matches('"').parse::<u64>().ok()) {
        Some(age) if age >= YEAR => Ok(format!("Strict-Transport-Security of {age} s")),
        _ => Err(String::from("Strict-Transport-Security of less than a year")),
    }
}

fn names_no_version(answer: &Answer) -> Result<String, String> {
    const FIELDS: [&str; 5] = ["server", "x-powered-by", "via", "x-aspnet-version", "x-generator"];
    let told = |(name, value): &&(String, String)| {
        FIELDS.contains(&name.as_str()) && value.contains(|letter: char| letter.is_ascii_digit())
    };
    match answer.headers.iter().find(told) {
        Some((name, _)) => Err(format!("the field `{name}` tells the version")),
        None => Ok(String::from("no version is told")),
    }
}

async fn refused_ends(exam: &mut Exam) -> Verdict {
    let (answer, mut wire, exchange) = match refusal(exam).await {
        Ok(refusal) => refusal,
        Err(undecided) => return undecided,
    };
    match wire.ended(exam.patience.close).await {
        Some(_) => Verdict::held(format!("{}, then the end", answer.status)),
        None => Verdict::fell(format!(
            "{}, and {} s later the connection is still open",
            answer.status,
            exam.patience.close.as_secs()
        )),
    }
    .with(exchange)
}

async fn body_unread(exam: &mut Exam) -> Verdict {
    let request = exam.anonymous().method("POST").without("Upgrade").without("Connection");
    let bytes = request.with("Content-Length", "1000000").bytes();
    let asked = exam.ask(&bytes).await;
    let told = exam.told(&asked);
    let verdict = match &asked {
        Asked::Answered(answer, _) if answer.is_busy() => Verdict::undecided(told),
        Asked::Answered(answer, _) if answer.is_switching() => Verdict::fell("the socket opened"),
        // The interim answer asks for the body.
        Asked::Answered(answer, _) if answer.status < 200 => Verdict::fell(format!("{told}: the body is asked for")),
        Asked::Answered(..) => Verdict::held(format!("{told}, before a byte of the body")),
        Asked::Silent => Verdict::fell(format!("{told}: the body is waited for")),
        Asked::Dropped(_) | Asked::Garbled(..) | Asked::Failed(_) => Verdict::undecided(told),
    };
    verdict.with(exam.exchange(&bytes, &asked))
}

async fn pieces(exam: &mut Exam) -> Verdict {
    let bytes = exam.good().bytes();
    let once = async || match exam.open().await {
        Ok(mut wire) => {
            for byte in &bytes {
                wire.send(&[*byte]).await;
            }
            Asked::on(wire, exam.patience.answer).await
        }
        Err(error) => Asked::Failed(error.to_string()),
    };
    let asked = exam.repeated(once, until_free).await;
    let (told, exchange) = (exam.told(&asked), exam.exchange(&bytes, &asked));
    match asked {
        Asked::Answered(answer, wire) if answer.is_switching() => {
            exam.leave(wire).await;
            Verdict::held("the socket opens")
        }
        Asked::Answered(answer, _) if answer.is_busy() => Verdict::undecided(told),
        Asked::Failed(_) => Verdict::undecided(told),
        _ => Verdict::fell(format!("{told}, where the same head in one piece comes in")),
    }
    .with(exchange)
}

/// What is sent behind a handshake that is refused: more than a socket takes at once where nobody reads.
const UNREAD_BYTES: usize = 48 << 10;

/// How often a refusal is asked for before it counts as lost.
const TRIES: u32 = 3;

async fn lingering(exam: &mut Exam) -> Verdict {
    for wrong in WRONGS {
        if let Some(verdict) = lingering_behind(wrong, exam).await {
            return verdict;
        }
    }
    Verdict::undecided("no handshake is refused")
}

/// Whether the refusal for this arrives; `None` where the handshake comes in.
async fn lingering_behind(wrong: Change, exam: &mut Exam) -> Option<Verdict> {
    let mut verdict = None;
    for _ in 0..TRIES {
        let bytes = wrong(exam.good()).and_tail(vec![b'x'; UNREAD_BYTES]).bytes();
        let asked = exam.ask_once(&bytes).await;
        let told = exam.told(&asked);
        let exchange = exam.exchange(&bytes, &asked);
        let came = match asked {
            Asked::Answered(answer, _) if answer.is_switching() => return None,
            Asked::Answered(answer, _) if answer.is_refusal() && !answer.is_busy() => Verdict::held(told),
            Asked::Dropped(End::Cut) => Verdict::fell("cut before the refusal arrived: the client never learns why"),
            _ => Verdict::undecided(told),
        };
        let is_held = came.outcome == Outcome::Held;
        verdict = Some(came.with(exchange));
        if is_held {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    verdict
}

async fn client_gone(exam: &mut Exam) -> Verdict {
    let bytes = exam.good().bytes();
    let within = exam.patience.answer + exam.patience.close;
    let mut ended = None;
    let once = async || {
        let mut wire = match exam.open().await {
            Ok(wire) => wire,
            Err(error) => return Asked::Failed(error.to_string()),
        };
        wire.send(&bytes).await;
        wire.finish().await;
        ended = wire.ended(within).await;
        Asked::on(wire, Duration::ZERO).await
    };
    let asked = exam.repeated(once, until_free).await;
    let told = exam.told(&asked);
    match (&asked, ended) {
        (Asked::Answered(answer, _), _) if answer.is_busy() => Verdict::undecided(format!("{told} to everybody")),
        (Asked::Failed(_), _) => Verdict::undecided(told),
        (_, Some(_)) => Verdict::held("the connection ends"),
        (_, None) => {
            Verdict::fell(format!("{} s after the client's end the connection is still open", within.as_secs()))
        }
    }
    .with(exam.exchange(&bytes, &asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        Answer::take(&mut text.as_bytes().to_vec()).unwrap().unwrap()
    }

    #[test]
    fn a_flaw_of_a_101_is_told() {
        let request = Request::new("a.test", "/", *b"0123456789abcdef").with("Sec-WebSocket-Protocol", "a, b");
        let accept = accept_for(&request.bytes());
        let good = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: b\r\n\r\n"
        );
        assert_eq!(flaw(&request, &answer(&good)), None);
        let changes = [
            (accept.as_str(), "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            ("Upgrade: websocket\r\n", ""),
            ("Connection: Upgrade", "Connection: close"),
            ("Protocol: b", "Protocol: c"),
            ("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"),
            ("\r\n\r\n", "\r\nSec-WebSocket-Extensions: x\r\n\r\n"),
        ];
        for (right, wrong) in changes {
            assert!(flaw(&request, &answer(&good.replacen(right, wrong, 1))).is_some(), "{wrong:?}");
        }
        let names = ["\r\nServer: nginx\r\n", "\r\nServer: nginx/1.22.1\r\n"]
            .map(|field| names_no_version(&answer(&format!("HTTP/1.1 400 Bad Request{field}\r\n"))).is_ok());
        assert_eq!(names, [true, false]);
        let ages = ["63072000; includeSubDomains", "3600", "\"31536000\""].map(|age| {
            let text = format!("HTTP/1.1 400 Bad Request\r\nStrict-Transport-Security: max-age={age}\r\n\r\n");
            stays_with_tls(&answer(&text)).is_ok()
        });
        assert_eq!(ages, [true, false, true]);
    }
}
