//! Each processor's clock: what it runs at, its limits and its governor; node_exporter's collector `cpufreq`, whose governors came
//! with a release after 1.5. The energy preference has no precedent.
//!
//! Format: the kernel's `Documentation/admin-guide/pm/cpufreq.rst` (kHz) and, for the preference, its
//! `Documentation/admin-guide/pm/intel_pstate.rst` and `amd-pstate.rst`; which processors are online: `Documentation/admin-guide/cputopology.rst`.
//!
//! A host may have 256 processors with eight files each, and a file may cost an interrupt to the processor that it is about. So at
//! one reading the clocks of some processors are read and the limits of one, in turns; a clock whose turn it is not has no value,
//! limits keep theirs.

use crate::attributes::Attributes;
use crate::reading::{Form, Reading, label};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::since_boot::{Every, SinceBoot};
use crate::text::{fields, unsigned};
use dsmil_protocol::metric::Scale;
use std::time::Duration;

const ONLINE: &str = "devices/system/cpu/online";
/// Processors that are looked at; the kernel's own limit is 8192, and the largest machines that one agent has to serve have 1,024.
const MAX_CPUS: usize = 1024;
/// Where no processor has a clock that can be set, as in most virtual machines, a driver may come: they are looked for once a minute.
const FINDING: Duration = Duration::from_secs(60);
/// Clocks read at one reading: 10 µs each, so a third of a millisecond.
const CLOCKS: usize = 32;
/// Governors, and bytes of the name of one (the kernel's `CPUFREQ_NAME_LEN` is 16) or of a preference: each is kept for each processor.
const MAX_WORDS: usize = 16;
const MAX_WORD_LEN: usize = 32;
const HERTZ: Form = Form::gauge(Scale::times(1000));
const FLAG: Form = Form::gauge(Scale::ONE);

/// Files that hardly ever change, and their metrics.
const LIMITS: [(&str, &str); 4] = [
    ("cpuinfo_min_freq", "node_cpu_frequency_min_hertz"),
    ("cpuinfo_max_freq", "node_cpu_frequency_max_hertz"),
    ("scaling_min_freq", "node_cpu_scaling_frequency_min_hertz"),
    ("scaling_max_freq", "node_cpu_scaling_frequency_max_hertz"),
];
/// What runs at the moment, by the hardware's account, which most kernels tell root only, and by the governor's.
const NOW: [(&str, &str); 2] =
    [("cpuinfo_cur_freq", "node_cpu_frequency_hertz"), ("scaling_cur_freq", "node_cpu_scaling_frequency_hertz")];

/// Reads `/sys/devices/system/cpu/cpu*/cpufreq`.
#[derive(Default)]
pub(crate) struct Cpufreq {
    online: Vec<u8>,
    cpus: Vec<Cpu>,
    /// Whose turn it is to have its clock read, and its limits.
    next_clock: usize,
    next_limits: usize,
    /// When processors were looked for in vain.
    found: Every,
    time: SinceBoot,
    files: Attributes,
}

/// A processor and what is known of it.
#[derive(Default)]
struct Cpu {
    number: String,
    limits: [Option<u64>; LIMITS.len()],
    /// Whether it answers for each of [`NOW`].
    answers: [bool; NOW.len()],
    governor: String,
    governors: Vec<String>,
    preference: String,
}

impl Sensor for Cpufreq {
    fn name(&self) -> &'static str {
        "cpufreq"
    }

    fn source(&self) -> &'static str {
        "/sys/devices/system/cpu/cpu*/cpufreq"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let mut online = Vec::new();
        match root.sys(ONLINE, &mut online) {
            Err(RootError::Missing) => return Ok(()), // A kernel for one processor.
            read => read.map_err(SensorError::at(ONLINE))?,
        };
        if online != self.online || self.cpus.is_empty() && self.found.is_due(self.time.read(root), FINDING) {
            self.find(root, online)?;
        } else if !self.cpus.is_empty() {
            let at = self.next_limits % self.cpus.len();
            self.next_limits = at + 1;
            self.cpus[at].learn(root, &mut self.files);
        }
        let (first, count) = (self.next_clock, self.cpus.len());
        let is_turn = |at: usize| (at + count - first % count) % count < CLOCKS;
        for (at, cpu) in self.cpus.iter().enumerate() {
            cpu.push(root, is_turn(at), &mut self.files, out);
        }
        self.next_clock = if count > CLOCKS { (first + CLOCKS) % count } else { 0 };
        Ok(())
    }
}

