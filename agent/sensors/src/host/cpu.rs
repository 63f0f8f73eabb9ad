//! How often processors were slowed down for their heat, and which ones the scheduler leaves alone: the part of node_exporter's
//! collector `cpu` that is below /sys (the sensor `stat` has the rest). The isolated ones came with a release after 1.5.
//!
//! Format: the kernel's `Documentation/ABI/testing/sysfs-devices-system-cpu` (`thermal_throttle`, `topology`, `isolated`). The counts
//! are kept in memory by the interrupt that is taken when it gets too hot; no processor is asked.

use super::cpufreq::ranges;
use crate::attributes::Attributes;
use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use dsmil_protocol::metric::Scale;
use std::collections::BTreeSet;

const ONLINE: &str = "devices/system/cpu/online";
const COUNT: Form = Form::counter(Scale::ONE);
const FLAG: Form = Form::gauge(Scale::ONE);

/// Reads `/sys/devices/system/cpu`.
#[derive(Default)]
pub(crate) struct Cpu {
    online: Vec<u8>,
    /// The processors to ask, each for one core and perhaps its package.
    cores: Vec<Core>,
    files: Attributes,
}

/// A core, with the processor that is asked for it.
struct Core {
    cpu: u64,
    package: String,
    core: String,
    /// Whether it is also asked for its package: the first of each.
    first: bool,
}

impl Sensor for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn source(&self) -> &'static str {
        "/sys/devices/system/cpu: thermal_throttle, isolated"
    }

    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let mut online = Vec::new();
        match root.sys(ONLINE, &mut online) {
            Err(RootError::Missing) => return Ok(()), // A kernel for one processor.
            read => read.map_err(SensorError::at(ONLINE))?,
        };
        if online != self.online {
            self.find(root, online)?;
        }
        for core in &self.cores {
            self.files.enter(&["devices/system/cpu/cpu", &core.cpu.to_string(), "/thermal_throttle"]);
            let mut count = |file: &str, metric: &str, labels: &[(&str, &str)]| {
                // Virtual machines and other architectures do not count.
                if let Some(count) = self.files.unsigned(root, file) {
                    out.push(metric, labels, COUNT, Some(count));
                }
            };
            let labels = [("package", core.package.as_str()), ("core", core.core.as_str())];
            count("core_throttle_count", "node_cpu_core_throttles_total", &labels);
            if core.first {
                count("package_throttle_count", "node_cpu_package_throttles_total", &labels[..1]);
            }
        }
        self.files.enter(&["devices/system/cpu"]);
        let isolated = self.files.bytes(root, "isolated").and_then(ranges).unwrap_or_default();
        for cpu in isolated {
            out.push("node_cpu_isolated", &[("cpu", &cpu.to_string())], FLAG, Some(1));
        }
        Ok(())
    }
}

impl Cpu {
    /// Finds one processor for each core: threads of a core have the same counts.
    fn find(&mut self, root: &Root, online: Vec<u8>) -> Result<(), SensorError> {
        let cpus = ranges(online.trim_ascii()).ok_or(SensorError::Malformed { file: ONLINE, line: 1 })?;
        self.cores.clear();
        let (mut cores, mut packages) = (BTreeSet::new(), BTreeSet::new());
        for cpu in cpus {
            self.files.enter(&["devices/system/cpu/cpu", &cpu.to_string(), "/topology"]);
            let Some(package) = self.files.unsigned(root, "physical_package_id") else { continue };
            let Some(core) = self.files.unsigned(root, "core_id") else { continue };
            if cores.insert((package, core)) {
                let first = packages.insert(package);
                self.cores.push(Core { cpu, package: package.to_string(), core: core.to_string(), first });
            }
        }
        self.online = online;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn a_core_counts_once_whatever_its_threads() {
        let tree = Tree::new();
        assert!(tree.read(&mut Cpu::default()).names().is_empty());
        tree.sys("devices/system/cpu/online", "0-3\n");
        tree.sys("devices/system/cpu/isolated", "2-3\n");
        for (cpu, package, core, count) in [(0, 0, 0, 7), (1, 0, 4, 0), (2, 0, 0, 7), (3, 1, 0, 9)] {
            let directory = format!("devices/system/cpu/cpu{cpu}");
            tree.sys(&format!("{directory}/topology/physical_package_id"), &format!("{package}\n"));
            tree.sys(&format!("{directory}/topology/core_id"), &format!("{core}\n"));
            tree.sys(&format!("{directory}/thermal_throttle/core_throttle_count"), &format!("{count}\n"));
        }
        tree.sys("devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "31\n");
        let seen = tree.read(&mut Cpu::default());
        assert_eq!(seen.error, None);
        assert_eq!(seen.value("node_cpu_core_throttles_total{package=\"0\",core=\"0\"}"), Some(7.0));
        assert_eq!(seen.value("node_cpu_core_throttles_total{package=\"0\",core=\"4\"}"), Some(0.0));
        assert_eq!(seen.value("node_cpu_core_throttles_total{package=\"1\",core=\"0\"}"), Some(9.0));
        assert_eq!(seen.value("node_cpu_package_throttles_total{package=\"0\"}"), Some(31.0));
        assert_eq!(seen.value("node_cpu_isolated{cpu=\"3\"}"), Some(1.0));
        assert_eq!(seen.names().len(), 6, "{:?}", seen.names());
    }

    #[test]
    fn a_list_that_is_none_is_a_verdict() {
        let tree = Tree::new();
        tree.sys("devices/system/cpu/online", "all\n");
        let malformed = Some(SensorError::Malformed { file: ONLINE, line: 1 });
        assert_eq!(tree.read(&mut Cpu::default()).error, malformed);
    }
}
