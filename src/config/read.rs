//! A file's bytes to its raw struct, with every syntax error, every unknown key and every wrong value in one go.
//!
//! serde stops at the first value that it cannot read. So that value is reported, taken out of the tree, and the rest
//! is read again, a bounded number of times.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::retry_on_intr;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::diagnostic::{Code, Diagnostic, Diagnostics, Place, Source};
use super::schema::{self, Language, Stray, StrayKind};

/// The longest TOML file that is read, in bytes.
pub(super) const LONGEST_FILE: u64 = 1 << 20;

/// How many wrong values of one file are reported.
const MOST_WRONG_VALUES: usize = 50;

/// A file that was read.
#[derive(Debug)]
pub(super) struct Parsed<T> {
    /// Its text, for diagnostics.
    pub(super) source: Arc<Source>,
    /// Its values; what could not be read is left out.
    pub(super) raw: T,
    /// Whether anything had to be left out: then a missing key is no news.
    pub(super) whole: Whole,
}

/// Whether a raw struct holds all that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// It does.
    Yes,
    /// Something could not be read and was reported.
    No,
}

/// Reads a file of at most `limit` bytes.
pub(super) fn bounded(path: &Path, limit: u64) -> Result<Vec<u8>, Diagnostic> {
    let place = || Place::File(path.to_owned(), None);
    let fail = |error: io::Error| {
        Diagnostic::error(Code::Unreadable, place(), format!("this file cannot be read: {error}"))
            .help("paths in a file count from that file's folder")
    };
    let file = open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(fail)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(Diagnostic::error(Code::TooLarge, place(), format!("this file is longer than {limit} bytes"))
            .help("split it, or check that it is the file you meant"));
    }
    Ok(bytes)
}

/// Opens a regular file. Whoever opens a pipe to read waits for somebody who writes, and a device may do anything.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?);
    match file.metadata()?.file_type() {
        kind if kind.is_file() => Ok(file),
        kind if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::other("it is not a regular file")),
    }
}

/// Reads one file of the language; `None` where nothing of it can be judged.
pub(super) fn parse<T: DeserializeOwned>(
    path: &Path,
    language: Language,
    diagnostics: &mut Diagnostics,
) -> Option<Parsed<T>> {
    let text = bounded(path, LONGEST_FILE).map_err(|mistake| where_to_begin(mistake, language)).and_then(|bytes| {
        let place = Place::File(path.to_owned(), None);
        String::from_utf8(bytes).map_err(|_| Diagnostic::error(Code::Syntax, place, "this file is not UTF-8"))
    });
    let text = text.map_err(|mistake| diagnostics.push(mistake)).ok()?;
    let source = Arc::new(Source { path: path.to_owned(), text });
    parse_source(source, language, diagnostics)
}

/// Where there is no gateway.toml nobody has begun, or the wrong folder was looked into.
fn where_to_begin(mistake: Diagnostic, language: Language) -> Diagnostic {
    if language == Language::Gateway && !mistake.place.path().exists() {
        return mistake.help("`wsgate init KIND` writes one with a policy; else name the one that there is");
    }
    mistake
}

/// Reads the text of one file.
pub(super) fn parse_source<T: DeserializeOwned>(
    source: Arc<Source>,
    language: Language,
    diagnostics: &mut Diagnostics,
) -> Option<Parsed<T>> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in &errors {
        let place = Place::Span(Arc::clone(&source), error.span().unwrap_or_default());
        diagnostics.push(Diagnostic::error(Code::Syntax, place, error.message().trim()));
    }
    if !errors.is_empty() {
        return None;
    }
    for stray in schema::strays(&schema::schema(language), table.get_ref()) {
        diagnostics.push(stray_diagnostic(&source, stray));
    }
    let (raw, whole) = deserialize(table, &source, language, diagnostics)?;
    Some(Parsed { source, raw, whole })
}

fn stray_diagnostic(source: &Arc<Source>, stray: Stray) -> Diagnostic {
    let place = Place::Span(Arc::clone(source), stray.span);
    let Stray { path, kind, .. } = stray;
    match kind {
        StrayKind::NotBuilt(planned) => {
            Diagnostic::error(Code::NotBuilt, place, format!("`{path}` is not built yet ({planned})"))
                .help("take it out: a key that does nothing would promise what is not kept")
        }
        StrayKind::Like(name) => Diagnostic::error(Code::UnknownKey, place, format!("there is no key `{path}`"))
            .help(format!("did you mean `{name}`?")),
        StrayKind::Unlike(names) => Diagnostic::error(Code::UnknownKey, place, format!("there is no key `{path}`"))
            .help(format!("the keys here are: {}", names.join(", "))),
    }
}

