//! Origins that a lenient gateway takes for a listed one.

use wsgate::ws::opening::OpeningHandshake;

use super::{Fault, Gate};

/// Takes the handshake's Origin for a listed one where the fault does.
pub(super) fn mend(gate: &Gate, opening: &mut OpeningHandshake) {
    let Some(fault) = gate.fault else { return };
    let mut listed = gate.policy.origin.allow.exact.iter();
    let taken = listed.find(|listed| match (&opening.origin, fault) {
        (None, Fault::OriginMissing | Fault::OriginUnchecked) => true,
        (None, Fault::OriginFromReferer) => opening
            .headers
            .all("referer")
            .any(|referer| referer == *listed || referer.starts_with(&format!("{listed}/"))),
        (None, _) => false,
        (Some(origin), _) => is_taken_for(fault, origin, listed),
    });
    if let Some(listed) = taken {
        opening.origin = Some(listed.clone());
    }
}

fn is_taken_for(fault: Fault, origin: &str, listed: &str) -> bool {
    let (scheme, host) = listed.split_once("://").unwrap_or_default();
    let (its_scheme, its_host) = origin.split_once("://").unwrap_or_default();
    match fault {
        Fault::OriginUnchecked => true,
        Fault::OriginSuffix => origin.ends_with(host),
        Fault::OriginPrefix => origin.starts_with(listed),
        Fault::OriginSubstring => origin.contains(host),
        Fault::OriginRegexDot => {
            origin.len() == listed.len()
                && origin.bytes().zip(listed.bytes()).all(|(byte, pattern)| pattern == b'.' || byte == pattern)
        }
        Fault::OriginCaseFolded => origin.eq_ignore_ascii_case(listed),
        Fault::OriginSchemeIgnored => its_host == host,
        Fault::OriginPortIgnored => its_scheme == scheme && without_port(its_host) == without_port(host),
        Fault::OriginSubdomains => {
            let label = its_host.strip_suffix(host).and_then(|labels| labels.strip_suffix('.'));
            its_scheme == scheme && label.is_some_and(is_name)
        }
        Fault::OriginNull => origin == "null",
        Fault::OriginFirstOfList => origin.split([',', ' ', '\t']).next() == Some(listed),
        Fault::OriginTrailingDot => origin.strip_suffix('.') == Some(listed),
        Fault::OriginUserinfo => {
            its_scheme == scheme && its_host.split('/').next().unwrap_or_default().rsplit('@').next() == Some(host)
        }
        Fault::OriginPath => its_scheme == scheme && its_host.split(['/', '?', '#', '\\']).next() == Some(host),
        Fault::OriginLoopback => is_loopback(without_port(its_host)),
        Fault::OriginOfApps => !its_scheme.is_empty() && !["http", "https"].contains(&its_scheme),
        _ => false,
    }
}

fn without_port(host: &str) -> &str {
    host.rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(host, |(name, _)| name)
}

/// Letters, digits, hyphens and dots.
fn is_name(labels: &str) -> bool {
    !labels.is_empty() && labels.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}
