//! A TLS client on terms of the case's own: what it offers, how its bytes are cut, and what became of it.
//!
//! It drives rustls' buffered connection, where the gateway drives the unbuffered one.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{AlertDescription, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::audit::Exam;
use crate::audit::answer::Answer;
use crate::audit::target::Target;
use crate::audit::wire::{End, Heard, Wire};
use crate::net::tls::authorities;

/// For TCP and TLS together.
const SHAKE_DEADLINE: Duration = Duration::from_secs(15);

/// The time between two segments of what is sent in pieces.
const BETWEEN_SEGMENTS: Duration = Duration::from_millis(2);

/// How often a connection that is dropped is tried again.
const DROPS: u32 = 2;

/// Seconds that a busy target is waited for, time after time.
const BUSY: [u64; 5] = [1, 2, 4, 8, 16];

/// The most plaintext that is kept.
const KEPT_BYTES: usize = 1 << 20;

/// Whose certificate is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// One that an authority of the target's vouches for: nothing secret goes to another.
    Vouched,
    /// Anyone's: it is looked at, and nothing is sent behind it.
    Anybody,
}

/// Why there is no TLS.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NoTls {
    /// The server said no.
    Alert(AlertDescription),
    /// This side said no.
    Refused(Error),
    /// The connection ended.
    Ended(End),
    /// Nothing came.
    Silence,
    /// There was no connection, or nothing to trust.
    Unable(String),
}

impl NoTls {
    /// It in a few words.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Alert(alert) => format!("alert {alert:?}"),
            Self::Refused(error) => format!("an answer that no client takes: {error}"),
            Self::Ended(End::Clean) => String::from("closed without a word"),
            Self::Ended(End::Cut) => String::from("reset without a word"),
            Self::Silence => String::from("silence"),
            Self::Unable(why) => why.clone(),
        }
    }
}

/// The terms of a client: the versions, suites and groups of rustls, ALPN `http/1.1`, and what it remembers of sessions.
///
/// # Errors
/// With a sentence where the authorities cannot be read.
pub(super) fn terms(target: &Target, trust: Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous();
    let pem = target.tls.as_ref().and_then(|tls| tls.authorities_pem.as_deref());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Vouched => {
            let roots = Arc::new(authorities(pem).map_err(|error| error.to_string())?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            verifier.map_err(|error| error.to_string())?
        }
        Trust::Anybody => Arc::new(Anybody(provider.signature_verification_algorithms)),
    };
    let mut terms = builder.with_custom_certificate_verifier(verifier).with_no_client_auth();
    terms.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(terms)
}

/// A connection behind its handshake.
#[derive(Debug)]
pub(super) struct Client {
    tcp: TcpStream,
    /// What is known of the connection.
    pub(super) tls: ClientConnection,
    /// Plaintext that came and was not taken.
    pub(super) kept: Vec<u8>,
    end: Option<End>,
}

impl Client {
    /// Asks with this handshake on a connection of its own. A target that says that it is busy is asked again.
    ///
    /// # Errors
    /// See [`NoTls`]; [`NoTls::Unable`] where there is TLS, and no answer.
    pub(super) async fn asked(
        exam: &Exam,
        terms: &Arc<ClientConfig>,
        name: &str,
        piece: usize,
        request: &[u8],
    ) -> Result<(Self, Answer), NoTls> {
        for pause in BUSY {
            let mut client = Self::open(&exam.target, terms, name, piece, b"").await?;
            client.send(request).await;
            match client.answer(exam.patience.answer).await {
                Heard::This(answer) if answer.is_busy() => sleep(Duration::from_secs(pause)).await,
                Heard::This(answer) => return Ok((client, answer)),
                Heard::End(_) => return Err(NoTls::Unable(String::from("closed without an answer"))),
                Heard::Silence => return Err(NoTls::Unable(String::from("no answer"))),
                Heard::Garbled(why) => return Err(NoTls::Unable(why)),
            }
        }
        Err(NoTls::Unable(String::from("it is busy")))
    }

