//! gateway.toml to values.

use std::num::NonZeroU32;
use std::time::Duration;

use super::ceiling::Ceiling;
use super::{issuer, listener};
use crate::config::diagnostic::Code;
use crate::config::raw::gateway::{RawAddress, RawAdmission, RawCapacity, RawGateway, RawLog, RawNetwork};
use crate::config::raw::words::At;
use crate::config::scope::{Scope, Surroundings, span_of};
use crate::config::{
    AddressRules, AdmissionRules, Capacity, GatewayConfig, IssuerConfig, KnownNetwork, ListenerConfig, LogConfig,
    LogFormat,
};
use crate::policy::quota::NetworkRules;
use crate::units::{ByteSize, Rate};
use crate::ws::head::HeadLimits;

/// The most networks of one list.
pub(super) const MOST_NETWORKS: usize = 10_000;
/// Connections that are not yet admitted, where nobody says how many.
const PENDING: u32 = 2048;
/// The most listeners.
const MOST_LISTENERS: usize = 64;
/// The most known networks.
const MOST_KNOWN_NETWORKS: usize = 1_000;

/// gateway.toml as far as it could be built, and what bounds the policies.
pub(super) struct Built {
    pub(super) gateway: GatewayConfig,
    pub(super) ceiling: Ceiling,
}

/// Builds gateway.toml; mistakes go to the scope.
pub(super) fn build(raw: &RawGateway, scope: &mut Scope<'_>, around: &Surroundings<'_>) -> Built {
    let (drain, drain_lead) = drain(raw, scope);
    let threads = scope.optional_or("threads", &raw.threads, None, "\"one per core\"");
    if let Some(at) = raw.threads.as_ref().filter(|at| at.get().0 > 1024) {
        scope.error(
            Code::WrongValue,
            at.span(),
            "more than 1024 threads",
            "leave `threads` out: one per core serves best",
        );
    }
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 9090));
    let health = scope.table("health").or("address", &raw.health.address, Some(loopback));
    if let (Some(address), Some(span)) = (health, span_of(&raw.health.address))
        && !address.ip().is_loopback()
    {
        scope.warning(
            Code::Danger,
            span,
            "the health listener can be reached from other machines, without TLS",
            "it only reads, but metrics tell much: bind it to 127.0.0.1 or see that a firewall stands before it",
        );
    }
    warn_of_pending(raw, scope);
    let admin = scope.table("admin").optional("socket", &raw.admin.socket);
    let state = scope.optional("state", &raw.state);
    let revocations = scope.optional("revocations", &raw.revocations);
    let reloads_on_change = scope.or("reload", &raw.reload, false);
    let gateway = GatewayConfig {
        state: state.map(|folder| scope.resolve(&folder)),
        revocations: revocations.map(|file| scope.resolve(&file)),
        reloads_on_change,
        admin: admin.map(|socket| scope.resolve(&socket)),
        listeners: listeners(raw, scope, around),
        drain,
        drain_lead,
        health,
        capacity: capacity(&raw.capacity, &mut scope.table("capacity")),
        address: address(&raw.address, &mut scope.table("address")),
        admission: admission(&raw.admission, &mut scope.table("admission")),
        log: log(&raw.log, &mut scope.table("log")),
        threads: threads.and_then(|threads| usize::try_from(threads).ok()),
        issuers: issuers(raw, scope),
        dangers: Default::default(),
    };
    Built { gateway, ceiling: Ceiling::read(&raw.ceiling, &mut scope.table("ceiling")) }
}

/// The drain time and the lead in it.
fn drain(raw: &RawGateway, scope: &mut Scope<'_>) -> (Duration, Duration) {
    let drain = scope.or("drain", &raw.drain, Duration::from_secs(25));
    let lead = scope.or("drain_lead", &raw.drain_lead, (drain / 5).min(Duration::from_secs(5)));
    if let Some(span) = span_of(&raw.drain_lead).filter(|_| lead >= drain) {
        let message = "`drain_lead` leaves nothing of `drain`, which holds it";
        scope.error(Code::Contradiction, span, message, "raise `drain` or lower this: sessions close in what is left");
    }
    (drain, lead)
}

