//! What is no handshake, or one without end.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::hello::{Hello, claiming, extension, record_of, server_names, version};
use super::reply::{self, Reply};
use super::weak::{exchange, said_to};
use crate::audit::finding::Exchange;
use crate::audit::wire::{Heard, Wire};
use crate::audit::{Exam, Outcome, Verdict};

/// Empty records that are sent: 320 KiB of nothing.
const EMPTY_RECORDS: usize = 1 << 16;

/// What is sent of the endless message.
const ENDLESS_BYTES: usize = 1 << 20;

/// The longest wait for what is sent to be taken.
const SENDING: Duration = Duration::from_secs(10);

/// What is sent in the place of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// Bytes that begin no handshake.
    Garbage,
    /// Records without content, one after another.
    EmptyRecords,
    /// A handshake message that claims 16 MiB, and the first of them.
    Endless,
    /// A hello of 60 kB, well-formed.
    Long,
    /// Names in the hello that nobody has.
    Names,
}

/// Judges one.
pub(super) async fn judge(noise: Noise, exam: &mut Exam) -> Verdict {
    let verdict = match noise {
        Noise::Garbage => each(&garbage(), exam, |reply| !matches!(reply, Reply::Hello(_))).await,
        Noise::EmptyRecords => ends(&record_of(22, version::TLS10, b"").repeat(EMPTY_RECORDS), exam).await,
        Noise::Endless => ends(&endless(), exam).await,
        Noise::Long => each(&[("a hello of 60 kB", long(&exam.target.name))], exam, |_| true).await,
        Noise::Names => each(&names(&exam.target.name), exam, |_| true).await,
    };
    match exam.twin().await {
        Err(why) if verdict.outcome != Outcome::Fell => {
            Verdict { outcome: Outcome::Fell, said: format!("{}; behind it {why}", verdict.said), ..verdict }
        }
        _ => verdict,
    }
}

/// Every one is answered as it may be, or by the end of the connection.
async fn each(noises: &[(&str, Vec<u8>)], exam: &Exam, may: impl Fn(&Reply) -> bool) -> Verdict {
    let mut last = Verdict::undecided("nothing was tried");
    let mut silent = None;
    for (what, bytes) in noises {
        let reply = said_to(exam, bytes).await;
        let shown = exchange(bytes, &reply);
        let said = format!("{what}: {}", reply.told());
        match reply {
            Reply::Silence => silent = Some(Verdict::undecided(said).with(shown)),
            reply if may(&reply) => last = Verdict::held(said).with(shown),
            _ => return Verdict::fell(said).with(shown),
        }
    }
    match silent {
        Some(verdict) => verdict,
        None if noises.len() > 1 => {
            Verdict { said: format!("{} tried, the last: {}", noises.len(), last.said), ..last }
        }
        None => last,
    }
}

/// The server ends what does not end by itself.
async fn ends(bytes: &[u8], exam: &Exam) -> Verdict {
    let Ok(mut tcp) = Wire::tcp(&exam.target, None).await else {
        return Verdict::undecided("no connection");
    };
    let taken = timeout(SENDING, tcp.write_all(bytes)).await;
    let reply = reply::read(&mut tcp, exam.patience.close).await;
    let verdict = match &reply {
        reply if reply.is_no() => Verdict::held(reply.told()),
        Reply::Other(_) => Verdict::held(reply.told()),
        _ if taken.is_err() => Verdict::undecided("it is neither taken nor refused"),
        _ => Verdict::fell(format!("{} bytes are taken, and met with {}", bytes.len(), reply.told())),
    };
    verdict.with(exchange(bytes, &reply))
}

