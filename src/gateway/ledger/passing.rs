//! The state on its way from one process to the next: only one of them writes it at any moment.
//!
//! The old one lends it, and changes nothing until that fails or it is relieved; the next one changes nothing until it is
//! told that the state is its own. So what a call was promised is on the disk before the next one reads it, or is
//! promised by the next one. From then on the old one follows what the next one writes, for as long as it drains.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Book, state};
use crate::event::Level;
use crate::gateway::house::House;
use crate::gateway::watch::{self, Watched};
use crate::units::UnixSeconds;

/// Who writes the state file.
#[derive(Debug)]
pub(super) enum Whose {
    Ours,
    /// Nobody's at this moment: one process gives it, another takes it.
    Passing,
    /// The next process's, and where it is.
    Anothers(Watched<PathBuf>),
}

/// A state that another process is about to take; taken back where it is dropped before it was [relieved](Self::relieve).
pub(in crate::gateway) struct Lent {
    house: Arc<House>,
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
        let mut book = self.house.ledger.book();
        if let Some(book) = book.as_mut() {
            let path = book.file.path().to_owned();
            book.whose = Whose::Anothers(Watched::unread(path.clone(), vec![path]));
            book.lock = None;
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut book = self.house.ledger.book();
        if let Some(book) = book.as_mut().filter(|book| matches!(book.whose, Whose::Passing)) {
            book.whose = Whose::Ours;
            // Whoever was to take it may have put a file of its own there.
            book.file.doubt();
        }
    }
}

impl House {
    /// Lends the state to another process; `None`: there is none. Blocks.
    ///
    /// # Errors
    /// Where the file lacks a change that the disk does not take: the next process would not know it.
    pub(in crate::gateway) fn lend_ledger(self: Arc<Self>) -> io::Result<Option<Lent>> {
        let mut book = self.ledger.book();
        let Some(Book { file, lock, whose }) = book.as_mut() else { return Ok(None) };
        let (Some(lock), Whose::Ours) = (lock, &whose) else {
            return Err(io::Error::other("the state goes to another process already"));
        };
        if file.is_behind() {
            file.compact(&self.ledger.called.load())?;
        }
        let lock = lock.share()?;
        *whose = Whose::Passing;
        drop(book);
        Ok(Some(Lent { house: self, lock }))
    }

    /// Takes a state that another process gave, and writes its file anew. Blocks.
    pub(in crate::gateway) fn keep_ledger(&self) {
        let mut book = self.ledger.book();
        let Some(book) = book.as_mut().filter(|book| matches!(book.whose, Whose::Passing)) else { return };
        book.whose = Whose::Ours;
        // A file that could not be written is behind, and is tried again.
        let _ = book.file.compact(&self.ledger.called.load());
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
