use super::*;
use crate::audit::frame::masked;

#[test]
fn frames_are_told_apart_masked_or_not_and_unfinished() {
    let honest = masked(FIN | opcode::TEXT, b"word");
    let foul = bare(FIN | 0x0b, b"bare");
    let begun = &masked(FIN | opcode::BINARY, &[7; 300])[..9];
    let received = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(), &honest, &foul, begun].concat();
    let sent = Contact { received, ..Contact::default() }.frames();
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
    assert_eq!((canary.since(mark).await.len(), canary.since_of_anybody(mark).await.len()), (0, 1));
    for _ in 0..2 {
        assert_eq!(asked(&canary, &handshake("/chat?wsgate-audit")).await, "HTTP/1.1 403");
    }
    assert_eq!(asked(&canary, &handshake("/chat")).await, "HTTP/1.1 101");
    assert_eq!(canary.since(mark).await.len(), 2);
    assert_eq!(canary.since(canary.mark_of_last()).await.len(), 1);
    canary.honest();
    assert_eq!(asked(&canary, &handshake("/chat?wsgate-audit")).await, "HTTP/1.1 101");
    canary.listens_to(Callers::Everybody);
    assert_eq!(canary.since(mark).await.len(), 5, "whoever sent a byte");
}

#[tokio::test]
async fn among_everybodys_calls_the_last_handshake_is_known() {
    let canary = Canary::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    canary.listens_to(Callers::Everybody);
    assert_eq!(asked(&canary, &handshake("/chat")).await, "HTTP/1.1 101");
    for check in ["GET /health HTTP/1.1\r\nHost: a\r\n\r\n", ""] {
        let mut stream = TcpStream::connect(canary.address()).await.unwrap();
        stream.write_all(check.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    }
    assert_eq!((canary.mark(), canary.mark_of_last()), (3, 0));
    let seen = canary.since(canary.mark_of_last()).await;
    assert!(seen.len() == 2 && seen[0].is_handshake(), "{seen:?}");
}

#[tokio::test]
async fn what_is_on_its_way_is_waited_for_as_long_as_a_good_handshake_took() {
    let canary = Canary::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let target = handshake("/chat?wsgate-audit");
    let usual = || lock(&canary.seen).usual;
    let mark = canary.mark();
    canary.learn(mark, Instant::now());
    assert_eq!(usual(), Duration::ZERO, "nothing came");
    let sent = Instant::now() - Duration::from_millis(600);
    asked(&canary, &target).await;
    canary.learn(mark, sent);
    assert!(usual() >= Duration::from_millis(600), "{:?}", usual());

    let mark = canary.mark();
    let late = async {
        sleep(Duration::from_millis(200)).await;
        asked(&canary, &target).await
    };
    let (seen, _) = tokio::join!(canary.since(mark), late);
    assert_eq!(seen.len(), 1, "what comes late is not charged to what follows");

    canary.learn(mark, sent - Duration::from_secs(3600));
    let began = Instant::now();
    canary.since(canary.mark()).await;
    assert!(began.elapsed() < Duration::from_secs(30), "the wait is bounded");
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
