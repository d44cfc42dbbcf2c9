//! What is revoked while the gateway runs: entries that calls made, kept in the state file, and entries of the file that
//! an operator lists them in.
//!
//! The order is that of safety: an entry holds before anybody looks at the live sessions, those that it reaches are ended,
//! and then it is written. A handshake registers before it looks what is revoked, so it sees the entry, or is found among
//! the sessions. A disk that takes nothing costs the entry its life beyond a restart, never its effect: nobody who changes
//! what is revoked, or looks at it, waits for the disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::house::House;
use super::sessions::Resident;
use crate::peer::ClientAddr;
use crate::policy::Refusal;
use crate::policy::revocation::{Entry, Facts, Full, RevocationSet, Target};
use crate::session::Cause;
use crate::units::UnixSeconds;

mod disk;
mod lock;
mod passing;
mod state;

pub(super) use disk::Kept;
pub(super) use lock::{Lock, lock};
pub(super) use passing::Lent;

use disk::Disk;
use passing::Whose;
use state::{Change, Reading, StateFile, line};

/// Lines that wait for the disk; with more than these the file is written anew, which needs no lines.
const MOST_UNWRITTEN: usize = 1024;

/// What is revoked.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By calls.
    called: ArcSwap<RevocationSet>,
    /// By the file.
    listed: ArcSwap<RevocationSet>,
    /// Whoever changes `called` holds this, and waits for no disk meanwhile.
    book: Mutex<Book>,
    /// `None`: there is no `state`.
    disk: Option<Disk>,
}

/// What calls changed, in the order in which it holds.
#[derive(Debug, Default)]
struct Book {
    whose: Whose,
    /// How many changes there were: the number of the last one.
    changes: u64,
    /// How many of them nobody has begun to write.
    untaken: usize,
    /// Their lines, up to the bound.
    unwritten: Vec<String>,
    /// Something has come up since the thread at the disk took its work.
    is_due: bool,
    /// Since when a thread has been at the disk; nothing is left of it when that thread ends, however it ends.
    at_work: Weak<Instant>,
}

/// What came of a call that revokes.
#[derive(Debug)]
pub(super) struct Revoked {
    /// The entry that holds from here on.
    pub(super) entry: Entry,
    /// The sessions that it ended.
    pub(super) ended: usize,
    /// Its number, for [`Ledger::kept`].
    pub(super) change: u64,
}

/// Why nothing was revoked or lifted.
#[derive(Debug)]
pub(super) enum Unchanged {
    Full(Full),
    /// No call made this entry.
    Unknown,
    /// The state goes from one process to another.
    HandingOver,
}

impl From<Full> for Unchanged {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl Ledger {
    /// What the state file in this folder holds, and what the operator's file lists. `said`: what is to be told of it.
    ///
    /// # Errors
    /// One line that names the file, and the line where one is wrong.
    pub(super) fn open(
        folder: &Path,
        lock: Lock,
        listed: RevocationSet,
        now: UnixSeconds,
    ) -> Result<(Self, Option<String>), String> {
        Ok(Self::of(StateFile::open(folder, now)?, lock, Whose::Ours, listed))
    }

    /// The same of a state that another process still has: nothing is changed until it is [kept](House::keep_ledger).
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub(super) fn borrow(
        folder: &Path,
        lock: Lock,
        listed: RevocationSet,
        now: UnixSeconds,
    ) -> Result<(Self, Option<String>), String> {
        Ok(Self::of(StateFile::borrow(folder, now)?, lock, Whose::Passing, listed))
    }

    fn of(reading: Reading, lock: Lock, whose: Whose, listed: RevocationSet) -> (Self, Option<String>) {
        let Reading { file, set, said } = reading;
        let ledger = Self {
            called: ArcSwap::from_pointee(set),
            listed: ArcSwap::from_pointee(listed),
            book: Mutex::new(Book { whose, ..Book::default() }),
            disk: Some(Disk::new(file, lock)),
        };
        (ledger, said)
    }

    /// Nothing but what the operator's file lists: calls are forgotten with the process.
    pub(super) fn in_memory(listed: RevocationSet) -> Self {
        Self { listed: ArcSwap::from_pointee(listed), ..Self::default() }
    }

    /// Judges a handshake whose credential holds, or a live session.
    pub(super) fn judge(&self, facts: &Facts<'_>, now: UnixSeconds) -> Result<(), Refusal> {
        self.called.load().judge(facts, now)?;
        self.listed.load().judge(facts, now)
    }

