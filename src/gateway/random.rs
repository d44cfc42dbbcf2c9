//! Randomness from the system's generator, for ids, keys and masks.

use aws_lc_rs::rand;

use crate::policy::{Reason, Refusal};

/// `N` random bytes.
///
/// # Errors
///
/// An internal refusal where the generator fails: nothing predictable is ever used instead.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    match rand::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Refusal::new(Reason::Internal).with_detail("the system's random generator failed")),
    }
}

/// A random number, for an order or a delay; zero where the generator fails.
pub(super) fn number() -> u64 {
    bytes().map_or(0, u64::from_ne_bytes)
}

/// The chance in a `Retry-After`; zero where the generator fails.
pub(super) fn jitter() -> u32 {
    bytes().map_or(0, u32::from_be_bytes)
}

/// Fills a slice with random bytes, for the masks of a session.
#[expect(clippy::expect_used, reason = "a session whose masks could be foreseen is worse than one that ends")]
pub(super) fn fill(bytes: &mut [u8]) {
    rand::fill(bytes).expect("the system's random generator works");
}
