//! Strict JSON: one object, no member name twice at any depth, bounded depth, nothing behind it.
//!
//! Two readers of `{"role":"user","role":"admin"}` may disagree (RFC 8259 section 4), and a token that means two things
//! is no proof of either. Tokens and key sets are read through this door alone.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How many arrays and objects may stand within each other.
pub const MAX_DEPTH: usize = 16;

/// Reads one JSON object (RFC 8259) in UTF-8 without a byte order mark.
///
/// The caller bounds the length of `bytes`. The error says what is wrong and at which line and column, and
/// quotes nothing.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, NotStrict> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth_left: MAX_DEPTH }.deserialize(&mut reader)?;
    reader.end()?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(NotStrict(String::from("not a JSON object"))),
    }
}

/// Why bytes are not one strict JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotStrict(String);

impl From<serde_json::Error> for NotStrict {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for NotStrict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotStrict {}

#[derive(Clone, Copy)]
struct Strict {
    depth_left: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { depth_left })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(seed)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(seed)?;
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("a member came twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn au17_only_unambiguous_objects_are_read() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        let deep = (nested(MAX_DEPTH + 1), nested(MAX_DEPTH));
        let cases: &[(&str, &[u8], &[u8])] = &[
            ("twice at the top", br#"{"a":1,"a":1}"#, br#"{"a":1,"b":1}"#),
            ("twice, one of them escaped", br#"{"a":1,"\u0061":1}"#, br#"{"a":1,"\u0062":1}"#),
            ("twice within", br#"{"a":{"b":1,"b":2}}"#, br#"{"a":{"b":1},"b":2}"#),
            ("twice within a list", br#"{"a":[{"b":1,"b":2}]}"#, br#"{"a":[{"b":1},{"b":2}]}"#),
            ("too deep", deep.0.as_bytes(), deep.1.as_bytes()),
            ("something behind it", br#"{"a":1} x"#, br#"{"a":1} "#),
            ("a byte order mark", b"\xef\xbb\xbf{}", b"{}"),
            ("not UTF-8", b"{\"a\":\"\xff\"}", b"{\"a\":\"\xc3\xbf\"}"),
            ("half a surrogate pair", br#"{"a":"\ud800"}"#, br#"{"a":"\ud83d\ude00"}"#),
            ("a raw control character", b"{\"a\":\"\n\"}", b"{\"a\":\"\\n\"}"),
            ("not an object", b"[1]", b"{\"a\":[1]}"),
            ("infinity", br#"{"a":1e999}"#, br#"{"a":1e99}"#),
            ("empty", b"", b"{}"),
        ];
        let mut ran = 0;
        for (what, bad, mended) in cases {
            assert!(parse_object(bad).is_err(), "{what}");
            assert!(parse_object(mended).is_ok(), "{what}, mended");
            ran += 1;
        }
        assert_eq!(ran, 13);
    }

    #[test]
    fn values_keep_their_kinds() {
        let text = br#"{"n":null,"b":true,"i":-1,"u":18446744073709551615,"f":1.5,"s":"x","l":[1]}"#;
        let read = parse_object(text).unwrap();
        assert_eq!(Value::Object(read), serde_json::from_slice::<Value>(text).unwrap());
    }
}
