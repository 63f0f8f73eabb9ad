//! Processes: how many, in which states, and which of them take most processor time and memory; node_exporter's optional
//! collector `processes`, and `dsmil_process_*`, which node_exporter has not.
//!
//! Format: the kernel's `Documentation/filesystems/proc.rst`, table 1-4, and the man page `proc_pid_stat(5)`.
//!
//! Each process has a file, and there may be 100,000. So a reading looks at a fixed number of them and the next one goes
//! on from there; when all have had their turn, a *round* is over, and what it found is reported until the next one is.
//! On most hosts a round is one reading.
//!
//! No metric has a process id as a label: the processes at the top change with every reading, and each change would send the whole metric
//! set anew. Reported are the *names* (`comm`) that use most, summed over all processes of that name, which change
//! seldom and are further kept from it by [`Members`]; and by rank the process ids themselves, as values. Time that a
//! process used between its last reading and its end is not seen; the sum over all is in `node_cpu_seconds_total`.

mod round;

use crate::members::Members;
use crate::reading::{Form, Reading};
use crate::root::Root;
use crate::sensor::{Sensor, SensorError};
use crate::since_boot::SinceBoot;
use crate::text::unsigned;
use dsmil_protocol::metric::Scale;
use round::{RANKS, Round, STATES, Table};
use std::fmt::Write;

/// Processes that a reading looks at: each takes some 12 µs, so that a reading is some 12 ms of each ten seconds at most.
const MAX_LOOKS: usize = 1024;
/// Names that have metrics: those of the five that use most time, and of the five that have most memory.
const MAX_NAMES: usize = 2 * RANKS;

const GAUGE: Form = Form::gauge(Scale::ONE);
/// The kernel prints time in units of `USER_HZ`, which is 100 on every architecture that Rust runs on.
const TIME: Scale = Scale::per(100);
const LIMITS: [(&str, &str); 2] =
    [("sys/kernel/pid_max", "node_processes_max_processes"), ("sys/kernel/threads-max", "node_processes_max_threads")];

/// What the processes of a name use: time since the name has its place, in the kernel's ticks, and pages now.
#[derive(Default)]
struct Used {
    ticks: u64,
    pages: u64,
}

/// Reads `/proc/PID/stat`.
pub(crate) struct Processes {
    buffer: Vec<u8>,
    path: String,
    pids: Vec<u32>,
    /// Where the next reading goes on; 0 where a round begins.
    from: u64,
    table: Table,
    /// The one that is under way, and the last one that is over.
    round: Round,
    whole: Option<Round>,
    names: Members<Used>,
    since_boot: SinceBoot,
}

impl Default for Processes {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            path: String::new(),
            pids: Vec::new(),
            from: 0,
            table: Table::default(),
            round: Round::default(),
            whole: None,
            names: Members::new(MAX_NAMES),
            since_boot: SinceBoot::default(),
        }
    }
}

impl Sensor for Processes {
    fn name(&self) -> &'static str {
        "processes"
    }

    fn source(&self) -> &'static str {
        "/proc/PID/stat"
    }

    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        for (file, metric) in LIMITS {
            if let Ok(text) = root.proc(file, &mut self.buffer) {
                out.push(metric, &[], GAUGE, unsigned(text.trim_ascii()));
            }
        }
        // Where other users' processes are hidden (`hidepid`), those that are seen are few and say nothing of the host.
        if root.proc("1/stat", &mut self.buffer).is_err() {
            return Ok(());
        }
        self.pids.clear();
        let next = root.processes(self.from, MAX_LOOKS, &mut self.pids).map_err(SensorError::at("/proc"))?;
        self.pids.sort_unstable();
        for pid in &self.pids {
            self.path.clear();
            // Writing to a string cannot fail.
            let _ = write!(self.path, "{pid}/stat");
            // One that has ended meanwhile is not there any more.
            if let Ok(text) = root.proc(&self.path, &mut self.buffer) {
                self.round.look(*pid, text, &mut self.table);
            }
        }
        self.from = next.unwrap_or(0);
        if next.is_none() {
            self.finish(root);
        }
        self.push(out);
        Ok(())
    }
}

impl Processes {
    /// Ends a round: what the names in their places have used is added up.
    fn finish(&mut self, root: &Root) {
        let round = std::mem::take(&mut self.round);
        self.table.end_round();
        self.names.admit(self.since_boot.read(root), &round.foremost());
        for (name, used) in self.names.iter_mut() {
            let (ticks, pages) = round.of(name);
            *used = Used { ticks: used.ticks.saturating_add(ticks), pages };
        }
        self.whole = Some(round);
    }

    fn push(&mut self, out: &mut Reading) {
        let Some(round) = &self.whole else { return };
        let pages = Form::gauge(Scale::times(u32::try_from(rustix::param::page_size()).unwrap_or(4096)));
        out.push("node_processes_pids", &[], GAUGE, Some(round.pids));
        out.push("node_processes_threads", &[], GAUGE, Some(round.threads));
        for (state, count) in STATES.iter().zip(round.states) {
            out.push("node_processes_state", &[("state", state)], GAUGE, Some(count));
        }
        for (name, used) in self.names.iter_mut() {
            let labels = [("comm", name)];
            out.push("dsmil_process_cpu_seconds_total", &labels, Form::counter(TIME), Some(used.ticks));
            out.push("dsmil_process_memory_bytes", &labels, pages, Some(used.pages));
        }
        for (top, pid, amount, form) in [
            (&round.by_time, "dsmil_process_top_cpu_pid", "dsmil_process_top_cpu_seconds", Form::gauge(TIME)),
            (&round.by_memory, "dsmil_process_top_memory_pid", "dsmil_process_top_memory_bytes", pages),
        ] {
            for (rank, place) in ["1", "2", "3", "4", "5"].iter().zip(top.places()) {
                out.push(pid, &[("rank", rank)], GAUGE, place.map(|(pid, _)| u64::from(pid)));
                out.push(amount, &[("rank", rank)], form, place.map(|(_, amount)| amount));
            }
        }
    }
}

#[cfg(test)]
mod tests;
