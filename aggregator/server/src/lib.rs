//! The centre: takes in what agents send, keeps it, accounts for it, and answers over HTTPS.

pub mod admission;
pub mod api;
pub mod check;
pub mod config;
pub mod credentials;
pub mod fleet;
pub mod ingest;
pub mod init;
pub mod join;
pub mod live;
pub mod prometheus;
pub mod refusals;
pub mod registry;
pub mod reload;
pub mod retention;
pub mod run;
pub mod security_log;
pub mod settings;
pub mod telemetry;
pub mod trust;
