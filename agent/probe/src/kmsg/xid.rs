//! XIDs in bursts, each with the action that it asks for: one fault of a GPU is a dozen lines, and the first is seldom the worst.
//!
//! Which XID asks for what is data: `xid-policy.txt` beside this file, with its version and source. XIDs of one GPU are one burst as long
//! as each comes within three minutes of the one before. A burst is counted under the action it asks for when it begins, and
//! again under a graver one when that comes: what is to be done now is what was counted last.

use dsmil_protocol::probe::PciAddress;

/// The policy, as it is kept.
const POLICY: &str = include_str!("xid-policy.txt");
/// XIDs that are further apart than this, in microseconds, are two faults.
const BURST_US: u64 = 180_000_000;
/// GPUs that are followed.
const MAX_GPUS: usize = 64;

/// What is to be done at once, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    /// Nothing.
    None,
    /// The policy does not know the code: look it up.
    LookUp,
    /// Restart the application.
    RestartApplication,
    /// Ask the driver which recovery it wants.
    ReadRecovery,
    /// Work through NVIDIA's steps for this code.
    RunWorkflow,
    /// Reset the GPU.
    ResetGpu,
    /// Restart the machine.
    RestartMachine,
}

impl Action {
    const ALL: [Self; 7] = [
        Self::None,
        Self::LookUp,
        Self::RestartApplication,
        Self::ReadRecovery,
        Self::RunWorkflow,
        Self::ResetGpu,
        Self::RestartMachine,
    ];

    /// Its name in the policy and in labels.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::LookUp => "look_up",
            Self::RestartApplication => "restart_application",
            Self::ReadRecovery => "read_recovery_action",
            Self::RunWorkflow => "run_workflow",
            Self::ResetGpu => "reset_gpu",
            Self::RestartMachine => "restart_machine",
        }
    }
}

/// Which XID asks for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    version: u32,
    actions: Vec<(u64, Action)>,
}

impl Policy {
    /// The one that came with this program.
    pub(super) fn ours() -> Self {
        Self::read(POLICY).expect("a test reads it")
    }

    fn read(text: &str) -> Option<Self> {
        let mut policy = Self { version: 0, actions: Vec::new() };
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let first = words.next()?;
            if first == "version" {
                policy.version = words.next()?.parse().ok()?;
                continue;
            }
            let action = Action::ALL.into_iter().find(|action| action.name() == first)?;
            for code in words {
                policy.actions.push((code.parse().ok()?, action));
            }
        }
        (policy.version > 0).then_some(policy)
    }

    /// Its version.
    pub(super) fn version(&self) -> u32 {
        self.version
    }

    fn action(&self, code: u64) -> Action {
        self.actions.iter().find(|(known, _)| *known == code).map_or(Action::LookUp, |(_, action)| *action)
    }
}

/// The faults of all GPUs so far.
#[derive(Debug)]
pub(super) struct Bursts {
    policy: Policy,
    gpus: Vec<Gpu>,
}

#[derive(Debug)]
struct Gpu {
    place: PciAddress,
    /// The time of the last XID, microseconds since boot.
    last_us: u64,
    /// The gravest action of the running burst.
    worst: Action,
    /// Bursts by action.
    counts: Vec<(Action, u64)>,
}

impl Default for Bursts {
    fn default() -> Self {
        Self { policy: Policy::ours(), gpus: Vec::new() }
    }
}

impl Bursts {
    /// One more XID, at that time since boot.
    pub(super) fn take(&mut self, place: PciAddress, code: u64, time_us: u64) {
        let action = self.policy.action(code);
        let known = self.gpus.iter().position(|gpu| gpu.place == place);
        let Some(at) = known.or_else(|| {
            let gpu = Gpu { place, last_us: time_us, worst: Action::None, counts: Vec::new() };
            (self.gpus.len() < MAX_GPUS).then(|| {
                self.gpus.push(gpu);
                self.gpus.len() - 1
            })
        }) else {
            return;
        };
        let gpu = &mut self.gpus[at];
        let is_new = known.is_none() || time_us.saturating_sub(gpu.last_us) > BURST_US;
        gpu.last_us = gpu.last_us.max(time_us);
        if is_new || action > gpu.worst {
            gpu.worst = action;
            match gpu.counts.iter_mut().find(|(counted, _)| *counted == action) {
                Some((_, count)) => *count += 1,
                None => gpu.counts.push((action, 1)),
            }
        }
    }

    /// The policy's version.
    pub(super) fn policy_version(&self) -> u32 {
        self.policy.version()
    }

    /// Of each GPU: where it is, an action, and how often a burst came to ask for it.
    pub(super) fn counts(&self) -> impl Iterator<Item = (PciAddress, Action, u64)> {
        self.gpus.iter().flat_map(|gpu| gpu.counts.iter().map(|(action, count)| (gpu.place, *action, *count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_read_and_names_each_code_once() {
        let policy = Policy::ours();
        assert_eq!(policy.version(), 1);
        assert_eq!((policy.action(79), policy.action(119)), (Action::RestartMachine, Action::ResetGpu));
        assert_eq!((policy.action(43), policy.action(9999)), (Action::None, Action::LookUp));
        for (at, (code, _)) in policy.actions.iter().enumerate() {
            assert!(!policy.actions[..at].iter().any(|(other, _)| other == code), "{code}");
        }
        for bad in ["", "reset_gpu 1", "version 1\ndance 2", "version x", "version 1\nreset_gpu x"] {
            assert_eq!(Policy::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn xids_within_three_minutes_are_one_burst_that_asks_for_the_gravest() {
        let place: PciAddress = "0000:3b:00.0".parse().expect("an address");
        let mut bursts = Bursts::default();
        let minute = 60_000_000;
        for (code, at) in [(43, 0), (31, 1), (31, 2), (119, 3), (13, 4), (119, 6), (13, 10), (154, 11)] {
            bursts.take(place, code, at * minute);
        }
        let other: PciAddress = "0000:5e:00.0".parse().expect("an address");
        bursts.take(other, 79, 0);
        let counts: Vec<_> = bursts.counts().map(|(place, action, count)| (place, action.name(), count)).collect();
        let expected = [
            (place, "none", 1),
            (place, "restart_application", 2),
            (place, "reset_gpu", 1),
            (place, "read_recovery_action", 1),
            (other, "restart_machine", 1),
        ];
        assert_eq!(counts, expected);
    }
}