    /// Whether connections of this client are dropped.
    pub(super) fn denies(&self, client: ClientAddr, now: UnixSeconds) -> bool {
        self.called.load().denies(client, now) || self.listed.load().denies(client, now)
    }

    /// What calls revoked, and what the operator's file lists.
    pub(super) fn sets(&self) -> [Arc<RevocationSet>; 2] {
        [self.called.load_full(), self.listed.load_full()]
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A panic in there may leave a change without its line: then the file is written anew.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The book, where what calls change is this process's to say.
    fn book_to_change(&self) -> Result<MutexGuard<'_, Book>, Unchanged> {
        let book = self.book();
        if matches!(book.whose, Whose::Ours) { Ok(book) } else { Err(Unchanged::HandingOver) }
    }

    /// Takes note of a change that holds already; its number.
    fn note(&self, book: &mut Book, change: &Change<'_>) -> u64 {
        if self.disk.is_some() {
            book.changes = book.changes.saturating_add(1);
            book.untaken = book.untaken.saturating_add(1);
            if book.unwritten.len() < MOST_UNWRITTEN {
                book.unwritten.push(line(change));
            }
        }
        book.changes
    }
}

impl House {
    /// Revokes, ends the sessions that the entry reaches, and lets it be written.
    pub(super) fn revoke(self: &Arc<Self>, entry: Entry, now: UnixSeconds) -> Result<Revoked, Unchanged> {
        let mut book = self.ledger.book_to_change()?;
        let mut set = RevocationSet::clone(&self.ledger.called.load());
        set.prune(now);
        let entry = set.insert(entry)?;
        self.ledger.called.store(Arc::new(set));
        let change = self.ledger.note(&mut book, &Change::Hold(&entry));
        drop(book);
        let mut reach = RevocationSet::default();
        reach.insert(entry.clone())?;
        let ended = self.end_revoked(&reach, now);
        self.write_soon();
        Ok(Revoked { entry, ended, change })
    }

    /// Takes an entry out that a call made; the number of the change, for [`Ledger::kept`].
    pub(super) fn lift(self: &Arc<Self>, target: &Target) -> Result<u64, Unchanged> {
        let mut book = self.ledger.book_to_change()?;
        let mut set = RevocationSet::clone(&self.ledger.called.load());
        if !set.lift(target) {
            return Err(Unchanged::Unknown);
        }
        self.ledger.called.store(Arc::new(set));
        let change = self.ledger.note(&mut book, &Change::Lift(target));
        drop(book);
        self.write_soon();
        Ok(change)
    }

    /// Revokes what the operator's file lists, and nothing else that it listed before; the sessions that this ended.
    pub(super) fn relist(&self, listed: RevocationSet, now: UnixSeconds) -> usize {
        let listed = Arc::new(listed);
        self.ledger.listed.store(Arc::clone(&listed));
        self.end_revoked(&listed, now)
    }

    /// Forgets what has ended, and lets the disk be seen to.
    pub(super) fn tend_ledger(self: &Arc<Self>, now: UnixSeconds) {
        let book = self.ledger.book();
        if matches!(book.whose, Whose::Ours) && self.ledger.called.load().has_ended(now) {
            let mut set = RevocationSet::clone(&self.ledger.called.load());
            set.prune(now);
            self.ledger.called.store(Arc::new(set));
        }
        drop(book);
        self.tell_if_stalled();
        self.write_soon();
    }

    fn end_revoked(&self, reach: &RevocationSet, now: UnixSeconds) -> usize {
        let is_reached = |one: &Arc<Resident>| one.judge_by_facts(|facts| reach.judge(facts, now)).is_err();
        let reached = self.sessions.all().into_iter().filter(is_reached);
        let ended: Vec<_> = reached.filter(|one| one.control.mark(Cause::Revoked)).collect();
        // No byte of their clients passes from here on, whenever each has its turn.
        ended.iter().for_each(|one| one.control.wake());
        ended.len()
    }
}

/// The folder of the state, made where it is missing: for its owner alone.
///
/// # Errors
/// One line that names it.
pub(super) fn make_folder(folder: &Path) -> Result<PathBuf, String> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map(|()| folder.to_owned()).map_err(|error| format!("state {}: {error}", folder.display()))
}
