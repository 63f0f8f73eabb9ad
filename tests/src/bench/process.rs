//! What a process or a thread has used: the fleet's, under the name that is short here.

pub(super) use crate::fleet::usage::{Memory, Thread, cpu_time, cpu_time_with_children, own_cpu_time};
