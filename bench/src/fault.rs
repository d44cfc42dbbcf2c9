//! Why a run ends: one line of text that says what was being done and what came of it.

use std::fmt;

/// What was wrong, and where.
#[derive(Debug)]
pub(crate) struct Fault(String);

/// What a step yields, or why the run ends.
pub(crate) type Outcome<T> = Result<T, Fault>;

impl Fault {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says during what an error came.
pub(crate) trait During<T> {
    /// The value, or a fault that begins with `what`.
    fn during(self, what: &str) -> Outcome<T>;
}

impl<T, E: fmt::Display> During<T> for Result<T, E> {
    fn during(self, what: &str) -> Outcome<T> {
        self.map_err(|error| Fault(format!("{what}: {error}")))
    }
}
