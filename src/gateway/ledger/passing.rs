//! The state on its way from one process to the next: only one of them writes it at any moment.
//!
//! The old one lends it, and changes nothing until that fails or it is relieved; the next one changes nothing until it is
//! told that the state is its own. So what a call was promised is on the disk before the next one reads it, or is
//! promised by the next one. From then on the old one follows what the next one writes, for as long as it drains.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::disk::PATIENCE;
use super::state;
use crate::event::Level;
use crate::gateway::house::House;
use crate::gateway::watch::{self, Watched};
use crate::units::UnixSeconds;

/// Whoever waits for the lock of the state, or for why there is none.
type Asked = oneshot::Sender<Result<OwnedFd, String>>;

/// Who changes the state, and writes its file.
#[derive(Debug, Default)]
pub(super) enum Whose {
    #[default]
    Ours,
    /// Ours to write what was changed, and not to change anything: another process is to take it.
    Lending(Asked),
    /// Nobody's at this moment: one process gives it, another takes it.
    Passing,
    /// The next process's.
    Anothers,
}

impl Whose {
    /// Gives the state away where somebody asks for it and all of it is written; else it stays.
    pub(super) fn answer(&mut self, lock: impl FnOnce() -> Result<OwnedFd, String>) {
        match std::mem::take(self) {
            Self::Lending(asked) => {
                let lock = lock();
                *self = if lock.is_ok() { Self::Passing } else { Self::Ours };
                // Whoever asked may have gone; then he takes it back.
                let _ = asked.send(lock);
            }
            other => *self = other,
        }
    }
}

/// Takes the state back where it is dropped before the state is another process's.
struct Loan(Arc<House>);

impl Drop for Loan {
    fn drop(&mut self) {
        let mut book = self.0.ledger.book();
        if matches!(book.whose, Whose::Lending(_) | Whose::Passing) {
            book.whose = Whose::Ours;
        }
    }
}

/// A state that another process is about to take; taken back where it is dropped before it was [relieved](Self::relieve).
pub(in crate::gateway) struct Lent {
    loan: Loan,
    lock: OwnedFd,
}

impl AsFd for Lent {
    /// The lock.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

impl Lent {
    /// The state is the other process's from here on.
    pub(in crate::gateway) fn relieve(self) {
        let house = &self.loan.0;
        house.ledger.book().whose = Whose::Anothers;
        // The lock is given up, and the file followed.
        house.write_soon();
    }
}

impl House {
    /// Lends the state to another process, once the disk has all of it; `None`: there is none.
    ///
    /// # Errors
    /// Where the disk does not take what was changed: the next process would not know it.
    pub(in crate::gateway) async fn lend_ledger(self: &Arc<Self>) -> io::Result<Option<Lent>> {
        if self.ledger.disk.is_none() {
            return Ok(None);
        }
        let (asked, word) = oneshot::channel();
        let loan = self.begin_to_lend(asked)?;
        self.write_soon();
        let late = |_| io::Error::other("the disk does not take what was revoked");
        let word = timeout(PATIENCE, word).await.map_err(late)?;
        let lock = word.map_err(io::Error::other)?.map_err(io::Error::other)?;
        Ok(Some(Lent { loan, lock }))
    }

    fn begin_to_lend(self: &Arc<Self>, asked: Asked) -> io::Result<Loan> {
        let mut book = self.ledger.book();
        if !matches!(book.whose, Whose::Ours) {
            return Err(io::Error::other("the state goes to another process already"));
        }
        book.whose = Whose::Lending(asked);
        Ok(Loan(Arc::clone(self)))
    }

    /// Takes a state that another process gave, and lets its file be written anew.
    pub(in crate::gateway) fn keep_ledger(self: &Arc<Self>) {
        let mut book = self.ledger.book();
        if matches!(book.whose, Whose::Passing) {
            book.whose = Whose::Ours;
            drop(book);
            self.write_soon();
        }
    }

    /// Holds what the state file of the next process says, where that changed, and ends the sessions that it reaches.
    pub(super) fn follow(&self, file: &mut Watched<PathBuf>, now: UnixSeconds) {
        let mut kept = Vec::new();
        let read = file.read("state_unread", &mut kept, |path| state::look(path, now));
        watch::complain(self, kept);
        let Some(set) = read else { return };
        let set = Arc::new(set);
        self.ledger.called.store(Arc::clone(&set));
        let ended = self.end_revoked(&set, now);
        if ended > 0 {
            self.notice(Level::Info, "revoked", format!("the next process revoked; {ended} sessions ended here"));
        }
    }
}
