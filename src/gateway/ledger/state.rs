//! The state file: what calls revoked, one change a line, each with its checksum.
//!
//! Lines are only appended, and a change is on the disk before whoever asked for it is answered. So what can be torn is the
//! last line, of a change that nobody was promised. The file is written anew, beside itself, at each start, where it has
//! grown long, and after a write that failed. A process that takes over reads it, and writes it anew once it is its own.
//! What others put in its place is written over only where it says nothing that does not hold here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value};

use crate::policy::revocation::order::{End, Order};
use crate::policy::revocation::{Entry, KINDS, MOST_ENTRIES, RevocationSet, Target};
use crate::units::UnixSeconds;

/// The first line: what kind of file it is, and of which form.
const HEADER: &str = "wsgate revocations 1";
/// Bytes of a file that are read; no file that a gateway wrote is longer.
const LONGEST: u64 = 64 << 20;
/// Lines from which on the file is written anew.
const MANY_LINES: usize = 2 * MOST_ENTRIES;
/// Hexadecimal digits of a checksum.
const CHECKSUM: usize = 16;

/// What one line tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change<'c> {
    /// An entry holds.
    Hold(&'c Entry),
    /// An entry holds no longer.
    Lift(&'c Target),
}

/// The file of a gateway that runs.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    /// What lines are appended to; `None`: it lacks a change, or is not the file at `path`, and is to be written anew.
    file: Option<File>,
    lines: usize,
    /// The file at `path` as it was left, or read; `None`: there was none.
    left: Option<Left>,
}

/// How a file was left: its device and inode, and how long it is.
#[derive(Debug)]
struct Left {
    id: (u64, u64),
    /// A write that failed may have left a part of itself.
    lengths: RangeInclusive<u64>,
}

impl Left {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { id: (metadata.dev(), metadata.ino()), lengths: metadata.len()..=metadata.len() })
    }

    fn stands_at(&self, path: &Path) -> bool {
        let is_it = |there: fs::Metadata| (there.dev(), there.ino()) == self.id && self.lengths.contains(&there.len());
        fs::metadata(path).is_ok_and(is_it)
    }
}

/// What a file held at the start.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) file: StateFile,
    pub(super) set: RevocationSet,
    /// What an operator should know of it.
    pub(super) said: Option<String>,
}

impl StateFile {
    /// Reads the file in this folder, and writes it anew without what has ended.
    ///
    /// # Errors
    /// One line that names the file, and the line that is not one of ours.
    pub(super) fn open(folder: &Path, now: UnixSeconds) -> Result<Reading, String> {
        let mut reading = Self::borrow(folder, now)?;
        let Reading { file, set, .. } = &mut reading;
        file.write_anew(set, now).map_err(|error| format!("{}: {error}", file.path.display()))?;
        Ok(reading)
    }

    /// The same of a file that another process may write still: it is left as it is, and is behind.
    pub(super) fn borrow(folder: &Path, now: UnixSeconds) -> Result<Reading, String> {
        let path = folder.join("revocations");
        let (left, bytes) = read(&path).map_err(|error| format!("{}: {error}", path.display()))?.unzip();
        let told = |(line, what)| format!("{}:{line}: {what}; put the file away to start without it", path.display());
        let (set, said) = bytes.map(|bytes| replay(&bytes, now)).transpose().map_err(told)?.unwrap_or_default();
        let said = said.map(|what| format!("{}: {what}", path.display()));
        Ok(Reading { file: Self { path, file: None, lines: 0, left }, set, said })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It lacks a change from here on, until it is written anew.
    pub(super) fn doubt(&mut self) {
        self.file = None;
    }

    /// Finds out whether another file stands at its place, or none, or a part of it; if so, it is to be written anew.
    pub(super) fn is_moved(&mut self) -> bool {
        let is_moved = self.file.is_some() && !self.is_as_left();
        if is_moved {
            self.file = None;
        }
        is_moved
    }

    /// Whether so many lines cannot be appended, or nothing can: then it is to be written anew.
    pub(super) fn is_behind(&self, lines: usize) -> bool {
        self.file.is_none() || self.lines.saturating_add(lines) > MANY_LINES
    }

    /// Appends the lines of changes, and waits until the disk has them.
    pub(super) fn append(&mut self, lines: &[String]) -> io::Result<()> {
        // A write that fails may leave a part of a line: nothing is appended to that.
        let Some(mut file) = self.file.take() else { return Err(io::ErrorKind::NotFound.into()) };
        let bytes = lines.concat();
        if !bytes.is_empty() {
            let mut left = Left::of(&file)?;
            let length = left.lengths.end().saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            left.lengths = *left.lengths.start()..=length;
            self.left = Some(left);
            file.write_all(bytes.as_bytes())?;
            file.sync_data()?;
            self.left = Some(Left::of(&file)?);
        }
        self.file = Some(file);
        self.lines = self.lines.saturating_add(lines.len());
        Ok(())
    }

    /// Writes the whole file anew, with what `set` holds. Only whoever holds the lock may.
    pub(super) fn write_anew(&mut self, set: &RevocationSet, now: UnixSeconds) -> io::Result<()> {
        self.file = None;
        if !self.is_as_left() {
            judge_what_stands(&self.path, set, now)?;
        }
        let entries = set.entries();
        let beside = self.path.with_extension("next");
        let written = write_beside(&beside, &self.path, &entries);
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        let file = written?;
        self.left = Some(Left::of(&file)?);
        (self.file, self.lines) = (Some(file), entries.len());
        Ok(())
    }

    fn is_as_left(&self) -> bool {
        self.left.as_ref().is_some_and(|left| left.stands_at(&self.path))
    }
}

/// Whether what somebody put at `path` may be written over: it is nothing, or says nothing that does not hold by `set`.
///
/// # Errors
/// What it says, and what to do.
fn judge_what_stands(path: &Path, set: &RevocationSet, now: UnixSeconds) -> io::Result<()> {
    let Some((_, bytes)) = read(path)?.filter(|(_, bytes)| !bytes.is_empty()) else { return Ok(()) };
    let (theirs, _) = replay(&bytes, now).map_err(|(line, what)| {
        io::Error::other(format!("another file stands there (line {line}: {what}): put it away"))
    })?;
    if set.includes(&theirs) {
        return Ok(());
    }
    let what =
        "another state stands there, with entries that do not hold here: put it away, or restart to take them in";
    Err(io::Error::other(what))
}

/// What holds by another process's file at this moment. A torn last line is one that it writes just now.
///
/// # Errors
/// One line that names the file, and the line that is not one of ours.
pub(super) fn look(path: &Path, now: UnixSeconds) -> Result<RevocationSet, String> {
    let read = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (_, bytes) = read.ok_or_else(|| format!("{}: it is gone", path.display()))?;
    replay(&bytes, now).map(|(set, _)| set).map_err(|(line, what)| format!("{}:{line}: {what}", path.display()))
}

fn read(path: &Path) -> io::Result<Option<(Left, Vec<u8>)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (left, mut bytes) = (Left::of(&file)?, Vec::new());
    file.take(LONGEST.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than any state file: it is another's"));
    }
    Ok(Some((left, bytes)))
}

