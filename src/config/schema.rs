//! The JSON Schema of the language, and the keys of a file that it does not have.
//!
//! Editors and the loader read the same schema, so what an editor underlines is what the loader refuses.

use std::ops::Range;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::raw::{RawGateway, RawPolicy};

/// Which of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// gateway.toml.
    Gateway,
    /// A file of `policies/`.
    Policy,
}

/// Keys of the language that this version does not do: refused by name.
const NOT_BUILT: [(&str, &str); 6] = [
    ("admin.address", "an admin listener on TCP needs TLS and a token"),
    ("jwks_url", "keys fetched from an issuer"),
    ("client_certificates", "client certificates"),
    ("http2", "WebSockets over HTTP/2"),
    ("acme", "automatic certificates"),
    ("cluster", "limits shared by several gateways"),
];

/// A key that the schema does not have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stray {
    /// Its name, with the tables before it.
    pub(super) path: String,
    /// Where it stands.
    pub(super) span: Range<usize>,
    /// What is known of it.
    pub(super) kind: StrayKind,
}

/// What is known of a key that the schema does not have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StrayKind {
    /// This is planned.
    NotBuilt(&'static str),
    /// This key of the same table is spelled much like it.
    Like(String),
    /// These are the keys of the table.
    Unlike(Vec<String>),
}

/// The JSON Schema (draft 2020-12) of a file.
pub fn schema(language: Language) -> Value {
    match language {
        Language::Gateway => generate::<RawGateway>(),
        Language::Policy => generate::<RawPolicy>(),
    }
}

fn generate<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut value = Value::from(settings.into_generator().into_root_schema_for::<T>());
    tidy(&mut value);
    value
}

/// TOML has no null, and a table has no keys but those that are listed.
fn tidy(schema: &mut Value) {
    if let Value::Object(object) = schema {
        object.remove("default");
        if let Some(Value::Array(kinds)) = object.get_mut("type") {
            kinds.retain(|kind| kind != "null");
        }
        if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
            choices.retain(|choice| choice.get("type") != Some(&Value::from("null")));
        }
        if let Some(Value::Array(words)) = object.get_mut("enum") {
            words.retain(|word| !word.is_null());
        }
        if object.contains_key("properties") {
            object.insert(String::from("additionalProperties"), Value::Bool(false));
        }
        object.values_mut().for_each(tidy);
    } else if let Value::Array(list) = schema {
        list.iter_mut().for_each(tidy);
    }
}

/// Every key of `table` that `schema` does not have.
pub(super) fn strays(schema: &Value, table: &DeTable<'_>) -> Vec<Stray> {
    let mut found = Vec::new();
    walk_table(schema, table, "", &mut found);
    found
}

fn walk_table(schema: &Value, table: &DeTable<'_>, path: &str, found: &mut Vec<Stray>) {
    let Some(schema) = alternatives(schema).find(|one| is_table(one)) else { return };
    let properties = schema.get("properties").and_then(Value::as_object);
    let any = schema.get("additionalProperties").filter(|any| any.is_object());
    for (key, value) in table.iter() {
        let path = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        let own = properties.and_then(|properties| properties.get(key.get_ref().as_ref()));
        match own.or(any) {
            Some(schema) => walk_value(schema, value, &path, found),
            None if properties.is_some() => {
                let names = properties.into_iter().flat_map(|properties| properties.keys());
                found.push(Stray { span: key.span(), kind: kind_of(key.get_ref(), &path, names), path });
            }
            None => {}
        }
    }
}

fn walk_value(schema: &Value, value: &Spanned<DeValue<'_>>, path: &str, found: &mut Vec<Stray>) {
    match value.get_ref() {
        DeValue::Table(table) => walk_table(schema, table, path, found),
        DeValue::Array(list) => {
            let items = alternatives(schema).find_map(|one| one.get("items"));
            if let Some(items) = items {
                list.iter().for_each(|item| walk_value(items, item, path, found));
            }
        }
        _ => {}
    }
}

/// A table of the language.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TableAt {
    /// Its keys; none where it takes any.
    pub(super) keys: Vec<String>,
    /// Whether it is one of a list.
    pub(super) is_of_a_list: bool,
}

/// The table at a path of keys, the elements of lists left out; `None` where there is none.
pub(super) fn table_at(schema: &Value, path: &[String]) -> Option<TableAt> {
    let items = alternatives(schema).filter_map(|one| one.get("items")).flat_map(alternatives);
    let mut tables = alternatives(schema).map(|one| (one, false)).chain(items.map(|one| (one, true)));
    let (table, is_of_a_list) = tables.find(|(one, _)| is_table(one))?;
    let properties = table.get("properties").and_then(Value::as_object);
    match path.split_first() {
        None => {
            let keys = properties.into_iter().flat_map(|properties| properties.keys().cloned()).collect();
            Some(TableAt { keys, is_of_a_list })
        }
        Some((key, inner)) => {
            let any = table.get("additionalProperties").filter(|any| any.is_object());
            table_at(properties.and_then(|properties| properties.get(key)).or(any)?, inner)
        }
    }
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    let choices = schema.get("anyOf").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    std::iter::once(schema).chain(choices)
}

fn is_table(schema: &Value) -> bool {
    schema.get("properties").is_some() || schema.get("additionalProperties").is_some()
}

fn kind_of<'a>(key: &str, path: &str, names: impl Iterator<Item = &'a String>) -> StrayKind {
    /// Below this likeness (Jaro-Winkler) a guess would rather mislead.
    const ALIKE: f64 = 0.8;
    if let Some((_, planned)) = NOT_BUILT.iter().find(|(name, _)| *name == key || *name == path) {
        return StrayKind::NotBuilt(planned);
    }
    let names: Vec<String> = names.cloned().collect();
    let likeness = |name: &String| strsim::jaro_winkler(name, key);
    let best = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best {
        Some(name) if likeness(name) >= ALIKE => StrayKind::Like(name.clone()),
        _ => StrayKind::Unlike(names),
    }
}
