//! `/proc/loadavg`: load averages over 1, 5 and 15 minutes; node_exporter's collector `loadavg`.

use crate::reading::{Form, Reading};
use crate::root::Root;
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, hundredths};
use dsmil_protocol::metric::Scale;

const FILE: &str = "loadavg";
const NAMES: [&str; 3] = ["node_load1", "node_load5", "node_load15"];

/// Reads `/proc/loadavg`.
#[derive(Default)]
pub(crate) struct Loadavg {
    buffer: Vec<u8>,
}

impl Sensor for Loadavg {
    fn name(&self) -> &'static str {
        "loadavg"
    }

    fn source(&self) -> &'static str {
        "/proc/loadavg"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let text = root.proc(FILE, &mut self.buffer).map_err(SensorError::at(FILE))?;
        let mut columns = fields(text);
        for name in NAMES {
            let column = columns.next().ok_or(SensorError::Malformed { file: FILE, line: 1 })?;
            out.push(name, &[], Form::gauge(Scale::per(100)), hundredths(column));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn three_averages_or_a_verdict() {
        let tree = Tree::new();
        tree.proc("loadavg", "0.10 10.62 nan 1/86 11624\n");
        let seen = tree.read(&mut Loadavg::default());
        assert_eq!((seen.value("node_load1"), seen.value("node_load5")), (Some(0.1), Some(10.62)));
        assert!(seen.has("node_load15") && seen.value("node_load15").is_none());
        tree.proc("loadavg", "0.10 10.62");
        let seen = tree.read(&mut Loadavg::default());
        assert_eq!(seen.error, Some(SensorError::Malformed { file: "loadavg", line: 1 }));
    }
}
