//! `[issuer.NAME]`: who signs tokens.

use std::path::{Path, PathBuf};

use super::listener::secret;
use crate::config::diagnostic::Code;
use crate::config::raw::choices::TextOr;
use crate::config::raw::gateway::{RawIssuer, RawSecret};
use crate::config::raw::words::At;
use crate::config::scope::Scope;
use crate::config::{IssuerConfig, KeySource, SecretSource};
use crate::policy::auth::algorithm::Algorithm;

/// The most algorithms of one issuer: there are not more.
const MOST_ALGORITHMS: usize = 16;
/// The most places from which one issuer's keys are read.
const MOST_SOURCES: usize = 64;

/// Builds one issuer; `None` where something that it needs is missing.
pub(super) fn build(name: &str, at: &At<RawIssuer>, scope: &mut Scope<'_>) -> Option<IssuerConfig> {
    let raw = at.get();
    if name.contains(['/', ':']) {
        let help = "name it without `/` and `:`: logs call a person issuer/subject, and a token file tokens:FILE";
        scope.error(Code::WrongValue, at.span(), format!("`{name}` is no issuer's name"), help);
    }
    let iss = scope.required("iss", &raw.iss, Some(at.span()), "write the exact `iss` claim of its tokens");
    let mut algorithms = Vec::new();
    for (word, span) in scope.list("algorithms", &raw.algorithms, MOST_ALGORITHMS) {
        match word.parse::<Algorithm>() {
            Ok(algorithm) => algorithms.push(algorithm),
            Err(error) => scope.error(Code::WrongValue, span, error.to_string(), "ES256 is a good choice"),
        }
    }
    if raw.algorithms.as_ref().is_none_or(|list| list.get().is_empty()) {
        scope.missing("algorithms", Some(at.span()), "write algorithms = [\"ES256\"]: a token does not choose its own");
    }
    let keys = sources(at, scope);
    let complete = !algorithms.is_empty() && !keys.is_empty();
    iss.filter(|_| complete).map(|iss| IssuerConfig { name: name.into(), iss, algorithms, keys })
}

fn sources(at: &At<RawIssuer>, scope: &mut Scope<'_>) -> Vec<KeySource> {
    let Some(list) = at.get().keys.as_ref().filter(|list| !list.get().is_empty()) else {
        scope.missing(
            "keys",
            Some(at.span()),
            "write keys = [\"certs/login.pem\"]: without a key nobody could come in",
        );
        return Vec::new();
    };
    if list.get().len() > MOST_SOURCES {
        scope.error(
            Code::TooLarge,
            list.span(),
            "too many keys",
            format!("at most {MOST_SOURCES}: take out those that sign no longer"),
        );
    }
    let several = list.get().len() > 1;
    let named = list.get().iter().take(MOST_SOURCES).enumerate();
    let mut keys = Vec::new();
    for (index, key) in named {
        let mut scope = scope.table(format!("keys[{index}]"));
        let source = match key.get() {
            TextOr::Text(path) => {
                scope.note("file", format!("{path:?}"), Some(key.span()));
                Some(KeySource { from: SecretSource::File(scope.resolve(path)), id: None })
            }
            TextOr::Table(raw) => {
                let place = RawSecret { file: raw.file.clone(), env: raw.env.clone(), encoding: raw.encoding.clone() };
                let id = scope.optional("id", &raw.id);
                secret(&place, key.span(), &mut scope).map(|from| KeySource { from, id })
            }
        };
        keys.extend(source.map(|source| with_id(source, several)));
    }
    keys
}

/// One of several keys needs an id: a file's stem where none is written.
fn with_id(source: KeySource, several: bool) -> KeySource {
    let stem = || source.from.file().map(PathBuf::as_path).and_then(Path::file_stem)?.to_str().map(String::from);
    let id = if several { source.id.clone().or_else(stem) } else { source.id.clone() };
    KeySource { id, ..source }
}
