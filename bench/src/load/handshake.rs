//! Opening handshakes, admitted or refused: what each costs from the first packet to the last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::Client;
use super::target::Target;
use super::{Common, GRACE, next, quiet};
use crate::fault::{During as _, Fault, Outcome};
use crate::frame::{self, CLOSE, Ends, Frames};
use crate::latency::{Latencies, now};

/// An origin that no policy allows: the name cannot exist (RFC 2606, section 2).
const FOREIGN_ORIGIN: &str = "https://foreign.invalid";
/// The payload of a Close with 1000, "normal closure" (RFC 6455, section 7.4.1).
const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();
/// The most bytes behind the head of a refusal.
const LONGEST_REFUSAL: usize = 64 * 1024;

/// Opening handshakes, one connection each.
#[derive(Clone, Debug, Args)]
pub(crate) struct HandshakeArgs {
    #[command(flatten)]
    common: Common,
    /// How many.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// How many are under way at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    concurrency: u32,
}

/// What is to come of every handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A 101, and a Close exchanged behind it.
    Admitted,
    /// An answer of 4xx, as the Origin is a foreign one.
    Refused,
}

/// Shakes hands as often as told.
pub(crate) async fn run(args: &HandshakeArgs, expected: Expected) -> Outcome<Value> {
    let HandshakeArgs { common, count, concurrency } = args;
    let target = Target::new(common)?;
    let target = match expected {
        Expected::Admitted => target,
        Expected::Refused => target.with_origin(FOREIGN_ORIGIN),
    };
    let tokens = common.tokens(*count as usize)?;
    let queue = Arc::new(Queue { target, tokens, expected, count: *count as usize, taken: AtomicUsize::new(0) });
    let process = common.process();
    let (cpu_before, begun) = (quiet(process).await?, now());
    let mut workers = JoinSet::new();
    for _ in 0..*concurrency {
        workers.spawn(work(queue.clone()));
    }
    let mut seen = Seen::default();
    let all = async {
        while let Some(its) = next(&mut workers).await? {
            seen.join(its);
        }
        Ok(())
    };
    timeout(common.window() + GRACE, all).await.during("shaking hands")??;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = quiet(process).await?.saturating_sub(cpu_before);

    let cpu_us = cpu.as_secs_f64() * 1e6 / f64::from(*count);
    let (p50_us, p99_us) = (seen.latencies.percentile_us(50), seen.latencies.percentile_us(99));
    let (kx_group, tls_version) = seen.agreed.unzip();
    Ok(match expected {
        Expected::Admitted => json!({
            "mode": "handshake", "count": count, "concurrency": concurrency, "cpu_us_per_handshake": cpu_us,
            "seconds": seconds, "p50_us": p50_us, "p99_us": p99_us, "kx_group": kx_group, "tls_version": tls_version,
        }),
        Expected::Refused => json!({
            "mode": "refused", "count": count, "concurrency": concurrency, "cpu_us_per_refusal": cpu_us,
            "seconds": seconds, "p50_us": p50_us, "p99_us": p99_us, "kx_group": kx_group, "tls_version": tls_version,
            "status": seen.statuses.iter().max_by_key(|(_, count)| **count).map(|(status, _)| *status),
            "statuses": seen.statuses,
        }),
    })
}

/// The handshakes that are to be made.
#[derive(Debug)]
struct Queue {
    target: Target,
    tokens: Option<Vec<String>>,
    expected: Expected,
    count: usize,
    taken: AtomicUsize,
}

/// What came of some of them.
#[derive(Debug, Default)]
struct Seen {
    latencies: Latencies,
    statuses: BTreeMap<u16, u32>,
    agreed: Option<(String, String)>,
}

impl Seen {
    fn join(&mut self, other: Self) {
        self.latencies.join(&other.latencies);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.agreed = self.agreed.take().or(other.agreed);
    }
}

/// Makes handshakes, one after another, until all are made.
async fn work(queue: Arc<Queue>) -> Outcome<Seen> {
    let mut seen = Seen::default();
    loop {
        let number = queue.taken.fetch_add(1, Ordering::Relaxed);
        if number >= queue.count {
            return Ok(seen);
        }
        let token = queue.tokens.as_ref().and_then(|tokens| tokens.get(number)).map(String::as_str);
        let begun = now();
        let (client, answer) = Client::ask(&queue.target, number, token).await?;
        seen.latencies.add(begun.elapsed());
        *seen.statuses.entry(answer.status).or_default() += 1;
        seen.agreed = seen.agreed.or_else(|| client.agreed());
        match (queue.expected, answer.status) {
            (Expected::Admitted, 101) => close(client).await?,
            (Expected::Refused, 400..=499) => leave(client).await?,
            (expected, status) => {
                return Err(Fault::new(format!("handshake {number} is answered {status}, and was to be {expected:?}")));
            }
        }
    }
}

/// Exchanges Close frames and waits for the end, which is the server's to make (RFC 6455, section 7.1.1).
async fn close(mut client: Client) -> Outcome<()> {
    let mut key = [0; 4];
    aws_lc_rs::rand::fill(&mut key).during("drawing a masking key")?;
    client.send(&frame::masked(CLOSE, key, &NORMAL)).await?;
    let (mut frames, mut answer) = (Frames::default(), Vec::new());
    let mut closed = false;
    client
        .until_end(|mut bytes| {
            while let Some(piece) = frames.next(&mut bytes) {
                if piece.header.opcode == CLOSE && piece.header.length <= frame::LONGEST_CONTROL {
                    answer.extend_from_slice(piece.payload);
                    closed |= piece.ends == Ends::Message;
                }
            }
            Ok(())
        })
        .await?;
    if closed && answer.starts_with(&NORMAL) { Ok(()) } else { Err(Fault::new("a Close with 1000 is not answered so")) }
}

/// Leaves after a refusal: ends this side, and waits for the other.
async fn leave(mut client: Client) -> Outcome<()> {
    client.finish().await?;
    let mut count = 0;
    client
        .until_end(|bytes| {
            count += bytes.len();
            if count > LONGEST_REFUSAL { Err(Fault::new("a refusal without an end")) } else { Ok(()) }
        })
        .await
}