fn listeners(raw: &RawGateway, scope: &mut Scope<'_>, around: &Surroundings<'_>) -> Vec<ListenerConfig> {
    if raw.listener.is_empty() {
        scope.missing("listener", None, "write [[listener]] with an address and certificates");
    }
    let mut built: Vec<ListenerConfig> = Vec::new();
    for (index, at) in raw.listener.iter().enumerate() {
        if index == MOST_LISTENERS {
            scope.error(
                Code::TooLarge,
                at.span(),
                "too many listeners",
                format!("at most {MOST_LISTENERS} are opened"),
            );
            break;
        }
        let Some(one) = listener::build(at, &mut scope.table(format!("listener[{index}]")), around) else { continue };
        if built.iter().any(|other| other.address == one.address) {
            let message = format!("two listeners have the address {}", one.address);
            scope.error(Code::Duplicate, at.span(), message, "give one listener both certificates");
        }
        built.push(one);
    }
    built
}

fn issuers(raw: &RawGateway, scope: &mut Scope<'_>) -> Vec<IssuerConfig> {
    raw.issuer
        .iter()
        .filter_map(|(name, at)| issuer::build(name, at, &mut scope.table(format!("issuer.{name}"))))
        .collect()
}

fn capacity(raw: &RawCapacity, scope: &mut Scope<'_>) -> Capacity {
    Capacity {
        sessions: scope.or("sessions", &raw.sessions, None),
        pending: scope.or("pending", &raw.pending, PENDING),
        tls_handshakes: scope.or("tls_handshakes", &raw.tls_handshakes, None),
        handshakes: scope.or("handshakes", &raw.handshakes, None),
        admissions: scope.or("admissions", &raw.admissions, per_second(500, 2000)),
    }
}

/// One network may have an eighth of all pending connections, whatever is written for an address.
fn warn_of_pending(raw: &RawGateway, scope: &mut Scope<'_>) {
    let all = raw.capacity.pending.as_ref().map_or(PENDING, |at| at.get().0);
    let Some(at) = raw.address.pending.as_ref().filter(|at| at.get().0 > (all / 8).max(1)) else { return };
    let message = format!("one address has at most {} pending connections, an eighth of `[capacity] pending`", all / 8);
    scope.warning(
        Code::Contradiction,
        at.span(),
        message,
        "raise `[capacity] pending` to eight times this, or lower this",
    );
}

fn address(raw: &RawAddress, scope: &mut Scope<'_>) -> AddressRules {
    AddressRules {
        pending: scope.or("pending", &raw.pending, 128),
        sessions: scope.or("sessions", &raw.sessions, 1024),
        connects: scope.or("connects", &raw.connects, per_second(20, 400)),
        failures: scope.or("failures", &raw.failures, per_second(1, 60)),
        rules: NetworkRules {
            allow: scope.values("allow", &raw.allow, MOST_NETWORKS),
            deny: scope.values("deny", &raw.deny, MOST_NETWORKS),
        },
        networks: networks(&raw.networks, scope),
    }
}

fn networks(raw: &[At<RawNetwork>], scope: &mut Scope<'_>) -> Vec<KnownNetwork> {
    let mut built = Vec::new();
    for (index, at) in raw.iter().enumerate() {
        if index == MOST_KNOWN_NETWORKS {
            scope.error(
                Code::TooLarge,
                at.span(),
                "too many known networks",
                format!("at most {MOST_KNOWN_NETWORKS} are kept"),
            );
            break;
        }
        let mut scope = scope.table(format!("networks[{index}]"));
        let raw = at.get();
        let here = || Some(at.span());
        let name = scope.required("name", &raw.name, here(), "say whose network it is: name = \"Berlin office NAT\"");
        let times = scope.required("times", &raw.times, here(), "say how many times the bounds it gets: times = 10");
        let nets = scope.values("nets", &raw.nets, MOST_NETWORKS);
        if nets.is_empty() {
            scope.missing("nets", here(), "write nets = [\"203.0.113.7/32\"]");
        }
        if times.is_some_and(|times| times > 10_000) {
            scope.error(Code::WrongValue, at.span(), "`times` is above 10000", "a bound that is never met is none");
        }
        if let (Some(name), Some(times)) = (name, times) {
            built.push(KnownNetwork { name, nets, times });
        }
    }
    built
}

