//! Cross-site WebSocket hijacking: no page but the listed ones opens a socket, whatever it makes of its Origin.
//!
//! Every case is a good handshake with one thing wrong, over real TLS. It is refused before a backend hears of it, and
//! the same handshake with that one thing mended comes in, before and after.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::type_complexity, reason = "a table of cases is plainest with its columns in sight")]

mod support;

use std::collections::BTreeSet;

use support::house::{HEADER_ONLY, HOST, ORIGIN};
use support::{Cases, House, Plan, Request, cases};
use wsgate::policy::Reason;

/// A policy that lists every kind of entry.
const LISTED: &str = r#"
[origin]
allow = [
    "https://app.test",
    "https://good.example",
    "https://good.example:8443",
    "http://localhost:3000",
    "https://xn--bcher-kva.example",
    "https://*.pages.example",
]
"#;

/// Origins of [`LISTED`]'s policy that come in.
const WELCOME: [(&str, &str); 7] = [
    ("OR10", "https://app.test"),
    ("OR10", "https://one.pages.example"),
    ("OR07", "https://good.example:8443"),
    ("OR08", "https://good.example"),
    ("OR15", "https://xn--bcher-kva.example"),
    ("OR18", "http://localhost:3000"),
    ("OR10", "https://xn--bcher-kva.pages.example"),
];

/// Origins that do not, by what they try.
const UNWELCOME: [(&str, &str, &[&str]); 21] = [
    ("OR02", "an opaque origin", &["null", "Null", "NULL", "\"null\""]),
    ("OR03", "an empty one", &["", " ", "  \t ", "-"]),
    (
        "OR05",
        "a list in one line",
        &[
            "https://good.example https://evil.example",
            "https://evil.example https://good.example",
            "https://good.example,https://evil.example",
            "https://good.example, https://good.example",
            "https://good.example https://good.example",
        ],
    ),
    ("OR06", "another scheme", &["http://good.example", "http://app.test", "https://localhost:3000"]),
    (
        "OR07",
        "another port, or one that a browser never writes",
        &[
            "https://good.example:443",
            "https://good.example:",
            "https://good.example:0443",
            "https://good.example:08443",
            "https://good.example:8444",
            "https://good.example:84430",
            "https://app.test:8443",
            "http://localhost",
            "http://localhost:3001",
        ],
    ),
    (
        "OR08",
        "a suffix",
        &["https://evilgood.example", "https://evil-good.example", "https://evil.example/good.example"],
    ),
    (
        "OR09",
        "a prefix",
        &[
            "https://good.example.evil.com",
            "https://good.exampleevil.com",
            "https://good.example-evil.com",
            "https://good",
        ],
    ),
    (
        "OR10",
        "a label too few, too many, or none",
        &[
            "https://www.good.example",
            "https://pages.example",
            "https://.pages.example",
            "https://a.b.pages.example",
            "https://a..pages.example",
            "https://*.pages.example",
            "https://apages.example",
            "http://one.pages.example",
            "https://one.pages.example:444",
            "https://one.pages.example.evil.com",
            "https://evil.com/.pages.example",
            "https://evil.com:80.pages.example",
            "https://evil.com@one.pages.example",
            "https://evil.com#.pages.example",
            "https://evil.com?.pages.example",
            "https://evil.com\\.pages.example",
            "https://ev%69l.pages.example",
        ],
    ),
    (
        "OR12",
        "somebody before an @",
        &[
            "https://good.example@evil.com",
            "https://evil.com@good.example",
            "https://user:pass@good.example",
            "https://good.example:@evil.com",
            "https://good.example\\@evil.com",
            "https://evil.com#@good.example",
            "https://evil.com?@good.example",
            "https://@good.example",
        ],
    ),
    (
        "OR13",
        "a dot too many",
        &["https://good.example.", "https://good..example", "https://.good.example", "https://one.pages.example."],
    ),
    (
        "OR14",
        "upper case",
        &["https://GOOD.example", "HTTPS://good.example", "https://Good.Example", "https://ONE.pages.example"],
    ),
    (
        "OR15",
        "a name that looks like ours",
        &[
            "https://xn--good-.example",
            "https://xn--go0d-example",
            "https://xn--bcher-kva.example.evil.com",
            "https://bucher.example",
            "https://xn--bcher-kvb.example",
            "https://b%C3%BCcher.example",
        ],
    ),
    (
        "OR16",
        "hosts that only a browser accepts",
        &[
            "https://good.example_.evil.com",
            "https://good.example-.evil.com",
            "https://good.example,.evil.com",
            "https://good.example;.evil.com",
            "https://good.example!.evil.com",
            "https://good.example'.evil.com",
            "https://good.example\".evil.com",
            "https://good.example(.evil.com",
            "https://good.example).evil.com",
            "https://good.example{.evil.com",
            "https://good.example}.evil.com",
            "https://good.example*.evil.com",
            "https://good.example&.evil.com",
            "https://good.example+.evil.com",
            "https://good.example=.evil.com",
            "https://good.example~.evil.com",
            "https://good.example$.evil.com",
            "https://good.example`.evil.com",
            "https://good.example^.evil.com",
            "https://good.example|.evil.com",
            "https://good.example%.evil.com",
            "https://_.pages.example_.evil.com",
        ],
    ),
    (
        "OR17",
        "more than an origin",
        &[
            "https://good.example/",
            "https://good.example/path",
            "https://good.example?query",
            "https://good.example#fragment",
            "https://good.example\\",
            "https://good.example https",
            "https://good.example\tx",
        ],
    ),
    (
        "OR18",
        "this machine by another name",
        &[
            "http://127.0.0.1:3000",
            "http://127.1:3000",
            "http://2130706433:3000",
            "http://[::1]:3000",
            "http://[::ffff:127.0.0.1]:3000",
            "http://localhost.evil.com:3000",
            "http://localhost:3000.evil.com",
            "http://localhost.:3000",
            "http://0x7f.1:3000",
        ],
    ),
    (
        "OR19",
        "another kind of page",
        &[
            "chrome-extension://abcdefghijklmnop",
            "moz-extension://0b1c-2d3e",
            "file://",
            "file://good.example",
            "ws://good.example",
            "wss://good.example",
            "capacitor://localhost",
            "ionic://localhost",
            "data:text/html,x",
            "good.example",
            "//good.example",
            "https:good.example",
            "https:/good.example",
            "https:///good.example",
        ],
    ),
    ("OR20", "a tab inside", &["https://good\t.example", "https:\t//good.example"]),
    ("OR26", "a star is nobody's origin", &["*", "https://*", "https://*.*"]),
    ("OR21", "a neighbour in the table", &["https://gooe.example", "https://good.exampld"]),
    ("OR22", "our own host", &["https://chat.test", "http://chat.test"]),
    ("OR11", "any letter for a dot", &["https://goodAexample", "https://good-example", "https://app-test"]),
];

