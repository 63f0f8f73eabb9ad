//! Network interfaces and their links: up or down, how fast, which addresses; node_exporter's collector `netclass`.
//!
//! Format: the kernel's `Documentation/ABI/testing/sysfs-class-net`. What an interface does not have, or does not tell
//! while it is down, answers EINVAL.
//!
//! An interface has twenty-two attributes, and three of them (`carrier`, `speed`, `duplex`) wait for the lock of all
//! network configuration and ask the driver, which may ask the card. So each reading asks every interface only for its
//! state and for the number of changes of its carrier, which are the kernel's own memory, and asks for everything where
//! one of them has changed. What changes without these two, an MTU or an alias, is seen when the interface's turn comes:
//! every fourth reading asks one of them for everything.

use crate::attributes::Attributes;
use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{hexadecimal, unsigned};
use dsmil_protocol::metric::Scale;

const CLASS: &str = "class/net";
/// Interfaces that are read: two files of each take some 15 µs, and a host with more than this many (a container host's
/// virtual ones) must not spend its tick on them. Those with a device behind them come first.
const MAX_INTERFACES: usize = 64;
/// Readings to a turn. A turn takes some 120 µs, more than all the rest: with four interfaces, each has one in 16 seconds.
const READINGS_TO_A_TURN: usize = 4;

const COUNT: Form = Form::counter(Scale::ONE);
const GAUGE: Form = Form::gauge(Scale::ONE);
/// `speed` is in Mbit/s.
const SPEED: Form = Form::gauge(Scale::times(125_000));

/// An attribute with a number, and its metric.
const NUMBERS: [(&str, &str, Form); 17] = [
    ("addr_assign_type", "node_network_address_assign_type", GAUGE),
    ("carrier", "node_network_carrier", GAUGE),
    (CHANGES, "node_network_carrier_changes_total", COUNT),
    ("carrier_up_count", "node_network_carrier_up_changes_total", COUNT),
    ("carrier_down_count", "node_network_carrier_down_changes_total", COUNT),
    ("dev_id", "node_network_device_id", GAUGE),
    ("dormant", "node_network_dormant", GAUGE),
    ("flags", "node_network_flags", GAUGE),
    ("ifindex", "node_network_iface_id", GAUGE),
    ("iflink", "node_network_iface_link", GAUGE),
    ("link_mode", "node_network_iface_link_mode", GAUGE),
    ("mtu", "node_network_mtu_bytes", GAUGE),
    ("name_assign_type", "node_network_name_assign_type", GAUGE),
    ("netdev_group", "node_network_net_dev_group", GAUGE),
    ("speed", "node_network_speed_bytes", SPEED),
    ("tx_queue_len", "node_network_transmit_queue_length", GAUGE),
    ("type", "node_network_protocol_type", GAUGE),
];
const CHANGES: &str = "carrier_changes";
const CHANGES_AT: usize = 2;

/// Attributes with a word: labels of `node_network_info`, in node_exporter's order. Releases after 1.5.0 have one more,
/// `adminstate`, which is in `node_network_flags` too.
const WORDS: [&str; 5] = ["address", "broadcast", "duplex", STATE, "ifalias"];
const STATE: &str = "operstate";
const STATE_AT: usize = 3;

/// Reads `/sys/class/net`.
#[derive(Default)]
pub(crate) struct Netclass {
    listed: Vec<String>,
    interfaces: Vec<Interface>,
    /// Readings until now, for whose turn it is.
    readings: usize,
    device: Attributes,
}

/// What was last read of an interface.
#[derive(Default)]
struct Interface {
    name: String,
    words: [String; WORDS.len()],
    numbers: [Option<u64>; NUMBERS.len()],
    /// Which numbers it ever told. The others have no metric; these keep theirs while the interface is down, so that a
    /// link that comes and goes does not change the metric set.
    told: [bool; NUMBERS.len()],
}

