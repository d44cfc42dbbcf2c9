use serde_json::Value;

use super::order::{End, LAST_TIME, Order, show_time};
use super::*;
use crate::policy::admission::tests::policy;
use crate::policy::auth::{JwtRules, TicketRules, TokenRules, fixtures};
use crate::policy::forward::CredentialForwarding;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const ID: &str = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

fn entry(kind: &str, value: &str, issuer: Option<&str>) -> Entry {
    let target = Target::read(kind, value, issuer).unwrap().unwrap();
    let since = (kind == "subject").then_some(NOW);
    Entry { target, since, until: UnixSeconds(NOW.0 + 60) }
}

fn set(entries: impl IntoIterator<Item = Entry>) -> RevocationSet {
    let mut set = RevocationSet::default();
    entries.into_iter().for_each(|entry| drop(set.insert(entry).unwrap()));
    set
}

/// What comes of a handshake of alice of the issuer `login`, with a token that was issued now.
fn judged(set: &RevocationSet, now: UnixSeconds, change: impl FnOnce(&mut Facts<'_>)) -> Option<Reason> {
    let policy = PolicyName::new("chat");
    let holder = Holder { issuer: "login", subject: "alice", issued_at: Some(NOW), token_id: Some("t-1") };
    let client = ClientAddr::new("203.0.113.7".parse().unwrap());
    let mut facts = Facts { session: ID.parse().unwrap(), client, policy: &policy, holder: Some(holder) };
    change(&mut facts);
    set.judge(&facts, now).err().map(|refusal| refusal.reason)
}

#[test]
fn each_kind_reaches_its_own_and_no_more() {
    use Reason::{AccessRevoked, CredentialRevoked};
    #[rustfmt::skip]
    let cases = [
        ("subject", "alice", None, Some(CredentialRevoked)),
        ("subject", "alice", Some("login"), Some(CredentialRevoked)),
        ("subject", "alice", Some("other"), None),
        ("subject", "Alice", None, None),
        ("subject", "login/alice", None, None),
        ("token_id", "t-1", None, Some(CredentialRevoked)),
        ("token_id", "t-1", Some("login"), Some(CredentialRevoked)),
        ("token_id", "t-1", Some("other"), None),
        ("token_id", "t-2", None, None),
        ("token_id", "alice", None, None),
        ("session", ID, None, Some(AccessRevoked)),
        ("session", "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0b", None, None),
        ("address", "203.0.113.7", None, Some(AccessRevoked)),
        ("address", "203.0.113.0/24", None, Some(AccessRevoked)),
        ("address", "::ffff:203.0.113.7", None, Some(AccessRevoked)),
        ("address", "0.0.0.0/0", None, Some(AccessRevoked)),
        ("address", "203.0.113.8/29", None, None),
        ("address", "2001:db8::/32", None, None),
        ("deny", "203.0.113.0/24", None, Some(AccessRevoked)),
        ("deny", "203.0.112.0/24", None, None),
        ("policy", "chat", None, Some(AccessRevoked)),
        ("policy", "cha", None, None),
    ];
    let mut ran = 0;
    for (kind, value, issuer, reason) in cases {
        let set = set([entry(kind, value, issuer)]);
        assert_eq!(judged(&set, NOW, |_| {}), reason, "{kind} {value} {issuer:?}");
        assert_eq!(judged(&set, UnixSeconds(NOW.0 + 59), |_| {}), reason, "{kind} {value}: until its end");
        assert_eq!(judged(&set, UnixSeconds(NOW.0 + 60), |_| {}), None, "{kind} {value}: at its end");
        ran += 1;
    }
    assert_eq!(ran, 22);
    let client = |text: &str| ClientAddr::new(text.parse().unwrap());
    let denied = set([entry("deny", "2001:db8:1::/48", None), entry("address", "192.0.2.0/24", None)]);
    for (address, dropped) in [("2001:db8:1:2::3", true), ("2001:db8:2::", false), ("192.0.2.1", false)] {
        assert_eq!(denied.denies(client(address), NOW), dropped, "{address}");
    }
}

#[test]
fn a_subjects_later_tokens_are_not_meant() {
    let set = set([entry("subject", "alice", None), entry("token_id", "t-9", None)]);
    let issued = |at: Option<u64>, id: Option<&'static str>| {
        judged(&set, NOW, |facts| {
            let holder = facts.holder.as_mut().unwrap();
            (holder.issued_at, holder.token_id) = (at.map(UnixSeconds), id);
        })
    };
    assert_eq!(issued(Some(NOW.0), None), Some(Reason::CredentialRevoked), "in the same second");
    assert_eq!(issued(Some(NOW.0 + 1), None), None, "the next login");
    assert_eq!(issued(None, None), Some(Reason::CredentialRevoked), "who does not say when");
    assert_eq!(
        issued(Some(NOW.0 + 1), Some("t-9")),
        Some(Reason::CredentialRevoked),
        "a token by its id, whenever issued"
    );
    assert_eq!(judged(&set, NOW, |facts| facts.holder = None), None, "nobody was proved");
}

