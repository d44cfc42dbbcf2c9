//! The strict grammar of an HTTP/1.1 head (RFC 9112): what the gateway reads from clients and from backends.
//!
//! CRLF only, token names, visible ASCII values, no folding, no NUL, bounded in bytes and in fields. What it accepts,
//! `httparse` accepts too, so that what passes is the intersection of two judgements.
//!
//! [`HeadScanner`] finds the end of a head while it arrives and refuses early; [`parse_request`] and
//! [`parse_response`] judge a whole one. Absent on purpose: bodies, trailers, HTTP/1.0, and the bytes 0x80 to 0xFF.

use std::fmt;

/// Bounds of one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, its closing empty line included.
    pub bytes: usize,
    /// Header fields.
    pub fields: usize,
    /// Bytes of the request target.
    pub target: usize,
}

/// One header field: the name in lower case, the value without the white space around it.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderField {
    /// The name, in lower case.
    pub name: String,
    /// The value: visible ASCII, space and tab.
    pub value: String,
}

impl fmt::Debug for HeaderField {
    /// Any value may hold a token or a cookie: only its length is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} bytes", self.name, self.value.len())
    }
}

/// The header fields of a head, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<HeaderField>);

/// A field that may come once came more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

impl Headers {
    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a field called `name` (lower case) came at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|field| field.name == name)
    }

    /// Every field.
    pub fn iter(&self) -> impl Iterator<Item = &HeaderField> {
        self.0.iter()
    }

    /// Appends a field whose name is in lower case already.
    pub fn push(&mut self, name: String, value: String) {
        self.0.push(HeaderField { name, value });
    }

    /// The values of every field called `name` (lower case), in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |field| field.name == name).map(|field| field.value.as_str())
    }

    /// The value of the field called `name` (lower case) that may come at most once.
    pub fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Repeated> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(Repeated) } else { Ok(first) }
    }
}

/// A request head that the strict grammar accepted.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method as sent, a token.
    pub method: String,
    /// The request target as sent.
    pub target: String,
    /// The header fields.
    pub headers: Headers,
}

impl fmt::Debug for RequestHead {
    /// The query may hold a token: it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{} {path} {:?}", self.method, self.headers)
    }
}

/// A response head that the strict grammar accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code, three digits.
    pub status: u16,
    /// The header fields.
    pub headers: Headers,
}

/// Why a head was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// It broke the grammar.
    Malformed(Flaw),
    /// It has more bytes or fields than [`HeadLimits`] allows.
    TooLarge,
    /// Its request target has more bytes than [`HeadLimits`] allows.
    TargetTooLong,
    /// It is HTTP, but not HTTP/1.1.
    Version,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed(flaw) => return flaw.fmt(f),
            Self::TooLarge => "the head has more bytes or fields than are read",
            Self::TargetTooLong => "the request target has more bytes than are read",
            Self::Version => "the version is not HTTP/1.1",
        })
    }
}

impl std::error::Error for HeadError {}

/// Where a head broke the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The first byte cannot begin a method or a status line.
    FirstByte,
    /// A line does not end in CRLF: a bare CR or a bare LF (RFC 9112 section 2.2).
    LineEnd,
    /// A byte is neither visible ASCII nor space nor tab.
    Byte,
    /// A line begins with white space (obs-fold, RFC 9112 section 5.2).
    Folded,
    /// The first line is not `method SP target SP version` (RFC 9112 section 3).
    RequestLine,
    /// The first line is not `version SP status SP reason` (RFC 9112 section 4).
    StatusLine,
    /// A field has no colon, or its name is not a token (RFC 9112 section 5.1).
    FieldName,
    /// The bytes are not exactly one whole head.
    Length,
    /// `httparse` refuses it or reads something else.
    SecondJudge,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstByte => "the first byte cannot begin a head",
            Self::LineEnd => "a line does not end in CRLF",
            Self::Byte => "a byte is neither visible ASCII nor space nor tab",
            Self::Folded => "a line begins with white space",
            Self::RequestLine => "the first line is not `method target version`",
            Self::StatusLine => "the first line is not `version status reason`",
            Self::FieldName => "a field name is not a token followed by a colon",
            Self::Length => "the bytes are not exactly one head",
            Self::SecondJudge => "two parsers do not agree on this head",
        })
    }
}

