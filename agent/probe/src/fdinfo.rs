//! What GPUs and NPUs do for everybody's processes: `/proc/PID/fdinfo` of what they have open below `/dev/dri` and `/dev/accel`.
//!
//! Format: the kernel's `Documentation/gpu/drm-usage-stats.rst`; which driver says what is in `fixtures/fdinfo/README.md`. It is the
//! only place where i915, xe, amdxdna and others tell how busy their engines are, and only to whoever may look into the process:
//! the owner, or one with `CAP_SYS_PTRACE`.
//!
//! | metric | |
//! |---|---|
//! | `dsmil_drm_clients` | opened devices, each counted once however many descriptors lead to it |
//! | `dsmil_drm_engine_busy_seconds_total` | of all clients, since this process began; of an engine of which there are N, N a second at most |
//! | `dsmil_drm_engine_busy_cycles_total`, `…_elapsed_cycles_total` | xe: what is busy of what went by, the same for N engines |
//! | `dsmil_drm_engine_capacity` | N |
//! | `dsmil_drm_memory_bytes` | sum over all clients: what two share is counted for both, and `shared` says how much that is |
//! | `dsmil_drm_process_…` | by the names of processes (`comm`), of the few foremost, not by process: ids come and go, and each change would send the whole metric set anew |
//!
//! The label `accelerator` is that of `dsmil_accelerator_info`. The schema of accelerators itself is left to the sensors below
//! /sys: a device has one speaker.
//!
//! Asking i915 or amdgpu reads what the driver remembers; xe wakes its device to read the clock (`xe_drm_client.c`,
//! `show_run_ticks`). So no device that sleeps is asked, whatever its driver, and none is kept awake by asking ([`place`]).
//!
//! To find clients, each descriptor of each process has to be looked at, some 2 µs each. So a reading first visits the processes that
//! are known to have clients, then goes on looking through the others for a fixed time, and the next one goes on from there.

mod account;
mod place;
mod usage;

use crate::source::Source;
use account::Account;
use dsmil_protocol::probe::{Fault, Text};
use dsmil_runtime::clock::Clock;
use dsmil_sensors::Reading;
use dsmil_sensors::root::{HOST_PROC, Root, RootError};
use place::{Node, Place};
use rustix::io::Errno;
use std::time::Duration;
use usage::Usage;

/// How long a reading visits processes that have clients: a hundred of them take some 10 ms. Who is not come to is first the next time.
const VISITING: Duration = Duration::from_millis(30);
/// How long it looks through the others after that: 300 processes of 20 descriptors each take some 12 ms, more are looked through in
/// several readings. Together, asked every ten seconds, half a hundredth of a core at most.
const SEARCHING: Duration = Duration::from_millis(20);
/// Processes that are listed at once.
const BATCH: usize = 64;
/// Processes with clients that are remembered.
const MAX_KNOWN: usize = 2048;
/// Descriptors of a process that are looked at, the lowest ones: 4096 take some 8 ms.
const MAX_LINKS: usize = 4096;
/// Clients of a process that are read.
const MAX_OPEN: usize = 256;
/// Devices whose sleep is watched.
const MAX_PLACES: usize = 64;

/// Reads them all.
pub(crate) struct Fdinfo {
    clock: Clock,
    account: Account,
    /// The devices that clients were found of.
    places: Vec<Place>,
    /// Whose node a name below /dev is, and whether that device is asked: of this reading.
    nodes: Vec<(String, Option<Asked>)>,
    /// Processes that have clients, in order; and those of them that are not visited yet.
    known: Vec<u32>,
    due: Vec<u32>,
    search: Search,
    /// Memory that is kept.
    text: Vec<u8>,
    open: Vec<String>,
}

/// A device, by its places in [`Fdinfo::places`] and in the account, and whether it may be asked.
#[derive(Clone, Copy, Debug)]
struct Asked {
    place: usize,
    device: usize,
    may: bool,
}

