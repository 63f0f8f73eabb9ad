//! InfiniBand and RDMA ports: state, speed, traffic, errors; node_exporter's collector `infiniband`.
//!
//! Format: the kernel's `Documentation/ABI/stable/sysfs-class-infiniband`. Each counter is a question to the card.

use crate::attributes::Attributes;
use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::unsigned;
use dsmil_protocol::metric::Scale;

const CLASS: &str = "class/infiniband";
const GAUGE: Form = Form::gauge(Scale::ONE);
const COUNT: Form = Form::counter(Scale::ONE);
/// Data is counted in units of four bytes.
const WORDS: Form = Form::counter(Scale::times(4));
/// `rate` is in Gbit/s with one place at most: a tenth of it is this many bytes a second.
const RATE: Form = Form::gauge(Scale::times(12_500_000));
/// Ports that are read: each has some thirty counters, each a question to the card.
const MAX_PORTS: usize = 32;

/// Files below `counters`, and their metrics.
const COUNTERS: [(&str, &str, Form); 22] = [
    ("VL15_dropped", "node_infiniband_vl15_dropped_total", COUNT),
    ("excessive_buffer_overrun_errors", "node_infiniband_excessive_buffer_overrun_errors_total", COUNT),
    ("link_downed", "node_infiniband_link_downed_total", COUNT),
    ("link_error_recovery", "node_infiniband_link_error_recovery_total", COUNT),
    ("local_link_integrity_errors", "node_infiniband_local_link_integrity_errors_total", COUNT),
    ("multicast_rcv_packets", "node_infiniband_multicast_packets_received_total", COUNT),
    ("multicast_xmit_packets", "node_infiniband_multicast_packets_transmitted_total", COUNT),
    ("port_rcv_constraint_errors", "node_infiniband_port_constraint_errors_received_total", COUNT),
    ("port_rcv_data", "node_infiniband_port_data_received_bytes_total", WORDS),
    ("port_rcv_discards", "node_infiniband_port_discards_received_total", COUNT),
    ("port_rcv_errors", "node_infiniband_port_errors_received_total", COUNT),
    ("port_rcv_packets", "node_infiniband_port_packets_received_total", COUNT),
    ("port_rcv_remote_physical_errors", "node_infiniband_port_receive_remote_physical_errors_total", COUNT),
    ("port_rcv_switch_relay_errors", "node_infiniband_port_receive_switch_relay_errors_total", COUNT),
    ("port_xmit_constraint_errors", "node_infiniband_port_constraint_errors_transmitted_total", COUNT),
    ("port_xmit_data", "node_infiniband_port_data_transmitted_bytes_total", WORDS),
    ("port_xmit_discards", "node_infiniband_port_discards_transmitted_total", COUNT),
    ("port_xmit_packets", "node_infiniband_port_packets_transmitted_total", COUNT),
    ("port_xmit_wait", "node_infiniband_port_transmit_wait_total", COUNT),
    ("symbol_error", "node_infiniband_symbol_error_total", COUNT),
    ("unicast_rcv_packets", "node_infiniband_unicast_packets_received_total", COUNT),
    ("unicast_xmit_packets", "node_infiniband_unicast_packets_transmitted_total", COUNT),
];
/// Files below `counters_ext`, of drivers before Linux 4.5, and their metrics.
const LEGACY_COUNTERS: [(&str, &str, Form); 8] = [
    ("port_multicast_rcv_packets", "node_infiniband_legacy_multicast_packets_received_total", COUNT),
    ("port_multicast_xmit_packets", "node_infiniband_legacy_multicast_packets_transmitted_total", COUNT),
    ("port_rcv_data_64", "node_infiniband_legacy_data_received_bytes_total", WORDS),
    ("port_rcv_packets_64", "node_infiniband_legacy_packets_received_total", COUNT),
    ("port_unicast_rcv_packets", "node_infiniband_legacy_unicast_packets_received_total", COUNT),
    ("port_unicast_xmit_packets", "node_infiniband_legacy_unicast_packets_transmitted_total", COUNT),
    ("port_xmit_data_64", "node_infiniband_legacy_data_transmitted_bytes_total", WORDS),
    ("port_xmit_packets_64", "node_infiniband_legacy_packets_transmitted_total", COUNT),
];

/// Reads `/sys/class/infiniband`.
#[derive(Default)]
pub(crate) struct Infiniband {
    device: Attributes,
}

