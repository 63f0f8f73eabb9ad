//! What every daemon of the fleet shares: time, supervised tasks, periodic work, backoff, queues and logs.

pub mod backoff;
pub mod clock;
pub mod log;
pub mod periodic;
pub mod queue;
pub mod supervise;
