//! A script for one session, read from arbitrary bytes: the rules, then what happens, until the bytes end.
//!
//! Every choice takes one byte, so that a small change of the bytes is a small change of the script.

use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use wsgate::session::{Cause, EndKind, Extensions, Overrun, SessionRules, Side};
use wsgate::units::ByteSize;

/// What a session's pings carry here: its source of randomness gives nothing else.
pub const PING: [u8; 8] = [0x5A; 8];
/// The most frames' worth of one message, and its most bytes.
pub const FRAGMENTS: u32 = 3;
pub const MESSAGE: u64 = 300;
pub const MAX_AGE: Duration = Duration::from_secs(300);
pub const PING_INTERVAL: Duration = Duration::from_secs(5);
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
const KEY: [u8; 4] = [0xA1, 0xB2, 0xC3, 0xD4];
/// The most bytes of a script that are read: a session of a few hundred events.
const LONGEST: usize = 3000;

#[derive(Clone, Debug)]
pub struct Script {
    pub rules: SessionRules,
    pub extensions: Extensions,
    pub lease: Option<Duration>,
    pub events: Vec<Event>,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A side sends bytes.
    Send(Side, Vec<u8>),
    /// A side ends its stream behind what it sent.
    End(Side, EndKind),
    /// A side takes nothing from here on.
    Block(Side),
    /// It takes some.
    Progress(Side),
    /// It takes all.
    Unblock(Side),
    /// Writing to it fails.
    WriteError(Side),
    /// Time passes.
    Wait(Duration),
    /// The gateway ends the session.
    Close(Cause),
}

impl Script {
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let mut u = Unstructured::new(&bytes[..bytes.len().min(LONGEST)]);
        let (rules, extensions, lease) = rules(&mut u)?;
        let mut events = Vec::new();
        while !u.is_empty() {
            events.push(u.arbitrary()?);
        }
        Ok(Self { rules, extensions, lease, events })
    }

    /// Whether it may depend on how bytes were cut when a side is read again: bytes, also those that are thrown away, may
    /// go into debt by one read.
    pub fn has_byte_rates(&self) -> bool {
        self.rules.from_client.bytes.is_some()
    }
}

fn rules(u: &mut Unstructured<'_>) -> Result<(SessionRules, Extensions, Option<Duration>)> {
    let choices: u8 = u.arbitrary()?;
    let chosen = |bit: u8| choices >> bit & 1 == 1;
    let mut rules = SessionRules {
        idle_timeout: Duration::from_secs(40),
        max_age: MAX_AGE,
        ping_interval: PING_INTERVAL,
        pong_timeout: Duration::from_secs(3),
        first_message: chosen(0).then_some(Duration::from_secs(10)),
        partial_header: Duration::from_secs(2),
        write_stall: Duration::from_secs(6),
        close_timeout: CLOSE_TIMEOUT,
        half_close: Duration::from_secs(4),
        ..SessionRules::default()
    };
    for side in [&mut rules.from_client, &mut rules.from_backend] {
        side.message_size = ByteSize::bytes(MESSAGE);
        side.fragments = FRAGMENTS;
        side.messages = if chosen(1) { "2/s burst 3".parse().ok() } else { None };
        side.control = if chosen(2) { "2/s burst 2".parse().ok() } else { None };
        side.bytes = if chosen(3) { "400B/s burst 400B".parse().ok() } else { None };
        side.over = if chosen(4) { Overrun::Close } else { Overrun::Slow };
    }
    let extensions = if chosen(5) { Extensions::Pass } else { Extensions::Strip };
    Ok((rules, extensions, chosen(6).then_some(Duration::from_secs(60))))
}

impl<'a> Arbitrary<'a> for Event {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let side = if u.arbitrary::<bool>()? { Side::Client } else { Side::Backend };
        Ok(match u.int_in_range(0..=15u8)? {
            0..=6 => Self::Send(side, frame(u, side)?),
            7 => Self::Send(side, raw(u)?),
            8..=10 => Self::Wait(Duration::from_millis(100 * u64::from(u.arbitrary::<u8>()?))),
            11 => Self::Block(side),
            12 => Self::Progress(side),
            13 => Self::Unblock(side),
            14 if u.arbitrary::<bool>()? => Self::WriteError(side),
            14 => Self::Close(if u.arbitrary::<bool>()? { Cause::Drain } else { Cause::Revoked }),
            _ => Self::End(side, if u.arbitrary::<bool>()? { EndKind::Clean } else { EndKind::Abrupt }),
        })
    }
}

/// A frame whose header is as `side` must write it, but for its first byte.
fn frame(u: &mut Unstructured<'_>, side: Side) -> Result<Vec<u8>> {
    const FIRST: [u8; 10] = [0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A, 0x88, 0xC1];
    let first = match FIRST.get(usize::from(u.int_in_range(0..=11u8)?)) {
        Some(first) => *first,
        None => u.arbitrary()?,
    };
    let payload = match u.int_in_range(0..=5u8)? {
        0 => Vec::new(),
        1 => vec![b'x'; u.arbitrary::<u8>()?.into()],
        2 => PING.to_vec(),
        3 => u.arbitrary::<u16>()?.to_be_bytes().to_vec(),
        4 => raw(u)?,
        _ => vec![b'y'; usize::from(u.arbitrary::<u8>()?) * 2],
    };
    let mask = side == Side::Client;
    let mut frame = vec![first];
    let bit = if mask { 0x80 } else { 0 };
    let length = u16::try_from(payload.len()).expect("a short payload").to_be_bytes();
    match length {
        [0, short @ 0..126] => frame.push(bit | short),
        _ => {
            frame.push(bit | 126);
            frame.extend(length);
        }
    }
    if mask {
        frame.extend(KEY);
        frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        frame.extend(payload);
    }
    Ok(frame)
}

/// Up to 31 bytes as they are.
fn raw(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let length = u.int_in_range(0..=31u8)?;
    Ok(u.bytes(usize::from(length).min(u.len()))?.to_vec())
}
