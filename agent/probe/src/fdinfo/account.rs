//! What is made of clients that come and go: figures of devices, which stay.
//!
//! A device's work is what its clients' counters have grown by since this process began. The sum of the counters themselves would
//! fall with every client that ends. The document allows a counter to fall and catch up later: until it does, it has not grown. What
//! a client did between its last reading and its end nobody has seen, so the work of many short-lived clients is a lower bound.
//!
//! A client that is new counts with all it has done if it can only have come since we look. That is known once every process was
//! looked at while the device was awake; before that, what a new client has done may be of last week.

use super::usage::{Engine as EngineUse, KINDS, RESIDENT, Usage};
use dsmil_protocol::metric::Scale;
use dsmil_sensors::members::Members;
use dsmil_sensors::{Form, Reading};
use std::collections::HashMap;
use std::time::Duration;

/// Devices that have metrics: the largest servers have 16.
const MAX_DEVICES: usize = 32;
/// Engines of a device.
const MAX_ENGINES: usize = 16;
/// Regions of memory of a device.
const MAX_REGIONS: usize = 16;
/// Clients of which it is remembered what they had used, some 200 bytes each. What exceeds them is not counted.
const MAX_CLIENTS: usize = 8192;
/// Names of processes that have metrics, of each device: those of the four that use it most, and of the four that have most memory.
const MAX_NAMES: usize = 2 * RANKS;
const RANKS: usize = 4;

const GAUGE: Form = Form::gauge(Scale::ONE);
const COUNT: Form = Form::counter(Scale::ONE);
const SECONDS: Form = Form::counter(Scale::per(1_000_000_000));

/// Everything that is known of devices and their clients.
#[derive(Debug, Default)]
pub(super) struct Account {
    devices: Vec<Device>,
    clients: HashMap<(usize, u64), Client>,
    /// How often all processes that have clients were looked at, and how often all processes.
    cycle: u64,
    round: u64,
}

/// A client, by its device and number.
#[derive(Debug, Default)]
struct Client {
    /// Its counters at their highest, by the place of its device's engine: nanoseconds and cycles.
    counters: Vec<(usize, u64, u64)>,
    /// When it was last seen.
    cycle: u64,
    round: u64,
}

/// A device.
#[derive(Debug)]
struct Device {
    id: String,
    driver: String,
    /// All clients that it had when we began are known.
    settled: bool,
    /// It was not asked about all its clients.
    skipped_in_cycle: bool,
    skipped_in_round: bool,
    /// Whether it did anything in the last cycle, and in this one.
    at_work: bool,
    moved: bool,
    /// Clients: in this cycle so far, and in the last whole one.
    counted: u64,
    clients: Option<u64>,
    engines: Vec<Engine>,
    regions: Vec<Region>,
    /// By the names of processes, in this cycle so far.
    by_name: HashMap<String, Used>,
    names: Members<Used>,
}

/// An engine, or a group of alike ones.
#[derive(Debug, Default)]
struct Engine {
    name: String,
    capacity: u64,
    max_hz: Option<u64>,
    busy_ns: Option<u64>,
    busy_cycles: Option<u64>,
    /// The clock of the cycles: what it last was, and how far it has gone since we look.
    clock: Option<u64>,
    elapsed: u64,
}

/// A region of memory, by [`KINDS`]: in this cycle so far, and in the last whole one.
#[derive(Debug, Default)]
struct Region {
    name: String,
    is_told: [bool; KINDS.len()],
    summed: [u64; KINDS.len()],
    bytes: [Option<u64>; KINDS.len()],
}

/// What processes of a name used.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    ns: u64,
    cycles: u64,
    /// Nothing while it is not known.
    resident: Option<u64>,
}

impl Account {
    /// The place of the device of that name; nothing if there is no room for one more.
    pub(super) fn device(&mut self, id: &str) -> Option<usize> {
        let known = self.devices.iter().position(|device| device.id == id);
        if known.is_none() && self.devices.len() < MAX_DEVICES {
            // Of one that had no client in the whole first round, all clients are new.
            self.devices.push(Device::new(id, self.round > 0));
            return Some(self.devices.len() - 1);
        }
        known
    }

    /// Whether it did anything lately.
    pub(super) fn is_at_work(&self, device: usize) -> bool {
        self.devices.get(device).is_some_and(|device| device.at_work)
    }

    /// It has clients that were not read, because it sleeps.
    pub(super) fn skip(&mut self, device: usize) {
        if let Some(device) = self.devices.get_mut(device) {
            device.skipped_in_cycle = true;
            device.skipped_in_round = true;
        }
    }

    /// Begins to look at all processes that have clients.
    pub(super) fn begin_cycle(&mut self) {
        self.cycle += 1;
        for device in &mut self.devices {
            device.skipped_in_cycle = false;
            device.moved = false;
            device.counted = 0;
            device.by_name.clear();
            device.regions.iter_mut().for_each(|region| region.summed = Default::default());
        }
    }

