//! Attacks behind the 101: floods of small frames, messages without an end, lengths that nothing holds, readers that do
//! not read.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::bounds::Bounds;
use super::control::round_trip;
use super::ground::{Ground, Window, side_by_side};
use super::verdict::seconds;
use super::{Attacked, Requests};
use crate::audit::answer::Answer;
use crate::audit::finding::{Outcome, Verdict};
use crate::audit::frame::{self, FIN, opcode};
use crate::audit::wire::{Heard, Wire};
use crate::policy::Policy;
use crate::units::Rate;

/// Frames of a flood that go in one write.
const FRAMES_AT_ONCE: usize = 64;

/// The payload of a large message; a policy that allows less is kept to.
const MESSAGE_BYTES: usize = 16 << 10;

/// What goes in one write of a head that does not end.
const HEAD_AT_ONCE: usize = 4 << 10;

/// What is sent of a frame that announces more than any memory holds.
const BOMB_BYTES: usize = 1 << 20;

/// Small frames that one session sends without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// Messages of one byte.
    OneByte,
    /// Messages of none.
    Empty,
    /// Fragments of a message that does not end, every second one empty.
    Fragments,
    /// Pings.
    Pings,
    /// Pongs that nobody asked for.
    Pongs,
}

/// What a policy says of a flood of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// Nothing is known.
    Unknown,
    /// Without bound.
    All,
    /// So many in this time do not pass.
    Less,
    /// So many in this time pass.
    Enough,
}

impl Frames {
    /// Whether a policy allows so many in this time.
    pub(super) fn allowed(self, policy: Option<&Policy>, count: usize, within: Duration) -> Allowed {
        let Some(policy) = policy else { return Allowed::Unknown };
        let rules = &policy.session.from_client;
        let most = match self {
            Self::Fragments => u128::from(rules.fragments),
            Self::OneByte | Self::Empty => match rules.messages {
                None => return Allowed::All,
                Some(rate) => passed(rate, within),
            },
            Self::Pings | Self::Pongs => match rules.control {
                None => return Allowed::All,
                Some(rate) => passed(rate, within),
            },
        };
        if most < u128::try_from(count).unwrap_or(u128::MAX) { Allowed::Less } else { Allowed::Enough }
    }

    fn frame(self, number: usize) -> Vec<u8> {
        match self {
            Self::OneByte => frame::masked(FIN | opcode::TEXT, b"x"),
            Self::Empty => frame::masked(FIN | opcode::TEXT, b""),
            Self::Fragments if number == 0 => frame::masked(opcode::BINARY, b"x"),
            Self::Fragments if number.is_multiple_of(2) => frame::masked(opcode::CONTINUATION, b"x"),
            Self::Fragments => frame::masked(opcode::CONTINUATION, b""),
            Self::Pings => frame::masked(FIN | opcode::PING, b"flood"),
            Self::Pongs => frame::masked(FIN | opcode::PONG, b"flood"),
        }
    }
}

/// How many of a rate pass in this time, its burst included.
fn passed(rate: Rate, within: Duration) -> u128 {
    let back = within.as_micros().saturating_mul(u128::from(rate.count.get()));
    u128::from(rate.burst.get()).saturating_add(back.checked_div(rate.period.as_micros()).unwrap_or(0))
}

/// What became of a session that floods.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Flooded {
    /// The target ended it.
    Ended,
    /// Not all was taken in the time.
    Slowed,
    /// All was taken, in this time.
    Passed(Duration),
    /// It never opened; the sentence tells why.
    NotThere(String),
}

/// Sessions that send small frames as fast as they are taken. Behind them goes a Ping: its Pong says that the target has
/// read them all.
pub(super) async fn frames(kind: Frames, ground: &Ground, requests: &Requests) -> Attacked {
    let attackers = sessions(ground, requests, move |wire, ground| flooded(kind, wire, ground));
    let came = side_by_side(attackers).await;
    let connections = came.len();
    let came: Vec<Flooded> = came.into_iter().map(|came| came.unwrap_or_else(Flooded::NotThere)).collect();
    Attacked { verdict: judged(&came, ground.bounds.frames), connections }
}

