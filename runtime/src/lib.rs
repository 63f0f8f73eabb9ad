//! What every daemon of the fleet shares: time, supervised tasks, periodic work, backoff, queues, logs, the service manager.

pub mod backoff;
pub mod clock;
pub mod config;
pub mod log;
pub mod notify;
pub mod owner;
pub mod periodic;
pub mod queue;
pub mod supervise;
pub mod units;
