//! The processors' own energy counters; node_exporter's collector `rapl`.
//!
//! Format: the kernel's `Documentation/power/powercap/powercap.rst` and `Documentation/ABI/testing/sysfs-class-powercap`; `energy_uj`
//! counts microjoules and begins again at 0 beyond `max_energy_range_uj`. It may be read by root alone: from it, secrets of other
//! processes can be told (CVE-2020-8694).
//!
//! The counter is passed on as it is, as node_exporter does, and not unwrapped: an unwrapped one would jump whenever this process
//! begins anew. To whoever takes a rate, a wrap, once in half an hour or so, is a restart from 0: it costs the energy of less
//! than the interval between two readings.

use crate::source::Source;
use dsmil_protocol::metric::Scale;
use dsmil_protocol::probe::{Fault, Text};
use dsmil_sensors::root::{HOST_SYS, Root, RootError};
use dsmil_sensors::{Form, Reading};
use rustix::io::Errno;

const CLASS: &str = "class/powercap";
const JOULES: Form = Form::counter(Scale::per(1_000_000));
/// Zones that are read; a machine of eight sockets has 64 at most.
const MAX_ZONES: usize = 256;

/// Reads `/sys/class/powercap`.
#[derive(Debug, Default)]
pub(crate) struct Rapl {
    buffer: Vec<u8>,
}

impl Source for Rapl {
    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), Fault> {
        let names = match root.list_sys(CLASS) {
            Err(RootError::Missing) => return Ok(()), // Another processor, or a virtual machine.
            listed => listed.map_err(|error| fault(CLASS, error))?,
        };
        let mut seen: Vec<(String, usize)> = Vec::new();
        let mut denied = None;
        for directory in names.iter().take(MAX_ZONES) {
            let Ok(name) = root.sys(&format!("{CLASS}/{directory}/name"), &mut self.buffer) else { continue };
            let name = String::from_utf8_lossy(name).into_owned();
            let zone = Zone::of(&name, &seen);
            let path = format!("{CLASS}/{directory}/energy_uj");
            let energy = match root.sys(&path, &mut self.buffer) {
                Ok(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
                Err(RootError::Missing) => continue, // A control type (`intel-rapl` itself), or a zone of power alone.
                Err(error) => {
                    denied.get_or_insert_with(|| fault(&path, error));
                    None
                }
            };
            let metric = format!("node_rapl_{}_joules_total", sanitized(zone.name));
            let (index, place) = (zone.index.to_string(), format!("{HOST_SYS}/{CLASS}/{directory}"));
            out.push(&metric, &[("index", &index), ("path", &place)], JOULES, energy);
            match seen.iter_mut().find(|(known, _)| *known == zone.name) {
                Some((_, next)) => *next = zone.index + 1,
                None => seen.push((zone.name.to_owned(), zone.index + 1)),
            }
        }
        denied.map_or(Ok(()), Err)
    }
}

/// A zone's name without the number that it may end with, and that number; where it has none, how many of the name there were.
struct Zone<'a> {
    name: &'a str,
    index: usize,
}

impl<'a> Zone<'a> {
    /// By node_exporter's rules, which take `package-0` apart, but not `psys` or `dram-0-1`.
    fn of(name: &'a str, seen: &[(String, usize)]) -> Self {
        let mut parts = name.split('-');
        if let (Some(name), Some(number), None) = (parts.next(), parts.next(), parts.next())
            && let Ok(index) = number.parse::<u32>()
        {
            return Self { name, index: index as usize };
        }
        Self { name, index: seen.iter().find(|(known, _)| known == name).map_or(0, |(_, next)| *next) }
    }
}

