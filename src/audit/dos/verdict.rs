//! From what was measured to a verdict: pure judgements over figures.

use std::time::Duration;

use super::beside::Measured;
use super::bounds::Bounds;
use super::control::{Trips, p99};
use super::process::Readings;
use crate::audit::finding::{Outcome, Verdict};

/// Memory that a gateway may take for an attack, whatever it is.
const MEMORY_SLACK_KIB: u64 = 32 << 10;

/// Memory that it may take for each connection of an attack.
const MEMORY_EACH_KIB: u64 = 256;

/// The worst of several judgements. Where something fell only that is told, and so it is with what is undecided.
pub(super) fn worst(parts: Vec<Verdict>) -> Verdict {
    let rank = |outcome: Outcome| match outcome {
        Outcome::Fell => 3,
        Outcome::Undecided => 2,
        Outcome::NotRun | Outcome::NotApplicable => 1,
        Outcome::Held => 0,
    };
    let outcome = parts.iter().map(|part| part.outcome).max_by_key(|outcome| rank(*outcome));
    let Some(outcome) = outcome else { return Verdict::undecided("nothing was tried") };
    let mut verdict = Verdict::new(outcome, "");
    let mut said = Vec::new();
    for part in parts {
        if part.outcome == outcome {
            said.push(part.said);
            verdict.exchange = verdict.exchange.or(part.exchange);
        }
        verdict.courses.extend(part.courses);
    }
    verdict.said = said.join("; ");
    verdict
}

/// What was measured beside an attack of so many connections, judged; with its courses.
pub(super) fn of_measured(measured: Measured, connections: usize, bounds: &Bounds) -> Vec<Verdict> {
    let Measured { trips, late, readings } = measured;
    let mut control = of_trips(&trips, late, bounds);
    control.courses.extend(trips.course.named("round trip of the control session", "ms"));
    let mut verdicts = vec![control];
    if let Some(readings) = readings {
        let mut process = of_readings(&readings, connections);
        process.courses.extend(readings.memory.named("memory of the target", "MiB"));
        process.courses.extend(readings.descriptors.named("open files of the target", "descriptors"));
        process.courses.extend(readings.processor.named("processor time of the target", "% of a core"));
        verdicts.push(process);
    }
    verdicts
}

/// Whether the control session felt the attack.
fn of_trips(trips: &Trips, late: Duration, bounds: &Bounds) -> Verdict {
    let is_late = |limit: Duration| late > limit / 2;
    let own = format!("this machine was itself {} ms late at its appointments", late.as_millis());
    if let Some(why) = &trips.lost {
        let lost = format!("the control session was lost: {why}");
        let is_own_fault = is_late(bounds.recovery);
        return if is_own_fault { Verdict::undecided(format!("{lost}; {own}")) } else { Verdict::fell(lost) };
    }
    let (Some(quiet), Some(attack)) = (p99(&trips.quiet), p99(&trips.attack)) else {
        return Verdict::undecided("the control session was not measured");
    };
    let limit = bounds.floor.max(quiet.saturating_mul(bounds.ratio));
    let told = format!(
        "round trips of the control session: p99 {} of at most {}, in quiet {}",
        millis(attack),
        millis(limit),
        millis(quiet)
    );
    match attack > limit {
        false => Verdict::held(told),
        true if is_late(limit) => Verdict::undecided(format!("{told}; {own}")),
        true => Verdict::fell(told),
    }
}

/// Whether the target's process bore the attack.
fn of_readings(readings: &Readings, connections: usize) -> Verdict {
    if readings.ended {
        return Verdict::fell("the target's process ended");
    }
    let each = MEMORY_EACH_KIB.saturating_mul(u64::try_from(connections).unwrap_or(u64::MAX));
    let grown = readings.peak_kib.saturating_sub(readings.quiet_kib);
    let most = MEMORY_SLACK_KIB.saturating_add(each);
    let told = format!("its memory grew by {grown} KiB of at most {most} KiB over {connections} connections");
    let left = readings.left_over();
    if grown > most {
        return Verdict::fell(told);
    }
    if left > 0 {
        return Verdict::fell(format!("{left} descriptors did not come back"));
    }
    Verdict::held(told)
}

/// What a newcomer from another address than the attackers' is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Newcomer {
    /// A place: the attack comes from one address, which must not shut out others.
    Place,
    /// Nothing: the attack comes from many addresses, and may take all places that there are.
    Crowded,
}

impl Newcomer {
    /// Whether it came in, where the attack lasted so long from when it knocked. `None`: no longer than it may take
    /// at any time, which proves nothing.
    pub(super) fn meanwhile(self, came: Result<Duration, String>, lasted: Duration, owed: Duration) -> Option<Verdict> {
        let why = match came {
            Ok(took) if took <= lasted => {
                return Some(Verdict::held(format!("while it lasted a newcomer came in after {}", millis(took))));
            }
            _ if lasted < owed => return None,
            Ok(took) => format!("it waited for {}", seconds(took)),
            Err(why) => why,
        };
        let told = format!("while it lasted no newcomer came in: {why}");
        Some(if self == Self::Crowded { Verdict::held(told) } else { Verdict::fell(told) })
    }
}

