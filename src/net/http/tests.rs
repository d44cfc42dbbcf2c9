use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::ws::opening::{WebSocketKey, answer_101, judge_request};

const LIMITS: HeadLimits = HeadLimits { bytes: 16_384, fields: 64, target: 8_192 };
const HEAD: &[u8] = b"GET /chat HTTP/1.1\r\nHost: chat.example.com\r\n\r\n";
const ID: [u8; 16] = [0xab; 16];
const ID_TEXT: &str = "abababababababababababababababab";

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn response(refusal: &Refusal, security: TransportSecurity, random: u32) -> Option<String> {
    let bytes = refusal_response(refusal, ConnectionId::from_bytes(ID), security, random)?;
    Some(String::from_utf8(bytes).unwrap())
}

async fn send(mut stream: DuplexStream, chunks: Vec<Vec<u8>>, then_end: bool) -> DuplexStream {
    for chunk in chunks {
        if stream.write_all(&chunk).await.is_err() {
            return stream;
        }
        tokio::task::yield_now().await;
    }
    if then_end {
        stream.shutdown().await.unwrap();
    }
    stream
}

/// What `read_head` makes of these chunks and a deadline of ten seconds.
async fn read(chunks: Vec<Vec<u8>>, then_end: bool) -> Result<HeadRead, Refusal> {
    let (client, mut gateway) = duplex(4096);
    let deadline = soon();
    let (read, _client) = tokio::join!(
        async {
            let read = read_head(&mut gateway, &LIMITS, deadline).await;
            drop(gateway);
            read
        },
        send(client, chunks, then_end)
    );
    read
}

#[tokio::test(start_paused = true)]
async fn a_head_is_read_however_it_is_chunked() {
    for size in [1, 2, 7, 1024, 4096] {
        let chunks = HEAD.chunks(size).map(<[u8]>::to_vec).collect();
        let read = read(chunks, false).await.unwrap();
        assert_eq!((read.head.target.as_str(), read.rest.len()), ("/chat", 0), "H105 in chunks of {size}");
    }
}

