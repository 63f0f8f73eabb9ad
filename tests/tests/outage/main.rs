//! Outages: real programs, real sockets and a real tmpfs, killed, stopped, cut off, starved and damaged.
//!
//! Each drill breaks one thing, lets the fleet recover, and then holds three accounts against each other: what the
//! spools say was sampled, what the ledger says was stored or lost and why, and what lies in the journal's file. A drill
//! prints its seed; `DSMIL_DRILL_SEED` repeats another one. Drills named `long_…` run with `cargo xtask test --long`.

mod api;
mod audit;
mod backend_down;
mod disk_full;
mod goodbye;
mod hot;
mod journal;
mod kills;
mod link;
mod memory;
mod pauses;
mod reclassified;
mod rig;
mod silence;
