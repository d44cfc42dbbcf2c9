//! What is attacked, from what was written on the command line.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tokio::net::lookup_host;
use tokio_tungstenite::tungstenite::http::Uri;

use super::super::{environment, file};
use super::signing::{self, Mint};
use super::{AuditArgs, Beside, from_policy};
use crate::audit::Target;
use crate::audit::cswsh::browser::find_chromium;
use crate::audit::target::{Credential, Tls};
use crate::net::tls::ClientTls;
use crate::policy::credential::Carrier;
use crate::policy::origin::OriginSet;
use crate::secret::Secret;
use crate::units::UnixSeconds;

/// The variable that may hold a good token.
const TOKEN_VARIABLE: &str = "WSGATE_AUDIT_TOKEN";

/// Bytes of a token, of a file of authorities.
const TOKEN_BYTES: u64 = 16 << 10;
const AUTHORITIES_BYTES: u64 = 1 << 20;

/// A target, and what weakens its policy.
pub(super) struct Described {
    pub(super) target: Target,
    /// The policy's `danger_` keys and the operator's reasons.
    pub(super) dangers: Vec<(String, String)>,
}

/// Why there is no target.
pub(super) enum Flaw {
    /// The configuration is wrong; the text tells every mistake.
    Configuration(String),
    /// Something else.
    Other(String),
}

impl From<String> for Flaw {
    fn from(why: String) -> Self {
        Self::Other(why)
    }
}

/// Where a URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) tls: bool,
    /// A DNS name, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// As it stands in Host.
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: String,
}

impl Place {
    pub(super) fn read(url: &str) -> Result<Self, String> {
        let right = "write wss://HOST[:PORT]/PATH or ws://HOST[:PORT]/PATH";
        // What stands behind the question mark may be a token: it is not said again.
        let shown = url.split('?').next().unwrap_or_default();
        let uri: Uri = url.parse().map_err(|_| format!("{shown:?} is no URL: {right}"))?;
        let tls = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            _ => return Err(format!("{shown:?} is no WebSocket URL: {right}")),
        };
        let authority = uri.authority().ok_or_else(|| format!("{shown:?} names no host: {right}"))?;
        if authority.as_str().contains('@') {
            return Err(String::from("the URL holds a user name: a token comes from --token-file"));
        }
        if authority.as_str().len() > authority.host().len() && authority.port_u16().is_none() {
            return Err(format!("{:?} has no port from 0 to 65535: {right}", authority.as_str()));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            tls,
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
        })
    }

    /// The URL without its query.
    fn url(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{scheme}://{}{path}", self.authority)
    }

    async fn resolved(&self) -> Result<SocketAddr, String> {
        let found = lookup_host((self.host.as_str(), self.port)).await;
        let mut found = found.map_err(|error| format!("{}: {error}", self.host))?;
        found.next().ok_or_else(|| format!("{} has no address", self.host))
    }
}

/// Reads everything that the arguments name.
pub(super) async fn describe(args: &AuditArgs, now: UnixSeconds) -> Result<Described, Flaw> {
    let known = match &args.policy {
        Some(policy) => {
            let given =
                from_policy::Given { carrier: args.carrier.as_ref(), signing_key: args.beside.signing_key.is_some() };
            Some(from_policy::read(policy, args.config.as_deref(), given, now)?)
        }
        None => None,
    };
    let (place, address) = match (&args.url, &known) {
        (Some(url), _) => {
            let place = Place::read(url)?;
            let address = place.resolved().await?;
            (place, address)
        }
        (None, Some(known)) => {
            let (place, listener) = known.place()?;
            (place, reachable(listener))
        }
        (None, None) => return Err(Flaw::Other(String::from("nothing to attack: give a URL, or --policy FILE"))),
    };
    let tls = if place.tls {
        let written = known.as_ref().and_then(|known| known.authorities.clone());
        Some(tls(args.ca.as_deref().or(written.as_deref()))?)
    } else {
        None
    };
    can_be_watched(&args.beside)?;
    args.origins.iter().try_for_each(|origin| is_origin(origin))?;
    let listed = if args.origins.is_empty() {
        known.as_ref().map(|known| known.origins.clone()).unwrap_or_default()
    } else {
        args.origins.clone()
    };
    let mint = signing::read(&args.beside, known.as_ref().and_then(|known| known.good_token.clone()))?;
    let carrier = args.carrier.clone().or_else(|| known.as_ref().and_then(|known| known.carrier.clone()));
    let credential = credential(args, carrier, mint.as_ref(), now)?;
    let subprotocols = if args.subprotocols.is_empty() {
        known.as_ref().map(|known| known.subprotocols.clone()).unwrap_or_default()
    } else {
        args.subprotocols.clone()
    };
    let target = Target {
        url: place.url(),
        address,
        tls,
        name: place.host,
        authority: place.authority,
        path: place.path,
        origin: listed.iter().find(|origin| !origin.contains("*.")).cloned(),
        listed,
        credential,
        subprotocols,
        policy: known.as_ref().map(|known| Arc::clone(&known.policy)),
        signing: mint.map(|mint| mint.signing),
        process: args.beside.pid,
        log: args.beside.log.clone(),
        browser: args.beside.browser.as_ref().map(|asked| find_chromium(asked.as_deref())).transpose()?,
    };
    Ok(Described { target, dangers: known.map(|known| known.dangers).unwrap_or_default() })
}

