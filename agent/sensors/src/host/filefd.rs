//! Open files and the kernel's entropy: node_exporter's collectors `filefd` and `entropy`.
//!
//! Formats: the kernel's `Documentation/admin-guide/sysctl/{fs,kernel}.rst`.

use crate::reading::{Form, Reading};
use crate::root::Root;
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, unsigned};
use dsmil_protocol::metric::Scale;

const FILES: &str = "sys/fs/file-nr";
const ENTROPY: [(&str, &str); 2] = [
    ("sys/kernel/random/entropy_avail", "node_entropy_available_bits"),
    ("sys/kernel/random/poolsize", "node_entropy_pool_size_bits"),
];
const COUNT: Form = Form::gauge(Scale::ONE);

/// Reads `file-nr`, `entropy_avail` and `poolsize`.
#[derive(Default)]
pub(crate) struct Filefd {
    buffer: Vec<u8>,
}

impl Sensor for Filefd {
    fn name(&self) -> &'static str {
        "filefd"
    }

    fn source(&self) -> &'static str {
        "/proc/sys/fs/file-nr, /proc/sys/kernel/random"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let text = root.proc(FILES, &mut self.buffer).map_err(SensorError::at(FILES))?;
        let mut columns = fields(text);
        // The column between them has been 0 since Linux 2.6.
        let allocated = columns.next();
        let maximum = columns.nth(1);
        let (Some(allocated), Some(maximum)) = (allocated.map(unsigned), maximum.map(unsigned)) else {
            return Err(SensorError::Malformed { file: FILES, line: 1 });
        };
        drop(columns);
        out.push("node_filefd_allocated", &[], COUNT, allocated);
        out.push("node_filefd_maximum", &[], COUNT, maximum);
        for (file, name) in ENTROPY {
            let text = root.proc(file, &mut self.buffer).map_err(SensorError::at(file))?;
            out.push(name, &[], COUNT, unsigned(text.trim_ascii()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn files_and_entropy() {
        let tree = Tree::new();
        tree.proc("sys/fs/file-nr", "276\t0\t9223372036854775807\n");
        tree.proc("sys/kernel/random/entropy_avail", "256\n");
        let seen = tree.read(&mut Filefd::default());
        assert_eq!(seen.error, Some(SensorError::Missing { file: "sys/kernel/random/poolsize" }));
        assert_eq!(seen.value("node_filefd_allocated"), Some(276.0));
        assert_eq!(seen.value("node_entropy_available_bits"), Some(256.0));
        tree.proc("sys/fs/file-nr", "276\n");
        let seen = tree.read(&mut Filefd::default());
        assert_eq!(seen.error, Some(SensorError::Malformed { file: "sys/fs/file-nr", line: 1 }));
    }
}
