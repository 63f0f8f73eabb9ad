//! The verbs that do something once, print it and end.

pub(super) mod check;
pub(super) mod join;
mod service;
pub(super) mod units;
