//! The files as an operator writes them: one struct a table, one field a key, nothing required.
//!
//! What is required, and what fits together, is judged where values are built, so that one missing key does not hide
//! the next mistake. `wsgate schema` prints the JSON Schema of these structs, and unknown keys are found by it.

pub mod choices;
pub mod gateway;
pub mod policy;
pub mod words;

pub use gateway::RawGateway;
pub use policy::RawPolicy;

use words::{At, Written};

/// A key that may be left out, and where it stands if it does not.
pub type Key<W> = Option<At<Written<W>>>;

/// A list that may be left out; each element knows its place.
pub type List<W> = Option<At<Vec<At<Written<W>>>>>;
