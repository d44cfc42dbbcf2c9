use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use super::super::clock::Moment;
use super::super::queue::Flushed;
use super::*;
use crate::event::{By, Closure, Level, Notice, Opened, Refused, Traffic, Who};
use crate::peer::{ClientAddr, ConnectionId};
use crate::policy::{PolicyName, Reason};
use crate::session::Cause;

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a log of this format writes of these events.
fn written(format: LogFormat, refusals: &str, events: &[Event]) -> String {
    let paper = Paper::default();
    let config = LogConfig { format, queue: 1 << 20, refusals: refusals.parse().unwrap() };
    let wall = "2026-11-21T09:42:32.123456Z".parse().unwrap();
    let clock: Clock = Arc::new(move || Moment { wall, steady: Duration::from_secs(1) });
    let (log, guard) = Log::start(&config, clock, paper.clone()).unwrap();
    for event in events {
        log.observe(event);
    }
    assert_eq!(guard.finish(Duration::from_secs(20)), Flushed::Whole);
    assert_eq!(log.lines_lost(), 0);
    let bytes = paper.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn json(events: &[Event]) -> Vec<Value> {
    written(LogFormat::Json, "1000/s", events).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn who() -> Who {
    Who {
        id: ConnectionId::from_bytes([0xab; 16]),
        client: Some(ClientAddr::new("192.0.2.7".parse().unwrap())),
        policy: Some(PolicyName::new("chat")),
        generation: 3,
        subject: Some("login/alice".into()),
    }
}

fn opened() -> Event {
    Event::Opened(Opened {
        who: who(),
        path: "/chat".into(),
        origin: Some("https://app.example.com".into()),
        server: "ws://10.0.0.11:9001".into(),
        subprotocol: Some("chat.v2".into()),
        admission: Duration::from_millis(12),
    })
}

fn closed() -> Event {
    Event::Closed(Closure {
        who: who(),
        cause: Cause::IdleTimeout,
        by: By::Gateway,
        code: Some(1001),
        age: Duration::from_secs(61),
        from_client: Traffic { messages: 2, bytes: 30 },
        from_backend: Traffic { messages: 4, bytes: 500 },
    })
}

fn refused(text: &str) -> Event {
    Event::Refused(Refused {
        who: Who { policy: None, subject: Some(text.into()), ..who() },
        reason: Reason::OriginNotAllowed,
        detail: Some(text.into()),
        path: Some(text.into()),
        origin: Some(text.into()),
        answered: true,
        age: Duration::from_millis(3),
    })
}

fn notice(text: &str) -> Event {
    Event::Notice(Notice { level: Level::Warning, code: "certificate_kept", text: text.into() })
}

#[test]
fn op13_every_event_says_who_where_why_and_how_much() {
    let lines = json(&[opened(), closed(), refused("https://evil.example"), notice("certs/a.pem: no key")]);
    let fields = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let expected = [
        "age_ms client event generation id origin path policy server subject subprotocol ts why",
        "age_ms by cause client code event from_backend from_client generation id policy subject ts why",
        "age_ms client detail event generation id origin path reason status subject ts why",
        "event level notice ts why",
    ];
    assert_eq!(lines.iter().map(fields).collect::<Vec<_>>(), expected);
    assert_eq!(lines[1]["ts"], "2026-11-21T09:42:32.123Z");
    assert_eq!(lines[1]["cause"], "idle_timeout");
    assert_eq!(lines[1]["why"], Cause::IdleTimeout.explanation());
    assert_eq!(lines[1]["from_backend"]["bytes"], 500);
    assert_eq!((&lines[1]["by"], &lines[1]["code"]), (&"gateway".into(), &1001.into()));
    assert_eq!((&lines[2]["reason"], &lines[2]["status"]), (&"origin_not_allowed".into(), &403.into()));
    assert_eq!(lines[2]["id"], "ab".repeat(16));
}

#[test]
fn people_read_the_same_in_one_sentence() {
    let text = written(LogFormat::Human, "1000/s", &[closed(), refused("x"), notice("certs/a.pem: no key")]);
    let id = "ab".repeat(16);
    let expected = [
        format!(
            "2026-11-21T09:42:32.123Z closed 1001 idle_timeout: {} client=192.0.2.7 subject=\"login/alice\" \
             policy=\"chat\" by=gateway id={id} from_client=2 messages/30 bytes from_backend=4 messages/500 bytes \
             age_ms=61000 generation=3",
            Cause::IdleTimeout.explanation()
        ),
        format!(
            "2026-11-21T09:42:32.123Z refused 403 origin_not_allowed: {} client=192.0.2.7 detail=\"x\" subject=\"x\" \
             path=\"x\" origin=\"x\" id={id} age_ms=3 generation=3",
            Reason::OriginNotAllowed.explanation()
        ),
        String::from("2026-11-21T09:42:32.123Z warning certificate_kept: certs/a.pem: no key"),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    let quoting = "policy chat: danger_no_auth = \"for the fair\"";
    let text = written(LogFormat::Human, "1000/s", &[notice(quoting)]);
    assert!(text.ends_with(&format!(" warning certificate_kept: {quoting}\n")), "a sentence is not quoted: {text}");
    assert_eq!(json(&[notice(quoting)])[0]["why"], quoting);
}

#[test]
fn op09_hostile_strings_stay_one_valid_bounded_line() {
    let million = "\u{202e}\"\\\r\n\u{1b}[2J".repeat(100_000);
    let hostile = [
        "\r\n{\"event\":\"opened\",\"id\":\"forged\"}",
        "\u{1b}]0;owned\u{7}\u{1b}[31m",
        "\"},{\"x\":\"",
        "\u{202e}gpj.exe\u{2066}",
        "\u{0}\u{85}\u{2028}\u{9b}31m",
        "\\u0022\\",
        million.as_str(),
    ];
    let mut ran = 0;
    for text in hostile {
        for format in [LogFormat::Json, LogFormat::Human] {
            let line = written(format, "1000/s", &[refused(text)]);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(line.len() < 12_000, "{}", line.len());
            let plain = |character: char| character == '\n' || (' '..='~').contains(&character) || character == '…';
            assert!(line.chars().all(plain), "{line:?}");
            ran += 1;
        }
        assert_eq!(json(&[refused(text)])[0]["event"], "refused");
    }
    assert_eq!(ran, 14);
    let plain = written(LogFormat::Human, "1000/s", &[refused("plain")]);
    assert!(plain.contains("origin=\"plain\""), "{plain}");
}

#[test]
fn rx17_a_flood_is_told_in_sums() {
    let flood: Vec<Event> = std::iter::repeat_with(|| refused("x")).take(1000).chain([closed()]).collect();
    let text = written(LogFormat::Json, "10/s burst 10", &flood);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, [&["refused"; 5][..], &["closed", "refusals_suppressed"]].concat());
    assert_eq!((&lines[6]["reason"], &lines[6]["count"]), (&"origin_not_allowed".into(), &995.into()));
}