fn judged(came: &[Flooded], count: usize) -> Verdict {
    let number = |wanted: &Flooded| came.iter().filter(|came| *came == wanted).count();
    let passed = came.iter().filter_map(|came| if let Flooded::Passed(took) = came { Some(*took) } else { None });
    let (slowed, ended) = (number(&Flooded::Slowed), number(&Flooded::Ended));
    if let Some(took) = passed.min() {
        return Verdict::fell(format!("{count} frames of one session were all taken within {}", seconds(took)));
    }
    match came.iter().find_map(|came| if let Flooded::NotThere(why) = came { Some(why) } else { None }) {
        Some(why) if slowed + ended == 0 => Verdict::undecided(why.clone()),
        _ if slowed + ended == 0 => Verdict::undecided("no session was opened"),
        _ => Verdict::held(format!("of {} sessions {ended} were ended and {slowed} slowed", came.len())),
    }
}

async fn flooded(kind: Frames, mut wire: Wire, ground: Ground) -> Flooded {
    let began = Instant::now();
    let until = began + ground.bounds.flood;
    let mut sent = 0;
    while sent < ground.bounds.frames {
        let end = ground.bounds.frames.min(sent + FRAMES_AT_ONCE);
        let batch: Vec<u8> = (sent..end).flat_map(|number| kind.frame(number)).collect();
        sent = end;
        match timeout_at(until, wire.send(&batch)).await {
            Err(_) => return Flooded::Slowed,
            Ok(false) => return Flooded::Ended,
            Ok(true) if drained(&mut wire).await => return Flooded::Ended,
            Ok(true) if Instant::now() >= until => return Flooded::Slowed,
            Ok(true) => {}
        }
    }
    match timeout_at(until, round_trip(&mut wire, b"behind the flood", ground.bounds.flood)).await {
        Ok(Ok(())) => Flooded::Passed(began.elapsed()),
        Ok(Err(_)) if drained(&mut wire).await => Flooded::Ended,
        Ok(Err(_)) if Instant::now() < until => Flooded::Ended,
        Ok(Err(_)) | Err(_) => Flooded::Slowed,
    }
}

/// The most frames that are read at a time: a target that never stops sending is not listened to for ever.
const DRAINED: usize = 4096;

/// Reads what has come; whether it ends the session.
async fn drained(wire: &mut Wire) -> bool {
    for _ in 0..DRAINED {
        match wire.frame(Duration::ZERO).await {
            Heard::This(frame) if frame.opcode() == opcode::CLOSE => return true,
            Heard::This(_) => {}
            Heard::End(_) | Heard::Garbled(_) => return true,
            Heard::Silence => return false,
        }
    }
    false
}

/// Sessions that each announce a frame of 2^62 bytes and send the first MiB of it: each must be ended.
pub(super) async fn bombs(ground: &Ground, requests: &Requests) -> Attacked {
    let attackers = sessions(ground, requests, |mut wire, ground: Ground| async move {
        let mut sent = wire.send(&frame::header_64(FIN | opcode::BINARY, 1 << 62)).await;
        for _ in 0..BOMB_BYTES / MESSAGE_BYTES {
            sent = sent && timeout(ground.patience.close, wire.send(&[0; MESSAGE_BYTES])).await.unwrap_or(false);
        }
        wire.ended(ground.patience.close).await.is_some()
    });
    let came = side_by_side(attackers).await;
    let ended = came.iter().filter(|came| **came == Ok(true)).count();
    let taken = came.iter().filter(|came| **came == Ok(false)).count();
    let verdict = match (taken, ended) {
        (0, 0) => Verdict::undecided("no session was opened"),
        (0, _) => Verdict::held(format!("all {ended} sessions were ended")),
        _ => Verdict::fell(format!("{taken} sessions live on behind a frame that announces 2^62 bytes")),
    };
    Attacked { verdict, connections: came.len() }
}

/// Sessions that send large messages as fast as they are taken, and read what comes back.
pub(super) async fn line_rate(ground: &Ground, requests: &Requests) -> Attacked {
    let attackers = sessions(ground, requests, |mut wire, ground: Ground| async move {
        let message = large(&ground);
        let until = Instant::now() + ground.bounds.flood;
        let mut sent = 0;
        while sent < ground.bounds.asked_bytes && Instant::now() < until {
            match timeout_at(until, wire.send(&message)).await {
                Ok(true) if !drained(&mut wire).await => sent += message.len(),
                _ => break,
            }
        }
        sent
    });
    let came = side_by_side(attackers).await;
    let (connections, sent) = (came.len(), came.iter().flatten().sum::<usize>());
    let verdict = match sent {
        0 => Verdict::undecided("no session was opened"),
        _ => Verdict::held(format!("{connections} sessions sent {} KiB", sent >> 10)),
    };
    Attacked { verdict, connections }
}

