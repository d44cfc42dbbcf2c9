//! Files of the commands: read within a bound, and written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// The file's own, and [`io::ErrorKind::FileTooLarge`] for a longer one: nothing is read by half.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_from(File::open(path)?, limit)
}

/// Reads what is left of `source`, at most `limit` bytes.
///
/// # Errors
/// As for [`read`].
pub(super) fn read_from(source: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|read| read <= limit) {
        return Ok(bytes);
    }
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("is longer than {limit} bytes")))
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Owner,
    Everybody,
}

/// Tells whether a file could be written at a place; what stands there stays.
pub(super) fn try_place(path: &Path) -> io::Result<()> {
    may_replace(path)?;
    let beside = beside(path)?;
    create(&beside, Mode::Owner)?;
    fs::remove_file(&beside)
}

/// What stands at a place may be replaced if it is a file of its own: no device, no folder, and no link to elsewhere.
fn may_replace(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => Ok(()),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "is no plain file, and is not replaced")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The place of a file that is not whole yet, which is free.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = PathBuf::from(beside);
    // In a container every process may have the same id: what an interrupted one left behind is in the way.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(beside),
    }
}

/// Writes a file beside its place with its mode from the beginning, then puts it there: nobody sees half of it.
pub(super) fn write_whole(path: &Path, mode: Mode, bytes: &[u8]) -> io::Result<()> {
    may_replace(path)?;
    let beside = beside(path)?;
    let written = create(&beside, mode).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn create(path: &Path, mode: Mode) -> io::Result<File> {
    let bits = match mode {
        Mode::Owner => 0o600,
        Mode::Everybody => 0o644,
    };
    OpenOptions::new().write(true).create_new(true).mode(bits).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_read_within_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "12345").unwrap();
        let cases = [(6, Some(5)), (5, Some(5)), (4, None), (0, None), (u64::MAX, Some(5))];
        for (limit, length) in cases {
            let read = read(&path, limit);
            assert_eq!(read.as_ref().ok().map(Vec::len), length, "{limit}");
            assert!(read.is_ok() || read.unwrap_err().kind() == io::ErrorKind::FileTooLarge, "{limit}");
        }
        assert_eq!(cases.len(), 5);
        assert_eq!(read(&folder.path().join("absent"), 9).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_is_whole_with_its_mode_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        // What an interrupted process of the same id left.
        fs::write(folder.path().join(format!("file.{}.part", std::process::id())), "half").unwrap();
        for (mode, bits, text) in [(Mode::Owner, 0o600, "one"), (Mode::Everybody, 0o644, "two")] {
            write_whole(&path, mode, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, bits);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        assert!(write_whole(&folder.path().join("no/file"), Mode::Owner, b"x").is_err());
    }

    #[test]
    fn a_place_is_tried_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        try_place(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(&path, "there").unwrap();
        try_place(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "there");
        let (link, device) = (folder.path().join("link"), PathBuf::from("/dev/null"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for wrong in [folder.path().join("no/file"), folder.path().to_owned(), link, device] {
            assert!(try_place(&wrong).is_err(), "{}", wrong.display());
            assert!(write_whole(&wrong, Mode::Owner, b"x").is_err(), "{}", wrong.display());
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "there");
    }
}
