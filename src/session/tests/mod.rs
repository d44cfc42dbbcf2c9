//! The session as a whole, driven by scripts of frames and a clock that the tests turn.

mod adopting;
mod chunking;
mod clocks;
mod endings;
mod grammar;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

use super::*;
use crate::ws::frame::{Header, apply_mask};

const SECOND: Duration = Duration::from_secs(1);
const KEY: [u8; 4] = [0xA1, 0xB2, 0xC3, 0xD4];
const TEXT: u8 = 0x81;
const FIRST: u8 = 0x01;
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

fn fixed(bytes: &mut [u8]) {
    bytes.fill(0x5A);
}

/// A frame as `side` sends it: `first` is the first byte.
fn frame(side: Side, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = (side == Side::Client).then_some(KEY);
    let header = Header {
        fin: first & 0x80 != 0,
        rsv: first & 0x70,
        opcode: Opcode::from_bits(first & 0x0F).unwrap_or(Opcode::Text),
        mask,
        payload: payload.len() as u64,
    };
    let mut bytes: Vec<u8> = header.bytes().collect();
    bytes[0] = first;
    let mut payload = payload.to_vec();
    if let Some(key) = mask {
        apply_mask(key, &mut payload);
    }
    bytes.extend(payload);
    bytes
}

fn close(side: Side, code: u16) -> Vec<u8> {
    frame(side, CLOSE, &code.to_be_bytes())
}

/// What a stream holds: (first byte, unmasked payload); the last may be cut off.
fn frames(mut stream: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    loop {
        let mut cursor = std::io::Cursor::new(stream);
        let Ok(Some((header, length))) = FrameHeader::parse(&mut cursor) else { return found };
        let head = usize::try_from(cursor.position()).unwrap();
        let end = stream.len().min(head.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)));
        let mut payload = stream[head..end].to_vec();
        if let Some(key) = header.mask {
            apply_mask(key, &mut payload);
        }
        found.push((stream[0], payload));
        stream = &stream[end..];
    }
}

/// A session with its clock and what came out of it.
struct Rig {
    session: Session,
    now: Instant,
    to_client: Vec<u8>,
    to_backend: Vec<u8>,
}

impl Rig {
    #[expect(clippy::disallowed_methods, reason = "a time to count from; the tests turn the clock themselves")]
    fn new(rules: SessionRules) -> Self {
        let now = Instant::now();
        let session = Session::new(Arc::new(rules), Extensions::Strip, None, now, fixed);
        Self { session, now, to_client: Vec::new(), to_backend: Vec::new() }
    }

    fn out(&mut self, to: Side) -> &mut Vec<u8> {
        match to {
            Side::Client => &mut self.to_client,
            Side::Backend => &mut self.to_backend,
        }
    }

    fn transmit(&mut self) {
        for to in Side::BOTH {
            while let Some(frame) = self.session.poll_transmit(to, self.now) {
                self.out(to).extend_from_slice(frame.as_slice());
            }
        }
    }

    /// Gives all of `input`, and lets time pass where the side is not to be read.
    fn feed(&mut self, from: Side, mut input: &[u8]) -> &mut Self {
        self.transmit();
        while !input.is_empty() && self.session.poll_closed().is_none() {
            if !self.session.wants_read(from) {
                let Some(at) = self.session.poll_timeout() else { break };
                self.now = self.now.max(at);
                self.session.handle_timeout(self.now);
                self.transmit();
                continue;
            }
            let step = self.session.receive(from, input, self.now);
            let passed = [step.first.as_slice(), &input[step.pass.clone()]].concat();
            self.out(from.opposite()).extend(passed);
            input = &input[step.consumed..];
            self.transmit();
        }
        self
    }

    fn wait(&mut self, span: Duration) -> &mut Self {
        let end = self.now + span;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.transmit();
        }
        self.now = end;
        self
    }

    fn end(&mut self, from: Side, kind: EndKind) -> &mut Self {
        self.session.handle_end(from, kind, self.now);
        self.transmit();
        self
    }

    fn cause(&self) -> Option<(Cause, By)> {
        self.session.poll_closed().map(|ended| (ended.cause, ended.by)).or(self.session.cause)
    }

    /// The code of the Close frame that a side got.
    fn close_code(&self, to: Side) -> Option<u16> {
        let stream = if to == Side::Client { &self.to_client } else { &self.to_backend };
        let (_, payload) = frames(stream).into_iter().find(|(first, _)| *first == CLOSE)?;
        Some(u16::from_be_bytes([payload[0], payload[1]]))
    }
}

fn rules() -> SessionRules {
    let mut rules = SessionRules::default();
    for side in [&mut rules.from_client, &mut rules.from_backend] {
        side.message_size = crate::units::ByteSize::bytes(300);
        side.fragments = 3;
    }
    rules
}

#[test]
fn a_session_is_small() {
    let size = size_of::<Session>();
    assert!(size <= 800, "RX07: {size} bytes");
}
