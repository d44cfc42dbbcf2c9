//! What a process and its descendants cost, as the kernel accounts it: CPU by thread, memory by page.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use crate::fault::{During as _, Fault, Outcome};

/// A process whose cost is measured, with all its descendants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pid: u32,
}

impl Process {
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// The CPU that all threads have had since they began.
    ///
    /// A thread that has ended takes its time with it: what is measured keeps its threads for the length of a run.
    pub(crate) fn cpu(self) -> Outcome<Duration> {
        let mut nanos = 0_u64;
        for pid in self.family()? {
            let threads = match fs::read_dir(format!("/proc/{pid}/task")) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                threads => threads.during("listing the threads")?,
            };
            for thread in threads {
                let path = thread.during("listing the threads")?.path().join("schedstat");
                // A thread may end between the listing and the reading.
                let Ok(schedstat) = fs::read_to_string(path) else { continue };
                nanos += on_cpu(&schedstat).ok_or_else(|| Fault::new("a schedstat that cannot be read"))?;
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// The proportional set size in bytes.
    pub(crate) fn pss_bytes(self) -> Outcome<u64> {
        let mut bytes = 0;
        for pid in self.family()? {
            let rollup = match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                rollup => rollup.during("reading smaps_rollup")?,
            };
            bytes += pss(&rollup).ok_or_else(|| Fault::new("a smaps_rollup without Pss"))?;
        }
        Ok(bytes)
    }

    /// The process and all its descendants.
    fn family(self) -> Outcome<Vec<u32>> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc").during("listing the processes")? {
            let name = entry.during("listing the processes")?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            parents.extend(parent(&stat).map(|parent| (pid, parent)));
        }
        match parents.iter().any(|(pid, _)| *pid == self.pid) {
            true => Ok(descendants(self.pid, &parents)),
            false => Err(Fault::new(format!("--pid {}: there is no such process", self.pid))),
        }
    }
}

/// The nanoseconds on a CPU: the first field of a schedstat.
fn on_cpu(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

/// The bytes of the `Pss:` line, which counts in units of 1024.
fn pss(rollup: &str) -> Option<u64> {
    let value = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The parent of a process: the second field behind the name, which stands in parentheses and may contain some.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// `pid` and whoever descends from it, of pairs of a process and its parent.
fn descendants(pid: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(&parent) = family.get(at) {
        at += 1;
        let children: Vec<u32> = parents.iter().filter(|(_, its)| *its == parent).map(|(pid, _)| *pid).collect();
        family.extend(children.into_iter().filter(|child| *child != pid));
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_of_a_schedstat_is_the_time_on_a_cpu() {
        assert_eq!(on_cpu("712482 15 3\n"), Some(712_482));
        assert_eq!(on_cpu(""), None);
    }

    #[test]
    fn the_proportional_set_size_is_the_line_pss_and_no_other() {
        let rollup =
            "55d0-7ffc ---p 00000000 00:00 0     [rollup]\nRss:   1712 kB\nPss:    437 kB\nPss_Dirty: 116 kB\n";
        assert_eq!(pss(rollup), Some(437 * 1024));
        assert_eq!(pss("Rss: 1 kB\nPss_Dirty: 116 kB\n"), None);
    }

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent("12 (a) (b) S 7 12 12 0"), Some(7));
        assert_eq!(parent("12"), None);
    }

    #[test]
    fn descendants_are_children_and_their_children() {
        let parents = [(1, 0), (7, 1), (8, 7), (9, 8), (10, 1), (11, 7)];
        assert_eq!(descendants(7, &parents), [7, 8, 11, 9]);
        assert_eq!(descendants(10, &parents), [10]);
    }

    #[test]
    fn this_process_has_had_a_cpu_and_has_memory() {
        let own = Process::new(std::process::id());
        assert!(own.cpu().unwrap() > Duration::ZERO);
        assert!(own.pss_bytes().unwrap() > 0);
        assert!(Process::new(u32::MAX).cpu().is_err());
    }
}
