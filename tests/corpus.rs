//! The corpora of the fuzz targets as plain tests: every file is judged by its target, whose claims panic where they are
//! broken, and a file whose name begins with `good` or `bad` must be accepted or refused.
//!
//! docs/fuzzing.md says what the targets claim, and how they are run for longer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "what was judged is for the reader of the output")]

#[path = "support/cases.rs"]
#[allow(dead_code, unreachable_pub, reason = "the suites use the rest")]
mod cases;
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fuzz::{TARGETS, Target, Verdict};

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The names of what stands in a folder of `fuzz`, without their endings.
fn names_in(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(fuzz_folder().join(folder)).unwrap();
    let stem = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().path().file_stem().unwrap().to_owned();
    entries.map(|entry| stem(entry).into_string().unwrap()).collect()
}

/// What a corpus came to.
#[derive(Debug, Default)]
struct Replay {
    accepted: usize,
    refused: usize,
    /// Files that were not judged as their names say.
    misjudged: Vec<String>,
}

/// Judges every file of a target's corpus.
fn replay(name: &str, target: Target) -> Replay {
    let mut replay = Replay::default();
    for file in names_in(&format!("corpus/{name}")) {
        println!("{name}/{file}");
        let verdict = target(&fs::read(fuzz_folder().join("corpus").join(name).join(&file)).unwrap());
        match verdict {
            Verdict::Accepted => replay.accepted += 1,
            Verdict::Refused => replay.refused += 1,
        }
        let expected = match file.split('_').next() {
            Some("good") => Verdict::Accepted,
            Some("bad") => Verdict::Refused,
            _ => verdict,
        };
        if verdict != expected {
            replay.misjudged.push(format!("{name}/{file}: {verdict:?}"));
        }
    }
    replay
}

#[test]
fn every_file_of_every_corpus_is_judged_and_no_claim_is_broken() {
    let mut misjudged = Vec::new();
    for (name, target) in TARGETS {
        let replay = replay(name, target);
        println!("{name}: {} accepted, {} refused", replay.accepted, replay.refused);
        assert!(replay.accepted > 0 && replay.refused > 0, "{name}: a corpus without both proves little");
        misjudged.extend(replay.misjudged);
    }
    assert!(misjudged.is_empty(), "{misjudged:#?}");
    cases::held("OP16", "every corpus");
}

#[test]
fn every_target_has_its_binary_and_its_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| String::from(*name)).collect();
    assert_eq!(targets.len(), TARGETS.len(), "each once");
    assert_eq!(names_in("corpus"), targets);
    assert_eq!(names_in("fuzz_targets"), targets);
    let manifest: toml::Table = fs::read_to_string(fuzz_folder().join("Cargo.toml")).unwrap().parse().unwrap();
    let binaries = manifest["bin"].as_array().unwrap().iter();
    let binaries = binaries.map(|one| one["name"].as_str().unwrap().to_owned());
    assert_eq!(binaries.collect::<BTreeSet<_>>(), targets);
}