/// Whether a newcomer came in when the attack was over.
pub(super) fn afterwards(came: Result<Duration, String>) -> Verdict {
    match came {
        Ok(took) => Verdict::held(format!("after it a newcomer came in after {}", millis(took))),
        Err(why) => Verdict::fell(format!("after it no newcomer came in: {why}")),
    }
}

/// A time as milliseconds.
pub(super) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// A time as seconds.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trips(quiet: u64, attack: u64) -> Trips {
        let times = |millis: u64| vec![Duration::from_millis(millis); 20];
        Trips { quiet: times(quiet), attack: times(attack), ..Trips::default() }
    }

    #[test]
    fn a_control_session_is_judged_by_ratio_floor_and_own_lateness() {
        let bounds = Bounds::default();
        let lost = || Trips { lost: Some(String::from("it was cut")), ..trips(1, 1) };
        let cases = [
            ("as in quiet", trips(1, 1), 0, Outcome::Held),
            ("below the floor", trips(1, 500), 0, Outcome::Held),
            ("above the floor", trips(1, 501), 250, Outcome::Fell),
            ("above it on a machine that is late itself", trips(1, 501), 251, Outcome::Undecided),
            ("slow in quiet as well", trips(50, 1000), 0, Outcome::Held),
            ("more than the ratio", trips(50, 1001), 0, Outcome::Fell),
            ("lost", lost(), 5000, Outcome::Fell),
            ("lost where nothing ran in time", lost(), 5001, Outcome::Undecided),
            ("not measured", Trips::default(), 0, Outcome::Undecided),
        ];
        for (what, trips, late, outcome) in &cases {
            assert_eq!(of_trips(trips, Duration::from_millis(*late), &bounds).outcome, *outcome, "{what}");
        }
        assert_eq!(cases.len(), 9);
    }

    #[test]
    fn a_process_is_judged_by_memory_and_descriptors() {
        let readings = |peak_kib, last| Readings {
            quiet_kib: 10_000,
            peak_kib,
            quiet_descriptors: Some(20),
            last_descriptors: Some(last),
            ..Readings::default()
        };
        let limit = 10_000 + MEMORY_SLACK_KIB + 100 * MEMORY_EACH_KIB;
        let cases = [
            ("at the limit", readings(limit, 28), Outcome::Held),
            ("above it", readings(limit + 1, 20), Outcome::Fell),
            ("a descriptor too many", readings(10_000, 29), Outcome::Fell),
            ("it is gone", Readings { ended: true, ..readings(10_000, 20) }, Outcome::Fell),
        ];
        for (what, readings, outcome) in &cases {
            assert_eq!(of_readings(readings, 100).outcome, *outcome, "{what}");
        }
        assert_eq!(cases.len(), 4);
    }

    #[test]
    fn the_worst_decides_and_only_it_is_told() {
        let fell = || Verdict::fell("broken");
        let cases = [
            (vec![Verdict::held("a"), Verdict::held("b")], Outcome::Held, "a; b"),
            (vec![Verdict::held("a"), fell(), Verdict::undecided("c")], Outcome::Fell, "broken"),
            (vec![Verdict::held("a"), Verdict::undecided("c")], Outcome::Undecided, "c"),
            (Vec::new(), Outcome::Undecided, "nothing was tried"),
        ];
        for (parts, outcome, said) in cases {
            let verdict = worst(parts);
            assert_eq!((verdict.outcome, verdict.said.as_str()), (outcome, said));
        }
    }

    #[test]
    fn a_newcomer_is_owed_a_place_where_one_address_attacks() {
        let after = |seconds| Ok(Duration::from_secs(seconds));
        let shut_out = || Err(String::from("429"));
        let cases = [
            (Newcomer::Place, after(1), 2, Some(Outcome::Held)),
            (Newcomer::Place, after(3), 2, Some(Outcome::Fell)),
            (Newcomer::Place, shut_out(), 2, Some(Outcome::Fell)),
            (Newcomer::Place, after(3), 1, None),
            (Newcomer::Place, shut_out(), 1, None),
            (Newcomer::Crowded, after(3), 2, Some(Outcome::Held)),
            (Newcomer::Crowded, shut_out(), 2, Some(Outcome::Held)),
        ];
        assert_eq!(cases.len(), 7);
        for (newcomer, came, lasted, outcome) in cases {
            let told = format!("{newcomer:?}: {came:?} of {lasted} s");
            let verdict = newcomer.meanwhile(came, Duration::from_secs(lasted), Duration::from_secs(2));
            assert_eq!(verdict.map(|verdict| verdict.outcome), outcome, "{told}");
        }
        assert_eq!(afterwards(after(9)).outcome, Outcome::Held);
        assert_eq!(afterwards(shut_out()).outcome, Outcome::Fell);
    }
}
