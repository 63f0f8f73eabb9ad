//! `/proc/uptime`: how long the host is up. node_exporter has boot time only (see the sensor `stat`), which moves
//! when the wall clock is stepped; this does not.

use crate::reading::{Form, Reading};
use crate::root::Root;
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, hundredths};
use dsmil_protocol::metric::Scale;

const FILE: &str = "uptime";

/// Reads `/proc/uptime`.
#[derive(Default)]
pub(crate) struct Uptime {
    buffer: Vec<u8>,
}

impl Sensor for Uptime {
    fn name(&self) -> &'static str {
        "uptime"
    }

    fn source(&self) -> &'static str {
        "/proc/uptime"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let text = root.proc(FILE, &mut self.buffer).map_err(SensorError::at(FILE))?;
        let up = fields(text).next().ok_or(SensorError::Malformed { file: FILE, line: 1 })?;
        out.push("dsmil_uptime_seconds", &[], Form::gauge(Scale::per(100)), hundredths(up));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn uptime_is_seconds() {
        let tree = Tree::new();
        tree.proc("uptime", "981.42 1360.83\n");
        assert_eq!(tree.read(&mut Uptime::default()).value("dsmil_uptime_seconds"), Some(981.42));
        tree.proc("uptime", "\n");
        let seen = tree.read(&mut Uptime::default());
        assert_eq!(seen.error, Some(SensorError::Malformed { file: "uptime", line: 1 }));
    }
}
