//! Request heads, and the opening handshakes that they are.
//!
//! The input is what a client sends first.

use wsgate::ws::head::{HeadError, HeadLimits, HeadScanner, RequestHead, parse_request};
use wsgate::ws::opening::{self, OpeningHandshake};

use super::Verdict;
use super::chunks::cuts;
use super::naive_head::{self, NaiveHead};

/// Small, so that inputs reach them.
const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 16, target: 128 };

/// What is accepted is what two other readers accept, with the same method, target and fields, however it was cut; and
/// what passes as an opening handshake is one.
pub fn head(bytes: &[u8]) -> Verdict {
    let found = first_head(&[bytes]);
    for cut in cuts(bytes) {
        assert_eq!(first_head(&cut), found, "the verdict depends on the cut");
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|start| start + 4);
    let expected = end.and_then(|end| expected(&bytes[..end]));
    let parsed = match found {
        Ok(Some(end)) => {
            assert!(naive_head::lines(&bytes[..end]).is_some(), "the end was found behind what is no line");
            parse_request(&bytes[..end], &LIMITS).ok()
        }
        Ok(None) | Err(_) => None,
    };
    assert_eq!(parsed.as_ref().map(naive), expected, "the readers differ");
    let Some(head) = parsed else { return Verdict::Refused };
    let opening = opening::judge_request(head.clone()).ok();
    if let Some(opening) = &opening {
        judge_opening(&naive(&head), opening);
    }
    Verdict::of(&opening)
}

fn first_head(chunks: &[&[u8]]) -> Result<Option<usize>, HeadError> {
    let mut scanner = HeadScanner::new(LIMITS);
    let mut received = Vec::new();
    for chunk in chunks {
        received.extend_from_slice(chunk);
        match scanner.scan(&received) {
            Ok(None) => {}
            verdict => return verdict,
        }
    }
    Ok(None)
}

/// What the naive reader and `httparse` both read, within the bounds.
fn expected(head: &[u8]) -> Option<NaiveHead> {
    let read = naive_head::read(head)?;
    let [method, target, version] = &read.first[..] else { return None };
    let visible = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic());
    let bounded = head.len() <= LIMITS.bytes && read.fields.len() <= LIMITS.fields && target.len() <= LIMITS.target;
    let is_request = naive_head::is_token(method) && visible && version == "HTTP/1.1";
    (is_request && bounded && httparse_reads(head, &read)).then_some(read)
}

fn httparse_reads(head: &[u8], read: &NaiveHead) -> bool {
    let mut slots = [httparse::EMPTY_HEADER; LIMITS.fields];
    let mut theirs = httparse::Request::new(&mut slots);
    let whole = theirs.parse(head) == Ok(httparse::Status::Complete(head.len()));
    let words = [theirs.method, theirs.path, theirs.version.filter(|minor| *minor == 1).map(|_| "HTTP/1.1")];
    let fields = theirs.headers.iter().map(|field| {
        let value = str::from_utf8(field.value).ok()?;
        Some((field.name.to_ascii_lowercase(), naive_head::trimmed(value).to_owned()))
    });
    whole
        && words.iter().zip(&read.first).all(|(theirs, ours)| *theirs == Some(ours))
        && fields.eq(read.fields.iter().cloned().map(Some))
}

fn naive(head: &RequestHead) -> NaiveHead {
    NaiveHead {
        first: vec![head.method.clone(), head.target.clone(), "HTTP/1.1".to_owned()],
        fields: head.headers.iter().map(|field| (field.name.clone(), field.value.clone())).collect(),
    }
}

/// RFC 6455 section 4.2.1, point by point, and what the gateway asks for beyond it.
fn judge_opening(head: &NaiveHead, opening: &OpeningHandshake) {
    assert_eq!(head.first[0], "GET");
    let query = opening.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    assert_eq!(head.first[1], format!("{}{query}", opening.path), "the target, byte for byte");
    judge_path(&opening.path);
    assert!(!query.contains('#'));
    assert_eq!(head.all("host"), [&opening.authority.raw]);
    assert!(head.says("upgrade", "websocket"));
    let options = head.connection();
    assert!(options.iter().any(|option| option == "upgrade"));
    assert!(options.iter().all(|option| option == "upgrade" || option == "keep-alive"));
    assert!(head.says("sec-websocket-version", "13"));
    assert_eq!(head.all("sec-websocket-key"), [opening.key.as_str()]);
    judge_key(opening.key.as_str());
    assert_eq!(head.all("origin"), Vec::from_iter(opening.origin.as_deref()));
    let offers = head.all("sec-websocket-protocol").join(",");
    let offers: Vec<&str> = offers.split(',').map(naive_head::trimmed).filter(|word| !word.is_empty()).collect();
    assert_eq!(offers, opening.subprotocols);
    assert!(opening.subprotocols.iter().all(|word| naive_head::is_token(word)));
    for absent in ["content-length", "transfer-encoding", "expect", "sec-websocket-key1", "sec-websocket-key2"] {
        assert_eq!(head.all(absent), [""; 0], "{absent}");
    }
    assert!(head.fields.iter().all(|(name, _)| !name.contains('_')));
}

/// A service that decodes, once or twice, and normalizes finds the same path.
fn judge_path(path: &str) {
    let decoded = naive_head::percent_decoded(path.as_bytes());
    let segments: Vec<&[u8]> = decoded.split(|byte| matches!(byte, b'/' | b'\\')).collect();
    assert_eq!(segments.first(), Some(&&b""[..]), "it begins with a slash");
    assert_eq!(segments.len(), path.split('/').count(), "no segment was hidden");
    let inner = &segments[1..segments.len() - 1];
    assert!(inner.iter().all(|segment| !segment.is_empty()), "{path}");
    assert!(segments.iter().all(|segment| *segment != b"." && *segment != b".."), "{path}");
    assert!(str::from_utf8(&decoded).is_ok_and(|text| !text.chars().any(char::is_control)), "{path}");
    assert_eq!(naive_head::percent_decoded(&decoded), decoded, "a second decoding changes it: {path}");
    assert!(!path.contains([';', '?', '#']), "{path}");
}

fn judge_key(key: &str) {
    use base64::Engine as _;
    let standard = base64::engine::general_purpose::STANDARD;
    let bytes = standard.decode(key).unwrap();
    assert_eq!((bytes.len(), standard.encode(&bytes)), (16, key.to_owned()));
}
