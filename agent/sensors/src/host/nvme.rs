//! NVMe controllers: model, serial number, firmware, and whether they are alive; node_exporter's collector `nvme`.
//!
//! Format: the kernel's `drivers/nvme/host/sysfs.c`. These four are what the driver was told when it found the controller, and what it
//! thinks of it now: no disk is asked, and none is woken.

use crate::attributes::Attributes;
use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use dsmil_protocol::metric::Scale;

const CLASS: &str = "class/nvme";
/// Files and their labels, in node_exporter's order.
const WORDS: [(&str, &str); 4] =
    [("firmware_rev", "firmware_revision"), ("model", "model"), ("serial", "serial"), ("state", "state")];
/// Controllers that are read: four files each, 10 µs a file. No machine has as many.
const MAX_CONTROLLERS: usize = 128;

/// Reads `/sys/class/nvme`.
#[derive(Default)]
pub(crate) struct Nvme {
    controller: Attributes,
    words: [String; WORDS.len()],
}

impl Sensor for Nvme {
    fn name(&self) -> &'static str {
        "nvme"
    }

    fn source(&self) -> &'static str {
        "/sys/class/nvme"
    }

    /// A controller that resets does so for seconds; one that is dead stays so.
    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let names = match root.list_sys(CLASS) {
            Err(RootError::Missing) => return Ok(()), // No such disk.
            listed => listed.map_err(SensorError::at(CLASS))?,
        };
        for name in names.iter().take(MAX_CONTROLLERS) {
            self.controller.enter(&[CLASS, "/", name]);
            for (word, (file, _)) in self.words.iter_mut().zip(WORDS) {
                word.clear();
                word.push_str(&self.controller.text(root, file).unwrap_or_default());
            }
            let mut labels = [("device", name.as_str()); WORDS.len() + 1];
            for ((label, word), (_, key)) in labels[1..].iter_mut().zip(&self.words).zip(WORDS) {
                *label = (key, word);
            }
            out.push("node_nvme_info", &labels, Form::gauge(Scale::ONE), Some(1));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn a_controller_is_named_and_its_padding_is_gone() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut Nvme::default()).error, None, "no such disk is no trouble");
        tree.sys("class/nvme/nvme0/model", "Example Disk                \n");
        tree.sys("class/nvme/nvme0/state", "resetting\n");
        let seen = tree.read(&mut Nvme::default());
        let info = "node_nvme_info{device=\"nvme0\",firmware_revision=\"\",model=\"Example Disk\",serial=\"\",state=\"resetting\"}";
        assert_eq!((seen.error, seen.names()), (None, vec![info]));
    }
}
