//! The smallest words of the language: a duration, a size, a network, each read from its text with a sentence that says
//! how it is written.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use toml::Spanned;

use crate::peer::parse_network;
use crate::units::{ByteRate, ByteSize, Rate, UnitError, format_duration, parse_duration};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct At<T>(Spanned<T>);

impl<T> At<T> {
    /// The value.
    pub fn get(&self) -> &T {
        self.0.get_ref()
    }

    /// The bytes of the file in which it stands.
    pub fn span(&self) -> Range<usize> {
        self.0.span()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }

    fn inline_schema() -> bool {
        true
    }
}

/// A value that is written as one TOML string or number.
pub trait Word: Sized {
    /// What it means.
    type Value: Clone;
    /// What an operator reads where something else stands there.
    const EXPECTED: &'static str;
    /// An example in TOML.
    const EXAMPLE: &'static str;

    /// Reads a string.
    fn from_text(text: &str) -> Result<Self::Value, String>;

    /// Reads a whole number.
    fn from_number(_number: u64) -> Option<Self::Value> {
        None
    }

    /// Writes it as it is read.
    fn show(value: &Self::Value) -> String;

    /// Its JSON Schema.
    fn schema() -> Schema {
        let number = Self::from_number(1024).or_else(|| Self::from_number(3000)).is_some();
        let kind = match (number, Self::from_text("auto").is_ok()) {
            (true, true) => json_schema!({ "type": ["integer", "string"] }),
            (true, false) => json_schema!({ "type": "integer" }),
            (false, _) => json_schema!({ "type": "string", "examples": [Self::EXAMPLE] }),
        };
        let mut schema = kind;
        schema.insert(String::from("description"), Self::EXPECTED.into());
        schema
    }
}

/// A [`Word`] as it stands in a file.
#[derive(Debug)]
pub struct Written<W: Word>(pub W::Value);

impl<W: Word> Clone for Written<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct WordVisitor<W>(PhantomData<W>);

impl<W: Word> Visitor<'_> for WordVisitor<W> {
    type Value = Written<W>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(W::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        W::from_text(text).map(Written).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        let wrong = || E::invalid_value(serde::de::Unexpected::Signed(number), &self);
        u64::try_from(number).ok().and_then(W::from_number).map(Written).ok_or_else(wrong)
    }
}

impl<'de, W: Word> Deserialize<'de> for Written<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor(PhantomData))
    }
}

impl<W: Word> JsonSchema for Written<W> {
    fn schema_name() -> Cow<'static, str> {
        W::EXPECTED.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        W::schema()
    }

    fn inline_schema() -> bool {
        true
    }
}

macro_rules! text_words {
    (
        $($(#[doc = $doc:literal])+
        $name:ident: $value:ty = $expected:literal, $example:literal, $read:expr, $show:expr;)+
    ) => {
        $($(#[doc = $doc])+
        #[derive(Clone, Debug)]
        pub struct $name;

        impl Word for $name {
            type Value = $value;
            const EXPECTED: &'static str = $expected;
            const EXAMPLE: &'static str = $example;

            fn from_text(text: &str) -> Result<Self::Value, String> {
                let read: fn(&str) -> Result<$value, String> = $read;
                read(text)
            }

            fn show(value: &Self::Value) -> String {
                let show: fn(&$value) -> String = $show;
                show(value)
            }
        })+
    };
}

text_words! {
    /// A duration above zero and of at most a year.
    Time: Duration = "a duration such as \"30s\", \"1m 30s\" or \"12h\"", "30s",
        duration, |time| quoted(&format_duration(*time));
    /// A size above zero.
    Size: ByteSize = "a size such as \"64KiB\"", "64KiB", size, quoted;
    /// Events per period.
    Pace: Rate = "a rate such as \"100/s burst 500\"", "100/s burst 500", read, quoted;
    /// Bytes per second.
    BytePace: ByteRate = "a byte rate such as \"256KiB/s burst 1MiB\"", "256KiB/s burst 1MiB", read, quoted;
    /// A network of addresses.
    Net: IpNet = "a network such as \"10.0.0.0/8\"", "10.0.0.0/8", parse_network, quoted;
    /// An address and a port.
    Socket: SocketAddr = "an address and a port such as \"[::]:8443\"", "[::]:8443", socket, quoted;
    /// Text.
    Text: String = "a string", "text", text, quoted;
    /// The reason that a `danger_` key must give.
    Why: String = "a string that says why this is acceptable here", "partners host their own pages", why, quoted;
}

/// The longest string that any key takes, in bytes.
const LONGEST_TEXT: usize = 4096;
/// The shortest reason that a `danger_` key takes, in bytes: long enough for two words.
const SHORTEST_REASON: usize = 8;
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

fn quoted<T: fmt::Display>(value: &T) -> String {
    format!("{:?}", value.to_string())
}

fn read<T: FromStr<Err = UnitError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(text_of)
}

fn text_of(error: impl fmt::Display) -> String {
    error.to_string()
}

fn duration(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).map_err(text_of)?;
    match time {
        Duration::ZERO => Err(String::from("a duration must be above zero")),
        time if time > YEAR => Err(format!("`{text}` is longer than a year")),
        time => Ok(time),
    }
}