#[test]
fn the_same_target_twice_reaches_as_far_as_both() {
    let at = |since: Option<u64>, until: u64| Entry {
        since: since.map(UnixSeconds),
        until: UnixSeconds(until),
        ..entry("subject", "alice", None)
    };
    let merged = |a: Entry, b: Entry| {
        let mut set = set([a]);
        let entry = set.insert(b).unwrap();
        assert_eq!(set.entries(), std::slice::from_ref(&entry));
        (entry.since.map(|since| since.0), entry.until.0)
    };
    assert_eq!(merged(at(Some(1), 20), at(Some(2), 10)), (Some(2), 20));
    assert_eq!(merged(at(Some(2), 10), at(Some(1), 20)), (Some(2), 20));
    assert_eq!(merged(at(None, 10), at(Some(1), 20)), (None, 20));
    assert_eq!(merged(at(Some(1), 10), at(None, 20)), (None, 20));
}

#[test]
fn a_set_includes_what_it_reaches_as_far_as() {
    let at = |since: Option<u64>, until: u64| Entry {
        since: since.map(UnixSeconds),
        until: UnixSeconds(until),
        ..entry("subject", "alice", None)
    };
    let (ours, mut ran) = (set([at(Some(5), 20), entry("policy", "chat", None)]), 0);
    let cases = [
        (at(Some(5), 20), true),
        (at(Some(4), 19), true),
        (at(Some(6), 20), false),
        (at(Some(5), 21), false),
        (at(None, 20), false),
        (entry("subject", "bob", None), false),
        (entry("policy", "chat", None), true),
    ];
    for (theirs, is_included) in cases {
        assert_eq!(ours.includes(&set([theirs.clone()])), is_included, "{theirs:?}");
        ran += 1;
    }
    assert_eq!(ran, 7);
    assert!(set([at(None, 20)]).includes(&set([at(Some(5), 20)])), "no time at all reaches the furthest");
    assert!(ours.includes(&RevocationSet::default()) && !RevocationSet::default().includes(&ours));
}

#[test]
fn a_set_is_bounded_and_forgets_what_has_ended() {
    let mut full = set((0..MOST_ENTRIES).map(|number| entry("subject", &number.to_string(), None)));
    assert_eq!(full.insert(entry("subject", "one more", None)), Err(Full));
    assert!(full.insert(entry("subject", "7", None)).is_ok(), "one that is there already");
    assert!(full.lift(&entry("subject", "8", None).target));
    assert!(!full.lift(&entry("subject", "8", None).target), "it is gone");
    assert!(full.insert(entry("subject", "one more", None)).is_ok());
    let mut ending = set([entry("address", "192.0.2.0/24", None)]);
    ending.insert(Entry { until: UnixSeconds(NOW.0 + 9), ..entry("deny", "192.0.2.0/25", None) }).unwrap();
    ending.prune(UnixSeconds(NOW.0 + 8));
    assert_eq!(ending.len(), 2);
    ending.prune(UnixSeconds(NOW.0 + 9));
    assert_eq!(ending.entries(), [entry("address", "192.0.2.0/24", None)]);
    assert_eq!(ending.prefixes, [BTreeSet::from([24]), BTreeSet::new()]);
}

