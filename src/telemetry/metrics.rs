//! Counters and gauges in the OpenMetrics text form.
//!
//! Label sets are bounded: every label is one of our own words, or a name from the configuration. What other rooms
//! know (table fill, certificates, the policy version) is asked for at scrape time through a [`Source`].

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::clock::Clock;
use crate::event::{By, Closure, Event, Level, Observer, Refused, Traffic, Who};
use crate::policy::Reason;
use crate::policy::refusal::Answer;
use crate::session::{Cause, Direction};

/// The media type of what [`Metrics::render`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What other rooms know at the moment of a scrape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// The policy version (snapshot generation) that judges handshakes.
    pub generation: u64,
    /// Whether the last reload of the configuration was good; true where there was none.
    pub last_reload_success: bool,
    /// Tasks of the runtime that live.
    pub tasks: u64,
    /// Log lines lost since the start.
    pub log_lines_lost: u64,
    /// Charges that found their table full and went to the bucket of a wider network, since the start.
    pub shared_charges: u64,
    /// Revocations that the state file did not take when they were made, and times that it was found moved, since the start.
    pub state_changes_lost: u64,
    /// How full the bounded tables are.
    pub tables: Vec<TableFill>,
    /// The servers of all policies.
    pub servers: Vec<ServerState>,
    /// The certificates in use.
    pub certificates: Vec<CertificateLife>,
}

/// How full a bounded table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFill {
    /// Its name: `addresses`, `subjects`, `pending`, ...
    pub table: &'static str,
    /// Places taken.
    pub used: u64,
    /// Places there are.
    pub capacity: u64,
}

/// How a server stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// The policy that names it.
    pub policy: String,
    /// Its name, as configured.
    pub server: String,
    /// Whether handshakes go there: it is neither down nor ejected.
    pub is_open: bool,
    /// Its live sessions.
    pub sessions: u64,
}

/// How long a certificate lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateLife {
    /// The listener's address, as configured.
    pub listener: String,
    /// The file's path, as configured.
    pub certificate: String,
    /// The end of its validity, seconds since 1970.
    pub not_after: u64,
}

/// Gives the readings of a scrape.
pub type Source = Arc<dyn Fn() -> Readings + Send + Sync>;