fn admission(raw: &RawAdmission, scope: &mut Scope<'_>) -> AdmissionRules {
    let seconds = Duration::from_secs;
    let limits = HeadLimits {
        bytes: scope.or("head_size", &raw.head_size, ByteSize::kib(16)).as_usize(),
        fields: usize::try_from(scope.or("headers", &raw.headers, 64)).unwrap_or(usize::MAX),
        target: scope.or("target_size", &raw.target_size, ByteSize::kib(8)).as_usize(),
    };
    bound_head(raw, limits, scope);
    let total = scope.or("total", &raw.total, seconds(30));
    let rules = AdmissionRules {
        tls: scope.or("tls", &raw.tls, seconds(10)),
        head: scope.or("head", &raw.head, seconds(10)),
        proxy_header: scope.or("proxy_header", &raw.proxy_header, seconds(3)),
        queue: scope.or("queue", &raw.queue, seconds(5).min(total)),
        total,
        limits,
    };
    let parts = [
        ("tls", rules.tls, &raw.tls),
        ("head", rules.head, &raw.head),
        ("queue", rules.queue, &raw.queue),
        ("proxy_header", rules.proxy_header, &raw.proxy_header),
    ];
    for (name, part, written) in parts {
        if let Some(span) = span_of(written).or(span_of(&raw.total)).filter(|_| part > rules.total) {
            let message = format!("`{name}` is longer than `total`, which holds it");
            scope.error(Code::Contradiction, span, message, "raise `total` or lower this");
        }
    }
    rules
}

/// What one connection may make us hold before it is judged.
fn bound_head(raw: &RawAdmission, limits: HeadLimits, scope: &mut Scope<'_>) {
    const LARGEST_HEAD: usize = 64 << 10;
    const MOST_FIELDS: usize = 256;
    if let Some(span) = span_of(&raw.head_size).filter(|_| limits.bytes > LARGEST_HEAD) {
        scope.error(
            Code::WrongValue,
            span,
            "`head_size` is above 64KiB",
            "every pending connection may cost this much memory",
        );
    }
    if let Some(span) = span_of(&raw.headers).filter(|_| limits.fields > MOST_FIELDS) {
        scope.error(Code::WrongValue, span, "`headers` is above 256", "browsers send about 20");
    }
    if let Some(span) = span_of(&raw.target_size).or(span_of(&raw.head_size)).filter(|_| limits.target >= limits.bytes)
    {
        scope.error(
            Code::Contradiction,
            span,
            "`target_size` does not fit into `head_size`",
            "raise `head_size` or lower this",
        );
    }
}

fn log(raw: &RawLog, scope: &mut Scope<'_>) -> LogConfig {
    LogConfig {
        format: scope.or("format", &raw.format, LogFormat::Json),
        queue: usize::try_from(scope.or("queue", &raw.queue, 8192)).unwrap_or(usize::MAX).min(1 << 20),
        refusals: scope.or("refusals", &raw.refusals, per_second(50, 200)),
    }
}

/// A rate of a default.
pub(super) fn per_second(count: u32, burst: u32) -> Rate {
    let number = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Rate { count: number(count), period: Duration::from_secs(1), burst: number(burst) }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::{GATEWAY, Ground};

    #[test]
    fn an_address_that_would_have_more_than_an_eighth_of_what_is_pending_is_told_of() {
        let ground = Ground::new();
        let mut ran = 0;
        for (pending, is_told) in [(256, false), (257, true)] {
            let text = GATEWAY.replacen("pending  = 128", &format!("pending  = {pending}"), 1);
            ground.write("gateway.toml", &text);
            assert!(text.contains(&format!("= {pending}\n")), "it was written");
            let (_, warnings) = ground.load().unwrap_or_else(|told| panic!("{told}"));
            let told = warnings.iter().any(|one| one.message.contains("at most 256 pending connections"));
            assert_eq!(told, is_told, "{pending}: {warnings:?}");
            ran += 1;
        }
        assert_eq!(ran, 2);
    }
}
