//! TLS toward `wss://` backends: their certificate is verified, and there is no way around that.

use std::fmt;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;

use super::handshake::{flush, shake};
use super::stream::{BackendStream, TlsStream};
use super::{ALPN_HTTP1, TlsSetupError, provider, sentence};

/// The TLS toward the servers of one upstream.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

/// Why there is no TLS with a server: one sentence, bounded, with a remedy where one is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTlsError(String);

/// What else than an option names authorities.
const IN_A_POLICY: &str = "authorities in a policy's [upstream], ";

impl BackendTlsError {
    /// The sentence where no policy is at hand.
    pub fn for_a_command(&self) -> String {
        self.0.replace(IN_A_POLICY, "")
    }
}

impl fmt::Display for BackendTlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BackendTlsError {}

impl ClientTls {
    /// Trusts the authorities in this PEM and no others, or the system's where there is none.
    ///
    /// # Errors
    /// [`TlsSetupError::Authorities`] for PEM that cannot be read; [`TlsSetupError::NoAuthority`] if there is none.
    pub fn new(authorities_pem: Option<&[u8]>) -> Result<Self, TlsSetupError> {
        let roots = authorities(authorities_pem)?;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
        Ok(Self { config: Arc::new(client) })
    }

    /// Shakes hands with a server and verifies that it is `name`: a DNS name, or an address without brackets. The
    /// caller sets the deadline: dropping the future ends it.
    ///
    /// # Errors
    /// [`BackendTlsError`]: nothing was sent to the server but the handshake, and there is no fallback to plain text.
    pub async fn connect(&self, name: &str, tcp: TcpStream) -> Result<BackendStream, BackendTlsError> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| BackendTlsError(String::from("the server's name is neither a DNS name nor an address")))?;
        let endpoint = UnbufferedClientConnection::new(Arc::clone(&self.config), name)
            .map_err(|error| explained(&sentence(&error)))?;
        let mut tls = Box::new(TlsStream::new(tcp, endpoint));
        tls.resume().map_err(|error| explained(&sentence(&error)))?;
        let shaken = async {
            shake(&mut tls, None, TlsStream::resume).await?;
            flush(&mut tls).await
        };
        shaken.await.map_err(|error| explained(&sentence(&error)))?;
        Ok(BackendStream::Tls(tls))
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

/// The authorities in this PEM and no others, or the system's where there is none.
///
/// # Errors
/// [`TlsSetupError::Authorities`] for PEM that cannot be read; [`TlsSetupError::NoAuthority`] if there is none.
pub fn authorities(pem: Option<&[u8]>) -> Result<RootCertStore, TlsSetupError> {
    let roots = match pem {
        Some(pem) => named_authorities(pem)?,
        None => system_authorities(),
    };
    if roots.is_empty() { Err(TlsSetupError::NoAuthority) } else { Ok(roots) }
}

fn named_authorities(pem: &[u8]) -> Result<RootCertStore, TlsSetupError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| TlsSetupError::Authorities(sentence(&error)))?;
        roots.add(certificate).map_err(|error| TlsSetupError::Authorities(sentence(&error)))?;
    }
    Ok(roots)
}

fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Some systems carry certificates that no verifier reads: the others are enough.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Adds what to do to the errors that operators meet.
fn explained(why: &str) -> BackendTlsError {
    const REMEDIES: [(&str, &str); 5] = [
        ("CaUsedAsEndEntity", "the server shows a CA's certificate (CA:TRUE): give it a leaf certificate of its own"),
        ("BadSignature", "another authority of the same name signed it: is the file of authorities an old one?"),
        ("UnknownIssuer", "name its authority: authorities in a policy's [upstream], --ca on the command line"),
        ("certificate expired", "renew the server's certificate"),
        ("InvalidContentType", "the server does not speak TLS on this port: write ws:// if that is meant"),
    ];
    let remedy = REMEDIES.iter().find(|(word, _)| why.contains(word));
    BackendTlsError(remedy.map_or_else(|| why.to_owned(), |(_, remedy)| format!("{why}; {remedy}")))
}
