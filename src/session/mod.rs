//! One upgraded connection as a state machine.
//!
//! Bytes and time come in as arguments; what may be passed on, what is inserted, and when to wake comes out. No
//! payload is stored: only an unfinished frame header or one whole control frame. Payload is neither unmasked nor
//! looked at, and nothing is inflated.
//!
//! The order of the calls: [`Session::poll_transmit`] until it has nothing, then bytes of a side that
//! [`Session::wants_read`] to [`Session::receive`], and what that says to pass on is put into the outbound order before
//! `poll_transmit` is asked again. [`Session::poll_timeout`] says when [`Session::handle_timeout`] is due.
//!
//! `policer` holds the grammar, `limits` the rates, `boundary` the places where frames of ours may stand, `closing` the
//! table of close codes and the closing handshake, `deadlines` the clocks; `receive` and `timeouts` put them together, and
//! `adopt` changes the rules beneath them.

#![deny(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects))]

mod adopt;
mod boundary;
pub mod cause;
mod closing;
mod deadlines;
mod limits;
mod policer;
mod receive;
pub mod rules;
mod short_frame;
#[cfg(test)]
mod tests;
mod timeouts;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use cause::{By, Cause};
pub use closing::{EndKind, Ended};
pub use receive::Step;
pub use rules::{CloseCodes, DirectionRules, Extensions, Overrun, SessionRules};
pub use short_frame::ShortFrame;

use crate::ws::frame::Opcode;
use boundary::{Outlet, Ping, Seal};
use closing::{Intake, Phase};
use deadlines::{Clock, Deadlines, Tick, Timer};
use limits::Limits;
use policer::Policer;
use timeouts::{Pace, SlowFrame};

/// Which way bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the backend: upstream.
    FromClient,
    /// From the backend to the client: downstream.
    FromBackend,
}

impl Direction {
    /// The other way.
    pub fn opposite(self) -> Self {
        match self {
            Self::FromClient => Self::FromBackend,
            Self::FromBackend => Self::FromClient,
        }
    }

    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FromClient => "from_client",
            Self::FromBackend => "from_backend",
        }
    }
}

/// Who bytes come from or go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client.
    Client,
    /// The backend.
    Backend,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Backend];

    /// The one across.
    pub fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }

    /// The way of the bytes that it sends.
    pub fn direction(self) -> Direction {
        match self {
            Self::Client => Direction::FromClient,
            Self::Backend => Direction::FromBackend,
        }
    }
}

impl From<Side> for By {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Backend => Self::Backend,
        }
    }
}

/// What one side sent and the session passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Whole messages.
    pub messages: u64,
    /// Bytes on the WebSocket wire, frame headers included.
    pub bytes: u64,
}

/// Fills a slice from a cryptographically strong source: masking keys must not be foreseen (RFC 6455 section 10.3).
pub type Random = fn(&mut [u8]);

/// A session: one client, one backend, and the rules between them.
#[derive(Debug)]
pub struct Session {
    rules: Arc<SessionRules>,
    /// What the two sides agreed on.
    extensions: Extensions,
    random: Random,
    start: Instant,
    /// What our pings carry and their pongs bring back.
    ping: [u8; 8],
    client: Party,
    backend: Party,
    deadlines: Deadlines,
    /// When a message last began, or a byte of one came.
    last_message: Tick,
    /// What the greatest age is due to.
    age: Cause,
    phase: Phase,
    cause: Option<(Cause, By)>,
    /// Who sent the first Close frame.
    closer: Option<By>,
    code: Option<u16>,
}

/// One side of a session: what it sends, and what goes to it.
#[derive(Debug)]
struct Party {
    policer: Policer,
    limits: Limits,
    traffic: Traffic,
    intake: Intake,
    heard: Tick,
    slow: SlowFrame,
    outlet: Outlet,
}

