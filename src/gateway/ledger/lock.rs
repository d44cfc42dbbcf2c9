//! One process to one state: who begins to write where another still writes would tear its lines.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a lock that somebody holds is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// Held as long as it lives; the system gives it back when a process ends, however it ends.
#[derive(Debug)]
pub(in crate::gateway) struct Lock {
    _file: File,
}

/// Takes the lock of the state in this folder. Another process may hold it for so long: one that is about to end.
///
/// # Errors
/// One line that names the file: another process holds it, or what the system said.
pub(in crate::gateway) async fn lock(folder: &Path, patience: Duration) -> Result<Lock, String> {
    let path = folder.join("lock");
    let told = |what: &dyn std::fmt::Display| format!("state {}: {what}", path.display());
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|error| told(&error))?;
    let end = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) if Instant::now() < end => sleep(PAUSE).await,
            Err(TryLockError::WouldBlock) => return Err(told(&"another gateway holds this state")),
            Err(TryLockError::Error(error)) => return Err(told(&error)),
        }
    }
}
