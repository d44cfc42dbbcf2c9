//! The operator's files: gateway.toml, a policy, a token file, and an issuer's key.
//!
//! The input is text in up to four parts, those files in this order, parted by lines of `%%`; an empty part means a good
//! file.

use std::fs;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wsgate::config::diagnostic::{Diagnostic, Diagnostics, Place, Style, render};
use wsgate::policy::screen::PolicySet;
use wsgate::units::UnixSeconds;

use super::Verdict;
use super::tokens::Signer;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
/// What an environment variable holds; nobody is shown it.
const SECRET: &str = "throwaway-secret-of-64-bytes-in-the-environment-of-the-corpus-00";
const FILES: [&str; 4] = ["gateway.toml", "policies/chat.toml", "policies/chat.tokens", "login.key"];
const GOOD: [&str; 4] = [
    r#"
[[listener]]
address = "127.0.0.1:0"
danger_plaintext = "nothing listens here"
[issuer.login]
iss = "https://login.test"
algorithms = ["ES256"]
keys = ["login.key"]
"#,
    r#"
[route]
hosts = ["chat.test"]
paths = ["/*"]
[upstream]
servers = ["ws://127.0.0.1:9"]
[origin]
allow = ["https://app.test"]
[[auth]]
by = "jwt"
issuer = "login"
from = ["authorization"]
audience = ["chat"]
[[auth]]
by = "token"
tokens = "chat.tokens"
from = ["query:token"]
"#,
    "",
    "",
];

/// No file panics or takes long; every mistake is told with a place inside its file; what loads can be served, and no
/// secret is shown.
pub fn config(bytes: &[u8]) -> Verdict {
    let Ok(text) = str::from_utf8(bytes) else { return Verdict::Refused };
    if text.contains("/dev") || text.contains("/proc") {
        // Files that never end are the system's, not the language's.
        return Verdict::Refused;
    }
    let ground = ground();
    let mut parts = text.split("\n%%\n");
    for (file, good) in FILES.iter().zip(GOOD) {
        match parts.next().filter(|part| !part.trim().is_empty()) {
            Some(part) => fs::write(ground.path().join(file), part).expect("a file"),
            None if *file != "login.key" => fs::write(ground.path().join(file), good).expect("a file"),
            None => fs::write(ground.path().join(file), public_key()).expect("a file"),
        }
    }
    let start = Instant::now();
    let env = |name: &str| (name == "SECRET").then(|| SECRET.to_owned());
    let loaded = wsgate::config::load(&ground.path().join("gateway.toml"), &env, NOW);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    match loaded {
        Ok((config, warnings)) => {
            judge(&warnings);
            let shown = config.settings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            assert!(!shown.contains(SECRET) && !format!("{config:?}").contains(SECRET));
            PolicySet::new(config.policies).expect("what loads can be served");
            Verdict::Accepted
        }
        Err(mistakes) => {
            assert!(mistakes.has_errors() && mistakes.iter().count() <= Diagnostics::BOUND);
            judge(&mistakes.into_vec());
            Verdict::Refused
        }
    }
}

fn judge(told: &[Diagnostic]) {
    for one in told {
        assert!(!one.message.is_empty());
        if let Place::Span(source, span) = &one.place {
            assert!(span.start <= span.end, "{one:?}");
            assert!(source.text.get(span.clone()).is_some(), "inside the file, between characters: {one:?}");
            assert!(one.place.line().is_some_and(|line| line <= source.text.split('\n').count()), "{one:?}");
        }
    }
    let shown = render(told, Style::Plain);
    assert!(!shown.contains(SECRET));
}

/// A folder for the files of one call after the other.
fn ground() -> std::rc::Rc<TempDir> {
    thread_local! {
        static GROUND: std::rc::Rc<TempDir> = {
            let ground = tempfile::tempdir().expect("a folder");
            fs::create_dir(ground.path().join("policies")).expect("a folder");
            ground.into()
        };
    }
    GROUND.with(std::rc::Rc::clone)
}

fn public_key() -> &'static str {
    static KEY: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    KEY.get_or_init(|| Signer::es256().public_pem())
}
