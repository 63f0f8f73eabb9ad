//! A real Prometheus, configured as the documents say: it finds the hosts by itself, scrapes them through the aggregator, and
//! answers what dashboards and rules for node_exporter and for dcgm-exporter ask.

mod counters;
mod node;
mod nvidia;
mod server;

#[path = "../probes/host.rs"]
mod host;
#[path = "../probes/rig.rs"]
#[allow(dead_code, reason = "the drills of probes need more of it")]
mod rig;
