//! Probes: the real program with what it loads playing every part, and what the agent makes of it.

mod activation;
mod fdinfo;
mod fleet;
mod gpus;
mod host;
mod log;
mod rig;
mod smart;
mod storm;
mod systemd;
