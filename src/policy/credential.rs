//! Where a credential travels, how it is found, and how it is taken out of a handshake.
//!
//! Explicit carriers (header, subprotocol, query) are put there by a program that means it; a cookie comes by itself.
//! So two explicit credentials are one too many, and a cookie counts only when no explicit one came. Whatever the
//! carrier, a token is `b64token` (RFC 6750 section 2.1): anything else in its place is malformed, never guessed at.
//! Whether a token is good is not judged here.

use std::fmt;
use std::str::FromStr;

use super::auth::claims::MAX_TOKEN;
use super::{Reason, Refusal};
use crate::secret::Secret;
use crate::ws::head::Headers;
use crate::ws::opening::{OpeningHandshake, percent_decoded};

#[cfg(test)]
pub(in crate::policy) mod tests;

/// The most bytes of a marker's, a cookie's or a parameter's name.
const LONGEST_NAME: usize = 64;

/// A place in which a token may travel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// `Authorization: Bearer <token>` (RFC 6750 section 2.1).
    Authorization,
    /// `Sec-WebSocket-Protocol: <marker>, <token>`.
    Subprotocol(String),
    /// A cookie of this name.
    Cookie(String),
    /// A query parameter of this name.
    Query(String),
}

impl Carrier {
    /// Whether a program puts a token there on purpose: everywhere but in a cookie.
    pub fn is_explicit(&self) -> bool {
        !matches!(self, Self::Cookie(_))
    }
}

/// A word that names no carrier; the text says what would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarrierError(String);

impl fmt::Display for CarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = "\"authorization\", \"subprotocol:bearer\", \"cookie:session\" or \"query:token\"";
        write!(
            f,
            "`{}` is no place for a token: write {places}, the names in at most {LONGEST_NAME} letters, digits, `-`, `.` and `_`",
            self.0
        )
    }
}

impl std::error::Error for CarrierError {}

impl FromStr for Carrier {
    type Err = CarrierError;

