//! Words of which one is chosen, and values with a short and a long form.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::words::Word;
use crate::config::{LogFormat, ProxyMode, UnknownName};
use crate::policy::balance::Orphans;
use crate::policy::forward::CredentialForwarding;
use crate::policy::origin::MissingOrigin;
use crate::policy::screen::Telling;
use crate::session::rules::{Extensions, Overrun};

macro_rules! choices {
    ($($(#[doc = $doc:literal])+ $name:ident: $value:ty {
        $($word:literal => $means:expr),+ $(,)? ; $($planned:literal),*
    })+) => {
        $($(#[doc = $doc])+
        #[derive(Clone, Debug)]
        pub struct $name;

        impl Word for $name {
            type Value = $value;
            const EXPECTED: &'static str = concat!("one of" $(, " \"", $word, "\"")+);
            const EXAMPLE: &'static str = "";

            fn from_text(text: &str) -> Result<$value, String> {
                match text {
                    $($word => Ok($means),)+
                    $($planned => Err(format!("`{text}` is not built yet: write {}", Self::EXPECTED)),)*
                    _ => Err(format!("`{text}` is not {}", Self::EXPECTED)),
                }
            }

            fn show(value: &$value) -> String {
                let words = [$(($word, $means)),+];
                words.iter().find(|(_, means)| means == value).map_or_else(String::new, |(word, _)| format!("{word:?}"))
            }

            fn schema() -> Schema {
                json_schema!({ "enum": [$($word),+] })
            }
        })+
    };
}

/// How the text of a secret is encoded in an environment variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Plain,
    /// Base64 (RFC 4648 section 4).
    Base64,
}

/// What an `[[auth]]` table asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthKind {
    /// A JSON Web Token.
    Jwt,
    /// A query token.
    Token,
    /// A ticket.
    Ticket,
    /// The service behind judges.
    Backend,
    /// Nothing.
    None,
}

choices! {
    /// `proxy`
    Proxy: ProxyMode {
        "none" => ProxyMode::None,
        "proxy_protocol" => ProxyMode::ProxyProtocol,
        "x_forwarded_for" => ProxyMode::XForwardedFor;
    }
    /// `tls_min`: whether TLS 1.2 is refused.
    TlsMin: bool { "1.2" => false, "1.3" => true; }
    /// `unknown_name`
    Unknown: UnknownName { "refuse" => UnknownName::Refuse, "first" => UnknownName::First; }
    /// `reload`: whether a change is enough.
    Reload: bool { "on_request" => false, "on_change" => true; }
    /// `format`
    Format: LogFormat { "json" => LogFormat::Json, "human" => LogFormat::Human; }
    /// `encoding`
    Encoded: Encoding { "plain" => Encoding::Plain, "base64" => Encoding::Base64; }
    /// `missing`
    Missing: MissingOrigin { "cookieless" => MissingOrigin::Cookieless, "refuse" => MissingOrigin::Refuse; }
    /// `tell`
    Tell: Telling { "status" => Telling::Status, "close" => Telling::Close; }
    /// `removed`, and `down` of `[upstream.health]`
    Orphaned: Orphans { "keep" => Orphans::Keep, "close" => Orphans::Close; }
    /// `credential` of `[upstream]`
    Forwarding: CredentialForwarding {
        "strip" => CredentialForwarding::Strip,
        "authorization" => CredentialForwarding::Authorization,
        "as_sent" => CredentialForwarding::AsSent;
    }
    /// `extensions`
    Extension: Extensions { "strip" => Extensions::Strip, "pass" => Extensions::Pass; }
    /// `over`
    Over: Overrun { "slow" => Overrun::Slow, "close" => Overrun::Close; }
    /// `by`
    By: AuthKind {
        "jwt" => AuthKind::Jwt, "token" => AuthKind::Token, "ticket" => AuthKind::Ticket,
        "backend" => AuthKind::Backend, "none" => AuthKind::None;
        "mtls", "introspection", "oidc"
    }
}

/// One string, or a table that says more.
#[derive(Clone, Debug)]
pub enum TextOr<T> {
    /// The short form.
    Text(String),
    /// The long form.
    Table(T),
}

struct TextOrVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrVisitor<T> {
    type Value = TextOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a table")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TextOr::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Table)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for TextOr<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("TextOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, generator.subschema_for::<T>()] })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// One string, or a list of them.
#[derive(Clone, Debug)]
pub struct OneOrMany(pub Vec<String>);

struct OneOrManyVisitor;

impl<'de> Visitor<'de> for OneOrManyVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(OneOrMany(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany)
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

impl JsonSchema for OneOrMany {
    fn schema_name() -> Cow<'static, str> {
        "OneOrMany".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }

    fn inline_schema() -> bool {
        true
    }
}
