//! A side that does not read stops the other, and costs the gateway no more than it may keep; when it reads on, it gets
//! everything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::frames::{BINARY, FIN, TEXT, bare, masked, noise};
use support::process::Running;
use support::{Endpoint, Ends, PATIENCE, cases};
use tokio::task::JoinSet;
use tokio::time::interval;

/// Sessions that are held back at once.
const SESSIONS: usize = 64;
/// Payload of a message.
const MESSAGE: usize = 60_000;
/// What a session may keep of one direction: what was read and may not be sent yet, and one incomplete TLS record.
const KEPT: usize = (64 << 10) + (5 + (16 << 10) + 256);
/// What sealing may add to that before the socket takes it: one TLS record under way.
const SEALED: usize = 5 + (16 << 10) + 256;
/// What the allocator and the kernel's accounting of pages may add for all of them together.
const SLACK: usize = 2 << 20;
/// What the kernel may keep of one session on its two connections; a side that sent more was not stopped.
const IN_KERNEL: usize = 24 << 20;
/// Looks that see nothing move, one in 20 ms, before a session counts as stopped.
const STILL: usize = 10;

/// Who does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Idler {
    Client,
    Backend,
}

impl Idler {
    /// A frame as it is sent to this side.
    fn frame(self, first: u8, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::Client => bare(first, payload),
            Self::Backend => masked(first, payload),
        }
    }

    /// The message of this number.
    fn message(self, pool: &[u8], number: usize) -> Vec<u8> {
        let start = number * 977 % (pool.len() - MESSAGE);
        self.frame(FIN | BINARY, &pool[start..start + MESSAGE])
    }

    /// What is sent last.
    fn last(self) -> Vec<u8> {
        self.frame(FIN | TEXT, b"that was all")
    }
}

/// Memory of its own that a process has in RAM.
fn resident(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// One side that sends until it is told to stop, and then says how many messages there were.
async fn sends(mut sender: Endpoint, idler: Idler, pool: Arc<Vec<u8>>, sent: Arc<Sent>) -> (Endpoint, usize) {
    let mut number = 0;
    while !sent.enough.load(Ordering::Relaxed) {
        sender.send(&idler.message(&pool, number)).await;
        sent.messages.fetch_add(1, Ordering::Relaxed);
        number += 1;
    }
    sender.send(&idler.last()).await;
    (sender, number)
}

/// The other side, which gets all of it.
async fn gets(mut reader: Endpoint, idler: Idler, pool: Arc<Vec<u8>>) -> (Endpoint, usize) {
    let last = idler.last();
    let header = last.len();
    for number in 0.. {
        let beginning = reader.take(header).await;
        if beginning == last {
            return (reader, number);
        }
        let message = idler.message(&pool, number);
        let rest = reader.take(message.len() - header).await;
        assert!(beginning == message[..header] && rest == message[header..], "{idler:?}: message {number}");
    }
    unreachable!("a stream without end")
}

/// What all senders did so far.
#[derive(Default)]
struct Sent {
    messages: AtomicUsize,
    enough: AtomicBool,
}

/// Waits until no sender gets anything further, and looks at the gateway's memory all the while; says how much it grew.
async fn stopped(running: &Running, before: usize, sent: &Sent, stuck: impl Fn() -> bool) -> usize {
    let mut looks = interval(Duration::from_millis(20));
    let (mut grown, mut still, mut last) = (0, 0, 0);
    let began = tokio::time::Instant::now();
    while still < STILL {
        looks.tick().await;
        let messages = sent.messages.load(Ordering::Relaxed);
        grown = grown.max(resident(running.process.id()).saturating_sub(before));
        still = if messages == last && stuck() { still + 1 } else { 0 };
        last = messages;
        let bound = SESSIONS * (KEPT + SEALED) + SLACK;
        assert!(grown < bound, "memory grew by {grown} bytes, {bound} are allowed");
        assert!(messages * MESSAGE < SESSIONS * IN_KERNEL, "{messages} messages were taken for nobody");
        assert!(began.elapsed() < PATIENCE, "{messages} messages, and no end of them");
    }
    grown
}

/// 64 sessions of which one side does not read, and then does.
async fn held_back(idler: Idler) -> usize {
    let ends = Ends::running().await;
    let pool = Arc::new(noise(1 << 20, 1));
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let (client, service) = ends.session().await;
        let (mut reader, mut sender) = match idler {
            Idler::Client => (client, service),
            Idler::Backend => (service, client),
        };
        reader.receive_buffer(32 << 10);
        sender.send_buffer(32 << 10);
        // What a first message leaves allocated is no part of what waits.
        let message = idler.message(&pool, 0);
        sender.send(&message).await;
        assert!(reader.take(message.len()).await == message);
        sessions.push((reader, sender));
    }
    let before = resident(ends.house.0.process.id());

    let sent = Arc::new(Sent::default());
    let (mut senders, mut readers, mut ways) = (JoinSet::new(), Vec::new(), Vec::new());
    for (reader, sender) in sessions {
        ways.push(sender.addresses());
        senders.spawn(sends(sender, idler, Arc::clone(&pool), Arc::clone(&sent)));
        readers.push(reader);
    }
    let stuck = || {
        let waits = ways.iter().map(|(here, there)| support::queues::queues(*there, *here));
        waits.flatten().filter(|queues| queues.unread > 0).count() == SESSIONS
    };
    let grown = stopped(&ends.house.0, before, &sent, stuck).await;

    sent.enough.store(true, Ordering::Relaxed);
    let mut getting = JoinSet::new();
    for reader in readers {
        getting.spawn(gets(reader, idler, Arc::clone(&pool)));
    }
    let count = |all: Vec<(Endpoint, usize)>| all.iter().map(|(_, messages)| messages).sum::<usize>();
    let (got, were) = tokio::join!(getting.join_all(), senders.join_all());
    let (got, were) = (count(got), count(were));
    assert_eq!(got, were, "every message");
    assert!(were > SESSIONS, "more than one message each: {were}");
    grown
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_stop_their_backends_and_cost_little() {
    let grown = held_back(Idler::Client).await;
    cases::held("RX07", &format!("{SESSIONS} clients that do not read: {} KiB", grown >> 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_that_do_not_read_stop_their_clients_and_cost_little() {
    let grown = held_back(Idler::Backend).await;
    cases::held("RX08", &format!("{SESSIONS} backends that do not read: {} KiB", grown >> 10));
    cases::held("BE09", "and then they do");
}
