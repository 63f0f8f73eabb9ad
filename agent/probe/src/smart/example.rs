//! Disks of every kind that have everything, for the reference of metrics.

use super::{Smart, disk};
use crate::program::Output;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use dsmil_sensors::Reading;
use dsmil_sensors::tree::Tree;
use std::time::Duration;

/// Disks, and what smartctl says of each.
const DISKS: [(&str, &str); 4] = [
    ("nvme0", include_str!("../../fixtures/smart/nvme-worn.json")),
    ("nvme1", include_str!("../../fixtures/smart/nvme-qemu.json")),
    ("sda", include_str!("../../fixtures/smart/sata-failing.json")),
    ("sdb", include_str!("../../fixtures/smart/sas.json")),
];

/// Pushes all that they say, and how they are.
pub(crate) fn example(out: &mut Reading) {
    let (clock, tree) = (Clock::real(), host());
    let now = clock.mono();
    // Nobody is asked: what they say is there.
    let mut smart = Smart::new(None, clock.clone(), &Supervisor::new(clock), Duration::ZERO);
    smart.list(&tree.root(), now).expect("every file is there");
    assert_eq!(smart.disks.len(), DISKS.len(), "each of them is one to ask");
    for (name, said) in DISKS {
        smart.take_one(name, Ok(Output { code: Some(0), stdout: said.into(), stderr: Vec::new() }));
    }
    smart.push(now, out).expect("they are few");
}

/// A host with them.
fn host() -> Tree {
    let tree = Tree::new();
    for (name, _) in DISKS {
        if name.starts_with("nvme") {
            tree.sys(&format!("{}/{name}/transport", disk::NVME), "pcie\n");
        } else {
            tree.sys(&format!("{}/{name}/device/vendor", disk::BLOCK), "EXAMPLE\n");
        }
    }
    tree
}
