//! Packages and units on a Debian that systemd boots: installed, joined, killed, starved, sized, upgraded, removed.

mod faults;
mod fleet;
mod install;
mod machine;
mod sandbox;
