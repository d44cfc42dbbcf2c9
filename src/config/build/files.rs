//! Which files are policies.

use std::path::{Path, PathBuf};

use crate::config::diagnostic::Code;
use crate::config::raw::List;
use crate::config::raw::words::{At, Text};
use crate::config::scope::Scope;

/// The most patterns, and the most policies.
const MOST_POLICIES: usize = 1_000;
/// The most entries of a folder that are looked at.
const MOST_ENTRIES: usize = 100_000;
const DEFAULT: &str = "policies/*.toml";

/// Where policies are: files, and folders in which files have such a name.
#[derive(Clone, Debug, Default)]
pub struct PolicyPatterns(Vec<Pattern>);

#[derive(Clone, Debug)]
enum Pattern {
    File(PathBuf),
    /// The file's name holds `*`.
    Names(PathBuf),
}

impl PolicyPatterns {
    /// The files that are there, in the order of their names.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = self.0.iter().flat_map(Pattern::files).collect();
        files.sort();
        files.dedup();
        files
    }
}

impl Pattern {
    fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::File(path) => vec![path.clone()],
            Self::Names(path) => matching(path),
        }
    }
}

/// Where the policies are; `*` stands for any part of a file's name.
pub(super) fn patterns(written: &List<Text>, scope: &mut Scope<'_>) -> PolicyPatterns {
    let mut patterns = scope.list("policies", written, MOST_POLICIES);
    if written.is_none() {
        patterns.push((String::from(DEFAULT), 0..0));
    }
    let mut found = Vec::with_capacity(patterns.len());
    for (text, span) in patterns {
        let path = scope.resolve(&text);
        let pattern = if text.contains('*') { Pattern::Names(path) } else { Pattern::File(path) };
        if pattern.files().is_empty() {
            let help = "write a policy there, for example with `wsgate init plain`; only a file's name may hold `*`";
            scope.error(Code::Unreadable, span, format!("no file matches `{text}`"), help);
        }
        found.push(pattern);
    }
    PolicyPatterns(found)
}

/// The policy files that are read.
pub(super) fn policies(patterns: &PolicyPatterns, written: &List<Text>, scope: &mut Scope<'_>) -> Vec<PathBuf> {
    let mut files = patterns.files();
    if files.len() > MOST_POLICIES {
        let span = written.as_ref().map(At::span).unwrap_or_default();
        scope.error(
            Code::TooLarge,
            span,
            format!("{} policies", files.len()),
            format!("at most {MOST_POLICIES} are read"),
        );
        files.truncate(MOST_POLICIES);
    }
    files
}

fn matching(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(pattern)) = (path.parent(), path.file_name().and_then(std::ffi::OsStr::to_str)) else {
        return Vec::new();
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let fits = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let name = name.to_str().filter(|name| !name.starts_with('.') && glob(pattern, name))?;
        Some(path.with_file_name(name))
    };
    entries.take(MOST_ENTRIES).filter_map(Result::ok).filter_map(fits).collect()
}

/// Whether `name` is `pattern` with anything in the place of each `*`. Each piece is taken at its first place, so the
/// time is linear in the pieces.
fn glob(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn a_star_is_any_part_of_a_name() {
        for (pattern, name) in
            [("*.toml", "a.toml"), ("a*b*c", "axbxc"), ("a*b*c", "abc"), ("a", "a"), ("*", "x"), ("a*a", "aa")]
        {
            assert!(glob(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.toml", "a.tom"), ("a*b*c", "acb"), ("a", "ab"), ("a*a", "a"), ("b*", "ab")] {
            assert!(!glob(pattern, name), "{pattern} {name}");
        }
    }
}