fn deserialize<T: DeserializeOwned>(
    mut table: Spanned<DeTable<'_>>,
    source: &Arc<Source>,
    language: Language,
    diagnostics: &mut Diagnostics,
) -> Option<(T, Whole)> {
    let mut whole = Whole::Yes;
    for _ in 0..MOST_WRONG_VALUES {
        let error = match T::deserialize(Deserializer::from(table.clone())) {
            Ok(raw) => return Some((raw, whole)),
            Err(error) => error,
        };
        whole = Whole::No;
        let span = error.span().unwrap_or_default();
        let place = Place::Span(Arc::clone(source), span.clone());
        diagnostics.push(wrong_value(error.message().trim(), &path_to(table.get_ref(), &span), language, &place));
        if !prune(table.get_mut(), &span) {
            return None;
        }
    }
    None
}

/// The longest value that a remedy repeats, in bytes.
const LONGEST_REPEATED: usize = 80;

/// A value that serde refuses, in the operator's words: what serde expects may be called by a type of ours.
fn wrong_value(said: &str, path: &[String], language: Language, place: &Place) -> Diagnostic {
    let wrong = |said: String| Diagnostic::error(Code::WrongValue, place.clone(), said);
    let (Some((found, expected)), Some(key)) = (said.split_once(", expected "), path.last()) else {
        return wrong(said.to_owned());
    };
    if expected == "a map" || expected.starts_with("struct ") {
        let table = schema::table_at(&schema::schema(language), path);
        let keys = table.as_ref().map(|table| table.keys.as_slice()).unwrap_or_default();
        let known = if keys.is_empty() { String::new() } else { format!(": its keys are {}", keys.join(", ")) };
        let one = format!("{{ {} = ... }}", keys.first().map_or("KEY", String::as_str));
        let one = if table.is_some_and(|table| table.is_of_a_list) { format!("[{one}]") } else { one };
        return wrong(format!("{found}, expected a table")).help(format!("write {key} = {one}{known}"));
    }
    if expected == "a sequence" {
        let help = match place.text().filter(|text| text.len() <= LONGEST_REPEATED && !text.contains('\n')) {
            _ if found.ends_with(" map") => {
                format!("write it in double brackets, [[{}]], or {key} = [{{ ... }}]", path.join("."))
            }
            Some(text) => format!("write {key} = [{text}]"),
            None => format!("write {key} = [...]"),
        };
        return wrong(format!("{found}, expected a list")).help(help);
    }
    wrong(said.to_owned())
}

/// The names of the tables around the innermost value that holds `span`, and its own.
fn path_to(table: &DeTable<'_>, span: &Range<usize>) -> Vec<String> {
    for (key, value) in table.iter() {
        let mut path = match value.get_ref() {
            DeValue::Table(inner) => path_to(inner, span),
            DeValue::Array(list) => path_into(list, span),
            _ => Vec::new(),
        };
        if !path.is_empty() || holds(&value.span(), span) || has_exactly(value.get_ref(), span) {
            path.insert(0, key.get_ref().to_string());
            return path;
        }
    }
    Vec::new()
}

fn path_into(list: &[Spanned<DeValue<'_>>], span: &Range<usize>) -> Vec<String> {
    let tables = list.iter().filter_map(|item| match item.get_ref() {
        DeValue::Table(table) => Some(path_to(table, span)),
        _ => None,
    });
    let mut paths = tables.filter(|path| !path.is_empty());
    paths.next().unwrap_or_default()
}

/// Takes the innermost value that holds `span` out of its table; of a list, the whole list goes.
fn prune(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let inner = table.iter_mut().any(|(_, value)| prune_value(value.get_mut(), span));
    if inner {
        return true;
    }
    let wrong = |value: &Spanned<DeValue<'_>>| holds(&value.span(), span) || has_exactly(value.get_ref(), span);
    let key = table.iter().find(|(_, value)| wrong(value)).map(|(key, _)| key.clone());
    key.is_some_and(|key| table.remove(&key).is_some())
}

fn prune_value(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    match value {
        DeValue::Table(table) => prune(table, span),
        DeValue::Array(list) => list.iter_mut().any(|item| match item.get_mut() {
            DeValue::Table(table) => prune(table, span),
            _ => false,
        }),
        _ => false,
    }
}

fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Tables that were opened by a header do not span their contents; their elements may be what is wrong.
fn has_exactly(value: &DeValue<'_>, span: &Range<usize>) -> bool {
    matches!(value, DeValue::Array(list) if list.iter().any(|item| item.span() == *span))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, mkfifoat};

    use super::*;

    #[test]
    fn only_regular_files_are_read_and_nobody_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "content").unwrap();
        symlink(at("file"), at("link")).unwrap();
        mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        let irregular = [at("pipe"), folder.path().to_owned(), "/dev/null".into(), "/dev/tty".into()];
        for path in &irregular {
            let said = bounded(path, 7).unwrap_err().message;
            assert!(said.starts_with("this file cannot be read: "), "{}: {said}", path.display());
        }
        let said = bounded(&at("pipe"), 7).unwrap_err().message;
        assert_eq!(said, "this file cannot be read: it is not a regular file");
        for name in ["file", "link"] {
            assert_eq!(bounded(&at(name), 7).unwrap(), b"content", "{name}");
        }
        assert_eq!(bounded(&at("file"), 6).unwrap_err().code, Code::TooLarge);
        assert_eq!(irregular.len(), 4);
    }
}