/// What holds after all lines of a file, less what has ended; and what is to be said where the last one was torn. An error names the line.
fn replay(bytes: &[u8], now: UnixSeconds) -> Result<(RevocationSet, Option<String>), (usize, String)> {
    let mut set = RevocationSet::default();
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    let header = lines.next().map(|(_, line)| line);
    if header.and_then(|line| line.strip_suffix(b"\n")) != Some(HEADER.as_bytes()) {
        return Err((1, format!("this is no state file of this version: it does not begin with `{HEADER}`")));
    }
    for (index, line) in lines {
        let number = index.saturating_add(1);
        match (line.strip_suffix(b"\n"), apply(&mut set, line.trim_ascii_end(), now)) {
            (_, Ok(())) => {}
            (None, Err(_)) => {
                return Ok((
                    set,
                    Some(format!("line {number} was torn, and is dropped: nobody was told that it holds")),
                ));
            }
            (Some(_), Err(what)) => return Err((number, what.to_owned())),
        }
    }
    Ok((set, None))
}

fn apply(set: &mut RevocationSet, line: &[u8], now: UnixSeconds) -> Result<(), &'static str> {
    let (checksum, rest) = line.split_at_checked(CHECKSUM).ok_or("this line is too short")?;
    let body = rest.strip_prefix(b" ").ok_or("there is no checksum")?;
    if checksum_of(body).as_bytes() != checksum {
        return Err("the line is damaged: its checksum is another");
    }
    let (sign, json) = body.split_at_checked(2).ok_or("there is no change")?;
    let order = Order::read(json, &KINDS).map_err(|_| "this is no change of this version")?;
    match (sign, order.end) {
        // A file holds more entries than may live at a time, where some have ended.
        (b"+ ", Some(End::At(until))) if until <= now => Ok(()),
        (b"+ ", Some(End::At(until))) => {
            // An entry that was lifted and one that was not are told apart by the order of the lines.
            set.insert(Entry { target: order.target, since: order.since, until })
                .map(drop)
                .map_err(|_| "too many entries")
        }
        (b"- ", None) => {
            set.lift(&order.target);
            Ok(())
        }
        _ => Err("this is no change of this version"),
    }
}

/// Writes a whole file beside `path` and puts it there: at every moment one of the two stands there whole.
fn write_beside(beside: &Path, path: &Path, entries: &[Entry]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(beside)?;
    let lines: String = entries.iter().map(|entry| line(&Change::Hold(entry))).collect();
    file.write_all(format!("{HEADER}\n{lines}").as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    // The name is on the disk once the folder is.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file)
}

/// The line of a change.
pub(super) fn line(change: &Change<'_>) -> String {
    let (sign, members): (_, Map<String, Value>) = match change {
        Change::Hold(entry) => ('+', entry.to_json()),
        Change::Lift(target) => ('-', target.to_json()),
    };
    let body = format!("{sign} {}", Value::Object(members));
    format!("{} {body}\n", checksum_of(body.as_bytes()))
}

/// The first half of the first half of SHA-256: damage is found, forgery is not meant to be.
fn checksum_of(body: &[u8]) -> String {
    digest(&SHA256, body).as_ref().iter().take(CHECKSUM / 2).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
