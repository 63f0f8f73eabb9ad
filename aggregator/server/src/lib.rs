//! The centre: takes in what agents send, keeps it, accounts for it, and answers over HTTPS.

pub mod fleet;
pub mod live;
pub mod telemetry;