impl Sensor for Netclass {
    fn name(&self) -> &'static str {
        "netclass"
    }

    fn source(&self) -> &'static str {
        "/sys/class/net"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let names = match root.list_sys(CLASS) {
            Err(RootError::Missing) => return Ok(()), // A kernel without networking.
            listed => listed.map_err(SensorError::at(CLASS))?,
        };
        if names != self.listed {
            self.adopt(root, &names);
            self.listed = names;
        }
        let turn = (self.readings / READINGS_TO_A_TURN).checked_rem(self.interfaces.len());
        let turn = turn.filter(|_| self.readings.is_multiple_of(READINGS_TO_A_TURN));
        self.readings = self.readings.wrapping_add(1);
        for (at, interface) in self.interfaces.iter_mut().enumerate() {
            self.device.enter(&[CLASS, "/", &interface.name]);
            let Some(changed) = interface.ask(root, &mut self.device) else {
                continue; // Gone since it was listed, or no interface: `bonding_masters` is a file.
            };
            if changed || turn == Some(at) {
                interface.ask_everything(root, &mut self.device);
            }
            interface.push(out);
        }
        Ok(())
    }
}

impl Netclass {
    /// Takes on the interfaces of another list, and keeps what is known of those that stay.
    fn adopt(&mut self, root: &Root, names: &[String]) {
        let mut chosen: Vec<&String> = names.iter().collect();
        if chosen.len() > MAX_INTERFACES {
            chosen.sort_by_cached_key(|name| is_virtual(root, name));
            chosen.truncate(MAX_INTERFACES);
            chosen.sort_unstable();
        }
        let mut known = std::mem::take(&mut self.interfaces);
        let mut interface = |name: &String| match known.iter().position(|known| known.name == *name) {
            Some(at) => known.swap_remove(at),
            None => Interface { name: name.clone(), ..Interface::default() },
        };
        self.interfaces = chosen.into_iter().map(&mut interface).collect();
    }
}

impl Interface {
    /// Whether something has changed; nothing if it is no interface.
    fn ask(&mut self, root: &Root, device: &mut Attributes) -> Option<bool> {
        let same_state = device.text(root, STATE)? == self.words[STATE_AT].as_str();
        Some(device.unsigned(root, CHANGES) != self.numbers[CHANGES_AT] || !same_state)
    }

    fn ask_everything(&mut self, root: &Root, device: &mut Attributes) {
        for (word, attribute) in self.words.iter_mut().zip(WORDS) {
            word.clear();
            word.push_str(&device.text(root, attribute).unwrap_or_default());
        }
        for ((number, told), (attribute, ..)) in self.numbers.iter_mut().zip(&mut self.told).zip(NUMBERS) {
            // Numbers are decimal, or hexadecimal after `0x`. An unknown speed is -1, which is no number of this kind.
            *number = device.bytes(root, attribute).and_then(|text| match text {
                [b'0', b'x', ..] => hexadecimal(text),
                _ => unsigned(text),
            });
            *told |= number.is_some();
        }
    }

    fn push(&self, out: &mut Reading) {
        let device = ("device", self.name.as_str());
        let up = self.words[STATE_AT] == "up";
        out.push("node_network_up", &[device], GAUGE, Some(u64::from(up)));
        let mut labels = [device; WORDS.len() + 1];
        for ((label, word), attribute) in labels[1..].iter_mut().zip(&self.words).zip(WORDS) {
            *label = (attribute, word);
        }
        out.push("node_network_info", &labels, GAUGE, Some(1));
        for (((_, metric, form), number), told) in NUMBERS.iter().zip(self.numbers).zip(self.told) {
            if told {
                out.push(metric, &[device], *form, number);
            }
        }
    }
}

