//! `/proc/net/softnet_stat`: packets that each core took from the network cards; node_exporter's collector `softnet`.
//!
//! Format: the kernel's `net/core/net-procfs.c`: a line a core, columns of eight hexadecimal digits, more of them with
//! newer kernels. Release 1.5.0 of node_exporter has the first three; the names of the others are those of its release 1.6.
//! The ninth is always 0 in kernels of our time.

use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, hexadecimal, lines};
use dsmil_protocol::metric::Scale;
use std::fmt::Write;

const FILE: &str = "net/softnet_stat";
const COUNT: Form = Form::counter(Scale::ONE);

/// A column by its place, and its metric.
const COLUMNS: [(usize, &str, Form); 6] = [
    (0, "node_softnet_processed_total", COUNT),
    (1, "node_softnet_dropped_total", COUNT),
    (2, "node_softnet_times_squeezed_total", COUNT),
    (9, "node_softnet_received_rps_total", COUNT),
    (10, "node_softnet_flow_limit_count_total", COUNT),
    (11, "node_softnet_backlog_len", Form::gauge(Scale::ONE)),
];
/// Columns of every kernel since 2.6.
const MIN_COLUMNS: usize = 9;
/// The column with the core's number, since Linux 5.10. In older kernels, which have none, lines count from 0, whichever cores are switched off.
const CORE: usize = 12;
/// More columns than any kernel has.
const MAX_COLUMNS: usize = 16;

/// Reads `/proc/net/softnet_stat`.
#[derive(Default)]
pub(crate) struct Softnet {
    buffer: Vec<u8>,
    core: String,
}

impl Sensor for Softnet {
    fn name(&self) -> &'static str {
        "softnet"
    }

    fn source(&self) -> &'static str {
        "/proc/net/softnet_stat"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let text = match root.proc(FILE, &mut self.buffer) {
            Err(RootError::Missing) => return Ok(()), // A kernel without networking.
            text => text.map_err(SensorError::at(FILE))?,
        };
        for (at, (line, text)) in lines(text).enumerate() {
            let mut columns = [None; MAX_COLUMNS];
            let mut count = 0;
            for (column, field) in columns.iter_mut().zip(fields(text)) {
                *column = hexadecimal(field);
                count += 1;
            }
            if count < MIN_COLUMNS {
                return Err(SensorError::Malformed { file: FILE, line });
            }
            self.core.clear();
            // Writing to a string cannot fail.
            let _ = match columns[CORE] {
                Some(core) => write!(self.core, "{core}"),
                None => write!(self.core, "{at}"),
            };
            for (place, name, form) in COLUMNS.iter().filter(|(place, ..)| *place < count) {
                out.push(name, &[("cpu", &self.core)], *form, columns[*place]);
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
    fn columns_are_those_of_the_kernel_and_cores_those_of_the_column() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut Softnet::default()).error, None, "a kernel without networking");
        tree.proc(
            "net/softnet_stat",
            "0000000a 00000001 00000002 0 0 0 0 0 0 00000003 00000004 00000005 00000000 0 0\n\
             ffffffff 00000001 00000002 0 0 0 0 0 0 00000003 00000004 00000005 00000007 0 0\n",
        );
        let seen = tree.read(&mut Softnet::default());
        assert_eq!(seen.error, None);
        assert_eq!(seen.value("node_softnet_processed_total{cpu=\"0\"}"), Some(10.0));
        assert_eq!(seen.value("node_softnet_processed_total{cpu=\"7\"}"), Some(4_294_967_295.0), "core 1 is off");
        for ((_, name, _), value) in COLUMNS.iter().skip(1).zip(1u8..) {
            assert_eq!(seen.value(&format!("{name}{{cpu=\"7\"}}")), Some(f64::from(value)), "{name}");
        }
    }

    #[test]
    fn an_old_kernel_has_fewer_columns_and_a_cut_line_is_a_verdict() {
        let tree = Tree::new();
        tree.proc("net/softnet_stat", "1 2 3 0 0 0 0 0 0 4\n1 2 3 0 0 0 0 0 0 4\n");
        let seen = tree.read(&mut Softnet::default());
        assert_eq!((seen.error, seen.names().len()), (None, 2 * 4));
        assert_eq!(seen.value("node_softnet_received_rps_total{cpu=\"1\"}"), Some(4.0));
        tree.proc("net/softnet_stat", "1 2 3 0 0 0 0 0 4\n1 2 3");
        let malformed = Some(SensorError::Malformed { file: "net/softnet_stat", line: 2 });
        assert_eq!(tree.read(&mut Softnet::default()).error, malformed);
    }
}