impl Cpufreq {
    /// Finds the processors that are online and have a clock that can be set.
    fn find(&mut self, root: &Root, online: Vec<u8>) -> Result<(), SensorError> {
        let numbers = ranges(online.trim_ascii()).ok_or(SensorError::Malformed { file: ONLINE, line: 1 })?;
        self.cpus.clear();
        for number in numbers {
            let mut cpu = Cpu { number: number.to_string(), ..Cpu::default() };
            cpu.learn(root, &mut self.files);
            let has_clock = cpu.limits.iter().any(Option::is_some) || cpu.answers.contains(&true);
            if has_clock {
                self.cpus.push(cpu);
            }
        }
        (self.online, self.next_clock, self.next_limits) = (online, 0, 0);
        Ok(())
    }
}

impl Cpu {
    fn enter(&self, files: &mut Attributes) {
        files.enter(&["devices/system/cpu/cpu", &self.number, "/cpufreq"]);
    }

    /// Reads what hardly ever changes.
    fn learn(&mut self, root: &Root, files: &mut Attributes) {
        self.enter(files);
        self.limits = LIMITS.map(|(file, _)| files.unsigned(root, file));
        self.answers = NOW.map(|(file, _)| files.unsigned(root, file).is_some());
        let mut words = |file: &str| -> Vec<String> {
            let text = files.bytes(root, file).unwrap_or_default();
            fields(text)
                .filter(|word| word.len() <= MAX_WORD_LEN)
                .take(MAX_WORDS)
                .map(|word| label(word).into())
                .collect()
        };
        self.governors = words("scaling_available_governors");
        self.governor = words("scaling_governor").into_iter().next().unwrap_or_default();
        self.preference = words("energy_performance_preference").into_iter().next().unwrap_or_default();
    }

    fn push(&self, root: &Root, is_turn: bool, files: &mut Attributes, out: &mut Reading) {
        let cpu = [("cpu", self.number.as_str())];
        self.enter(files);
        for ((file, metric), answers) in NOW.iter().zip(self.answers) {
            if answers {
                out.push(metric, &cpu, HERTZ, is_turn.then(|| files.unsigned(root, file)).flatten());
            }
        }
        for ((_, metric), limit) in LIMITS.iter().zip(self.limits) {
            if limit.is_some() {
                out.push(metric, &cpu, HERTZ, limit);
            }
        }
        if !self.governor.is_empty() {
            for governor in &self.governors {
                let labels = [cpu[0], ("governor", governor.as_str())];
                out.push("node_cpu_scaling_governor", &labels, FLAG, Some(u64::from(*governor == self.governor)));
            }
        }
        if !self.preference.is_empty() {
            let labels = [cpu[0], ("preference", self.preference.as_str())];
            out.push("dsmil_cpu_energy_performance_preference_info", &labels, FLAG, Some(1));
        }
    }
}

