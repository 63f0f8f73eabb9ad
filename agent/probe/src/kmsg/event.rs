//! Which messages are faults: the texts of the kernel's and NVIDIA's own `printk`s.

use dsmil_protocol::probe::PciAddress;

/// The longest name of a device that is believed: an interface has 15 characters, a disk about ten.
const MAX_DEVICE_LEN: usize = 32;

/// Something that went wrong, as often as not with a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// NVIDIA's driver reports an error of a GPU: `NVRM: Xid (PCI:0000:3b:00): 79, …` (NVIDIA's "XID Errors").
    Xid {
        /// Where the GPU is.
        device: PciAddress,
        /// NVIDIA's number of the error.
        code: u64,
    },
    /// A processor's machine check, one bank's record (`arch/x86/kernel/cpu/mce/core.c`, `print_mce`).
    MachineCheck,
    /// Machine checks were handed to who decodes them (same file).
    MachineCheckLogged,
    /// A process was killed because memory had run out (`mm/oom_kill.c`).
    OutOfMemoryKill,
    /// An interface's link went down, as its driver says; there is no common text, but nearly one.
    LinkDown {
        /// The interface.
        device: String,
    },
    /// It came back.
    LinkUp {
        /// The interface.
        device: String,
    },
    /// A request to a disk failed (`block/blk-core.c`, `blk_print_req_error`).
    DiskError {
        /// The disk.
        device: String,
    },
}

/// Events that are of no device: those of every host, and what the others become where there are too many of them.
pub(super) const PLAIN_EVENTS: [Event; 6] = [
    Event::MachineCheck,
    Event::MachineCheckLogged,
    Event::OutOfMemoryKill,
    Event::LinkDown { device: String::new() },
    Event::LinkUp { device: String::new() },
    Event::DiskError { device: String::new() },
];

impl Event {
    /// What a message of the kernel's means, if it is one of these.
    pub(super) fn of(message: &str) -> Option<Self> {
        xid(message)
            .or_else(|| machine_check(message))
            .or_else(|| disk(message))
            .or_else(|| kill(message))
            .or_else(|| link(message))
    }

    /// The labels of its counter.
    pub(super) fn labels(&self) -> Labels {
        let (event, device, code) = match self {
            Self::Xid { device, code } => ("xid", device.to_string(), code.to_string()),
            Self::MachineCheck => ("mce", String::new(), String::new()),
            Self::MachineCheckLogged => ("mce_logged", String::new(), String::new()),
            Self::OutOfMemoryKill => ("oom_kill", String::new(), String::new()),
            Self::LinkDown { device } => ("link_down", device.clone(), String::new()),
            Self::LinkUp { device } => ("link_up", device.clone(), String::new()),
            Self::DiskError { device } => ("io_error", device.clone(), String::new()),
        };
        Labels { event, device, code }
    }

    /// Whether it is of a certain device.
    pub(super) fn is_of_a_device(&self) -> bool {
        !matches!(self, Self::Xid { .. }) && !PLAIN_EVENTS.contains(self)
    }

    /// The same of no device in particular.
    pub(super) fn of_no_device(self) -> Self {
        match self {
            Self::LinkDown { .. } => Self::LinkDown { device: String::new() },
            Self::LinkUp { .. } => Self::LinkUp { device: String::new() },
            Self::DiskError { .. } => Self::DiskError { device: String::new() },
            other => other,
        }
    }
}

/// Labels of an event.
pub(super) struct Labels {
    event: &'static str,
    device: String,
    code: String,
}

impl Labels {
    /// Those that say something.
    pub(super) fn pairs(&self) -> Vec<(&str, &str)> {
        let all = [("event", self.event), ("device", &*self.device), ("code", &*self.code)];
        all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }
}

fn xid(message: &str) -> Option<Event> {
    let (place, rest) = message.strip_prefix("NVRM: Xid (")?.split_once("): ")?;
    let device = place.strip_prefix("PCI:").unwrap_or(place).parse().ok()?;
    let code = rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some(Event::Xid { device, code })
}

fn machine_check(message: &str) -> Option<Event> {
    let (_, error) = message.split_once("[Hardware Error]: ")?;
    if error.starts_with("CPU ") && error.contains(": Machine Check") {
        return Some(Event::MachineCheck);
    }
    error.starts_with("Machine check events logged").then_some(Event::MachineCheckLogged)
}

fn disk(message: &str) -> Option<Event> {
    let (_, rest) = message.split_once("error, dev ")?;
    Some(Event::DiskError { device: device(rest.split(',').next()?)? })
}