/// Finds the end of a head while its bytes arrive, and refuses as early as the bytes allow.
///
/// Every byte is looked at once, however the bytes were chunked.
#[derive(Clone, Debug)]
pub struct HeadScanner {
    limits: HeadLimits,
    place: Place,
    seen: usize,
    fields: usize,
    target: usize,
}

/// Where in the head the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    FirstWord,
    SecondWord,
    RestOfLine,
    LineFeed,
    LineStart,
    LastLineFeed,
    Done,
}

impl HeadScanner {
    /// A scanner at the first byte of a head.
    pub fn new(limits: HeadLimits) -> Self {
        Self { limits, place: Place::Start, seen: 0, fields: 0, target: 0 }
    }

    /// Judges what is new in `received`, which is everything since the first byte of the head.
    ///
    /// Returns the head's length, its closing empty line included, once that line is there.
    pub fn scan(&mut self, received: &[u8]) -> Result<Option<usize>, HeadError> {
        for byte in received.get(self.seen..).unwrap_or_default() {
            if self.place == Place::Done {
                break;
            }
            if self.seen >= self.limits.bytes {
                return Err(HeadError::TooLarge);
            }
            self.place = self.step(*byte)?;
            self.seen = self.seen.saturating_add(1);
        }
        Ok((self.place == Place::Done).then_some(self.seen))
    }

    fn step(&mut self, byte: u8) -> Result<Place, HeadError> {
        let malformed = |flaw| Err(HeadError::Malformed(flaw));
        match (self.place, byte) {
            (Place::Start, _) if is_token_byte(byte) => Ok(Place::FirstWord),
            (Place::Start, _) => malformed(Flaw::FirstByte),
            (Place::LineFeed, b'\n') => Ok(Place::LineStart),
            (Place::LastLineFeed, b'\n') => Ok(Place::Done),
            (Place::LineFeed | Place::LastLineFeed, _) | (_, b'\n') => malformed(Flaw::LineEnd),
            (Place::LineStart, b'\r') => Ok(Place::LastLineFeed),
            (Place::LineStart, b' ' | b'\t') => malformed(Flaw::Folded),
            (_, b'\r') => Ok(Place::LineFeed),
            (_, _) if !is_text_byte(byte) => malformed(Flaw::Byte),
            (Place::LineStart, _) => {
                self.fields = self.fields.saturating_add(1);
                if self.fields > self.limits.fields { Err(HeadError::TooLarge) } else { Ok(Place::RestOfLine) }
            }
            (Place::FirstWord, b' ') => Ok(Place::SecondWord),
            (Place::SecondWord, b' ') => Ok(Place::RestOfLine),
            (Place::SecondWord, _) => {
                self.target = self.target.saturating_add(1);
                if self.target > self.limits.target { Err(HeadError::TargetTooLong) } else { Ok(Place::SecondWord) }
            }
            (place @ (Place::FirstWord | Place::RestOfLine | Place::Done), _) => Ok(place),
        }
    }
}

/// Reads a whole request head: `method SP target SP HTTP/1.1`, then fields (RFC 9112 sections 3 and 5).
pub fn parse_request(head: &[u8], limits: &HeadLimits) -> Result<RequestHead, HeadError> {
    let (first, fields) = split_head(head, limits)?;
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeadError::Malformed(Flaw::RequestLine));
    };
    let visible = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token(method) || !visible {
        return Err(HeadError::Malformed(Flaw::RequestLine));
    }
    judge_version(version, Flaw::RequestLine)?;
    let parsed = RequestHead { method: method.into(), target: target.into(), headers: parse_fields(fields)? };
    if httparse_reads_request(head, &parsed) { Ok(parsed) } else { Err(HeadError::Malformed(Flaw::SecondJudge)) }
}

