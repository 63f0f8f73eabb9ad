//! `/proc/stat`: CPU time by mode and core, interrupts, context switches, forks, boot time.
//!
//! node_exporter's collectors `cpu` and `stat`, in one sensor: the file is the dearest of /proc (the kernel sums every
//! interrupt of every core for it), so it is read once.

use crate::reading::{Form, Reading, label};
use crate::root::Root;
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, lines, unsigned};
use dsmil_protocol::metric::Scale;

const FILE: &str = "stat";
/// The kernel prints CPU time in units of `USER_HZ`, which is 100 on every architecture that Rust runs on.
const CPU_TIME: Form = Form::counter(Scale::per(100));
/// The columns of a `cpu` line in the kernel's order; the last two are parts of `user` and `nice`.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST_MODES: [&str; 2] = ["user", "nice"];
const COLUMNS: usize = MODES.len() + GUEST_MODES.len();
const IDLE: usize = 3;
/// Idle time that goes back by this much (3 s) means that the core was taken away and given back: it counts from anew.
const RESET: u64 = 300;
/// Cores whose last values are remembered (80 bytes each): the kernel's own limit is 8192.
const MAX_CPUS: usize = 8192;

/// Reads `/proc/stat`.
#[derive(Default)]
pub(crate) struct Stat {
    buffer: Vec<u8>,
    /// The last values by core, so that a counter that the kernel lets slip back does not look like a restart.
    last: Vec<[u64; COLUMNS]>,
}

impl Sensor for Stat {
    fn name(&self) -> &'static str {
        "stat"
    }

    fn source(&self) -> &'static str {
        "/proc/stat"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let text = root.proc(FILE, &mut self.buffer).map_err(SensorError::at(FILE))?;
        for (number, line) in lines(text) {
            let mut rest = fields(line);
            let Some(key) = rest.next() else { continue };
            match key {
                b"cpu" => {}
                _ if key.starts_with(b"cpu") => {
                    let core = &key[3..];
                    push_core(core, rest, last_of(&mut self.last, core), out);
                }
                _ => {
                    let Some((name, form)) = total(key) else { continue };
                    let first = rest.next().ok_or(SensorError::Malformed { file: FILE, line: number })?;
                    out.push(name, &[], form, unsigned(first));
                }
            }
        }
        Ok(())
    }
}

fn total(key: &[u8]) -> Option<(&'static str, Form)> {
    let (counter, gauge) = (Form::counter(Scale::ONE), Form::gauge(Scale::ONE));
    Some(match key {
        b"intr" => ("node_intr_total", counter),
        b"ctxt" => ("node_context_switches_total", counter),
        b"processes" => ("node_forks_total", counter),
        b"btime" => ("node_boot_time_seconds", gauge),
        b"procs_running" => ("node_procs_running", gauge),
        b"procs_blocked" => ("node_procs_blocked", gauge),
        _ => return None,
    })
}

fn last_of<'l>(last: &'l mut Vec<[u64; COLUMNS]>, core: &[u8]) -> Option<&'l mut [u64; COLUMNS]> {
    let core = usize::try_from(unsigned(core)?).ok().filter(|core| *core < MAX_CPUS)?;
    if core >= last.len() {
        last.resize(core + 1, [0; COLUMNS]);
    }
    last.get_mut(core)
}

/// Pushes a core's times. A time that slipped back by a little keeps its last value, as in node_exporter: the kernel's
/// `iowait` and `idle` are known to do so, and a counter that falls would be taken for a restart.
fn push_core<'a>(
    core: &[u8],
    columns: impl Iterator<Item = &'a [u8]>,
    last: Option<&mut [u64; COLUMNS]>,
    out: &mut Reading,
) {
    let mut now = [None; COLUMNS];
    for (value, field) in now.iter_mut().zip(columns) {
        *value = unsigned(field);
    }
    if let Some(last) = last {
        if now[IDLE].is_some_and(|idle| last[IDLE] >= idle.saturating_add(RESET)) {
            *last = [0; COLUMNS];
        }
        for (value, last) in now.iter_mut().zip(last) {
            *last = (*last).max(value.unwrap_or(0));
            *value = value.map(|_| *last);
        }
    }
    let core = label(core);
    for (mode, bits) in MODES.iter().zip(now) {
        out.push("node_cpu_seconds_total", &[("cpu", &core), ("mode", mode)], CPU_TIME, bits);
    }
    for (mode, bits) in GUEST_MODES.iter().zip(&now[MODES.len()..]) {
        out.push("node_cpu_guest_seconds_total", &[("cpu", &core), ("mode", mode)], CPU_TIME, *bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn cores_and_totals_are_read() {
        let tree = Tree::new();
        tree.proc(
            "stat",
            "cpu  3 3 3 3 3 3 3 3 3 3\ncpu0 1 2 3 400 5 6 7 8 9 10\ncpu7 1 2 3 4\nintr 77 1 2 3\nctxt 5\nbtime 1700000000\nprocesses 9\nprocs_running 2\nprocs_blocked x\nsoftirq 1 2\n",
        );
        let seen = tree.read(&mut Stat::default());
        assert_eq!(seen.error, None);
        assert_eq!(seen.value("node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"}"), Some(4.0));
        assert_eq!(seen.value("node_cpu_guest_seconds_total{cpu=\"0\",mode=\"nice\"}"), Some(0.1));
        assert_eq!(seen.value("node_cpu_seconds_total{cpu=\"7\",mode=\"user\"}"), Some(0.01));
        assert_eq!(seen.value("node_cpu_seconds_total{cpu=\"7\",mode=\"iowait\"}"), None, "an older kernel");
        assert_eq!(seen.value("node_intr_total"), Some(77.0));
        assert_eq!(seen.value("node_boot_time_seconds"), Some(1_700_000_000.0));
        assert!(seen.has("node_procs_blocked") && seen.value("node_procs_blocked").is_none());
        assert!(!seen.has("node_softirqs_total"), "not among the defaults");
    }

    #[test]
    fn a_counter_that_slips_back_stands_still_and_a_replugged_core_starts_anew() {
        let tree = Tree::new();
        let mut sensor = Stat::default();
        let mut idle_and_wait = |stat: &str| {
            tree.proc("stat", stat);
            let seen = tree.read(&mut sensor);
            let of = |mode| seen.value(&format!("node_cpu_seconds_total{{cpu=\"0\",mode=\"{mode}\"}}"));
            (of("idle"), of("iowait"))
        };
        assert_eq!(idle_and_wait("cpu0 1 2 3 400 50 6 7 8 9 10\n"), (Some(4.0), Some(0.5)));
        assert_eq!(idle_and_wait("cpu0 1 2 3 399 40 6 7 8 9 10\n"), (Some(4.0), Some(0.5)));
        assert_eq!(idle_and_wait("cpu0 1 2 3 100 1 6 7 8 9 10\n"), (Some(1.0), Some(0.01)));
    }

    #[test]
    fn a_truncated_file_is_a_verdict_that_names_the_line() {
        let tree = Tree::new();
        tree.proc("stat", "cpu0 1 2 3 4\nintr");
        let seen = tree.read(&mut Stat::default());
        assert_eq!(seen.error, Some(SensorError::Malformed { file: "stat", line: 2 }));
        assert_eq!(seen.value("node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"}"), Some(0.04), "what was read counts");
    }
}
