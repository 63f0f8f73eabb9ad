//! The host agent: sensors, sampler, spool, uplink, local socket.

pub mod root;
pub mod sampler;
pub mod sensors;
