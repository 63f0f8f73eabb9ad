//! The host agent: sensors, sampler, spool, uplink, local socket.

pub mod config;
pub mod local;
pub mod report;
pub mod root;
pub mod run;
pub mod sampler;
pub mod sensors;
pub mod spool;
pub mod status;
pub mod uplink;
