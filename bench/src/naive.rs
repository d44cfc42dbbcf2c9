//! The naive proxy: a TLS acceptor and `tokio::io::copy_bidirectional`, which anybody writes first.
//!
//! It judges nothing: what a gateway costs more is its protection, what it costs less is its relay.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::fault::{During as _, Outcome};
use crate::listen;

/// Terminates TLS on `listen` and copies to `to`.
pub(crate) fn run(listen: SocketAddr, to: SocketAddr, chain: &Path, key: &Path) -> Outcome<()> {
    let acceptor = TlsAcceptor::from(Arc::new(server(chain, key)?));
    listen::serve(listen, move |client| {
        let acceptor = acceptor.clone();
        async move {
            let mut client = acceptor.accept(client).await?;
            let mut backend = TcpStream::connect(to).await?;
            backend.set_nodelay(true)?;
            copy_bidirectional(&mut client, &mut backend).await.map(|_| ())
        }
    })
}

/// A server with one certificate, as rustls has it by default.
fn server(chain: &Path, key: &Path) -> Outcome<ServerConfig> {
    let pem: Result<Vec<_>, _> = CertificateDer::pem_file_iter(chain).during("reading --cert")?.collect();
    let key = PrivateKeyDer::from_pem_file(key).during("reading --key")?;
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .during("choosing TLS versions")?
        .with_no_client_auth()
        .with_single_cert(pem.during("reading --cert")?, key)
        .during("loading the certificate")
}
