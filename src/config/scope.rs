//! Where a value is being built: its file, its table, and the two lists that grow while files are read: mistakes, and
//! settings with their origin.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::{Code, Diagnostic, Diagnostics, Place, Source};
use super::raw::words::{At, Word, Written};
use super::raw::{Key, List};
use super::read::Whole;
use super::stamp::Files;
use crate::units::UnixSeconds;

/// One effective value and where it came from: a line of `wsgate check --effective`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The file whose value it is.
    pub file: PathBuf,
    /// `session.from_client.message_size`.
    pub key: String,
    /// The value, as TOML.
    pub value: String,
    /// The line; `None`: nobody wrote it, it is the default.
    pub line: Option<usize>,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key, self.value)?;
        match self.line {
            Some(line) => write!(f, "  # {}:{line}", self.file.display()),
            None => f.write_str("  # default"),
        }
    }
}

/// The world outside the files.
pub(super) struct Surroundings<'a> {
    /// Environment variables.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// The time, for the validity of certificates.
    pub(super) now: UnixSeconds,
}

/// What grows while files are read.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Mistakes.
    pub(super) diagnostics: Diagnostics,
    /// Effective values.
    pub(super) settings: Vec<Setting>,
    /// The reasons of `danger_` keys, by their paths.
    pub(super) dangers: BTreeMap<String, String>,
    /// What was read.
    pub(super) files: Files,
}

/// One table of one file.
pub(super) struct Scope<'a> {
    source: &'a Arc<Source>,
    table: String,
    whole: Whole,
    findings: &'a mut Findings,
}

impl<'a> Scope<'a> {
    /// The whole file.
    pub(super) fn new(source: &'a Arc<Source>, whole: Whole, findings: &'a mut Findings) -> Self {
        Self { source, table: String::new(), whole, findings }
    }

    /// A table inside this one.
    pub(super) fn table(&mut self, name: impl fmt::Display) -> Scope<'_> {
        let table = self.path(&name.to_string());
        Scope { source: self.source, table, whole: self.whole, findings: self.findings }
    }

    /// The path of a key of this table.
    pub(super) fn path(&self, key: &str) -> String {
        if self.table.is_empty() { key.to_owned() } else { format!("{}.{key}", self.table) }
    }

    /// The file from whose folder paths count.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.source.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Takes note of a file that is about to be read.
    pub(super) fn reads(&mut self, file: &Path) {
        self.findings.files.stamps.take(file);
    }

    /// A place in this file.
    pub(super) fn at(&self, span: Range<usize>) -> Place {
        Place::Span(Arc::clone(self.source), span)
    }

    /// Where a key would have to be written: the table, or the file.
    pub(super) fn place_of(&self, table: Option<Range<usize>>) -> Place {
        table.map_or_else(|| Place::File(self.source.path.clone(), None), |span| self.at(span))
    }

    /// Reports a mistake.
    pub(super) fn error(
        &mut self,
        code: Code,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = self.at(span);
        self.push(Diagnostic::error(code, place, message).help(help));
    }

    /// Reports something to look at.
    pub(super) fn warning(
        &mut self,
        code: Code,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = self.at(span);
        self.push(Diagnostic::warning(code, place, message).help(help));
    }

    /// Reports a mistake that is put together already.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.findings.diagnostics.push(diagnostic);
    }

    /// Reports that a key is missing, unless something else in the file could not be read: it may have been this.
    pub(super) fn missing(&mut self, key: &str, table: Option<Range<usize>>, help: impl Into<String>) {
        if self.whole == Whole::Yes {
            let message = format!("`{}` is missing", self.path(key));
            let place = self.place_of(table);
            self.push(Diagnostic::error(Code::MissingKey, place, message).help(help));
        }
    }

    /// Takes a value or its default, and notes which.
    pub(super) fn or<W: Word>(&mut self, key: &str, written: &Key<W>, default: W::Value) -> W::Value {
        let value = written.as_ref().map_or(default, |at| at.get().0.clone());
        self.note(key, W::show(&value), written.as_ref().map(At::span));
        value
    }

    /// Takes a value where one is written, and notes it.
    pub(super) fn optional<W: Word>(&mut self, key: &str, written: &Key<W>) -> Option<W::Value> {
        let at = written.as_ref()?;
        self.note(key, W::show(&at.get().0), Some(at.span()));
        Some(at.get().0.clone())
    }

    /// Takes a value where one is written, else notes what its absence means.
    pub(super) fn optional_or<W: Word>(
        &mut self,
        key: &str,
        written: &Key<W>,
        absent: Option<W::Value>,
        word: &str,
    ) -> Option<W::Value> {
        let value = self.optional(key, written);
        if value.is_none() {
            self.note(key, absent.as_ref().map_or_else(|| word.to_owned(), W::show), None);
        }
        value.or(absent)
    }

    /// Takes a value that must be written.
    pub(super) fn required<W: Word>(
        &mut self,
        key: &str,
        written: &Key<W>,
        table: Option<Range<usize>>,
        help: &str,
    ) -> Option<W::Value> {
        if written.is_none() {
            self.missing(key, table, help);
        }
        self.optional(key, written)
    }

    /// Takes the elements of a list, each with its place, up to `most`; and notes them.
    pub(super) fn list<W: Word>(&mut self, key: &str, written: &List<W>, most: usize) -> Vec<(W::Value, Range<usize>)> {
        let Some(list) = written else {
            self.note(key, String::from("[]"), None);
            return Vec::new();
        };
        if list.get().len() > most {
            let message = format!("`{}` has {} elements", self.path(key), list.get().len());
            self.error(Code::TooLarge, list.span(), message, format!("at most {most} are read"));
        }
        let shown: Vec<String> = list.get().iter().take(most).map(|at| W::show(&at.get().0)).collect();
        self.note(key, format!("[{}]", shown.join(", ")), Some(list.span()));
        list.get().iter().take(most).map(|at| (at.get().0.clone(), at.span())).collect()
    }

    /// Takes the values of a list.
    pub(super) fn values<W: Word>(&mut self, key: &str, written: &List<W>, most: usize) -> Vec<W::Value> {
        self.list(key, written, most).into_iter().map(|(value, _)| value).collect()
    }

    /// Takes the reason of a `danger_` key, for `check` and every audit report.
    pub(super) fn danger(&mut self, key: &str, written: &Key<super::raw::words::Why>) -> bool {
        let reason = self.optional(key, written);
        let path = self.path(key);
        reason.map(|reason| self.findings.dangers.insert(path, reason)).is_some()
    }

    /// The dangers taken since the last call, by the path of their keys.
    pub(super) fn take_dangers(&mut self) -> BTreeMap<String, String> {
        std::mem::take(&mut self.findings.dangers)
    }

    /// Notes an effective value.
    pub(super) fn note(&mut self, key: &str, value: String, span: Option<Range<usize>>) {
        let setting = Setting {
            file: self.source.path.clone(),
            key: self.path(key),
            value,
            line: span.map(|span| self.source.line(span.start)),
        };
        self.findings.settings.push(setting);
    }
}

/// The place of a written value, if it is written.
pub(super) fn span_of<W: Word>(written: &Option<At<Written<W>>>) -> Option<Range<usize>> {
    written.as_ref().map(At::span)
}
