//! TLS records in memory: our end of a connection, and rustls' buffered one at the other.
//!
//! The first two bytes of the input choose our side, the version, whether the handshake is done before anything else,
//! and the pieces in which it comes; then follows what happens, until the bytes end.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, OnceLock};

use arbitrary::{Arbitrary, Result, Unstructured};
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use wsgate::net::tls::records::{EXPANSION, Endpoint, RECORD_BYTES, Records};

use super::Verdict;
use super::certificates::Authority;

/// The longest handshake message, and a record.
const HANDSHAKE_BYTES: usize = (64 << 10) + RECORD_BYTES;
/// What is written of either end, about: theirs may come byte by byte.
const MOST_OF_THEIRS: usize = 16 << 10;
const MOST_OF_OURS: usize = 256 << 10;
/// New keys that rustls lets a peer ask for.
const REFRESHES: u32 = 32;
/// Small records, so that many come in few bytes.
const FRAGMENT: usize = 100;

/// However the records are cut, both ends read what the other wrote, byte for byte; where a bit of them is changed, our
/// end has read a beginning of it, and fails. No more is kept than one record, or one message of a handshake.
pub fn records(bytes: &[u8]) -> Verdict {
    let mut u = Unstructured::new(bytes);
    let Ok(choices) = u.arbitrary::<u8>() else { return Verdict::Refused };
    let piece = usize::from(u.arbitrary::<u8>().unwrap_or_default()) + 1;
    let Configs { ours, theirs } = Configs::of(choices & 1 == 1);
    let name = ServerName::try_from("chat.test").expect("a name");
    let is_first = choices & 4 == 4;
    let verdict = if choices & 2 == 2 {
        let our_end = UnbufferedClientConnection::new(Arc::clone(&ours.client), name).expect("a client");
        let their_end = ServerConnection::new(Arc::clone(&theirs.server)).expect("a server");
        let mut wire = Wire::new(Records::new(our_end), their_end.into());
        wire.hear(&[]);
        wire.run(&mut u, piece, is_first)
    } else {
        let our_end = UnbufferedServerConnection::new(Arc::clone(&ours.server)).expect("a server");
        let their_end = ClientConnection::new(Arc::clone(&theirs.client), name).expect("a client");
        Wire::new(Records::new(our_end), their_end.into()).run(&mut u, piece, is_first)
    };
    verdict.unwrap_or(Verdict::Refused)
}

/// What happens; lengths are in bytes.
#[derive(Debug)]
enum Event {
    TheyWrite(usize),
    WeWrite(usize),
    /// This much of what they sent comes in one read.
    WeHear(usize),
    TheyHear(usize),
    /// They use new keys, and want ours to be new (RFC 8446 section 4.6.3).
    TheyRefresh,
    TheyClose,
    WeClose,
    /// A bit of what is on its way to us is changed.
    Flip(usize, u8),
    /// These bytes stand in front of what is on its way to us.
    Insert(Vec<u8>),
}

impl<'a> Arbitrary<'a> for Event {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.int_in_range(0..=11u8)? {
            0 => Self::TheyWrite(usize::from(u.arbitrary::<u8>()?) + 1),
            1 => Self::TheyWrite(usize::from(u.arbitrary::<u8>()?) * 64 + 1),
            2 => Self::WeWrite(usize::from(u.arbitrary::<u8>()?) + 1),
            3 => Self::WeWrite(usize::from(u.arbitrary::<u8>()?) * 256 + 1),
            4 => Self::WeHear(usize::from(u.arbitrary::<u8>()?) + 1),
            5 => Self::WeHear(usize::from(u.arbitrary::<u8>()?) * 64 + 1),
            6 => Self::TheyHear(usize::from(u.arbitrary::<u8>()?) * 16 + 1),
            7 => Self::TheyRefresh,
            8 => Self::TheyClose,
            9 => Self::WeClose,
            10 => Self::Flip(u.arbitrary::<u16>()?.into(), 1 << (u.arbitrary::<u8>()? % 8)),
            _ => {
                let length = usize::from(u.int_in_range(0..=15u8)?);
                Self::Insert(u.bytes(length.min(u.len()))?.to_vec())
            }
        })
    }
}

