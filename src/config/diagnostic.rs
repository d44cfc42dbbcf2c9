//! A mistake in the configuration: what was wrong, where, and what would be right.
//!
//! Mistakes are collected, never thrown one by one: an operator sees all of them in one run. A collection is bounded,
//! so a hostile file costs bounded memory; what is beyond the bound is counted.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The gateway does not start with it.
    Error,
    /// It starts, and somebody should look.
    Warning,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal,)+) => {
        /// What kind of mistake it is: a stable word, printed in brackets behind `error`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// The stable word for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }
        }
    };
}

codes! {
    /// The file is not TOML.
    Syntax = "syntax",
    /// A file could not be read.
    Unreadable = "unreadable",
    /// A file, a list or a name is longer than the gateway reads.
    TooLarge = "too_large",
    /// A key that no table has.
    UnknownKey = "unknown_key",
    /// A key or a value of the language that this version does not do.
    NotBuilt = "not_built",
    /// A value of the wrong type, unit or range.
    WrongValue = "wrong_value",
    /// A key that must be written is not.
    MissingKey = "missing_key",
    /// A key that has no meaning beside another.
    OutOfPlace = "out_of_place",
    /// Two values that cannot both hold.
    Contradiction = "contradiction",
    /// The same thing is written twice.
    Duplicate = "duplicate",
    /// A name that stands for nothing: an issuer, an environment variable.
    UnknownName = "unknown_name",
    /// Something that weakens the gateway, without the `danger_` key that says why.
    Danger = "danger",
    /// A policy goes beyond `[ceiling]`.
    Ceiling = "ceiling",
    /// A certificate or its key cannot be used.
    Certificate = "certificate",
    /// An issuer's key or a token table cannot be used.
    Credential = "credential",
    /// A value that cannot change while the gateway runs.
    NeedsRestart = "needs_restart",
    /// A file with a secret can be read by others.
    Permissions = "permissions",
}

/// A file as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path, as the operator would type it.
    pub path: PathBuf,
    /// Its whole text.
    pub text: String,
}

impl Source {
    /// The line in which a byte stands, counted from 1.
    pub fn line(&self, offset: usize) -> usize {
        let newlines = self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        newlines.saturating_add(1)
    }
}

/// Where a mistake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A range of bytes of a file that may be shown.
    Span(Arc<Source>, Range<usize>),
    /// A file that is not shown, because it may hold a secret or no text; a line where one is known.
    File(PathBuf, Option<usize>),
}

impl Place {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Span(source, _) => &source.path,
            Self::File(path, _) => path,
        }
    }

    /// The character of its line, counted from 1.
    pub fn column(&self) -> Option<usize> {
        let Self::Span(source, span) = self else { return None };
        let before = source.text.get(..span.start)?;
        let line = before.rsplit('\n').next().unwrap_or_default();
        Some(line.chars().count().saturating_add(1))
    }

    /// What stands there, of a file that may be shown.
    pub fn text(&self) -> Option<&str> {
        let Self::Span(source, span) = self else { return None };
        source.text.get(span.clone())
    }

    /// The line, counted from 1.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Span(source, span) => Some(source.line(span.start)),
            Self::File(_, line) => *line,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path().display())?;
        self.line().map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What kind it is.
    pub code: Code,
    /// Where it is.
    pub place: Place,
    /// What was found.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake with which the gateway does not start.
    pub fn error(code: Code, place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, place, message: message.into(), help: None }
    }

    /// Something to look at.
    pub fn warning(code: Code, place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, place, message) }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Every mistake of one reading, at most [`Diagnostics::BOUND`] of them in full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
    errors: usize,
    uncounted: usize,
}

impl Diagnostics {
    /// How many mistakes are kept in full.
    pub const BOUND: usize = 200;

    /// Adds a mistake.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.errors = self.errors.saturating_add(1);
        }
        if self.found.len() < Self::BOUND {
            self.found.push(diagnostic);
        } else {
            self.uncounted = self.uncounted.saturating_add(1);
        }
    }

    /// Whether the gateway does not start.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// What was found, in the order of reading.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.found.iter()
    }

    /// The mistakes themselves.
    pub fn into_vec(self) -> Vec<Diagnostic> {
        self.found
    }

    /// Everything for a person to read; the last line counts.
    pub fn render(&self, style: Style) -> String {
        let mut text = render(&self.found, style);
        let warnings = self.found.iter().filter(|one| one.severity == Severity::Warning).count();
        let more =
            if self.uncounted > 0 { format!(", of which {} are not shown", self.uncounted) } else { String::new() };
        text.push_str(&format!("{}, {}{more}\n", counted(self.errors, "error"), counted(warnings, "warning")));
        text
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl std::error::Error for Diagnostics {}

/// Whether colours may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For files, pipes and logs.
    Plain,
    /// For a terminal.
    Coloured,
}

/// Writes mistakes as rustc writes its own: the line, a caret, the remedy.
pub fn render(diagnostics: &[Diagnostic], style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled(),
    };
    diagnostics.iter().map(|diagnostic| format!("{}\n\n", renderer.render(&[group(diagnostic)]))).collect()
}

fn group(diagnostic: &Diagnostic) -> Group<'_> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let group = Group::with_title(level.primary_title(&diagnostic.message).id(diagnostic.code.as_str()));
    let group = group.element(shown(&diagnostic.place));
    match &diagnostic.help {
        Some(help) => group.element(Level::HELP.message(help)),
        None => group,
    }
}

fn shown(place: &Place) -> Element<'_> {
    match place {
        Place::Span(source, span) => Snippet::source(&source.text)
            .path(source.path.to_string_lossy())
            .annotation(AnnotationKind::Primary.span(first_line(&source.text, span)))
            .into(),
        Place::File(path, Some(line)) => Origin::path(path.to_string_lossy()).line(*line).into(),
        Place::File(path, None) => Origin::path(path.to_string_lossy()).into(),
    }
}

/// Of a table that spans many lines only the first is marked.
fn first_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let end = span.end.min(text.len());
    let start = span.start.min(end);
    let line = text.get(start..end).and_then(|marked| marked.find('\n'));
    start..line.map_or(end, |length| start.saturating_add(length))
}

/// `1 error`, `2 errors`.
pub fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
