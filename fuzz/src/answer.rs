//! A backend's answer to our handshake.
//!
//! The input is what a backend sends first, to a handshake with the key of RFC 6455 section 1.3.

use wsgate::ws::head::{HeadLimits, HeadScanner, ResponseHead, parse_response};
use wsgate::ws::opening::{self, Accepted, WebSocketKey};

use super::Verdict;
use super::chunks::cuts;
use super::naive_head::{self, NaiveHead};

/// Small, so that inputs reach them.
const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 16, target: 128 };
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const SUBPROTOCOLS: [&str; 2] = ["chat.v2", "chat.v1"];
const EXTENSIONS: [&str; 2] = ["permessage-deflate", "x-other"];

/// What is accepted is a whole 101 to this handshake, for two other readers as well, however it was cut; and it chooses
/// nothing that was not offered.
pub fn answer(bytes: &[u8]) -> Verdict {
    let ends = cuts(bytes).map(|cut| end_of(&cut));
    assert!(ends.iter().all(|end| *end == ends[0]), "the verdict depends on the cut: {ends:?}");
    let Some(end) = ends[0] else { return Verdict::Refused };
    assert!(naive_head::lines(&bytes[..end]).is_some(), "the end was found behind what is no line");
    let head = parse_response(&bytes[..end], &LIMITS).ok();
    assert_eq!(head.is_some(), expected(&bytes[..end]), "the readers differ");
    let Some(head) = head else { return Verdict::Refused };
    let fields = naive_head::read(&bytes[..end]).expect("the naive reader read it");
    let same = |(ours, theirs): (&wsgate::ws::head::HeaderField, &(String, String))| {
        (&ours.name, &ours.value) == (&theirs.0, &theirs.1)
    };
    assert!(head.headers.len() == fields.fields.len() && head.headers.iter().zip(&fields.fields).all(same));
    judge(&head, &fields)
}

fn judge(head: &ResponseHead, fields: &NaiveHead) -> Verdict {
    let offered = |words: [&str; 2]| words.map(String::from);
    let key = WebSocketKey::parse(KEY).expect("the RFC's key");
    let accepted = opening::judge_response(head, &key, &offered(SUBPROTOCOLS), &offered(EXTENSIONS)).ok();
    let Some(Accepted { subprotocol, extensions }) = &accepted else { return Verdict::Refused };
    assert_eq!(head.status, 101);
    assert!(fields.says("upgrade", "websocket") && fields.connection().contains(&"upgrade".to_owned()));
    assert_eq!(fields.all("sec-websocket-accept"), [ACCEPT]);
    assert_eq!(fields.all("transfer-encoding"), [""; 0]);
    assert!(fields.all("content-length").iter().all(|length| *length == "0"));
    assert_eq!(fields.all("sec-websocket-protocol"), Vec::from_iter(subprotocol.as_deref()));
    assert!(subprotocol.as_deref().is_none_or(|chosen| SUBPROTOCOLS.contains(&chosen)));
    assert_eq!(fields.all("sec-websocket-extensions"), Vec::from_iter(extensions.as_deref()));
    // No offered name holds a comma or a semicolon, and a quoted value must be a token, which holds none either.
    let names = extensions.iter().flat_map(|list| list.split(','));
    let names: Vec<&str> = names.map(|one| naive_head::trimmed(one.split(';').next().unwrap_or_default())).collect();
    assert!(names.iter().all(|name| EXTENSIONS.contains(name)), "{names:?}");
    assert!(names.len() <= 1 || (names.len() == 2 && names[0] != names[1]), "{names:?}");
    Verdict::Accepted
}

fn end_of(chunks: &[&[u8]]) -> Option<usize> {
    let mut scanner = HeadScanner::new(LIMITS);
    let mut received = Vec::new();
    for chunk in chunks {
        received.extend_from_slice(chunk);
        match scanner.scan(&received) {
            Ok(None) => {}
            verdict => return verdict.ok().flatten(),
        }
    }
    None
}

/// What the naive reader and `httparse` both read.
fn expected(head: &[u8]) -> bool {
    let Some(read) = naive_head::read(head) else { return false };
    let [version, status, _reason] = &read.first[..] else { return false };
    let digits = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit()) && !status.starts_with('0');
    let mut slots = [httparse::EMPTY_HEADER; LIMITS.fields];
    let mut theirs = httparse::Response::new(&mut slots);
    let whole = theirs.parse(head) == Ok(httparse::Status::Complete(head.len()));
    version == "HTTP/1.1" && digits && whole && theirs.code.map(|code| code.to_string()).as_ref() == Some(status)
}
