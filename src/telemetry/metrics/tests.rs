use std::time::Duration;

use super::super::clock::Moment;
use super::*;
use crate::event::{Notice, Opened};
use crate::peer::ConnectionId;
use crate::policy::PolicyName;

fn metrics() -> Metrics {
    let readings = Readings {
        generation: 7,
        last_reload_success: true,
        tasks: 12,
        log_lines_lost: 3,
        shared_charges: 2,
        state_changes_lost: 4,
        tables: vec![TableFill { table: "addresses", used: 5, capacity: 1024 }],
        servers: vec![ServerState {
            policy: "chat".into(),
            server: "ws://10.0.0.1".into(),
            is_open: true,
            sessions: 4,
        }],
        certificates: vec![CertificateLife {
            listener: "[::]:8443".into(),
            certificate: "certs/\"a\".pem".into(),
            not_after: 1_000_000 + 30 * 86_400 + 5,
        }],
    };
    let wall = jiff::Timestamp::from_second(1_000_000).unwrap();
    Metrics::new(Arc::new(move || readings.clone()), Arc::new(move || Moment { wall, steady: Duration::from_secs(1) }))
}

fn who(policy: Option<&str>) -> Who {
    let policy = policy.map(PolicyName::new);
    Who { id: ConnectionId::from_bytes([1; 16]), client: None, policy, generation: 1, subject: Some("s".into()) }
}

fn opened() -> Event {
    Event::Opened(Opened {
        who: who(Some("chat")),
        path: "/chat".into(),
        origin: None,
        server: "ws://10.0.0.1".into(),
        subprotocol: None,
        admission: Duration::ZERO,
    })
}

fn closed(code: Option<u16>) -> Event {
    Event::Closed(Closure {
        who: who(Some("chat")),
        cause: Cause::IdleTimeout,
        by: By::Gateway,
        code,
        age: Duration::ZERO,
        from_client: Traffic { messages: 9, bytes: 9 },
        from_backend: Traffic::default(),
    })
}

fn refused(reason: Reason, text: String) -> Event {
    let (path, origin) = (Some(text.clone()), Some(text.clone()));
    let detail = Some(text);
    Event::Refused(Refused { who: who(None), reason, detail, path, origin, answered: true, age: Duration::ZERO })
}

#[test]
fn every_count_is_on_the_page() {
    let metrics = metrics();
    for event in [opened(), opened(), closed(Some(4401)), closed(None), opened()] {
        metrics.observe(&event);
    }
    metrics.observe(&refused(Reason::OriginNotAllowed, "x".into()));
    metrics.observe(&refused(Reason::TlsFailed, "x".into()));
    metrics.observe(&Event::Notice(Notice { level: Level::Error, code: "certificate_kept", text: "x".into() }));
    metrics.traffic(Direction::FromClient, Traffic { messages: 2, bytes: 30 });
    metrics.traffic(Direction::FromClient, Traffic { messages: 0, bytes: 12 });
    let page = metrics.render();
    let lines = [
        "wsgate_sessions{policy=\"chat\"} 1",
        "wsgate_sessions_opened_total{policy=\"chat\"} 3",
        "wsgate_sessions_closed_total{cause=\"idle_timeout\",by=\"gateway\",code=\"4xxx\"} 1",
        "wsgate_sessions_closed_total{cause=\"idle_timeout\",by=\"gateway\",code=\"none\"} 1",
        "wsgate_handshakes_total{outcome=\"admitted\",reason=\"none\"} 3",
        "wsgate_handshakes_total{outcome=\"refused\",reason=\"origin_not_allowed\"} 1",
        "wsgate_handshakes_total{outcome=\"dropped\",reason=\"tls_failed\"} 1",
        "wsgate_messages_total{direction=\"from_client\"} 2",
        "wsgate_bytes_total{direction=\"from_client\"} 42",
        "wsgate_bytes_total{direction=\"from_backend\"} 0",
        "wsgate_notices_total{level=\"error\"} 1",
        "wsgate_log_lines_lost_total 3",
        "wsgate_shared_charges_total 2",
        "wsgate_state_changes_lost_total 4",
        "wsgate_config_generation 7",
        "wsgate_config_last_reload_success 1",
        "wsgate_tasks 12",
        "wsgate_table_used{table=\"addresses\"} 5",
        "wsgate_table_capacity{table=\"addresses\"} 1024",
        "wsgate_certificate_days_left{listener=\"[::]:8443\",certificate=\"certs/\\\"a\\\".pem\"} 30",
        "wsgate_server_up{policy=\"chat\",server=\"ws://10.0.0.1\"} 1",
        "wsgate_server_sessions{policy=\"chat\",server=\"ws://10.0.0.1\"} 4",
        "wsgate_build_info{version=\"0.1.0\"} 1",
        "# EOF",
    ];
    for line in lines {
        assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
    }
    assert_eq!(lines.len(), 24);
}

#[test]
fn rx18_what_clients_send_makes_no_series() {
    let metrics = metrics();
    let series = || metrics.render().lines().filter(|line| !line.starts_with('#')).count();
    let before = series();
    for number in 0..1000 {
        for reason in Reason::ALL {
            metrics.observe(&refused(*reason, format!("/path{number}")));
        }
    }
    assert_eq!(series(), before);
    let mut codes: Vec<_> = (0..=u16::MAX).map(|code| code_class(Some(code))).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), 16);
}

#[test]
fn an_expired_certificate_has_negative_days() {
    let life = |not_after| CertificateLife { listener: String::new(), certificate: String::new(), not_after };
    let cases =
        [(1_000_000, 0), (1_086_399, 0), (1_086_400, 1), (999_999, -1), (u64::MAX, (i64::MAX - 1_000_000) / 86_400)];
    for (not_after, days) in cases {
        assert_eq!(days_left(&life(not_after), 1_000_000), days, "{not_after}");
    }
}
