//! The order in which the servers of an upstream are tried for one handshake.
//!
//! Hashes are rendezvous hashes: each pair of server and key has a number, and the best number wins. A server that is
//! added takes its share from each of the others and moves nothing between them; one that leaves gives what it had to
//! all of them. They hold no secret: a gateway that starts again, and one beside it, chooses the same server. Who can
//! choose the key can choose the server either way, by saying the same key again; `connections_per_server` bounds that.

use super::{Balance, HashKey};

/// A server that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its name's key.
    pub name: HashKey,
    /// Its live sessions.
    pub sessions: u32,
    /// How much of its share it gets.
    pub share: Share,
}

/// A part of a whole share, in thousandths; never none, so that what begins slowly does begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// The whole.
    pub const WHOLE: Self = Self(1000);
    /// What a server begins with.
    const LEAST: u16 = 50;

    /// So many thousandths.
    pub fn thousandths(count: u128) -> Self {
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        Self(count.clamp(Self::LEAST, Self::WHOLE.0))
    }

    fn weight(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE.0)
    }
}

/// What decides among candidates.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// How many were drawn before.
    pub turn: usize,
    /// To whom the handshake belongs.
    pub key: HashKey,
    /// Chance.
    pub random: u64,
}

/// The places of all candidates, the one to try first in front.
pub fn order(balance: &Balance, candidates: &[Candidate], draw: Draw) -> Vec<usize> {
    let mut chance = Chance(draw.random);
    match balance {
        Balance::RoundRobin => in_turn(candidates, draw.turn, &mut chance),
        // Ties are many where sessions are few: chance decides, not the place in the list.
        Balance::LeastSessions => ascending(candidates, |one| {
            let sessions = f64::from(one.sessions) + 1.0;
            (sessions / one.share.weight(), chance.fraction())
        }),
        Balance::Hash(_) => ascending(candidates, |one| (race(mixed(draw.key.0 ^ mixed(one.name.0)), one.share), 0.0)),
    }
}

/// From the one whose turn it is, round. One that has a part of its share takes that part of its turns; chance gives
/// the others to the rest, so that they do not all fall to its neighbour.
fn in_turn(candidates: &[Candidate], turn: usize, chance: &mut Chance) -> Vec<usize> {
    let first = turn.checked_rem(candidates.len()).unwrap_or(0);
    let is_taken = candidates.get(first).is_none_or(|one| chance.fraction() < one.share.weight());
    if is_taken {
        return (first..candidates.len()).chain(0..first).collect();
    }
    let mut rest = ascending(candidates, |one| (race(chance.next(), one.share), 0.0));
    rest.retain(|place| *place != first);
    rest.push(first);
    rest
}

fn ascending(candidates: &[Candidate], mut score: impl FnMut(&Candidate) -> (f64, f64)) -> Vec<usize> {
    let scored = candidates.iter().enumerate().map(|(place, one)| (score(one), place));
    let mut scored: Vec<((f64, f64), usize)> = scored.collect();
    scored.sort_by(|((a, a_tie), _), ((b, b_tie), _)| a.total_cmp(b).then(a_tie.total_cmp(b_tie)));
    scored.into_iter().map(|(_, place)| place).collect()
}

/// When one of a share arrives in a race that each wins as often as its share says; the least is first.
fn race(bits: u64, share: Share) -> f64 {
    -fraction(bits).ln() / share.weight()
}

/// A number between zero and one, neither of them.
fn fraction(bits: u64) -> f64 {
    let high = u32::try_from(bits >> 32).unwrap_or(u32::MAX);
    (f64::from(high) + 0.5) / 4_294_967_296.0
}

/// Every bit of the result depends on every bit of the argument (the finalizer of SplitMix64).
fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Numbers that follow from one random number (SplitMix64): they spread load, and keep no secret.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    fn fraction(&mut self) -> f64 {
        fraction(self.next())
    }
}
