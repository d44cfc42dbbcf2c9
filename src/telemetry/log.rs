//! The log: an observer that writes one line for each event, through a queue, refusal floods sampled.

use std::io::{self, Write};
use std::sync::Arc;

use super::clock::Clock;
use super::line;
use super::queue::{self, Lines, Sums, WriterGuard};
use super::sampler::{Sampler, Verdict};
use crate::config::{LogConfig, LogFormat};
use crate::event::{Event, Observer};

/// Writes one line for each event, without ever waiting for the writer.
#[derive(Clone)]
pub struct Log {
    format: LogFormat,
    clock: Clock,
    sampler: Arc<Sampler>,
    lines: Lines,
}

impl Log {
    /// A log that writes to `writer`, from a thread of its own. The guard writes out what waits when the process ends.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start<W: Write + Send + 'static>(
        config: &LogConfig,
        clock: Clock,
        writer: W,
    ) -> io::Result<(Self, WriterGuard)> {
        let sampler = Arc::new(Sampler::new(config.refusals));
        let sums = sums(config.format, Arc::clone(&clock), Arc::clone(&sampler));
        let (lines, guard) = queue::start(writer, config.queue, sums)?;
        Ok((Self { format: config.format, clock, sampler, lines }, guard))
    }

    /// Lines lost since the start, because the queue was full or the writer failed.
    pub fn lines_lost(&self) -> u64 {
        self.lines.lost()
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Observer for Log {
    fn observe(&self, event: &Event) {
        let moment = (self.clock)();
        if let Event::Refused(refused) = event
            && self.sampler.judge(refused.reason, moment.steady) == Verdict::Count
        {
            return;
        }
        self.lines.put(line::event(self.format, moment.wall, event));
    }

    fn untold(&self) -> u64 {
        self.lines_lost()
    }
}

fn sums(format: LogFormat, clock: Clock, sampler: Arc<Sampler>) -> Sums {
    Box::new(move |lost| {
        let wall = clock().wall;
        let mut lines: Vec<String> = sampler
            .take_suppressed()
            .into_iter()
            .map(|(reason, count)| line::suppressed(format, wall, reason, count))
            .collect();
        if lost > 0 {
            lines.push(line::lost(format, wall, lost));
        }
        lines
    })
}

#[cfg(test)]
mod tests;