    /// Shakes hands with the target under this name; with `early`, these bytes go out as early data where that is
    /// allowed. The hello goes out `piece` bytes at a time. A connection that is dropped is tried again: a rate of
    /// connections may have caused it.
    ///
    /// # Errors
    /// See [`NoTls`].
    pub(super) async fn open(
        target: &Target,
        terms: &Arc<ClientConfig>,
        name: &str,
        piece: usize,
        early: &[u8],
    ) -> Result<Self, NoTls> {
        let mut drops = 0;
        loop {
            match Self::open_once(target, terms, name, piece, early).await {
                Err(NoTls::Ended(_)) if drops < DROPS => drops += 1,
                opened => return opened,
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn open_once(
        target: &Target,
        terms: &Arc<ClientConfig>,
        name: &str,
        piece: usize,
        early: &[u8],
    ) -> Result<Self, NoTls> {
        let unable = |why: &dyn std::fmt::Display| NoTls::Unable(why.to_string());
        let server = ServerName::try_from(name.to_owned()).map_err(|error| unable(&error))?;
        let mut tls = ClientConnection::new(Arc::clone(terms), server).map_err(|error| unable(&error))?;
        if let Some(mut data) = tls.early_data() {
            // What is above the server's allowance is not sent early.
            let _ = data.write(early);
        }
        let shaken = async {
            let tcp = Wire::tcp(target, None).await.map_err(|error| unable(&error))?;
            let mut client = Self { tcp, tls, kept: Vec::new(), end: None };
            client.shake(piece).await.map(|()| client)
        };
        timeout(SHAKE_DEADLINE, shaken).await.unwrap_or(Err(NoTls::Silence))
    }

    async fn shake(&mut self, piece: usize) -> Result<(), NoTls> {
        loop {
            // Where the server hung up, what it said before is still to be read.
            let _ = self.pump(piece).await;
            if !self.tls.is_handshaking() {
                return Ok(());
            }
            self.take().await?;
            if let Some(end) = self.end {
                return Err(NoTls::Ended(end));
            }
        }
    }

    /// Sends bytes; says whether they were taken.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.tls.writer().write_all(bytes).is_ok() && self.pump(usize::MAX).await.is_ok()
    }

    /// Sends what TLS has to say.
    pub(super) async fn pump(&mut self, piece: usize) -> io::Result<()> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes)?;
        }
        for piece in bytes.chunks(piece.max(1)) {
            timeout(SHAKE_DEADLINE, self.tcp.write_all(piece)).await??;
            if piece.len() < bytes.len() {
                // Segments that follow at once are read together by a target that is busy.
                sleep(BETWEEN_SEGMENTS).await;
            }
        }
        Ok(())
    }

    /// Ends this side of TCP, without a word of TLS.
    pub(super) async fn truncate(&mut self) {
        let _ = self.tcp.shutdown().await;
    }

    /// The head of an HTTP answer.
    pub(super) async fn answer(&mut self, within: Duration) -> Heard<Answer> {
        self.hear(within, Answer::take).await
    }

    /// What `take` makes of the bytes that come.
    pub(super) async fn hear<T>(
        &mut self,
        within: Duration,
        take: impl Fn(&mut Vec<u8>) -> Result<Option<T>, String>,
    ) -> Heard<T> {
        let until = Instant::now() + within;
        loop {
            match take(&mut self.kept) {
                Ok(Some(this)) => return Heard::This(this),
                Err(why) => return Heard::Garbled(why),
                Ok(None) => {}
            }
            if let Some(end) = self.end {
                return Heard::End(end);
            }
            match timeout_at(until, self.take()).await {
                Err(_) => return Heard::Silence,
                Ok(Err(NoTls::Alert(_) | NoTls::Refused(_))) => self.end = Some(End::Cut),
                Ok(_) => {}
            }
        }
    }

    /// Reads once.
    async fn take(&mut self) -> Result<(), NoTls> {
        let mut buffer = vec![0; 16 << 10];
        let mut came = match self.tcp.read(&mut buffer).await {
            Ok(0) => {
                self.end = Some(End::Cut);
                return Ok(());
            }
            Ok(count) => buffer.get(..count).unwrap_or_default(),
            Err(_) => {
                self.end = Some(End::Cut);
                return Ok(());
            }
        };
        while !came.is_empty() {
            if self.tls.read_tls(&mut came).is_err() {
                self.end = Some(End::Cut);
                return Ok(());
            }
            if let Err(error) = self.tls.process_new_packets() {
                let _ = self.pump(usize::MAX).await;
                return Err(match error {
                    Error::AlertReceived(alert) => NoTls::Alert(alert),
                    error => NoTls::Refused(error),
                });
            }
            self.keep();
        }
        Ok(())
    }

    fn keep(&mut self) {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.tls.reader().read(&mut buffer) {
                Ok(0) => {
                    self.end = Some(End::Clean);
                    return;
                }
                Ok(count) => {
                    let room = KEPT_BYTES.saturating_sub(self.kept.len());
                    self.kept.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
                }
                Err(_) => return,
            }
        }
    }
}

/// Takes every certificate whose holder has its key.
#[derive(Debug)]
struct Anybody(rustls::crypto::WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
