//! The way of changes to the disk. One thread at a time is there, and takes along what has come up meanwhile, in the order in
//! which it holds. Whoever made a change waits for word of it, and for a bounded time; a disk that hangs has one thread.

use std::mem::take;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::passing::Whose;
use super::{Ledger, Lock, StateFile};
use crate::event::Level;
use crate::gateway::clock;
use crate::gateway::house::House;
use crate::gateway::watch::Watched;
use crate::policy::revocation::RevocationSet;
use crate::units::UnixSeconds;

/// How long the disk may take before what waits for it counts as lost, until it is written after all.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long whoever made a change waits for word of it. It comes by the watch, which looks once a second.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Whether a change survives a restart.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Kept {
    Yes,
    /// There is no `state`.
    InMemory,
    /// The state file does not have it yet, and why.
    Lost(String),
}

/// The state file, and how far it is.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    /// Held by the thread that is at the disk, as long as that takes.
    desk: Mutex<Desk>,
    progress: watch::Sender<Progress>,
}

/// What the thread at the disk works with.
#[derive(Debug)]
struct Desk {
    file: StateFile,
    /// Gone once the file is another process's.
    lock: Option<Lock>,
    /// The file as the next process writes it.
    next: Watched<PathBuf>,
}

/// How far the changes are, by their number.
#[derive(Debug, Default)]
struct Progress {
    /// The disk has them up to this one.
    on_disk: u64,
    /// Up to this one whoever waits was told, or is to be told, that the disk does not have them.
    lost: u64,
    /// What keeps the disk from having all; empty: nothing does.
    why: Arc<str>,
    /// How many were lost so, and how often the file was found moved.
    losses: u64,
}

/// What is to be done at the disk.
struct Work {
    errand: Errand,
    /// The lines of what changed; `None`: the file is to be written anew.
    lines: Option<Vec<String>>,
    /// What holds then.
    set: Arc<RevocationSet>,
    /// The number of the last change.
    change: u64,
}

#[derive(Clone, Copy)]
enum Errand {
    Write,
    Follow,
    Nothing,
}

impl Disk {
    pub(super) fn new(file: StateFile, lock: Lock) -> Self {
        let path = file.path().to_owned();
        let next = Watched::unread(path.clone(), vec![path.clone()]);
        Self { path, desk: Mutex::new(Desk { file, lock: Some(lock), next }), progress: watch::Sender::default() }
    }

    /// Whether anything has kept it from having all.
    fn was_kept(&self) -> bool {
        !self.progress.borrow().why.is_empty()
    }

    /// Whether it was not known that the changes up to this one are lost, or why.
    fn is_news(&self, change: u64, why: &str) -> bool {
        let progress = self.progress.borrow();
        change > progress.on_disk.max(progress.lost) || *progress.why != *why
    }

    /// The disk has every change up to this one.
    fn has(&self, change: u64) {
        self.progress.send_if_modified(|progress| {
            let goes_on = change > progress.on_disk;
            progress.on_disk = progress.on_disk.max(change);
            progress.why = Arc::default();
            goes_on
        });
    }

    /// The disk lacks the changes up to this one.
    fn lacks(&self, change: u64, why: &str) {
        self.progress.send_if_modified(|progress| {
            let more = change.saturating_sub(progress.on_disk.max(progress.lost));
            progress.lost = progress.lost.max(change);
            progress.losses = progress.losses.saturating_add(more);
            progress.why = why.into();
            more > 0
        });
    }

    fn was_moved(&self) {
        self.progress.send_if_modified(|progress| {
            progress.losses = progress.losses.saturating_add(1);
            false
        });
    }
}

