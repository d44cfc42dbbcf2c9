//! The state file: what calls revoked, one change a line, each with its checksum.
//!
//! Lines are only appended, and a change is on the disk before whoever asked for it is answered. So what can be torn is the
//! last line, of a change that nobody was promised. The file is written anew, beside itself, at each start, where it has
//! grown long, and after a write that failed. A process that takes over reads it, and writes it anew once it is its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
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
    /// What lines are appended to; `None`: it lacks a change, or may not be the file at `path`, and is to be written anew.
    file: Option<File>,
    lines: usize,
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
        file.compact(set).map_err(|error| format!("{}: {error}", file.path.display()))?;
        Ok(reading)
    }

    /// The same of a file that another process may write still: it is left as it is, and is behind.
    pub(super) fn borrow(folder: &Path, now: UnixSeconds) -> Result<Reading, String> {
        let path = folder.join("revocations");
        let (set, said) = match read(&path).map_err(|error| format!("{}: {error}", path.display()))? {
            None => Default::default(),
            Some(bytes) => replay(&bytes, now).map_err(|(line, what)| {
                format!("{}:{line}: {what}; put the file away to start without it", path.display())
            })?,
        };
        let said = said.map(|what| format!("{}: {what}", path.display()));
        Ok(Reading { file: Self { path, file: None, lines: 0 }, set, said })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the lines of changes, after which `set` holds, and waits until the disk has them. Where that is not to be, or the
    /// file lacks a change, the whole of it is written anew.
    pub(super) fn write(&mut self, lines: &[String], set: &RevocationSet) -> io::Result<()> {
        let count = self.lines.saturating_add(lines.len());
        // A write that fails may leave a part of a line: nothing is appended to that.
        let Some(mut file) = self.file.take().filter(|_| count <= MANY_LINES) else { return self.compact(set) };
        if !lines.is_empty() {
            file.write_all(lines.concat().as_bytes())?;
            file.sync_data()?;
        }
        self.file = Some(file);
        self.lines = count;
        Ok(())
    }

    /// Writes the whole file anew.
    pub(super) fn compact(&mut self, set: &RevocationSet) -> io::Result<()> {
        self.file = None;
        let (file, lines) = write_anew(&self.path, set)?;
        (self.file, self.lines) = (Some(file), lines);
        Ok(())
    }
}

/// What holds by another process's file at this moment. A torn last line is one that it writes just now.
///
/// # Errors
/// One line that names the file, and the line that is not one of ours.
pub(super) fn look(path: &Path, now: UnixSeconds) -> Result<RevocationSet, String> {
    let bytes = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let bytes = bytes.ok_or_else(|| format!("{}: it is gone", path.display()))?;
    replay(&bytes, now).map(|(set, _)| set).map_err(|(line, what)| format!("{}:{line}: {what}", path.display()))
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than any state file: it is another's"));
    }
    Ok(Some(bytes))
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
fn write_anew(path: &Path, set: &RevocationSet) -> io::Result<(File, usize)> {
    let beside = path.with_extension("next");
    let entries = set.entries();
    let written = write_beside(&beside, path, &entries);
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    Ok((written?, entries.len()))
}

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
mod tests {
    use super::*;
    use crate::policy::PolicyName;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    fn of_subject(subject: &str, until: u64) -> Entry {
        let target = Target::Subject { subject: subject.into(), issuer: Some("login".into()) };
        Entry { target, since: Some(NOW), until: UnixSeconds(until) }
    }

    fn of_policy(name: &str) -> Entry {
        Entry { target: Target::Policy(PolicyName::new(name)), since: None, until: UnixSeconds(NOW.0 + 60) }
    }

    /// A folder whose file holds two subjects and a policy that was lifted.
    fn written() -> (tempfile::TempDir, RevocationSet) {
        let folder = tempfile::tempdir().unwrap();
        let mut reading = StateFile::open(folder.path(), NOW).unwrap();
        let gone = of_policy("chat");
        for entry in [of_subject("alice", NOW.0 + 60), gone.clone(), of_subject("bob \" smith", NOW.0 + 5)] {
            reading.set.insert(entry.clone()).unwrap();
            reading.file.write(&[line(&Change::Hold(&entry))], &reading.set).unwrap();
        }
        reading.set.lift(&gone.target);
        reading.file.write(&[line(&Change::Lift(&gone.target))], &reading.set).unwrap();
        (folder, reading.set)
    }

