//! `/proc/net/dev`: bytes, packets and errors of the network interfaces; node_exporter's collector `netdev`.

use crate::reading::{Form, Reading, label};
use crate::root::Root;
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, lines, unsigned};
use dsmil_protocol::metric::Scale;

const FILE: &str = "net/dev";
const COUNT: Form = Form::counter(Scale::ONE);

/// The header's second line: what the columns are. Another header is another format.
const HEADER: [&[u8]; 2] = [
    b"bytes packets errs drop fifo frame compressed multicast",
    b"bytes packets errs drop fifo colls carrier compressed",
];
/// The columns' names, in the order of the header.
const COLUMNS: [&str; 16] = [
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_receive_errs_total",
    "node_network_receive_drop_total",
    "node_network_receive_fifo_total",
    "node_network_receive_frame_total",
    "node_network_receive_compressed_total",
    "node_network_receive_multicast_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
    "node_network_transmit_errs_total",
    "node_network_transmit_drop_total",
    "node_network_transmit_fifo_total",
    "node_network_transmit_colls_total",
    "node_network_transmit_carrier_total",
    "node_network_transmit_compressed_total",
];
/// Not in `/proc/net/dev`: one file an interface below /sys.
const NOHANDLER: &str = "node_network_receive_nohandler_total";
/// Interfaces whose file below /sys is read: each costs some 10 µs, and a host with more than this many (a container
/// host's virtual ones) must not spend its tick on them.
const MAX_NOHANDLER: usize = 64;
/// Bytes of an interface's name: the kernel's `IFNAMSIZ`, less its zero byte.
const MAX_DEVICE_LEN: usize = 15;

/// Reads `/proc/net/dev` and `/sys/class/net/*/statistics/rx_nohandler`.
#[derive(Default)]
pub(crate) struct Netdev {
    buffer: Vec<u8>,
    path: String,
    value: Vec<u8>,
}

impl Sensor for Netdev {
    fn name(&self) -> &'static str {
        "netdev"
    }

    fn source(&self) -> &'static str {
        "/proc/net/dev, /sys/class/net"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let text = root.proc(FILE, &mut self.buffer).map_err(SensorError::at(FILE))?;
        let mut all = lines(text).skip(1);
        let (number, header) = all.next().ok_or(SensorError::Malformed { file: FILE, line: 1 })?;
        let parts = header.split(|byte| *byte == b'|').skip(1);
        if !parts.flat_map(fields).eq(HEADER.iter().flat_map(|half| fields(half))) {
            return Err(SensorError::Malformed { file: FILE, line: number });
        }
        let mut devices = 0;
        for (number, line) in all {
            // The kernel allows no colon in a name; there may be no space behind it.
            let colon = line.iter().position(|byte| *byte == b':');
            let colon = colon.ok_or(SensorError::Malformed { file: FILE, line: number })?;
            let device = label(line[..colon].trim_ascii());
            for (name, column) in COLUMNS.iter().zip(fields(&line[colon + 1..])) {
                out.push(name, &[("device", &device)], COUNT, unsigned(column));
            }
            devices += 1;
            if devices <= MAX_NOHANDLER && device.len() <= MAX_DEVICE_LEN && !device.contains('/') && device != ".." {
                self.path.clear();
                for part in ["class/net/", &device, "/statistics/rx_nohandler"] {
                    self.path.push_str(part);
                }
                let nohandler = root.sys(&self.path, &mut self.value).ok().and_then(unsigned);
                out.push(NOHANDLER, &[("device", &device)], COUNT, nohandler);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    const HEAD: &str = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";

    #[test]
    fn every_column_has_its_name() {
        let tree = Tree::new();
        tree.proc(
            "net/dev",
            &format!("{HEAD}  eth0:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n wl-0: 18446744073709551616 2\n"),
        );
        tree.sys("class/net/eth0/statistics/rx_nohandler", "17\n");
        let seen = tree.read(&mut Netdev::default());
        assert_eq!(seen.error, None);
        for (name, value) in COLUMNS.iter().chain([&NOHANDLER]).zip(1u8..) {
            assert_eq!(seen.value(&format!("{name}{{device=\"eth0\"}}")), Some(f64::from(value)), "{name}");
        }
        assert_eq!(seen.value("node_network_receive_bytes_total{device=\"wl-0\"}"), None, "more than 64 bits");
        assert_eq!(seen.value("node_network_receive_packets_total{device=\"wl-0\"}"), Some(2.0));
    }

    #[test]
    fn another_header_is_refused_not_guessed_at() {
        let tree = Tree::new();
        tree.proc("net/dev", &HEAD.replace("errs drop", "drop errs"));
        let seen = tree.read(&mut Netdev::default());
        assert_eq!(seen.error, Some(SensorError::Malformed { file: "net/dev", line: 2 }));
    }

    #[test]
    fn a_name_cannot_lead_out_of_its_directory() {
        let tree = Tree::new();
        tree.proc("net/dev", &format!("{HEAD}..: 1\na/../../b: 1\n"));
        tree.sys("class/statistics/rx_nohandler", "17\n");
        let seen = tree.read(&mut Netdev::default());
        assert!(seen.names().iter().all(|name| !name.starts_with(NOHANDLER)));
    }
}
