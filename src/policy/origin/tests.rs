use super::*;

const GOOD: &str = "https://good.example";

fn set(listed: &[&str]) -> OriginSet {
    let mut set = OriginSet::default();
    for origin in listed {
        set.insert(origin).unwrap();
    }
    set
}

/// The same list at four sizes: what is listed, and filler that no case names.
fn sizes(listed: &[&str]) -> Vec<OriginSet> {
    [1, 100, 101, 10_000]
        .into_iter()
        .map(|size: usize| {
            let mut set = set(listed);
            for number in listed.len()..size {
                set.insert(&format!("https://filler-{number}.example.net")).unwrap();
            }
            set
        })
        .collect()
}

/// Id and Origin of what looks like `https://good.example` and is not.
const LOOK_ALIKES: [(&str, &str); 78] = [
    ("OR02", "null"),
    ("OR02", "NULL"),
    ("OR03", ""),
    ("OR03", "   "),
    ("OR05", "https://good.example https://evil.example"),
    ("OR05", "https://evil.example https://good.example"),
    ("OR05", "https://good.example, https://evil.example"),
    ("OR05", "https://good.example,https://good.example"),
    ("OR06", "http://good.example"),
    ("OR07", "https://good.example:443"),
    ("OR07", "https://good.example:80"),
    ("OR07", "https://good.example:8443"),
    ("OR07", "https://good.example:0443"),
    ("OR07", "https://good.example:"),
    ("OR08", "https://evilgood.example"),
    ("OR08", "https://evil-good.example"),
    ("OR09", "https://good.example.evil.com"),
    ("OR09", "https://good.exampleevil.com"),
    ("OR09", "https://good.example-evil.com"),
    ("OR09", "https://good.exampl"),
    ("OR09", "https://good"),
    ("OR10", "https://sub.good.example"),
    ("OR10", "https://a.b.good.example"),
    ("OR10", "https://example"),
    ("OR12", "https://good.example@evil.example"),
    ("OR12", "https://evil@good.example"),
    ("OR12", "https://good.example:@evil.example"),
    ("OR12", "https://good.example\\@evil.example"),
    ("OR12", "https://good.example#@evil.example"),
    ("OR12", "https://good.example?@evil.example"),
    ("OR13", "https://good.example."),
    ("OR13", "https://good..example"),
    ("OR13", "https://.good.example"),
    ("OR14", "HTTPS://good.example"),
    ("OR14", "https://GOOD.example"),
    ("OR14", "https://good.Example"),
    ("OR15", "https://g\u{f6}od.example"),
    ("OR15", "https://xn--gd-fka.example"),
    ("OR15", "https://xn--good-.example"),
    ("OR15", "https://xn--good.example"),
    ("OR15", "https://good\u{ff0e}example"),
    ("OR15", "https://good\u{3002}example"),
    ("OR15", "https://go\u{43e}d.example"),
    ("OR15", "https://goo\u{200d}d.example"),
    ("OR15", "https://goo\u{df}d.example"),
    ("OR15", "https://\u{ff47}ood.example"),
    ("OR17", "https://good.example/"),
    ("OR17", "https://good.example/path"),
    ("OR17", "https://good.example?query"),
    ("OR17", "https://good.example#fragment"),
    ("OR17", "https://good.example "),
    ("OR17", " https://good.example"),
    ("OR17", "https://good.example\t"),
    ("OR17", "https:// good.example"),
    ("OR18", "http://localhost"),
    ("OR18", "https://localhost"),
    ("OR18", "http://localhost.evil.example"),
    ("OR18", "http://127.0.0.1"),
    ("OR18", "http://127.1"),
    ("OR18", "http://2130706433"),
    ("OR18", "http://0x7f000001"),
    ("OR18", "http://[::1]"),
    ("OR18", "http://[::ffff:127.0.0.1]"),
    ("OR18", "http://0.0.0.0"),
    ("OR19", "chrome-extension://good.example"),
    ("OR19", "moz-extension://good.example"),
    ("OR19", "file://"),
    ("OR19", "file://good.example"),
    ("OR19", "ws://good.example"),
    ("OR19", "wss://good.example"),
    ("OR19", "capacitor://good.example"),
    ("OR19", "capacitor://localhost"),
    ("OR19", "https:good.example"),
    ("OR19", "https:/good.example"),
    ("OR19", "//good.example"),
    ("OR19", "good.example"),
    ("OR22", "https://evil.example"),
    ("OR22", "http://evil"),
];

/// What an attacker can serve a page from, or send, that looks like `https://good.example`: id and Origin.
fn look_alikes() -> Vec<(&'static str, String)> {
    let mut cases: Vec<_> = LOOK_ALIKES.map(|(id, origin)| (id, origin.to_owned())).to_vec();
    // What browsers resolve in a host name, with an own wildcard DNS, between the good name and the evil one.
    cases.extend("_-,;!'\"(){}*&+=~$`^|%.".chars().flat_map(|odd| {
        [
            ("OR16", format!("https://good.example{odd}.evil.example")),
            ("OR16", format!("https://good.example{odd}evil.example")),
            ("OR16", format!("https://evil{odd}good.example")),
        ]
    }));
    // A dot read as a regex' dot, a letter dropped, doubled or flipped, a byte appended: at every position.
    for (at, byte) in GOOD.char_indices() {
        let (before, after) = (&GOOD[..at], &GOOD[at + 1..]);
        let other = if byte == 'A' { 'B' } else { 'A' };
        cases.push(("OR11", format!("{before}{other}{after}")));
        cases.push(("OR11", format!("{before}{after}")));
        cases.push(("OR11", format!("{before}{byte}{byte}{after}")));
        cases.push(("OR11", format!("{before}\0{byte}{after}")));
    }
    cases
}

