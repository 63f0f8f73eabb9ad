//! The host agent: sampler, spool, uplink, local socket.

pub mod addresses;
pub mod config;
pub mod credentials;
pub mod dial;
pub mod fleet_settings;
pub mod join;
pub mod join_port;
pub mod local;
pub mod probes;
pub mod reload;
pub mod report;
pub mod run;
pub mod sampler;
pub mod settings;
pub mod spool;
pub mod status;
#[cfg(test)]
mod test_fleet;
pub mod uplink;
