//! `/proc/schedstat`: how long tasks ran on each core, and how long they waited for it; node_exporter's collector
//! `schedstat`.
//!
//! Format: the kernel's `Documentation/scheduler/sched-stats.rst`; times are in nanoseconds.

use crate::reading::{Form, Reading, label};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, lines, unsigned};
use dsmil_protocol::metric::Scale;

const FILE: &str = "schedstat";
const TIME: Form = Form::counter(Scale::per(1_000_000_000));

/// A column by its place after the core's name, and its metric.
const COLUMNS: [(usize, &str, Form); 3] = [
    (6, "node_schedstat_running_seconds_total", TIME),
    (7, "node_schedstat_waiting_seconds_total", TIME),
    (8, "node_schedstat_timeslices_total", Form::counter(Scale::ONE)),
];

/// Reads `/proc/schedstat`.
#[derive(Default)]
pub(crate) struct Schedstat {
    buffer: Vec<u8>,
}

impl Sensor for Schedstat {
    fn name(&self) -> &'static str {
        "schedstat"
    }

    fn source(&self) -> &'static str {
        "/proc/schedstat"
    }

    /// Most of the file is about groups of cores, which nobody asks for: 300 kB on a host of 256 cores.
    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let text = match root.proc(FILE, &mut self.buffer) {
            Err(RootError::Missing) => return Ok(()), // A kernel that does not keep these statistics.
            text => text.map_err(SensorError::at(FILE))?,
        };
        for (line, text) in lines(text) {
            let Some(rest) = text.strip_prefix(b"cpu") else { continue };
            let mut numbers = [None; COLUMNS.len()];
            for (number, (place, ..)) in numbers.iter_mut().zip(COLUMNS) {
                let field = fields(rest).nth(place + 1).ok_or(SensorError::Malformed { file: FILE, line })?;
                *number = unsigned(field);
            }
            let core = label(fields(rest).next().unwrap_or_default());
            for ((_, name, form), number) in COLUMNS.iter().zip(numbers) {
                out.push(name, &[("cpu", &core)], *form, number);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn cores_are_read_and_groups_of_cores_are_not() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut Schedstat::default()).error, None, "a kernel without them");
        tree.proc(FILE, "version 15\ntimestamp 1\ncpu0 1 2 3 4 5 6 7000000000 8500000000 9\ndomain0 3 1 2\ncpu12 1 2 3 4 5 6 x 8 9\n");
        let seen = tree.read(&mut Schedstat::default());
        assert_eq!((seen.error, seen.names().len()), (None, 6));
        assert_eq!(seen.value("node_schedstat_running_seconds_total{cpu=\"0\"}"), Some(7.0));
        assert_eq!(seen.value("node_schedstat_waiting_seconds_total{cpu=\"0\"}"), Some(8.5));
        assert_eq!(seen.value("node_schedstat_timeslices_total{cpu=\"12\"}"), Some(9.0));
        assert_eq!(seen.value("node_schedstat_running_seconds_total{cpu=\"12\"}"), None);
        tree.proc(FILE, "version 15\ncpu0 1 2 3");
        assert_eq!(tree.read(&mut Schedstat::default()).error, Some(SensorError::Malformed { file: FILE, line: 2 }));
    }
}
