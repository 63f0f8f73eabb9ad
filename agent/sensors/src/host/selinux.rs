//! Whether SELinux is on and enforces; node_exporter's collector `selinux`.
//!
//! Format: the kernel's `security/selinux/selinuxfs.c` and the man page selinux(8): `enforce` is 0 (permissive) or 1.

use crate::attributes::Attributes;
use crate::reading::{Form, Reading};
use crate::root::Root;
use crate::sensor::{Sensor, SensorError};
use dsmil_protocol::metric::Scale;

const FLAG: Form = Form::gauge(Scale::ONE);

/// Reads `/sys/fs/selinux/enforce`.
#[derive(Default)]
pub(crate) struct Selinux {
    filesystem: Attributes,
}

impl Sensor for Selinux {
    fn name(&self) -> &'static str {
        "selinux"
    }

    fn source(&self) -> &'static str {
        "/sys/fs/selinux/enforce"
    }

    fn interval_s(&self) -> u16 {
        60
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        self.filesystem.enter(&["fs/selinux"]);
        let enforces = self.filesystem.unsigned(root, "enforce");
        // selinuxfs is mounted where SELinux is on, and nowhere else.
        out.push("node_selinux_enabled", &[], FLAG, Some(u64::from(enforces.is_some())));
        if let Some(enforces) = enforces {
            out.push("node_selinux_current_mode", &[], FLAG, Some(enforces));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn on_off_and_enforcing() {
        let tree = Tree::new();
        let seen = tree.read(&mut Selinux::default());
        assert_eq!((seen.names(), seen.value("node_selinux_enabled")), (vec!["node_selinux_enabled"], Some(0.0)));
        tree.sys("fs/selinux/enforce", "1");
        let seen = tree.read(&mut Selinux::default());
        assert_eq!(seen.value("node_selinux_enabled"), Some(1.0));
        assert_eq!(seen.value("node_selinux_current_mode"), Some(1.0));
    }
}
