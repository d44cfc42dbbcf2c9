//! One process to one state: who begins to write where another still writes would tear its lines.
//!
//! A lock of flock(2) belongs to the open file: whoever has its descriptor holds it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a lock that somebody holds is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// Held as long as it lives; the system gives it back when a process ends, however it ends.
#[derive(Debug)]
pub(in crate::gateway) struct Lock {
    file: File,
}

impl Lock {
    /// A descriptor by which another process holds it, too.
    pub(in crate::gateway) fn share(&self) -> io::Result<OwnedFd> {
        self.file.try_clone().map(OwnedFd::from)
    }

    /// The lock that another process shares; `None` where it is that of another folder, or somebody else has it.
    pub(in crate::gateway) fn adopt(shared: OwnedFd, folder: &Path) -> Option<Self> {
        let lock = Self { file: File::from(shared) };
        (lock.is_of(folder) && lock.file.try_lock().is_ok()).then_some(lock)
    }

    /// Makes sure that it is the lock of this folder still. Where its file was put away, it becomes the one at its place.
    ///
    /// # Errors
    /// As [`lock`].
    pub(super) fn hold(&mut self, folder: &Path) -> Result<(), String> {
        if !self.is_of(folder) {
            let file = open(folder)?;
            take(&file, folder)?;
            self.file = file;
        }
        Ok(())
    }

    fn is_of(&self, folder: &Path) -> bool {
        let ids =
            [self.file.metadata(), fs::metadata(path_in(folder))].map(|one| one.map(|one| (one.dev(), one.ino())));
        matches!(ids, [Ok(ours), Ok(there)] if ours == there)
    }
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join("lock")
}

/// Takes the lock of the state in this folder. Another process may hold it for so long: one that is about to end.
///
/// # Errors
/// One line that names the file: another process holds it, or what the system said.
pub(in crate::gateway) async fn lock(folder: &Path, patience: Duration) -> Result<Lock, String> {
    let file = open(folder)?;
    let end = Instant::now() + patience;
    loop {
        match take(&file, folder) {
            Ok(()) => return Ok(Lock { file }),
            Err(_) if Instant::now() < end => sleep(PAUSE).await,
            Err(said) => return Err(said),
        }
    }
}

fn open(folder: &Path) -> Result<File, String> {
    let path = path_in(folder);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    file.map_err(|error| format!("state {}: {error}", path.display()))
}

fn take(file: &File, folder: &Path) -> Result<(), String> {
    file.try_lock().map_err(|error| {
        let path = path_in(folder);
        match error {
            TryLockError::WouldBlock => format!("state {}: another gateway holds this state", path.display()),
            TryLockError::Error(error) => format!("state {}: {error}", path.display()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lock_that_is_shared_outlives_its_first_holder() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = lock(folder.path(), Duration::ZERO).await.unwrap();
        drop(lock(other.path(), Duration::ZERO).await.unwrap());
        assert!(Lock::adopt(first.share().unwrap(), other.path()).is_none(), "another folder's");
        let next = Lock::adopt(first.share().unwrap(), folder.path()).unwrap();
        drop(first);
        lock(folder.path(), Duration::ZERO).await.expect_err("the next one holds it");
        drop(next);
        lock(folder.path(), Duration::ZERO).await.expect("the twin: nobody holds it");
    }
}
