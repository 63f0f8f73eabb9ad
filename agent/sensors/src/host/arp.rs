//! `/proc/net/arp`: neighbours by interface; node_exporter's collector `arp`.
//!
//! Format: the kernel's `net/ipv4/arp.c` and the man page proc_net(5): a header, then a line a neighbour, its interface last.

use crate::reading::{Form, Reading, label};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, lines};
use dsmil_protocol::metric::Scale;
use std::collections::BTreeMap;

const FILE: &str = "net/arp";
/// Columns of a line.
const COLUMNS: usize = 6;

/// Reads `/proc/net/arp`.
#[derive(Default)]
pub(crate) struct Arp {
    buffer: Vec<u8>,
}

impl Sensor for Arp {
    fn name(&self) -> &'static str {
        "arp"
    }

    fn source(&self) -> &'static str {
        "/proc/net/arp"
    }

    /// Neighbours stay for minutes, and there may be thousands.
    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let text = match root.proc(FILE, &mut self.buffer) {
            Err(RootError::Missing) => return Ok(()), // A kernel without IPv4.
            text => text.map_err(SensorError::at(FILE))?,
        };
        let mut neighbours: BTreeMap<&[u8], u64> = BTreeMap::new();
        for (line, text) in lines(text).skip(1) {
            let device = fields(text).nth(COLUMNS - 1).ok_or(SensorError::Malformed { file: FILE, line })?;
            *neighbours.entry(device).or_default() += 1;
        }
        for (device, count) in neighbours {
            out.push("node_arp_entries", &[("device", &label(device))], Form::gauge(Scale::ONE), Some(count));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    const HEAD: &str = "IP address       HW type     Flags       HW address            Mask     Device\n";

    #[test]
    fn neighbours_are_counted_by_interface() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut Arp::default()).error, None, "a kernel without IPv4");
        let line = |ip: &str, device: &str| {
            format!("{ip:16} 0x1         0x2         02:00:00:00:00:01     *        {device}\n")
        };
        let text = [line("192.0.2.1", "eth0"), line("192.0.2.2", "br-1"), line("192.0.2.3", "eth0")].concat();
        tree.proc(FILE, &format!("{HEAD}{text}"));
        let seen = tree.read(&mut Arp::default());
        assert_eq!(seen.error, None);
        assert_eq!(seen.value("node_arp_entries{device=\"eth0\"}"), Some(2.0));
        assert_eq!(seen.value("node_arp_entries{device=\"br-1\"}"), Some(1.0));
        tree.proc(FILE, &format!("{HEAD}192.0.2.1 0x1"));
        assert_eq!(tree.read(&mut Arp::default()).error, Some(SensorError::Malformed { file: FILE, line: 2 }));
    }
}
