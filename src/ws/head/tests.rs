use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 16_384, fields: 64, target: 8_192 };

fn request(head: &[u8]) -> Result<RequestHead, HeadError> {
    parse_request(head, &LIMITS)
}

fn malformed<T>(flaw: Flaw) -> Result<T, HeadError> {
    Err(HeadError::Malformed(flaw))
}

#[test]
fn a_request_head_is_read() {
    let head =
        request(b"GET /chat?a=b HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Pad: \t one  two \t\r\nhost: b\r\n\r\n").unwrap();
    assert_eq!((head.method.as_str(), head.target.as_str()), ("GET", "/chat?a=b"));
    assert_eq!(head.headers.all("host").collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(head.headers.one("host"), Err(Repeated));
    assert_eq!(head.headers.one("x-empty"), Ok(Some("")));
    assert_eq!(head.headers.one("x-pad"), Ok(Some("one  two")));
    assert_eq!(head.headers.one("x-absent"), Ok(None));
    assert_eq!(head.headers.len(), 4);
}

#[test]
fn request_lines_are_strict() {
    let cases: [(&str, &[u8], Result<(), HeadError>); 20] = [
        ("HS02 twin", b"GET / HTTP/1.1", Ok(())),
        ("HS02", b"GET / HTTP/1.0", Err(HeadError::Version)),
        ("HS02", b"GET / HTTP/1.2", Err(HeadError::Version)),
        ("HS02", b"GET / HTTP/2.0", Err(HeadError::Version)),
        ("HS02", b"GET / HTTP/0.9", Err(HeadError::Version)),
        ("HS02", b"GET /", malformed(Flaw::RequestLine)),
        ("HS02", b"GET / http/1.1", malformed(Flaw::RequestLine)),
        ("HS02", b"GET / HTTP/1.10", malformed(Flaw::RequestLine)),
        ("HS02", b"GET / HTTP/11", malformed(Flaw::RequestLine)),
        ("SM15", b"PRI * HTTP/2.0", Err(HeadError::Version)),
        ("SM12", b"GET  / HTTP/1.1", malformed(Flaw::RequestLine)),
        ("SM12", b"GET / HTTP/1.1 ", malformed(Flaw::RequestLine)),
        ("SM12", b"GET\t/ HTTP/1.1", malformed(Flaw::RequestLine)),
        ("SM12", b"G(T / HTTP/1.1", malformed(Flaw::RequestLine)),
        ("SM12", b"GET /\tx HTTP/1.1", malformed(Flaw::RequestLine)),
        ("HS18", b"GET /caf\xc3\xa9 HTTP/1.1", malformed(Flaw::Byte)),
        ("H110", b"\r\nGET / HTTP/1.1", malformed(Flaw::FirstByte)),
        ("H110", b"\x16\x03\x01\x02\x00", malformed(Flaw::FirstByte)),
        ("H110", b" GET / HTTP/1.1", malformed(Flaw::FirstByte)),
        ("HS01 twin", b"get / HTTP/1.1", Ok(())),
    ];
    let mut ran = 0;
    for (id, line, expected) in cases {
        let head = [line, b"\r\nHost: a\r\n\r\n"].concat();
        assert_eq!(request(&head).map(drop), expected, "{id} {}", line.escape_ascii());
        ran += 1;
    }
    assert_eq!(ran, 20);
}

#[test]
fn fields_are_strict() {
    let cases: [(&str, &[u8], Result<(), HeadError>); 20] = [
        ("SM12 twin", b"X-A: b\r\n", Ok(())),
        ("SM12 twin", b"X-A:b\r\n", Ok(())),
        ("SM12", b"X-A : b\r\n", malformed(Flaw::FieldName)),
        ("SM12", b": b\r\n", malformed(Flaw::FieldName)),
        ("SM12", b"X(A: b\r\n", malformed(Flaw::FieldName)),
        ("SM12", b"X-A b\r\n", malformed(Flaw::FieldName)),
        ("SM12", b"X-A: b\r\n c\r\n", malformed(Flaw::Folded)),
        ("OR20", b"X-A: b\r\n\tc\r\n", malformed(Flaw::Folded)),
        ("SM12", b"X-A: b\rc\r\n", malformed(Flaw::LineEnd)),
        ("OR20", b"X-A: b\r\r\n", malformed(Flaw::LineEnd)),
        ("SM13", b"X-A: b\n", malformed(Flaw::LineEnd)),
        ("SM12", b"X-A: b\0c\r\n", malformed(Flaw::Byte)),
        ("OR20", b"X-A: b\x7fc\r\n", malformed(Flaw::Byte)),
        ("OR20", b"X-A: b\x0bc\r\n", malformed(Flaw::Byte)),
        ("H111", b"Connection: \xff\r\n", malformed(Flaw::Byte)),
        ("OR20", b"Origin: https://caf\xc3\xa9.example\r\n", malformed(Flaw::Byte)),
        ("SM12", b"\xc3\xa9: b\r\n", malformed(Flaw::Byte)),
        ("OR20 twin", b"X-A: b\tc\r\n", Ok(())),
        ("ID02 twin", b"X_A: b\r\n", Ok(())),
        ("SM12", b"X-A: b\n\r\n", malformed(Flaw::LineEnd)),
    ];
    let mut ran = 0;
    for (id, field, expected) in cases {
        let head = [b"GET / HTTP/1.1\r\nHost: a\r\n", field, b"\r\n"].concat();
        assert_eq!(request(&head).map(drop), expected, "{id} {}", field.escape_ascii());
        ran += 1;
    }
    assert_eq!(ran, 20);
}

#[test]
fn h104_each_bound_holds_to_the_byte() {
    let of_bytes = |bytes: usize| {
        let frame = "GET / HTTP/1.1\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(bytes.saturating_sub(frame)))
    };
    let of_fields = |fields: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(fields));
    let of_target = |bytes: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(bytes.saturating_sub(1)));
    let cases = [
        (of_bytes(16_384), Ok(())),
        (of_bytes(16_385), Err(HeadError::TooLarge)),
        (of_bytes(300_000), Err(HeadError::TooLarge)),
        (of_fields(64), Ok(())),
        (of_fields(65), Err(HeadError::TooLarge)),
        (of_target(8_192), Ok(())),
        (of_target(8_193), Err(HeadError::TargetTooLong)),
        (of_target(65_000), Err(HeadError::TargetTooLong)),
    ];
    for (head, expected) in cases {
        assert_eq!(request(head.as_bytes()).map(drop), expected, "{} bytes", head.len());
    }
}

