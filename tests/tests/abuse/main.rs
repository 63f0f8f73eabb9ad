//! Load and abuse: a fleet that comes back all at once, and peers that mean harm beside hosts that do not.
//!
//! Each drill has a centre as a process of its own (`rig`), honest simulated hosts in ours, and one kind of trouble, which
//! is bounded in number and time and goes over loopback only. What the honest hosts' ticks take without it, before and
//! after, is the measure of what they may take beside it. Drills named `long_…` run with `cargo xtask test --long`.

mod comeback;
mod garbage;
mod half_open;
mod hellos;
mod join_flood;
mod peers;
mod rig;
mod silent_socket;
mod slow;
mod villain;
mod watch;