impl Session {
    /// A session that begins now. `extensions` pass where the backend's 101 chose one (RFC 6455 section 5.2), whatever a
    /// policy would let pass. `lease` is how long its credential lasts; `None`: for ever.
    ///
    /// Chance shortens the policy's greatest age by up to a tenth, and the lease by up to a tenth or
    /// [`SessionRules::LEASE_JITTER`], so that sessions made together do not end together.
    pub fn new(
        rules: Arc<SessionRules>,
        extensions: Extensions,
        lease: Option<Duration>,
        now: Instant,
        random: Random,
    ) -> Self {
        let oldest = rules.shortened_age(random);
        let lease = lease.map(|lease| shortened(lease, lease_jitter(lease), random));
        let (age, end) = match lease {
            Some(lease) if lease <= oldest => (Cause::CredentialExpired, lease),
            _ => (Cause::MaxAge, oldest),
        };
        let mut ping = [0; 8];
        random(&mut ping);
        let mut deadlines = Deadlines::NONE;
        deadlines.set(Timer::Age, Tick::START.after(end));
        deadlines.set(Timer::Idle, Tick::START.after(rules.idle_timeout));
        if let Some(span) = rules.first_message {
            deadlines.set(Timer::FirstMessage, Tick::START.after(span));
        }
        for side in Side::BOTH {
            deadlines.set(Timer::Liveness(side), Tick::START.after(rules.ping_interval));
        }
        Self {
            client: Party::new(&rules.from_client),
            backend: Party::new(&rules.from_backend),
            rules,
            extensions,
            random,
            start: now,
            ping,
            deadlines,
            last_message: Tick::START,
            age,
            phase: Phase::Open,
            cause: None,
            closer: None,
            code: None,
        }
    }

    /// The next frame of ours toward `to`, where a frame may stand: a Close or a Ping; masked toward the backend.
    pub fn poll_transmit(&mut self, to: Side, now: Instant) -> Option<ShortFrame> {
        if !self.party(to).outlet.has_insertion() || !self.party(to.opposite()).policer.is_at_boundary() {
            return None;
        }
        let mask = match to {
            Side::Client => None,
            Side::Backend => Some(self.masking_key()),
        };
        if let Some(code) = self.party_mut(to).outlet.close.take() {
            self.party_mut(to).outlet.end(Seal::Closed);
            if to == Side::Client && self.code.is_none() {
                self.code = Some(code);
            }
            self.settle();
            return Some(ShortFrame::control(Opcode::Close, &code.to_be_bytes(), mask));
        }
        self.party_mut(to).outlet.ping = Ping::Sent;
        self.deadlines.set(Timer::Liveness(to), self.tick(now).after(self.rules.pong_timeout));
        Some(ShortFrame::control(Opcode::Ping, &self.ping, mask))
    }

    /// Whether bytes of this side may be read. While bytes for the other side wait, the caller does not read either.
    pub fn wants_read(&self, from: Side) -> bool {
        let ended = matches!(self.party(from).intake, Intake::Ended);
        !ended && self.phase != Phase::Closed && !self.deadlines.is_set(Timer::Throttle(from))
    }

    /// Whether the stream toward this side may be ended, once what was passed on is sent: nothing more will come.
    pub fn write_ended(&self, to: Side) -> bool {
        let party = self.party(to);
        match party.outlet.seal {
            Seal::Open => false,
            Seal::Closed => party.intake != Intake::Open,
            Seal::Ended | Seal::Cut => true,
        }
    }

