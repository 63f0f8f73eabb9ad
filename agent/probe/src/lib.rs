//! `dsmil-probe`: reads one kind of thing that needs rights or a vendor's library, in a process of its own.
//!
//! What a vendor's library does nobody knows beforehand: it may crash, wait for ever in the kernel, or be somebody else's by now.
//! So one process a kind loads it, with the least rights that this reading needs and no network; the agent asks it over a unix
//! socket and believes nothing of it.
//!
//! There are two threads. One waits for questions and always answers ([`door`], [`talk`]); the other one reads ([`desk`]), and when
//! it does not come back, the first says so, with the place in the kernel where it hangs: nobody outside of this process may see
//! that. Nothing is read before somebody asks, and who is not asked for a while ends, so that devices can sleep; systemd starts it
//! again with the next question.
//!
//! It is linked dynamically, because a static program cannot load libraries, and is the only program here that is.

mod cli;
mod desk;
mod door;
mod fdinfo;
mod kmsg;
mod nvidia;
mod nvml;
mod program;
mod rapl;
#[cfg(any(test, feature = "reference"))]
pub mod reference;
mod smart;
mod source;
mod systemd;
mod talk;
mod waiting;

pub use cli::{command, main};