/// Judges that plain HTTP to the port of TLS is no way in and is not redirected: who follows has shown everything.
pub(super) async fn plain(exam: &mut Exam) -> Verdict {
    // A credential goes in the clear only where nobody else can hear it.
    let is_own = exam.target.address.ip().is_loopback();
    let request = if is_own { exam.good() } else { exam.anonymous() }.bytes();
    let mark = exam.mark();
    let Ok(tcp) = Wire::tcp(&exam.target, None).await else {
        return Verdict::undecided("no connection");
    };
    let mut wire = Wire::plain(tcp);
    wire.send(&request).await;
    let heard = wire.answer(exam.patience.answer).await;
    let received = match &heard {
        Heard::This(answer) => exam.shown(&answer.head),
        Heard::End(_) => String::from("closed without an answer"),
        Heard::Silence => String::from("silence"),
        Heard::Garbled(_) => String::from("no HTTP"),
    };
    let reached = exam.reached(mark, &request).await;
    let verdict = match heard {
        _ if reached => Verdict::fell("plain HTTP on the port of TLS reached the backend"),
        Heard::This(answer) if answer.is_switching() => Verdict::fell("a socket opened without TLS"),
        Heard::This(answer) if (300..400).contains(&answer.status) => {
            Verdict::fell(format!("{}: plain HTTP is redirected, once everything was said in the clear", answer.status))
        }
        Heard::This(answer) if answer.status == 401 => {
            Verdict::fell("401: a handshake in the clear is judged like one over TLS")
        }
        Heard::This(answer) if answer.is_refusal() && !answer.is_busy() => Verdict::held(format!("{}", answer.status)),
        Heard::End(_) => Verdict::held("closed without an answer"),
        Heard::Garbled(_) => Verdict::held("an alert, or something else that is no HTTP"),
        Heard::This(answer) => Verdict::undecided(format!("{}, which is no refusal", answer.status)),
        Heard::Silence => Verdict::undecided("silence"),
    };
    verdict.with(Exchange { sent: exam.shown(&request), received })
}

fn garbage() -> Vec<(&'static str, Vec<u8>)> {
    let long_record = [[22, 3, 1, 0xff, 0xff].as_slice(), &[0; 20_000]].concat();
    vec![
        ("zeros", vec![0; 1024]),
        ("ones", vec![0xff; 1024]),
        ("a record longer than records are", long_record),
        ("ten warnings", record_of(21, version::TLS10, &[1, 0]).repeat(10)),
        ("data before a handshake", record_of(23, version::TLS12, &[7; 64])),
        ("a cipher change before a handshake", record_of(20, version::TLS12, &[1]).repeat(64)),
        ("a record of no known kind", record_of(0x99, version::TLS12, &[7; 64])),
        ("a server's own hello", record_of(22, version::TLS12, &claiming(2, 64, &[3; 64]))),
        ("a hello that ends inside its session id", record_of(22, version::TLS10, &claiming(1, 35, &[3; 35]))),
    ]
}

fn endless() -> Vec<u8> {
    let message = claiming(1, (1 << 24) - 1, &vec![3; ENDLESS_BYTES]);
    message.chunks(1 << 14).flat_map(|piece| record_of(22, version::TLS10, piece)).collect()
}

fn long(own: &str) -> Vec<u8> {
    let mut hello = Hello::sound(own);
    hello.extend(extension::PADDING, vec![0; 60_000]);
    hello.bytes()
}

/// Hellos that are sound but for the name.
fn names(own: &str) -> Vec<(&'static str, Vec<u8>)> {
    let label = "a".repeat(59) + ".";
    let long = label.repeat(5);
    let dotted = format!("{own}.");
    let nul = format!("{own}\0.evil.invalid");
    let names: [(&str, &[&[u8]]); 10] = [
        ("a name of 300 bytes", &[long.as_bytes()]),
        ("no name in the list", &[]),
        ("an empty name", &[b""]),
        ("an address", &[b"127.0.0.1"]),
        ("an address in brackets", &[b"[::1]"]),
        ("a trailing dot", &[dotted.as_bytes()]),
        ("a zero inside", &[nul.as_bytes()]),
        ("bytes beyond ASCII", &[&[0xff, 0xfe, b'.', 0x80]]),
        ("a line end", &[b"a\r\nX-Injected: 1"]),
        ("two names", &[own.as_bytes(), b"other.invalid"]),
    ];
    let hello = |names: &[&[u8]]| {
        let mut hello = Hello::sound(own);
        hello.extend(extension::SERVER_NAME, server_names(names));
        hello.bytes()
    };
    names.map(|(what, names)| (what, hello(names))).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn tl04_noise_is_bounded_and_of_many_kinds() {
        let all = [garbage(), names("chat.test")].concat();
        assert_eq!(all.iter().map(|(what, _)| what).collect::<BTreeSet<_>>().len(), 19);
        assert!(all.iter().all(|(_, bytes)| !bytes.is_empty() && bytes.len() < 32 << 10));
        assert!(endless().len() < ENDLESS_BYTES + 1024);
        assert!(garbage()[2].1.starts_with(&[22, 3, 1, 0xff, 0xff]));
    }
}
