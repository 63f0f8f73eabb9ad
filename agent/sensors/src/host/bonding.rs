//! Bonded interfaces: how many of their links there are and how many are up; node_exporter's collector `bonding`.
//!
//! Format: the kernel's `Documentation/networking/bonding.rst` ("Configuring Bonding Manually via Sysfs") and
//! `drivers/net/bonding/bond_sysfs_slave.c`.

use crate::attributes::Attributes;
use crate::reading::{Form, Reading, label};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::fields;
use dsmil_protocol::metric::Scale;

const MASTERS: &str = "class/net/bonding_masters";
const COUNT: Form = Form::gauge(Scale::ONE);
/// Links whose state is read, over all bonds: each costs some 10 µs. The kernel's list of them is a page at most.
const MAX_LINKS: usize = 256;

/// Reads `/sys/class/net/bonding_masters` and what it names.
#[derive(Default)]
pub(crate) struct Bonding {
    masters: Vec<u8>,
    links: Vec<u8>,
    device: Attributes,
}

impl Sensor for Bonding {
    fn name(&self) -> &'static str {
        "bonding"
    }

    fn source(&self) -> &'static str {
        "/sys/class/net/bonding_masters"
    }

    /// That a link goes down is told each second by `netclass`; here is what the bond makes of it.
    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let masters = match root.sys(MASTERS, &mut self.masters) {
            Err(RootError::Missing) => return Ok(()), // No bond.
            masters => masters.map_err(SensorError::at(MASTERS))?,
        };
        let mut room = MAX_LINKS;
        for master in fields(masters).filter(|name| is_interface(name)) {
            let master = label(master);
            self.device.enter(&["class/net/", &master]);
            let Ok(links) = root.sys(self.device.path("bonding/slaves"), &mut self.links) else { continue };
            let (mut configured, mut active) = (0, 0);
            for link in fields(links).filter(|name| is_interface(name)).take(room) {
                let link = label(link);
                // Kernels before 3.12 call the directory by another name.
                let up = ["lower_", "slave_"].iter().find_map(|prefix| {
                    let state = self.device.bytes(root, &format!("{prefix}{link}/bonding_slave/mii_status"))?;
                    Some(state == b"up")
                });
                configured += 1;
                active += u64::from(up == Some(true));
                room -= 1;
            }
            out.push("node_bonding_slaves", &[("master", &master)], COUNT, Some(configured));
            out.push("node_bonding_active", &[("master", &master)], COUNT, Some(active));
        }
        Ok(())
    }
}

/// Whether a name can be an interface's: nothing leads out of the directory.
fn is_interface(name: &[u8]) -> bool {
    !name.contains(&b'/') && name != b"." && name != b".."
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn links_are_counted_and_so_are_those_that_are_up() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut Bonding::default()).error, None, "no bond is no trouble");
        tree.sys("class/net/bonding_masters", "bond0 bond1 gone\n");
        tree.sys("class/net/bond0/bonding/slaves", "eth0 eth1 eth2\n");
        tree.sys("class/net/bond0/lower_eth0/bonding_slave/mii_status", "up\n");
        tree.sys("class/net/bond0/lower_eth1/bonding_slave/mii_status", "down\n");
        tree.sys("class/net/bond1/bonding/slaves", "\n");
        let seen = tree.read(&mut Bonding::default());
        assert_eq!((seen.error, seen.names().len()), (None, 4));
        assert_eq!(seen.value("node_bonding_slaves{master=\"bond0\"}"), Some(3.0));
        assert_eq!(seen.value("node_bonding_active{master=\"bond0\"}"), Some(1.0), "eth2 does not answer");
        assert_eq!(seen.value("node_bonding_slaves{master=\"bond1\"}"), Some(0.0));
    }

    #[test]
    fn names_that_lead_elsewhere_and_endless_lists_do_no_harm() {
        let tree = Tree::new();
        tree.sys("class/net/bonding_masters", "../.. bond0\n");
        tree.sys("class/net/bond0/bonding/slaves", &"a ".repeat(2000));
        let seen = tree.read(&mut Bonding::default());
        let links = f64::from(u32::try_from(MAX_LINKS).expect("small"));
        assert_eq!(seen.value("node_bonding_slaves{master=\"bond0\"}"), Some(links));
        assert_eq!(seen.names().len(), 2);
    }
}
