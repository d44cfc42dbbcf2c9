//! A connection to the target, on which anything can be sent and everything that comes back is kept.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::Answer;
use super::frame::Frame;
use super::target::Target;
use crate::net::tls::BackendStream;

/// For a TCP connection, for TLS on it, and for what is sent to be taken: each.
const STEP_DEADLINE: Duration = Duration::from_secs(10);

/// The most bytes that are kept of what the target sends; what comes behind them is read and forgotten.
const KEPT_BYTES: usize = 4 << 20;

/// Why there is no connection.
#[derive(Debug)]
pub enum OpenError {
    /// No TCP connection, or no TLS within the deadline.
    Unreachable(io::Error),
    /// TLS failed; the sentence tells why.
    Tls(String),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "no connection: {error}"),
            Self::Tls(why) => write!(f, "no TLS: {why}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// How the target ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order: the end of the stream, over TLS with close_notify.
    Clean,
    /// By a reset, or over TLS without close_notify.
    Cut,
}

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard<T> {
    /// This.
    This(T),
    /// The end of the connection.
    End(End),
    /// Nothing until the deadline.
    Silence,
    /// Something else; the sentence tells what.
    Garbled(String),
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: BackendStream,
    /// What came and was not yet taken.
    pub kept: Vec<u8>,
    /// When it was there to be written to.
    pub opened: Instant,
    end: Option<End>,
}

impl Wire {
    /// Opens a TCP connection, from this address where one is named.
    ///
    /// # Errors
    /// Where the target does not take it within 10 seconds.
    pub async fn tcp(target: &Target, from: Option<IpAddr>) -> io::Result<TcpStream> {
        let socket = if target.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = from {
            socket.bind((from, 0).into())?;
        }
        let at = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", target.address));
        let connecting = timeout(STEP_DEADLINE, socket.connect(target.address));
        let tcp = connecting.await.map_err(|late| at(late.into()))?.map_err(at)?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    /// Opens a connection with TLS where the target has it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(target: &Target, from: Option<IpAddr>) -> Result<Self, OpenError> {
        let tcp = Self::tcp(target, from).await.map_err(OpenError::Unreachable)?;
        Self::on(tcp, target).await
    }

    /// Speaks TLS on an open TCP connection where the target has it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn on(tcp: TcpStream, target: &Target) -> Result<Self, OpenError> {
        let stream = match &target.tls {
            None => BackendStream::Plain(tcp),
            Some(tls) => timeout(STEP_DEADLINE, tls.client.connect(&target.name, tcp))
                .await
                .map_err(|late| OpenError::Unreachable(late.into()))?
                .map_err(|error| OpenError::Tls(error.for_a_command()))?,
        };
        Ok(Self { stream, kept: Vec::new(), opened: Instant::now(), end: None })
    }

    /// A connection without TLS, whatever the target has.
    pub fn plain(tcp: TcpStream) -> Self {
        Self { stream: BackendStream::Plain(tcp), kept: Vec::new(), opened: Instant::now(), end: None }
    }

    /// Sends bytes; says whether they were taken within 10 seconds.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = async { self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok() };
        timeout(STEP_DEADLINE, sent).await.unwrap_or(false)
    }

    /// Ends this side of the stream.
    pub async fn finish(&mut self) {
        let _ = timeout(STEP_DEADLINE, self.stream.shutdown()).await;
    }

    /// The head of the next HTTP answer.
    pub async fn answer(&mut self, within: Duration) -> Heard<Answer> {
        self.hear(within, Answer::take).await
    }

    /// The body of an answer whose head was taken, without the marks of its chunks, as far as it comes.
    pub async fn body(&mut self, answer: &Answer, within: Duration) -> Vec<u8> {
        let until = Instant::now() + within;
        loop {
            let (body, is_whole) = answer.body(&self.kept);
            if is_whole || self.end.is_some() || Instant::now() >= until || !self.read(until).await {
                return body;
            }
        }
    }

    /// The next frame.
    pub async fn frame(&mut self, within: Duration) -> Heard<Frame> {
        self.hear(within, Frame::take).await
    }

    /// Waits until the connection ends: how it ended; `None` if it did not.
    pub async fn ended(&mut self, within: Duration) -> Option<End> {
        let until = Instant::now() + within;
        let mut is_late = false;
        while self.end.is_none() && !is_late && self.read(until).await {
            is_late = Instant::now() >= until;
        }
        self.end
    }

    async fn hear<T>(
        &mut self,
        within: Duration,
        take: impl Fn(&mut Vec<u8>) -> Result<Option<T>, String>,
    ) -> Heard<T> {
        let until = Instant::now() + within;
        // What is there already is seen in no time; a target that never stops sending is not listened to for ever.
        let mut is_late = false;
        loop {
            match take(&mut self.kept) {
                Ok(Some(this)) => return Heard::This(this),
                Err(why) => return Heard::Garbled(why),
                Ok(None) => {}
            }
            if let Some(end) = self.end {
                return Heard::End(end);
            }
            if is_late || !self.read(until).await {
                return Heard::Silence;
            }
            is_late = Instant::now() >= until;
        }
    }

    /// Reads once; says whether anything, an end included, came before the deadline.
    async fn read(&mut self, until: Instant) -> bool {
        // On the heap: every future that reads would be as large.
        let mut buffer = vec![0; 16 << 10];
        match timeout_at(until, self.stream.read(&mut buffer)).await {
            Err(_) => return false,
            Ok(Ok(0)) => self.end = Some(End::Clean),
            Ok(Err(_)) => self.end = Some(End::Cut),
            Ok(Ok(count)) => {
                let room = KEPT_BYTES.saturating_sub(self.kept.len());
                self.kept.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
            }
        }
        true
    }
}
