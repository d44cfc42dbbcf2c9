//! docs/threat-model.md says what is held and by which test; this reads both and says where they differ.
//!
//! An id is held by a case whose first field it is (`tests/`), or by a unit test (`src/`) or a model (`models/`) that
//! carries it in its name or in the names of its cases.
//! That the named tests exist, are run, and name the id is read from their source. What really ran is in the ledger
//! that the suites write: once they all ran, `cargo test --test threat_model -- --ignored` compares it too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "the ids that nobody holds are for the reader of the output")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The groups of the catalogue, and how many rows each has.
const GROUPS: [(&str, u32); 13] = [
    ("HS", 22),
    ("OR", 28),
    ("AU", 30),
    ("ID", 11),
    ("SM", 20),
    ("TL", 17),
    ("H1", 11),
    ("H2", 10),
    ("FR", 22),
    ("CO", 7),
    ("RX", 22),
    ("BE", 18),
    ("OP", 18),
];

/// One row of the document.
#[derive(Debug)]
struct Row {
    id: String,
    /// Attack, rule, module.
    cells: Vec<String>,
    standing: Standing,
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// `file.rs` or `file.rs::test`, each.
    Held(Vec<String>),
    /// Why not.
    Open(String),
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_group = GROUPS.iter().any(|(group, _)| text.starts_with(group));
    is_group && (4..=5).contains(&bytes.len()) && bytes[2..].iter().all(u8::is_ascii_digit)
}

/// The rows of every table in the document. A cell may hold `\|`.
fn rows(document: &str) -> Vec<Row> {
    let mut found = Vec::new();
    for line in document.lines() {
        let line = line.replace("\\|", "\u{1}");
        let cells: Vec<String> =
            line.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect();
        if !cells.first().is_some_and(|id| is_id(id)) {
            continue;
        }
        assert_eq!(cells.len(), 5, "id, attack, rule, module, test: {line}");
        let test = &cells[4];
        let standing = match test.strip_prefix("open: ") {
            Some(why) => Standing::Open(why.to_owned()),
            None => Standing::Held(test.split(", ").map(|name| name.trim_matches('`').to_owned()).collect()),
        };
        found.push(Row { id: cells[0].clone(), cells: cells[1..4].to_vec(), standing });
    }
    found
}

fn document() -> Vec<Row> {
    rows(&fs::read_to_string(root().join("docs/threat-model.md")).unwrap())
}

/// Every id that is the first field of a case, by the suite in whose file it stands.
fn ids_in_suites() -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !path.is_file() || name == "threat_model.rs" {
            continue;
        }
        found.insert(format!("tests/{name}"), first_fields(&fs::read_to_string(&path).unwrap()));
    }
    found
}

/// The ids that stand first in a case: behind `("`, the parenthesis of a row or of `held`.
fn first_fields(source: &str) -> BTreeSet<String> {
    let quoted = source.match_indices('"').filter_map(|(at, _)| {
        let before = source[..at].trim_end();
        let word = source[at + 1..].split('"').next()?;
        (before.ends_with('(') && is_id(word)).then(|| word.to_owned())
    });
    quoted.collect()
}

/// Whether `source` has a test of this name that is run.
fn has_test(source: &str, name: &str) -> bool {
    let Some(at) = source.find(&format!("fn {name}(")) else { return false };
    let line = source[..at].rfind('\n').map_or(0, |end| end + 1);
    let above = source[..line].lines().rev().take_while(|line| line.trim_start().starts_with("#["));
    let attributes: Vec<&str> = above.collect();
    attributes.iter().any(|line| line.contains("test")) && !attributes.iter().any(|line| line.contains("ignore"))
}

/// Why a row's test does not hold its id; `None` where it does.
fn objection(id: &str, test: &str, suites: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let (file, name) = test.split_once("::").map_or((test, None), |(file, name)| (file, Some(name)));
    if let Some(ids) = suites.get(file) {
        return (!ids.contains(id)).then(|| format!("{file} has no case that begins with {id}"));
    }
    let Ok(source) = fs::read_to_string(root().join(file)) else { return Some(format!("there is no {file}")) };
    let Some(name) = name else { return Some(format!("{file} names no test")) };
    let lower = id.to_lowercase();
    let named = name.contains(&lower) || source.contains(&format!("\"{id}"));
    match (has_test(&source, name), named) {
        (false, _) => Some(format!("{file} has no test `{name}` that runs")),
        (true, false) => Some(format!("`{name}` in {file} does not name {id}")),
        (true, true) => None,
    }
}

