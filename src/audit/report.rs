//! A scorecard as a file: for a person, or for a machine.
//!
//! What a target sent stands in it as text. Secrets were taken out where the exchange was noted.

mod html;
mod json;
mod junit;
mod plot;
mod sarif;
#[cfg(test)]
mod tests;

pub use html::html;
pub use json::json;
pub use junit::junit;
pub use sarif::sarif;
