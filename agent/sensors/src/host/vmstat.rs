//! `/proc/vmstat`: paging, swapping, faults and OOM kills; node_exporter's collector `vmstat` with its default fields.

use crate::reading::{Form, Reading};
use crate::root::Root;
use crate::sensor::{Sensor, SensorError};
use crate::text::{Name, fields, lines, unsigned};
use dsmil_protocol::metric::Scale;

const FILE: &str = "vmstat";

/// Reads `/proc/vmstat`.
#[derive(Default)]
pub(crate) struct Vmstat {
    buffer: Vec<u8>,
    name: Name,
}

impl Sensor for Vmstat {
    fn name(&self) -> &'static str {
        "vmstat"
    }

    fn source(&self) -> &'static str {
        "/proc/vmstat"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let text = root.proc(FILE, &mut self.buffer).map_err(SensorError::at(FILE))?;
        for (number, line) in lines(text) {
            if !is_default_field(line) {
                continue;
            }
            let mut rest = fields(line);
            let (Some(key), Some(value)) = (rest.next(), rest.next()) else {
                return Err(SensorError::Malformed { file: FILE, line: number });
            };
            let name = self.name.of("node_vmstat_", &[key]);
            out.push(name, &[], Form::counter(Scale::ONE), unsigned(value));
        }
        Ok(())
    }
}

/// `^(oom_kill|pgpg|pswp|pg.*fault).*`
fn is_default_field(line: &[u8]) -> bool {
    let key = line.split(|byte| *byte == b' ').next().unwrap_or(line);
    key.starts_with(b"oom_kill")
        || key.starts_with(b"pgpg")
        || key.starts_with(b"pswp")
        || key.strip_prefix(b"pg").is_some_and(|rest| rest.windows(5).any(|part| part == b"fault"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn the_default_fields_and_no_others() {
        let tree = Tree::new();
        tree.proc(
            "vmstat",
            "nr_free_pages 5\npgpgin 1\npgfault 2\npgmajfault 3\npswpout 4\noom_kill 0\npgfree 9\nxpgpgin 1\n",
        );
        let seen = tree.read(&mut Vmstat::default());
        let names = [
            "node_vmstat_pgpgin",
            "node_vmstat_pgfault",
            "node_vmstat_pgmajfault",
            "node_vmstat_pswpout",
            "node_vmstat_oom_kill",
        ];
        assert_eq!(seen.names(), names);
        assert_eq!(seen.value("node_vmstat_pgmajfault"), Some(3.0));
        tree.proc("vmstat", "pgpgin 1\npgpgout");
        let seen = tree.read(&mut Vmstat::default());
        assert_eq!(seen.error, Some(SensorError::Malformed { file: "vmstat", line: 2 }));
    }
}
