//! What every daemon of the fleet shares: time, supervised tasks, periodic work, backoff and logs.

pub mod backoff;
pub mod clock;
pub mod log;
pub mod periodic;
pub mod supervise;