#[test]
fn a_bad_head_is_refused_before_its_end() {
    let endless_target = format!("GET /{}", "a".repeat(8_192));
    let endless_method = "A".repeat(16_385);
    let cases: [(&[u8], HeadError); 6] = [
        (b"\r", HeadError::Malformed(Flaw::FirstByte)),
        (b"GET / HTTP/1.1\n", HeadError::Malformed(Flaw::LineEnd)),
        (b"GET / HTTP/1.1\r\nX\0", HeadError::Malformed(Flaw::Byte)),
        (b"GET / HTTP/1.1\r\n ", HeadError::Malformed(Flaw::Folded)),
        (endless_target.as_bytes(), HeadError::TargetTooLong),
        (endless_method.as_bytes(), HeadError::TooLarge),
    ];
    for (bytes, expected) in cases {
        let (last, before) = bytes.split_last().unwrap();
        let mut scanner = HeadScanner::new(LIMITS);
        assert_eq!(scanner.scan(before), Ok(None), "the byte before the flaw passes: {}", last.escape_ascii());
        assert_eq!(scanner.scan(bytes), Err(expected));
    }
}

#[test]
fn what_comes_after_the_head_is_not_looked_at() {
    let mut scanner = HeadScanner::new(LIMITS);
    assert_eq!(scanner.scan(b"GET / HTTP/1.1\r\n\r\n\0\n"), Ok(Some(18)));
    assert_eq!(scanner.scan(b"GET / HTTP/1.1\r\n\r\n\0\n\xff"), Ok(Some(18)));
    assert_eq!(request(b"GET / HTTP/1.1\r\n\r\nx"), malformed(Flaw::Length));
    assert_eq!(request(b"GET / HTTP/1.1\r\n"), malformed(Flaw::Length));
    assert_eq!(request(b""), malformed(Flaw::Length));
}

