//! TLS records on paper: bytes in, bytes out, no sockets.
//!
//! rustls' unbuffered connection keeps no byte of the stream itself: every call is given all that was received and not
//! yet discarded, decrypted in place. What is left of it after a call is at most one incomplete record, and stays here.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error, ProtocolVersion};

/// The longest record: its header and TLS 1.2's allowance for expansion (RFC 5246 section 6.2.3).
pub const RECORD_BYTES: usize = 5 + (16 << 10) + 2048;

/// The most of a handshake that waits for its rest: rustls takes no message above 64 KiB. Behind it, no message that is
/// longer than a record is waited for.
const HANDSHAKE_BYTES: usize = (64 << 10) + RECORD_BYTES;

/// What encryption may add to [`Records::encrypt`]'s input: a header, a type and a tag for each 16 KiB, and a key update.
pub const EXPANSION: usize = 1024;

/// One end of a connection: what rustls' client and server have in common, and no trait for.
pub trait Endpoint {
    /// rustls' name for the side.
    type Data;

    /// Works on all bytes that were received and not discarded.
    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// What both ends know of the connection.
    fn state(&self) -> &CommonState;
}

impl Endpoint for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }

    fn state(&self) -> &CommonState {
        self
    }
}

impl Endpoint for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }

    fn state(&self) -> &CommonState {
        self
    }
}

/// A connection's keys, and the incomplete record that waits for its rest.
pub struct Records<E> {
    endpoint: E,
    incomplete: Vec<u8>,
    peer_closed: bool,
}

impl<E: Endpoint> Records<E> {
    /// A connection at its beginning.
    pub fn new(endpoint: E) -> Self {
        Self { endpoint, incomplete: Vec::new(), peer_closed: false }
    }

    /// What stands in front of the bytes that are received next.
    pub fn incomplete(&self) -> &[u8] {
        &self.incomplete
    }

    /// Whether the peer said that nothing follows (close_notify, RFC 8446 section 6.1).
    pub fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Whether the handshake is under way.
    pub fn is_handshaking(&self) -> bool {
        self.endpoint.state().is_handshaking()
    }

    /// The version that the handshake agreed on.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.endpoint.state().protocol_version()
    }

    /// Adds to what waits without working on it.
    ///
    /// # Errors
    /// Where more would wait than a handshake may hold.
    pub fn put_off(&mut self, received: &[u8]) -> Result<(), Error> {
        self.incomplete.extend_from_slice(received);
        self.bound(HANDSHAKE_BYTES)
    }

    /// Works on what was put off.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn resume(&mut self, plaintext: impl FnMut(&[u8]), answer: &mut Vec<u8>) -> Result<(), Error> {
        let mut received = std::mem::take(&mut self.incomplete);
        let discarded = self.process(&mut received, plaintext, answer)?;
        received.drain(..discarded.min(received.len()));
        if !received.is_empty() && !self.peer_closed {
            self.incomplete = received;
        }
        self.bound(if self.is_handshaking() { HANDSHAKE_BYTES } else { RECORD_BYTES })
    }

    /// Decrypts every complete record in `received`, which begins with what is [`incomplete`](Self::incomplete), and
    /// keeps the rest. What must be sent in return, an alert among it, is added to `answer`.
    ///
    /// # Errors
    /// rustls', after which nothing is to be received or encrypted any more; and for what waits for more than a record.
    pub fn receive(
        &mut self,
        received: &mut [u8],
        plaintext: impl FnMut(&[u8]),
        answer: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let discarded = self.process(received, plaintext, answer)?;
        let rest = received.get(discarded..).unwrap_or_default();
        if self.peer_closed || rest.is_empty() {
            self.incomplete = Vec::new();
            return Ok(());
        }
        self.incomplete.clear();
        self.incomplete.extend_from_slice(rest);
        self.bound(RECORD_BYTES)
    }

    /// Works on `received` until nothing more comes of it; says how much of it is done with.
    fn process(
        &mut self,
        received: &mut [u8],
        mut plaintext: impl FnMut(&[u8]),
        answer: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        let mut discarded = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.endpoint.process(received.get_mut(discarded..).unwrap_or_default());
            let settled = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard = discard.saturating_add(record.discard);
                        plaintext(record.payload);
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    encode(&mut message, answer);
                    false
                }
                Ok(ConnectionState::TransmitTlsData(message)) => {
                    message.done();
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_closed = true;
                    false
                }
                Ok(_) => true,
                Err(error) => {
                    discarded = discarded.saturating_add(discard);
                    self.give_alert(received.get_mut(discarded..).unwrap_or_default(), answer);
                    return Err(error);
                }
            };
            discarded = discarded.saturating_add(discard);
            if settled {
                return Ok(discarded);
            }
        }
    }

    /// Adds what rustls has left to say after an error, and asks it nothing further: it asserts that a second look at
    /// the same bytes is not taken.
    fn give_alert(&mut self, received: &mut [u8], answer: &mut Vec<u8>) {
        while self.endpoint.state().wants_write() {
            match self.endpoint.process(received).state {
                Ok(ConnectionState::EncodeTlsData(mut message)) => encode(&mut message, answer),
                _ => return,
            }
        }
    }

    fn bound(&self, most: usize) -> Result<(), Error> {
        let waits = self.incomplete.len();
        if waits <= most { Ok(()) } else { Err(Error::General(format!("{waits} bytes of an incomplete message"))) }
    }

    /// Encrypts `plaintext` into the front of `out`, which has room for [`EXPANSION`] more, and says how long it is.
    ///
    /// # Errors
    /// Where the connection may send nothing, or its keys are used up (RFC 8446 section 5.5).
    pub fn encrypt(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        self.write(out, |traffic, out| traffic.encrypt(plaintext, out))
    }

    /// Encrypts close_notify into the front of `out`, and says how long it is.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub fn close(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        self.write(out, |traffic, out| traffic.queue_close_notify(out))
    }

    fn write(
        &mut self,
        out: &mut [u8],
        write: impl FnOnce(&mut WriteTraffic<'_, E::Data>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<usize, Error> {
        let UnbufferedStatus { state, .. } = self.endpoint.process(&mut self.incomplete);
        match state? {
            ConnectionState::WriteTraffic(mut traffic) => {
                write(&mut traffic, out).map_err(|error| Error::General(error.to_string()))
            }
            _ => Err(Error::HandshakeNotComplete),
        }
    }
}

/// Adds a message to what is to be sent.
fn encode<D>(message: &mut EncodeTlsData<'_, D>, answer: &mut Vec<u8>) {
    let start = answer.len();
    let mut room = 0;
    loop {
        answer.resize(start.saturating_add(room), 0);
        match message.encode(answer.get_mut(start..).unwrap_or_default()) {
            Err(EncodeError::InsufficientSize(error)) => room = error.required_size,
            Ok(_) | Err(EncodeError::AlreadyEncoded) => return,
        }
    }
}
