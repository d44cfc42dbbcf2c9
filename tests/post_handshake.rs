//! What TLS says of itself behind its handshake: key updates and tickets, in any pieces, with traffic the other way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use support::endpoint::switching;
use support::frames::{BINARY, FIN, TEXT, bare, masked, noise};
use support::{Cases, Endpoint, Ends, Transport, cases};

/// A TLS 1.3 record of a KeyUpdate: a header of 5 bytes, a message of 5, its type, and a tag of 16.
const KEY_UPDATE: usize = 5 + 5 + 1 + 16;

/// Sends a frame and takes it at the other end.
async fn passes(from: &mut Endpoint, to: &mut Endpoint, frame: &[u8], what: &str) {
    from.send(frame).await;
    assert!(to.take(frame.len()).await == frame, "{what}");
}

/// Changes the keys of one end with a request to answer, cut at every place, while messages go the other way: with the
/// first piece kept, and behind the second.
async fn key_updates_in_pieces(turning: &mut Endpoint, other: &mut Endpoint, to: [&[u8]; 2], from: &[u8]) -> usize {
    for at in 1..KEY_UPDATE {
        turning.connection().refresh_traffic_keys().unwrap();
        let update = turning.unsent();
        assert_eq!(update.len(), KEY_UPDATE);
        turning.put(&update[..at]).await;
        turning.is_read().await;
        for message in to {
            passes(other, turning, message, "toward the end that turns its keys, with a piece of an update kept").await;
        }
        turning.put(&update[at..]).await;
        turning.is_read().await;
        let before = turning.received();
        passes(other, turning, to[0], "toward the end that turned its keys").await;
        let carried = turning.received() - before;
        assert!(carried >= to[0].len() + 22 + KEY_UPDATE, "cut at {at}: {carried} bytes, no update in answer");
        passes(turning, other, from, "from the end that turned its keys").await;
    }
    KEY_UPDATE - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_update_may_come_in_any_pieces_and_is_answered() {
    let long = noise(100_000, 1);
    let (up, down) = (masked(FIN | TEXT, b"up"), bare(FIN | TEXT, b"down"));
    let (long_up, long_down) = (masked(FIN | BINARY, &long), bare(FIN | BINARY, &long));
    let mut cases = Cases::of("key updates");
    let ends = Ends::over(Transport::Tls13, Transport::Tls13).await;
    let (mut client, mut service) = ends.session().await;
    let ran = key_updates_in_pieces(&mut client, &mut service, [&down, &long_down], &up).await;
    cases.held("TL06", &format!("of a client, cut at {ran} places"));
    let ran = key_updates_in_pieces(&mut service, &mut client, [&up, &long_up], &down).await;
    cases.held("TL06", &format!("of a backend, cut at {ran} places"));
    drop((client, service));
    ends.house.is_at_rest().await;
    cases.all(2);
}

/// Key updates at both ends, each in front of a message, while the other end does the same.
#[tokio::test(flavor = "multi_thread")]
async fn keys_may_turn_at_both_ends_at_once() {
    let ends = Ends::over(Transport::Tls13, Transport::Tls13).await;
    let (mut client, mut service) = ends.session().await;
    let (up, down) = (masked(FIN | BINARY, &noise(70_000, 2)), bare(FIN | BINARY, &noise(70_000, 3)));
    let turned = |endpoint: &mut Endpoint, frame: &[u8]| {
        let rounds = (0..40).map(|_| {
            endpoint.connection().refresh_traffic_keys().unwrap();
            (endpoint.seal(frame), support::endpoint::Wait::No)
        });
        rounds.collect::<Vec<_>>()
    };
    let (sent_up, sent_down) = (turned(&mut client, &up), turned(&mut service, &down));
    let (got_down, got_up) = tokio::join!(
        client.exchange(&sent_up, down.len() * 40), //
        service.exchange(&sent_down, up.len() * 40)
    );
    assert!(got_up == up.repeat(40) && got_down == down.repeat(40));
    passes(&mut client, &mut service, &up, "behind them").await;
    passes(&mut service, &mut client, &down, "behind them").await;
    cases::held("TL06", "forty at each end, a message between any two");
}

/// The tickets of a backend are cut at every place; the request of the gateway passes them on its way.
#[tokio::test(flavor = "multi_thread")]
async fn tickets_of_a_backend_may_come_in_any_pieces() {
    let ends = Ends::over(Transport::Plain, Transport::Tls13).await;
    let mut ran = 0;
    for at in 1.. {
        let mut client = ends.client().await;
        client.send(&ends.request().bytes()).await;
        let (mut service, mut tickets) = ends.behind().accept_but_last_flight().await;
        if at >= tickets.len() {
            break;
        }
        let rest = tickets.split_off(at);
        service.put(&tickets).await;
        service.is_read().await;
        let head = service.head().await;
        service.put(&rest).await;
        service.send(&switching(&head)).await;
        client.head().await;
        passes(&mut client, &mut service, &masked(FIN | TEXT, b"up"), "to a backend with tickets").await;
        passes(&mut service, &mut client, &bare(FIN | TEXT, b"down"), "from a backend with tickets").await;
        ran += 1;
    }
    assert!(ran > 50, "{ran} cuts");
    cases::held("TL03", "tickets of a backend");
}
