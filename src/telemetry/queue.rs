//! Lines on their way to a writer that may be slow: a bounded queue and one thread.
//!
//! Whoever has a line never waits. What finds no room, or cannot be written, is counted, and the count is told in a
//! line as soon as one can be written again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long the writer waits for a line before it asks for sums to tell.
const TICK: Duration = Duration::from_secs(1);

/// How long lines are gathered behind a batch. Under load the writer is then not woken for each of them.
const GATHER: Duration = Duration::from_millis(5);

/// Bytes that are handed to the writer at once, and at most one line more.
const BATCH_BYTES: usize = 64 * 1024;

/// Makes the lines that tell what has no line: called by the writer with the number of lines lost since it last asked.
pub type Sums = Box<dyn FnMut(u64) -> Vec<String> + Send>;

/// Where lines are put in.
#[derive(Clone, Debug)]
pub struct Lines {
    sender: SyncSender<Option<String>>,
    losses: Arc<Losses>,
}

/// Ends the writer: what is queued is written, within a bounded time.
#[derive(Debug)]
pub struct WriterGuard {
    sender: SyncSender<Option<String>>,
    stopping: Arc<AtomicBool>,
    finished: Receiver<()>,
}

/// Whether the writer wrote all that was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flushed {
    /// All that was queued is written.
    Whole,
    /// The writer was still blocked when the time was over.
    Abandoned,
}

/// Starts the writer's thread. `capacity` lines may wait for it.
pub fn start<W: Write + Send + 'static>(writer: W, capacity: usize, sums: Sums) -> io::Result<(Lines, WriterGuard)> {
    let (sender, receiver) = sync_channel(capacity.max(1));
    let (finish, finished) = sync_channel(1);
    let losses = Arc::new(Losses::default());
    let stopping = Arc::new(AtomicBool::new(false));
    let mut desk = Desk {
        writer,
        sums,
        losses: Arc::clone(&losses),
        stopping: Arc::clone(&stopping),
        capacity,
        buffer: Vec::new(),
        unwritten: Vec::new(),
        broken: false,
    };
    thread::Builder::new().name("wsgate-log".into()).spawn(move || {
        desk.serve(&receiver);
        // From here on lines are refused and counted.
        drop(receiver);
        // Nobody may wait any more: that is no failure.
        let _ = finish.try_send(());
    })?;
    Ok((Lines { sender: sender.clone(), losses }, WriterGuard { sender, stopping, finished }))
}

impl Lines {
    /// Queues a line, without its line end, or counts it as lost.
    pub fn put(&self, line: String) {
        if self.sender.try_send(Some(line)).is_err() {
            self.losses.add(1);
        }
    }

    /// Lines lost since the start.
    pub fn lost(&self) -> u64 {
        self.losses.total.load(Ordering::Relaxed)
    }
}

impl WriterGuard {
    /// Has the writer write what is queued and end, and waits for it at most `wait`. Lines put in later are lost.
    pub fn finish(self, wait: Duration) -> Flushed {
        self.stopping.store(true, Ordering::Release);
        // A full queue needs no waking: the writer looks at `stopping` after every line.
        let _ = self.sender.try_send(None);
        match self.finished.recv_timeout(wait) {
            Ok(()) => Flushed::Whole,
            Err(_) => Flushed::Abandoned,
        }
    }
}

#[derive(Debug, Default)]
struct Losses {
    total: AtomicU64,
    untold: AtomicU64,
}

impl Losses {
    fn add(&self, count: u64) {
        self.total.fetch_add(count, Ordering::Relaxed);
        self.untold.fetch_add(count, Ordering::Relaxed);
    }
}

/// The writer's thread: what it writes to, and what it knows of losses.
struct Desk<W: Write> {
    writer: W,
    sums: Sums,
    losses: Arc<Losses>,
    stopping: Arc<AtomicBool>,
    capacity: usize,
    buffer: Vec<u8>,
    /// Sums that could not be written yet; no more than there are reasons.
    unwritten: Vec<String>,
    /// A write failed, perhaps within a line: the next one begins a line of its own.
    broken: bool,
}

impl<W: Write> Desk<W> {
    #[expect(clippy::disallowed_methods, reason = "sums are told once a tick, however fast lines come")]
    fn serve(&mut self, lines: &Receiver<Option<String>>) {
        let mut next_sums = Instant::now() + TICK;
        loop {
            let gathers = match lines.recv_timeout(next_sums.saturating_duration_since(Instant::now())) {
                // A full batch may have left others behind: they are not waited for.
                Ok(first) => self.write_batch(first, lines) == Batch::Lines && self.buffer.len() < BATCH_BYTES,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return self.tell_sums(),
            };
            if self.stopping.load(Ordering::Acquire) {
                return self.write_rest(lines);
            }
            if gathers {
                thread::sleep(GATHER);
            }
            if Instant::now() >= next_sums {
                self.tell_sums();
                next_sums = Instant::now() + TICK;
            }
        }
    }

    fn write_rest(&mut self, lines: &Receiver<Option<String>>) {
        // Lines may still come in: at most a whole queue of them is written.
        for _ in 0..self.capacity {
            if self.write_batch(None, lines) == Batch::Empty {
                break;
            }
        }
        self.tell_sums();
    }

