//! Query tokens: random words for clients that can set no header. Only their SHA-256 digests are in a file.
//!
//! A line is `<sha256 hex> <subject> use_until=<time> [session_until=<time>]`; a time is RFC 3339 or seconds since 1970;
//! `#` begins a comment. `use_until` bounds when a session may begin; only `session_until` bounds how long it may live.
//! A token is found by its digest, then the digests are compared in constant time: what a guess has in common with a
//! token's text shows in neither.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use super::claims::MAX_SUBJECT;
use crate::policy::Reason;
use crate::units::UnixSeconds;

/// The most lines of a token file that name a token.
pub const MAX_TOKENS: usize = 100_000;
/// The most bytes of one line.
const MAX_LINE: usize = 1024;
/// The most mistakes that are told at once.
const MAX_MISTAKES: usize = 20;
/// A token has from 16 to 512 characters.
const TOKEN_LENGTH: std::ops::RangeInclusive<usize> = 16..=512;

/// The tokens of one file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TokenTable {
    rows: HashMap<Digest, TokenRow>,
}

/// What a file says of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Who holds it.
    pub subject: String,
    /// From this second on it opens no session.
    pub use_until: UnixSeconds,
    /// Where set, its sessions end then.
    pub session_until: Option<UnixSeconds>,
    digest: Digest,
}

type Digest = [u8; 32];

/// The digest of a token, as a file holds it: 64 hexadecimal digits.
pub fn digest_hex(token: &str) -> String {
    digest(&SHA256, token.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl TokenTable {
    /// Reads a file. The error holds every mistake, up to twenty, each with its line.
    pub fn parse(text: &str) -> Result<Self, Vec<LineError>> {
        let mut rows = HashMap::new();
        let mut mistakes = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let content = line.split('#').next().unwrap_or_default().trim();
            if content.is_empty() {
                continue;
            }
            if let Err(mistake) = insert(&mut rows, line.len(), content) {
                mistakes.push(LineError { line: index.saturating_add(1), mistake });
            }
            if mistakes.len() == MAX_MISTAKES {
                break;
            }
        }
        if mistakes.is_empty() { Ok(Self { rows }) } else { Err(mistakes) }
    }

    /// How many tokens it holds.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row of a token that may be used at the time `now`, else `TokenUnknown` or `TokenExpired`.
    pub fn find(&self, token: &str, now: UnixSeconds) -> Result<&TokenRow, Reason> {
        if !TOKEN_LENGTH.contains(&token.len()) {
            return Err(Reason::TokenUnknown);
        }
        let presented = digest(&SHA256, token.as_bytes());
        let row = Digest::try_from(presented.as_ref()).ok().and_then(|digest| self.rows.get(&digest));
        let row = row.filter(|row| bool::from(row.digest.ct_eq(presented.as_ref()))).ok_or(Reason::TokenUnknown)?;
        let ends = row.session_until.map_or(row.use_until, |session| session.min(row.use_until));
        if ends <= now { Err(Reason::TokenExpired) } else { Ok(row) }
    }
}

fn insert(rows: &mut HashMap<Digest, TokenRow>, line_length: usize, content: &str) -> Result<(), LineMistake> {
    if line_length > MAX_LINE {
        return Err(LineMistake::TooLong);
    }
    if rows.len() >= MAX_TOKENS {
        return Err(LineMistake::TooMany);
    }
    let row = parse_row(content)?;
    match rows.entry(row.digest) {
        Entry::Occupied(_) => Err(LineMistake::Repeated),
        Entry::Vacant(place) => {
            place.insert(row);
            Ok(())
        }
    }
}

fn parse_row(content: &str) -> Result<TokenRow, LineMistake> {
    let mut words = content.split_ascii_whitespace();
    let digest = words.next().and_then(parse_digest).ok_or(LineMistake::Digest)?;
    let subject = words.next().filter(|word| is_subject(word)).ok_or(LineMistake::Subject)?;
    let mut use_until = None;
    let mut session_until = None;
    for word in words {
        let (name, time) = word.split_once('=').ok_or_else(|| LineMistake::Word(String::from(word)))?;
        let slot = match name {
            "use_until" => &mut use_until,
            "session_until" => &mut session_until,
            _ => return Err(LineMistake::Word(String::from(word))),
        };
        let time = parse_time(time).ok_or_else(|| LineMistake::Time(String::from(word)))?;
        if slot.replace(time).is_some() {
            return Err(LineMistake::Word(String::from(word)));
        }
    }
    let use_until = use_until.ok_or(LineMistake::UseUntilMissing)?;
    Ok(TokenRow { subject: String::from(subject), use_until, session_until, digest })
}

fn parse_digest(word: &str) -> Option<Digest> {
    if word.len() != 64 || !word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (place, pair) in digest.iter_mut().zip(word.as_bytes().chunks_exact(2)) {
        *place = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// Something like `use_until=...` where the subject should be is a forgotten subject.
fn is_subject(word: &str) -> bool {
    let is_setting = ["use_until=", "session_until="].iter().any(|setting| word.starts_with(setting));
    word.len() <= MAX_SUBJECT && !word.chars().any(char::is_control) && !is_setting
}

fn parse_time(text: &str) -> Option<UnixSeconds> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(UnixSeconds);
    }
    let time: Timestamp = text.parse().ok()?;
    u64::try_from(time.as_second()).ok().map(UnixSeconds)
}

/// A mistake in a token file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub mistake: LineMistake,
}

