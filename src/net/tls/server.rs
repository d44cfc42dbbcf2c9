//! TLS toward clients: which certificate they are shown, and their handshake.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, UnbufferedServerConnection};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::handshake::{flush, shake};
use super::stream::{ClientStream, TlsStream};
use super::{ALPN_HTTP1, TlsSetupError, provider, sentence};
use crate::config::{Certificate, TlsConfig, UnknownName};

/// The TLS of one listener.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    shelf: Arc<Shelf>,
}

/// Why there is no TLS connection. The stream comes back where the client can still be told.
#[derive(Debug)]
pub enum TlsError {
    /// The client began with an HTTP request instead of a TLS handshake. Nothing was read off the stream.
    PlainHttp(TcpStream),
    /// The client left before it sent anything.
    ClientGone,
    /// The handshake failed. Where TLS has an alert for it, that is sent; the stream is for a lingering close.
    Failed {
        /// What rustls says of it: bounded, and without any of the client's own words.
        why: String,
        /// The stream below.
        tcp: TcpStream,
    },
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlainHttp(_) => f.write_str("plain HTTP came to the TLS port"),
            Self::ClientGone => f.write_str("the client left before it sent anything"),
            Self::Failed { why, .. } => f.write_str(why),
        }
    }
}

impl std::error::Error for TlsError {}

impl ServerTls {
    /// Sets up the TLS that an operator wrote.
    ///
    /// # Errors
    /// [`TlsSetupError::NoCertificate`] for an empty list; [`TlsSetupError::Rustls`] where the provider fails.
    pub fn new(config: &TlsConfig) -> Result<Self, TlsSetupError> {
        let loaded: Vec<_> = config.certificates.iter().map(|source| Arc::clone(&source.loaded)).collect();
        let shelf = Arc::new(Shelf::new(&loaded, config.unknown_name)?);
        let versions: &[&SupportedProtocolVersion] = if config.tls13_only { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shelf) as Arc<dyn ResolvesServerCert>);
        server.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
        server.max_early_data_size = 0;
        // Resumption lives in tickets whose keys rotate: there is no session table that strangers could fill.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        server.send_tls13_tickets = 1;
        Ok(Self { config: Arc::new(server), shelf })
    }

    /// Shows these certificates to the connections that come from here on; live ones notice nothing.
    ///
    /// # Errors
    /// [`TlsSetupError::NoCertificate`] for an empty list: the old ones stay.
    pub fn replace(&self, certificates: &[Arc<Certificate>]) -> Result<(), TlsSetupError> {
        self.shelf.names.store(Arc::new(Names::new(certificates)?));
        Ok(())
    }

    /// The certificates shown at this moment, the first one first.
    pub fn certificates(&self) -> Vec<Arc<Certificate>> {
        self.shelf.names.load().all.clone()
    }

    /// Shakes hands with a client. The caller sets the deadline: dropping the future ends it.
    ///
    /// A permit of `turns` is held only while what the client sent is worked on: a client that is silent or slow keeps
    /// nobody from his turn.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub async fn accept(&self, tcp: TcpStream, turns: &Semaphore) -> Result<ClientStream, TlsError> {
        match first_byte(&tcp).await {
            Ok(None) => return Err(TlsError::ClientGone),
            Ok(Some(letter)) if letter.is_ascii_alphabetic() => return Err(TlsError::PlainHttp(tcp)),
            Ok(Some(_)) => {}
            Err(error) => return Err(TlsError::Failed { why: sentence(&error), tcp }),
        }
        let endpoint = match UnbufferedServerConnection::new(Arc::clone(&self.config)) {
            Ok(endpoint) => endpoint,
            Err(error) => return Err(TlsError::Failed { why: sentence(&error), tcp }),
        };
        let mut tls = Box::new(TlsStream::new(tcp, endpoint));
        let mut server_name = None;
        let resume = |tls: &mut TlsStream<_>| {
            ASKED_FOR.set(None);
            let resumed = tls.resume();
            server_name = ASKED_FOR.take().or(server_name.take());
            resumed
        };
        let shaken = async {
            shake(&mut tls, Some(turns), resume).await?;
            // In TLS 1.3 a ticket is all that is left to send (RFC 8446 section 2): it goes out with the first write.
            if tls.version() == Some(ProtocolVersion::TLSv1_3) { Ok(()) } else { flush(&mut tls).await }
        };
        match shaken.await {
            Ok(()) => {
                tls.server_name = server_name;
                Ok(ClientStream::Tls(tls))
            }
            Err(error) => Err(TlsError::Failed { why: sentence(&error), tcp: tls.into_tcp() }),
        }
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

/// Looks at the first byte without taking it: TLS records begin with 20 to 24, HTTP methods with a letter.
async fn first_byte(tcp: &TcpStream) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let count = tcp.peek(&mut byte).await?;
    Ok(byte.first().copied().filter(|_| count > 0))
}

thread_local! {
    /// The name in the hello that was just worked on: rustls tells it to nobody but the resolver of certificates, which
    /// runs within the call that worked on it.
    static ASKED_FOR: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// The certificates of a listener, which can be replaced while it serves.
#[derive(Debug)]
struct Shelf {
    names: ArcSwap<Names>,
    unknown_name: UnknownName,
}

#[derive(Debug)]
struct Names {
    all: Vec<Arc<Certificate>>,
    first: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Shelf {
    fn new(certificates: &[Arc<Certificate>], unknown_name: UnknownName) -> Result<Self, TlsSetupError> {
        Ok(Self { names: ArcSwap::from_pointee(Names::new(certificates)?), unknown_name })
    }
}

impl ResolvesServerCert for Shelf {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let names = self.names.load();
        let Some(name) = hello.server_name() else {
            return Some(Arc::clone(&names.first));
        };
        let name = name.to_ascii_lowercase();
        let found = names.find(&name);
        ASKED_FOR.set(Some(name.into()));
        match self.unknown_name {
            UnknownName::First => Some(found.unwrap_or_else(|| Arc::clone(&names.first))),
            UnknownName::Refuse => found,
        }
    }
}

impl Names {
    /// Of two certificates with the same name the earlier is shown.
    fn new(certificates: &[Arc<Certificate>]) -> Result<Self, TlsSetupError> {
        let first = certificates.first().ok_or(TlsSetupError::NoCertificate)?;
        let mut by_name = HashMap::new();
        for certificate in certificates {
            for name in &certificate.names {
                by_name.entry(name.clone()).or_insert_with(|| Arc::clone(&certificate.certified));
            }
        }
        Ok(Self { all: certificates.to_vec(), first: Arc::clone(&first.certified), by_name })
    }

    /// The exact name, else the wildcard that stands for its first label (RFC 9525 section 6.3).
    fn find(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let wildcard = || name.split_once('.').and_then(|(_, rest)| self.by_name.get(&format!("*.{rest}")));
        self.by_name.get(name).or_else(wildcard).cloned()
    }
}
