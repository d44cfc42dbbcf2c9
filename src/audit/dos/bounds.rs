//! How much an attack may do, and against whom: every count, time and size of the suite.

use std::net::IpAddr;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// The bounds of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How long the control session is measured before an attack.
    pub quiet: Duration,
    /// How long a flood lasts at most.
    pub flood: Duration,
    /// How long a connection that is silent or drips may be held by a target whose deadline is not known. A known
    /// deadline beyond this is not waited for.
    pub hold: Duration,
    /// What a known deadline may be exceeded by.
    pub margin: Duration,
    /// The time between two bytes of what drips.
    pub drip: Duration,
    /// The time between two round trips of the control session.
    pub pace: Duration,
    /// How long a newcomer may need to come in, a Ping to be answered, and descriptors to come back. A quarter of it a
    /// newcomer may need at any time, so that shorter attacks prove nothing of newcomers.
    pub recovery: Duration,
    /// Round trips up to this are well, however quick the quiet ones were.
    pub floor: Duration,
    /// How many times slower than in quiet the slowest hundredth of round trips may be.
    pub ratio: u32,
    /// Connections that are held open at one stage.
    pub held: usize,
    /// Connections of a flood.
    pub flooding: usize,
    /// More silent connections of one address than this, held at the same time, are no cap.
    pub cap: usize,
    /// Addresses from which a flood comes where it comes from many; at most 250 are used.
    pub addresses: usize,
    /// Sessions from which an attack behind the 101 comes.
    pub sessions: usize,
    /// Sessions that are opened to exceed a cap that the policy names.
    pub crowd: usize,
    /// Frames that one session sends in a flood.
    pub frames: usize,
    /// Bytes that one session asks for and does not read. Less than 48 MiB may wait in buffers of kernels.
    pub asked_bytes: usize,
    /// Bytes of a head that does not end.
    pub head_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(2),
            flood: Duration::from_secs(6),
            hold: Duration::from_secs(75),
            margin: Duration::from_secs(5),
            drip: Duration::from_millis(500),
            pace: Duration::from_millis(200),
            recovery: Duration::from_secs(10),
            floor: Duration::from_millis(500),
            ratio: 20,
            held: 48,
            flooding: 600,
            cap: 512,
            addresses: 100,
            sessions: 4,
            crowd: 64,
            frames: 20_000,
            asked_bytes: 64 << 20,
            head_bytes: 2 << 20,
        }
    }
}

impl Bounds {
    /// Seconds for each case, and a floor that a busy machine stays under: for tests, and for a first look.
    pub fn quick() -> Self {
        Self {
            quiet: Duration::from_millis(300),
            flood: Duration::from_millis(1200),
            hold: Duration::from_secs(5),
            margin: Duration::from_secs(2),
            drip: Duration::from_millis(50),
            pace: Duration::from_millis(125),
            recovery: Duration::from_secs(8),
            floor: Duration::from_secs(5),
            held: 12,
            flooding: 96,
            cap: 64,
            addresses: 16,
            sessions: 2,
            crowd: 32,
            frames: 1500,
            head_bytes: 512 << 10,
            ..Self::default()
        }
    }

    /// Many connections and minutes for each case: for a machine of its own.
    pub fn long() -> Self {
        Self {
            quiet: Duration::from_secs(10),
            flood: Duration::from_secs(60),
            hold: Duration::from_secs(180),
            held: 64,
            flooding: 5000,
            addresses: 250,
            sessions: 8,
            crowd: 512,
            frames: 200_000,
            asked_bytes: 256 << 20,
            head_bytes: 16 << 20,
            ..Self::default()
        }
    }

    /// How long a case may take: everything that it waits for, twice.
    pub(in crate::audit) fn longest(self) -> Duration {
        (self.quiet + self.flood + self.hold + self.margin + 3 * self.recovery) * 2
    }

    /// Fewer connections than wanted where this process may not have as many open.
    pub(super) fn within_own_limit(self, wanted: usize) -> usize {
        wanted.min(free_descriptors())
    }
}

/// What the person says of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// It is theirs to flood, wherever it is.
    Mine,
    /// Nothing.
    Unsaid,
}

/// Whether floods may be sent to this address.
///
/// # Errors
/// With a sentence where it is neither a loopback nor a private address, and nobody said whose it is.
pub fn may_attack(address: IpAddr, consent: Consent) -> Result<(), String> {
    if consent == Consent::Mine || is_near(address.to_canonical()) {
        return Ok(());
    }
    Err(format!(
        "{address} is neither a loopback nor a private address: floods are sent there only if it is yours (--target-is-mine)"
    ))
}

/// Loopback, private (RFC 1918), link-local and unique local addresses (RFC 4193).
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Descriptors that are kept for everything but the attack.
const RESERVE: u64 = 128;

/// What stays free of the limit on open files, less a reserve; a canary in this process takes one for each session.
fn free_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let free = limit.saturating_sub(RESERVE).saturating_sub(u64::try_from(open).unwrap_or(u64::MAX));
    usize::try_from(free / 2).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_or_owned_is_attacked() {
        let near = ["127.0.0.1", "127.9.8.7", "10.0.0.1", "172.31.0.1", "192.168.1.1", "169.254.0.9", "::1"];
        let near = near.into_iter().chain(["fd00::1", "fe80::1", "::ffff:10.0.0.1"]);
        let far = ["172.32.0.1", "192.0.2.1", "8.8.8.8", "0.0.0.0", "2001:db8::1", "::ffff:8.8.8.8", "::"];
        let near: Vec<IpAddr> = near.map(|text| text.parse().unwrap()).collect();
        let far: Vec<IpAddr> = far.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!((near.len(), far.len()), (10, 7));
        for address in near {
            assert_eq!(may_attack(address, Consent::Unsaid), Ok(()), "{address}");
        }
        for address in far {
            assert!(may_attack(address, Consent::Unsaid).unwrap_err().contains("if it is yours"), "{address}");
            assert_eq!(may_attack(address, Consent::Mine), Ok(()), "{address}");
        }
    }

    #[test]
    fn bounds_fit_together() {
        for bounds in [Bounds::quick(), Bounds::default(), Bounds::long()] {
            assert!(bounds.flooding > bounds.cap, "a flood exceeds what is still a cap");
            assert!(bounds.asked_bytes > 48 << 20, "more than kernels buffer");
            assert!(bounds.addresses <= 250);
            assert!(bounds.pace < bounds.quiet && bounds.quiet < bounds.hold);
        }
        assert!(Bounds::quick().within_own_limit(1) == 1, "a test has descriptors to spare");
        assert!(Bounds::quick().within_own_limit(usize::MAX) < usize::MAX);
    }
}
