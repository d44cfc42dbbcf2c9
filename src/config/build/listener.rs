//! One `[[listener]]`: an address, whose word is taken for the client's, and TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::gateway::MOST_NETWORKS;
use crate::config::diagnostic::{Code, Diagnostic, Place};
use crate::config::raw::choices::Encoding;
use crate::config::raw::gateway::{RawCertificate, RawListener, RawSecret};
use crate::config::raw::words::At;
use crate::config::scope::{Scope, Surroundings, span_of};
use crate::config::{Certificate, CertificateSource, ListenerConfig, ProxyMode, SecretSource, TlsConfig, UnknownName};

/// A certificate that ends within this time is warned of.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// The widest networks of trusted proxies, as prefixes: private networks are no wider.
const WIDEST_TRUSTED_V4: u8 = 8;
/// As [`WIDEST_TRUSTED_V4`], of IPv6 networks.
const WIDEST_TRUSTED_V6: u8 = 16;
/// The most certificates of one listener.
const MOST_CERTIFICATES: usize = 1_000;

/// Builds one listener; `None` where it has no address.
pub(super) fn build(at: &At<RawListener>, scope: &mut Scope<'_>, around: &Surroundings<'_>) -> Option<ListenerConfig> {
    let raw = at.get();
    let help = "write address = \"[::]:8443\"";
    let address = scope.required("address", &raw.address, Some(at.span()), help);
    let proxy = scope.or("proxy", &raw.proxy, ProxyMode::None);
    let trusted = trusted(raw, scope);
    match (proxy, trusted.is_empty()) {
        (ProxyMode::None, false) => {
            let span = raw.trusted.as_ref().map_or(at.span(), At::span);
            scope.error(
                Code::OutOfPlace,
                span,
                "`trusted` has no meaning with proxy = \"none\"",
                "say which proxy it is, or take it out",
            );
        }
        (ProxyMode::ProxyProtocol | ProxyMode::XForwardedFor, true) => {
            let span = span_of(&raw.proxy).unwrap_or_else(|| at.span());
            let help =
                "write trusted = [\"10.0.0.0/8\"], the proxy's addresses: anybody else could call himself anyone";
            scope.error(Code::MissingKey, span, "a proxy's word is taken, but no proxy is trusted", help);
        }
        _ => {}
    }
    let tls = tls(at, scope, around);
    let address = address?;
    plaintext(at, address.ip().is_loopback(), scope);
    Some(ListenerConfig { address, proxy, trusted, tls })
}

/// Whoever is trusted may name any address as the client's: that cannot be a part of the world.
fn trusted(raw: &RawListener, scope: &mut Scope<'_>) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for (net, span) in scope.list("trusted", &raw.trusted, MOST_NETWORKS) {
        let widest = if net.addr().is_ipv4() { WIDEST_TRUSTED_V4 } else { WIDEST_TRUSTED_V6 };
        if net.prefix_len() < widest {
            let message = format!("`{net}` is no proxy's network: anybody there could name his own address");
            let help = format!("write the proxy's addresses, a network of /{widest} or narrower");
            scope.error(Code::WrongValue, span, message, help);
        }
        nets.push(net);
    }
    nets
}

fn plaintext(at: &At<RawListener>, loopback: bool, scope: &mut Scope<'_>) {
    let raw = at.get();
    let said = scope.danger("danger_plaintext", &raw.danger_plaintext);
    match (raw.certificates.is_empty(), said) {
        (true, false) if !loopback => scope.error(
            Code::Danger,
            at.span(),
            "this listener speaks without TLS to other machines",
            "give it certificates, bind it to loopback, or say why: danger_plaintext = \"TLS ends at our balancer\"",
        ),
        (false, true) => {
            let span = span_of(&raw.danger_plaintext).unwrap_or_else(|| at.span());
            let message = "this listener has certificates: nothing on it is plain";
            scope.error(Code::OutOfPlace, span, message, "take danger_plaintext out");
        }
        _ => {}
    }
}

fn tls(at: &At<RawListener>, scope: &mut Scope<'_>, around: &Surroundings<'_>) -> Option<TlsConfig> {
    let raw = at.get();
    if raw.certificates.is_empty() {
        for span in [span_of(&raw.tls_min), span_of(&raw.unknown_name)].into_iter().flatten() {
            scope.error(
                Code::OutOfPlace,
                span,
                "this has no meaning without certificates",
                "add certificates, or take it out",
            );
        }
        return None;
    }
    if raw.certificates.len() > MOST_CERTIFICATES {
        scope.error(
            Code::TooLarge,
            at.span(),
            "too many certificates",
            format!("at most {MOST_CERTIFICATES} on one listener"),
        );
    }
    let tls13_only = scope.or("tls_min", &raw.tls_min, false);
    let unknown_name = scope.or("unknown_name", &raw.unknown_name, UnknownName::Refuse);
    let named = raw.certificates.iter().take(MOST_CERTIFICATES).enumerate();
    let mut certificates = Vec::new();
    for (index, at) in named {
        let built = certificate(at, &mut scope.table(format!("certificates[{index}]")), around);
        if let Some(one) = built {
            never_shown(&one, &certificates, at, scope);
            certificates.push(one);
        }
    }
    Some(TlsConfig { certificates, tls13_only, unknown_name })
}