    /// When to call [`Self::handle_timeout`]; `None`: no deadline is set.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next(self.start)
    }

    /// Ends the session where it stands, for a drain whose time is over: no Close goes to anybody.
    pub fn cut(&mut self) -> Ended {
        self.cause.get_or_insert((Cause::Drain, By::Gateway));
        self.phase = Phase::Closed;
        self.ended()
    }

    /// Whether it has begun to end, or is over.
    pub fn is_closing(&self) -> bool {
        self.phase != Phase::Open
    }

    /// How the session ended; `None` while it lives.
    pub fn poll_closed(&self) -> Option<Ended> {
        (self.phase == Phase::Closed).then(|| self.ended())
    }

    /// What this side sent and was passed on so far.
    pub fn traffic(&self, from: Side) -> Traffic {
        self.party(from).traffic
    }

    /// Bytes for this side wait, because it takes none: its stall clock runs, and the other side's clocks stop.
    pub fn handle_blocked(&mut self, to: Side, now: Instant) {
        let now = self.tick(now);
        if !std::mem::replace(&mut self.party_mut(to).outlet.blocked, true) {
            self.deadlines.set(Timer::WriteStall(to), now.after(self.rules.write_stall));
            self.update_clocks(now);
        }
    }

    /// This side took some of the bytes that wait for it.
    pub fn handle_progress(&mut self, to: Side, now: Instant) {
        if self.party(to).outlet.blocked && self.phase == Phase::Open {
            self.deadlines.set(Timer::WriteStall(to), self.tick(now).after(self.rules.write_stall));
        }
    }

    /// This side took all bytes that waited for it.
    pub fn handle_unblocked(&mut self, to: Side, now: Instant) {
        if std::mem::replace(&mut self.party_mut(to).outlet.blocked, false) {
            self.deadlines.clear(Timer::WriteStall(to));
            self.update_clocks(self.tick(now));
        }
    }

    /// Stops the clocks of sides that are not read and lets those go on that are.
    fn update_clocks(&mut self, now: Tick) {
        let unread =
            |from: Side| self.party(from.opposite()).outlet.blocked || self.deadlines.is_set(Timer::Throttle(from));
        let [client, backend] = Side::BOTH.map(unread);
        for (clock, stands) in
            [(Clock::Of(Side::Client), client), (Clock::Of(Side::Backend), backend), (Clock::OfBoth, client || backend)]
        {
            if stands {
                self.deadlines.pause(clock, now);
                continue;
            }
            let pause = self.deadlines.resume(clock, now);
            let last = match clock {
                Clock::Of(side) => &mut self.party_mut(side).heard,
                Clock::OfBoth => &mut self.last_message,
            };
            *last = last.after(pause).min(now);
        }
    }

    fn masking_key(&self) -> [u8; 4] {
        let mut key = [0; 4];
        (self.random)(&mut key);
        key
    }

    fn tick(&self, now: Instant) -> Tick {
        Tick::between(self.start, now)
    }

    fn party(&self, side: Side) -> &Party {
        match side {
            Side::Client => &self.client,
            Side::Backend => &self.backend,
        }
    }

    fn party_mut(&mut self, side: Side) -> &mut Party {
        match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        }
    }
}

/// A span less a part of `most` that chance chooses.
fn shortened(span: Duration, most: Duration, random: Random) -> Duration {
    let mut chance = [0; 4];
    random(&mut chance);
    let share = f64::from(u32::from_be_bytes(chance)) / f64::from(u32::MAX);
    span.saturating_sub(most.mul_f64(share))
}

/// By how much chance may shorten a lease.
fn lease_jitter(lease: Duration) -> Duration {
    lease.checked_div(10).unwrap_or_default().min(SessionRules::LEASE_JITTER)
}

impl SessionRules {
    /// The greatest age, by chance shortened by up to a tenth.
    fn shortened_age(&self, random: Random) -> Duration {
        shortened(self.max_age, self.max_age.checked_div(10).unwrap_or_default(), random)
    }

    fn of(&self, side: Side) -> &DirectionRules {
        match side {
            Side::Client => &self.from_client,
            Side::Backend => &self.from_backend,
        }
    }
}

impl Party {
    fn new(rules: &DirectionRules) -> Self {
        Self {
            policer: Policer::new(),
            limits: Limits::new(rules),
            traffic: Traffic::default(),
            intake: Intake::Open,
            heard: Tick::START,
            slow: SlowFrame { pace: Pace::Grace, bytes: 0 },
            outlet: Outlet::OPEN,
        }
    }
}