    fn from_str(text: &str) -> Result<Self, CarrierError> {
        let wrong = || CarrierError(String::from(text));
        if text == "authorization" {
            return Ok(Self::Authorization);
        }
        let (place, name) = text.split_once(':').ok_or_else(wrong)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if !(1..=LONGEST_NAME).contains(&name.len()) || !name.bytes().all(is_plain) {
            return Err(wrong());
        }
        match place {
            "subprotocol" => Ok(Self::Subprotocol(String::from(name))),
            "cookie" => Ok(Self::Cookie(String::from(name))),
            "query" => Ok(Self::Query(String::from(name))),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorization => f.write_str("authorization"),
            Self::Subprotocol(marker) => write!(f, "subprotocol:{marker}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

/// A token that a client presented, well formed and not yet judged.
#[derive(Clone, Debug)]
pub struct Presented {
    /// Where it came.
    pub carrier: Carrier,
    /// 1 to 8192 characters of `b64token`.
    pub token: Secret<String>,
}

/// Finds the one credential of a handshake in the places that its policy names.
///
/// Two explicit ones, or one that came twice, are `CredentialAmbiguous`; one that is not of its place's form is
/// `CredentialMalformed`; one longer than 8 KiB is `TokenTooLong`. Of several cookies, the first in the order of
/// `carriers` counts.
pub fn find(opening: &OpeningHandshake, carriers: &[Carrier]) -> Result<Option<Presented>, Refusal> {
    let OpeningHandshake { headers, subprotocols, query, .. } = opening;
    find_among(&Places { headers, subprotocols, query: query.as_deref() }, carriers)
}

/// The same of a head that is no handshake: only its fields are looked at.
pub fn find_in_fields(headers: &Headers, carriers: &[Carrier]) -> Result<Option<Presented>, Refusal> {
    find_among(&Places { headers, subprotocols: &[], query: None }, carriers)
}

/// Where a credential may stand.
struct Places<'h> {
    headers: &'h Headers,
    subprotocols: &'h [String],
    query: Option<&'h str>,
}

fn find_among(places: &Places<'_>, carriers: &[Carrier]) -> Result<Option<Presented>, Refusal> {
    if places.headers.one("authorization").is_err() {
        // Whoever judges, here or behind: which of two counts is nobody's to guess.
        return Err(Refusal::new(Reason::CredentialAmbiguous).with_detail("two Authorization fields"));
    }
    let mut found: Option<Presented> = None;
    for carrier in carriers.iter().filter(|carrier| carrier.is_explicit()) {
        let Some(token) = find_in(places, carrier)? else { continue };
        if let Some(other) = &found {
            let both = format!("{} and {carrier}", other.carrier);
            return Err(Refusal::new(Reason::CredentialAmbiguous).with_detail(both));
        }
        found = Some(Presented { carrier: carrier.clone(), token });
    }
    if found.is_some() {
        return Ok(found);
    }
    for carrier in carriers.iter().filter(|carrier| !carrier.is_explicit()) {
        if let Some(token) = find_in(places, carrier)? {
            return Ok(Some(Presented { carrier: carrier.clone(), token }));
        }
    }
    Ok(None)
}

/// Takes out of a handshake whatever stands in these places, so that neither the backend nor a log can see it.
///
/// The rest of the query stays byte for byte; the rest of the cookies and subprotocols keep their order.
pub fn strip(opening: &mut OpeningHandshake, carriers: &[Carrier]) {
    for carrier in carriers {
        match carrier {
            Carrier::Authorization => rewrite(&mut opening.headers, "authorization", |_| None),
            Carrier::Subprotocol(marker) => {
                opening.subprotocols = subprotocols_without_token(&opening.subprotocols, marker);
                let rest = opening.subprotocols.join(", ");
                let mut rest = Some(rest).filter(|rest| !rest.is_empty());
                rewrite(&mut opening.headers, "sec-websocket-protocol", |_| rest.take());
            }
            Carrier::Cookie(name) => rewrite(&mut opening.headers, "cookie", |line| {
                let kept: Vec<&str> =
                    cookies_of_line(line).filter(|cookie| cookie.name != name).map(|c| c.pair).collect();
                (!kept.is_empty()).then(|| kept.join("; "))
            }),
            Carrier::Query(name) => opening.query = opening.query.take().and_then(|query| query_without(&query, name)),
        }
    }
}

/// The offered subprotocols without `marker` and the token behind it.
pub fn subprotocols_without_token(offered: &[String], marker: &str) -> Vec<String> {
    let mut rest = Vec::new();
    let mut items = offered.iter();
    while let Some(item) = items.next() {
        if item == marker {
            items.next();
        } else {
            rest.push(item.clone());
        }
    }
    rest
}

/// One cookie of a `Cookie` line (RFC 6265 section 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookie<'l> {
    /// `name=value`, as sent.
    pub(super) pair: &'l str,
    pub(super) name: &'l str,
    pub(super) value: &'l str,
}

/// The cookies of one line, in order. A piece without `=` has an empty name, as browsers read it.
pub(super) fn cookies_of_line(line: &str) -> impl Iterator<Item = Cookie<'_>> {
    line.split(';').map(str::trim_ascii).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        Cookie { pair, name: name.trim_ascii(), value: value.trim_ascii() }
    })
}

fn find_in(places: &Places<'_>, carrier: &Carrier) -> Result<Option<Secret<String>>, Refusal> {
    let word = match carrier {
        Carrier::Authorization => authorization(places.headers)?,
        Carrier::Subprotocol(marker) => subprotocol(places.subprotocols, marker)?,
        Carrier::Cookie(name) => cookie(places.headers, name)?,
        Carrier::Query(name) => query(places.query, name)?,
    };
    let Some(word) = word else { return Ok(None) };
    if word.expose().len() > MAX_TOKEN {
        return Err(Refusal::new(Reason::TokenTooLong).with_detail(carrier.to_string()));
    }
    if !is_b64token(word.expose()) {
        return Err(Refusal::new(Reason::CredentialMalformed).with_detail(carrier.to_string()));
    }
    Ok(Some(word))
}