/// The numbers in `0-3,8`, at most [`MAX_CPUS`]; none if it is no such list.
pub(crate) fn ranges(list: &[u8]) -> Option<Vec<u64>> {
    let mut numbers = Vec::new();
    for range in list.split(|byte| *byte == b',').filter(|range| !range.is_empty()) {
        let dash = range.iter().position(|byte| *byte == b'-');
        let (first, last) = match dash {
            Some(dash) => (unsigned(&range[..dash])?, unsigned(&range[dash + 1..])?),
            None => (unsigned(range)?, unsigned(range)?),
        };
        let room = MAX_CPUS - numbers.len();
        numbers.extend((first..=last).take(room));
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;
    use crate::witness::Witness;

    fn cpu(tree: &Tree, number: usize, files: &[(&str, &str)]) {
        for (file, text) in files {
            tree.sys(&format!("devices/system/cpu/cpu{number}/cpufreq/{file}"), &format!("{text}\n"));
        }
    }

    #[test]
    fn clocks_limits_and_governors() {
        let tree = Tree::new();
        let mut sensor = Cpufreq::default();
        assert!(tree.read(&mut sensor).names().is_empty());
        tree.sys("devices/system/cpu/online", "0-1,4\n");
        cpu(
            &tree,
            0,
            &[("cpuinfo_min_freq", "400000"), ("cpuinfo_max_freq", "4700000"), ("scaling_cur_freq", "800021")],
        );
        cpu(&tree, 0, &[("scaling_governor", "powersave"), ("scaling_available_governors", "performance powersave ")]);
        cpu(&tree, 0, &[("energy_performance_preference", "balance_performance")]);
        cpu(&tree, 4, &[("cpuinfo_cur_freq", "1200000"), ("scaling_governor", "userspace")]);
        let seen = tree.read(&mut sensor);
        assert_eq!(seen.error, None);
        assert_eq!(seen.value("node_cpu_frequency_max_hertz{cpu=\"0\"}"), Some(4.7e9));
        assert_eq!(seen.value("node_cpu_scaling_frequency_hertz{cpu=\"0\"}"), Some(800_021_000.0));
        assert_eq!(seen.value("node_cpu_scaling_governor{cpu=\"0\",governor=\"powersave\"}"), Some(1.0));
        assert_eq!(seen.value("node_cpu_scaling_governor{cpu=\"0\",governor=\"performance\"}"), Some(0.0));
        let preference = "dsmil_cpu_energy_performance_preference_info{cpu=\"0\",preference=\"balance_performance\"}";
        assert_eq!(seen.value(preference), Some(1.0));
        assert_eq!(seen.value("node_cpu_frequency_hertz{cpu=\"4\"}"), Some(1.2e9));
        assert_eq!(seen.names().len(), 7, "processor 1 has no clock to speak of: {:?}", seen.names());
    }

    #[test]
    fn many_processors_take_turns() {
        let tree = Tree::new();
        tree.sys("devices/system/cpu/online", "0-79\n");
        for number in 0..80 {
            cpu(&tree, number, &[("scaling_cur_freq", "1000000"), ("scaling_max_freq", "3000000")]);
        }
        let mut sensor = Cpufreq::default();
        let mut last = vec![0; 80];
        for reading in 1..=10 {
            let witness = Witness::of(&tree.path().join("sys/devices/system/cpu"));
            let seen = tree.read(&mut sensor);
            assert_eq!(seen.names().len(), 160);
            let mut clocks = 0;
            for (number, last) in last.iter_mut().enumerate() {
                assert_eq!(seen.value(&format!("node_cpu_scaling_frequency_max_hertz{{cpu=\"{number}\"}}")), Some(3e9));
                if seen.value(&format!("node_cpu_scaling_frequency_hertz{{cpu=\"{number}\"}}")).is_some() {
                    assert!(reading - *last <= 3, "processor {number} waited from {last} to {reading}");
                    (*last, clocks) = (reading, clocks + 1);
                }
            }
            assert_eq!(clocks, CLOCKS);
            // At the first reading all limits; then the clocks, one processor's limits, and who is online.
            assert!(reading == 1 || witness.opened().len() <= CLOCKS + 3, "{:?}", witness.opened());
        }
    }

    #[test]
    fn a_virtual_machine_is_not_searched_each_second() {
        let tree = Tree::new();
        tree.sys("devices/system/cpu/online", "0-255\n");
        let mut sensor = Cpufreq::default();
        let mut at = |second: u32| {
            tree.proc("uptime", &format!("{second}.00 1.00\n"));
            tree.read(&mut sensor).names().len()
        };
        assert_eq!((at(1), at(2)), (0, 0));
        cpu(&tree, 7, &[("scaling_max_freq", "3000000")]);
        assert_eq!((at(3), at(62)), (0, 1), "a driver came");
    }

    #[test]
    fn limits_that_were_changed_are_seen_when_their_turn_comes() {
        let tree = Tree::new();
        tree.sys("devices/system/cpu/online", "0-1\n");
        for number in 0..2 {
            cpu(&tree, number, &[("scaling_max_freq", "3000000")]);
        }
        let mut sensor = Cpufreq::default();
        tree.read(&mut sensor);
        cpu(&tree, 1, &[("scaling_max_freq", "2000000")]);
        let limit = "node_cpu_scaling_frequency_max_hertz{cpu=\"1\"}";
        let seen: Vec<_> = (0..3).map(|_| tree.read(&mut sensor).value(limit)).collect();
        assert_eq!(seen, [Some(3e9), Some(2e9), Some(2e9)]);
    }

    #[test]
    fn lists_of_processors_end() {
        assert_eq!(ranges(b"0-2,7"), Some(vec![0, 1, 2, 7]));
        assert_eq!(ranges(b""), Some(Vec::new()));
        assert_eq!(ranges(b"0-18446744073709551615").map(|list| list.len()), Some(MAX_CPUS));
        assert_eq!(ranges(b"3-1").map(|list| list.len()), Some(0));
        for bad in ["a", "1-", "-1", "1-2-3", "0 1"] {
            assert_eq!(ranges(bad.as_bytes()), None, "{bad}");
        }
    }
}
