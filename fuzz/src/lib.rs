//! What the fuzz targets claim, one function for each: bytes in, and a panic where a claim is broken.
//!
//! Each claim is held against a second reader: a crate of other people's, or a few naive lines that are slow and plain.
//! `fuzz_targets` hands these functions to libFuzzer; `tests/corpus.rs` of the gateway runs them over the committed
//! corpus. docs/fuzzing.md says what each of them claims.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a broken claim panics")]
#![allow(clippy::disallowed_methods, reason = "a claim about time needs a time to count from")]
#![allow(unreachable_pub, reason = "a module of tests/corpus.rs, too, where nothing is outside")]

mod answer;
#[path = "../../tests/support/certificates.rs"]
#[allow(dead_code, reason = "the suites use the rest")]
mod certificates;
mod chunks;
mod config;
mod forwarded;
mod frame;
mod head;
mod naive_head;
mod origin;
mod query_cookie;
mod records;
mod session;
mod token;
#[path = "../../tests/support/tokens.rs"]
#[allow(dead_code, reason = "the suites use the rest")]
mod tokens;

pub use answer::answer;
pub use config::config;
pub use forwarded::forwarded;
pub use frame::frame;
pub use head::head;
pub use origin::origin;
pub use query_cookie::query_cookie;
pub use records::records;
pub use session::session;
pub use token::token;

/// What became of an input, as far as it was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The gateway took it.
    Accepted,
    /// The gateway refused it, or it was not whole.
    Refused,
}

/// A target: bytes in, and a panic where its claim is broken.
pub type Target = fn(&[u8]) -> Verdict;

/// Every target by its name, which is that of its binary and of its corpus.
pub const TARGETS: [(&str, Target); 10] = [
    ("answer", answer),
    ("config", config),
    ("forwarded", forwarded),
    ("frame", frame),
    ("head", head),
    ("origin", origin),
    ("query_cookie", query_cookie),
    ("records", records),
    ("session", session),
    ("token", token),
];

impl Verdict {
    fn of<T>(accepted: &Option<T>) -> Self {
        if accepted.is_some() { Self::Accepted } else { Self::Refused }
    }
}
