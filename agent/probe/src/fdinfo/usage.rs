//! What the kernel says of one client of a graphics or compute device: the text of one `/proc/PID/fdinfo/FD`.
//!
//! Format: the kernel's `Documentation/gpu/drm-usage-stats.rst`. A key is what it begins with, and behind that the name of an engine
//! or of a region of memory. Keys of one driver alone (`amd-evicted-vram`, `panthor-resident-memory`) are left out: they are parts
//! of the others. Lines that make no sense are left out, the rest counts.

use dsmil_protocol::probe::PciAddress;

/// Engines of a client: i915 has five classes, amdgpu nine.
const MAX_ENGINES: usize = 32;
/// Regions of memory of a client: xe has four.
const MAX_REGIONS: usize = 16;
/// Bytes of the name of an engine, a region or a driver.
const MAX_NAME_LEN: usize = 64;

/// What is counted of a client's memory, in the order of [`Region::bytes`].
pub(super) const KINDS: [&str; 5] = ["total", "shared", "resident", "active", "purgeable"];
/// The place of `resident` among them.
pub(super) const RESIDENT: usize = 2;

/// One client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Usage<'a> {
    pub(super) driver: &'a str,
    /// Where its device is, if on a PCI bus.
    pub(super) device: Option<PciAddress>,
    /// Its number: one of its device's, or of the whole kernel's.
    pub(super) client: u64,
    pub(super) engines: Vec<Engine<'a>>,
    pub(super) regions: Vec<Region<'a>>,
}

/// What an engine, or a group of alike ones, did for the client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Engine<'a> {
    pub(super) name: &'a str,
    /// Nanoseconds at work for the client.
    pub(super) busy_ns: Option<u64>,
    /// Cycles at work for the client.
    pub(super) busy_cycles: Option<u64>,
    /// The clock that those are counted by, at this moment.
    pub(super) clock: Option<u64>,
    /// How many engines there are of the name, if there are several.
    pub(super) capacity: Option<u64>,
    /// Hertz at most.
    pub(super) max_hz: Option<u64>,
}

/// What the client has in a region of memory, by [`KINDS`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Region<'a> {
    pub(super) name: &'a str,
    pub(super) bytes: [Option<u64>; KINDS.len()],
}

impl<'a> Usage<'a> {
    /// Reads a file. Nothing if it is of no such client, or of one without a number: what is open twice would be counted twice.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        let (mut usage, mut client) = (Self::default(), None);
        for line in text.split(|byte| *byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let Some((key, value)) = line.split_once(':') else { continue };
            let (Some(key), value) = (key.strip_prefix("drm-"), value.trim_ascii()) else { continue };
            match key {
                "driver" if is_name(value) => usage.driver = value,
                "pdev" => usage.device = value.parse().ok(),
                "client-id" => client = value.parse().ok(),
                _ => usage.take(key, value),
            }
        }
        usage.client = client?;
        (!usage.driver.is_empty()).then_some(usage)
    }

    /// Takes in a number. The longer beginnings come first: `engine-capacity-` is no engine's time.
    fn take(&mut self, key: &'a str, value: &str) {
        let mut parts = value.split_ascii_whitespace();
        let Some(number) = parts.next().and_then(|number| number.parse::<u64>().ok()) else { return };
        let unit = parts.next();
        if let Some(name) = key.strip_prefix("engine-capacity-") {
            self.engine(name, |engine| engine.capacity = Some(number).filter(|number| *number > 0));
        } else if let Some(name) = key.strip_prefix("engine-")
            && unit == Some("ns")
        {
            // amdgpu's old and new video engines have the same name; a card has one of them.
            self.engine(name, |engine| engine.busy_ns = Some(engine.busy_ns.unwrap_or(0).saturating_add(number)));
        } else if let Some(name) = key.strip_prefix("cycles-") {
            self.engine(name, |engine| engine.busy_cycles = Some(number));
        } else if let Some(name) = key.strip_prefix("total-cycles-") {
            self.engine(name, |engine| engine.clock = Some(number));
        } else if let Some(name) = key.strip_prefix("maxfreq-") {
            self.engine(name, |engine| engine.max_hz = hertz(number, unit));
        } else if let Some(name) = key.strip_prefix("memory-") {
            // The old name of `resident`; where both are, they say the same.
            self.region(name, |region| region.bytes[RESIDENT] = region.bytes[RESIDENT].or(bytes(number, unit)));
        } else if let Some((kind, name)) = key.split_once('-')
            && let Some(at) = KINDS.iter().position(|known| *known == kind)
        {
            self.region(name, |region| region.bytes[at] = bytes(number, unit));
        }
    }

    fn engine(&mut self, name: &'a str, set: impl FnOnce(&mut Engine<'a>)) {
        if let Some(known) = self.engines.iter_mut().find(|engine| engine.name == name) {
            set(known);
        } else if self.engines.len() < MAX_ENGINES && is_name(name) {
            let mut engine = Engine { name, ..Engine::default() };
            set(&mut engine);
            self.engines.push(engine);
        }
    }

    fn region(&mut self, name: &'a str, set: impl FnOnce(&mut Region<'a>)) {
        if let Some(known) = self.regions.iter_mut().find(|region| region.name == name) {
            set(known);
        } else if self.regions.len() < MAX_REGIONS && is_name(name) {
            let mut region = Region { name, ..Region::default() };
            set(&mut region);
            self.regions.push(region);
        }
    }
}

/// What the document calls a `keystr`.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn bytes(number: u64, unit: Option<&str>) -> Option<u64> {
    match unit {
        None => Some(number),
        Some("KiB") => number.checked_mul(1 << 10),
        Some("MiB") => number.checked_mul(1 << 20),
        Some(_) => None,
    }
}

fn hertz(number: u64, unit: Option<&str>) -> Option<u64> {
    match unit {
        Some("Hz") => Some(number),
        Some("KHz") => number.checked_mul(1_000),
        Some("MHz") => number.checked_mul(1_000_000),
        _ => None,
    }
}