impl Desk {
    fn write(&mut self, work: &Work, now: UnixSeconds) -> Result<(), String> {
        let path = self.file.path().to_owned();
        let appended = work.lines.as_ref().filter(|lines| !self.file.is_behind(lines.len()));
        let written = if let Some(lines) = appended {
            self.file.append(lines)
        } else {
            self.file.doubt();
            // Whoever put the folder away may have given its place to another gateway.
            let lock = self.lock.as_mut().ok_or("the state is another process's")?;
            lock.hold(path.parent().unwrap_or(Path::new(".")))?;
            self.file.write_anew(&work.set, now)
        };
        written.map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Ledger {
    /// Whether a change survives a restart: waits until the disk has it, or is known not to have it yet.
    pub(in crate::gateway) async fn kept(&self, change: u64) -> Kept {
        let Some(disk) = &self.disk else { return Kept::InMemory };
        let mut progress = disk.progress.subscribe();
        let word = progress.wait_for(|progress| change <= progress.on_disk.max(progress.lost));
        match timeout(LONGEST_WAIT, word).await {
            Ok(Ok(progress)) if change <= progress.on_disk => Kept::Yes,
            Ok(Ok(progress)) => Kept::Lost(progress.why.to_string()),
            Ok(Err(_)) | Err(_) => Kept::Lost(stalled(disk)),
        }
    }

    /// Changes that the disk did not take when they were made, since the start.
    pub(in crate::gateway) fn losses(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.progress.borrow().losses)
    }

    /// Takes what is to be done at the disk at this moment.
    fn take_work(&self, since: &Arc<Instant>) -> Work {
        let mut book = self.book();
        book.at_work = Arc::downgrade(since);
        book.is_due = false;
        let errand = match book.whose {
            Whose::Ours | Whose::Lending(_) => Errand::Write,
            Whose::Passing => Errand::Nothing,
            Whose::Anothers => Errand::Follow,
        };
        let (lines, count) = (take(&mut book.unwritten), take(&mut book.untaken));
        let lines = (lines.len() == count).then_some(lines);
        Work { errand, lines, set: self.called.load_full(), change: book.changes }
    }
}

impl House {
    /// Lets a thread see to the disk; if one does, it does so once more.
    pub(super) fn write_soon(self: &Arc<Self>) {
        if self.ledger.disk.is_none() {
            return;
        }
        let mut book = self.ledger.book();
        if book.at_work.strong_count() > 0 {
            book.is_due = true;
            return;
        }
        let since = Arc::new(Instant::now());
        book.at_work = Arc::downgrade(&since);
        let house = Arc::clone(self);
        drop(spawn_blocking(move || {
            house.see_to_the_disk();
            drop(since);
        }));
    }

    fn see_to_the_disk(&self) {
        let Some(disk) = &self.ledger.disk else { return };
        // A panic at the desk leaves the file to be written anew.
        let mut desk = disk.desk.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let since = Arc::new(Instant::now());
            let work = self.ledger.take_work(&since);
            let done = self.work(disk, &mut desk, &work);
            if self.rests(&desk, done) {
                return;
            }
        }
    }

    fn work(&self, disk: &Disk, desk: &mut Desk, work: &Work) -> Result<(), String> {
        match work.errand {
            Errand::Nothing => return Ok(()),
            Errand::Follow => {
                desk.lock = None;
                self.follow(&mut desk.next, clock::unix_now());
                return Ok(());
            }
            Errand::Write => {}
        }
        if desk.file.is_moved() {
            disk.was_moved();
            let text = format!("{} was moved away, replaced or cut: it is written anew", disk.path.display());
            self.notice(Level::Warning, "state_moved", text);
        }
        let written = desk.write(work, clock::unix_now());
        match &written {
            Err(why) => self.tell_lost(disk, work.change, why),
            Ok(()) => {
                if disk.was_kept() {
                    let text = format!("{} holds all revocations again", disk.path.display());
                    self.notice(Level::Info, "state_written", text);
                }
                disk.has(work.change);
            }
        }
        written
    }

    /// Whether nothing more is to be done. A process that asked for the state is told whether it may have it then.
    fn rests(&self, desk: &Desk, done: Result<(), String>) -> bool {
        let mut book = self.ledger.book();
        if book.is_due {
            return false;
        }
        book.at_work = Weak::new();
        let shared = || -> Result<OwnedFd, String> {
            done?;
            let lock = desk.lock.as_ref().ok_or("its lock is gone")?;
            lock.share().map_err(|error| error.to_string())
        };
        book.whose.answer(shared);
        true
    }

    /// Tells what waits for a disk that does not answer.
    pub(super) fn tell_if_stalled(&self) {
        let Some(disk) = &self.ledger.disk else { return };
        let book = self.ledger.book();
        let hangs = book.at_work.upgrade().is_some_and(|since| since.elapsed() >= PATIENCE);
        let change = book.changes;
        drop(book);
        if hangs && disk.progress.borrow().on_disk < change {
            self.tell_lost(disk, change, &stalled(disk));
        }
    }

    fn tell_lost(&self, disk: &Disk, change: u64, why: &str) {
        // Whoever waits is answered behind the notice.
        if disk.is_news(change, why) {
            let text = format!("{why}: what was revoked holds, and would be lost with this process; it is tried again");
            self.notice(Level::Error, "state_lost", text);
        }
        disk.lacks(change, why);
    }
}

fn stalled(disk: &Disk) -> String {
    format!("{}: the disk has not answered for {} seconds", disk.path.display(), PATIENCE.as_secs())
}

#[cfg(test)]
mod tests;