#[test]
fn response_heads_are_strict() {
    let cases: [(&[u8], Result<u16, HeadError>); 11] = [
        (b"HTTP/1.1 101 Switching Protocols", Ok(101)),
        (b"HTTP/1.1 403 ", Ok(403)),
        (b"HTTP/1.1 403", malformed(Flaw::StatusLine)),
        (b"HTTP/1.0 101 Switching Protocols", Err(HeadError::Version)),
        (b"HTTP/2.0 101 Switching Protocols", Err(HeadError::Version)),
        (b"HTTP/1.1 1010 x", malformed(Flaw::StatusLine)),
        (b"HTTP/1.1 10 x", malformed(Flaw::StatusLine)),
        (b"HTTP/1.1 +10 x", malformed(Flaw::StatusLine)),
        (b"HTTP/1.1 099 x", malformed(Flaw::StatusLine)),
        (b"HTTP/1.1  101 x", malformed(Flaw::StatusLine)),
        (b"ICY 200 OK", malformed(Flaw::StatusLine)),
    ];
    for (line, expected) in cases {
        let head = [line, b"\r\nServer: a\r\n\r\n"].concat();
        let status = parse_response(&head, &LIMITS).map(|head| head.status);
        assert_eq!(status, expected, "{}", line.escape_ascii());
    }
}

/// Bytes that are near a head, so that generated inputs reach every place.
fn near_heads() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"GET / HTTP/1.1\r\n".to_vec()),
        Just(b"GET /a?b=%20 HTTP/1.1\r\n".to_vec()),
        Just(b"Host: a\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        "[!-~]{1,9}: [ -~]{0,12}\r\n".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_what_passes_httparse_reads_alike(head in near_heads()) {
        if let Ok(ours) = request(&head) {
            let mut slots = [httparse::EMPTY_HEADER; 64];
            let mut theirs = httparse::Request::new(&mut slots);
            prop_assert_eq!(theirs.parse(&head), Ok(httparse::Status::Complete(head.len())));
            prop_assert_eq!(theirs.method, Some(ours.method.as_str()));
            prop_assert_eq!(theirs.path, Some(ours.target.as_str()));
            let theirs: Vec<_> = theirs.headers.iter().map(|field| (field.name.to_ascii_lowercase(), field.value)).collect();
            let ours: Vec<_> = ours.headers.iter().map(|field| (field.name.clone(), field.value.as_bytes())).collect();
            prop_assert_eq!(ours, theirs);
        }
        let _ = parse_response(&head, &LIMITS);
    }

    #[test]
    fn h105_a_verdict_does_not_depend_on_chunks(head in near_heads(), cuts in proptest::collection::vec(0_usize..200, 0..6)) {
        let tight = HeadLimits { bytes: 64, fields: 3, target: 8 };
        let whole = HeadScanner::new(tight).scan(&head);
        let mut ends: Vec<usize> = cuts.into_iter().filter(|cut| *cut < head.len()).chain([head.len()]).collect();
        ends.sort_unstable();
        let mut scanner = HeadScanner::new(tight);
        let chunked = ends.into_iter().map(|end| scanner.scan(&head[..end])).find(|step| *step != Ok(None));
        prop_assert_eq!(chunked.unwrap_or(Ok(None)), whole);
    }
}

#[test]
fn h105_a_byte_is_looked_at_once() {
    let head = b"GET /chat HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut scanner = HeadScanner::new(LIMITS);
    for end in 1..head.len() {
        // What was seen before is noise by now: whoever looks again is misled.
        let mut received = vec![0; end];
        received[end - 1] = head[end - 1];
        assert_eq!(scanner.scan(&received), Ok(None), "{end} bytes");
    }
    assert_eq!(scanner.scan(head), Ok(Some(head.len())));
}