/// RFC 6750 section 2.1.
fn is_b64token(word: &str) -> bool {
    let body = word.trim_end_matches('=');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !body.is_empty() && body.bytes().all(fits)
}

fn ambiguous(carrier: &str) -> Refusal {
    Refusal::new(Reason::CredentialAmbiguous).with_detail(format!("{carrier} came twice"))
}

/// `Bearer` in any case (RFC 9110 section 11.1) and exactly one space; another scheme is malformed.
fn authorization(headers: &Headers) -> Result<Option<Secret<String>>, Refusal> {
    let value = headers.one("authorization").map_err(|_| ambiguous("authorization"))?;
    value
        .map(|value| match value.split_once(' ') {
            Some((scheme, word)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Secret::new(String::from(word))),
            _ => Err(Refusal::new(Reason::CredentialMalformed).with_detail("authorization: not `Bearer TOKEN`")),
        })
        .transpose()
}

fn subprotocol(offered: &[String], marker: &str) -> Result<Option<Secret<String>>, Refusal> {
    let mut places = offered.iter().enumerate().filter(|(_, item)| *item == marker).map(|(place, _)| place);
    let Some(place) = places.next() else { return Ok(None) };
    if places.next().is_some() {
        return Err(ambiguous("the subprotocol marker"));
    }
    let token = offered.get(place.saturating_add(1)).cloned().unwrap_or_default();
    Ok(Some(Secret::new(token)))
}

fn cookie(headers: &Headers, name: &str) -> Result<Option<Secret<String>>, Refusal> {
    let mut values = headers.all("cookie").flat_map(cookies_of_line).filter(|cookie| cookie.name == name);
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|other| other.value != first.value) {
        return Err(ambiguous("the cookie"));
    }
    Ok(Some(Secret::new(String::from(first.value))))
}

/// Pieces between `&`; names compare with their case after one decoding. `+` stands for itself or for a space,
/// depending on who reads, so a value may hold it as `%2B` alone.
fn query(query: Option<&str>, name: &str) -> Result<Option<Secret<String>>, Refusal> {
    let mut values = query.unwrap_or_default().split('&').filter(|piece| is_called(piece, name));
    let Some(piece) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ambiguous("the query parameter"));
    }
    let value = piece.split_once('=').map_or("", |(_, value)| value);
    let word = if value.contains('+') { None } else { percent_decoded(value) };
    Ok(Some(Secret::new(word.unwrap_or_default())))
}

fn is_called(piece: &str, name: &str) -> bool {
    let raw = piece.split_once('=').map_or(piece, |(raw, _)| raw);
    percent_decoded(raw).as_deref() == Some(name)
}

/// The decoded values of every parameter called `name`; what cannot be decoded is empty.
pub(super) fn query_values(query: Option<&str>, name: &str) -> Vec<String> {
    let pieces = query.unwrap_or_default().split('&').filter(|piece| is_called(piece, name));
    let values = pieces.map(|piece| piece.split_once('=').map_or("", |(_, value)| value));
    values.map(|value| percent_decoded(value).unwrap_or_default()).collect()
}

pub(super) fn query_without(query: &str, name: &str) -> Option<String> {
    let mut pieces = query.split('&').filter(|piece| !is_called(piece, name)).peekable();
    pieces.peek()?;
    Some(pieces.collect::<Vec<_>>().join("&"))
}

/// Rewrites the value of every field called `name`, or leaves the field out.
fn rewrite(headers: &mut Headers, name: &str, mut value: impl FnMut(&str) -> Option<String>) {
    let mut rewritten = Headers::default();
    for field in headers.iter() {
        let kept = if field.name == name { value(&field.value) } else { Some(field.value.clone()) };
        if let Some(kept) = kept {
            rewritten.push(field.name.clone(), kept);
        }
    }
    *headers = rewritten;
}
