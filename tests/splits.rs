//! Bytes that are cut at every place: what comes out is what went in, in order, wherever the cut lies.
//!
//! A cut lies between two TCP segments, of which the second is sent when the gateway has read the first; over TLS either
//! between two records or inside of one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use std::net::SocketAddr;

use support::backend::Seen;
use support::endpoint::switching;
use support::frames::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, bare, close_body, masked, noise};
use support::queues::{Queues, queues};
use support::{Cases, End, Endpoint, Ends, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Who sends what is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Client,
    Backend,
}

impl Sender {
    const BOTH: [Self; 2] = [Self::Client, Self::Backend];

    /// A frame as it sends it.
    fn frame(self, first: u8, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::Client => masked(first, payload),
            Self::Backend => bare(first, payload),
        }
    }

    /// The ends of a session, the sender's first.
    async fn session(self, ends: &Ends) -> (Endpoint, Endpoint) {
        let (client, service) = ends.session().await;
        match self {
            Self::Client => (client, service),
            Self::Backend => (service, client),
        }
    }
}

/// Where a cut lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Between two TLS records; without TLS, between two bytes.
    Record,
    /// Inside a TLS record.
    Segment,
}

/// What a session goes over on both sides, and where its bytes are cut.
const WAYS: [(Transport, Cut); 5] = [
    (Transport::Plain, Cut::Record),
    (Transport::Tls13, Cut::Record),
    (Transport::Tls13, Cut::Segment),
    (Transport::Tls12, Cut::Record),
    (Transport::Tls12, Cut::Segment),
];

/// In how many pieces bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pieces {
    /// They end before the place of the cut.
    One,
    /// They were cut.
    Two,
}

/// Sends `bytes` cut at `at`, what is behind it when the gateway has read what is in front.
async fn cut_at(at: usize, from: &mut Endpoint, cut: Cut, bytes: &[u8]) -> Pieces {
    let [first, second] = match cut {
        Cut::Record => {
            let (first, second) = bytes.split_at(at.min(bytes.len()));
            [from.seal(first), from.seal(second)]
        }
        Cut::Segment => {
            let mut wire = from.seal(bytes);
            let second = wire.split_off(at.min(wire.len()));
            [wire, second]
        }
    };
    from.put(&first).await;
    from.is_read().await;
    from.put(&second).await;
    if second.is_empty() { Pieces::One } else { Pieces::Two }
}

/// A frame of every shape but the longest and Close.
fn shapes(sender: Sender) -> Vec<u8> {
    let crab = "grün 🦀".as_bytes();
    [
        sender.frame(FIN | TEXT, b""),
        sender.frame(FIN | BINARY, b"\0"),
        sender.frame(FIN | PING, b"are you there"),
        sender.frame(TEXT, &crab[..3]),
        sender.frame(FIN | PING, b""),
        sender.frame(CONTINUATION, b""),
        sender.frame(CONTINUATION, &crab[3..8]),
        sender.frame(FIN | PONG, b"unasked"),
        sender.frame(FIN | CONTINUATION, &crab[8..]),
        sender.frame(FIN | BINARY, &[0x5a; 126]),
        sender.frame(FIN | TEXT, crab),
    ]
    .concat()
}

/// A frame longer than any read of the gateway.
fn long(sender: Sender) -> Vec<u8> {
    sender.frame(FIN | BINARY, &noise(65_536, 1))
}

/// Over each way and in each direction: `frames` cut at each of `places`, one after the other in one session.
async fn arrive(ways: &[(Transport, Cut)], frames: fn(Sender) -> Vec<u8>, places: fn(usize) -> Vec<usize>) {
    let mut cases = Cases::of("frames");
    for &(transport, cut) in ways {
        let ends = Ends::over(transport, transport).await;
        for sender in Sender::BOTH {
            let (mut from, mut to) = sender.session(&ends).await;
            let frames = frames(sender);
            let mut ran = 0;
            for at in places(frames.len()) {
                let pieces = cut_at(at, &mut from, cut, &frames).await;
                assert!(to.take(frames.len()).await == frames, "{transport:?} {cut:?} {sender:?}, cut at {at}");
                ran += usize::from(pieces == Pieces::Two);
            }
            assert!(ran > 150, "{ran} cuts");
            cases.held("FR22", &format!("{transport:?} {cut:?} {sender:?}: {ran} cuts"));
        }
        ends.house.is_at_rest().await;
    }
    cases.all(ways.len() * Sender::BOTH.len());
}

/// Every place in bytes of this length, and in the TLS records that hold them.
fn every(length: usize) -> Vec<usize> {
    (1..length + 30).collect()
}

