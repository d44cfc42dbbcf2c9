//! What is revoked while the gateway runs: entries that calls made, kept in the state file, and entries of the file that
//! an operator lists them in.
//!
//! The order is that of safety: an entry holds before anybody looks at the live sessions, those that it reaches are ended,
//! and then it is written. A handshake registers before it looks what is revoked, so it sees the entry, or is found among
//! the sessions. A disk that takes nothing costs the entry its life beyond a restart, never its effect.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::house::House;
use super::sessions::Resident;
use crate::event::Level;
use crate::peer::ClientAddr;
use crate::policy::Refusal;
use crate::policy::revocation::{Entry, Facts, Full, RevocationSet, Target};
use crate::session::Cause;
use crate::units::UnixSeconds;

mod lock;
mod passing;
mod state;

pub(super) use lock::{Lock, lock};
pub(super) use passing::Lent;
pub(super) use state::{Change, Reading, StateFile};

use passing::Whose;

/// What is revoked.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By calls.
    called: ArcSwap<RevocationSet>,
    /// By the file.
    listed: ArcSwap<RevocationSet>,
    /// Whoever changes `called` holds this.
    book: Mutex<Option<Book>>,
    losses: AtomicU64,
}

/// The state file, and who writes it.
#[derive(Debug)]
struct Book {
    file: StateFile,
    /// Gone once the file is another process's.
    lock: Option<Lock>,
    whose: Whose,
}

/// What came of a call that revokes.
#[derive(Debug)]
pub(super) struct Revoked {
    /// The entry that holds from here on.
    pub(super) entry: Entry,
    /// The sessions that it ended.
    pub(super) ended: usize,
    pub(super) kept: Kept,
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

/// Whether a change survives a restart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    /// There is no `state`.
    InMemory,
    /// The state file could not be written.
    Lost(String),
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
            book: Mutex::new(Some(Book { file, lock: Some(lock), whose })),
            losses: AtomicU64::new(0),
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

    /// Changes that the state file did not take, since the start.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    fn book(&self) -> MutexGuard<'_, Option<Book>> {
        // A file counts as behind until a write has come to its end.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The book, where what calls change is this process's to say.
    fn book_to_change(&self) -> Result<MutexGuard<'_, Option<Book>>, Unchanged> {
        let book = self.book();
        let is_ours = book.as_ref().is_none_or(|book| matches!(book.whose, Whose::Ours));
        if is_ours { Ok(book) } else { Err(Unchanged::HandingOver) }
    }
}

impl House {
    /// Revokes, ends the sessions that the entry reaches, and writes it. Blocks until the disk has it.
    pub(super) fn revoke(&self, entry: Entry, now: UnixSeconds) -> Result<Revoked, Unchanged> {
        let mut book = self.ledger.book_to_change()?;
        let mut set = RevocationSet::clone(&self.ledger.called.load());
        set.prune(now);
        let entry = set.insert(entry)?;
        self.ledger.called.store(Arc::new(set));
        let mut reach = RevocationSet::default();
        reach.insert(entry.clone())?;
        let ended = self.end_revoked(&reach, now);
        let kept = self.write(&mut book, &Change::Hold(&entry), now);
        Ok(Revoked { entry, ended, kept })
    }

    /// Takes an entry out that a call made.
    pub(super) fn lift(&self, target: &Target, now: UnixSeconds) -> Result<Kept, Unchanged> {
        let mut book = self.ledger.book_to_change()?;
        let mut set = RevocationSet::clone(&self.ledger.called.load());
        if !set.lift(target) {
            return Err(Unchanged::Unknown);
        }
        self.ledger.called.store(Arc::new(set));
        Ok(self.write(&mut book, &Change::Lift(target), now))
    }

    /// Revokes what the operator's file lists, and nothing else that it listed before; the sessions that this ended.
    pub(super) fn relist(&self, listed: RevocationSet, now: UnixSeconds) -> usize {
        let listed = Arc::new(listed);
        self.ledger.listed.store(Arc::clone(&listed));
        self.end_revoked(&listed, now)
    }

    /// Forgets what has ended, and writes what the disk did not take before; follows a state that is another process's.
    /// Blocks.
    pub(super) fn tend_ledger(&self, now: UnixSeconds) {
        let mut book = self.ledger.book();
        match book.as_mut().map(|book| &mut book.whose) {
            Some(Whose::Passing) => return,
            Some(Whose::Anothers(file)) => return self.follow(file, now),
            Some(Whose::Ours) | None => {}
        }
        if self.ledger.called.load().has_ended(now) {
            let mut set = RevocationSet::clone(&self.ledger.called.load());
            set.prune(now);
            self.ledger.called.store(Arc::new(set));
        }
        let Some(Book { file, .. }) = book.as_mut().filter(|book| book.file.is_behind()) else { return };
        if file.compact(&self.ledger.called.load()).is_ok() {
            self.notice(Level::Info, "state_written", format!("{} holds all revocations again", file.path().display()));
        }
    }

    fn end_revoked(&self, reach: &RevocationSet, now: UnixSeconds) -> usize {
        let is_reached = |one: &Arc<Resident>| one.judge_by_facts(|facts| reach.judge(facts, now)).is_err();
        let reached = self.sessions.all().into_iter().filter(is_reached);
        let ended: Vec<_> = reached.filter(|one| one.control.mark(Cause::Revoked)).collect();
        // No byte of their clients passes from here on, whenever each has its turn.
        ended.iter().for_each(|one| one.control.wake());
        ended.len()
    }

    fn write(&self, book: &mut Option<Book>, change: &Change<'_>, now: UnixSeconds) -> Kept {
        let Some(Book { file, .. }) = book.as_mut() else { return Kept::InMemory };
        let mut set = RevocationSet::clone(&self.ledger.called.load());
        set.prune(now);
        match file.write(change, &set) {
            Ok(()) => Kept::Yes,
            Err(error) => {
                let why = format!("{}: {error}", file.path().display());
                self.ledger.losses.fetch_add(1, Ordering::Relaxed);
                let text = format!("{why}: a revocation holds, and would be lost with this process; it is tried again");
                self.notice(Level::Error, "state_lost", text);
                Kept::Lost(why)
            }
        }
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