fn from_page(house: &House, origin: &str) -> Request {
    house.request_with(|request| request.set("Origin", origin))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_passes_byte_for_byte_or_not_at_all() {
    let house = Plan::plain().policy(HEADER_ONLY).policy(LISTED).build().await;
    let mut cases = Cases::of("origins");
    for (id, origin) in WELCOME {
        house.admits(&from_page(&house, origin)).await;
        cases.held(id, origin);
    }
    let mut tried = 0;
    for (id, name, origins) in UNWELCOME {
        for origin in origins {
            house.refuses(&from_page(&house, origin), Reason::OriginNotAllowed).await;
            tried += 1;
        }
        house.admits(&house.request()).await;
        cases.held(id, name);
    }
    assert_eq!(tried, UNWELCOME.iter().map(|(_, _, origins)| origins.len()).sum::<usize>());
    cases.all(WELCOME.len() + UNWELCOME.len());
}

/// Every origin that differs from a listed one in one byte: changed, dropped, doubled, or put before or behind.
fn one_byte_off(listed: &str) -> BTreeSet<String> {
    const STRANGERS: &[u8] = b"./:-_a0@A\\?#% ";
    let bytes = listed.as_bytes();
    let mut found = BTreeSet::new();
    for at in 0..=bytes.len() {
        for stranger in STRANGERS {
            found.insert([&bytes[..at], &[*stranger], &bytes[at..]].concat());
            if let Some(rest) = bytes.get(at + 1..) {
                found.insert([&bytes[..at], &[*stranger], rest].concat());
                found.insert([&bytes[..at], rest].concat());
            }
        }
    }
    let text = found.into_iter().map(|bytes| String::from_utf8(bytes).unwrap());
    text.filter(|text| text.trim() != listed && text.trim() == text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_off_is_another_origin() {
    let house = Plan::plain().policy("[origin]\nallow = [\"https://good.example\"]").build().await;
    let good = from_page(&house, "https://good.example");
    house.admits(&good).await;
    let strangers = one_byte_off("https://good.example");
    assert!(strangers.len() > 400, "{} variants", strangers.len());
    let mut cases = Cases::of("one byte off");
    for origin in &strangers {
        house.refuses(&from_page(&house, origin), Reason::OriginNotAllowed).await;
        cases.held("OR11", origin);
    }
    house.admits(&good).await;
    cases.all(strangers.len());
}

/// A good handshake made wrong, and why it is refused.
type Spoilt = (&'static str, &'static str, fn(&mut Request), Reason);

const SPOILT: [Spoilt; 24] = [
    ("OR01", "no Origin, but a cookie", |r| no_origin_but(r, "Cookie", "theme=dark"), Reason::OriginMissing),
    (
        "OR01",
        "no Origin, but Basic credentials",
        |r| no_origin_but(r, "Authorization", "Basic YTpi"),
        Reason::OriginMissing,
    ),
    ("OR04", "two, the good one first", |r| r.append("Origin", "https://evil.example"), Reason::OriginRepeated),
    ("OR04", "two, the good one last", |r| r.first_line("Origin: https://evil.example"), Reason::OriginRepeated),
    ("OR04", "the good one twice", |r| r.append("Origin", ORIGIN), Reason::OriginRepeated),
    ("OR04", "two in another case", |r| r.append("ORIGIN", ORIGIN), Reason::OriginRepeated),
    ("OR20", "a folded line", |r| r.set("Origin", "https://app.test\r\n x"), Reason::HeadMalformed),
    ("OR20", "a NUL", |r| r.set("Origin", b"https://app.test\0"), Reason::HeadMalformed),
    ("OR20", "a bare CR", |r| r.set("Origin", "https://app.test\rx"), Reason::HeadMalformed),
    ("OR20", "bytes above ASCII", |r| r.set("Origin", b"https://app.test\xc3\xbc"), Reason::HeadMalformed),
    ("OR15", "a name in Unicode", |r| r.set("Origin", "https://bücher.example"), Reason::HeadMalformed),
    ("OR15", "a full-width dot", |r| r.set("Origin", "https://app．test"), Reason::HeadMalformed),
    ("OR15", "a zero-width joiner", |r| r.set("Origin", "https://ap\u{200d}p.test"), Reason::HeadMalformed),
    ("OR20", "8 KB", |r| r.set("Origin", format!("https://{}.test", "a".repeat(8192))), Reason::OriginNotAllowed),
    ("OR20", "more than a head may hold", |r| r.set("Origin", "a".repeat(17_000)), Reason::HeadTooLarge),
    ("OR22", "Referer in its place", |r| vouched(r, "Referer", "https://app.test/page"), Reason::OriginMissing),
    ("OR22", "X-Forwarded-Host in its place", |r| vouched(r, "X-Forwarded-Host", "app.test"), Reason::OriginMissing),
    ("OR22", "X-Origin in its place", |r| vouched(r, "X-Origin", ORIGIN), Reason::OriginMissing),
    ("OR22", "the evil page's own host", |r| rebound(r, "evil.example"), Reason::HostNotServed),
    ("OR22", "the evil page's own host with our port", |r| rebound(r, "evil.example:443"), Reason::HostNotServed),
    ("OR23", "a good Origin and nothing else", |r| r.remove("Authorization"), Reason::CredentialMissing),
    ("OR24", "the fetch of no socket", |r| r.set("Sec-Fetch-Mode", "navigate"), Reason::FetchMetadata),
    ("OR25", "a cookie that is no credential", |r| only_cookie(r, "sid=1"), Reason::CredentialMissing),
    ("OR28", "evil, and curious", |r| r.set("Origin", "https://reflect.example"), Reason::OriginNotAllowed),
];

fn no_origin_but(request: &mut Request, name: &str, value: &str) {
    request.remove("Origin");
    request.set(name, value);
}

fn vouched(request: &mut Request, name: &str, value: &str) {
    request.remove("Origin");
    request.set("Cookie", "theme=dark");
    request.set(name, value);
}

fn rebound(request: &mut Request, host: &str) {
    request.set("Host", host);
    request.set("Origin", format!("http://{host}"));
}

fn only_cookie(request: &mut Request, cookie: &str) {
    request.remove("Authorization");
    request.set("Cookie", cookie);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stands_in_for_an_origin() {
    let house = House::plain().await;
    let good = house.request();
    house.admits(&good).await;
    let mut cases = Cases::of("stand-ins");
    for (id, name, spoil, reason) in SPOILT {
        house.refuses(&house.request_with(spoil), reason).await;
        house.admits(&good).await;
        cases.held(id, name);
    }
    cases.all(SPOILT.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_origin_gets_what_the_policy_says() {
    let house = House::plain().await;
    let bare = house.request_with(|request| request.remove("Origin"));
    house.admits(&bare).await;
    let strict = Plan::plain().policy("[origin]\nmissing = \"refuse\"").build().await;
    let bare = strict.request_with(|request| request.remove("Origin"));
    strict.refuses(&bare, Reason::OriginMissing).await;
    strict.admits(&strict.request()).await;
    cases::held("OR01", "no Origin where the policy wants one");
}

#[tokio::test(flavor = "multi_thread")]
async fn null_passes_only_where_it_is_listed() {
    let plan = Plan::plain().policy(HEADER_ONLY).policy("[origin]\nallow = [\"https://app.test\", \"null\"]");
    let house = plan.build().await;
    house.admits(&from_page(&house, "null")).await;
    let plain = House::plain().await;
    plain.refuses(&from_page(&plain, "null"), Reason::OriginNotAllowed).await;
    plain.admits(&plain.request()).await;
    cases::held("OR02", "null where it is listed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_victims_cookie_does_not_help_another_page() {
    let house = House::plain().await;
    let with_cookie = |origin: &str| {
        let mut request = house.request();
        only_cookie(&mut request, &format!("theme=dark; session={}", house.signer.token()));
        request.set("Origin", origin);
        request
    };
    house.admits(&with_cookie(ORIGIN)).await;
    let mut cases = Cases::of("stolen cookies");
    let pages =
        ["https://evil.example", "https://sibling.app.test", "null", "http://app.test", "https://app.test.evil"];
    for page in pages {
        house.refuses(&with_cookie(page), Reason::OriginNotAllowed).await;
        house.admits(&with_cookie(ORIGIN)).await;
        cases.held("OR25", page);
    }
    cases.all(pages.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_length_of_the_list_changes_no_verdict() {
    let sizes = [1, 100, 101, 1000];
    let probes = [
        "https://a0.example",
        "https://a0.exampl",
        "https://A0.example",
        "https://a0.example:443",
        "https://b.example",
    ];
    let mut cases = Cases::of("list lengths");
    for size in sizes {
        let origins: Vec<String> = (0..size).map(|number| format!("\"https://a{number}.example\"")).collect();
        let house = Plan::plain().policy(&format!("[origin]\nallow = [{}]", origins.join(", "))).build().await;
        house.admits(&from_page(&house, probes[0])).await;
        for probe in &probes[1..] {
            house.refuses(&from_page(&house, probe), Reason::OriginNotAllowed).await;
        }
        house.admits(&from_page(&house, &format!("https://a{}.example", size - 1))).await;
        cases.held("OR21", &format!("{size} entries"));
    }
    cases.all(sizes.len());
}

/// Lists that no operator may write by accident.
const UNSAFE_LISTS: [(&str, &str, &str); 9] = [
    ("OR26", "any origin at all", "allow = [\"*\"]"),
    ("OR26", "no list", "allow = []"),
    ("OR26", "a pattern over several labels", "allow = [\"https://*.*.example\"]"),
    ("OR26", "a regular expression", "allow = [\"https://.*\\\\.example\"]"),
    ("OR26", "a star inside a label", "allow = [\"https://app*.example\"]"),
    ("OR26", "a wildcard beside a cookie", "allow = [\"https://*.pages.example\"]"),
    ("OR17", "a path", "allow = [\"https://app.test/\"]"),
    ("OR14", "upper case", "allow = [\"https://App.test\"]"),
    ("OR15", "a name in Unicode", "allow = [\"https://bücher.example\"]"),
];

#[test]
fn an_unsafe_list_is_refused_at_load() {
    Plan::plain().policy("[origin]\nallow = [\"https://app.test\"]").loads();
    let mut cases = Cases::of("unsafe lists");
    for (id, name, list) in UNSAFE_LISTS {
        let said = Plan::plain().policy(&format!("[origin]\n{list}")).refused_at_load();
        assert!(said.to_lowercase().contains("origin"), "{name}: {said}");
        cases.held(id, name);
    }
    cases.all(UNSAFE_LISTS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_with_a_reason_still_wants_a_token() {
    let policy = "[origin]\nallow = [\"*\"]\ndanger_wildcard_origin = \"partners host their own pages\"";
    let house = Plan::plain().policy(HEADER_ONLY).policy(policy).build().await;
    let good = from_page(&house, "https://anywhere.example");
    house.admits(&good).await;
    let mut bare = good.clone();
    bare.remove("Authorization");
    house.refuses(&bare, Reason::CredentialMissing).await;
    house.admits(&good).await;
    assert_eq!(good.value("Host").as_deref(), Some(HOST));
    cases::held("OR23", "any page, but nobody without a token");
}