fn size(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(text_of)?;
    if size.as_u64() == 0 { Err(String::from("a size must be above zero")) } else { Ok(size) }
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("`{text}` is not an address with a port: write \"[::]:8443\" or \"127.0.0.1:8443\"");
    text.parse().map_err(|_| wrong())
}

fn text(text: &str) -> Result<String, String> {
    match text {
        "" => Err(String::from("this must not be empty")),
        text if text.len() > LONGEST_TEXT => Err(format!("this is longer than {LONGEST_TEXT} bytes")),
        text if text.chars().any(char::is_control) => Err(String::from("control characters do not belong here")),
        text => Ok(text.to_owned()),
    }
}

fn why(reason: &str) -> Result<String, String> {
    if reason.trim().len() < SHORTEST_REASON {
        return Err(format!("a danger_ key's value is the reason for it, in at least {SHORTEST_REASON} characters"));
    }
    text(reason)
}

/// A count of one or more.
#[derive(Clone, Debug)]
pub struct Count;

impl Word for Count {
    type Value = u32;
    const EXPECTED: &'static str = "a whole number from 1 to 1000000000";
    const EXAMPLE: &'static str = "128";

    fn from_text(text: &str) -> Result<u32, String> {
        Err(format!("`{text}` is a string: write {} without quotes", Self::EXPECTED))
    }

    fn from_number(number: u64) -> Option<u32> {
        u32::try_from(number).ok().filter(|count| (1..=1_000_000_000).contains(count))
    }

    fn show(value: &u32) -> String {
        value.to_string()
    }
}

/// A count, or `"auto"`.
#[derive(Clone, Debug)]
pub struct CountOrAuto;

impl Word for CountOrAuto {
    type Value = Option<u32>;
    const EXPECTED: &'static str = "\"auto\" or a whole number from 1 to 1000000000";
    const EXAMPLE: &'static str = "auto";

    fn from_text(text: &str) -> Result<Option<u32>, String> {
        if text == "auto" { Ok(None) } else { Err(format!("`{text}` is not {}", Self::EXPECTED)) }
    }

    fn from_number(number: u64) -> Option<Option<u32>> {
        Count::from_number(number).map(Some)
    }

    fn show(value: &Option<u32>) -> String {
        value.map_or_else(|| String::from("\"auto\""), |count| count.to_string())
    }
}

/// An address and a port, or `"off"`.
#[derive(Clone, Debug)]
pub struct SocketOrOff;

impl Word for SocketOrOff {
    type Value = Option<SocketAddr>;
    const EXPECTED: &'static str = "\"off\", or an address and a port such as \"127.0.0.1:9090\"";
    const EXAMPLE: &'static str = "127.0.0.1:9090";

    fn from_text(text: &str) -> Result<Option<SocketAddr>, String> {
        if text == "off" { Ok(None) } else { socket(text).map(Some) }
    }

    fn show(value: &Option<SocketAddr>) -> String {
        value.as_ref().map_or_else(|| String::from("\"off\""), quoted)
    }
}

/// A close code that a gateway may send (RFC 6455 section 7.4).
#[derive(Clone, Debug)]
pub struct CloseCode;

impl Word for CloseCode {
    type Value = u16;
    const EXPECTED: &'static str = "a close code: 1000, 1001, 1008, 1011 to 1013, or 3000 to 4999";
    const EXAMPLE: &'static str = "4401";

    fn from_text(text: &str) -> Result<u16, String> {
        Err(format!("`{text}` is a string: write {} without quotes", Self::EXPECTED))
    }

    fn from_number(number: u64) -> Option<u16> {
        u16::try_from(number).ok().filter(|code| matches!(code, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999))
    }

    fn show(value: &u16) -> String {
        value.to_string()
    }
}