/// The places where something may be: in the header, around every bound of a TLS record, at the end.
fn near_bounds(length: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (1..50).chain((50..length).step_by(4099)).chain(length - 20..length + 30).collect();
    for record in [16_384, 16_384 + 22, 16_384 + 29] {
        places.extend((1..5).flat_map(|count| record * count - 8..record * count + 8));
    }
    places.retain(|place| *place < length + 130);
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_may_be_cut_anywhere() {
    arrive(&WAYS[..3], shapes, every).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_may_be_cut_anywhere_over_tls_1_2() {
    arrive(&WAYS[3..], shapes, every).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_of_many_records_may_be_cut_anywhere() {
    arrive(&WAYS, long, near_bounds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_may_be_cut_anywhere() {
    let body = close_body(4321, "auf später");
    let mut cases = Cases::of("closes");
    for (transport, cut) in &WAYS[..3] {
        let ends = Ends::over(*transport, *transport).await;
        for (sender, other) in [(Sender::Client, Sender::Backend), (Sender::Backend, Sender::Client)] {
            let [close, answer] = [sender, other].map(|side| side.frame(FIN | CLOSE, &body));
            for at in 1.. {
                let name = format!("{transport:?} {cut:?} {sender:?}, cut at {at}");
                let (mut from, mut to) = sender.session(&ends).await;
                if cut_at(at, &mut from, *cut, &close).await == Pieces::One {
                    assert!(at >= close.len(), "{name} and no further");
                    break;
                }
                assert_eq!(to.take(close.len()).await, close, "{name}");
                to.send(&answer).await;
                assert_eq!(from.rest().await, (answer.clone(), End::Clean), "{name}");
                assert_eq!(to.rest().await, (Vec::new(), End::Clean), "{name}");
            }
            cases.held("FR22", &format!("{transport:?} {cut:?} {sender:?}"));
        }
        ends.house.is_at_rest().await;
    }
    cases.all(6);
}

/// What a backend is told, less what differs from handshake to handshake.
fn told(head: Vec<u8>) -> (String, Vec<(String, String)>) {
    let request = Seen { head, ..Seen::default() }.request();
    let mut headers = request.headers;
    for (name, value) in &mut headers {
        if ["sec-websocket-key", "x-request-id", "x-wsgate-session-until"].contains(&name.as_str()) {
            value.clear();
        }
    }
    (request.line, headers)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_be_cut_anywhere() {
    let word = masked(FIN | TEXT, b"word");
    let mut cases = Cases::of("requests");
    for (transport, cut) in &WAYS[..3] {
        let ends = Ends::over(*transport, Transport::Plain).await;
        let request = ends.request().bytes();
        let mut whole = None;
        for at in 1.. {
            let mut client = ends.client().await;
            if cut_at(at, &mut client, *cut, &request).await == Pieces::One {
                assert!(at >= request.len(), "{transport:?} {cut:?} at {at} and no further");
                break;
            }
            let mut service = ends.service().await;
            let head = service.head().await;
            service.send(&switching(&head)).await;
            let both = (told(head), client.head().await);
            assert_eq!(whole.get_or_insert_with(|| both.clone()), &both, "{transport:?} {cut:?} at {at}");
            client.send(&word).await;
            assert_eq!(service.take(word.len()).await, word, "{transport:?} {cut:?} at {at}");
        }
        cases.held("FR22", &format!("a head: {transport:?} {cut:?}"));
    }
    cases.all(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_101_and_what_is_glued_to_it_may_be_cut_anywhere() {
    let glued = [bare(FIN | TEXT, b"first"), bare(BINARY, &[1; 130]), bare(FIN | CONTINUATION, b"last")].concat();
    let mut cases = Cases::of("101s");
    for (transport, cut) in &WAYS[..3] {
        let ends = Ends::over(Transport::Plain, *transport).await;
        let mut whole = None;
        for at in 1.. {
            let (mut client, mut service) = ends.asked().await;
            let answer = [switching(&service.head().await), glued.clone()].concat();
            if cut_at(at, &mut service, *cut, &answer).await == Pieces::One {
                assert!(at >= answer.len(), "{transport:?} {cut:?} at {at} and no further");
                break;
            }
            let head = client.head().await;
            assert_eq!(whole.get_or_insert_with(|| head.clone()), &head, "{transport:?} {cut:?} at {at}");
            assert_eq!(client.take(glued.len()).await, glued, "{transport:?} {cut:?} at {at}");
        }
        cases.held("BE04", &format!("{transport:?} {cut:?}"));
    }
    cases.all(3);
}

/// What the cuts stand on: bytes that nobody read are seen, and seen to go.
#[tokio::test]
async fn what_was_not_read_is_seen() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut here = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut there, _) = listener.accept().await.unwrap();
    let (address, peer) = (there.local_addr().unwrap(), there.peer_addr().unwrap());
    here.write_all(b"hello").await.unwrap();
    support::eventually("five bytes wait", || queues(address, peer).is_some_and(|queues| queues.unread == 5)).await;
    there.read_exact(&mut [0; 5]).await.unwrap();
    assert_eq!(queues(address, peer), Some(Queues { unread: 0, unsent: 0 }));
    drop(here);
    assert_eq!(queues(peer, SocketAddr::from(([127, 0, 0, 1], 1))), None, "a connection that is not there");
}