/// Reads a whole response head: `HTTP/1.1 SP status SP reason`, then fields (RFC 9112 sections 4 and 5).
pub fn parse_response(head: &[u8], limits: &HeadLimits) -> Result<ResponseHead, HeadError> {
    let (first, fields) = split_head(head, limits)?;
    let malformed = HeadError::Malformed(Flaw::StatusLine);
    let (version, rest) = first.split_once(' ').ok_or(malformed)?;
    judge_version(version, Flaw::StatusLine)?;
    let (digits, _reason) = rest.split_once(' ').ok_or(malformed)?;
    let three_digits = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let status = digits.parse().ok().filter(|status| three_digits && *status >= 100).ok_or(malformed)?;
    let parsed = ResponseHead { status, headers: parse_fields(fields)? };
    if httparse_reads_response(head, &parsed) { Ok(parsed) } else { Err(HeadError::Malformed(Flaw::SecondJudge)) }
}

/// Whether `text` is a token (RFC 9110 section 5.6.2): at least one character, none of them a delimiter.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_text_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' ' || byte == b'\t'
}

/// The first line, and the lines of the fields, each without its CRLF.
fn split_head<'a>(
    head: &'a [u8],
    limits: &HeadLimits,
) -> Result<(&'a str, impl Iterator<Item = &'a str> + use<'a>), HeadError> {
    let malformed = HeadError::Malformed(Flaw::Length);
    let end = HeadScanner::new(*limits).scan(head)?.ok_or(malformed)?;
    let text = str::from_utf8(head).ok().filter(|_| end == head.len()).ok_or(malformed)?;
    let mut lines = text.strip_suffix("\r\n\r\n").ok_or(malformed)?.split("\r\n");
    let first = lines.next().ok_or(malformed)?;
    Ok((first, lines))
}

fn judge_version(version: &str, flaw: Flaw) -> Result<(), HeadError> {
    match version.as_bytes() {
        b"HTTP/1.1" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(HeadError::Version)
        }
        _ => Err(HeadError::Malformed(flaw)),
    }
}

fn parse_fields<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Headers, HeadError> {
    let mut headers = Headers::default();
    for line in lines {
        let (name, value) =
            line.split_once(':').filter(|(name, _)| is_token(name)).ok_or(HeadError::Malformed(Flaw::FieldName))?;
        headers.push(name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned());
    }
    Ok(headers)
}

fn httparse_reads_request(head: &[u8], ours: &RequestHead) -> bool {
    let mut slots = vec![httparse::EMPTY_HEADER; ours.headers.len()];
    let mut theirs = httparse::Request::new(&mut slots);
    theirs.parse(head) == Ok(httparse::Status::Complete(head.len()))
        && theirs.method == Some(ours.method.as_str())
        && theirs.path == Some(ours.target.as_str())
        && theirs.version == Some(1)
        && same_fields(&ours.headers, theirs.headers)
}

fn httparse_reads_response(head: &[u8], ours: &ResponseHead) -> bool {
    let mut slots = vec![httparse::EMPTY_HEADER; ours.headers.len()];
    let mut theirs = httparse::Response::new(&mut slots);
    theirs.parse(head) == Ok(httparse::Status::Complete(head.len()))
        && theirs.code == Some(ours.status)
        && theirs.version == Some(1)
        && same_fields(&ours.headers, theirs.headers)
}

fn same_fields(ours: &Headers, theirs: &[httparse::Header<'_>]) -> bool {
    ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|(ours, theirs)| {
            theirs.name.eq_ignore_ascii_case(&ours.name) && theirs.value.trim_ascii() == ours.value.as_bytes()
        })
}

#[cfg(test)]
mod tests;
