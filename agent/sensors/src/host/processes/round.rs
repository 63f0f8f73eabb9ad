//! One look at every process: counts, sums by name, and who is foremost.

use crate::text::{fields, unsigned};
use std::borrow::Cow;
use std::collections::HashMap;

/// Places at the top.
pub(super) const RANKS: usize = 5;
/// The kernel's letters for what a process does, without `X` (dead), which nobody sees: running, sleeping, waiting for a disk, idle
/// (a kernel thread), stopped, stopped by a debugger, ended and not yet noticed by its parent, parked (a kernel thread).
pub(super) const STATES: [&str; 8] = ["R", "S", "D", "I", "T", "t", "Z", "P"];
/// Processes of which it is remembered what they had used, some 40 bytes each. Of more, none is at the top for its time.
const MAX_KNOWN: usize = 32_768;
/// Names of a round.
const MAX_NAMES: usize = 4096;
/// The process that all threads of the kernel are children of.
const KTHREADD: u64 = 2;

/// What each process had used when it was last looked at.
#[derive(Default)]
pub(super) struct Table {
    known: HashMap<u32, Known>,
    round: u64,
}

struct Known {
    /// When it started: another process may have the same id later.
    start: u64,
    ticks: u64,
    round: u64,
}

/// What was seen of all processes.
#[derive(Default)]
pub(super) struct Round {
    pub(super) pids: u64,
    pub(super) threads: u64,
    /// By [`STATES`].
    pub(super) states: [u64; STATES.len()],
    pub(super) by_time: Top,
    pub(super) by_memory: Top,
    /// By name: ticks used since the round before, and pages.
    names: HashMap<String, (u64, u64)>,
}

/// The processes with the largest amounts.
#[derive(Default)]
pub(super) struct Top {
    /// Amounts and process ids, the largest first.
    places: Vec<(u64, u32)>,
}

/// What is needed of a line of `stat`.
struct Process<'a> {
    name: Cow<'a, str>,
    state: &'a [u8],
    ticks: u64,
    threads: u64,
    start: u64,
    pages: u64,
}

impl Table {
    /// The ticks that a process has used since it was last looked at: all of them if it is new, none if nothing was known before.
    fn used(&mut self, pid: u32, process: &Process<'_>) -> u64 {
        let now = Known { start: process.start, ticks: process.ticks, round: self.round };
        if let Some(known) = self.known.get_mut(&pid) {
            let before = if known.start == now.start { known.ticks } else { 0 };
            *known = now;
            return process.ticks.saturating_sub(before);
        }
        if self.known.len() >= MAX_KNOWN {
            return 0;
        }
        self.known.insert(pid, now);
        if self.round == 0 { 0 } else { process.ticks }
    }

    /// Forgets processes that were not seen in this round.
    pub(super) fn end_round(&mut self) {
        self.known.retain(|_, known| known.round == self.round);
        self.round += 1;
    }
}

impl Round {
    /// Takes in what `stat` says of a process; a line that makes no sense is none.
    pub(super) fn look(&mut self, pid: u32, stat: &[u8], table: &mut Table) {
        let Some(process) = Process::read(stat) else { return };
        let used = table.used(pid, &process);
        self.pids += 1;
        self.threads = self.threads.saturating_add(process.threads);
        if let Some(at) = STATES.iter().position(|state| state.as_bytes() == process.state) {
            self.states[at] += 1;
        }
        self.by_time.offer(used, pid);
        self.by_memory.offer(process.pages, pid);
        if let Some((ticks, pages)) = self.names.get_mut(&*process.name) {
            *ticks = ticks.saturating_add(used);
            *pages = pages.saturating_add(process.pages);
        } else if self.names.len() < MAX_NAMES {
            self.names.insert(process.name.into_owned(), (used, process.pages));
        }
    }

    /// The ticks and pages of a name; nothing if no process is called so.
    pub(super) fn of(&self, name: &str) -> (u64, u64) {
        self.names.get(name).copied().unwrap_or_default()
    }

    /// The names that used most time, and then those that have most memory.
    pub(super) fn foremost(&self) -> Vec<&str> {
        let most = |amount: fn(&(u64, u64)) -> u64| {
            let amounts = self.names.iter().map(|(name, used)| (amount(used), name.as_str()));
            let mut all: Vec<(u64, &str)> = amounts.filter(|(amount, _)| *amount > 0).collect();
            all.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
            all.truncate(RANKS);
            all
        };
        let (by_time, by_memory) = (most(|used| used.0), most(|used| used.1));
        by_time.iter().chain(&by_memory).map(|(_, name)| *name).collect()
    }
}

impl Top {
    fn offer(&mut self, amount: u64, pid: u32) {
        let place = self.places.partition_point(|(known, _)| *known >= amount);
        if amount > 0 && place < RANKS {
            self.places.truncate(RANKS - 1);
            self.places.insert(place, (amount, pid));
        }
    }

    /// Process id and amount of each place; nothing where there is nobody.
    pub(super) fn places(&self) -> [Option<(u32, u64)>; RANKS] {
        std::array::from_fn(|at| self.places.get(at).map(|(amount, pid)| (*pid, *amount)))
    }
}

impl<'a> Process<'a> {
    /// `812 (sshd) S 1 812 …`: a name may have anything in it, so what follows it begins behind the last parenthesis.
    fn read(stat: &'a [u8]) -> Option<Self> {
        let open = stat.iter().position(|byte| *byte == b'(')?;
        let close = stat.iter().rposition(|byte| *byte == b')').filter(|close| *close > open)?;
        let mut rest = fields(&stat[close + 1..]);
        // Numbers are columns of the man page less three: what stands between is not needed.
        let state = rest.next()?;
        let parent = unsigned(rest.next()?)?;
        let (user, system) = (unsigned(rest.nth(14 - 5)?)?, unsigned(rest.next()?)?);
        let threads = unsigned(rest.nth(20 - 16)?)?;
        let start = unsigned(rest.nth(22 - 21)?)?;
        let pages = unsigned(rest.nth(24 - 23)?)?;
        let mut name = &stat[open + 1..close];
        if parent == KTHREADD {
            // `kworker/3:1H-kblockd`: what it works at changes by the second.
            name = name.split(|byte| *byte == b'/').next().unwrap_or(name);
        }
        let ticks = user.checked_add(system)?;
        Some(Self { name: String::from_utf8_lossy(name), state, ticks, threads, start, pages })
    }
}