fn kill(message: &str) -> Option<Event> {
    let is_kill = message.contains(": Killed process ");
    let is_ours = message.starts_with("Out of memory") || message.starts_with("Memory cgroup out of memory");
    (is_kill && is_ours).then_some(Event::OutOfMemoryKill)
}

/// `e1000e 0000:00:1f.6 eno1: NIC Link is Down`, `mlx5_core 0000:01:00.0 ens1: Link up`; not a SATA port without a disk.
fn link(message: &str) -> Option<Event> {
    let (before, after) = message.split_once(": ")?;
    let says = after.to_ascii_lowercase();
    let at = |words: [&str; 2]| words.iter().any(|words| says.contains(words));
    let (down, up) = (at(["link is down", "link down"]), at(["link is up", "link up"]));
    if down == up || says.contains("sata") {
        return None;
    }
    let device = device(before.rsplit(' ').next()?)?;
    Some(if down { Event::LinkDown { device } } else { Event::LinkUp { device } })
}

/// A device's name, if it can be one.
fn device(name: &str) -> Option<String> {
    let is_name = (1..=MAX_DEVICE_LEN).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    is_name.then(|| name.to_owned())
}

/// A message of each event; of XIDs two, which ask for different things.
#[cfg(any(test, feature = "reference"))]
pub(super) const EXAMPLES: [&str; 8] = [
    "NVRM: Xid (PCI:0000:3b:00): 31, pid=4242, name=python3, MMU Fault",
    "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
    "mce: [Hardware Error]: CPU 3: Machine Check Exception: 5 Bank 4: b200000000070f0f",
    "mce: [Hardware Error]: Machine check events logged",
    "Out of memory: Killed process 4242 (java) total-vm:1kB, anon-rss:1kB",
    "e1000e 0000:00:1f.6 eno1: NIC Link is Down",
    "igb 0000:01:00.0 eth0: igb: eth0 NIC Link is Up 1000 Mbps Full Duplex, Flow Control: RX",
    "I/O error, dev sda, sector 2048 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> Option<String> {
        let event = Event::of(message)?;
        let labels = event.labels();
        Some(labels.pairs().iter().map(|(_, value)| *value).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn there_is_an_example_of_each() {
        let told = EXAMPLES.map(|message| Event::of(message).expect(message).labels().event);
        assert_eq!(told, ["xid", "xid", "mce", "mce_logged", "oom_kill", "link_down", "link_up", "io_error"]);
    }

    #[test]
    fn faults_are_told_from_what_else_is_logged() {
        let cases = [
            (
                "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
                "xid 0000:3b:00.0 79",
            ),
            ("NVRM: Xid (0000:03:00): 13, Graphics Exception", "xid 0000:03:00.0 13"),
            ("mce: [Hardware Error]: CPU 3: Machine Check Exception: 5 Bank 4: b200000000070f0f", "mce"),
            ("mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 8: 8c00004000010090", "mce"),
            ("mce: [Hardware Error]: Machine check events logged", "mce_logged"),
            ("Out of memory: Killed process 4242 (java) total-vm:1kB, anon-rss:1kB", "oom_kill"),
            ("Memory cgroup out of memory: Killed process 7 (python3) total-vm:1kB", "oom_kill"),
            ("e1000e 0000:00:1f.6 eno1: NIC Link is Down", "link_down eno1"),
            ("igb 0000:01:00.0 eth0: igb: eth0 NIC Link is Up 1000 Mbps Full Duplex, Flow Control: RX", "link_up eth0"),
            ("mlx5_core 0000:01:00.0 ens1f0np0: Link down", "link_down ens1f0np0"),
            ("eth0: Link is Up - 1Gbps/Full - flow control off", "link_up eth0"),
            ("I/O error, dev sda, sector 2048 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2", "io_error sda"),
            ("blk_update_request: critical medium error, dev nvme0n1, sector 1", "io_error nvme0n1"),
        ];
        for (message, expected) in cases {
            assert_eq!(said(message).as_deref(), Some(expected), "{message}");
        }
        for other in [
            "NVRM: Xid (PCI:nowhere): 79",
            "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  535.104.05",
            "mce: [Hardware Error]: TSC 0 ADDR 1fff MISC 0",
            "ata1: SATA link down (SStatus 0 SControl 300)",
            "a: b c: Link is Down and Link is Up",
            "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null)",
            "x: I/O error, dev , sector 1",
            "",
        ] {
            assert_eq!(said(other), None, "{other}");
        }
    }
}
