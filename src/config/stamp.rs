//! How a file stood when it was read: what tells the watch that it is another than before.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::PolicyPatterns;

/// What tells that a file, or who may read it, is another than before: device, inode, length, and the times at which its
/// content and its attributes changed. A file that is not there has a stamp, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(Option<(u64, u64, u64, [i64; 4])>);

impl Stamp {
    /// How a file stands at this moment.
    pub fn of(file: &Path) -> Self {
        Self(fs::metadata(file).ok().map(|metadata| {
            let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
            (metadata.dev(), metadata.ino(), metadata.len(), times)
        }))
    }
}

/// What was read of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Each file that was read, or was to be.
    pub stamps: Stamps,
    /// Where policies were looked for.
    pub policies: PolicyPatterns,
}

/// How each file stood before it was read: one that changes while it is read has another stamp from then on.
#[derive(Clone, Debug, Default)]
pub struct Stamps(BTreeMap<PathBuf, Stamp>);

impl Stamps {
    /// Takes the stamp of a file that is about to be read; of one that is read twice, the first.
    pub(super) fn take(&mut self, file: &Path) {
        if !self.0.contains_key(file) {
            self.0.insert(file.to_owned(), Stamp::of(file));
        }
    }

    /// How a file stood; `None`: it was not read.
    pub fn get(&self, file: &Path) -> Option<Stamp> {
        self.0.get(file).copied()
    }

    /// Every file and how it stood.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, Stamp)> {
        self.0.iter().map(|(file, stamp)| (file.as_path(), *stamp))
    }
}
