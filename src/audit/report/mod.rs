//! A scorecard as a file: for a person, or for a machine.
