//! The house rules that a reader relies on, checked over `src`: imports go down, the ground is pure, files are short.
//!
//! A floor imports from its own room and from lower floors. What clippy can say is left to clippy.

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
    &["gateway"],
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
fn flaws(room: &str, text: &str) -> Vec<Flaw> {
    let mut found = Vec::new();
    let Some(own) = floor(room) else {
        return vec![Flaw { line: 1, what: format!("`{room}` stands on no floor") }];
    };
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
        if own <= LAST_PURE_FLOOR && !test_file_line(code) {
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

/// Doc attributes and strings may name what the code does not use; only `#[doc` lines are let off.
fn test_file_line(code: &str) -> bool {
    code.trim_start().starts_with("#[doc")
}

/// Where the tests of a file begin: they may read clocks and files.
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
        let is_tests = below.file_stem().is_some_and(|stem| stem == "tests");
        let mut found = flaws(&room, if is_tests { "" } else { without_tests(&text) });
        let lines = text.lines().count();
        if lines > LONGEST_FILE && !found.iter().any(|flaw| flaw.line > LONGEST_FILE) {
            found.push(Flaw { line: LONGEST_FILE + 1, what: format!("{lines} lines: split it by concern") });
        }
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
        assert_eq!(flaws(room, text).len(), *count, "{room}: {text}");
    }
    assert_eq!(flaws("ws", &"\n".repeat(501)).len(), 1, "a long file");
    assert_eq!(flaws("ws", &"\n".repeat(500)), [], "a file that is just short enough");
    assert_eq!(flaws("ws", "\n\nuse crate::cli;\n")[0].line, 3);
}
