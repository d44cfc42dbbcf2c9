//! A case names the id that it holds: the id of docs/threat-model.md is its first field.
//!
//! A suite opens a [`Cases`] for each of its tables, marks every case that came out as told, and closes it: a table
//! that did not run to its end fails. What ran is written to `held/<suite>.txt` below cargo's folder for test files,
//! where `tests/threat_model.rs` compares it with the document.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

/// The suite that this is compiled into.
const SUITE: &str = env!("CARGO_CRATE_NAME");

/// The cases of one table that came out as told.
#[must_use = "a table is closed with the number of its cases"]
pub struct Cases {
    table: &'static str,
    ran: usize,
}

impl Cases {
    /// Opens a table.
    pub fn of(table: &'static str) -> Self {
        Self { table, ran: 0 }
    }

    /// One case came out as told.
    pub fn held(&mut self, id: &str, name: &str) {
        println!("held {id} {}: {name}", self.table);
        self.ran += 1;
        note(id);
    }

    /// The table is through: every one of its cases ran.
    pub fn all(self, count: usize) {
        assert_eq!(self.ran, count, "{}: not every case ran", self.table);
        assert_ne!(count, 0, "{}: an empty table holds nothing", self.table);
    }
}

/// A test that is one case by itself: its id and its name.
pub fn held(id: &str, name: &str) {
    println!("held {id}: {name}");
    note(id);
}

/// Where suites write the ids that they held.
pub fn ledger() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("held")
}

fn note(id: &str) {
    static HELD: OnceLock<Mutex<BTreeSet<String>>> = OnceLock::new();
    let mut held = HELD.get_or_init(Mutex::default).lock().unwrap();
    if !held.insert(id.to_owned()) {
        return;
    }
    fs::create_dir_all(ledger()).unwrap();
    let mut file = fs::File::create(ledger().join(format!("{SUITE}.txt"))).unwrap();
    for id in held.iter() {
        writeln!(file, "{id}").unwrap();
    }
}
