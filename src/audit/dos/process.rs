//! The target's process as the kernel accounts for it: memory, descriptors, processor time (proc(5)).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, interval};

use super::control::Phase;
use super::course::Points;

/// The time between two readings.
const SAMPLING: Duration = Duration::from_millis(100);

/// Ticks of processor time in a second, in what the kernel tells (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Descriptors that a gateway may open for its own purposes meanwhile: a file that is read again, a log.
const DESCRIPTOR_SLACK: usize = 8;

/// A process that can be read.
#[derive(Clone, Debug)]
pub(super) struct Process(PathBuf);

/// What a process has at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Its proportional share of memory, or where that is not told its resident memory, in KiB.
    pub(super) memory_kib: u64,
    /// Its open descriptors; `None` where another user's are not told.
    pub(super) descriptors: Option<usize>,
    /// Ticks of processor time that it has used.
    ticks: u64,
}

/// What was read over a case.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// The greatest memory before the attack.
    pub(super) quiet_kib: u64,
    /// The greatest memory during the attack.
    pub(super) peak_kib: u64,
    /// The most descriptors before the attack.
    pub(super) quiet_descriptors: Option<usize>,
    /// The descriptors when the case ended.
    pub(super) last_descriptors: Option<usize>,
    /// Whether the process ended meanwhile.
    pub(super) ended: bool,
    /// Memory over time.
    pub(super) memory: Points,
    /// Descriptors over time.
    pub(super) descriptors: Points,
    /// Processor time over time.
    pub(super) processor: Points,
}

impl Process {
    /// The process of this id, if it can be read.
    pub(super) fn find(id: u32) -> Option<Self> {
        let process = Self(PathBuf::from(format!("/proc/{id}")));
        process.read().map(|_| process)
    }

    /// What it has at this moment; `None`: it ended.
    pub(super) fn read(&self) -> Option<Reading> {
        let text = |file: &str| fs::read_to_string(self.0.join(file)).ok();
        let share = text("smaps_rollup").and_then(|text| kib(&text, "Pss:"));
        let memory_kib = share.or_else(|| text("status").and_then(|text| kib(&text, "VmRSS:")))?;
        let descriptors = fs::read_dir(self.0.join("fd")).ok().map(Iterator::count);
        Some(Reading { memory_kib, descriptors, ticks: ticks(&text("stat")?)? })
    }
}

/// Reads a process until the case is over. Behind the attack its descriptors are waited for as long as `recovery`.
pub(super) async fn watched(process: Process, phase: watch::Receiver<Phase>) -> Readings {
    let began = Instant::now();
    let mut readings = Readings::default();
    let mut ticks = interval(SAMPLING);
    let mut last: Option<(f64, u64)> = None;
    loop {
        ticks.tick().await;
        let during = *phase.borrow();
        let Some(reading) = process.read() else {
            readings.ended = true;
            return readings;
        };
        let at = began.elapsed().as_secs_f64();
        if let Some((before, used)) = last.filter(|(before, _)| at > *before) {
            let used = whole(reading.ticks.saturating_sub(used)) / TICKS_PER_SECOND;
            readings.processor.push(at, 100.0 * used / (at - before));
        }
        last = Some((at, reading.ticks));
        readings.note(during, reading, at);
        if during == Phase::Over {
            return readings;
        }
    }
}

impl Readings {
    fn note(&mut self, during: Phase, reading: Reading, at: f64) {
        self.memory.push(at, whole(reading.memory_kib) / 1024.0);
        if let Some(count) = reading.descriptors {
            self.descriptors.push(at, whole(u64::try_from(count).unwrap_or(u64::MAX)));
        }
        self.last_descriptors = reading.descriptors;
        match during {
            Phase::Quiet => {
                self.quiet_kib = self.quiet_kib.max(reading.memory_kib);
                self.quiet_descriptors = self.quiet_descriptors.max(reading.descriptors);
            }
            _ => self.peak_kib = self.peak_kib.max(reading.memory_kib),
        }
    }

    /// How many descriptors are left over from the attack.
    pub(super) fn left_over(&self) -> usize {
        match (self.quiet_descriptors, self.last_descriptors) {
            (Some(quiet), Some(last)) => last.saturating_sub(quiet + DESCRIPTOR_SLACK),
            _ => 0,
        }
    }
}

/// Waits until a process has hardly more descriptors than before, at most so long.
pub(super) async fn settled(process: &Process, before: Option<usize>, within: Duration) {
    let until = Instant::now() + within;
    let mut looks = interval(SAMPLING);
    while Instant::now() < until {
        looks.tick().await;
        let (Some(now), Some(before)) = (process.read().and_then(|reading| reading.descriptors), before) else {
            return;
        };
        if now <= before + DESCRIPTOR_SLACK {
            return;
        }
    }
}

/// The number behind a name in a file of lines like `Pss:   1234 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The 14th and 15th fields of `stat`, counted behind the name in parentheses, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_ascii_whitespace().skip(11);
    let mut field = || fields.next()?.parse::<u64>().ok();
    field()?.checked_add(field()?)
}

/// A count as a coordinate.
fn whole(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_read() {
        assert_eq!(kib("Rss: 9 kB\nPss:               1234 kB\nPss_Dirty: 7 kB\n", "Pss:"), Some(1234));
        assert_eq!(kib("Rss: 9 kB\n", "Pss:"), None);
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 17 25 3 4 20 0 1 0 1 2 3";
        assert_eq!(ticks(stat), Some(42), "user and system time, children's apart");
        assert_eq!(ticks("42 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_read_and_descriptors_are_seen_to_come_and_go() {
        let process = Process::find(std::process::id()).unwrap();
        assert!(process.read().unwrap().memory_kib > 100);
        assert!(Process::find(u32::MAX).is_none());

        let reading = |descriptors| Reading { memory_kib: 1000, descriptors: Some(descriptors), ticks: 0 };
        for (last, left) in [(10, 0), (18, 0), (19, 1), (500, 482)] {
            let mut readings = Readings::default();
            readings.note(Phase::Quiet, reading(10), 0.0);
            readings.note(Phase::Attack, Reading { memory_kib: 5000, ..reading(500) }, 1.0);
            readings.note(Phase::After, reading(last), 2.0);
            assert_eq!((readings.left_over(), readings.quiet_kib, readings.peak_kib), (left, 1000, 5000), "{last}");
        }
    }
}