#[tokio::test(start_paused = true)]
async fn sm05_what_comes_with_the_head_is_handed_on() {
    let read = read(vec![[HEAD, b"\x81\x85early"].concat()], false).await.unwrap();
    assert_eq!(read.rest, b"\x81\x85early");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_is_refused() {
    let large = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 300_000]].concat();
    let long = [b"GET /".to_vec(), vec![b'a'; 65_000]].concat();
    let cases: [(&str, Vec<Vec<u8>>, bool, Reason); 9] = [
        ("H101", vec![], false, Reason::HeadTimeout),
        ("H101", vec![HEAD[..20].to_vec()], false, Reason::HeadTimeout),
        ("H108", vec![], true, Reason::HeadIncomplete),
        ("H108", vec![HEAD[..20].to_vec()], true, Reason::HeadIncomplete),
        ("H104", vec![large], false, Reason::HeadTooLarge),
        ("H104", vec![long], false, Reason::TargetTooLong),
        ("SM13", vec![b"GET / HTTP/1.1\n".to_vec()], false, Reason::HeadMalformed),
        ("H110", vec![b"\x16\x03\x01".to_vec()], false, Reason::HeadMalformed),
        ("HS02", vec![b"GET / HTTP/1.0\r\n\r\n".to_vec()], false, Reason::HttpVersion),
    ];
    for (id, chunks, then_end, expected) in cases {
        let refusal = read(chunks, then_end).await.unwrap_err();
        assert_eq!(refusal.reason, expected, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn h101_bytes_do_not_move_the_deadline() {
    let (mut client, mut gateway) = duplex(64);
    let deadline = soon();
    let drip = async {
        for byte in HEAD {
            tokio::time::advance(Duration::from_secs(1)).await;
            if client.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    };
    let (read, ()) = tokio::join!(
        async {
            let read = read_head(&mut gateway, &LIMITS, deadline).await;
            drop(gateway);
            read
        },
        drip
    );
    assert_eq!(read.unwrap_err().reason, Reason::HeadTimeout);
}

#[tokio::test(start_paused = true)]
async fn not_a_byte_is_read_beyond_the_limit() {
    let (mut client, mut gateway) = duplex(65_536);
    client.write_all(&vec![b'A'; 40_000]).await.unwrap();
    drop(client);
    let refusal = read_head(&mut gateway, &LIMITS, soon()).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::HeadTooLarge);
    let mut left = Vec::new();
    gateway.read_to_end(&mut left).await.unwrap();
    assert_eq!(left.len(), 40_000 - (LIMITS.bytes + 1));
}

#[tokio::test(start_paused = true)]
async fn a_backend_answer_is_read_and_its_failures_are_named() {
    let answer = answer_101(&WebSocketKey::generate([1; 16]), None, None);
    let cases: [(Vec<u8>, bool, Result<u16, Reason>); 7] = [
        ([answer.as_slice(), b"\x81\x02hi"].concat(), false, Ok(101)),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec(), false, Ok(103)),
        (vec![], false, Err(Reason::BackendHandshakeTimeout)),
        (vec![], true, Err(Reason::BackendClosed)),
        (b"HTTP/1.1 101 ".to_vec(), true, Err(Reason::BackendClosed)),
        (b"HTTP/1.0 101 Switching Protocols\r\n\r\n".to_vec(), false, Err(Reason::BackendHandshakeInvalid)),
        (b"SSH-2.0-x\r\n\r\n".to_vec(), false, Err(Reason::BackendHandshakeInvalid)),
    ];
    for (bytes, then_end, expected) in cases {
        let (backend, mut gateway) = duplex(4096);
        let _backend = send(backend, vec![bytes.clone()], then_end).await;
        let read = read_response_head(&mut gateway, &LIMITS, soon()).await;
        if let Ok((head, rest)) = &read {
            assert_eq!(rest.as_slice(), if head.status == 101 { b"\x81\x02hi".as_slice() } else { b"" });
        }
        let verdict = read.map(|(head, _)| head.status).map_err(|refusal| refusal.reason);
        assert_eq!(verdict, expected, "SM17 {}", bytes.escape_ascii());
    }
}

#[test]
fn a_refusal_is_these_bytes() {
    let refusal = Refusal::new(Reason::OriginNotAllowed).with_detail("https://evil.example");
    let expected = format!(
        "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: 43\r\nCache-Control: no-store\r\n\r\nforbidden {ID_TEXT}\n"
    );
    assert_eq!(response(&refusal, TransportSecurity::Plain, 0), Some(expected));
}

#[test]
fn every_reason_is_answered_by_its_status() {
    let mut answered = 0;
    for reason in Reason::ALL.iter().copied() {
        let refusal = Refusal::new(reason).with_detail("https://evil.example");
        let text = response(&refusal, TransportSecurity::Tls, 3);
        let Answer::Status(status) = reason.answer() else {
            assert_eq!(text, None);
            continue;
        };
        let text = text.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        assert_eq!(status == 500, body.starts_with("internal "), "{status} has words of its own");
        assert!(body.ends_with(&format!(" {ID_TEXT}\n")));
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(head.contains("\r\nStrict-Transport-Security: max-age=63072000"), "TL17");
        for absent in ["evil", "Access-Control", "Server:", "Date:", "Transfer-Encoding"] {
            assert!(!text.contains(absent), "OR28 {text}");
        }
        let extras = [
            ("Allow: ", &[405][..]),
            ("Upgrade: websocket\r\nSec-WebSocket-Version: 13", &[426]),
            ("WWW-Authenticate: Bearer", &[401]),
            ("Retry-After: ", &[429, 503]),
        ];
        for (extra, statuses) in extras {
            assert_eq!(head.contains(extra), statuses.contains(&status), "{status} {extra}");
        }
        let is_of_calls = reason == Reason::CallMethod;
        assert_eq!(head.contains("Allow: POST, OPTIONS"), is_of_calls, "{reason:?}");
        answered += 1;
    }
    assert!(answered > 50, "{answered}");
}

#[test]
fn retry_after_is_whole_seconds_and_spread() {
    let cases = [
        (None, 0, 1),
        (None, 4, 5),
        (None, 5, 1),
        (Some(Duration::ZERO), 9, 1),
        (Some(Duration::from_millis(1)), 9, 1),
        (Some(Duration::from_millis(1_001)), 0, 2),
        (Some(Duration::from_millis(1_001)), 1, 3),
        (Some(Duration::from_secs(60)), 30, 90),
        (Some(Duration::from_secs(60)), 31, 60),
        (Some(Duration::MAX), u32::MAX, u64::MAX),
    ];
    for (wait, random, expected) in cases {
        assert_eq!(retry_after_seconds(wait, random), expected, "{wait:?} {random}");
    }
}

#[tokio::test(start_paused = true)]
async fn h107_a_client_that_is_still_sending_reads_the_answer() {
    let (mut client, mut gateway) = duplex(1024);
    let slots = Semaphore::new(1);
    let refusal = Refusal::new(Reason::OriginMissing);
    let began = Instant::now();
    let (answer, ()) = tokio::join!(
        async {
            client.write_all(&[0; 60_000]).await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(began.elapsed(), Duration::ZERO, "our side ends before the lingering does");
            client.shutdown().await.unwrap();
            answer
        },
        async {
            refuse(&mut gateway, &refusal, ConnectionId::from_bytes(ID), TransportSecurity::Plain, 0, &slots).await;
            drop(gateway);
        }
    );
    assert!(answer.starts_with(b"HTTP/1.1 403 Forbidden\r\n"));
    assert_eq!(slots.available_permits(), 1);
}

/// How long `refuse` takes with a client that neither ends nor, where `room` is small, reads.
async fn refusal_takes(reason: Reason, room: usize, slots: usize) -> Duration {
    let (_client, mut gateway) = duplex(room);
    let began = Instant::now();
    let slots = Semaphore::new(slots);
    let refusal = Refusal::new(reason);
    refuse(&mut gateway, &refusal, ConnectionId::from_bytes(ID), TransportSecurity::Plain, 0, &slots).await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_cannot_hold_the_gateway() {
    let cases = [
        ("H107 lingers", Reason::OriginMissing, 1024, 1, LINGER_DEADLINE),
        ("no slot is free", Reason::OriginMissing, 1024, 0, Duration::ZERO),
        ("H106 never reads", Reason::OriginMissing, 8, 1, WRITE_DEADLINE),
        ("answered by nothing", Reason::AddressPending, 1024, 1, Duration::ZERO),
    ];
    for (case, reason, room, slots, expected) in cases {
        let took = refusal_takes(reason, room, slots).await;
        assert!(took >= expected && took < expected + Duration::from_millis(10), "{case}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn lingering_is_bounded_in_bytes() {
    let (client, mut gateway) = duplex(200_000);
    let mut client = client;
    client.write_all(&[0; 150_000]).await.unwrap();
    let refusal = Refusal::new(Reason::OriginMissing);
    let slots = Semaphore::new(1);
    refuse(&mut gateway, &refusal, ConnectionId::from_bytes(ID), TransportSecurity::Plain, 0, &slots).await;
    drop(client);
    let mut left = Vec::new();
    gateway.read_to_end(&mut left).await.unwrap();
    assert_eq!(left.len() as u64, 150_000 - LINGER_BYTES);
}

#[tokio::test(start_paused = true)]
async fn what_is_read_is_judged_by_the_same_hands() {
    let read = read(vec![HEAD.to_vec()], false).await.unwrap();
    let refusal = Refusal::from(judge_request(read.head).unwrap_err());
    assert_eq!(refusal.reason, Reason::UpgradeMissing);
}