/// What became of a session that asks and does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unread {
    /// So many bytes were taken of it; then it stood still, or was ended.
    Bounded(usize),
    /// So many bytes were taken of it, and it went on when the time was up.
    GoesOn(usize),
    /// All that it asked for was taken, and none of what came back was read.
    Taken,
    /// Nothing comes back here.
    NoEcho,
}

/// Sessions that ask an echo for much and read nothing of it: what waits for them must be bounded.
pub(super) async fn unread(ground: &Ground, requests: &Requests) -> Attacked {
    let attackers = (0..ground.bounds.sessions).map(|number| {
        let (ground, request, from) = (ground.clone(), requests.good(number), ground.address(0));
        async move {
            let within = ground.bounds.recovery;
            let wire = ground.enter_by(&request, from, within, Window::Small).await?;
            Ok::<_, String>(asks(wire, &ground).await)
        }
    });
    let came = side_by_side(attackers).await;
    let verdict = unread_judged(&came, &ground.bounds);
    Attacked { verdict, connections: came.len() }
}

fn unread_judged(came: &[Result<Unread, String>], bounds: &Bounds) -> Verdict {
    let most = |of: fn(&Unread) -> Option<usize>| came.iter().flatten().filter_map(of).max();
    let bounded = most(|came| if let Unread::Bounded(taken) = came { Some(*taken) } else { None });
    let goes_on = most(|came| if let Unread::GoesOn(taken) = came { Some(*taken) } else { None });
    match (goes_on, bounded) {
        _ if came.contains(&Ok(Unread::Taken)) => Verdict::fell(format!(
            "{} MiB were taken of a session that reads nothing of what comes back",
            bounds.asked_bytes >> 20
        )),
        (Some(taken), _) => Verdict::undecided(format!(
            "{} KiB were taken in {} of a session that does not read, and it went on",
            taken >> 10,
            seconds(bounds.hold)
        )),
        (None, Some(taken)) => {
            Verdict::held(format!("at most {} KiB were taken of a session that does not read", taken >> 10))
        }
        (None, None) if came.contains(&Ok(Unread::NoEcho)) => {
            Verdict::new(Outcome::NotRun, "needs --canary: what stands behind the target does not echo")
        }
        (None, None) => Verdict::undecided("no session was opened"),
    }
}

async fn asks(mut wire: Wire, ground: &Ground) -> Unread {
    wire.send(&frame::masked(FIN | opcode::BINARY, b"echo?")).await;
    match wire.frame(ground.patience.answer).await {
        Heard::This(frame) if frame.payload == b"echo?" => {}
        _ => return Unread::NoEcho,
    }
    let message = large(ground);
    let until = Instant::now() + ground.bounds.hold;
    // What makes no way for so long stands still; a machine that is busy itself makes some.
    let still = ground.bounds.flood.max(ground.bounds.recovery / 2);
    let mut sent = 0;
    while sent < ground.bounds.asked_bytes {
        if Instant::now() >= until {
            return Unread::GoesOn(sent);
        }
        if timeout(still, wire.send(&message)).await != Ok(true) {
            return Unread::Bounded(sent);
        }
        sent += message.len();
    }
    Unread::Taken
}

/// Of what a head that does not end consists, and how many bytes each value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Fields {
    Many = 1,
    Large = 1000,
}

/// Heads that do not end: each must be answered or ended before all of it is taken.
pub(super) async fn heads(ground: &Ground, requests: &Requests) -> Attacked {
    let attackers = (0..ground.bounds.held).map(|number| {
        let (ground, request, from) = (ground.clone(), requests.good(number), ground.address(0));
        let fields = if number.is_multiple_of(2) { Fields::Large } else { Fields::Many };
        async move { endless_head(&ground, &request, from, fields).await }
    });
    let came = side_by_side(attackers).await;
    let taken = came.iter().filter(|came| **came == Some(Flooded::Slowed)).count();
    let ended = came.iter().filter(|came| **came == Some(Flooded::Ended)).count();
    let size = ground.bounds.head_bytes >> 10;
    let verdict = match (taken, ended) {
        (0, 0) => Verdict::undecided("no connection was taken"),
        (0, _) => Verdict::held(format!("all {ended} were refused or ended")),
        _ => Verdict::fell(format!("{size} KiB of a head that does not end were taken on {taken} connections")),
    };
    Attacked { verdict, connections: came.len() }
}

