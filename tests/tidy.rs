//! The house rules that a reader relies on, checked over `src`: imports go down, the ground is pure, files are short.
//!
//! A floor imports from its own room and from lower floors. What clippy can say is left to clippy.
//!
//! Tests keep the order of the floors and the size of files, and may do on a pure floor what its code may not: there is
//! no `Instant` to count from but the clock's, and another reader of frames to compare with comes in a crate of tokio's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of each floor, from the ground to the top (ARCHITECTURE.md).
const FLOORS: [&[&str]; 9] = [
    &["units", "secret", "peer"],
    &["ws"],
    &["session"],
    &["policy"],
    &["event"],
    &["config"],
    &["limits", "net", "telemetry"],
    &["audit", "gateway"],
    &["cli", "main"],
];

/// Up to this floor a file is a pure function of its arguments.
const LAST_PURE_FLOOR: usize = 4;

/// What a pure floor does not say: time, randomness, sockets, tasks and locks come from above as arguments.
const IMPURE: [&str; 14] = [
    "async fn",
    "async move",
    ".await",
    "tokio",
    "tracing",
    "Instant::now",
    "SystemTime::now",
    "Mutex",
    "RwLock",
    "TcpStream",
    "UdpSocket",
    "std::fs",
    "std::thread",
    "std::env",
];

/// The most lines of a file.
const LONGEST_FILE: usize = 500;

/// What a line is there for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Product,
    Tests,
}

/// What a line of a file breaks.
#[derive(Debug, PartialEq, Eq)]
struct Flaw {
    line: usize,
    what: String,
}

/// The floor of a room.
fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The rooms that a line of code names with `crate::`, also inside braces: `use crate::{peer, ws::head}`.
fn rooms_named(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    let mut rooms = Vec::new();
    for (_, rest) in code.match_indices("crate::").map(|(at, found)| code.split_at(at + found.len())) {
        match rest.strip_prefix('{') {
            None => rooms.push(word(rest)),
            Some(list) => {
                let mut depth = 0;
                let top = |letter: char| {
                    depth += i32::from(letter == '{') - i32::from(letter == '}');
                    letter == ',' && depth == 0
                };
                rooms.extend(list.split(top).map(|item| word(item.trim())));
            }
        }
    }
    rooms.retain(|room: &String| !room.is_empty());
    rooms
}

/// A line without its comment. A `//` inside a string hides the rest of its line, which hides no import.
fn code_of(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Everything that a file breaks; `room` is the folder or file below `src` in which it stands.
fn flaws(room: &str, file: Purpose, text: &str) -> Vec<Flaw> {
    let mut found = Vec::new();
    let Some(own) = floor(room) else {
        return vec![Flaw { line: 1, what: format!("`{room}` stands on no floor") }];
    };
    let product = if file == Purpose::Product { without_tests(text).lines().count() } else { 0 };
    for (index, line) in text.lines().enumerate() {
        let mut flaw = |what: String| found.push(Flaw { line: index + 1, what });
        let code = code_of(line);
        for other in rooms_named(code) {
            match floor(&other) {
                Some(theirs) if theirs > own => flaw(format!("`{room}` imports `{other}` from a floor above")),
                Some(theirs) if theirs == own && other != room && own > 0 => {
                    flaw(format!("`{room}` imports its neighbour `{other}`"));
                }
                _ => {}
            }
        }
        if own <= LAST_PURE_FLOOR && index < product && !is_doc_attribute(code) {
            for word in IMPURE.iter().filter(|word| code.contains(*word)) {
                flaw(format!("`{word}` on floor {own}"));
            }
        }
    }
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        found.push(Flaw { line: LONGEST_FILE + 1, what: format!("{lines} lines: split it by concern") });
    }
    found
}

/// Doc attributes may name what the code does not use.
fn is_doc_attribute(code: &str) -> bool {
    code.trim_start().starts_with("#[doc")
}

/// A file up to where its own tests begin.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// A `tests.rs` beside the code or a file of a folder `tests`.
fn purpose_of(below_src: &Path) -> Purpose {
    let is_tests = |part: &std::ffi::OsStr| Path::new(part).file_stem().is_some_and(|stem| stem == "tests");
    if below_src.iter().any(is_tests) { Purpose::Tests } else { Purpose::Product }
}

fn room_of(below_src: &Path) -> String {
    let first = below_src.components().next().unwrap();
    Path::new(first.as_os_str()).file_stem().unwrap().to_string_lossy().into_owned()
}

#[test]
fn the_house_is_in_order() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    files.sort();
    let mut told = Vec::new();
    let mut looked_at = 0;
    for path in &files {
        let below = path.strip_prefix(&src).unwrap();
        let room = room_of(below);
        if room == "lib" {
            continue;
        }
        looked_at += 1;
        let text = fs::read_to_string(path).unwrap();
        let found = flaws(&room, purpose_of(below), &text);
        told.extend(found.into_iter().map(|flaw| format!("src/{}:{}: {}", below.display(), flaw.line, flaw.what)));
    }
    assert!(told.is_empty(), "the house is not in order:\n{}", told.join("\n"));
    assert!(looked_at > 25, "{looked_at} files: is this the right folder?");
}

#[test]
fn disorder_is_seen() {
    let cases: [(&str, &str, usize); 15] = [
        ("ws", "use crate::policy::Reason;\n", 1),
        ("units", "use crate::{secret::Secret, session::Cause};\n", 1),
        ("net", "use crate::limits::Limits;\n", 1),
        ("telemetry", "fn f() { crate::net::listener::accept() }\n", 1),
        ("config", "use crate::gateway::Gateway;\n", 1),
        ("session", "let now = Instant::now();\n", 1),
        ("policy", "pub async fn screen() {\n", 1),
        ("policy", "static SEEN: Mutex<u8> = Mutex::new(0);\n", 1),
        ("event", "use tokio::sync::mpsc;\n", 1),
        ("attic", "\n", 1),
        ("ws", "// tokio is mentioned in a comment, crate::policy too\n", 0),
        ("net", "use crate::policy::Reason;\nuse tokio::net::TcpStream;\n", 0),
        ("gateway", "use crate::{limits, net, telemetry};\n", 0),
        ("secret", "use crate::units::ByteSize;\n", 0),
        ("policy", "use crate::policy::origin;\nuse crate::ws::head;\n", 0),
    ];
    for (room, text, count) in &cases {
        assert_eq!(flaws(room, Purpose::Product, text).len(), *count, "{room}: {text}");
    }
    for purpose in [Purpose::Product, Purpose::Tests] {
        assert_eq!(flaws("ws", purpose, &"\n".repeat(501)).len(), 1, "a long file");
        assert_eq!(flaws("ws", purpose, &"\n".repeat(500)), [], "a file that is just short enough");
        assert_eq!(flaws("ws", purpose, "\n\nuse crate::cli;\n")[0].line, 3);
    }
    let beside = "fn f() {}\n#[cfg(test)]\nmod tests {\n    let now = Instant::now();\n}\n";
    assert_eq!(flaws("session", Purpose::Product, beside), [], "tests may count from a clock");
    assert_eq!(flaws("session", Purpose::Product, &format!("Instant::now();{beside}")).len(), 1, "code may not");
    assert_eq!(flaws("session", Purpose::Tests, "let now = Instant::now();\n"), [], "nor need a file of tests");
    for (path, is_tests) in [("session/tests/mod.rs", true), ("ws/head/tests.rs", true), ("ws/tests_of.rs", false)] {
        assert_eq!(purpose_of(Path::new(path)) == Purpose::Tests, is_tests, "{path}");
    }
}
