//! `wsgate schema`: the JSON Schema of the configuration, for editors.

use std::io::{self, Write};

use clap::ValueEnum;

use crate::config::schema::{Language, schema};

/// Prints the JSON Schema of gateway.toml or of a policy.
#[derive(Clone, Debug, clap::Args)]
pub struct SchemaArgs {
    /// Which file it is for.
    #[arg(default_value = "gateway")]
    pub file: SchemaFile,
}

/// A file of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaFile {
    /// gateway.toml
    Gateway,
    /// A file of policies/
    Policy,
}

/// Writes the schema to `out`.
pub fn run(args: &SchemaArgs, out: &mut dyn Write) -> io::Result<()> {
    let language = match args.file {
        SchemaFile::Gateway => Language::Gateway,
        SchemaFile::Policy => Language::Policy,
    };
    writeln!(out, "{:#}", schema(language))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemas_are_json_with_described_keys() {
        for (file, key) in [(SchemaFile::Gateway, "listener"), (SchemaFile::Policy, "route")] {
            let mut out = Vec::new();
            run(&SchemaArgs { file }, &mut out).unwrap();
            let schema: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert!(schema.pointer(&format!("/properties/{key}")).is_some(), "{key}");
            assert!(!String::from_utf8(out).unwrap().contains("\"null\""), "TOML has no null");
        }
    }
}
