//! How a question ended.

/// Whether somebody has to look after something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Fine,
    NeedsAttention,
}
