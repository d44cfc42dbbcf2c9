//! What TLS does around a session: pieces, protocols, resumption, early data, key updates, and its end.

use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, Error, HandshakeKind, PeerMisbehaved, ProtocolVersion};
use tokio::time::{Instant, sleep};

use super::client::{Client, NoTls, Trust, terms};
use crate::audit::answer::Answer;
use crate::audit::canary::Contact;
use crate::audit::finding::Exchange;
use crate::audit::frame::{self, FIN, Frame, opcode};
use crate::audit::request::Request;
use crate::audit::wire::Heard;
use crate::audit::{Canary, Exam, Outcome, Verdict};

/// How the hello is cut: the bytes of a record, and of a segment.
const PIECES: [(&str, Option<usize>, usize); 3] = [
    ("in records of 64 bytes", Some(64), usize::MAX),
    ("in segments of 16 bytes", None, 16),
    ("in both", Some(128), 40),
];

/// How often a session is tried to be resumed: machines behind one name may not know each other's tickets.
const RESUMPTIONS: u32 = 3;

/// How many key updates are asked for.
const KEY_UPDATES: u32 = 1000;

/// The first half of a text frame: its header announces 8 bytes.
const HALF_A_FRAME: [u8; 9] = [FIN | opcode::TEXT, 0x88, 1, 2, 3, 4, 5, 6, 7];

/// How often a canary is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What a judge comes to; as an error where the case could not be tried.
pub(super) type Judged = Result<Verdict, Verdict>;

/// A session opens over TLS whose hello came in pieces.
pub(super) async fn pieces(exam: &mut Exam) -> Judged {
    for (what, record, segment) in PIECES {
        let mut terms = vouched(exam)?;
        terms.max_fragment_size = record;
        let request = exam.good().bytes();
        let client = match Client::asked(exam, &Arc::new(terms), &exam.target.name, segment, &request).await {
            Ok((client, answer)) if answer.is_switching() => client,
            Ok((_, answer)) => return Err(Verdict::undecided(format!("a hello {what}: {}", answer.status))),
            Err(no @ NoTls::Unable(_)) => return Err(Verdict::undecided(no.told())),
            Err(no) => return Ok(Verdict::fell(format!("a hello {what}: {}", no.told()))),
        };
        left(client).await;
    }
    Ok(Verdict::held(format!("a session opens behind each of {} cuttings", PIECES.len())))
}

/// A client that speaks something else alone is refused, or gets no protocol.
pub(super) async fn protocol(alpn: &'static str, exam: &Exam) -> Judged {
    let mut terms = vouched(exam)?;
    terms.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let unoffered = PeerMisbehaved::SelectedUnofferedApplicationProtocol;
    match Client::open(&exam.target, &Arc::new(terms), &exam.target.name, usize::MAX, b"").await {
        Ok(client) => match client.tls.alpn_protocol() {
            None => Ok(Verdict::held("TLS without a protocol: the offer is passed over")),
            Some(b"h2") => Ok(Verdict::held("h2 is spoken")),
            Some(chosen) => Ok(Verdict::fell(format!("{} is agreed on", exam.shown(chosen)))),
        },
        Err(NoTls::Refused(Error::PeerMisbehaved(misbehaved))) if misbehaved == unoffered => {
            Ok(Verdict::fell(format!("{alpn} alone is offered, and another is chosen")))
        }
        Err(no @ (NoTls::Alert(_) | NoTls::Ended(_))) => Ok(Verdict::held(no.told())),
        Err(no) => Err(Verdict::undecided(no.told())),
    }
}

