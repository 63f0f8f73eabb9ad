//! Whole fleets, fault rigs, the fleet simulator and benchmarks.

pub mod bench;
pub mod client;
pub mod demo;
pub mod docs;
pub mod enrol;
pub mod fleet;
pub mod http;
pub mod sim;