/// An address that is listened on, as one that can be dialled.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

fn tls(authorities: Option<&Path>) -> Result<Tls, String> {
    let pem = authorities.map(|path| read(path, AUTHORITIES_BYTES)).transpose()?;
    let client = ClientTls::new(pem.as_deref()).map_err(|error| error.to_string())?;
    Ok(Tls { client, authorities_pem: pem })
}

fn credential(
    args: &AuditArgs,
    carrier: Option<Carrier>,
    mint: Option<&Mint>,
    now: UnixSeconds,
) -> Result<Option<Credential>, String> {
    let given = match &args.token_file {
        Some(path) => Some(text(path)?),
        None => environment(TOKEN_VARIABLE).filter(|token| !token.is_empty()),
    };
    let is_asked_for = carrier.is_some();
    let carrier = carrier.unwrap_or(Carrier::Authorization);
    match (given, mint) {
        (Some(token), _) => Ok(Some(Credential { carrier, tokens: vec![Secret::new(token)], minted: None })),
        (None, Some(mint)) => mint.credential(carrier, now).map(Some),
        (None, None) if is_asked_for => {
            Err(format!("no good token: give --token-file, {TOKEN_VARIABLE}, or --signing-key"))
        }
        (None, None) => Ok(None),
    }
}

/// An origin is written as a policy lists it.
fn is_origin(origin: &str) -> Result<(), String> {
    OriginSet::default().insert(origin).map_err(|error| format!("--origin: {error}"))
}

/// What is to be watched is there, before anything is tried beside it.
fn can_be_watched(beside: &Beside) -> Result<(), String> {
    if let Some(pid) = beside.pid {
        File::open(format!("/proc/{pid}/stat")).map_err(|error| format!("--pid {pid}: {error}"))?;
    }
    if let Some(log) = &beside.log {
        let metadata = std::fs::metadata(log).map_err(|error| format!("--log {}: {error}", log.display()))?;
        if !metadata.is_file() {
            return Err(format!("--log {}: is no plain file", log.display()));
        }
    }
    Ok(())
}

/// A token is one word.
fn text(path: &Path) -> Result<String, String> {
    let bytes = Secret::new(read(path, TOKEN_BYTES)?);
    let word = str::from_utf8(bytes.expose()).ok().map(str::trim);
    let word = word.filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic()));
    word.map(String::from).ok_or_else(|| format!("{}: holds no token: one word is expected", path.display()))
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    file::read(path, limit).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_origin_and_no_token_is_refused() {
        for origin in ["https://app.example.com", "https://*.example.org:8443", "null"] {
            assert_eq!(is_origin(origin), Ok(()), "{origin}");
        }
        for wrong in ["https://app.example.com/", "app.example.com", "not an origin", "", "https://app.example.com:443"]
        {
            assert!(is_origin(wrong).is_err(), "{wrong}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        for (written, read) in
            [("word\n", Some("word")), ("", None), (" \n", None), ("two words", None), ("a\nb", None)]
        {
            std::fs::write(&file, written).unwrap();
            assert_eq!(text(&file).ok().as_deref(), read, "{written:?}");
        }
    }

    #[test]
    fn a_url_leads_somewhere_or_says_what_would() {
        let place = Place::read("wss://chat.example:8443/chat?room=1").unwrap();
        assert_eq!((place.tls, place.host.as_str(), place.port), (true, "chat.example", 8443));
        assert_eq!((place.authority.as_str(), place.path.as_str()), ("chat.example:8443", "/chat?room=1"));
        assert_eq!(place.url(), "wss://chat.example:8443/chat");
        let place = Place::read("ws://[::1]").unwrap();
        assert_eq!((place.tls, place.host.as_str(), place.port, place.path.as_str()), (false, "::1", 80, "/"));
        for wrong in [
            "",
            "chat.example",
            "https://chat.example/",
            "wss:///chat",
            "wss://me:secret@chat.example/",
            "ws://a:65536/",
            "ws://a:/",
        ] {
            let why = Place::read(wrong).unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