#[test]
fn every_id_of_the_catalogue_is_in_the_document_once() {
    let written: Vec<String> = document().into_iter().map(|row| row.id).collect();
    let digits = |group: &str, number: u32| format!("{group}{number:02}");
    let catalogue: Vec<String> =
        GROUPS.iter().flat_map(|(group, count)| (1..=*count).map(move |number| digits(group, number))).collect();
    assert_eq!(written, catalogue, "every id, once, in order");
    assert_eq!(catalogue.len(), 236);
}

#[test]
fn every_row_says_what_and_why() {
    for row in document() {
        assert!(row.cells.iter().all(|cell| !cell.is_empty()), "{row:?}");
        match &row.standing {
            Standing::Open(why) => assert!(why.len() > 20, "{}: open, but why?", row.id),
            Standing::Held(tests) => assert!(!tests.is_empty(), "{}", row.id),
        }
    }
}

#[test]
fn every_id_that_is_held_has_its_case_and_every_case_its_row() {
    let suites = ids_in_suites();
    let rows = document();
    let mut objections = Vec::new();
    let mut open = Vec::new();
    for row in &rows {
        match &row.standing {
            Standing::Held(tests) => {
                let told = tests.iter().filter_map(|test| objection(&row.id, test, &suites));
                objections.extend(told.map(|why| format!("{}: {why}", row.id)));
            }
            Standing::Open(why) => open.push(format!("{}: {why}", row.id)),
        }
    }
    for (suite, ids) in &suites {
        for id in ids {
            let named = rows.iter().find(|row| row.id == *id).map(|row| &row.standing);
            let is_named = matches!(named, Some(Standing::Held(tests)) if tests.contains(suite));
            if !is_named {
                objections.push(format!("{id}: {suite} has a case, and the document does not say so"));
            }
        }
    }
    println!("open:\n{}", open.join("\n"));
    assert!(objections.is_empty(), "the document and the tests differ:\n{}", objections.join("\n"));
    assert!(suites.values().map(BTreeSet::len).sum::<usize>() > 100, "the suites were read");
}

/// Reads what the suites wrote when they ran: run it behind them.
#[test]
#[ignore = "reads what the suites wrote: run it when they all ran"]
fn every_case_of_a_held_id_ran() {
    let ledger = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("held");
    let mut missing = Vec::new();
    for row in document() {
        let Standing::Held(tests) = row.standing else { continue };
        for suite in tests.iter().filter_map(|test| test.strip_prefix("tests/")?.strip_suffix(".rs")) {
            let ran = fs::read_to_string(ledger.join(format!("{suite}.txt"))).unwrap_or_default();
            if !ran.lines().any(|id| id == row.id) {
                missing.push(format!("{} in {suite}", row.id));
            }
        }
    }
    assert!(missing.is_empty(), "cases that did not run:\n{}", missing.join("\n"));
}

#[test]
fn a_gap_is_seen() {
    let suites = BTreeMap::from([(String::from("tests/a.rs"), BTreeSet::from([String::from("HS01")]))]);
    assert_eq!(objection("HS01", "tests/a.rs", &suites), None);
    assert!(objection("HS02", "tests/a.rs", &suites).is_some(), "no such case");
    assert!(objection("HS01", "tests/b.rs", &suites).is_some(), "no such file");
    assert!(objection("ID07", "src/peer.rs", &suites).is_some(), "no test named");
    assert!(objection("ID07", "src/peer.rs::nobody", &suites).is_some(), "no such test");
    assert!(objection("HS02", "src/peer.rs::networks_widen_step_by_step", &suites).is_some(), "names another id");
    let source = "(\"HS09\", \"x\") held(\n    \"OR01\", y) let z = \"AU01\"; (\"HS9\")";
    assert_eq!(first_fields(source), BTreeSet::from([String::from("HS09"), String::from("OR01")]));
    assert!(has_test("#[test]\nfn a() {\n", "a") && !has_test("fn a() {\n", "a"));
    assert!(!has_test("#[test]\n#[ignore]\nfn a() {\n", "a"));
    let table = "| HS01 | a \\| b | rule | `m` | open: because it is not built |\n| x | y |\n";
    assert_eq!(rows(table).len(), 1);
    assert_eq!(rows(table)[0].cells[0], "a | b");
}