/// How far all processes have been looked through.
#[derive(Debug, Default)]
struct Search {
    from: u64,
    batch: Vec<u32>,
    /// There are none behind those of the batch.
    is_last: bool,
    /// Processes that let themselves be looked into, and others: since the search began, and in the last whole one.
    seen: Seen,
    last: Option<Seen>,
}

/// How many processes may be looked into.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    open: u32,
    closed: u32,
}

impl Fdinfo {
    /// Nobody is known yet.
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            account: Account::default(),
            places: Vec::new(),
            nodes: Vec::new(),
            known: Vec::new(),
            due: Vec::new(),
            search: Search::default(),
            text: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Visits the processes that have clients, as far as time allows.
    fn visit_known(&mut self, root: &Root) {
        let until = self.clock.mono() + VISITING;
        if self.due.is_empty() {
            self.account.begin_cycle();
            self.due.clone_from(&self.known);
        }
        while let Some(pid) = self.due.pop() {
            if !self.visit(root, pid)
                && let Ok(at) = self.known.binary_search(&pid)
            {
                self.known.remove(at);
            }
            if self.clock.mono() >= until {
                return;
            }
        }
    }

    /// Looks through the others, as far as time allows, and once through all of them at most.
    fn look_for_more(&mut self, root: &Root) -> Result<(), RootError> {
        let until = self.clock.mono() + SEARCHING;
        loop {
            while let Some(pid) = self.search.batch.pop() {
                if let Err(at) = self.known.binary_search(&pid)
                    && self.visit(root, pid)
                    && self.known.len() < MAX_KNOWN
                {
                    self.known.insert(at, pid);
                }
                if self.clock.mono() >= until {
                    return Ok(());
                }
            }
            if std::mem::take(&mut self.search.is_last) {
                self.search.last = Some(std::mem::take(&mut self.search.seen));
                // Who waits for a visit was not looked at.
                if self.due.is_empty() {
                    self.account.end_round();
                }
                return Ok(());
            }
            let next = root.processes(self.search.from, BATCH, &mut self.search.batch)?;
            self.search.is_last = next.is_none();
            self.search.from = next.unwrap_or(0);
        }
    }

    /// Reads what a process has open. Whether it has any client; one that has ended, or has none of its own like a thread of the
    /// kernel, has none.
    fn visit(&mut self, root: &Root, pid: u32) -> bool {
        let mut open = std::mem::take(&mut self.open);
        open.clear();
        let seen = root.links(&format!("{pid}/fd"), MAX_LINKS, |name, target| {
            if let Some(node) = Node::of_link(target)
                && open.len() < MAX_OPEN
            {
                open.push(format!("{name} {}/{}", node.class, node.name));
            }
        });
        match seen {
            Ok(()) => self.search.seen.open += 1,
            Err(RootError::Unreadable(Errno::ACCESS | Errno::PERM)) => self.search.seen.closed += 1,
            Err(_) => {}
        }
        let has_any = seen.is_ok() && !open.is_empty();
        if has_any {
            let comm = root.proc(&format!("{pid}/comm"), &mut self.text).unwrap_or_default();
            let comm = String::from_utf8_lossy(comm.trim_ascii()).into_owned();
            for entry in &open {
                if let Some((descriptor, node)) = entry.split_once(' ') {
                    self.read_client(root, pid, descriptor, node, &comm);
                }
            }
        }
        self.open = open;
        has_any
    }

    fn read_client(&mut self, root: &Root, pid: u32, descriptor: &str, node: &str, comm: &str) {
        let Some(asked) = self.look_at(root, node) else { return };
        if !asked.may {
            self.account.skip(asked.device);
            return;
        }
        let Ok(text) = root.proc(&format!("{pid}/fdinfo/{descriptor}"), &mut self.text) else { return };
        let Some(usage) = Usage::read(text) else { return };
        let device = match usage.device {
            Some(address) => self.account.device(&address.to_string()),
            None => Some(asked.device),
        };
        if let Some(device) = device {
            self.account.take(device, &usage, comm);
        }
    }