    /// Takes in what a client says, which a process of the name `comm` has open.
    pub(super) fn take(&mut self, at: usize, usage: &Usage<'_>, comm: &str) {
        let is_full = self.clients.len() >= MAX_CLIENTS;
        let Some(device) = self.devices.get_mut(at) else { return };
        let key = (at, usage.client);
        let is_new = !self.clients.contains_key(&key);
        if is_new && is_full {
            return;
        }
        if device.driver != usage.driver {
            usage.driver.clone_into(&mut device.driver);
        }
        let client = self.clients.entry(key).or_default();
        let (mut ns, mut cycles) = (0, 0);
        for used in &usage.engines {
            let counts = !is_new || device.settled;
            let Some((place, engine)) = device.engine(used) else { continue };
            let (grown_ns, grown_cycles) = client.grown(place, used);
            if counts {
                engine.add(grown_ns, grown_cycles);
                (ns, cycles) = (grown_ns.saturating_add(ns), grown_cycles.saturating_add(cycles));
            }
        }
        device.moved |= ns > 0 || cycles > 0;
        let by_name = device.by_name.entry(comm.to_owned()).or_default();
        by_name.ns = by_name.ns.saturating_add(ns);
        by_name.cycles = by_name.cycles.saturating_add(cycles);
        client.round = self.round;
        // One client may be open many times, in several processes too.
        if client.cycle != self.cycle {
            client.cycle = self.cycle;
            device.counted += 1;
            device.add_memory(usage, comm);
        }
    }

    /// Ends what [`Account::begin_cycle`] began: its sums are what is reported until the next one ends.
    pub(super) fn end_cycle(&mut self, now: Duration) {
        self.devices.iter_mut().for_each(|device| device.end_cycle(now));
    }

    /// Every process was looked at. Clients that were not seen for a whole round are forgotten, but for those of sleeping devices.
    pub(super) fn end_round(&mut self) {
        let (devices, round) = (&self.devices, self.round);
        let sleeps = |at: usize| devices.get(at).is_some_and(|device| device.skipped_in_round);
        // One round more: a client may have been handed from a process not looked at yet to one that was.
        self.clients.retain(|(at, _), client| client.round + 1 >= round || sleeps(*at));
        for device in &mut self.devices {
            device.settled |= !device.skipped_in_round;
            device.skipped_in_round = false;
        }
        self.round += 1;
    }

    /// Pushes every metric of every device that has had a client.
    pub(super) fn push(&mut self, out: &mut Reading) {
        self.devices.iter_mut().filter(|device| !device.driver.is_empty()).for_each(|device| device.push(out));
    }
}

impl Client {
    /// Nanoseconds and cycles by which its counters of an engine have grown.
    fn grown(&mut self, engine: usize, now: &EngineUse<'_>) -> (u64, u64) {
        let at = match self.counters.iter().position(|(known, ..)| *known == engine) {
            Some(at) => at,
            None => {
                self.counters.push((engine, 0, 0));
                self.counters.len() - 1
            }
        };
        let Some((_, ns, cycles)) = self.counters.get_mut(at) else { return (0, 0) };
        let grow = |highest: &mut u64, now: Option<u64>| {
            let grown = now.unwrap_or(0).saturating_sub(*highest);
            *highest += grown;
            grown
        };
        (grow(ns, now.busy_ns), grow(cycles, now.busy_cycles))
    }
}

impl Engine {
    fn add(&mut self, ns: u64, cycles: u64) {
        self.busy_ns = self.busy_ns.map(|known| known.saturating_add(ns));
        self.busy_cycles = self.busy_cycles.map(|known| known.saturating_add(cycles));
    }
}

impl Device {
    fn new(id: &str, settled: bool) -> Self {
        Self {
            id: id.to_owned(),
            driver: String::new(),
            settled,
            skipped_in_cycle: false,
            skipped_in_round: false,
            at_work: false,
            moved: false,
            counted: 0,
            clients: None,
            engines: Vec::new(),
            regions: Vec::new(),
            by_name: HashMap::new(),
            names: Members::new(MAX_NAMES),
        }
    }

    /// An engine and its place, with what does not depend on whose client speaks of it; nothing if there is no room for one more.
    fn engine(&mut self, used: &EngineUse<'_>) -> Option<(usize, &mut Engine)> {
        let known = self.engines.iter().position(|engine| engine.name == used.name);
        if known.is_none() && self.engines.len() >= MAX_ENGINES {
            return None;
        }
        let at = known.unwrap_or(self.engines.len());
        if known.is_none() {
            self.engines.push(Engine { name: used.name.to_owned(), ..Engine::default() });
        }
        let engine = self.engines.get_mut(at)?;
        engine.capacity = used.capacity.unwrap_or(1);
        engine.max_hz = used.max_hz.or(engine.max_hz);
        engine.busy_ns = engine.busy_ns.or(used.busy_ns.map(|_| 0));
        engine.busy_cycles = engine.busy_cycles.or(used.busy_cycles.map(|_| 0));
        if let Some(now) = used.clock {
            // A device that was without power begins anew.
            engine.elapsed = engine.elapsed.saturating_add(engine.clock.map_or(0, |last| now.saturating_sub(last)));
            engine.clock = Some(now);
        }
        Some((at, engine))
    }