    /// Writes a line and those that wait behind it, up to `BATCH_BYTES` in one call.
    fn write_batch(&mut self, first: Option<String>, lines: &Receiver<Option<String>>) -> Batch {
        let mut count = 0;
        self.buffer.clear();
        let mut next = first.or_else(|| next_line(lines));
        while let Some(line) = next.take() {
            count += 1;
            self.buffer.extend_from_slice(line.as_bytes());
            self.buffer.push(b'\n');
            if self.buffer.len() < BATCH_BYTES {
                next = next_line(lines);
            }
        }
        if count == 0 {
            return Batch::Empty;
        }
        if self.hand_on().is_err() {
            self.losses.add(count);
        }
        Batch::Lines
    }

    /// Tells what was counted. Counts that could not be written stay in their lines and are told with the next ones.
    fn tell_sums(&mut self) {
        if self.unwritten.is_empty() {
            let lost = self.losses.untold.swap(0, Ordering::Relaxed);
            self.unwritten = (self.sums)(lost);
        }
        if self.unwritten.is_empty() {
            return;
        }
        self.buffer.clear();
        for line in &self.unwritten {
            self.buffer.extend_from_slice(line.as_bytes());
            self.buffer.push(b'\n');
        }
        if self.hand_on().is_ok() {
            self.unwritten.clear();
        }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let begun = if self.broken { self.writer.write_all(b"\n") } else { Ok(()) };
        let written = begun.and_then(|()| self.writer.write_all(&self.buffer)).and_then(|()| self.writer.flush());
        self.broken = written.is_err();
        written
    }
}

/// Whether a batch had anything in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    Lines,
    Empty,
}

fn next_line(lines: &Receiver<Option<String>>) -> Option<String> {
    lines.try_iter().flatten().next()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// Keeps what is written; waits for a permit before each write, where it has a gate; fails where told.
    #[derive(Clone, Default)]
    struct Paper {
        written: Arc<Mutex<Vec<u8>>>,
        gate: Option<Arc<Mutex<Receiver<()>>>>,
        at_gate: Option<Sender<()>>,
        broken: Arc<AtomicBool>,
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(at_gate) = &self.at_gate {
                let _ = at_gate.send(());
            }
            if let Some(gate) = &self.gate {
                let _ = gate.lock().unwrap().recv();
            }
            if self.broken.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.written.lock().unwrap().clone()).unwrap().lines().map(String::from).collect()
        }
    }

    fn count_losses() -> Sums {
        Box::new(|lost| if lost > 0 { vec![format!("lost {lost}")] } else { Vec::new() })
    }

    #[test]
    fn lines_are_written_in_order_and_whole_at_the_end() {
        let paper = Paper::default();
        let (lines, guard) = start(paper.clone(), 1000, count_losses()).unwrap();
        for number in 0..500 {
            lines.put(format!("line {number}"));
        }
        assert_eq!(guard.finish(LONG), Flushed::Whole);
        assert_eq!(paper.lines(), (0..500).map(|number| format!("line {number}")).collect::<Vec<_>>());
        assert_eq!(lines.lost(), 0);
        lines.put("too late".into());
        assert_eq!(lines.lost(), 1);
    }

    #[test]
    fn rx19_a_blocked_writer_blocks_nobody_and_losses_are_told() {
        let ((open, gate), (at_gate, blocked)) = (channel(), channel());
        let gate = Some(Arc::new(Mutex::new(gate)));
        let paper = Paper { gate, at_gate: Some(at_gate), ..Paper::default() };
        let (lines, guard) = start(paper.clone(), 8, count_losses()).unwrap();
        lines.put("the line that blocks".into());
        blocked.recv_timeout(LONG).unwrap();
        for number in 1..10_000 {
            lines.put(format!("line {number}"));
        }
        let lost = lines.lost();
        assert_eq!(lost, 9_999 - 8, "what the queue does not hold");
        drop(open);
        assert_eq!(guard.finish(LONG), Flushed::Whole);
        let written = paper.lines();
        assert_eq!(written.last(), Some(&format!("lost {lost}")));
        assert_eq!(written.len() as u64 - 1 + lost, 10_000, "every line is written or counted");
    }

    #[test]
    fn rx19_a_writer_that_never_comes_back_ends_the_wait() {
        let (open, gate) = channel();
        let paper = Paper { gate: Some(Arc::new(Mutex::new(gate))), ..Paper::default() };
        let (lines, guard) = start(paper, 8, count_losses()).unwrap();
        lines.put("stuck".into());
        assert_eq!(guard.finish(Duration::from_millis(20)), Flushed::Abandoned);
        drop(open);
    }

    #[test]
    fn rx17_counts_that_could_not_be_written_are_told_later() {
        let paper = Paper::default();
        paper.broken.store(true, Ordering::SeqCst);
        let (began, asked) = channel();
        let mut given = 0;
        let sums: Sums = Box::new(move |_| {
            given += 1;
            let _ = began.send(());
            if given == 1 { vec!["suppressed 7".into()] } else { Vec::new() }
        });
        let (_lines, guard) = start(paper.clone(), 8, sums).unwrap();
        asked.recv_timeout(LONG).unwrap();
        paper.broken.store(false, Ordering::SeqCst);
        assert_eq!(guard.finish(LONG), Flushed::Whole);
        assert_eq!(paper.lines().iter().filter(|line| *line == "suppressed 7").count(), 1);
    }

    #[test]
    fn rx19_a_full_disk_is_counted() {
        let paper = Paper::default();
        paper.broken.store(true, Ordering::SeqCst);
        let (lines, guard) = start(paper.clone(), 8, count_losses()).unwrap();
        lines.put("one".into());
        assert_eq!(guard.finish(LONG), Flushed::Whole);
        assert_eq!((lines.lost(), paper.lines().len()), (1, 0));
    }
}
