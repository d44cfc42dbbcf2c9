//! One event as one line: a JSON object, or a sentence for people with the same facts behind it.
//!
//! Every string in a line is a [`Text`]: bounded and escaped, so that a line is one line whatever a client sent.

use std::fmt::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::text::Text;
use crate::config::LogFormat;
use crate::event::{Answered, Closure, Event, Notice, Opened, Refused, Traffic, Who};
use crate::policy::Reason;
use crate::policy::refusal::Answer;

/// Writes an event as one line, without its line end.
pub fn event(format: LogFormat, wall: Timestamp, event: &Event) -> String {
    let shown = |text: &dyn fmt::Display| text.to_string();
    match event {
        Event::Opened(opened) => opened_line(wall, opened, &shown(&opened.who.id)).write(format),
        Event::Closed(closure) => closed_line(wall, closure, &shown(&closure.who.id)).write(format),
        Event::Refused(refused) => refused_line(wall, refused, &shown(&refused.who.id)).write(format),
        Event::Answered(answered) => answered_line(wall, answered, &shown(&answered.who.id)).write(format),
        Event::Notice(notice) => notice_line(wall, notice).write(format),
    }
}

/// Writes how many refusals of a reason had no line of their own.
pub fn suppressed(format: LogFormat, wall: Timestamp, reason: Reason, count: u64) -> String {
    let why = "Refusals came faster than [log] refusals lets lines be written; these were only counted.";
    let line = Line { reason: Some(reason.code()), count: Some(count), ..Line::new(wall, "refusals_suppressed", why) };
    line.write(format)
}

/// Writes how many lines found no room in the queue or could not be written.
pub fn lost(format: LogFormat, wall: Timestamp, count: u64) -> String {
    let why = "Lines found no room in the log's queue ([log] queue), or could not be written.";
    Line { count: Some(count), ..Line::new(wall, "log_lines_lost", why) }.write(format)
}

/// Every field that a line can have, in the order in which it is written; what is `None` is left out.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(serialize_with = "milliseconds")]
    ts: Timestamp,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    why: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subprotocol: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_client: Option<Sent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_backend: Option<Sent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<u64>,
}

#[derive(Clone, Copy, Serialize)]
struct Sent {
    messages: u64,
    bytes: u64,
}

impl From<Traffic> for Sent {
    fn from(traffic: Traffic) -> Self {
        Self { messages: traffic.messages, bytes: traffic.bytes }
    }
}

fn opened_line<'a>(wall: Timestamp, opened: &'a Opened, id: &'a str) -> Line<'a> {
    Line {
        path: Some(Text::client(&opened.path)),
        origin: opened.origin.as_deref().map(Text::client),
        server: Some(Text::own(&opened.server)),
        subprotocol: opened.subprotocol.as_deref().map(Text::client),
        age_ms: Some(millis(opened.admission)),
        ..Line::new(wall, "opened", "The session was admitted.")
    }
    .of(&opened.who, id)
}

fn closed_line<'a>(wall: Timestamp, closure: &'a Closure, id: &'a str) -> Line<'a> {
    Line {
        cause: Some(closure.cause.code()),
        by: Some(closure.by.as_str()),
        code: closure.code,
        from_client: Some(closure.from_client.into()),
        from_backend: Some(closure.from_backend.into()),
        age_ms: Some(millis(closure.age)),
        ..Line::new(wall, "closed", closure.cause.explanation())
    }
    .of(&closure.who, id)
}

fn refused_line<'a>(wall: Timestamp, refused: &'a Refused, id: &'a str) -> Line<'a> {
    let status = match refused.reason.answer() {
        Answer::Status(status) => Some(status),
        Answer::Drop => None,
    };
    Line {
        status,
        reason: Some(refused.reason.code()),
        detail: refused.detail.as_deref().map(Text::client),
        path: refused.path.as_deref().map(Text::client),
        origin: refused.origin.as_deref().map(Text::client),
        age_ms: Some(millis(refused.age)),
        ..Line::new(wall, "refused", refused.reason.explanation())
    }
    .of(&refused.who, id)
}

