//! A value in the wrong form is told with the right one, and by no name of ours.

use super::*;

/// A file, what is replaced in it by what, and the remedy.
const ROWS: &[(&str, &str, &str, &str)] = &[
    (
        "gateway.toml",
        "{ address = \"127.0.0.1:9090\" }",
        "\"off\"",
        "write health = { address = ... }: its keys are address",
    ),
    (
        "gateway.toml",
        "[[listener]]",
        "[listener]",
        "write it in double brackets, [[listener]], or listener = [{ ... }]",
    ),
    (
        "gateway.toml",
        "[{ chain = ",
        "[\"certs/server.pem\"] # [{ chain = ",
        "write certificates = [{ chain = ... }]: its keys are chain, key",
    ),
    ("policies/chat.toml", "host       = \"client\"", "health = \"tcp\"", "write health = { "),
    (
        "policies/chat.toml",
        "[\"https://app.example.com\", \"capacitor://localhost\"]",
        "\"https://app.example.com\"",
        "write allow = [\"https://app.example.com\"]",
    ),
];

#[test]
fn op04_a_value_in_the_wrong_form_is_told_with_the_right_one() {
    let mut ran = 0;
    for (file, from, to, remedy) in ROWS {
        let ground = Ground::new();
        let text = if *file == "gateway.toml" { GATEWAY } else { POLICY };
        assert!(text.contains(from), "{to}: nothing to change");
        assert!(ground.load().is_ok(), "{to}: the twin must load");
        ground.write(file, text.replacen(from, to, 1));
        let told = ground.load().expect_err(to);
        let remedies: Vec<&str> = told.iter().filter_map(|one| one.help.as_deref()).collect();
        assert!(remedies.iter().any(|help| help.starts_with(remedy)), "{to}: {told}");
        for of_ours in ["struct ", "Raw", "sequence", " map"] {
            assert!(!told.iter().any(|one| one.message.contains(&format!("expected {of_ours}"))), "{to}: {told}");
        }
        ran += 1;
    }
    assert_eq!(ran, 5);
}
