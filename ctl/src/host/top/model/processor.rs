//! Cores, memory, and how long work waits for them.

use super::super::readings::Readings;
use serde::Serialize;
use std::collections::BTreeMap;

/// All cores.
#[derive(Clone, Debug, Default, Serialize)]
pub(in super::super) struct Cpu {
    /// Shares of the time of all cores together.
    pub(in super::super) total: Option<Modes>,
    /// Each, in the kernel's order.
    pub(in super::super) cores: Vec<Core>,
    /// Over 1, 5 and 15 minutes.
    pub(in super::super) load: [Option<f64>; 3],
    /// Tasks that run or want to.
    pub(in super::super) running: Option<f64>,
    /// Tasks that wait for a disk.
    pub(in super::super) blocked: Option<f64>,
    /// A second.
    pub(in super::super) context_switches: Option<f64>,
    /// A second.
    pub(in super::super) interrupts: Option<f64>,
}

/// One core.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct Core {
    /// Its number.
    pub(in super::super) name: String,
    /// Shares of its time; absent while it is not known.
    pub(in super::super) modes: Option<Modes>,
    pub(in super::super) clock_hertz: Option<f64>,
}

/// Shares of time, which are 1 together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(in super::super) struct Modes {
    /// Programs, at any priority.
    pub(in super::super) user: f64,
    /// The kernel on their behalf.
    pub(in super::super) system: f64,
    /// Interrupts.
    pub(in super::super) irq: f64,
    /// Nothing to do but to wait for a disk.
    pub(in super::super) iowait: f64,
    /// Other guests of the same machine.
    pub(in super::super) steal: f64,
    /// Nothing to do.
    pub(in super::super) idle: f64,
}

impl Modes {
    /// The share in which something was done, or another guest had the core.
    pub(in super::super) fn busy(&self) -> f64 {
        self.user + self.system + self.irq + self.steal
    }

    fn add(&mut self, mode: &str, share: f64) {
        let place = match mode {
            "user" | "nice" => &mut self.user,
            "system" => &mut self.system,
            "irq" | "softirq" => &mut self.irq,
            "iowait" => &mut self.iowait,
            "steal" => &mut self.steal,
            "idle" => &mut self.idle,
            // Guests are in user already.
            _ => return,
        };
        *place += share;
    }

    /// As shares of what they are together: ticks are not exactly a second apart.
    fn of_one(self) -> Option<Self> {
        let sum = self.busy() + self.iowait + self.idle;
        (sum > 0.0).then(|| Self {
            user: self.user / sum,
            system: self.system / sum,
            irq: self.irq / sum,
            iowait: self.iowait / sum,
            steal: self.steal / sum,
            idle: self.idle / sum,
        })
    }
}

pub(super) fn cpu(readings: &Readings) -> Cpu {
    let (mut cores, mut total) = (BTreeMap::<(u64, String), Option<Modes>>::new(), Modes::default());
    for reading in readings.of("node_cpu_seconds_total") {
        let name = reading.label("cpu");
        // In order of number; what is no number comes last.
        let core = cores.entry((name.parse().unwrap_or(u64::MAX), name.to_owned())).or_insert(Some(Modes::default()));
        match (reading.per_s, core.as_mut()) {
            (Some(share), Some(modes)) => modes.add(reading.label("mode"), share),
            // Of a core of which one mode is not known, no share is.
            _ => *core = None,
        }
    }
    for modes in cores.values().flatten() {
        for (mode, share) in [
            ("user", modes.user),
            ("system", modes.system),
            ("irq", modes.irq),
            ("iowait", modes.iowait),
            ("steal", modes.steal),
            ("idle", modes.idle),
        ] {
            total.add(mode, share);
        }
    }
    let core = |((_, name), modes): ((u64, String), Option<Modes>)| {
        let clock = readings.with("node_cpu_scaling_frequency_hertz", &[("cpu", &name)]).and_then(|r| r.value);
        Core { name, modes: modes.and_then(Modes::of_one), clock_hertz: clock }
    };
    Cpu {
        total: total.of_one(),
        cores: cores.into_iter().map(core).collect(),
        load: ["node_load1", "node_load5", "node_load15"].map(|name| readings.value(name)),
        running: readings.value("node_procs_running"),
        blocked: readings.value("node_procs_blocked"),
        context_switches: readings.per_s("node_context_switches_total"),
        interrupts: readings.per_s("node_intr_total"),
    }
}

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(in super::super) struct Memory {
    pub(in super::super) total: Option<f64>,
    /// What programs can have without anything being swapped.
    pub(in super::super) available: Option<f64>,
    /// Files that are kept for the next who reads them.
    pub(in super::super) cached: Option<f64>,
    /// Written by programs, and not yet to a disk.
    pub(in super::super) dirty: Option<f64>,
    pub(in super::super) swap_total: Option<f64>,
    pub(in super::super) swap_used: Option<f64>,
    /// Pages a second that come back from swap.
    pub(in super::super) swap_in: Option<f64>,
    /// Pages a second that go there.
    pub(in super::super) swap_out: Option<f64>,
    /// Programs that were ended for want of memory, since boot.
    pub(in super::super) oom_kills: Option<f64>,
}

impl Memory {
    /// The share that is not available.
    pub(in super::super) fn used_ratio(&self) -> Option<f64> {
        ratio(self.total? - self.available?, self.total?)
    }

    /// The share of the swap that is taken; nothing where there is none.
    pub(in super::super) fn swap_ratio(&self) -> Option<f64> {
        ratio(self.swap_used?, self.swap_total?)
    }
}

/// A part of a whole, as long as there is a whole.
pub(in super::super) fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| (part / whole).clamp(0.0, 1.0))
}

pub(super) fn memory(readings: &Readings) -> Memory {
    let of = |name: &str| readings.value(&format!("node_memory_{name}_bytes"));
    let swap_total = of("SwapTotal");
    Memory {
        total: of("MemTotal"),
        available: of("MemAvailable"),
        cached: of("Cached").zip(of("Buffers")).map(|(cached, buffers)| cached + buffers),
        dirty: of("Dirty"),
        swap_total,
        swap_used: swap_total.zip(of("SwapFree")).map(|(total, free)| total - free),
        swap_in: readings.per_s("node_vmstat_pswpin"),
        swap_out: readings.per_s("node_vmstat_pswpout"),
        oom_kills: readings.value("node_vmstat_oom_kill"),
    }
}

/// How long work waits for something: shares of the time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(in super::super) struct Pressure {
    pub(in super::super) of: &'static str,
    /// Some of it waits.
    pub(in super::super) some: Option<f64>,
    /// All of it waits; of the CPU that cannot be.
    pub(in super::super) full: Option<f64>,
}

pub(super) fn pressure(readings: &Readings) -> Vec<Pressure> {
    let of = |of: &'static str| {
        let share =
            |what: &str| readings.per_s(&format!("node_pressure_{of}_{what}_seconds_total")).map(|s| s.min(1.0));
        let is_there = !readings.of(&format!("node_pressure_{of}_waiting_seconds_total")).is_empty();
        is_there.then(|| Pressure { of, some: share("waiting"), full: share("stalled") })
    };
    ["cpu", "memory", "io"].into_iter().filter_map(of).collect()
}
