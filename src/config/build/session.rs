//! `[session]` and `[limits]`: what one session is held to, and how many there may be.

use std::time::Duration;

use super::ceiling::{Ceiling, above, under};
use super::gateway::{MOST_NETWORKS, per_second};
use crate::config::diagnostic::Code;
use crate::config::raw::policy::{RawClose, RawDirection, RawLimits, RawSession};
use crate::config::scope::{Scope, span_of};
use crate::policy::quota::{NetworkRules, Quotas};
use crate::session::rules::{CloseCodes, DirectionRules, Overrun, SessionRules};
use crate::units::ByteSize;

/// Builds `[limits]`.
pub(super) fn quotas(raw: &RawLimits, scope: &mut Scope<'_>, ceiling: &Ceiling) -> Quotas {
    let connections = scope.optional_or("connections", &raw.connections, ceiling.connections, "\"no cap of its own\"");
    if let (Some(span), Some(top)) = (span_of(&raw.connections), ceiling.connections)
        && connections.is_some_and(|connections| connections > top)
    {
        above(scope, "connections", span, &top.to_string());
    }
    let address = &raw.connections_per_address;
    let subject = &raw.connections_per_subject;
    Quotas {
        connections,
        connections_per_address: under(scope, "connections_per_address", address, 256, ceiling.connections_per_address),
        connections_per_subject: under(scope, "connections_per_subject", subject, 20, ceiling.connections_per_subject),
        handshakes_per_subject: scope.or("handshakes_per_subject", &raw.handshakes_per_subject, per_second(1, 40)),
        networks: NetworkRules {
            allow: scope.values("allow", &raw.allow, MOST_NETWORKS),
            deny: scope.values("deny", &raw.deny, MOST_NETWORKS),
        },
    }
}

/// Builds `[session]`.
pub(super) fn rules(raw: &RawSession, scope: &mut Scope<'_>, ceiling: &Ceiling) -> SessionRules {
    let default = SessionRules::default();
    let from_client =
        direction(&raw.from_client, &mut scope.table("from_client"), &default.from_client, ceiling.message_size);
    let from_backend = direction(&raw.from_backend, &mut scope.table("from_backend"), &default.from_backend, None);
    let rules = SessionRules {
        from_client,
        from_backend,
        idle_timeout: under(scope, "idle_timeout", &raw.idle_timeout, default.idle_timeout, ceiling.idle_timeout),
        max_age: under(scope, "max_age", &raw.max_age, default.max_age, ceiling.max_age),
        outlives_credential: scope.danger("danger_outlive_token", &raw.danger_outlive_token),
        ping_interval: scope.or("ping_interval", &raw.ping_interval, default.ping_interval),
        pong_timeout: scope.or("pong_timeout", &raw.pong_timeout, default.pong_timeout),
        first_message: scope.optional_or("first_message", &raw.first_message, None, "\"no deadline\""),
        partial_header: scope.or("partial_header", &raw.partial_header, default.partial_header),
        slow_frame: scope.or("slow_frame", &raw.slow_frame, default.slow_frame),
        write_stall: scope.or("write_stall", &raw.write_stall, default.write_stall),
        close_timeout: scope.or("close_timeout", &raw.close_timeout, default.close_timeout),
        half_close: scope.or("half_close", &raw.half_close, default.half_close),
        close: close_codes(&raw.close, &mut scope.table("close"), default.close),
    };
    judge(raw, &rules, scope);
    rules
}

/// Deadlines that another one always comes before.
fn judge(raw: &RawSession, rules: &SessionRules, scope: &mut Scope<'_>) {
    if let Some(span) = span_of(&raw.idle_timeout).filter(|_| rules.idle_timeout > rules.max_age) {
        let help = "lower `idle_timeout`, or raise `max_age`";
        scope.error(
            Code::Contradiction,
            span,
            "`idle_timeout` is longer than `max_age`, which ends every session",
            help,
        );
    }
    let first = rules.first_message.unwrap_or(Duration::ZERO);
    if let Some(span) = span_of(&raw.first_message).filter(|_| first > rules.idle_timeout) {
        let help = "lower `first_message`: it is the time until a client has said who it is";
        scope.error(
            Code::Contradiction,
            span,
            "`first_message` is longer than `idle_timeout`, which ends silent sessions",
            help,
        );
    }
    if let Some(span) = span_of(&raw.ping_interval).filter(|_| rules.ping_interval < Duration::from_secs(1)) {
        scope.error(Code::WrongValue, span, "`ping_interval` is below one second", "\"30s\" serves well");
    }
}

fn direction(
    raw: &RawDirection,
    scope: &mut Scope<'_>,
    default: &DirectionRules,
    ceiling: Option<ByteSize>,
) -> DirectionRules {
    const ABSENT: &str = "\"unbounded\"";
    let message_size = under(scope, "message_size", &raw.message_size, default.message_size, ceiling);
    let fragments = scope.or("fragments", &raw.fragments, DirectionRules::default_fragments(message_size));
    let rules = DirectionRules {
        message_size,
        fragments,
        messages: scope.optional_or("messages", &raw.messages, default.messages, ABSENT),
        bytes: scope.optional_or("bytes", &raw.bytes, default.bytes, ABSENT),
        control: scope.optional_or("control", &raw.control, default.control, ABSENT),
        over: scope.or("over", &raw.over, default.over),
    };
    let burst =
        rules.bytes.map(|bytes| bytes.burst).filter(|burst| rules.over == Overrun::Close && *burst < message_size);
    if let (Some(burst), Some(span)) = (burst, span_of(&raw.over)) {
        let message =
            format!("a message of `message_size` ({message_size}) is above the burst of `bytes` ({burst}) and closes");
        scope.error(
            Code::Contradiction,
            span,
            message,
            "raise the burst, lower `message_size`, or write over = \"slow\"",
        );
    }
    browser_fragments(raw, &rules, scope);
    rules
}

/// Browsers cut large messages into frames of about 128 KiB.
fn browser_fragments(raw: &RawDirection, rules: &DirectionRules, scope: &mut Scope<'_>) {
    let needed = rules.message_size.as_u64().div_ceil(128 << 10);
    if let Some(span) = span_of(&raw.fragments).filter(|_| u64::from(rules.fragments) < needed) {
        let message = format!("browsers send a message of {} in {needed} frames", rules.message_size);
        scope.error(Code::Contradiction, span, message, "raise `fragments`, or lower `message_size`");
    }
}

fn close_codes(raw: &RawClose, scope: &mut Scope<'_>, default: CloseCodes) -> CloseCodes {
    CloseCodes {
        expired: scope.or("expired", &raw.expired, default.expired),
        revoked: scope.or("revoked", &raw.revoked, default.revoked),
        backend_lost: scope.or("backend_lost", &raw.backend_lost, default.backend_lost),
        drain: scope.or("drain", &raw.drain, default.drain),
        idle: scope.or("idle", &raw.idle, default.idle),
        policy: scope.or("policy", &raw.policy, default.policy),
        unauthorized: scope.or("unauthorized", &raw.unauthorized, default.unauthorized),
        forbidden: scope.or("forbidden", &raw.forbidden, default.forbidden),
        too_many: scope.or("too_many", &raw.too_many, default.too_many),
    }
}