    #[test]
    fn what_was_written_holds_after_a_restart() {
        let (folder, set) = written();
        let again = StateFile::open(folder.path(), NOW).unwrap();
        assert_eq!((again.set.entries(), again.said), (set.entries(), None));
        assert_eq!(set.len(), 2);
        let text = fs::read_to_string(folder.path().join("revocations")).unwrap();
        assert_eq!(text.lines().count(), 3, "what was lifted is not written anew: {text}");
        let later = StateFile::open(folder.path(), UnixSeconds(NOW.0 + 5)).unwrap();
        assert_eq!(later.set.entries(), [of_subject("alice", NOW.0 + 60)], "what has ended is forgotten");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_torn_last_line_is_dropped_wherever_it_tears() {
        let (folder, _) = written();
        let path = folder.path().join("revocations");
        let whole = fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for end in last + 1..whole.len() - 1 {
            fs::write(&path, &whole[..end]).unwrap();
            let reading = StateFile::open(folder.path(), NOW).unwrap();
            assert!(reading.said.unwrap().contains("revocations: line 5 was torn"), "{end}");
            assert_eq!(reading.set.len(), 3, "the lift is lost, and no more than that");
        }
        for (end, entries) in [(last, 3), (whole.len() - 1, 2), (whole.len(), 2)] {
            fs::write(&path, &whole[..end]).unwrap();
            let reading = StateFile::open(folder.path(), NOW).unwrap();
            assert_eq!((reading.set.len(), reading.said), (entries, None), "the twin: {end}");
        }
    }

    #[test]
    fn damage_and_foreign_files_are_told_with_their_line() {
        let (folder, _) = written();
        let path = folder.path().join("revocations");
        let good = fs::read_to_string(&path).unwrap();
        let unsound = |body: &str| format!("{HEADER}\n{} {body}\n", checksum_of(body.as_bytes()));
        let cases = [
            ("another file", String::from("[route]\n"), 1),
            ("an empty file", String::new(), 1),
            ("a later version", good.replacen("revocations 1", "revocations 2", 1), 1),
            ("a letter", good.replacen("alice", "Alice", 1), 2),
            ("a line of another", good.replacen('\n', "\nremember the milk\n", 1), 2),
            ("the last line", format!("{}\n", &good[..good.len() - 2]), 5),
            ("an entry without an end", unsound("+ {\"subject\":\"alice\"}"), 2),
            ("a lift with an end", unsound("- {\"subject\":\"alice\",\"until\":1}"), 2),
            ("a kind of a later version", unsound("+ {\"colour\":\"red\",\"until\":1}"), 2),
        ];
        let mut ran = 0;
        for (name, text, line) in cases {
            fs::write(&path, &text).unwrap();
            let said = StateFile::open(folder.path(), NOW).unwrap_err();
            assert!(said.contains(&format!("revocations:{line}: ")), "{name}: {said}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text, "{name}: it is left as it is");
            ran += 1;
        }
        assert_eq!(ran, 9);
        fs::write(&path, &good).unwrap();
        assert_eq!(StateFile::open(folder.path(), NOW).unwrap().set.len(), 2, "the twin");
    }

    #[test]
    fn a_full_disk_loses_no_entry_that_stands_and_is_made_up_for() {
        let (folder, mut set) = written();
        let mut file = StateFile::open(folder.path(), NOW).unwrap().file;
        file.file = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
        let entry = of_subject("carol", NOW.0 + 60);
        set.insert(entry.clone()).unwrap();
        assert!(file.write(&[line(&Change::Hold(&entry))], &set).is_err());
        assert!(file.file.is_none());
        assert_eq!(StateFile::open(folder.path(), NOW).unwrap().set.len(), 2);
        file.compact(&set).unwrap();
        assert!(file.file.is_some());
        assert_eq!(StateFile::open(folder.path(), NOW).unwrap().set.entries(), set.entries());
    }

    #[test]
    fn a_file_of_another_process_is_looked_at_and_left_as_it_is() {
        let (folder, set) = written();
        let path = folder.path().join("revocations");
        let torn = fs::read_to_string(&path).unwrap() + "0123456789abcdef + {\"sub";
        fs::write(&path, &torn).unwrap();
        assert_eq!(look(&path, NOW).unwrap().entries(), set.entries(), "a line that is written just now");
        let Reading { mut file, set, .. } = StateFile::borrow(folder.path(), NOW).unwrap();
        assert!(file.file.is_none());
        assert_eq!(fs::read_to_string(&path).unwrap(), torn);
        file.write(&[line(&Change::Lift(&of_policy("chat").target))], &set).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3, "its first change writes it anew");
        fs::write(&path, torn.replacen("alice", "Alice", 1)).unwrap();
        assert!(look(&path, NOW).unwrap_err().contains("revocations:2: "));
        fs::remove_file(&path).unwrap();
        assert!(look(&path, NOW).unwrap_err().contains("it is gone"));
    }

    #[test]
    fn what_has_ended_takes_nobodys_place() {
        let folder = tempfile::tempdir().unwrap();
        let entry = |number: usize| of_subject(&format!("user-{number}"), NOW.0 + if number == 0 { 60 } else { 5 });
        let lines: String = (0..=MOST_ENTRIES).map(|number| line(&Change::Hold(&entry(number)))).collect();
        fs::write(folder.path().join("revocations"), format!("{HEADER}\n{lines}")).unwrap();
        let said = StateFile::open(folder.path(), NOW).unwrap_err();
        assert!(said.contains("too many entries"), "{said}");
        let later = StateFile::open(folder.path(), UnixSeconds(NOW.0 + 5)).unwrap();
        assert_eq!(later.set.entries(), [entry(0)], "the twin");
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let Reading { mut file, mut set, .. } = StateFile::open(folder.path(), NOW).unwrap();
        file.lines = MANY_LINES - 1;
        for name in ["alice", "bob"] {
            let entry = of_subject(name, NOW.0 + 60);
            set.insert(entry.clone()).unwrap();
            file.write(&[line(&Change::Hold(&entry))], &set).unwrap();
        }
        assert_eq!(file.lines, 2, "it was written anew");
        assert_eq!(StateFile::open(folder.path(), NOW).unwrap().set.entries(), set.entries());
    }
}
