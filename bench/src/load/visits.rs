//! Clients that come, exchange messages and leave, in every way in which clients do: the load of a soak.
//!
//! Whatever ends a visit is counted and no fault, for a soak kills backends and revokes sessions: a byte that comes back
//! otherwise than it was sent is one.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::echo::{Asks, Exchange, content};
use super::target::Target;
use super::{Common, GRACE, next};
use crate::fault::{During as _, Fault, Outcome};
use crate::frame::{self, CLOSE};
use crate::latency::{Latencies, now};

/// Payload bytes of a message; each visit has its size.
const SIZES: [usize; 8] = [1, 20, 128, 1000, 4096, 20_000, 65_000, 300_000];
/// The most messages of a visit.
const MOST_MESSAGES: u64 = 40;
/// The longest pause between two visits of a visitor, in milliseconds, and within one.
const LONGEST_PAUSE_MS: u64 = 400;
/// How long the messages of a visit may take: longer than any backend is stopped for.
const PATIENCE: Duration = Duration::from_secs(60);
/// A Close with 1000, "normal closure" (RFC 6455, section 7.4.1).
const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();
/// Where the numbers of messages begin again: their upper bits are the visit's.
const MOST_VISITS: u64 = 1 << 24;

/// Visitors, each of whom comes and goes until the time is over.
#[derive(Clone, Debug, Args)]
pub(crate) struct VisitsArgs {
    #[command(flatten)]
    common: Common,
    /// How many visitors there are at a time.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=8000))]
    visitors: u32,
    /// What the choices of all visitors are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Lets visitors come and go, and tells what became of their visits.
pub(crate) async fn run(args: &VisitsArgs) -> Outcome<Value> {
    let VisitsArgs { common, visitors, seed } = args;
    let target = Arc::new(Target::new(common)?);
    let contents = SIZES.iter().map(|size| content(*size)).collect::<Outcome<Vec<_>>>()?;
    let place = Arc::new(Place {
        target,
        contents,
        visits: AtomicU64::new(0),
        end: now() + common.window(),
        seen: Mutex::default(),
    });
    let tokens = common.tokens(*visitors as usize)?.unwrap_or_default();
    let mut running = JoinSet::new();
    for number in 0..*visitors {
        let visitor = Visitor {
            place: place.clone(),
            number: number as usize,
            token: tokens.get(number as usize).cloned(),
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(number)),
        };
        running.spawn(visitor.come_and_go());
    }
    let all = async {
        while next(&mut running).await?.is_some() {}
        Ok(())
    };
    timeout(common.window() + PATIENCE + GRACE, all).await.during("waiting for the last visitors")??;
    let seen = place.seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(json!({
        "mode": "visits", "visitors": visitors, "seed": seed, "visits": place.visits.load(Ordering::Relaxed),
        "messages": seen.messages, "bytes": seen.bytes, "p50_us": seen.latencies.percentile_us(50),
        "p99_us": seen.latencies.percentile_us(99), "outcomes": seen.outcomes,
    }))
}

/// What all visitors share.
struct Place {
    target: Arc<Target>,
    contents: Vec<Arc<[u8]>>,
    visits: AtomicU64,
    end: Instant,
    seen: Mutex<Seen>,
}

/// What became of the visits so far.
#[derive(Debug, Default)]
struct Seen {
    outcomes: BTreeMap<String, u64>,
    messages: u64,
    bytes: u64,
    latencies: Latencies,
}

impl Seen {
    fn count(&mut self, messages: u64, size: u64) {
        self.messages += messages;
        self.bytes += messages * size;
    }
}

/// One visitor.
struct Visitor {
    place: Arc<Place>,
    number: usize,
    token: Option<String>,
    dice: Dice,
}

/// How a visitor leaves whom nobody sends away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// By the closing handshake.
    Closing,
    /// By the end of the connection, without a word.
    Silent,
    /// By a reset.
    Reset,
    /// By a reset while messages are under way.
    Midway,
}

impl Visitor {
    /// Comes and goes until the time is over.
    async fn come_and_go(mut self) -> Outcome<()> {
        while now() < self.place.end {
            let outcome = match self.dice.below(20) {
                0 => match Client::turn_back(&self.place.target, self.number).await {
                    Ok(()) => String::from("turned back"),
                    Err(_) => String::from("no connection"),
                },
                _ => self.visit().await?,
            };
            *self.place.seen().outcomes.entry(outcome).or_default() += 1;
            sleep(Duration::from_millis(self.dice.below(LONGEST_PAUSE_MS))).await;
        }
        Ok(())
    }