/// As node_exporter makes names of what is none.
fn sanitized(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

fn fault(path: &str, error: RootError) -> Fault {
    match error {
        RootError::Unreadable(Errno::ACCESS | Errno::PERM) => Fault::NoPermission { to: Text::of(path) },
        error => Fault::Unreadable { what: Text::of(&format!("{path}: {error}")) },
    }
}

/// Pushes all that the kernel's drivers count (`drivers/powercap/intel_rapl_common.c`, `rapl_domain_names`): processors, their cores,
/// what else is on them, memory, and the whole platform.
#[cfg(any(test, feature = "reference"))]
pub(crate) fn example(out: &mut Reading) {
    let tree = dsmil_sensors::tree::Tree::new();
    let zones = [("0", "package-0"), ("0:0", "core"), ("0:1", "uncore"), ("0:2", "dram"), ("1", "psys")];
    for (directory, name) in zones {
        tree.sys(&format!("{CLASS}/intel-rapl:{directory}/name"), &format!("{name}\n"));
        tree.sys(&format!("{CLASS}/intel-rapl:{directory}/energy_uj"), "1\n");
    }
    Rapl::default().read(&tree.root(), out).expect("every file is there");
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_sensors::tree::{Tree, series};

    fn read(tree: &Tree) -> (Vec<(String, Option<f64>)>, Option<Fault>) {
        let mut reading = Reading::new();
        reading.begin();
        let fault = Rapl::default().read(&tree.root(), &mut reading).err();
        reading.complete();
        let pairs = reading.metrics().zip(reading.values());
        (pairs.map(|(metric, bits)| (series(metric), bits.map(|bits| metric.value(bits)))).collect(), fault)
    }

    fn zone(tree: &Tree, directory: &str, name: &str, energy: &str) {
        tree.sys(&format!("class/powercap/{directory}/name"), &format!("{name}\n"));
        tree.sys(&format!("class/powercap/{directory}/max_energy_range_uj"), "262143328850\n");
        tree.sys(&format!("class/powercap/{directory}/energy_uj"), &format!("{energy}\n"));
    }

    #[test]
    fn zones_are_named_and_numbered_as_node_exporter_does() {
        let tree = Tree::new();
        assert_eq!(read(&tree), (Vec::new(), None), "a machine without such counters");
        tree.sys("class/powercap/intel-rapl/enabled", "1\n");
        zone(&tree, "intel-rapl:0", "package-0", "240422366267");
        zone(&tree, "intel-rapl:0:0", "core", "118821284256");
        zone(&tree, "intel-rapl:0:1", "dram", "1");
        zone(&tree, "intel-rapl:1", "package-1", "18446744073709551615");
        zone(&tree, "intel-rapl:1:0", "core", "0");
        zone(&tree, "intel-rapl:1:1", "dram", "nonsense");
        zone(&tree, "intel-rapl-mmio:0", "package-0", "7000000");
        let (series, fault) = read(&tree);
        assert_eq!(fault, None);
        let at =
            |index: usize, directory: &str| format!("{{index=\"{index}\",path=\"/sys/class/powercap/{directory}\"}}");
        let expected = [
            (format!("node_rapl_package_joules_total{}", at(0, "intel-rapl-mmio:0")), Some(7.0)),
            (format!("node_rapl_package_joules_total{}", at(0, "intel-rapl:0")), Some(240_422.366_267)),
            (format!("node_rapl_core_joules_total{}", at(0, "intel-rapl:0:0")), Some(118_821.284_256)),
            (format!("node_rapl_dram_joules_total{}", at(0, "intel-rapl:0:1")), Some(1e-6)),
            (format!("node_rapl_package_joules_total{}", at(1, "intel-rapl:1")), Some(18_446_744_073_709.55)),
            (format!("node_rapl_core_joules_total{}", at(1, "intel-rapl:1:0")), Some(0.0)),
            (format!("node_rapl_dram_joules_total{}", at(1, "intel-rapl:1:1")), None),
        ];
        assert_eq!(series, expected);
    }

    #[test]
    fn odd_names_are_still_names() {
        let tree = Tree::new();
        for (number, name) in ["psys", "a-b", "a-1-2", "-3", "package-99999999999", "é"].iter().enumerate() {
            zone(&tree, &format!("x:{number}"), name, "5");
        }
        let (series, _) = read(&tree);
        assert_eq!(series.len(), 6);
        assert!(series[0].0.starts_with("node_rapl_psys_joules_total{index=\"0\""), "{series:?}");
    }
}
