//! Counters of live things that give back by themselves.
//!
//! A [`Slot`] is one live thing of one key. It returns to the counter that it came from when it is dropped, on whatever
//! way out. A key without live slots has no entry, so the map holds at most as many entries as there are slots alive.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, PoisonError};

use super::store::Key;
use super::sync::atomic::{AtomicUsize, Ordering};
use super::sync::{Mutex, MutexGuard};

/// Locks over which the keys are spread.
const SHARDS: usize = 64;

/// Room for entries that a shard keeps although it is empty.
const KEPT_CAPACITY: usize = 64;

/// How many are alive, by key.
pub(super) struct Slots {
    shards: Box<[Mutex<HashMap<Key, u32>>]>,
    live: AtomicUsize,
}

impl Slots {
    /// No slot is taken.
    pub(super) fn new() -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self { shards, live: AtomicUsize::new(0) })
    }

    /// Takes a slot of `key`, unless `cap` are alive.
    pub(super) fn take(self: &Arc<Self>, key: Key, cap: u32) -> Option<Slot> {
        let mut shard = self.shard(key)?;
        match shard.entry(key) {
            Entry::Occupied(mut entry) => {
                let next = entry.get().checked_add(1).filter(|next| *next <= cap)?;
                *entry.get_mut() = next;
            }
            Entry::Vacant(_) if cap == 0 => return None,
            Entry::Vacant(entry) => {
                entry.insert(1);
            }
        }
        self.live.fetch_add(1, Ordering::Relaxed);
        Some(Slot { slots: Arc::clone(self), key })
    }

    /// How many slots of `key` are alive.
    pub(super) fn count(&self, key: Key) -> u32 {
        self.shard(key).and_then(|shard| shard.get(&key).copied()).unwrap_or(0)
    }

    /// How many slots are alive.
    pub(super) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// How many keys have live slots.
    pub(super) fn keys(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn give_back(&self, key: Key) {
        let Some(mut shard) = self.shard(key) else { return };
        if let Entry::Occupied(mut entry) = shard.entry(key) {
            match entry.get().checked_sub(1) {
                None | Some(0) => {
                    entry.remove();
                }
                Some(left) => *entry.get_mut() = left,
            }
        }
        if shard.capacity() > KEPT_CAPACITY && shard.len() < shard.capacity() / 8 {
            let room = shard.len().saturating_mul(2).max(KEPT_CAPACITY / 2);
            shard.shrink_to(room);
        }
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    fn shard(&self, key: Key) -> Option<MutexGuard<'_, HashMap<Key, u32>>> {
        self.shards.get(key.part(SHARDS)).map(lock)
    }
}

fn lock(shard: &Mutex<HashMap<Key, u32>>) -> MutexGuard<'_, HashMap<Key, u32>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One live thing; dropping it gives its place back.
#[must_use = "a slot that is dropped is given back"]
pub(super) struct Slot {
    slots: Arc<Slots>,
    key: Key,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.give_back(self.key);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use super::*;

    fn key(of: u32) -> Key {
        Key::new(&RandomState::new(), &of)
    }

    #[test]
    fn the_cap_holds_and_a_dropped_slot_comes_back() {
        let slots = Slots::new();
        let (one, other) = (key(1), key(2));
        let first = slots.take(one, 2).unwrap();
        let second = slots.take(one, 2).unwrap();
        assert!(slots.take(one, 2).is_none());
        let beside = slots.take(other, 2).unwrap();
        assert_eq!((slots.count(one), slots.live(), slots.keys()), (2, 3, 2));
        drop(first);
        let third = slots.take(one, 2).unwrap();
        drop((second, third, beside));
        assert_eq!((slots.count(one), slots.live(), slots.keys()), (0, 0, 0));
        assert!(slots.take(one, 0).is_none());
        assert_eq!(slots.keys(), 0, "a refused key leaves no entry");
    }

    #[test]
    fn a_lowered_cap_refuses_until_enough_have_gone() {
        let slots = Slots::new();
        let mut held: Vec<Slot> = (0..5).map_while(|_| slots.take(key_of_all(), 5)).collect();
        assert_eq!(held.len(), 5);
        assert!(slots.take(key_of_all(), 3).is_none());
        held.truncate(2);
        assert!(slots.take(key_of_all(), 3).is_some());
    }

    fn key_of_all() -> Key {
        use std::sync::OnceLock;
        static KEY: OnceLock<Key> = OnceLock::new();
        *KEY.get_or_init(|| key(0))
    }

    #[test]
    fn rx04_a_thousand_at_once_never_exceed_ten() {
        const CAP: u32 = 10;
        let slots = Slots::new();
        let shared = key(4);
        let (alive, most, granted) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        let start = Barrier::new(50);
        thread::scope(|scope| {
            for worker in 0..50 {
                let (slots, alive, most, granted, start) = (&slots, &alive, &most, &granted, &start);
                scope.spawn(move || {
                    start.wait();
                    for round in 0..1000 {
                        let Some(slot) = slots.take(shared, CAP) else { continue };
                        granted.fetch_add(1, Ordering::SeqCst);
                        most.fetch_max(alive.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        thread::yield_now();
                        alive.fetch_sub(1, Ordering::SeqCst);
                        if (worker + round) % 97 == 0 {
                            // An aborted task drops what it holds while it unwinds.
                            let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                                let _held = slot;
                                std::panic::resume_unwind(Box::new("aborted"));
                            }));
                            assert!(unwound.is_err());
                        }
                    }
                });
            }
        });
        assert!(granted.into_inner() > CAP);
        assert!(most.into_inner() <= CAP);
        assert_eq!((slots.count(shared), slots.live(), slots.keys()), (0, 0, 0));
        assert!(slots.take(shared, CAP).is_some(), "the twin: there is room again");
    }

    #[test]
    fn memory_of_a_flood_is_given_back() {
        let slots = Slots::new();
        let seed = RandomState::new();
        let held: Vec<Slot> = (0..50_000).filter_map(|n| slots.take(Key::new(&seed, &n), 1)).collect();
        assert_eq!(slots.keys(), held.len());
        drop(held);
        let room: usize = slots.shards.iter().map(|shard| lock(shard).capacity()).sum();
        assert!(room <= SHARDS * KEPT_CAPACITY * 2, "{room}");
    }
}
