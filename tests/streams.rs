//! Both directions at once: each side gets what the other sent, whatever it is and however it is cut.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use aws_lc_rs::digest::{SHA256, digest};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::endpoint::Wait;
use support::frames::{BINARY, CONTINUATION, FIN, PING, PONG, TEXT, bare, masked, noise};
use support::{Cases, Endpoint, Ends, Transport, cases};

/// What the client's side and the backend's side of a session go over.
const WAYS: [(Transport, Transport); 4] = [
    (Transport::Plain, Transport::Plain),
    (Transport::Tls13, Transport::Plain),
    (Transport::Tls13, Transport::Tls13),
    (Transport::Tls12, Transport::Tls12),
];

/// What one side sends, and how it is cut.
#[derive(Clone, Debug)]
struct Stream {
    /// The first byte of each frame, and the length of its payload.
    frames: Vec<(u8, usize)>,
    /// Lengths of TLS records, over and over.
    records: Vec<usize>,
    /// Lengths of TCP segments, over and over, and when each goes.
    segments: Vec<(usize, Wait)>,
}

impl Stream {
    /// Its bytes, framed by the side that sends them.
    fn bytes(&self, frame: fn(u8, &[u8]) -> Vec<u8>) -> Vec<u8> {
        let seeded = self.frames.iter().zip(1..);
        seeded.flat_map(|((first, length), seed)| frame(*first, &noise(*length, seed))).collect()
    }

    /// The segments that carry these bytes.
    fn cut(&self, from: &mut Endpoint, mut bytes: &[u8]) -> Vec<(Vec<u8>, Wait)> {
        let mut wire = Vec::new();
        for length in self.records.iter().cycle() {
            let (record, rest) = bytes.split_at((*length).min(bytes.len()));
            wire.extend(from.seal(record));
            bytes = rest;
            if rest.is_empty() {
                break;
            }
        }
        let mut segments = Vec::new();
        let mut at = 0;
        for (length, wait) in self.segments.iter().cycle() {
            let end = wire.len().min(at + length);
            segments.push((wire[at..end].to_vec(), *wait));
            at = end;
            if at == wire.len() {
                break;
            }
        }
        segments
    }
}

/// Sends both at once; each side must get what the other sent.
async fn exchanged(ends: &Ends, up: &Stream, down: &Stream) {
    let (mut client, mut service) = ends.session().await;
    let (sent_up, sent_down) = (up.bytes(masked), down.bytes(bare));
    let (cut_up, cut_down) = (up.cut(&mut client, &sent_up), down.cut(&mut service, &sent_down));
    let (got_down, got_up) = tokio::join!(
        client.exchange(&cut_up, sent_down.len()), //
        service.exchange(&cut_down, sent_up.len())
    );
    for (way, sent, got) in [("to the backend", sent_up, got_up), ("to the client", sent_down, got_down)] {
        assert_eq!(digest(&SHA256, &sent).as_ref(), digest(&SHA256, &got).as_ref(), "{way}: {} bytes", sent.len());
    }
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..140_usize, 2 => 0..20_000_usize, 1 => 65_530..65_545_usize]
}

/// A message in one to four fragments, with or without a control frame in front of each.
fn message() -> impl Strategy<Value = Vec<(u8, usize)>> {
    let control =
        prop_oneof![3 => Just(None), 1 => (prop_oneof![Just(PING), Just(PONG)], 0..=125_usize).prop_map(Some)];
    (prop_oneof![Just(TEXT), Just(BINARY)], prop::collection::vec((length(), control), 1..5)).prop_map(
        |(kind, parts)| {
            let last = parts.len() - 1;
            let frames = parts.into_iter().enumerate().flat_map(|(index, (length, control))| {
                let opcode = if index == 0 { kind } else { CONTINUATION };
                let fin = if index == last { FIN } else { 0 };
                control.map(|(opcode, length)| (FIN | opcode, length)).into_iter().chain([(fin | opcode, length)])
            });
            frames.collect()
        },
    )
}

/// Lengths of pieces: some tiny, at least one so long that there are not too many of them.
fn lengths() -> impl Strategy<Value = Vec<usize>> {
    let short = prop::collection::vec(prop_oneof![1..30_usize, 1..3000_usize], 0..8);
    (short, 4000..40_000_usize).prop_map(|(mut lengths, long)| {
        lengths.push(long);
        lengths
    })
}

fn stream() -> impl Strategy<Value = Stream> {
    let waits = prop::collection::vec(prop_oneof![2 => Just(Wait::No), 1 => Just(Wait::UntilRead)], 9);
    (prop::collection::vec(message(), 1..8), lengths(), lengths(), waits).prop_map(
        |(frames, records, lengths, waits)| Stream {
            frames: frames.concat(),
            records,
            segments: lengths.into_iter().zip(waits).collect(),
        },
    )
}

#[test]
fn whatever_is_sent_both_ways_arrives_however_it_is_cut() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let houses: Vec<Ends> =
        WAYS.iter().map(|(client, backend)| runtime.block_on(Ends::over(*client, *backend))).collect();
    let config = Config { cases: 64, failure_persistence: None, max_shrink_time: 20_000, ..Config::default() };
    let ran = TestRunner::new(config).run(&(0..WAYS.len(), stream(), stream()), |(way, up, down)| {
        runtime.block_on(exchanged(&houses[way], &up, &down));
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
    cases::held("FR21", "64 sessions of any frames in any pieces");
}

/// Messages of every size, 16 MiB together.
fn sixteen_mebibytes() -> Stream {
    let sizes = [1 << 20, 1, 65_536, 125, 126, 3 << 20, 65_535, 0, 7777, 300_000];
    let mut left = 16 << 20;
    let mut frames = Vec::new();
    for size in sizes.iter().cycle() {
        let size = left.min(*size);
        frames.push((FIN | BINARY, size));
        left -= size;
        if left == 0 {
            break;
        }
    }
    let segments = [65_536, 1448, 1, 200_000].map(|length| (length, Wait::No)).to_vec();
    Stream { frames, records: vec![16_384, 5000, 16_384, 1], segments }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_mebibytes_both_ways_at_once_arrive_as_they_were_sent() {
    let mut cases = Cases::of("16 MiB");
    for (client, backend) in &WAYS[1..3] {
        let ends = Ends::over(*client, *backend).await;
        exchanged(&ends, &sixteen_mebibytes(), &sixteen_mebibytes()).await;
        ends.house.is_at_rest().await;
        cases.held("FR21", &format!("client {client:?}, backend {backend:?}"));
    }
    cases.all(2);
}
