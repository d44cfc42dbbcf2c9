//! What a case stands for: the property, what its loss means, and how it is won back.

use super::{auth, cswsh, dos, frames, handshake, tls};

/// A row of docs/threat-model.md as somebody reads it who does not run wsgate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The id.
    pub id: &'static str,
    /// The property that must hold.
    pub must: &'static str,
    /// What it means where it does not.
    pub means: &'static str,
    /// What to do then, at any gateway.
    pub remedy: &'static str,
    /// Requirements of OWASP ASVS 5.0: `4.4.2`.
    pub asvs: &'static [&'static str],
    /// Weaknesses of the CWE: `1385`.
    pub cwe: &'static [u16],
}

/// The rule of an id.
pub fn rule(id: &str) -> Option<&'static Rule> {
    rules().find(|rule| rule.id == id)
}

/// The rules of all suites.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    [handshake::RULES, handshake::HTTP_RULES, cswsh::RULES, auth::RULES, frames::RULES, tls::RULES, dos::RULES]
        .into_iter()
        .flatten()
}
