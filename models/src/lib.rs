//! The gateway's own `src/limits`, compiled over [shuttle](https://docs.rs/shuttle)'s locks and counters instead of std's.
//!
//! A test in `tests/` runs the same few threads over and over, each time in another order of their steps. The files are
//! the product's, not a copy: `cfg(shuttle)`, which only this package sets, chooses the locks (`src/limits/sync.rs`) and
//! makes the tables small enough to be full. A package of its own, because nothing else is compiled a second time for it,
//! and the product knows neither a feature nor a dependency.

// What `crate::` names in the shared files.
pub use wsgate::{config, peer, policy, units};

#[path = "../../src/limits/mod.rs"]
pub mod limits;
