//! The documents say what the code says: docs/reasons.md is made from the tables of reasons and causes, and every
//! dependency has its line in docs/dependencies.md.
//!
//! `WSGATE_WRITE_DOCUMENTS=1 cargo test --test documents` writes docs/reasons.md anew.

use std::collections::HashSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use wsgate::policy::Reason;
use wsgate::policy::refusal::Answer;
use wsgate::session::Cause;

fn at_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn reasons_document() -> String {
    let mut text = String::from(
        "# Reasons\n\n\
         Every refusal and every closure has a code: the log field, the metric label, what an `[[example]]` expects,\n\
         and what `wsgate explain CODE` explains. This page is made from the tables in `src/policy/refusal.rs` and\n\
         `src/session/cause.rs`; a test compares them.\n\n\
         ## Refusals: before the 101\n\n\
         The client gets the status, one word, and an id; the code stands in the log beside that id.\n\n\
         | code | answer | why |\n|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let answer = match reason.answer() {
            Answer::Status(status) => status.to_string(),
            Answer::Drop => "closed unheard".into(),
        };
        let _ = writeln!(text, "| `{}` | {answer} | {} |", reason.code(), reason.explanation());
    }
    text.push_str("\n## Closures: after the 101\n\n| code | why |\n|---|---|\n");
    for cause in Cause::ALL {
        let _ = writeln!(text, "| `{}` | {} |", cause.code(), cause.explanation());
    }
    text
}

#[test]
fn the_page_of_reasons_is_that_of_the_tables() {
    let path = at_root("docs/reasons.md");
    if std::env::var_os("WSGATE_WRITE_DOCUMENTS").is_some() {
        fs::write(&path, reasons_document()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(written == reasons_document(), "docs/reasons.md is out of date: see the head of tests/documents.rs");
}

#[test]
fn no_code_stands_for_two_things() {
    let reasons = Reason::ALL.iter().map(|reason| reason.code());
    let causes = Cause::ALL.iter().map(|cause| cause.code());
    let all: Vec<_> = reasons.chain(causes).collect();
    assert!(all.len() > 80, "the tables were read");
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
}

#[test]
fn every_dependency_earns_a_line() {
    let manifest: toml::Table = fs::read_to_string(at_root("Cargo.toml")).unwrap().parse().unwrap();
    let page = fs::read_to_string(at_root("docs/dependencies.md")).unwrap();
    let told: HashSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"))
        .flat_map(|(names, _)| names.split(", "))
        .collect();
    let mut used = 0;
    for table in ["dependencies", "dev-dependencies"] {
        for name in manifest[table].as_table().unwrap().keys() {
            used += 1;
            assert!(told.contains(name.as_str()), "{name} has no line in docs/dependencies.md");
        }
    }
    assert!(used > 30, "the manifest was read");
}
