//! `[ceiling]`: what no policy may exceed, whoever edits it.

use std::time::Duration;

use crate::config::diagnostic::Code;
use crate::config::raw::Key;
use crate::config::raw::gateway::RawCeiling;
use crate::config::raw::words::Word;
use crate::config::scope::{Scope, span_of};
use crate::units::ByteSize;

/// What no policy may exceed; `None`: whatever a policy says.
#[derive(Clone, Debug, Default)]
pub(super) struct Ceiling {
    pub(super) connections: Option<u32>,
    pub(super) connections_per_address: Option<u32>,
    pub(super) connections_per_subject: Option<u32>,
    pub(super) max_age: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) message_size: Option<ByteSize>,
}

impl Ceiling {
    pub(super) fn read(raw: &RawCeiling, scope: &mut Scope<'_>) -> Self {
        let limits = &raw.limits;
        let session = &raw.session;
        let mut table = scope.table("limits");
        let connections = table.optional("connections", &limits.connections);
        let connections_per_address = table.optional("connections_per_address", &limits.connections_per_address);
        let connections_per_subject = table.optional("connections_per_subject", &limits.connections_per_subject);
        let mut table = scope.table("session");
        Self {
            connections,
            connections_per_address,
            connections_per_subject,
            max_age: table.optional("max_age", &session.max_age),
            idle_timeout: table.optional("idle_timeout", &session.idle_timeout),
            message_size: table.optional("message_size", &session.message_size),
        }
    }
}

/// Takes a value under a ceiling: a written one above it is a mistake, a default above it is lowered to it.
pub(super) fn under<W: Word>(
    scope: &mut Scope<'_>,
    key: &str,
    written: &Key<W>,
    default: W::Value,
    ceiling: Option<W::Value>,
) -> W::Value
where
    W::Value: PartialOrd,
{
    let Some(ceiling) = ceiling else { return scope.or(key, written, default) };
    let lowered = if default > ceiling { ceiling.clone() } else { default };
    let value = scope.or(key, written, lowered);
    if let Some(span) = span_of(written).filter(|_| value > ceiling) {
        above(scope, key, span, &W::show(&ceiling));
    }
    value
}

/// Reports a value above its ceiling.
pub(super) fn above(scope: &mut Scope<'_>, key: &str, span: std::ops::Range<usize>, ceiling: &str) {
    let message = format!("`{}` is above gateway.toml's [ceiling]", scope.path(key));
    scope.error(Code::Ceiling, span, message, format!("at most {ceiling}; whoever keeps gateway.toml may raise it"));
}
