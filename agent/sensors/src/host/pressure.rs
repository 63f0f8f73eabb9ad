//! `/proc/pressure/*`: time lost waiting for CPU, I/O and memory; node_exporter's collector `pressure`.
//!
//! Format: the kernel's `Documentation/accounting/psi.rst`; `total` is in microseconds.

use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, lines, unsigned};
use dsmil_protocol::metric::Scale;

const TIME: Form = Form::counter(Scale::per(1_000_000));

/// One figure: its file, its line, its name, and whether every kernel with PSI has it.
struct Figure {
    file: &'static str,
    line: &'static [u8],
    name: &'static str,
    /// `irq` needs a kernel that accounts for interrupt time; few distributions build one.
    optional: bool,
}

const FIGURES: [Figure; 6] = [
    figure("pressure/cpu", b"some", "node_pressure_cpu_waiting_seconds_total"),
    figure("pressure/io", b"some", "node_pressure_io_waiting_seconds_total"),
    figure("pressure/io", b"full", "node_pressure_io_stalled_seconds_total"),
    figure("pressure/memory", b"some", "node_pressure_memory_waiting_seconds_total"),
    figure("pressure/memory", b"full", "node_pressure_memory_stalled_seconds_total"),
    Figure { optional: true, ..figure("pressure/irq", b"full", "node_pressure_irq_stalled_seconds_total") },
];

const fn figure(file: &'static str, line: &'static [u8], name: &'static str) -> Figure {
    Figure { file, line, name, optional: false }
}

/// Reads `/proc/pressure`.
#[derive(Default)]
pub(crate) struct Pressure {
    buffer: Vec<u8>,
}

impl Sensor for Pressure {
    fn name(&self) -> &'static str {
        "pressure"
    }

    fn source(&self) -> &'static str {
        "/proc/pressure"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let mut read: Option<&'static str> = None;
        for figure in &FIGURES {
            if read != Some(figure.file) {
                match root.proc(figure.file, &mut self.buffer) {
                    Ok(_) => read = Some(figure.file),
                    Err(RootError::Missing) if figure.optional => continue,
                    Err(error) => return Err(SensorError::at(figure.file)(error)),
                }
            }
            let line = lines(&self.buffer).find(|(_, line)| line.starts_with(figure.line));
            let (number, line) = line.ok_or(SensorError::Malformed { file: figure.file, line: 1 })?;
            let total = fields(line).find_map(|field| field.strip_prefix(b"total="));
            let total = total.ok_or(SensorError::Malformed { file: figure.file, line: number })?;
            out.push(figure.name, &[], TIME, unsigned(total));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    const BOTH: &str =
        "some avg10=1.09 avg60=0.56 avg300=1.53 total=17697538\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";

    #[test]
    fn totals_are_seconds() {
        let tree = Tree::new();
        for kind in ["cpu", "io", "memory"] {
            tree.proc(&format!("pressure/{kind}"), BOTH);
        }
        let seen = tree.read(&mut Pressure::default());
        assert_eq!(seen.error, None, "an absent irq file is no failure");
        assert_eq!(seen.names().len(), 5);
        assert_eq!(seen.value("node_pressure_cpu_waiting_seconds_total"), Some(17.697_538));
        assert_eq!(seen.value("node_pressure_memory_stalled_seconds_total"), Some(0.000_005));
    }

    #[test]
    fn a_kernel_without_psi_is_a_verdict() {
        let tree = Tree::new();
        let missing = Some(SensorError::Missing { file: "pressure/cpu" });
        assert_eq!(tree.read(&mut Pressure::default()).error, missing);
        tree.proc("pressure/cpu", BOTH);
        tree.proc("pressure/io", "some avg10=0.00\n");
        let malformed = Some(SensorError::Malformed { file: "pressure/io", line: 1 });
        assert_eq!(tree.read(&mut Pressure::default()).error, malformed);
    }
}
