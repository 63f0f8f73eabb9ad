//! Prometheus's query API over the store, for plain selectors, and its text format.
//!
//! Answers are Prometheus's own JSON, so that Grafana and scripts written for Prometheus work against
//! `/prometheus` as their base. Reading order: `selector` (what may be asked), `filter` (what it matches), `moment` (times
//! and durations), `collect` (from samples to series), `engine` (from hosts to answers), `answer` (JSON), `routes`,
//! `document` (what OpenAPI says of all that).
//!
//! Differences from Prometheus, all on purpose: samples of all boots of a host are one series; the look-back is fixed; a
//! series that its host's newest metric set no longer names is over at once.

mod answer;
mod collect;
pub(crate) mod document;
mod engine;
mod filter;
pub mod moment;
mod names;
pub(crate) mod number;
mod params;
pub(crate) mod routes;
pub mod selector;
pub(crate) mod text;

pub use params::judge;

/// How far back an instant looks for a series' newest sample, milliseconds: Prometheus's own default.
pub const LOOK_BACK_MS: i64 = 300_000;