    /// One visit; says how it ended.
    async fn visit(&mut self) -> Outcome<String> {
        let visit = self.place.visits.fetch_add(1, Ordering::Relaxed) % MOST_VISITS;
        let mut client = match Client::ask(&self.place.target, self.number, self.token.as_deref()).await {
            Ok((client, answer)) if answer.status == 101 => client,
            Ok((_, answer)) => return Ok(format!("answered {}", answer.status)),
            Err(_) => return Ok(String::from("no connection")),
        };
        let content = self.dice.one_of(&self.place.contents).cloned().ok_or_else(|| Fault::new("no contents"))?;
        let mut exchange = Exchange::new(visit, 1 + self.dice.below(4), content.clone())?;
        let leave = *self
            .dice
            .one_of(&[Leave::Closing, Leave::Closing, Leave::Silent, Leave::Reset, Leave::Midway])
            .ok_or_else(|| Fault::new("no way to leave"))?;
        let goal = 1 + self.dice.below(MOST_MESSAGES);
        let went_well = self.exchange(&mut client, &mut exchange, goal, leave).await;
        self.place.seen().count(exchange.returned(), content.len() as u64);
        match went_well {
            Err(fault) if exchange.is_wrong() => Err(fault),
            Err(_) => Ok(ended(&exchange)),
            Ok(()) => self.leave(client, exchange, leave).await,
        }
    }

    /// Exchanges messages until `goal` have come back, and pauses in their midst.
    async fn exchange(&mut self, client: &mut Client, exchange: &mut Exchange, goal: u64, leave: Leave) -> Outcome<()> {
        let place = self.place.clone();
        for part in [goal / 2, goal] {
            let messages = poll_fn(|cx| {
                loop {
                    let asks = if exchange.returned() < part { Asks::More } else { Asks::Nothing };
                    exchange.poll_send(cx, client, asks)?;
                    if asks == Asks::Nothing && (exchange.is_settled() || leave == Leave::Midway) {
                        return Poll::Ready(Ok(()));
                    }
                    ready!(exchange.poll_receive(cx, client, &mut |latency| place.seen().latencies.add(latency)))?;
                }
            });
            timeout(PATIENCE, messages).await.during("waiting for messages")??;
            sleep(Duration::from_millis(self.dice.below(LONGEST_PAUSE_MS))).await;
        }
        Ok(())
    }

    /// Leaves; what comes meanwhile is compared, too.
    async fn leave(&mut self, mut client: Client, mut exchange: Exchange, leave: Leave) -> Outcome<String> {
        match leave {
            Leave::Silent => return Ok(String::from("left without a word")),
            Leave::Reset | Leave::Midway => {
                // Where the other side was first there is nothing to reset.
                let _ = client.reset();
                return Ok(String::from("left by a reset"));
            }
            Leave::Closing => {}
        }
        let close = frame::masked(CLOSE, [1, 2, 3, 4], &NORMAL);
        let closing = async {
            client.send(&close).await?;
            poll_fn(|cx| {
                while exchange.close_code().is_none() {
                    ready!(exchange.poll_receive(cx, &mut client, &mut |_| ()))?;
                }
                Poll::Ready(Ok(()))
            })
            .await
        };
        match timeout(PATIENCE, closing).await.during("closing")? {
            Err(fault) if exchange.is_wrong() => Err(fault),
            _ if exchange.close_code() == Some(1000) => Ok(String::from("closed")),
            _ => Ok(ended(&exchange)),
        }
    }
}

/// How the other side ended a visit.
fn ended(exchange: &Exchange) -> String {
    exchange.close_code().map_or_else(|| String::from("cut"), |code| format!("closed by {code}"))
}

impl Place {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SplitMix64: the same seed, the same choices.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_of<'c, T>(&mut self, choices: &'c [T]) -> Option<&'c T> {
        let place = self.next() % (choices.len().max(1) as u64);
        choices.get(usize::try_from(place).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_choices_and_reaches_every_one() {
        let drawn = |seed| {
            let mut dice = Dice(seed);
            (0..200).map(|_| dice.below(8)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        assert!((0..8).all(|choice| drawn(7).contains(&choice)));
    }
}
