//! Pages of other sites.

use super::rule::Rule;
use super::{Case, Exam, Verdict};

/// What the cases stand for.
pub const RULES: &[Rule] = &[];

/// A probe of this suite's own kind.
#[derive(Debug)]
pub enum Probe {}

/// The cases against this target.
pub fn cases(_exam: &mut Exam) -> Vec<Case> {
    Vec::new()
}

/// Judges one.
pub async fn judge(probe: &Probe, _exam: &mut Exam) -> Verdict {
    match *probe {}
}
