use std::collections::BTreeMap;

use super::*;

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
