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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::audit::{Exam, Patience, Suite, Target, cases};
    use crate::policy::credential::Carrier;

    #[test]
    fn every_case_has_its_name_and_its_id_one_rule() {
        let ids: Vec<&str> = rules().map(|rule| rule.id).collect();
        let ruled: BTreeSet<&str> = ids.iter().copied().collect();
        let twice = |id: &&&str| ids.iter().filter(|other| other == id).count() > 1;
        assert_eq!(ids.iter().filter(twice).collect::<Vec<_>>(), Vec::<&&str>::new(), "one rule for an id");

        let target = Target::for_tests(&["https://app.test", "https://*.pages.test"], Some(Carrier::Authorization));
        let mut exam = Exam::new(target, None, Patience::default());
        let mut used = BTreeSet::new();
        for suite in Suite::ALL {
            let cases = cases(suite, &mut exam);
            let names: BTreeSet<(&str, &str)> = cases.iter().map(|case| (case.id, case.name)).collect();
            assert_eq!(names.len(), cases.len(), "{suite}: id and name are unique");
            used.extend(cases.iter().map(|case| case.id));
        }
        assert_eq!(used, ruled, "every rule has its case, and every case its rule");
    }
}