/// Both ends, what is on its way between them, and what was written and read.
struct Wire<E> {
    ours: Records<E>,
    theirs: Connection,
    to_us: Vec<u8>,
    to_them: Vec<u8>,
    they_wrote: Vec<u8>,
    we_read: Vec<u8>,
    we_wrote: Vec<u8>,
    they_read: Vec<u8>,
    they_closed: bool,
    we_closed: bool,
    /// Whether what is on its way was changed.
    is_changed: bool,
    has_failed: bool,
    /// Whether their end has found fault with what came, and writes no more.
    they_failed: bool,
    refreshes: u32,
}

impl<E: Endpoint> Wire<E> {
    fn new(ours: Records<E>, mut theirs: Connection) -> Self {
        theirs.set_buffer_limit(None);
        let mut wire = Self {
            ours,
            theirs,
            to_us: Vec::new(),
            to_them: Vec::new(),
            they_wrote: Vec::new(),
            we_read: Vec::new(),
            we_wrote: Vec::new(),
            they_read: Vec::new(),
            they_closed: false,
            we_closed: false,
            is_changed: false,
            has_failed: false,
            they_failed: false,
            refreshes: 0,
        };
        wire.collect();
        wire
    }

    fn run(mut self, u: &mut Unstructured<'_>, piece: usize, handshake_first: bool) -> Result<Verdict> {
        if handshake_first {
            self.settle(piece);
        }
        while !u.is_empty() && !self.has_failed {
            let event = u.arbitrary()?;
            self.happen(event);
            self.judge();
        }
        self.settle(piece);
        self.judge();
        if self.is_changed {
            return Ok(Verdict::Refused);
        }
        assert!(!self.ours.is_handshaking() && !self.theirs.is_handshaking(), "the handshake ends");
        assert!(self.we_read == self.they_wrote, "{} of {}", self.we_read.len(), self.they_wrote.len());
        assert!(self.they_read == self.we_wrote, "{} of {}", self.they_read.len(), self.we_wrote.len());
        assert_eq!(self.ours.peer_closed(), self.they_closed);
        Ok(Verdict::Accepted)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::TheyWrite(count)
                if !self.they_closed && !self.they_failed && self.they_wrote.len() < MOST_OF_THEIRS =>
            {
                let text = words(self.they_wrote.len(), count);
                self.theirs.writer().write_all(&text).expect("it is kept");
                self.they_wrote.extend(text);
            }
            Event::WeWrite(count)
                if !self.we_closed && !self.ours.is_handshaking() && self.we_wrote.len() < MOST_OF_OURS =>
            {
                let text = words(self.we_wrote.len(), count);
                let mut out = vec![0; count + EXPANSION];
                let length = self.ours.encrypt(&text, &mut out).expect("there is room");
                self.to_them.extend(&out[..length]);
                self.we_wrote.extend(text);
            }
            Event::WeHear(count) => {
                let heard: Vec<u8> = self.to_us.drain(..count.min(self.to_us.len())).collect();
                if !heard.is_empty() {
                    self.hear(&heard);
                }
            }
            Event::TheyHear(count) => self.they_hear(count),
            Event::TheyRefresh if !self.they_closed && !self.theirs.is_handshaking() && self.refreshes < REFRESHES => {
                self.refreshes += 1;
                // TLS 1.2 knows no such thing and says so.
                let _ = self.theirs.refresh_traffic_keys();
            }
            Event::TheyClose if !self.they_closed && !self.theirs.is_handshaking() => {
                self.theirs.send_close_notify();
                self.they_closed = true;
            }
            // rustls asserts, where assertions are compiled in, that nobody finds fault behind his own close_notify.
            Event::WeClose if !self.we_closed && !self.is_changed && !self.ours.is_handshaking() => {
                let mut out = [0; EXPANSION];
                let length = self.ours.close(&mut out).expect("there is room");
                self.to_them.extend(&out[..length]);
                self.we_closed = true;
            }
            Event::Flip(at, bit) if !self.we_closed => {
                if let Some(byte) = self.to_us.get_mut(at) {
                    *byte ^= bit;
                    self.is_changed = true;
                }
            }
            Event::Insert(bytes) if !self.we_closed => {
                self.is_changed |= !bytes.is_empty();
                self.to_us.splice(..0, bytes);
            }
            // What cannot happen as things stand.
            Event::TheyWrite(_) | Event::WeWrite(_) | Event::TheyRefresh => {}
            Event::TheyClose | Event::WeClose | Event::Flip(..) | Event::Insert(_) => {}
        }
        self.collect();
    }

    /// One read of ours, as the stream does it.
    fn hear(&mut self, heard: &[u8]) {
        let was_handshaking = self.ours.is_handshaking();
        let (read, answer) = (&mut self.we_read, &mut self.to_them);
        let plaintext = |text: &[u8]| read.extend_from_slice(text);
        let result = if was_handshaking {
            self.ours.put_off(heard).and_then(|()| self.ours.resume(plaintext, answer))
        } else {
            let mut received = [self.ours.incomplete(), heard].concat();
            self.ours.receive(&mut received, plaintext, answer)
        };
        if let Err(error) = result {
            assert!(self.is_changed, "{error}");
            self.has_failed = true;
        }
        assert!(was_handshaking || !self.ours.peer_closed() || self.they_closed, "nobody said that");
        let most = if self.ours.is_handshaking() { HANDSHAKE_BYTES } else { RECORD_BYTES };
        assert!(self.has_failed || self.ours.incomplete().len() <= most, "{}", self.ours.incomplete().len());
    }

    fn they_hear(&mut self, count: usize) {
        let mut heard = &self.to_them[..count.min(self.to_them.len())];
        while !heard.is_empty() {
            // It takes no more behind a close_notify.
            if !matches!(self.theirs.read_tls(&mut heard), Ok(count) if count > 0) {
                break;
            }
            match self.theirs.process_new_packets() {
                Ok(state) => {
                    let start = self.they_read.len();
                    self.they_read.resize(start + state.plaintext_bytes_to_read(), 0);
                    self.theirs.reader().read_exact(&mut self.they_read[start..]).expect("it is there");
                }
                Err(error) => {
                    assert!(self.is_changed, "{error}");
                    self.they_failed = true;
                    break;
                }
            }
        }
        self.to_them.drain(..count.min(self.to_them.len()));
        self.collect();
    }

    /// What they have to send is on its way.
    fn collect(&mut self) {
        while self.theirs.wants_write() {
            self.theirs.write_tls(&mut self.to_us).expect("memory takes it");
        }
    }

    /// All that is on its way comes, in pieces.
    fn settle(&mut self, piece: usize) {
        while !self.has_failed && self.to_us.len() + self.to_them.len() > 0 {
            self.happen(Event::TheyHear(usize::MAX));
            self.happen(Event::WeHear(piece));
        }
    }

    fn judge(&self) {
        assert!(self.they_wrote.starts_with(&self.we_read), "what was read was written");
        assert!(self.we_wrote.starts_with(&self.they_read), "what was read was written");
    }
}

/// The words that follow `start` others: what is lost, doubled or exchanged is seen.
fn words(start: usize, count: usize) -> Vec<u8> {
    (start..start + count).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

/// A client and the server that it believes in.
#[derive(Clone)]
struct Ends {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// Our ends write the longest records that there are, theirs short ones.
struct Configs {
    ours: Ends,
    theirs: Ends,
}

impl Configs {
    fn of(is_tls12: bool) -> &'static Self {
        static CONFIGS: OnceLock<[Configs; 2]> = OnceLock::new();
        let configs = CONFIGS.get_or_init(|| {
            let authority = Authority::throwaway();
            let leaf = authority.leaf(&["chat.test"]);
            [&TLS13, &TLS12].map(|version| {
                let client = authority.client_with(&[], &[version]);
                let mut ours = Ends { client, server: leaf.server_with(&[version]) };
                Arc::make_mut(&mut ours.client).resumption = Resumption::disabled();
                let mut theirs = ours.clone();
                Arc::make_mut(&mut theirs.client).max_fragment_size = Some(FRAGMENT);
                Arc::make_mut(&mut theirs.server).max_fragment_size = Some(FRAGMENT);
                Self { ours, theirs }
            })
        });
        &configs[usize::from(is_tls12)]
    }
}