impl Sensor for Infiniband {
    fn name(&self) -> &'static str {
        "infiniband"
    }

    fn source(&self) -> &'static str {
        "/sys/class/infiniband"
    }

    /// Each counter is a question to the card, some 50 µs.
    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let names = match root.list_sys(CLASS) {
            Err(RootError::Missing) => return Ok(()), // No such card.
            listed => listed.map_err(SensorError::at(CLASS))?,
        };
        let mut room = MAX_PORTS;
        for name in &names {
            self.read_info(root, name, out);
            let place = format!("{CLASS}/{name}/ports");
            for port in root.list_sys(&place).unwrap_or_default().iter().take(room) {
                self.read_port(root, &format!("{place}/{port}"), [("device", name), ("port", port)], out);
                room -= 1;
            }
        }
        Ok(())
    }
}

impl Infiniband {
    fn read_info(&mut self, root: &Root, name: &str, out: &mut Reading) {
        self.device.enter(&[CLASS, "/", name]);
        let mut word = |file| self.device.text(root, file).unwrap_or_default().into_owned();
        let (board, firmware, kind) = (word("board_id"), word("fw_ver"), word("hca_type"));
        let labels =
            [("device", name), ("board_id", &board), ("firmware_version", &firmware), ("hca_type", kind.as_str())];
        out.push("node_infiniband_info", &labels, GAUGE, Some(1));
    }

    fn read_port(&mut self, root: &Root, place: &str, labels: [(&str, &str); 2], out: &mut Reading) {
        self.device.enter(&[place]);
        for (file, metric) in
            [("state", "node_infiniband_state_id"), ("phys_state", "node_infiniband_physical_state_id")]
        {
            out.push(metric, &labels, GAUGE, self.device.bytes(root, file).and_then(number_of_state));
        }
        let rate = self.device.bytes(root, "rate").and_then(tenths);
        out.push("node_infiniband_rate_bytes_per_second", &labels, RATE, rate);
        // Which counters there are depends on the card; one that does not answer keeps its metric.
        for (directory, counters) in [("counters", COUNTERS.as_slice()), ("counters_ext", &LEGACY_COUNTERS)] {
            let there = root.list_sys(&format!("{place}/{directory}")).unwrap_or_default();
            self.device.enter(&[place, "/", directory]);
            for (file, metric, form) in counters {
                if there.binary_search_by(|known| known.as_str().cmp(file)).is_ok() {
                    out.push(metric, &labels, *form, self.device.unsigned(root, file));
                }
            }
        }
    }
}

/// 4 of `4: ACTIVE`
fn number_of_state(text: &[u8]) -> Option<u64> {
    unsigned(text.split(|byte| *byte == b':').next()?)
}

/// 25 of `2.5 Gb/sec (1X SDR)`
fn tenths(text: &[u8]) -> Option<u64> {
    let number = text.split(|byte| *byte == b' ').next()?;
    let mut parts = number.splitn(2, |byte| *byte == b'.');
    let whole = unsigned(parts.next()?)?.checked_mul(10)?;
    match parts.next() {
        None => Some(whole),
        Some(place) if place.len() == 1 => whole.checked_add(unsigned(place)?),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn ports_are_read_and_a_counter_that_does_not_answer_is_absent() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut Infiniband::default()).error, None, "no such card is no trouble");
        for (file, text) in [
            ("fw_ver", "20.38.1002\n"),
            ("ports/1/state", "4: ACTIVE\n"),
            ("ports/1/phys_state", "LinkUp\n"),
            ("ports/1/rate", "2.5 Gb/sec (1X SDR)\n"),
            ("ports/1/counters/port_rcv_data", "3\n"),
            ("ports/1/counters/symbol_error", "N/A (no PMA)\n"),
            ("ports/1/counters_ext/port_rcv_data_64", "5\n"),
        ] {
            tree.sys(&format!("class/infiniband/mlx5_0/{file}"), text);
        }
        let seen = tree.read(&mut Infiniband::default());
        let value = |metric: &str| seen.value(&format!("node_infiniband_{metric}{{device=\"mlx5_0\",port=\"1\"}}"));
        assert_eq!((seen.error, seen.names().len()), (None, 1 + 3 + 3));
        assert_eq!((value("state_id"), value("physical_state_id")), (Some(4.0), None));
        assert_eq!(value("rate_bytes_per_second"), Some(312_500_000.0));
        assert_eq!(value("port_data_received_bytes_total"), Some(12.0));
        assert_eq!(value("legacy_data_received_bytes_total"), Some(20.0));
        assert_eq!(value("symbol_error_total"), None);
    }

    #[test]
    fn rates_have_one_place_or_none() {
        assert_eq!((tenths(b"100 Gb/sec (4X EDR)"), tenths(b"2.5 Gb/sec")), (Some(1000), Some(25)));
        for bad in ["", "fast", "1.25 Gb/sec", "1. Gb", "18446744073709551615 Gb"] {
            assert_eq!(tenths(bad.as_bytes()), None, "{bad}");
        }
    }
}