    fn add_memory(&mut self, usage: &Usage<'_>, comm: &str) {
        for told in &usage.regions {
            let known = self.regions.iter().position(|region| region.name == told.name);
            if known.is_none() && self.regions.len() >= MAX_REGIONS {
                continue;
            }
            let at = known.unwrap_or(self.regions.len());
            if known.is_none() {
                self.regions.push(Region { name: told.name.to_owned(), ..Region::default() });
            }
            let Some(region) = self.regions.get_mut(at) else { continue };
            for (kind, bytes) in told.bytes.iter().enumerate() {
                region.is_told[kind] |= bytes.is_some();
                region.summed[kind] = region.summed[kind].saturating_add(bytes.unwrap_or(0));
            }
            let used = self.by_name.entry(comm.to_owned()).or_default();
            let resident = told.bytes[RESIDENT].or(told.bytes[0]);
            used.resident = resident.map(|bytes| bytes.saturating_add(used.resident.unwrap_or(0))).or(used.resident);
        }
    }

    fn end_cycle(&mut self, now: Duration) {
        self.at_work = self.moved;
        self.names.admit(Some(now), &foremost(&self.by_name));
        // Work of sleeping devices stands still, and stays known. What memory their clients have is not asked.
        let is_known = !self.skipped_in_cycle;
        self.clients = is_known.then_some(self.counted);
        for region in &mut self.regions {
            for (kind, bytes) in region.bytes.iter_mut().enumerate() {
                *bytes = is_known.then_some(region.summed[kind]);
            }
        }
        for (name, used) in self.names.iter_mut() {
            let new = self.by_name.get(name).copied().unwrap_or_default();
            used.ns = used.ns.saturating_add(new.ns);
            used.cycles = used.cycles.saturating_add(new.cycles);
            used.resident = is_known.then(|| new.resident.unwrap_or(0));
        }
    }

    fn push(&mut self, out: &mut Reading) {
        let (accelerator, driver) = (("accelerator", self.id.as_str()), ("driver", self.driver.as_str()));
        out.push("dsmil_drm_clients", &[accelerator, driver], GAUGE, self.clients);
        for engine in &self.engines {
            let labels = [accelerator, driver, ("engine", engine.name.as_str())];
            out.push("dsmil_drm_engine_capacity", &labels, GAUGE, Some(engine.capacity));
            if let Some(ns) = engine.busy_ns {
                out.push("dsmil_drm_engine_busy_seconds_total", &labels, SECONDS, Some(ns));
            }
            if let Some(cycles) = engine.busy_cycles {
                out.push("dsmil_drm_engine_busy_cycles_total", &labels, COUNT, Some(cycles));
            }
            if engine.clock.is_some() {
                out.push("dsmil_drm_engine_elapsed_cycles_total", &labels, COUNT, Some(engine.elapsed));
            }
            if let Some(hertz) = engine.max_hz {
                out.push("dsmil_drm_engine_max_frequency_hertz", &labels, GAUGE, Some(hertz));
            }
        }
        for region in &self.regions {
            for (at, kind) in KINDS.iter().enumerate().filter(|(at, _)| region.is_told[*at]) {
                let labels = [accelerator, driver, ("region", region.name.as_str()), ("kind", kind)];
                out.push("dsmil_drm_memory_bytes", &labels, GAUGE, region.bytes[at]);
            }
        }
        let has_time = self.engines.iter().any(|engine| engine.busy_ns.is_some());
        let has_cycles = !has_time && self.engines.iter().any(|engine| engine.busy_cycles.is_some());
        for (name, used) in self.names.iter_mut() {
            let labels = [accelerator, driver, ("comm", name)];
            if has_time {
                out.push("dsmil_drm_process_busy_seconds_total", &labels, SECONDS, Some(used.ns));
            }
            if has_cycles {
                out.push("dsmil_drm_process_busy_cycles_total", &labels, COUNT, Some(used.cycles));
            }
            if !self.regions.is_empty() {
                out.push("dsmil_drm_process_memory_bytes", &labels, GAUGE, used.resident);
            }
        }
    }
}

/// The names that used most, and then those that have most memory.
fn foremost(by_name: &HashMap<String, Used>) -> Vec<&str> {
    let most = |amount: fn(&Used) -> u64| {
        let amounts = by_name.iter().map(|(name, used)| (amount(used), name.as_str()));
        let mut all: Vec<(u64, &str)> = amounts.filter(|(amount, _)| *amount > 0).collect();
        all.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        all.truncate(RANKS);
        all
    };
    let by_work = most(|used| if used.ns > 0 { used.ns } else { used.cycles });
    let by_memory = most(|used| used.resident.unwrap_or(0));
    by_work.iter().chain(&by_memory).map(|(_, name)| *name).collect()
}
