//! What is loaded: an address, the TLS it is asked with, and the request that opens a session.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore, version};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpSocket, TcpStream};

use super::Common;
use crate::fault::{During as _, Fault, Outcome};

/// `ws://ADDRESS:PORT/PATH` or `wss://ADDRESS:PORT/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) scheme: Scheme,
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
}

/// Whether TLS is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Ws,
    Wss,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let (scheme, rest) = match url.split_once("://") {
            Some(("ws", rest)) => (Scheme::Ws, rest),
            Some(("wss", rest)) => (Scheme::Wss, rest),
            _ => return Err("it begins with ws:// or wss://".into()),
        };
        let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let address = address.parse().map_err(|_| "an address and a port follow, as in 127.0.0.1:8443".to_owned())?;
        Ok(Self { scheme, address, path: if path.is_empty() { "/".into() } else { path.into() } })
    }
}

/// A target, as every connection needs it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) url: Url,
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// The name in `Host`.
    name: String,
    origin: Option<String>,
    sources: u8,
}

impl Target {
    /// The target of the flags.
    pub(crate) fn new(common: &Common) -> Outcome<Self> {
        let tls = match common.url.scheme {
            Scheme::Ws => None,
            Scheme::Wss => {
                let ca = common.ca.as_deref().ok_or_else(|| Fault::new("wss:// needs --ca FILE"))?;
                let name = ServerName::try_from(common.server_name.clone()).during("reading --server-name")?;
                Some((Arc::new(client(ca)?), name))
            }
        };
        let (name, origin) = (common.server_name.clone(), common.origin.clone());
        Ok(Self { url: common.url.clone(), tls, name, origin, sources: common.sources })
    }

    /// The same target, asked by a page of `origin`.
    pub(crate) fn with_origin(self, origin: &str) -> Self {
        Self { origin: Some(origin.to_owned()), ..self }
    }

    /// A connection to it from the source whose turn is `number`.
    pub(crate) async fn connect(&self, number: usize) -> Outcome<TcpStream> {
        let source = u8::try_from(number % usize::from(self.sources)).unwrap_or(0);
        let connected = match source {
            // Chosen by the kernel as the connection is made, a port may be one that still waits for late packets.
            0 => TcpStream::connect(self.url.address).await,
            _ => {
                let socket = TcpSocket::new_v4().during("making a socket")?;
                socket.set_reuseaddr(true).during("making a socket")?;
                let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, source + 1));
                socket.bind(SocketAddr::new(source, 0)).during("binding a source")?;
                socket.connect(self.url.address).await
            }
        };
        let connected = connected.during("connecting")?;
        connected.set_nodelay(true).during("switching Nagle's algorithm off")?;
        Ok(connected)
    }

    /// The opening handshake with this key and token.
    pub(crate) fn request(&self, key: &str, token: Option<&str>) -> String {
        let Self { url: Url { path, address, .. }, name, .. } = self;
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n",
            port = address.port()
        );
        // Writing to a string does not fail.
        let _ = self.origin.iter().try_for_each(|origin| write!(request, "Origin: {origin}\r\n"));
        let _ = token.iter().try_for_each(|token| write!(request, "Authorization: Bearer {token}\r\n"));
        request + "\r\n"
    }
}

/// A client that speaks TLS 1.3 with X25519 and nothing else, and never resumes: all servers do the same work.
fn client(ca: &Path) -> Outcome<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).during("reading --ca")? {
        roots.add(certificate.during("reading --ca")?).during("reading --ca")?;
    }
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])
        .during("choosing TLS 1.3")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_scheme_an_address_and_a_path() {
        let address = "127.0.0.1:8443".parse().unwrap();
        for (text, scheme, path) in [
            ("wss://127.0.0.1:8443/chat?a=b", Scheme::Wss, "/chat?a=b"),
            ("ws://127.0.0.1:8443/", Scheme::Ws, "/"),
            ("ws://127.0.0.1:8443", Scheme::Ws, "/"),
        ] {
            assert_eq!(text.parse(), Ok(Url { scheme, address, path: path.into() }), "{text}");
        }
        for text in ["127.0.0.1:8443", "http://127.0.0.1:1/", "ws://127.0.0.1/", "ws://localhost:1/"] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }
}
