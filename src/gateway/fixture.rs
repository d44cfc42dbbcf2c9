//! A house for tests, with files of its own.

use std::sync::Arc;

use super::house::House;
use super::ledger::Ledger;
use super::reload::Kept;
use crate::config::fixture::Ground;
use crate::event::{Event, Observer};

/// A house that nobody listens to.
pub(super) struct Stage {
    pub(super) house: Arc<House>,
    pub(super) kept: Kept,
    _ground: Ground,
}

/// Who hears of events and tells nobody.
pub(super) struct Deaf;

impl Observer for Deaf {
    fn observe(&self, _: &Event) {}
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::on(Ground::new())
    }

    /// One with these files.
    pub(super) fn on(ground: Ground) -> Self {
        let (config, _) = ground.load().map_err(|mistakes| format!("{mistakes:?}")).unwrap();
        let kept = Kept::of(&config);
        let house = Arc::new(House::new(config, Ledger::default(), Arc::new(Deaf)).unwrap());
        Self { house, kept, _ground: ground }
    }
}
