use super::*;
use crate::audit::frame::masked;

#[test]
fn frames_are_told_apart_masked_or_not_and_unfinished() {
    let honest = masked(FIN | opcode::TEXT, b"word");
    let foul = bare(FIN | 0x0b, b"bare");
    let begun = &masked(FIN | opcode::BINARY, &[7; 300])[..9];
    let received = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(), &honest, &foul, begun].concat();
    let sent = Contact { received, ended: false }.frames();
    let frame = |first, payload: &[u8]| Frame { first, payload: payload.to_vec() };
    assert_eq!(sent.frames, [frame(0x81, b"word"), frame(0x8b, b"bare")]);
    assert_eq!((sent.unmasked, sent.unfinished.len()), (1, 9));
}

fn handshake(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n")
}

/// The status of the answer to a request.
async fn asked(canary: &Canary, request: &str) -> String {
    let mut stream = TcpStream::connect(canary.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8(answer.into()).unwrap()
}

#[tokio::test]
async fn who_calls_without_the_watchword_neither_counts_nor_is_lied_to() {
    let canary = Canary::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    canary.answers(Manner::Says(String::from("HTTP/1.1 403 Forbidden\r\n\r\n")));
    let mark = canary.mark();
    // A health check without a byte, and one by a handshake.
    drop(TcpStream::connect(canary.address()).await.unwrap());
    assert_eq!(asked(&canary, &handshake("/chat")).await, "HTTP/1.1 101");
    assert_eq!((canary.since(mark).await.len(), canary.since_of_anybody(mark).await.len()), (0, 2));
    for _ in 0..2 {
        assert_eq!(asked(&canary, &handshake("/chat?wsgate-audit")).await, "HTTP/1.1 403");
    }
    assert_eq!(asked(&canary, &handshake("/chat")).await, "HTTP/1.1 101");
    assert_eq!(canary.since(mark).await.len(), 2);
    assert_eq!(canary.since(canary.mark_of_last()).await.len(), 1);
    canary.honest();
    assert_eq!(asked(&canary, &handshake("/chat?wsgate-audit")).await, "HTTP/1.1 101");
    canary.listens_to(Callers::Everybody);
    assert_eq!(canary.since(mark).await.len(), 6);
}

#[test]
fn what_is_remembered_is_bounded_one_by_one_and_in_all() {
    let mut seen = Seen::default();
    let bytes = vec![b'x'; MOST_BYTES + 1];
    let whole = MOST_BYTES_IN_ALL / MOST_BYTES;
    for number in 0..=whole {
        assert_eq!(seen.enter(), number);
        seen.remember(number, &bytes);
    }
    assert_eq!((seen.forgotten, seen.contacts.len(), seen.remembered), (1, whole, MOST_BYTES_IN_ALL));
    seen.remember(0, b"of one that is forgotten");
    assert_eq!(seen.remembered, MOST_BYTES_IN_ALL);
    let kept = seen.contacts.iter().map(|contact| contact.received.len()).sum::<usize>();
    assert_eq!(kept, MOST_BYTES_IN_ALL);
    for _ in 0..2 * MOST_CONTACTS {
        seen.enter();
    }
    assert_eq!((seen.contacts.len(), seen.remembered), (MOST_CONTACTS, 0));
}
