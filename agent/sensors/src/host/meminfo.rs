//! `/proc/meminfo`: where the memory is; node_exporter's collector `meminfo`.

use crate::reading::{Form, Reading};
use crate::root::Root;
use crate::sensor::{Sensor, SensorError};
use crate::text::{Name, fields, lines, unsigned};
use dsmil_protocol::metric::Scale;

const FILE: &str = "meminfo";
const PREFIX: &str = "node_memory_";

/// Reads `/proc/meminfo`.
#[derive(Default)]
pub(crate) struct Meminfo {
    buffer: Vec<u8>,
    name: Name,
}

impl Sensor for Meminfo {
    fn name(&self) -> &'static str {
        "meminfo"
    }

    fn source(&self) -> &'static str {
        "/proc/meminfo"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let text = root.proc(FILE, &mut self.buffer).map_err(SensorError::at(FILE))?;
        for (number, line) in lines(text) {
            let mut rest = fields(line);
            let (Some(key), Some(value)) = (rest.next(), rest.next()) else {
                return Err(SensorError::Malformed { file: FILE, line: number });
            };
            // `Active(anon):` is `Active_anon`.
            let key = key.strip_suffix(b":").unwrap_or(key);
            let (key, inner) =
                match key.strip_suffix(b")").and_then(|k| k.iter().position(|b| *b == b'(').map(|at| (k, at))) {
                    Some((key, at)) => (&key[..at], &key[at + 1..]),
                    None => (key, b"".as_slice()),
                };
            let between = if inner.is_empty() { b"".as_slice() } else { b"_" };
            // The kernel's kB are KiB. What has no unit is a number of pages (`HugePages_Total`), and no bytes.
            let (suffix, form) = match rest.next() {
                Some(_) => (b"_bytes".as_slice(), Form::gauge(Scale::times(1024))),
                None => (b"".as_slice(), Form::gauge(Scale::ONE)),
            };
            out.push(self.name.of(PREFIX, &[key, between, inner, suffix]), &[], form, unsigned(value));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn names_and_units_are_node_exporters() {
        let tree = Tree::new();
        tree.proc("meminfo", "MemTotal: 2 kB\nActive(anon):  996 kB\nHugePages_Total:       3\nOdd-1): -5 kB\n");
        let seen = tree.read(&mut Meminfo::default());
        assert_eq!(seen.value("node_memory_MemTotal_bytes"), Some(2048.0));
        assert_eq!(seen.value("node_memory_Active_anon_bytes"), Some(996.0 * 1024.0));
        assert_eq!(seen.value("node_memory_HugePages_Total"), Some(3.0));
        assert!(seen.has("node_memory_Odd_1__bytes") && seen.value("node_memory_Odd_1__bytes").is_none());
        tree.proc("meminfo", "MemTotal: 2 kB\nMemFr");
        let seen = tree.read(&mut Meminfo::default());
        assert_eq!(seen.error, Some(SensorError::Malformed { file: "meminfo", line: 2 }));
    }
}