/// Of two certificates with the same name a client is shown the earlier.
fn never_shown(
    later: &CertificateSource,
    earlier: &[CertificateSource],
    at: &At<RawCertificate>,
    scope: &mut Scope<'_>,
) {
    for name in &later.loaded.names {
        if let Some(shown) = earlier.iter().find(|one| one.loaded.names.contains(name)) {
            let message = format!("{}: this certificate is never shown for `{name}`", later.chain.display());
            let help =
                format!("{} stands before it and has that name too: take one of them out", shown.chain.display());
            scope.warning(Code::Certificate, at.span(), message, help);
        }
    }
}

fn certificate(at: &At<RawCertificate>, scope: &mut Scope<'_>, around: &Surroundings<'_>) -> Option<CertificateSource> {
    let raw = at.get();
    let help = "write { chain = \"certs/server.pem\", key = { file = \"certs/server.key\" } }";
    let chain = scope.required("chain", &raw.chain, Some(at.span()), help);
    let key = match &raw.key {
        Some(key) => secret(key.get(), key.span(), &mut scope.table("key")),
        None => {
            scope.missing("key", Some(at.span()), help);
            None
        }
    };
    let (chain, key) = (scope.resolve(&chain?), key?);
    scope.reads(&chain);
    if let Some(path) = key.file() {
        scope.reads(path);
        permissions(path, scope);
    }
    match Certificate::load(&chain, &key, around.env) {
        Ok(loaded) => {
            judge(&loaded, &chain, at, scope, around);
            Some(CertificateSource { chain, key, loaded: Arc::new(loaded) })
        }
        Err(error) => {
            let made = if chain.exists() { "" } else { "; `wsgate certs` makes certificates for development" };
            let message = format!("{}: {}", error.place, error.message);
            scope.error(Code::Certificate, at.span(), message, format!("{}{made}", error.help));
            None
        }
    }
}

fn judge(
    loaded: &Certificate,
    chain: &Path,
    at: &At<RawCertificate>,
    scope: &mut Scope<'_>,
    around: &Surroundings<'_>,
) {
    let path = chain.display();
    match loaded.left(around.now) {
        None if loaded.not_before > around.now.0 => {
            scope.error(
                Code::Certificate,
                at.span(),
                format!("{path}: this certificate is not valid yet"),
                "look at this machine's clock",
            );
        }
        None => scope.error(Code::Certificate, at.span(), format!("{path}: this certificate has expired"), "renew it"),
        Some(left) if left < SOON => {
            let days = left.as_secs() / 86_400;
            scope.warning(
                Code::Certificate,
                at.span(),
                format!("{path}: this certificate ends in {days} days"),
                "renew it",
            );
        }
        Some(_) => {}
    }
    if loaded.authority {
        let help =
            "clients refuse an authority as a server's certificate: `openssl req -x509` makes one; sign a leaf with it";
        scope.warning(
            Code::Certificate,
            at.span(),
            format!("{path}: this certificate calls itself an authority (CA:TRUE)"),
            help,
        );
    }
    if loaded.names.is_empty() {
        let help = "browsers read the subject alternative name alone: make the certificate with DNS names";
        scope.warning(Code::Certificate, at.span(), format!("{path}: this certificate names no host"), help);
    }
}

/// Builds where a secret is read from.
pub(super) fn secret(raw: &RawSecret, span: std::ops::Range<usize>, scope: &mut Scope<'_>) -> Option<SecretSource> {
    let file = scope.optional("file", &raw.file);
    let env = scope.optional("env", &raw.env);
    let encoding = scope.optional("encoding", &raw.encoding);
    let help = "write { file = \"secret.key\" } or { env = \"NAME\", encoding = \"base64\" }";
    match (file, env) {
        (Some(file), None) if encoding.is_none() => {
            let path = scope.resolve(&file);
            Some(SecretSource::File(path))
        }
        (Some(_), None) => {
            scope.error(Code::OutOfPlace, span, "`encoding` is for an environment variable", help);
            None
        }
        (None, Some(name)) => Some(SecretSource::Env { name, base64: encoding == Some(Encoding::Base64) }),
        (Some(_), Some(_)) => {
            scope.error(Code::Contradiction, span, "a secret is read from one place", help);
            None
        }
        (None, None) => {
            scope.missing("file", Some(span), help);
            None
        }
    }
}

/// Warns of a secret's file that others may read.
pub(super) fn permissions(path: &Path, scope: &mut Scope<'_>) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = std::fs::metadata(path) else { return };
    if metadata.permissions().mode() & 0o077 != 0 {
        let message = "others than its owner may read or write this secret";
        let place = Place::File(path.to_owned(), None);
        scope
            .push(Diagnostic::warning(Code::Permissions, place, message).help(format!("chmod 600 {}", path.display())));
    }
}