    /// Whose node that is, and whether the device is asked in this reading. Nothing if it has gone, or there are too many.
    fn look_at(&mut self, root: &Root, node: &str) -> Option<Asked> {
        if let Some((_, asked)) = self.nodes.iter().find(|(name, _)| name == node) {
            return *asked;
        }
        let asked = self.look(root, node);
        if self.nodes.len() < MAX_PLACES {
            self.nodes.push((node.to_owned(), asked));
        }
        asked
    }

    fn look(&mut self, root: &Root, node: &str) -> Option<Asked> {
        let found = Place::of(root, node)?;
        let place = match self.places.iter().position(|place| place.is(&found)) {
            Some(at) => at,
            None if self.places.len() < MAX_PLACES => {
                self.places.push(found);
                self.places.len() - 1
            }
            None => return None,
        };
        // A card has several nodes, and one answer.
        if let Some(known) = self.nodes.iter().filter_map(|(_, asked)| *asked).find(|known| known.place == place) {
            return Some(known);
        }
        let at = self.places.get_mut(place)?;
        let device = self.account.device(at.id())?;
        let may = at.may_be_asked(root, self.clock.mono(), self.account.is_at_work(device));
        Some(Asked { place, device, may })
    }
}

impl Source for Fdinfo {
    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), Fault> {
        if !place::is_any(root) && self.known.is_empty() {
            self.account.push(out);
            return Ok(());
        }
        self.nodes.clear();
        self.visit_known(root);
        let listed = self.look_for_more(root);
        if self.due.is_empty() {
            self.account.end_cycle(self.clock.mono());
        }
        self.account.push(out);
        listed.map_err(|error| Fault::Unreadable { what: Text::of(&format!("{HOST_PROC}: {error}")) })?;
        may_look(root, self.search.last)
    }
}

/// Whether other users' processes may be looked into. A few may be closed to everybody, by a security module.
fn may_look(root: &Root, seen: Option<Seen>) -> Result<(), Fault> {
    let Some(Seen { open, closed }) = seen else { return Ok(()) };
    // Where others' are hidden (`hidepid`), ours is the only one.
    let is_alone = || open <= 1 && root.proc("1/comm", &mut Vec::new()).is_err();
    if closed > open || is_alone() {
        let to = format!("{HOST_PROC}/PID/fd and fdinfo of other users' processes");
        return Err(Fault::NoPermission { to: Text::of(&to) });
    }
    Ok(())
}

/// Pushes what there can be: a client that says everything, without a process.
#[cfg(any(test, feature = "reference"))]
pub(crate) fn example(out: &mut Reading) {
    const CLIENT: &[u8] = b"drm-driver: i915\ndrm-client-id: 1\ndrm-engine-render: 1 ns\ndrm-cycles-render: 1\n\
        drm-total-cycles-render: 1\ndrm-maxfreq-render: 1 MHz\ndrm-total-vram: 1\ndrm-shared-vram: 1\n\
        drm-resident-vram: 1\ndrm-active-vram: 1\ndrm-purgeable-vram: 1\n";
    const CYCLES_ALONE: &[u8] = b"drm-driver: xe\ndrm-client-id: 1\ndrm-cycles-rcs: 1\ndrm-total-cycles-rcs: 1\n";
    let mut account = Account::default();
    account.end_round();
    account.begin_cycle();
    for (device, text) in [("0000:00:02.0", CLIENT), ("0000:03:00.0", CYCLES_ALONE)] {
        let (Some(device), Some(usage)) = (account.device(device), Usage::read(text)) else { continue };
        account.take(device, &usage, "python3");
    }
    account.end_cycle(Duration::ZERO);
    account.push(out);
}

#[cfg(test)]
mod tests;
