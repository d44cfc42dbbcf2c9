//! What an administrator orders, as the JSON of a call: a target, and how long it is one. The state file keeps entries in
//! the same words.

use std::fmt;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{Entry, Target, is_word, not_a_word};
use crate::units::{UnixSeconds, parse_duration};

/// The last second of the year 9999: of no later time is there a form that is read again.
pub const LAST_TIME: UnixSeconds = UnixSeconds(253_402_300_799);
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
/// Bytes of a member's name that are told.
const SHOWN_NAME: usize = 64;

/// What a call orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Who or what.
    pub target: Target,
    /// See [`Entry::since`].
    pub since: Option<UnixSeconds>,
    /// When it ends, where the call says.
    pub end: Option<End>,
}

/// When an entry ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At this second.
    At(UnixSeconds),
    /// So long from now.
    After(Duration),
}

impl End {
    /// The second that it means at `now`: one that is to come, and that can be written and read again.
    pub fn at(self, now: UnixSeconds) -> Result<UnixSeconds, Wrong> {
        let (member, until) = match self {
            Self::At(until) => ("until", until),
            Self::After(span) => ("for", now.saturating_add(span)),
        };
        match until {
            _ if until <= now => Err(Wrong(format!("`{member}`: the entry would be over already"))),
            _ if until > LAST_TIME => {
                Err(Wrong(format!("`{member}`: the entry may end at {} at the latest", show_time(LAST_TIME))))
            }
            _ => Ok(until),
        }
    }
}

/// What is wrong with an order, and with which member of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

impl Order {
    /// Reads a JSON object with exactly one target out of `kinds`, and perhaps `issuer`, `since`, `until` or `for`.
    pub fn read(json: &[u8], kinds: &[&str]) -> Result<Self, Wrong> {
        let Members(members) = serde_json::from_slice(json).map_err(|_| Wrong("the body: not a JSON object".into()))?;
        let mut fields = Fields::default();
        for (name, value) in &members {
            fields.take(name, value, kinds)?;
        }
        let Some((kind, word)) = fields.target else {
            return Err(Wrong(format!("exactly one of {} must be there", listed(kinds))));
        };
        let issuer = fields.issuer;
        if issuer.is_some() && !matches!(kind, "subject" | "token_id") {
            return Err(Wrong(String::from("`issuer` has a meaning beside `subject` and `token_id` alone")));
        }
        if fields.since.is_some() && kind != "subject" {
            return Err(Wrong(String::from("`since` has a meaning beside `subject` alone")));
        }
        let target = Target::read(kind, word, issuer).unwrap_or_else(|| Err(String::from("no such kind")));
        let target = target.map_err(|why| Wrong(format!("`{}`: {why}", shown(kind))))?;
        Ok(Self { target, since: fields.since, end: fields.end })
    }
}

/// The members that an order may have, as far as they were seen.
#[derive(Default)]
struct Fields<'j> {
    target: Option<(&'j str, &'j str)>,
    issuer: Option<&'j str>,
    since: Option<UnixSeconds>,
    end: Option<End>,
}

impl<'j> Fields<'j> {
    fn take(&mut self, name: &'j str, value: &'j Value, kinds: &[&str]) -> Result<(), Wrong> {
        let string = || value.as_str().ok_or_else(|| Wrong(format!("`{name}` must be a string")));
        let time = || time_of(value).ok_or_else(|| wrong_time(name));
        let is_again = match name {
            "issuer" => {
                let issuer = string()?;
                if !is_word(issuer) {
                    return Err(Wrong(not_a_word(name)));
                }
                self.issuer.replace(issuer).is_some()
            }
            "since" => self.since.replace(time()?).is_some(),
            "until" => self.end.replace(End::At(time()?)).is_some(),
            "for" => {
                let span = parse_duration(string()?).map_err(|error| Wrong(format!("`for`: {error}")))?;
                self.end.replace(End::After(span)).is_some()
            }
            _ if kinds.contains(&name) => {
                let word = string()?;
                self.target.replace((name, word)).is_some()
            }
            _ => {
                let known = listed(kinds);
                let name = shown(name);
                return Err(Wrong(format!(
                    "there is no member `{name}`: there are {known}; issuer, since, and until or for"
                )));
            }
        };
        if is_again {
            let more = if kinds.contains(&name) { listed(kinds) } else { shown(name) };
            return Err(Wrong(format!("`{}`: of {more} one may be there, and once", shown(name))));
        }
        Ok(())
    }
}

fn wrong_time(name: &str) -> Wrong {
    Wrong(format!(
        "`{name}` must be a time up to {}, such as \"2030-01-31T12:00:00Z\" or seconds since 1970",
        show_time(LAST_TIME)
    ))
}

fn listed(kinds: &[&str]) -> String {
    kinds.join(", ")
}

fn shown(name: &str) -> String {
    name.get(..name.floor_char_boundary(SHOWN_NAME)).unwrap_or_default().escape_debug().to_string()
}

/// The members of an object in their order, those that come twice included: a map would keep one of them.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Entry {
    /// The members that tell of it, times as RFC 3339.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut members = self.target.to_json();
        if let Some(since) = self.since {
            members.insert(String::from("since"), Value::from(show_time(since)));
        }
        members.insert(String::from("until"), Value::from(show_time(self.until)));
        members
    }
}

impl Target {
    /// The members that tell of it.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut members = Map::from_iter([(String::from(self.kind()), Value::from(self.value()))]);
        if let Some(issuer) = self.issuer() {
            members.insert(String::from("issuer"), Value::from(issuer));
        }
        members
    }
}

/// A time in JSON: RFC 3339, or seconds since 1970.
fn time_of(value: &Value) -> Option<UnixSeconds> {
    match value {
        Value::String(text) => read_time(text),
        _ => value.as_u64().map(UnixSeconds).filter(|time| *time <= LAST_TIME),
    }
}

/// A time as people write it: RFC 3339, or seconds since 1970.
pub(super) fn read_time(text: &str) -> Option<UnixSeconds> {
    let seconds = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()?
    } else {
        text.parse().ok().map(Timestamp::as_second).or_else(|| last_days(text))?
    };
    u64::try_from(seconds).ok().map(UnixSeconds).filter(|time| *time <= LAST_TIME)
}

/// A time as [`show_time`] writes it, of the days of the year 9999 too, which are no `Timestamp` any longer.
fn last_days(text: &str) -> Option<i64> {
    let whole = text.strip_suffix('Z').filter(|civil| civil.len() == "9999-12-31T23:59:59".len())?;
    Some(whole.parse::<DateTime>().ok()?.duration_since(EPOCH).as_secs())
}

/// A time as RFC 3339 in UTC; a later one than [`LAST_TIME`] as that.
pub fn show_time(time: UnixSeconds) -> String {
    let seconds = i64::try_from(time.min(LAST_TIME).0).unwrap_or_default();
    let shown = EPOCH.saturating_add(SignedDuration::from_secs(seconds));
    format!("{shown}Z")
}