/// Whether there is no device behind an interface.
fn is_virtual(root: &Root, name: &str) -> bool {
    root.resolve_sys(&format!("{CLASS}/{name}")).is_ok_and(|place| place.starts_with("devices/virtual/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Seen, Tree};

    fn interface(tree: &Tree, name: &str, attributes: &[(&str, &str)]) {
        for (attribute, value) in attributes {
            tree.sys(&format!("class/net/{name}/{attribute}"), &format!("{value}\n"));
        }
    }

    fn of(seen: &Seen, metric: &str, name: &str) -> Option<f64> {
        seen.value(&format!("{metric}{{device=\"{name}\"}}"))
    }

    #[test]
    fn numbers_words_and_what_an_interface_does_not_tell() {
        let tree = Tree::new();
        tree.sys("class/net/bonding_masters", "bond0\n");
        let eth0 =
            [("operstate", "up"), ("speed", "2500"), ("flags", "0x1003"), ("ifalias", "to the rack"), ("mtu", "1500")];
        interface(&tree, "eth0", &eth0);
        interface(&tree, "wlan0", &[("operstate", "down"), ("speed", "-1"), ("flags", "0x1002")]);
        let seen = tree.read(&mut Netclass::default());
        assert_eq!(seen.error, None);
        assert_eq!(
            (of(&seen, "node_network_up", "eth0"), of(&seen, "node_network_up", "wlan0")),
            (Some(1.0), Some(0.0))
        );
        assert_eq!(of(&seen, "node_network_speed_bytes", "eth0"), Some(312_500_000.0));
        assert!(!seen.has("node_network_speed_bytes{device=\"wlan0\"}"), "an unknown speed is none");
        assert_eq!(of(&seen, "node_network_flags", "eth0"), Some(4099.0));
        let info = "node_network_info{device=\"eth0\",address=\"\",broadcast=\"\",duplex=\"\",operstate=\"up\",ifalias=\"to the rack\"}";
        assert_eq!(seen.value(info), Some(1.0));
        assert!(seen.names().iter().all(|name| !name.contains("bonding_masters")));
    }

    #[test]
    fn a_lost_link_is_seen_in_the_same_reading_and_keeps_its_metrics() {
        let tree = Tree::new();
        let (mut sensor, root) = (Netclass::default(), tree.root());
        let up = [("operstate", "up"), ("carrier", "1"), ("carrier_changes", "1"), ("speed", "1000"), ("mtu", "1500")];
        interface(&tree, "eth0", &up);
        interface(&tree, "eth1", &up);
        Seen::of(&mut sensor, &root);
        interface(&tree, "eth1", &[("operstate", "down"), ("carrier", "0"), ("carrier_changes", "2"), ("speed", "-1")]);
        let seen = Seen::of(&mut sensor, &root);
        assert_eq!(of(&seen, "node_network_up", "eth1"), Some(0.0));
        assert_eq!(of(&seen, "node_network_carrier", "eth1"), Some(0.0));
        let speed = "node_network_speed_bytes{device=\"eth1\"}";
        assert!(seen.has(speed) && seen.value(speed).is_none(), "the metric stays, its value is gone");
    }

    #[test]
    fn what_changes_without_the_link_is_seen_when_its_turn_comes() {
        let tree = Tree::new();
        let (mut sensor, root) = (Netclass::default(), tree.root());
        for name in ["eth0", "eth1", "eth2"] {
            interface(&tree, name, &[("operstate", "up"), ("carrier_changes", "1"), ("mtu", "1500")]);
        }
        Seen::of(&mut sensor, &root);
        for name in ["eth0", "eth1", "eth2"] {
            interface(&tree, name, &[("mtu", "9000")]);
        }
        let changed = |seen: &Seen| {
            ["eth0", "eth1", "eth2"]
                .iter()
                .filter(|name| of(seen, "node_network_mtu_bytes", name) == Some(9000.0))
                .count()
        };
        let counts = [(); 3 * READINGS_TO_A_TURN].map(|()| changed(&Seen::of(&mut sensor, &root)));
        assert_eq!(counts, [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3], "one interface every fourth reading");
    }

    #[test]
    fn of_a_thousand_interfaces_those_with_a_device_are_read() {
        let tree = Tree::new();
        for i in 0..1000 {
            interface(&tree, &format!("../../devices/virtual/net/veth{i:04}"), &[("operstate", "up")]);
            tree.link(&format!("sys/class/net/veth{i:04}"), &format!("../../devices/virtual/net/veth{i:04}"));
        }
        interface(&tree, "../../devices/pci0000:00/net/wlan0", &[("operstate", "up")]);
        tree.link("sys/class/net/wlan0", "../../devices/pci0000:00/net/wlan0");
        let seen = tree.read(&mut Netclass::default());
        assert_eq!(of(&seen, "node_network_up", "wlan0"), Some(1.0));
        assert_eq!(seen.names().iter().filter(|name| name.starts_with("node_network_up{")).count(), MAX_INTERFACES);
    }
}
