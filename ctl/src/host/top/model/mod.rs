//! What a host does at this moment, out of the metrics of two ticks and the agent's own word.

mod accelerators;
mod devices;
mod heat;
mod processor;

pub(super) use accelerators::Accelerator;
pub(super) use devices::{Disk, Filesystem, Network};
pub(super) use heat::{Power, Supply, Temperature};
pub(super) use processor::{Core, Cpu, Memory, Modes, Pressure};

use super::super::checks;
use super::readings::Readings;
use dsmil_agent::status::Status;
use serde::Serialize;

/// A host at a tick. What is not known is absent.
#[derive(Clone, Debug, Serialize)]
pub(in super::super) struct Model {
    /// The host's name.
    pub(super) host: String,
    /// The tick: seconds since the host booted.
    pub(super) tick: u64,
    /// The host's wall clock then, milliseconds since 1970.
    pub(super) wall_ms: i64,
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
    pub(super) pressure: Vec<Pressure>,
    pub(super) disks: Vec<Disk>,
    pub(super) filesystems: Vec<Filesystem>,
    pub(super) networks: Vec<Network>,
    pub(super) temperatures: Vec<Temperature>,
    pub(super) power: Vec<Power>,
    pub(super) supplies: Vec<Supply>,
    pub(super) accelerators: Vec<Accelerator>,
    /// What the agent says of itself; whoever looks from elsewhere does not hear it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent: Option<Box<Status>>,
    /// What of that needs attention.
    pub(in super::super) attention: Vec<String>,
}

impl Model {
    /// Of a host's newest readings and the agent's status of the same moment, if it is known.
    pub(super) fn of(host: String, readings: &Readings, status: Option<Status>) -> Self {
        Self {
            host,
            tick: readings.tick,
            wall_ms: readings.wall_ms,
            cpu: processor::cpu(readings),
            memory: processor::memory(readings),
            pressure: processor::pressure(readings),
            disks: devices::disks(readings),
            filesystems: devices::filesystems(readings),
            networks: devices::networks(readings),
            temperatures: heat::temperatures(readings),
            power: heat::power(readings),
            supplies: heat::supplies(readings),
            accelerators: accelerators::accelerators(readings),
            attention: status.as_ref().map(checks::of_status).unwrap_or_default(),
            agent: status.map(Box::new),
        }
    }
}