#[test]
fn an_order_is_read_whole_or_not_at_all() {
    const KINDS: &[&str] = &["subject", "token_id", "session", "address", "policy"];
    let long = format!("{{\"subject\":\"{}\"}}", "x".repeat(MAX_WORD + 1));
    #[rustfmt::skip]
    let wrong = [
        ("", "not a JSON object"), ("[]", "not a JSON object"), ("{", "not a JSON object"), ("{} {}", "not a JSON object"),
        ("{}", "exactly one of subject, token_id, session, address, policy"),
        (r#"{"for":"1h"}"#, "exactly one of"),
        (r#"{"subject":"a","policy":"b"}"#, "`policy`: of"),
        (r#"{"subject":"a","subject":"a"}"#, "`subject`: of"),
        (r#"{"subject":"a","for":"1h","for":"1h"}"#, "`for`: of"),
        (r#"{"subject":"a","for":"1h","until":1}"#, "`until`: of"),
        (r#"{"subject":"a","issuer":"i","issuer":"i"}"#, "`issuer`: of"),
        (r#"{"subject":"a","colour":"red"}"#, "no member `colour`"),
        (r#"{"subject":"a","a\nb":"red"}"#, r"no member `a\nb`"),
        (r#"{"deny":"192.0.2.0/24"}"#, "no member `deny`"),
        (r#"{"subject":7}"#, "`subject` must be a string"), (r#"{"subject":null}"#, "`subject` must be a string"),
        (r#"{"subject":["a"]}"#, "`subject` must be a string"),
        (r#"{"subject":""}"#, "`subject`"), (r#"{"subject":"a\u0000"}"#, "`subject`"), (long.as_str(), "`subject`"),
        (r#"{"subject":"a","issuer":""}"#, "`issuer`"), (r#"{"policy":"a","issuer":"b"}"#, "`issuer` has a meaning"),
        (r#"{"policy":"a","since":1}"#, "`since` has a meaning"),
        (r#"{"subject":"a","until":"tomorrow"}"#, "`until` must be a time"), (r#"{"subject":"a","until":-1}"#, "`until`"),
        (r#"{"subject":"a","until":1.5}"#, "`until`"), (r#"{"subject":"a","until":1e20}"#, "`until`"),
        (r#"{"subject":"a","until":253402300800}"#, "`until`"), (r#"{"subject":"a","until":"1969-01-01T00:00:00Z"}"#, "`until`"),
        (r#"{"subject":"a","for":"-1h"}"#, "`for`"), (r#"{"subject":"a","for":3600}"#, "`for` must be a string"),
        (r#"{"session":"7"}"#, "`session`: an id has 32"),
        (r#"{"address":"203.0.113.1/24"}"#, "`address`: `203.0.113.1/24` has bits"),
        (r#"{"address":"::ffff:0:0/96"}"#, "`address`: `::ffff:0:0/96` holds nobody"), (r#"{"address":"here"}"#, "`address`"),
    ];
    let mut ran = 0;
    for (json, told) in wrong {
        let said = Order::read(json.as_bytes(), KINDS).unwrap_err().to_string();
        assert!(said.contains(told), "{json}: {said}");
        ran += 1;
    }
    assert_eq!(ran, 35);
    let read = |json: &str| Order::read(json.as_bytes(), KINDS).unwrap();
    let order = read(r#"{"until":"2027-01-15T08:00:00Z","issuer":"login","subject":"alice smith","since":1799999999}"#);
    assert_eq!(order.target, Target::read("subject", "alice smith", Some("login")).unwrap().unwrap());
    assert_eq!((order.since, order.end), (Some(UnixSeconds(NOW.0 - 1)), Some(End::At(NOW))));
    assert_eq!(read(r#"{"policy":"chat","for":"1h 30m"}"#).end, Some(End::After(Duration::from_secs(5400))));
    for kind in [entry("subject", "\"", Some("login")), entry("session", ID, None), entry("address", "::1", None)] {
        let json = Value::Object(kind.to_json()).to_string();
        let Order { target, since, end } = read(&json);
        assert_eq!((target, since, end), (kind.target, kind.since, Some(End::At(kind.until))), "{json}");
    }
}

#[test]
fn whatever_end_is_taken_is_read_again_from_what_is_written() {
    let last = LAST_TIME.0;
    let left = last - NOW.0;
    let ends = [0, 1, NOW.0, NOW.0 + 1, 253_402_207_200, 253_402_207_201, last - 86_400, last - 1, last, last + 1]
        .into_iter()
        .chain([4_102_444_800, 1 << 40, u64::MAX >> 1, u64::MAX])
        .map(|second| (End::At(UnixSeconds(second)), second));
    let spans =
        [0, 1, 3600, 1 << 31, left - 93_600, left - 1, left, left + 1, 360_000_000_000, i64::MAX as u64, u64::MAX]
            .map(|span| (End::After(Duration::from_secs(span)), NOW.0.saturating_add(span)));
    let mut ran = [0, 0];
    for (end, second) in ends.chain(spans) {
        let is_taken = NOW.0 < second && second <= last;
        ran[usize::from(is_taken)] += 1;
        match end.at(NOW) {
            Err(why) => assert!(!is_taken, "{end:?}: {why}"),
            Ok(until) => {
                assert!(is_taken, "{end:?}");
                let entry = Entry { since: Some(until), until, ..entry("subject", "alice", None) };
                let json = Value::Object(entry.to_json()).to_string();
                let read = Order::read(json.as_bytes(), &KINDS).unwrap_or_else(|why| panic!("{json}: {why}"));
                assert_eq!((read.since, read.end), (Some(until), Some(End::At(until))), "{json}");
                let line = format!("subject alice until={} since={}", show_time(until), until.0);
                assert_eq!(list::parse(&line).unwrap().entries(), [entry], "{line}");
            }
        }
    }
    assert_eq!(ran, [12, 13]);
    assert_eq!(show_time(LAST_TIME), "9999-12-31T23:59:59Z");
    assert_eq!(show_time(UnixSeconds(u64::MAX)), show_time(LAST_TIME));
    for wrong in ["2027-01-15Z", "9999-12-31T23:59:59", "9999-12-32T23:59:59Z", "9999-12-31T23:59:59+01:00Z"] {
        assert!(list::parse(&format!("subject alice until={wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn a_list_is_read_with_every_mistake_in_its_place() {
    let good = "# who left\n\nsubject alice until=2027-01-15T08:01:00Z\nsubject \"alice \\\"smith\" since=1800000000 \
                until=1800000060 issuer=login # twice\r\n  deny 192.0.2.0/24  until=1800000060\npolicy chat until=1800000060";
    let set = list::parse(good).unwrap();
    let expected = [
        Entry { since: None, ..entry("subject", "alice", None) },
        entry("subject", "alice \"smith", Some("login")),
        entry("policy", "chat", None),
        entry("deny", "192.0.2.0/24", None),
    ];
    assert_eq!(set.entries(), expected);
    assert!(list::parse("").unwrap().is_empty());
    #[rustfmt::skip]
    let wrong = [
        ("colour red until=1", "colour", "begins with subject"),
        ("subject", "", "behind the kind"),
        ("subject alice", "", "until=TIME is missing"),
        ("subject until=1", "", "until=TIME is missing"),
        ("subject alice until=soon", "until=soon", "write the time as"),
        ("subject alice until=1 until=2", "until=2", "each once"),
        ("subject alice until=1 for=2", "for=2", "behind the value stand"),
        ("subject alice smith until=1", "smith", "behind the value stand"),
        ("subject \"alice until=1", "\"alice until=1", "not a JSON string"),
        ("policy chat issuer=x until=1", "policy", "have an issuer"),
        ("policy chat since=1 until=1", "policy", "time since which"),
        ("subject alice issuer= until=1", "issuer=", "`issuer` has 1 to 256"),
        ("address 1.2.3.4/8 until=1", "1.2.3.4/8", "bits behind its prefix"),
        ("session 7 until=1", "7", "32 hexadecimal digits"),
    ];
    let lines: Vec<&str> = wrong.iter().map(|(line, ..)| *line).collect();
    let text = lines.join("\n");
    let mistakes = list::parse(&text).unwrap_err();
    assert_eq!(mistakes.len(), wrong.len());
    let mut start = 0;
    for ((line, marked, told), mistake) in wrong.iter().zip(mistakes) {
        assert!(mistake.message.contains(told), "{line}: {mistake}");
        assert_eq!(&text[mistake.span.clone()], *marked, "{line}");
        assert!((start..=start + line.len()).contains(&mistake.span.start), "{line}");
        start += line.len() + 1;
    }
    assert_eq!(list::parse(&"x\n".repeat(50)).unwrap_err().len(), 20);
    let many: String = (0..=MOST_ENTRIES).map(|number| format!("subject {number} until=1\n")).collect();
    assert!(list::parse(&many).unwrap_err()[0].message.contains("more than 10000 entries"));
    assert!(list::parse(&format!("subject {} until=1", "x".repeat(5000))).unwrap_err()[0].message.contains("longer"));
}

#[test]
fn an_entry_lasts_by_default_as_long_as_the_longest_token_may() {
    let seconds = Duration::from_secs;
    let jwt =
        |life, leeway| Auth::Jwt(JwtRules { max_life: seconds(life), leeway: seconds(leeway), ..fixtures::rules() });
    let word = || Auth::Token(TokenRules { tokens: "chat.tokens".into(), from: Vec::new() });
    let ticket = || Auth::Ticket(TicketRules { from: Vec::new() });
    let cases = [
        ("one way", vec![vec![jwt(600, 5)]], 605),
        ("the longer of two ways", vec![vec![jwt(600, 5), jwt(3600, 5)]], 3605),
        ("the longer of two policies", vec![vec![jwt(3600, 5)], vec![jwt(600, 5)]], 3605),
        ("leeway is life", vec![vec![jwt(600, 300)], vec![jwt(800, 5)]], 900),
        ("beside what does not say", vec![vec![jwt(600, 5), word(), ticket()], vec![Auth::Backend]], 605),
        ("longer than a day", vec![vec![jwt(3 * 86_400, 0), word()]], 3 * 86_400),
        ("where none says", vec![vec![word()], vec![Auth::Backend], vec![Auth::Open]], 86_400),
        ("without a policy", Vec::new(), 86_400),
    ];
    for (name, ways, expected) in &cases {
        let policies: Vec<Policy> = ways.iter().map(|ways| policy(ways.clone(), CredentialForwarding::Strip)).collect();
        assert_eq!(longest_life(policies.iter()).as_secs(), *expected, "{name}");
    }
    assert_eq!(cases.len(), 8);
}
