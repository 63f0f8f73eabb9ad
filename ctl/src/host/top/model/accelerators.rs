//! GPUs, NPUs and their like, by the one schema of accelerators; NVIDIA's own names fill in what that does not say.

use super::super::readings::{Labels, Reading, Readings};
use super::processor::ratio;
use serde::Serialize;

/// An accelerator.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(in super::super) struct Accelerator {
    /// Its place: the address on its bus, or what its driver calls it.
    pub(in super::super) id: String,
    /// `gpu`, `npu`, `tpu`.
    pub(in super::super) kind: String,
    pub(in super::super) vendor: String,
    pub(in super::super) model: String,
    pub(in super::super) driver: String,
    /// `active`, `suspended`, `lost`, `unknown`; nothing if nobody says.
    pub(in super::super) state: Option<String>,
    /// The share of the time in which it works.
    pub(in super::super) utilisation: Option<f64>,
    pub(in super::super) memory_used: Option<f64>,
    pub(in super::super) memory_total: Option<f64>,
    pub(in super::super) celsius: Option<f64>,
    pub(in super::super) watts: Option<f64>,
    pub(in super::super) clock_hertz: Option<f64>,
    /// Figures that were worked out and not measured, by name.
    pub(in super::super) estimated: Vec<&'static str>,
}

impl Accelerator {
    /// The share of its memory that is taken.
    pub(in super::super) fn memory_ratio(&self) -> Option<f64> {
        ratio(self.memory_used?, self.memory_total?)
    }

    /// Whether it is there no more.
    pub(in super::super) fn is_lost(&self) -> bool {
        self.state.as_deref() == Some("lost")
    }
}

pub(super) fn accelerators(readings: &Readings) -> Vec<Accelerator> {
    let mut all: Vec<Accelerator> =
        readings.of("dsmil_accelerator_info").iter().map(|info| by_schema(readings, info)).collect();
    for card in readings.of("DCGM_FI_DEV_GPU_UTIL") {
        let theirs = by_dcgm(readings, card);
        let known = all.iter_mut().find(|ours| ours.vendor == "nvidia" && is_same_place(&ours.id, &theirs.id));
        match known {
            Some(ours) => ours.fill(theirs),
            None => all.push(theirs),
        }
    }
    all
}

fn by_schema(readings: &Readings, info: &Reading) -> Accelerator {
    let id = info.label("accelerator");
    let mut estimated = Vec::new();
    let mut of = |what: &'static str, unit: &str, take: fn(&Reading) -> Option<f64>| {
        let name = format!("dsmil_accelerator_{what}_{unit}");
        let from = |source: &str| readings.with(&name, &[("accelerator", id), ("source", source)]).and_then(take);
        from("measured").or_else(|| from("estimated").inspect(|_| estimated.push(what)))
    };
    let mut found = Accelerator {
        utilisation: of("utilisation", "ratio", value),
        memory_used: of("memory_used", "bytes", value),
        memory_total: of("memory_total", "bytes", value),
        celsius: of("temperature", "celsius", value),
        watts: of("power", "watts", value),
        clock_hertz: of("clock", "hertz", value),
        ..Accelerator::default()
    };
    // Where only a sum is told, its growth is the figure.
    found.utilisation = found.utilisation.or_else(|| of("busy", "seconds_total", rate).map(|share| share.min(1.0)));
    found.watts = found.watts.or_else(|| of("energy", "joules_total", rate));
    let text = |label| info.label(label).to_owned();
    let is_so = |state: &&Reading| state.label("accelerator") == id && state.value == Some(1.0);
    let state = readings.of("dsmil_accelerator_state").iter().find(is_so).map(|state| state.label("state").to_owned());
    Accelerator {
        id: id.to_owned(),
        kind: text("kind"),
        vendor: text("vendor"),
        model: text("model"),
        driver: text("driver"),
        state,
        estimated,
        ..found
    }
}

fn value(reading: &Reading) -> Option<f64> {
    reading.value
}

fn rate(reading: &Reading) -> Option<f64> {
    reading.per_s
}

fn by_dcgm(readings: &Readings, card: &Reading) -> Accelerator {
    const MIB: f64 = 1_048_576.0;
    let of = |name: &str| {
        let is_it = |reading: &&Reading| key(&reading.labels) == key(&card.labels);
        readings.of(&format!("DCGM_FI_DEV_{name}")).iter().find(is_it)?.value
    };
    let [used, free, reserved] = ["FB_USED", "FB_FREE", "FB_RESERVED"].map(of);
    let place = [card.label("pci_bus_id"), card.label("device"), card.label("gpu")];
    let id = place.into_iter().find(|label| !label.is_empty()).unwrap_or_default();
    Accelerator {
        id: id.to_owned(),
        kind: "gpu".into(),
        vendor: "nvidia".into(),
        model: card.label("modelName").to_owned(),
        utilisation: card.value.map(|percent| percent / 100.0),
        memory_used: used.map(|mib| mib * MIB),
        memory_total: used.zip(free).map(|(used, free)| (used + free + reserved.unwrap_or(0.0)) * MIB),
        celsius: of("GPU_TEMP"),
        watts: of("POWER_USAGE"),
        clock_hertz: of("SM_CLOCK").map(|mhz| mhz * 1e6),
        ..Accelerator::default()
    }
}

/// What tells one card, or one instance of it, from another.
fn key(labels: &Labels) -> [Option<&String>; 2] {
    ["UUID", "gpu"].map(|label| labels.get(label))
}

/// Whether two spellings of a PCI address are one: NVIDIA writes the domain with eight digits.
fn is_same_place(one: &str, other: &str) -> bool {
    let plain = |address: &str| address.trim_start_matches('0').to_ascii_lowercase();
    !one.is_empty() && plain(one) == plain(other)
}

impl Accelerator {
    /// Takes over what is not known here.
    fn fill(&mut self, other: Self) {
        let figures = [
            (&mut self.utilisation, other.utilisation),
            (&mut self.memory_used, other.memory_used),
            (&mut self.memory_total, other.memory_total),
            (&mut self.celsius, other.celsius),
            (&mut self.watts, other.watts),
            (&mut self.clock_hertz, other.clock_hertz),
        ];
        for (ours, theirs) in figures {
            *ours = ours.or(theirs);
        }
    }
}