#[test]
fn or21_look_alikes_are_refused_whatever_the_size_of_the_list() {
    let cases = look_alikes();
    for set in sizes(&[GOOD]) {
        assert!(set.admits(GOOD), "the twin: {} listed", set.exact.len());
        for (id, origin) in &cases {
            assert!(!set.admits(origin), "{id} {origin:?} with {} listed", set.exact.len());
        }
    }
    assert_eq!(cases.len(), LOOK_ALIKES.len() + 22 * 3 + GOOD.len() * 4);
}

#[test]
fn or10_a_wildcard_is_exactly_one_label() {
    let cases = [
        ("https://a.good.example", true),
        ("https://a-1.good.example", true),
        ("https://xn--bcher-kva.good.example", true),
        ("https://good.example", false),
        ("https://.good.example", false),
        ("https://a.b.good.example", false),
        ("https://a..good.example", false),
        ("https://-a.good.example", false),
        ("https://a-.good.example", false),
        ("https://A.good.example", false),
        ("https://a_b.good.example", false),
        ("https://a@b.good.example", false),
        ("https://evil.com/.good.example", false),
        ("https://evil:80.good.example", false),
        ("https://evil#.good.example", false),
        ("https://evil\\.good.example", false),
        ("https://*.good.example", false),
        ("https://a.good.example:443", false),
        ("https://a.good.example:8443", false),
        ("https://a.good.example.", false),
        ("https://a.good.example.evil.com", false),
        ("https://a.evilgood.example", false),
        ("http://a.good.example", false),
        ("HTTPS://a.good.example", false),
        ("null", false),
        ("", false),
    ];
    for set in sizes(&["https://*.good.example"]) {
        for (origin, expected) in cases {
            assert_eq!(set.admits(origin), expected, "{origin}");
        }
        for (_, origin) in look_alikes() {
            let expected = origin == "https://sub.good.example";
            let one_label_more = origin.strip_suffix(".good.example").and_then(|rest| rest.strip_prefix("https://"));
            assert_eq!(set.admits(&origin), expected || one_label_more.is_some_and(is_label), "{origin}");
        }
    }
    let with_port = set(&["https://*.good.example:8443"]);
    assert!(with_port.admits("https://a.good.example:8443"));
    assert!(!with_port.admits("https://a.good.example"));
}

#[test]
fn listed_verbatim_is_admitted_verbatim() {
    let listed =
        ["null", "file://", "capacitor://localhost", "chrome-extension://abcdefghijklmnop", "http://[::1]:3000"];
    let all = set(&listed);
    for origin in listed {
        assert!(all.admits(origin), "OR19 {origin}");
        let others: Vec<&str> = listed.into_iter().filter(|other| *other != origin).collect();
        assert!(!set(&others).admits(origin), "OR02 {origin}");
    }
}

#[test]
fn or26_only_what_a_browser_sends_can_be_listed() {
    let cases = [
        ("*", "danger_wildcard_origin"),
        ("", "is not an origin"),
        ("app.example.com", "is not an origin"),
        ("^https://.*$", "is not an origin"),
        ("https://.*\\.example\\.com", "is not an origin"),
        ("https://*", "is not an origin"),
        ("https://a*.example.com", "is not an origin"),
        ("https://*.*.example.com", "is not an origin"),
        ("https://app.example.com/path", "is not an origin"),
        ("https://user@app.example.com", "is not an origin"),
        ("https://app.example.com.", "is not an origin"),
        ("https://127.1", "is not an origin"),
        ("https://", "is not an origin"),
        ("1https://a.example", "is not an origin"),
        ("https://App.example.com", "\"https://app.example.com\""),
        ("HTTPS://app.example.com", "\"https://app.example.com\""),
        ("https://app.example.com/", "\"https://app.example.com\""),
        ("https://app.example.com:443", "\"https://app.example.com\""),
        ("http://app.example.com:80", "\"http://app.example.com\""),
        ("https://*.example.com:443", "\"https://*.example.com\""),
        ("https://[0:0::1]", "\"https://[::1]\""),
        ("https://b\u{fc}cher.example", "A-label"),
        ("https://*.com", "too wide"),
        ("https://*.10.0.0.1", "too wide"),
    ];
    for (written, says) in cases {
        let mut set = OriginSet::default();
        let error = set.insert(written).unwrap_err().to_string();
        assert!(error.contains(says), "{written}: {error}");
        assert!(set.exact.is_empty() && set.one_label.is_empty());
    }
    assert_eq!(cases.len(), 24);
}

#[test]
fn a_missing_origin_passes_only_without_ambient_credentials() {
    use AmbientCredential::{Carried, None as NoneCarried};
    let cases = [
        (MissingOrigin::Cookieless, NoneCarried, Ok(AllowedOrigin(None))),
        (MissingOrigin::Cookieless, Carried, Err(Refusal::new(Reason::OriginMissing))),
        (MissingOrigin::Refuse, NoneCarried, Err(Refusal::new(Reason::OriginMissing))),
        (MissingOrigin::Refuse, Carried, Err(Refusal::new(Reason::OriginMissing))),
    ];
    for (missing, ambient, expected) in cases {
        let rules = OriginRules { allow: set(&[GOOD]), missing };
        assert_eq!(rules.judge(None, ambient), expected, "OR01 {missing:?} {ambient:?}");
        assert_eq!(rules.judge(Some(GOOD), ambient), Ok(AllowedOrigin(Some(GOOD.into()))));
        let refused = Refusal::new(Reason::OriginNotAllowed).with_detail("https://evil.example");
        assert_eq!(rules.judge(Some("https://evil.example"), ambient), Err(refused));
    }
}