fn answered_line<'a>(wall: Timestamp, answered: &'a Answered, id: &'a str) -> Line<'a> {
    Line {
        call: Some(answered.call),
        origin: answered.origin.as_deref().map(Text::client),
        age_ms: Some(millis(answered.age)),
        ..Line::new(wall, "answered", "A call to the gateway itself was answered.")
    }
    .of(&answered.who, id)
}

fn notice_line(wall: Timestamp, notice: &Notice) -> Line<'_> {
    Line { level: Some(notice.level.as_str()), notice: Some(notice.code), ..Line::new(wall, "notice", &notice.text) }
}

impl<'a> Line<'a> {
    fn new(ts: Timestamp, event: &'static str, why: &'a str) -> Self {
        Self {
            ts,
            event,
            why: Text::sentence(why),
            level: None,
            notice: None,
            call: None,
            id: None,
            client: None,
            subject: None,
            policy: None,
            generation: None,
            status: None,
            reason: None,
            cause: None,
            by: None,
            code: None,
            detail: None,
            count: None,
            path: None,
            origin: None,
            server: None,
            subprotocol: None,
            from_client: None,
            from_backend: None,
            age_ms: None,
        }
    }

    fn of(self, who: &'a Who, id: &'a str) -> Self {
        Self {
            id: Some(id),
            client: who.client.map(|client| client.to_string()),
            subject: who.subject.as_deref().map(Text::own),
            policy: who.policy.as_ref().map(|policy| Text::own(policy.as_str())),
            generation: Some(who.generation),
            ..self
        }
    }

    fn write(&self, format: LogFormat) -> String {
        match format {
            // Serializing to a string cannot fail: every key is a string, and no value refuses.
            LogFormat::Json => serde_json::to_string(self).unwrap_or_default(),
            LogFormat::Human => self.sentence(),
        }
    }

    /// `2026-11-21T09:42:32.123Z refused 403 origin_not_allowed: The Origin is ... client=192.0.2.7 origin="..." id=...`
    fn sentence(&self) -> String {
        let mut line = format!("{} ", written(self.ts));
        line.push_str(self.level.unwrap_or(self.event));
        let words = [self.notice, self.call, self.reason, self.cause];
        if let Some(number) = self.status.or(self.code) {
            push(&mut line, format_args!(" {number}"));
        }
        for word in words.into_iter().flatten() {
            push(&mut line, format_args!(" {word}"));
        }
        push(&mut line, format_args!(": {}", self.why));
        self.facts(&mut line);
        line
    }

    fn facts(&self, line: &mut String) {
        let quoted = [
            ("detail", self.detail),
            ("subject", self.subject),
            ("policy", self.policy),
            ("path", self.path),
            ("origin", self.origin),
            ("server", self.server),
            ("subprotocol", self.subprotocol),
        ];
        if let Some(client) = &self.client {
            push(line, format_args!(" client={client}"));
        }
        for (name, text) in quoted {
            if let Some(text) = text {
                push(line, format_args!(" {name}=\"{text}\""));
            }
        }
        for (name, word) in [("by", self.by), ("id", self.id)] {
            if let Some(word) = word {
                push(line, format_args!(" {name}={word}"));
            }
        }
        for (name, sent) in [("from_client", self.from_client), ("from_backend", self.from_backend)] {
            if let Some(Sent { messages, bytes }) = sent {
                push(line, format_args!(" {name}={messages} messages/{bytes} bytes"));
            }
        }
        for (name, number) in [("count", self.count), ("age_ms", self.age_ms), ("generation", self.generation)] {
            if let Some(number) = number {
                push(line, format_args!(" {name}={number}"));
            }
        }
    }
}

fn push(line: &mut String, words: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = line.write_fmt(words);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC, with milliseconds.
fn written(ts: Timestamp) -> impl fmt::Display {
    ts.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
}

fn milliseconds<S: Serializer>(ts: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&written(*ts))
}
