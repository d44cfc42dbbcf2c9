//! Files are read in threads of their own. A read on a mount that is gone hangs for as long as that is, and nothing can end
//! it: so nobody waits for one without an end, and only so many may hang.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::units::format_duration;

/// Threads that may read at a time, those that hang included.
const MOST: usize = 16;

/// Threads that read files.
#[derive(Clone, Debug)]
pub(super) struct Readers(Arc<Semaphore>);

/// A thread that reads files.
#[derive(Debug)]
pub(super) struct Reader {
    _place: OwnedSemaphorePermit,
}

/// Why nothing was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Every thread that may read hangs in it.
    Busy,
    /// It took longer than this.
    Late(Duration),
    /// A bug.
    Ended,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => write!(f, "{MOST} threads hang in reading files, and more are not begun"),
            Self::Late(time) => write!(f, "reading the files takes longer than {}", format_duration(*time)),
            Self::Ended => f.write_str("reading the files ended early: a bug"),
        }
    }
}

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Readers {
    /// A thread to read in; `None`: every one that may hangs.
    pub(super) fn reader(&self) -> Option<Reader> {
        Arc::clone(&self.0).try_acquire_owned().ok().map(|place| Reader { _place: place })
    }

    /// Reads in a thread, for which nobody waits longer than this.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        longest: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unread> {
        let reading = self.reader().ok_or(Unread::Busy)?.begin(read);
        let read = timeout(longest, reading).await.map_err(|_| Unread::Late(longest))?;
        read.map_err(|_| Unread::Ended)
    }
}

impl Reader {
    /// Begins to read.
    pub(super) fn begin<T: Send + 'static>(self, read: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        spawn_blocking(move || {
            let read = read();
            drop(self);
            read
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_millis(10);
    const LATE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn nobody_waits_for_a_read_that_hangs_and_only_so_many_do() {
        let readers = Readers::default();
        let mut ends = Vec::new();
        for _ in 0..MOST {
            let (end, hangs) = mpsc::channel::<()>();
            assert_eq!(readers.read(SOON, move || hangs.recv()).await, Err(Unread::Late(SOON)));
            ends.push(end);
        }
        assert_eq!(readers.read(LATE, || 7).await, Err(Unread::Busy));
        drop(ends.pop());
        while readers.0.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(readers.read(LATE, || 7).await, Ok(7), "one has come to its end");
        let ended: Result<(), _> = readers.read(LATE, || std::panic::resume_unwind(Box::new("a bug"))).await;
        assert_eq!(ended, Err(Unread::Ended));
        assert_eq!(readers.read(LATE, || 8).await, Ok(8), "and that holds no place");
    }
}