/// Sends header fields without end: `Ended` where the target had enough, `Slowed` where it did not, `None` where there
/// was no connection.
async fn endless_head(ground: &Ground, request: &[u8], from: Option<IpAddr>, fields: Fields) -> Option<Flooded> {
    let mut wire = ground.wire(from, Window::Usual).await.ok()?;
    let mut sent = wire.send(request.strip_suffix(b"\r\n").unwrap_or(request)).await;
    let value = "x".repeat(fields as usize);
    let fields = format!("X-More: {value}\r\n").repeat(HEAD_AT_ONCE / (value.len() + 10)).into_bytes();
    for _ in 0..ground.bounds.head_bytes.div_ceil(fields.len()) {
        sent = sent && wire.send(&fields).await;
        let heard: Heard<Answer> = wire.answer(Duration::ZERO).await;
        if !sent || !matches!(heard, Heard::Silence) {
            return Some(Flooded::Ended);
        }
    }
    match wire.answer(ground.patience.close).await {
        Heard::Silence => Some(Flooded::Slowed),
        _ => Some(Flooded::Ended),
    }
}

/// A large message that the policy allows.
fn large(ground: &Ground) -> Vec<u8> {
    let most = ground.target.policy.as_ref().map(|policy| policy.session.from_client.message_size.as_usize());
    frame::masked(FIN | opcode::BINARY, &vec![b'x'; most.unwrap_or(usize::MAX).min(MESSAGE_BYTES)])
}

/// The sessions of an attack, each of which acts once it is open.
fn sessions<T, F, Act>(
    ground: &Ground,
    requests: &Requests,
    act: F,
) -> impl Iterator<Item = impl Future<Output = Result<T, String>> + Send + 'static>
where
    F: Fn(Wire, Ground) -> Act + Clone + Send + 'static,
    Act: Future<Output = T> + Send,
{
    (0..ground.bounds.sessions).map(move |number| {
        let (ground, request, act) = (ground.clone(), requests.good(number), act.clone());
        async move {
            let wire = ground.enter(&request, ground.address(0), ground.bounds.recovery).await?;
            Ok(act(wire, ground).await)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_says_how_many_pass() {
        for (rate, seconds, count) in [("10/s burst 20", 3, 50), ("6/m burst 1", 30, 4), ("100/s burst 500", 6, 1100)] {
            assert_eq!(passed(rate.parse().unwrap(), Duration::from_secs(seconds)), count, "{rate}");
        }
        let unknown = Frames::Pings.allowed(None, 1, Duration::ZERO);
        assert_eq!(unknown, Allowed::Unknown);
    }

    #[test]
    fn one_session_whose_flood_passes_is_too_many() {
        let away = || Flooded::NotThere(String::from("503"));
        let cases = [
            (vec![Flooded::Ended, Flooded::Slowed], Outcome::Held),
            (vec![Flooded::Ended, away()], Outcome::Held),
            (vec![Flooded::Ended, Flooded::Passed(Duration::ZERO)], Outcome::Fell),
            (vec![away()], Outcome::Undecided),
            (Vec::new(), Outcome::Undecided),
        ];
        for (came, outcome) in &cases {
            assert_eq!(judged(came, 1000).outcome, *outcome, "{came:?}");
        }
        assert_eq!(cases.len(), 5);
    }

    #[test]
    fn rx07_only_what_stands_still_is_bounded() {
        let away = || Err(String::from("503"));
        let cases = [
            (vec![Ok(Unread::Bounded(1)), Ok(Unread::Bounded(2))], Outcome::Held),
            (vec![Ok(Unread::Bounded(1)), away()], Outcome::Held),
            (vec![Ok(Unread::Bounded(1)), Ok(Unread::GoesOn(2))], Outcome::Undecided),
            (vec![Ok(Unread::GoesOn(2)), Ok(Unread::Taken)], Outcome::Fell),
            (vec![Ok(Unread::NoEcho), away()], Outcome::NotRun),
            (vec![away()], Outcome::Undecided),
        ];
        for (came, outcome) in &cases {
            assert_eq!(unread_judged(came, &Bounds::default()).outcome, *outcome, "{came:?}");
        }
        assert_eq!(cases.len(), 6);
    }

    #[test]
    fn fragments_never_end_their_message() {
        let first = |number| Frames::Fragments.frame(number)[0];
        assert_eq!((first(0), first(1), first(2)), (opcode::BINARY, opcode::CONTINUATION, opcode::CONTINUATION));
        assert_eq!(Frames::Fragments.frame(1)[1], 0x80, "every second one is empty");
        assert_eq!(Frames::Empty.frame(0)[..2], [FIN | opcode::TEXT, 0x80]);
    }
}
