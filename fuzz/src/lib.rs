//! Everything that reads bytes of strangers, as functions that a coverage-guided fuzzer can call.
//!
//! A [`Target`] takes any bytes and asserts more than that nothing panics: what is read is printed and read again, limits
//! hold, memory stays within what the input warrants. The fuzzer is a feature (`libfuzzer`), so that an ordinary build
//! compiles no C++; what it found is kept under `corpus` and `regressions` and replayed by the ordinary tests.
//!
//! docs/fuzzing.md says how to run it, what ran, and what it found.

pub mod archive;
pub mod kept;
pub mod memory;
mod targets;

pub use targets::{TARGETS, Target, target};
