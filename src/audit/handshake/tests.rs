use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::audit::{Patience, Target};
use crate::policy::credential::Carrier;

fn rows() -> Vec<&'static Row> {
    [heads::ROWS, paths::ROWS, messages::ROWS, messages::NOISE, messages::COSTLY].into_iter().flatten().collect()
}

fn good() -> Request {
    Request::new("chat.test", "/chat?token=secret", *b"0123456789abcdef")
}

#[test]
fn every_change_makes_another_handshake_of_a_good_one() {
    let mut seen = BTreeMap::new();
    for (id, name, changes) in rows() {
        assert!(!changes.is_empty(), "{id} {name}");
        for (what, change) in *changes {
            let bytes = change(good()).bytes();
            assert_ne!(bytes, good().bytes(), "{id} {name}: {what}");
            // An upgrade to h2c and the like: no attempt is made twice.
            let twin = seen.insert(bytes, (id, name, what));
            assert_eq!(twin, None, "{id} {name}: {what}");
        }
    }
    assert!(seen.len() > 130, "{} attempts", seen.len());
}

#[test]
fn a_path_is_changed_before_its_query() {
    for (id, name, changes) in paths::ROWS {
        for (what, change) in *changes {
            let root = Request::new("chat.test", "/", *b"0123456789abcdef");
            assert_ne!(change(root.clone()).bytes(), root.bytes(), "{id} {name}: {what}");
            let target = change(good()).target_bytes().to_vec();
            assert!(*id == "HS17" || contains(&target, b"?token=secret"), "{name}, {what}: {target:?}");
        }
    }
}

#[test]
fn every_case_has_its_name_and_its_id_its_rule() {
    let rules: Vec<&str> = RULES.iter().chain(HTTP_RULES).map(|rule| rule.id).collect();
    let different: BTreeSet<&str> = rules.iter().copied().collect();
    assert_eq!(rules.len(), different.len(), "one rule for an id");
    let target = Target::for_tests(&["https://app.test"], Some(Carrier::Authorization));
    let mut exam = Exam::new(target, None, Patience::default());
    let cases = cases(&mut exam);
    let names: BTreeSet<(&str, &str)> = cases.iter().map(|case| (case.id, case.name)).collect();
    assert_eq!(names.len(), cases.len(), "id and name are unique");
    let used: BTreeSet<&str> = cases.iter().map(|case| case.id).collect();
    assert_eq!(used, different, "every rule has its case, and every case its rule");
}
