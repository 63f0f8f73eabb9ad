//! Which kernel runs under which name; node_exporter's collector `uname`.
//!
//! It is read from `/proc/sys/kernel` rather than by `uname(2)`, so that a captured tree speaks for its own host.

use crate::reading::{Form, Reading, label};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use dsmil_protocol::metric::Scale;

/// Label and file, in node_exporter's order.
const PARTS: [(&str, &str); 6] = [
    ("sysname", "sys/kernel/ostype"),
    ("release", "sys/kernel/osrelease"),
    ("version", "sys/kernel/version"),
    ("machine", MACHINE),
    ("nodename", "sys/kernel/hostname"),
    ("domainname", "sys/kernel/domainname"),
];
/// Since Linux 6.1; before it, a program knows for what it was built.
const MACHINE: &str = "sys/kernel/arch";

/// Reads the kernel's names.
#[derive(Default)]
pub(crate) struct Uname {
    buffers: [Vec<u8>; PARTS.len()],
}

impl Sensor for Uname {
    fn name(&self) -> &'static str {
        "uname"
    }

    fn source(&self) -> &'static str {
        "/proc/sys/kernel"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        for ((_, file), buffer) in PARTS.iter().zip(&mut self.buffers) {
            match root.proc(file, buffer) {
                Ok(_) => {}
                Err(RootError::Missing) if *file == MACHINE => {
                    buffer.clear();
                    buffer.extend_from_slice(std::env::consts::ARCH.as_bytes());
                }
                Err(error) => return Err(SensorError::at(file)(error)),
            }
        }
        let values = self.buffers.each_ref().map(|buffer| label(buffer.trim_ascii()));
        let labels: [(&str, &str); PARTS.len()] = std::array::from_fn(|at| (PARTS[at].0, &*values[at]));
        out.push("node_uname_info", &labels, Form::gauge(Scale::ONE), Some(1));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn labels_are_node_exporters_and_always_text() {
        let tree = Tree::new();
        for (file, text) in
            [("ostype", "Linux\n"), ("osrelease", "5.10.0\n"), ("version", "#1 SMP\n"), ("hostname", "h1\n")]
        {
            tree.proc(&format!("sys/kernel/{file}"), text);
        }
        let seen = tree.read(&mut Uname::default());
        assert_eq!(seen.error, Some(SensorError::Missing { file: "sys/kernel/domainname" }));
        tree.file("proc/sys/kernel/domainname", b"(no\xffe)\n");
        let seen = tree.read(&mut Uname::default());
        let machine = std::env::consts::ARCH;
        let name = format!(
            "node_uname_info{{sysname=\"Linux\",release=\"5.10.0\",version=\"#1 SMP\",machine=\"{machine}\",nodename=\"h1\",domainname=\"(no\u{fffd}e)\"}}"
        );
        assert_eq!(seen.value(&name), Some(1.0));
    }
}
