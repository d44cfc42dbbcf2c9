//! Revocations as people list them in a file: one entry a line.
//!
//! A line is `<kind> <value> until=<time> [since=<time>] [issuer=<name>]`. Kinds are `subject`, `token_id`, `session`,
//! `address`, `policy` and `deny`; a value with a space in it stands in quotation marks, as a JSON string; a time is RFC 3339
//! or seconds since 1970; `#` begins a comment. An entry without `since` reaches every token, whenever it was issued: a file
//! has no time of its own from which to count.

use std::fmt;
use std::ops::Range;

use super::order::read_time;
use super::{Entry, KINDS, MOST_ENTRIES, RevocationSet, Target, is_word, not_a_word};

/// The most bytes of one line.
const MAX_LINE: usize = 4096;
/// The most mistakes that are told at once.
const MAX_MISTAKES: usize = 20;

/// A mistake in a list, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListError {
    /// The bytes of the text that are wrong.
    pub span: Range<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ListError {}

/// Reads a list. The error holds every mistake, up to twenty.
pub fn parse(text: &str) -> Result<RevocationSet, Vec<ListError>> {
    let mut set = RevocationSet::default();
    let mut mistakes = Vec::new();
    let mut start = 0_usize;
    for line in text.split('\n') {
        if let Err(Mistake { span, message }) = take_line(&mut set, line) {
            let span = start.saturating_add(span.start)..start.saturating_add(span.end);
            mistakes.push(ListError { span, message });
        }
        if mistakes.len() == MAX_MISTAKES {
            break;
        }
        start = start.saturating_add(line.len()).saturating_add(1);
    }
    if mistakes.is_empty() { Ok(set) } else { Err(mistakes) }
}

struct Mistake {
    /// Bytes of the line.
    span: Range<usize>,
    message: String,
}

fn take_line(set: &mut RevocationSet, line: &str) -> Result<(), Mistake> {
    let whole = || 0..line.len();
    if line.len() > MAX_LINE {
        return Err(Mistake { span: whole(), message: format!("longer than {MAX_LINE} bytes") });
    }
    let words = words_of(line)?;
    if words.is_empty() {
        return Ok(());
    }
    let entry = entry_of(&words, line.len())?;
    let full =
        |_| Mistake { span: whole(), message: format!("more than {MOST_ENTRIES} entries: take out what has ended") };
    set.insert(entry).map(drop).map_err(full)
}

/// One word of a line; what stood in quotation marks is read.
struct Word {
    text: String,
    span: Range<usize>,
}

/// The words of a line, up to a comment.
fn words_of(line: &str) -> Result<Vec<Word>, Mistake> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(rest) = line.get(at..) {
        let blank = rest.len().saturating_sub(rest.trim_start().len());
        at = at.saturating_add(blank);
        let rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with('#') {
            break;
        }
        let length = match rest.strip_prefix('"') {
            Some(quoted) => quoted_length(quoted).unwrap_or(rest.len()),
            None => rest.find(char::is_whitespace).unwrap_or(rest.len()),
        };
        let (span, word) = (at..at.saturating_add(length), rest.get(..length).unwrap_or_default());
        let text = if word.starts_with('"') {
            let message = "this is not a JSON string: write \"alice smith\"";
            serde_json::from_str(word).map_err(|_| Mistake { span: span.clone(), message: message.into() })?
        } else {
            word.to_owned()
        };
        at = span.end;
        words.push(Word { text, span });
    }
    Ok(words)
}

/// The bytes of a string in quotation marks, both included, behind its first.
fn quoted_length(behind: &str) -> Option<usize> {
    let mut escaped = false;
    let end = behind.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    Some(end.saturating_add(2))
}

fn entry_of(words: &[Word], length: usize) -> Result<Entry, Mistake> {
    let wrong = |word: &Word, message: String| Mistake { span: word.span.clone(), message };
    let behind = || length..length;
    let kinds = "a line begins with subject, token_id, session, address, policy or deny";
    if let Some(kind) = words.first().filter(|kind| !KINDS.contains(&kind.text.as_str())) {
        return Err(wrong(kind, kinds.into()));
    }
    let (mut issuer, mut since, mut until) = (None, None, None);
    for word in words.iter().skip(2) {
        let unknown = || {
            wrong(
                word,
                format!("`{}`: behind the value stand until=TIME, since=TIME and issuer=NAME, each once", word.text),
            )
        };
        let (name, value) = word.text.split_once('=').ok_or_else(unknown)?;
        let time = || {
            let message = format!("`{}`: write the time as 2030-01-31T12:00:00Z or in seconds since 1970", word.text);
            read_time(value).ok_or_else(|| wrong(word, message))
        };
        let is_again = match name {
            "since" => since.replace(time()?).is_some(),
            "until" => until.replace(time()?).is_some(),
            "issuer" if !is_word(value) => return Err(wrong(word, not_a_word(name))),
            "issuer" => issuer.replace(value).is_some(),
            _ => return Err(unknown()),
        };
        if is_again {
            return Err(unknown());
        }
    }
    let (Some(kind), Some(value)) = (words.first(), words.get(1)) else {
        return Err(Mistake { span: behind(), message: "behind the kind stands whom it means".into() });
    };
    if issuer.is_some() && !matches!(kind.text.as_str(), "subject" | "token_id") {
        return Err(wrong(kind, "only a subject and a token_id have an issuer".into()));
    }
    if since.is_some() && kind.text != "subject" {
        return Err(wrong(kind, "only a subject has a time since which it is revoked".into()));
    }
    let target = Target::read(&kind.text, &value.text, issuer).ok_or_else(|| wrong(kind, kinds.into()))?;
    let target = target.map_err(|message| wrong(value, message))?;
    let missing = "until=TIME is missing: an entry without an end is never forgotten";
    let until = until.ok_or_else(|| Mistake { span: behind(), message: missing.into() })?;
    Ok(Entry { target, since, until })
}