/// A request in early data (0-RTT) may be a copy that somebody else sends again: none is taken.
pub(super) async fn early_data(exam: &mut Exam) -> Judged {
    let mut terms = vouched(exam)?;
    terms.enable_early_data = true;
    let terms = Arc::new(terms);
    let mut resumed = None;
    for _ in 0..RESUMPTIONS {
        let first = session(exam, &terms).await?;
        if first.tls.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return Ok(Verdict::new(Outcome::NotApplicable, "TLS 1.3 is not spoken, and nothing else has early data"));
        }
        left(first).await;
        let request = exam.good().bytes();
        let opened = Client::open(&exam.target, &terms, &exam.target.name, usize::MAX, &request).await;
        let client = opened.map_err(|no| Verdict::undecided(no.told()))?;
        if client.tls.handshake_kind() == Some(HandshakeKind::Resumed) {
            resumed = Some((client, request));
            break;
        }
    }
    let Some((mut client, request)) = resumed else {
        let why = "no session is resumed, and only a resumed one has early data";
        return Ok(Verdict::new(Outcome::NotApplicable, why));
    };
    if !client.tls.is_early_data_accepted() {
        return Ok(Verdict::held("a resumed session without early data"));
    }
    let (verdict, received) = match client.answer(exam.patience.answer).await {
        Heard::This(answer) if answer.status == 425 => {
            (Verdict::held("early data is taken, and answered with 425"), exam.shown(&answer.head))
        }
        Heard::This(answer) => {
            (Verdict::fell(format!("a handshake in early data: {}", answer.status)), exam.shown(&answer.head))
        }
        _ => (Verdict::fell("early data is taken"), String::from("no answer")),
    };
    Ok(verdict.with(Exchange { sent: exam.shown(&request), received }))
}

/// What is refused on a connection with a full handshake is refused on a resumed one. Where it comes in on both, nothing
/// is told of resumption.
pub(super) async fn resumption(exam: &mut Exam) -> Judged {
    let request = match (&exam.target.credential, &exam.target.origin) {
        (Some(_), _) => exam.anonymous(),
        (None, Some(_)) => exam.good().with("Origin", "https://hostile.invalid"),
        (None, None) => {
            let why = "neither a credential nor an origin is asked for: there is nothing to skip";
            return Ok(Verdict::new(Outcome::NotApplicable, why));
        }
    };
    let (_, unresumed) = asked(exam, &Arc::new(vouched(exam)?), &request).await?;
    if unresumed.is_switching() {
        let why = "what must be refused comes in on any connection: there is nothing to skip";
        return Ok(Verdict::new(Outcome::NotApplicable, why));
    }
    let mut resumed = None;
    for _ in 0..RESUMPTIONS {
        let terms = Arc::new(vouched(exam)?);
        left(session(exam, &terms).await?).await;
        let (client, answer) = asked(exam, &terms, &request).await?;
        if answer.is_switching() || client.tls.handshake_kind() == Some(HandshakeKind::Resumed) {
            resumed = Some(answer);
            break;
        }
    }
    let Some(answer) = resumed else {
        return Ok(Verdict::new(Outcome::NotApplicable, "no session is resumed"));
    };
    let verdict = if answer.is_switching() {
        Verdict::fell("where a session is resumed what must be refused comes in")
    } else if answer.is_refusal() && !answer.is_busy() {
        Verdict::held(format!("a session is resumed, and what must be refused is: {}", answer.status))
    } else {
        Verdict::undecided(format!("a session is resumed: {}", answer.status))
    };
    Ok(verdict.with(Exchange { sent: exam.shown(&request.bytes()), received: exam.shown(&answer.head) }))
}

/// A flood of key updates ends the session or is worked off: it does not hang it.
pub(super) async fn key_updates(exam: &mut Exam) -> Judged {
    let terms = Arc::new(vouched(exam)?);
    let mut client = session(exam, &terms).await?;
    if client.tls.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return Ok(Verdict::held("TLS 1.3 is not spoken, and nothing else has key updates"));
    }
    for sent in 0..KEY_UPDATES {
        if client.tls.refresh_traffic_keys().is_err() || client.pump(usize::MAX).await.is_err() {
            return Ok(Verdict::held(format!("the connection ended behind {sent} key updates")));
        }
    }
    client.send(&frame::masked(FIN | opcode::PING, b"alive")).await;
    loop {
        match client.hear(exam.patience.answer, Frame::take).await {
            Heard::This(frame) if frame.opcode() == opcode::PONG => {
                return Ok(Verdict::held(format!("{KEY_UPDATES} key updates are worked off, and the session lives")));
            }
            Heard::This(_) => {}
            Heard::End(_) | Heard::Garbled(_) => {
                return Ok(Verdict::held(format!("the connection ended behind {KEY_UPDATES} key updates")));
            }
            Heard::Silence => return Ok(Verdict::fell(format!("{KEY_UPDATES} key updates, and the session hangs"))),
        }
    }
}

