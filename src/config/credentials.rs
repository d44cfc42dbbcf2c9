//! Issuers' keys, token tables and lists of revocations, read from where the configuration says they are: at load, and again when the watch
//! sees that a file changed.

use std::path::Path;
use std::sync::Arc;

use super::diagnostic::{Code, Diagnostic, Place, Source};
use super::material::{self, Environment, MaterialError};
use super::{IssuerConfig, KeySource, SecretSource};
use crate::policy::auth::algorithm::KeyKind;
use crate::policy::auth::key_file;
use crate::policy::auth::keys::{Issuer, KeyError};
use crate::policy::auth::token::TokenTable;
use crate::policy::revocation::RevocationSet;
use crate::policy::revocation::list::{self, ListError};

impl IssuerConfig {
    /// Reads every key of this issuer; the first that cannot be used is the error.
    pub fn load(&self, env: Environment<'_>) -> Result<Issuer, MaterialError> {
        self.load_telling(env, |_| {})
    }

    /// As [`IssuerConfig::load`]; `secret_in` is told of each file that holds a shared secret.
    pub(super) fn load_telling(
        &self,
        env: Environment<'_>,
        mut secret_in: impl FnMut(&Path),
    ) -> Result<Issuer, MaterialError> {
        let mut keys = Vec::new();
        for source in &self.keys {
            let secret = source.from.read(env)?;
            let read = key_file::read(secret.expose(), &self.algorithms, source.id.as_deref());
            let read = read.map_err(|error| unusable(source, &error))?;
            let is_secret = read.iter().any(|key| key.algorithm().key_kind() == KeyKind::Secret);
            if let Some(path) = source.from.file().filter(|_| is_secret) {
                secret_in(path);
            }
            keys.extend(read);
        }
        Issuer::new(&self.iss, keys).map_err(|error| MaterialError {
            place: format!("issuer {}", self.name),
            message: error.to_string(),
            help: String::from("look at this issuer's `keys`; a PEM file's id is `{ file = \"...\", id = \"...\" }`"),
        })
    }
}

fn unusable(source: &KeySource, error: &KeyError) -> MaterialError {
    let help = match &source.from {
        SecretSource::File(path) => format!("look at {}", path.display()),
        SecretSource::Env { name, .. } => format!("look at the environment variable {name}"),
    };
    MaterialError { place: source.from.to_string(), message: error.to_string(), help }
}

/// Reads a token table; every malformed line is a mistake of its own.
pub fn load_tokens(path: &Path) -> Result<TokenTable, Vec<Diagnostic>> {
    let file = |line| Place::File(path.to_owned(), line);
    let bytes = material::read_file(path, material::LONGEST_TOKEN_TABLE)
        .map_err(|error| vec![Diagnostic::error(Code::Credential, file(None), error.message).help(error.help)])?;
    let text = String::from_utf8(bytes)
        .map_err(|_| vec![Diagnostic::error(Code::Credential, file(None), "this file is not UTF-8")])?;
    TokenTable::parse(&text).map_err(|lines| {
        let mistake = |line: &crate::policy::auth::token::LineError| {
            Diagnostic::error(Code::Credential, file(Some(line.line)), line.mistake.to_string())
                .help("a line is: SHA-256 digest in hex, subject, and the times use_until and session_until")
        };
        lines.iter().take(20).map(mistake).collect()
    })
}

/// Reads the file of revocations; every malformed line is a mistake of its own.
pub fn load_revocations(path: &Path) -> Result<RevocationSet, Vec<Diagnostic>> {
    let whole = || Place::File(path.to_owned(), None);
    let bytes = material::read_file(path, material::LONGEST_TOKEN_TABLE)
        .map_err(|error| vec![Diagnostic::error(Code::Unreadable, whole(), error.message).help(error.help)])?;
    let text = String::from_utf8(bytes)
        .map_err(|_| vec![Diagnostic::error(Code::Syntax, whole(), "this file is not UTF-8")])?;
    list::parse(&text).map_err(|mistakes| {
        let source = Arc::new(Source { path: path.to_owned(), text });
        let mistake = |one: ListError| {
            let place = Place::Span(Arc::clone(&source), one.span);
            Diagnostic::error(Code::WrongValue, place, one.message)
                .help("a line is: kind, whom it means, until=TIME, and perhaps since=TIME and issuer=NAME")
        };
        mistakes.into_iter().map(mistake).collect()
    })
}