/// What is wrong with a line of a token file; the text says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineMistake {
    /// The line is longer than 1024 bytes.
    TooLong,
    /// The file holds more than [`MAX_TOKENS`] tokens.
    TooMany,
    /// The first word is not a digest.
    Digest,
    /// The second word is not a subject.
    Subject,
    /// A further word that is not known, or comes twice.
    Word(String),
    /// A time that cannot be read.
    Time(String),
    /// There is no `use_until`.
    UseUntilMissing,
    /// The digest stands on an earlier line too.
    Repeated,
}

impl fmt::Display for LineMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {MAX_LINE} bytes"),
            Self::TooMany => write!(f, "more than {MAX_TOKENS} tokens in one file: remove expired ones, or split it"),
            Self::Digest => f.write_str("must begin with the token's SHA-256 digest, 64 hexadecimal digits"),
            Self::Subject => write!(f, "the second word must be the subject, at most {MAX_SUBJECT} bytes"),
            Self::Word(word) => {
                write!(f, "`{word}`: after the subject stand use_until=TIME and session_until=TIME, each once")
            }
            Self::Time(word) => write!(f, "`{word}`: write the time as 2030-01-31T12:00:00Z or in seconds since 1970"),
            Self::UseUntilMissing => {
                f.write_str("use_until=TIME is missing: a token without an end is never forgotten")
            }
            Self::Repeated => f.write_str("the digest stands on an earlier line too: one token is one subject's"),
        }
    }
}

impl std::error::Error for LineMistake {}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "Zm9vYmFyLWJhei1xdXV4LTEyMzQ1Njc4";
    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    fn line(rest: &str) -> String {
        format!("{} {rest}\n", digest_hex(TOKEN))
    }

    #[test]
    fn au24_a_token_is_found_by_its_digest() {
        let table = TokenTable::parse(&line("alice use_until=1800000001")).unwrap();
        let row = table.find(TOKEN, NOW).unwrap();
        assert_eq!((row.subject.as_str(), row.session_until), ("alice", None));
        let wrong = ["", "x", &TOKEN[1..], &format!("{TOKEN}="), &TOKEN.to_lowercase(), &digest_hex(TOKEN)];
        for guess in wrong {
            assert_eq!(table.find(guess, NOW), Err(Reason::TokenUnknown), "{guess}");
        }
        assert_eq!(table.find(&"x".repeat(513), NOW), Err(Reason::TokenUnknown));
    }

    #[test]
    fn use_and_session_end_apart() {
        let cases = [
            ("a use_until=1800000000", Err(Reason::TokenExpired)),
            ("a use_until=1800000001", Ok(None)),
            ("a use_until=2027-01-15T08:00:01Z", Ok(None)),
            ("a use_until=2027-01-15T10:00:00+02:00", Err(Reason::TokenExpired)),
            ("a use_until=1800000001 session_until=1900000000", Ok(Some(UnixSeconds(1_900_000_000)))),
            ("a session_until=1800000000 use_until=1900000000", Err(Reason::TokenExpired)),
        ];
        for (rest, expected) in cases {
            let table = TokenTable::parse(&line(rest)).unwrap();
            assert_eq!(table.find(TOKEN, NOW).map(|row| row.session_until), expected, "{rest}");
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let good = line("a use_until=1");
        let text = format!(
            "# tokens\n\n{good}abc a use_until=1\n{}\n{}\n{}\n{}\n{}\n{good}{} # x",
            line("use_until=1").trim(),
            line("a").trim(),
            line("a use_until=tomorrow").trim(),
            line("a use_until=1 until=2").trim(),
            line("a use_until=1 use_until=2").trim(),
            line(&format!("{} use_until=1", "s".repeat(1024))).trim(),
        );
        let mistakes = TokenTable::parse(&text).unwrap_err();
        let word = |text: &str| LineMistake::Word(String::from(text));
        let expected = [
            (4, LineMistake::Digest),
            (5, LineMistake::Subject),
            (6, LineMistake::UseUntilMissing),
            (7, LineMistake::Time(String::from("use_until=tomorrow"))),
            (8, word("until=2")),
            (9, word("use_until=2")),
            (10, LineMistake::Repeated),
            (11, LineMistake::TooLong),
        ];
        let told: Vec<_> = mistakes.into_iter().map(|error| (error.line, error.mistake)).collect();
        assert_eq!(told, expected);
        assert_eq!(TokenTable::parse(&good).unwrap().len(), 1);
        assert!(TokenTable::parse("# nothing\n").unwrap().is_empty());
        assert_eq!(TokenTable::parse(&"x\n".repeat(50)).unwrap_err().len(), MAX_MISTAKES);
    }
}
