//! The control session: a well-behaved client whose round trips show what an attack does to others.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::course::Points;
use crate::audit::frame::{self, FIN, opcode};
use crate::audit::wire::{Heard, Wire};

/// The part of a case that is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Quiet,
    Attack,
    After,
    Over,
}

/// What the control session measured.
#[derive(Debug, Default)]
pub(super) struct Trips {
    /// Round trips before the attack.
    pub(super) quiet: Vec<Duration>,
    /// Round trips during the attack.
    pub(super) attack: Vec<Duration>,
    /// Why the session was lost, if it was.
    pub(super) lost: Option<String>,
    /// All round trips, in milliseconds.
    pub(super) course: Points,
}

/// How the control session behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// The time between two Pings.
    pub(super) pace: Duration,
    /// How long a Pong may take.
    pub(super) patience: Duration,
}

/// Measures round trips until the case is over, then leaves in order.
pub(super) async fn measured(mut wire: Wire, manner: Manner, phase: watch::Receiver<Phase>) -> Trips {
    let began = Instant::now();
    let mut trips = Trips::default();
    let mut ticks = interval(manner.pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for word in 0_u32.. {
        ticks.tick().await;
        let during = *phase.borrow();
        if during == Phase::Over {
            break;
        }
        let sent = Instant::now();
        if let Err(why) = round_trip(&mut wire, &word.to_be_bytes(), manner.patience).await {
            trips.lost = Some(why);
            break;
        }
        trips.note(during, sent.elapsed(), began.elapsed());
    }
    wire.send(&frame::close(1000, "")).await;
    wire.finish().await;
    trips
}

/// How late this process was at an appointment of its own during the attack, at worst: no round trip tells less than
/// that of the target.
pub(super) async fn own_lateness(pace: Duration, phase: watch::Receiver<Phase>) -> Duration {
    let mut worst = Duration::ZERO;
    loop {
        let due = Instant::now() + pace;
        sleep_until(due).await;
        match *phase.borrow() {
            Phase::Quiet | Phase::After => {}
            Phase::Attack => worst = worst.max(due.elapsed()),
            Phase::Over => return worst,
        }
    }
}

impl Trips {
    fn note(&mut self, during: Phase, took: Duration, at: Duration) {
        self.course.push(at.as_secs_f64(), took.as_secs_f64() * 1000.0);
        match during {
            Phase::Quiet => self.quiet.push(took),
            Phase::Attack => self.attack.push(took),
            Phase::After | Phase::Over => {}
        }
    }
}

/// Sends a Ping and reads its Pong, whatever comes before it.
pub(super) async fn round_trip(wire: &mut Wire, word: &[u8], patience: Duration) -> Result<(), String> {
    if !wire.send(&frame::masked(FIN | opcode::PING, word)).await {
        return Err(String::from("a Ping could not be sent"));
    }
    let until = Instant::now() + patience;
    loop {
        match wire.frame(until.saturating_duration_since(Instant::now())).await {
            Heard::This(frame) if frame.opcode() == opcode::PONG && frame.payload == word => return Ok(()),
            Heard::This(frame) if frame.opcode() == opcode::CLOSE => {
                let code = frame.close_code().map_or_else(|| String::from("without a code"), |code| code.to_string());
                return Err(format!("it was closed: {code}"));
            }
            Heard::This(_) if Instant::now() < until => {}
            Heard::End(_) => return Err(String::from("it was cut")),
            Heard::This(_) | Heard::Silence => {
                return Err(format!("a Ping was not answered within {} s", patience.as_secs()));
            }
            Heard::Garbled(why) => return Err(why),
        }
    }
}

/// The value that 99 of 100 do not exceed; the greatest where there are fewer.
pub(super) fn p99(values: &[Duration]) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() * 99).div_ceil(100).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_hundredth_is_left_out() {
        let millis = |count: u64| Duration::from_millis(count);
        let values: Vec<Duration> = (1..=200).rev().map(millis).collect();
        assert_eq!(p99(&values), Some(millis(198)));
        assert_eq!(p99(&values[..3]), Some(millis(200)));
        assert_eq!(p99(&[]), None);
    }
}