/// Counts events, and renders the counts.
pub struct Metrics {
    registry: Registry,
    sessions: Family<PolicyLabel, Gauge>,
    opened: Family<PolicyLabel, Counter>,
    handshakes: Family<HandshakeLabels, Counter>,
    closed: Family<ClosureLabels, Counter>,
    calls: Family<CallLabel, Counter>,
    notices: Family<NoticeLabel, Counter>,
    from_client: Sent,
    from_backend: Sent,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabel {
    policy: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClosureLabels {
    cause: &'static str,
    by: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    call: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoticeLabel {
    level: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

/// The counters of one direction, held apart from their family so that counting is two atomic additions.
struct Sent {
    messages: Counter,
    bytes: Counter,
}

impl Metrics {
    /// Counters at zero, every handshake outcome listed. `source` and `clock` are read at each scrape.
    pub fn new(source: Source, clock: Clock) -> Self {
        let mut registry = Registry::with_prefix("wsgate");
        let messages = Family::<DirectionLabel, Counter>::default();
        let bytes = Family::<DirectionLabel, Counter>::default();
        let sent = |direction: Direction| {
            let label = DirectionLabel { direction: direction.as_str() };
            Sent { messages: messages.get_or_create_owned(&label), bytes: bytes.get_or_create_owned(&label) }
        };
        let (from_client, from_backend) = (sent(Direction::FromClient), sent(Direction::FromBackend));
        let (sessions, opened, closed) = (Family::default(), Family::default(), Family::default());
        let (handshakes, notices) = (every_outcome(), every_level());
        let calls = Family::default();
        registry.register("sessions", "Live sessions by policy", sessions.clone());
        registry.register("sessions_opened", "Sessions admitted by policy", opened.clone());
        registry.register("sessions_closed", "Sessions ended by cause, by whom and close code", closed.clone());
        registry.register("handshakes", "Connections by outcome and reason code", handshakes.clone());
        registry.register("calls", "Calls to the gateway itself that were answered, by what was asked", calls.clone());
        registry.register("messages", "Whole messages passed on by direction", messages);
        registry.register("bytes", "WebSocket bytes passed on by direction", bytes);
        registry.register("notices", "Notices of the gateway about itself by level", notices.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", build);
        registry.register_collector(Box::new(Asked { source, clock }));
        Self { registry, sessions, opened, handshakes, closed, calls, notices, from_client, from_backend }
    }

    /// All metrics in the OpenMetrics text form ([`CONTENT_TYPE`]).
    pub fn render(&self) -> String {
        let mut page = String::new();
        // Writing to a String cannot fail; if a metric ever refused, the page would lack its end mark and be rejected.
        let _ = text::encode(&mut page, &self.registry);
        page
    }

    fn count_refused(&self, refused: &Refused) {
        self.handshakes.get_or_create(&refusal_labels(refused.reason)).inc();
    }

    fn count_closed(&self, closure: &Closure) {
        self.sessions.get_or_create(&policy_label(&closure.who)).dec();
        self.closed.get_or_create(&closure_labels(closure.cause, closure.by, closure.code)).inc();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Observer for Metrics {
    fn observe(&self, event: &Event) {
        match event {
            Event::Opened(opened) => {
                let label = policy_label(&opened.who);
                self.sessions.get_or_create(&label).inc();
                self.opened.get_or_create(&label).inc();
                self.handshakes.get_or_create(&ADMITTED).inc();
            }
            Event::Closed(closure) => self.count_closed(closure),
            Event::Refused(refused) => self.count_refused(refused),
            Event::Answered(answered) => {
                self.calls.get_or_create(&CallLabel { call: answered.call }).inc();
            }
            Event::Notice(notice) => {
                self.notices.get_or_create(&NoticeLabel { level: notice.level.as_str() }).inc();
            }
        }
    }

    fn traffic(&self, direction: Direction, delta: Traffic) {
        let sent = match direction {
            Direction::FromClient => &self.from_client,
            Direction::FromBackend => &self.from_backend,
        };
        sent.messages.inc_by(delta.messages);
        sent.bytes.inc_by(delta.bytes);
    }
}

const ADMITTED: HandshakeLabels = HandshakeLabels { outcome: "admitted", reason: "none" };

fn policy_label(who: &Who) -> PolicyLabel {
    PolicyLabel { policy: who.policy.as_ref().map_or("none", |policy| policy.as_str()).into() }
}

fn refusal_labels(reason: Reason) -> HandshakeLabels {
    let outcome = match reason.answer() {
        Answer::Status(_) => "refused",
        Answer::Drop => "dropped",
    };
    HandshakeLabels { outcome, reason: reason.code() }
}

fn closure_labels(cause: Cause, by: By, code: Option<u16>) -> ClosureLabels {
    ClosureLabels { cause: cause.code(), by: by.as_str(), code: code_class(code) }
}

/// A close code as a label: the registered ones by name, the ranges of RFC 6455 section 7.4.2 as one each.
fn code_class(code: Option<u16>) -> &'static str {
    match code {
        None => "none",
        Some(1000) => "1000",
        Some(1001) => "1001",
        Some(1002) => "1002",
        Some(1003) => "1003",
        Some(1005) => "1005",
        Some(1007) => "1007",
        Some(1008) => "1008",
        Some(1009) => "1009",
        Some(1010) => "1010",
        Some(1011) => "1011",
        Some(1012) => "1012",
        Some(1013) => "1013",
        Some(1014) => "1014",
        Some(3000..=3999) => "3xxx",
        Some(4000..=4999) => "4xxx",
        Some(_) => "other",
    }
}

fn every_outcome() -> Family<HandshakeLabels, Counter> {
    let handshakes = Family::default();
    drop(handshakes.get_or_create(&ADMITTED));
    for reason in Reason::ALL {
        drop(handshakes.get_or_create(&refusal_labels(*reason)));
    }
    handshakes
}

fn every_level() -> Family<NoticeLabel, Counter> {
    let notices = Family::default();
    for level in [Level::Info, Level::Warning, Level::Error] {
        drop(notices.get_or_create(&NoticeLabel { level: level.as_str() }));
    }
    notices
}

/// What is asked for at each scrape.
struct Asked {
    source: Source,
    clock: Clock,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

impl Collector for Asked {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let readings = (self.source)();
        let lost = "Log lines that found no room or could not be written";
        counter(&mut encoder, "log_lines_lost", lost, readings.log_lines_lost)?;
        let shared = "Charges that found their table full and went to the bucket of a wider network";
        counter(&mut encoder, "shared_charges", shared, readings.shared_charges)?;
        let unwritten =
            "Revocations that the state file did not take when they were made, and times that it was found moved";
        counter(&mut encoder, "state_changes_lost", unwritten, readings.state_changes_lost)?;
        let generation = ConstGauge::new(readings.generation);
        generation.encode(encoder.encode_descriptor(
            "config_generation",
            "The policy version that judges handshakes",
            None,
            generation.metric_type(),
        )?)?;
        let good = ConstGauge::new(u64::from(readings.last_reload_success));
        good.encode(encoder.encode_descriptor(
            "config_last_reload_success",
            "Whether the last reload of the configuration was good",
            None,
            good.metric_type(),
        )?)?;
        let tasks = ConstGauge::new(readings.tasks);
        tasks.encode(encoder.encode_descriptor(
            "tasks",
            "Tasks of the runtime that live: one for each session and pending connection, and a few",
            None,
            tasks.metric_type(),
        )?)?;
        let used = readings.tables.iter().map(|fill| ([("table", fill.table)], fill.used));
        gauges(&mut encoder, "table_used", "Places taken in a bounded table", used)?;
        let capacity = readings.tables.iter().map(|fill| ([("table", fill.table)], fill.capacity));
        gauges(&mut encoder, "table_capacity", "Places in a bounded table", capacity)?;
        let up = readings.servers.iter().map(|server| (server_labels(server), u64::from(server.is_open)));
        gauges(&mut encoder, "server_up", "Whether handshakes go to a server", up)?;
        let sessions = readings.servers.iter().map(|server| (server_labels(server), server.sessions));
        gauges(&mut encoder, "server_sessions", "Live sessions of a server", sessions)?;
        let now = (self.clock)().wall.as_second();
        let days = readings.certificates.iter().map(|life| (certificate_labels(life), days_left(life, now)));
        gauges(&mut encoder, "certificate_days_left", "Whole days until a certificate expires", days)
    }
}

fn server_labels(state: &ServerState) -> [(&'static str, &str); 2] {
    [("policy", &state.policy), ("server", &state.server)]
}

fn certificate_labels(life: &CertificateLife) -> [(&'static str, &str); 2] {
    [("listener", &life.listener), ("certificate", &life.certificate)]
}

fn days_left(life: &CertificateLife, now: i64) -> i64 {
    i64::try_from(life.not_after).unwrap_or(i64::MAX).saturating_sub(now).div_euclid(86_400)
}

/// Writes one family of gauges; nothing at all where it is empty.
fn gauges<L, N>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (L, N)>,
) -> fmt::Result
where
    L: EncodeLabelSet,
    ConstGauge<N>: EncodeMetric,
{
    let mut values = values.peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, count: u64) -> fmt::Result {
    let counter = ConstCounter::new(count);
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}

#[cfg(test)]
mod tests;
