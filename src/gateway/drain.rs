//! The end of a gateway's sessions, one after the other: who is told to go, and when.
//!
//! Clients come back as soon as they are told. A drain that told all of them at once would be a reconnect storm, so each
//! has a turn of its own within a window.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::random;
use super::sessions::{Resident, Sessions};
use crate::session::Cause;

/// Turns within a window, in the order of their times.
#[derive(Debug)]
pub(super) struct Turns<T> {
    window: Duration,
    turns: BTreeMap<(Duration, u64), T>,
    added: u64,
}

impl<T> Turns<T> {
    /// One turn for each of `all`, in an order of chance: the window is cut into as many even parts, and chance chooses
    /// the moment within a part.
    pub(super) fn new(mut all: Vec<T>, window: Duration, random: &mut impl FnMut() -> u64) -> Self {
        shuffle(&mut all, random);
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let mut turns = Self { window, turns: BTreeMap::new(), added: 0 };
        for (index, one) in (0..count).zip(all) {
            turns.put(turn(index, count, window, random()), one);
        }
        turns
    }

    /// A turn for one who came later: chance chooses it from what is left of the window, and behind the window it is at
    /// once.
    pub(super) fn add(&mut self, one: T, now: Duration, random: u64) {
        let left = self.window.saturating_sub(now);
        self.put(now.saturating_add(share(left, random)), one);
    }

    /// When the next turn is, counted from the window's begin.
    pub(super) fn next(&self) -> Option<Duration> {
        self.turns.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes one whose turn has come.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<T> {
        let first = self.turns.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    fn put(&mut self, at: Duration, one: T) {
        self.turns.insert((at, self.added), one);
        self.added = self.added.wrapping_add(1);
    }
}

/// When number `index` of `count` has its turn.
fn turn(index: u32, count: u32, window: Duration, random: u64) -> Duration {
    let part = window.checked_div(count).unwrap_or_default();
    // Of the window and not of the part, whose nanoseconds are rounded.
    let begin = nanoseconds(window.as_nanos() * u128::from(index) / u128::from(count.max(1)));
    begin.saturating_add(share(part, random))
}

/// A part of `whole` that chance chooses.
fn share(whole: Duration, random: u64) -> Duration {
    let whole = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    nanoseconds((u128::from(whole) * u128::from(random)) >> u64::BITS)
}

fn nanoseconds(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Fisher and Yates.
fn shuffle<T>(all: &mut [T], random: &mut impl FnMut() -> u64) {
    for last in (1..all.len()).rev() {
        let places = u64::try_from(last).unwrap_or(u64::MAX).saturating_add(1);
        all.swap(last, usize::try_from(random() % places).unwrap_or(0));
    }
}

/// How long sessions are told: what a drain leaves behind its lead, less the time that the last of them has to close, which
/// is at most half of it.
pub(super) fn window(drain: Duration, lead: Duration, close: Duration) -> Duration {
    let left = drain.saturating_sub(lead);
    left.saturating_sub(close.min(left / 2))
}

/// Tells every session its turn, those too that register meanwhile, for as long as it is polled.
pub(super) async fn tell_in_turn(sessions: &Sessions, window: Duration) {
    let began = Instant::now();
    let weak = |residents: Vec<_>| residents.iter().map(std::sync::Arc::downgrade).collect::<Vec<Weak<Resident>>>();
    let mut turns = Turns::new(weak(sessions.begin_drain()), window, &mut random::number);
    loop {
        while let Some(resident) = turns.take_due(began.elapsed()) {
            if let Some(resident) = resident.upgrade() {
                resident.control.end(Cause::Drain);
            }
        }
        let next = turns.next();
        let turn = async {
            match next {
                Some(at) => sleep_until(began + at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = turn => {}
            newcomers = sessions.newcomers() => {
                for one in weak(newcomers) {
                    turns.add(one, began.elapsed(), random::number());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(15);

    /// Numbers without a pattern, the same in every run.
    fn numbers(mut seed: u64) -> impl FnMut() -> u64 {
        move || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
        }
    }

    fn told<T>(turns: &mut Turns<T>) -> Vec<(Duration, T)> {
        std::iter::from_fn(|| {
            let at = turns.next()?;
            assert!(turns.take_due(at.saturating_sub(Duration::from_nanos(1))).is_none(), "nobody before his turn");
            Some((at, turns.take_due(at).unwrap()))
        })
        .collect()
    }

    #[test]
    fn op01_every_session_has_a_turn_of_its_own_within_the_window() {
        for count in [1_usize, 2, 7, 1000, 8000] {
            let mut turns = Turns::new((0..count).collect(), WINDOW, &mut numbers(count as u64));
            let told = told(&mut turns);
            assert_eq!(told.len(), count);
            assert!(told.iter().all(|(at, _)| *at < WINDOW));
            let part = WINDOW / u32::try_from(count).unwrap();
            for (index, (at, _)) in (0_u32..).zip(&told) {
                let (from, to) = (part * index, part * (index + 2));
                assert!((from..to).contains(at), "number {index} of {count} at {at:?}");
            }
            let mut who: Vec<usize> = told.iter().map(|(_, who)| *who).collect();
            assert!(count < 7 || who != (0..count).collect::<Vec<_>>(), "the order is of chance");
            who.sort_unstable();
            assert_eq!(who, (0..count).collect::<Vec<_>>(), "each once");
        }
    }

    #[test]
    fn op01_a_tenth_of_the_window_ends_a_tenth_of_the_sessions() {
        let mut turns = Turns::new(vec![(); 1000], WINDOW, &mut numbers(4));
        let mut tenths = [0; 10];
        for (at, ()) in told(&mut turns) {
            tenths[usize::try_from(at.as_millis() / 1500).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (99..=101).contains(count)), "{tenths:?}");
        let jitter = |seed| {
            let mut turns = Turns::new(vec![(); 3], WINDOW, &mut numbers(seed));
            told(&mut turns).into_iter().map(|(at, ())| at).collect::<Vec<_>>()
        };
        assert_ne!(jitter(1), jitter(2), "two gateways that drain together do not tell together");
    }

    #[test]
    fn op01_who_comes_later_has_a_turn_in_what_is_left() {
        let mut turns = Turns::new(Vec::new(), WINDOW, &mut numbers(1));
        let mut number = numbers(2);
        let now = Duration::from_secs(10);
        for who in 0..1000 {
            turns.add(who, now, number());
        }
        let late = told(&mut turns);
        assert!(late.iter().all(|(at, _)| (now..WINDOW).contains(at)));
        let early = late.iter().filter(|(at, _)| *at < Duration::from_millis(12_500)).count();
        assert!((400..600).contains(&early), "{early} of 1000 in the first half of what is left");
        turns.add(1000, WINDOW * 2, u64::MAX);
        assert_eq!(turns.next(), Some(WINDOW * 2), "behind the window: at once");
    }

    #[test]
    fn the_window_leaves_time_to_close() {
        let seconds = Duration::from_secs;
        let rows = [
            ("as shipped", 25, 5, 5, 15),
            ("a long lead", 25, 20, 5, 2),
            ("longer to close than the drain is long", 10, 2, 60, 4),
            ("no lead", 25, 0, 5, 20),
        ];
        for (name, drain, lead, close, expected) in rows {
            assert_eq!(window(seconds(drain), seconds(lead), seconds(close)).as_secs(), expected, "{name}");
        }
        assert_eq!(rows.len(), 4);
    }
}