/// An end of TCP without the word of TLS that nothing follows may be somebody else's: it ends the session, and the
/// backend does not hear of an end in order.
pub(super) async fn truncation(exam: &mut Exam) -> Judged {
    let terms = Arc::new(vouched(exam)?);
    let mark = exam.canary.as_ref().map(Canary::mark);
    let mut client = session(exam, &terms).await?;
    client.send(&HALF_A_FRAME).await;
    client.truncate().await;
    let (Some(canary), Some(mark)) = (&exam.canary, mark) else {
        let until = Instant::now() + exam.patience.close;
        return loop {
            match client.hear(until.saturating_duration_since(Instant::now()), Frame::take).await {
                Heard::This(_) => {}
                Heard::End(_) | Heard::Garbled(_) => break Ok(Verdict::held("the connection ended")),
                Heard::Silence => break Ok(Verdict::fell("the connection lives on")),
            }
        };
    };
    Ok(match ended(canary, mark, exam.patience.close).await {
        Some(contact) if is_orderly(&contact) => {
            Verdict::fell("the backend is told 1000: that the client ended the session in order")
        }
        Some(_) => Verdict::held("the session ended at the backend, and not in order"),
        None => Verdict::fell("the session lives on at the backend"),
    })
}

/// The contact that came since a mark, once it ended.
async fn ended(canary: &Canary, mark: usize, within: Duration) -> Option<Contact> {
    let until = Instant::now() + within;
    while Instant::now() < until {
        let found = canary.since(mark).await.into_iter().find(|contact| contact.ended);
        if found.is_some() {
            return found;
        }
        sleep(LOOK).await;
    }
    None
}

/// Whether a client's Close with 1000 stands behind the head, in whatever mask.
fn is_orderly(contact: &Contact) -> bool {
    matches!(contact.behind(), [first, second, a, b, _, _, high, low, ..]
        if first & 0x0f == opcode::CLOSE && second & 0x80 != 0 && u16::from_be_bytes([high ^ a, low ^ b]) == 1000)
}

fn vouched(exam: &Exam) -> Result<ClientConfig, Verdict> {
    terms(&exam.target, Trust::Vouched).map_err(Verdict::undecided)
}

async fn session(exam: &mut Exam, terms: &Arc<ClientConfig>) -> Result<Client, Verdict> {
    let request = exam.good();
    let (client, answer) = asked(exam, terms, &request).await?;
    if answer.is_switching() {
        return Ok(client);
    }
    Err(Verdict::undecided(format!("{} for a good handshake", answer.status)))
}

async fn asked(exam: &Exam, terms: &Arc<ClientConfig>, request: &Request) -> Result<(Client, Answer), Verdict> {
    let asked = Client::asked(exam, terms, &exam.target.name, usize::MAX, &request.bytes()).await;
    asked.map_err(|no| Verdict::undecided(no.told()))
}

/// Ends a session in order and hears the server out: its tickets come first.
async fn left(mut client: Client) {
    client.send(&frame::close(1000, "")).await;
    let until = Instant::now() + Duration::from_secs(2);
    while let Heard::This(_) = client.hear(until.saturating_duration_since(Instant::now()), Frame::take).await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tl12_an_end_in_order_is_told_from_one_that_is_not() {
        let head = b"GET / HTTP/1.1\r\n\r\n";
        let contact = |behind: &[u8]| Contact { received: [head.as_slice(), behind].concat(), ..Contact::default() };
        assert!(is_orderly(&contact(&frame::close(1000, ""))));
        assert!(is_orderly(&contact(&frame::close(1000, "bye"))));
        assert!(!is_orderly(&contact(&frame::close(1001, ""))));
        assert!(!is_orderly(&contact(&HALF_A_FRAME)));
        assert!(!is_orderly(&contact(b"")));
    }
}
