//! What an accelerator says of itself: the same metrics for GPU, NPU and TPU of every vendor, beside those that go by vendors' names.
//!
//! | metric | type | labels |
//! |---|---|---|
//! | `dsmil_accelerator_info` | 1 | `accelerator`, `kind`, `vendor`, `model`, `driver`, `pci`, `device` |
//! | `dsmil_accelerator_state` | 0 or 1 | `accelerator`, `kind`, `vendor`, `state` |
//! | `dsmil_accelerator_utilisation_ratio` and the others of [`Quantity`] | | `accelerator`, `kind`, `vendor`, `source` |
//!
//! The state is a series for each state, one of them 1 (OpenMetrics' "state set"), and not a number: `{state="lost"} == 1` reads as
//! what it means, an average over devices is a share of them and not a state between two, and a new state takes no number
//! from an old one.
//!
//! A quantity that the device has and that cannot be had at this moment is a series without a value. One that it has not is no
//! series. Absent is not zero.

use crate::reading::{Form, Reading};
use dsmil_protocol::metric::Scale;

/// What kind of accelerator it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceleratorKind {
    /// Made for graphics, whatever it computes.
    Gpu,
    /// A neural processor beside the processor's cores.
    Npu,
    /// Google's, Coral among them.
    Tpu,
}

/// What state it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceleratorState {
    /// It is awake.
    Active,
    /// It sleeps, and nobody wakes it to look.
    Suspended,
    /// It was there in this boot and does not answer any more: it has fallen off the bus.
    Lost,
    /// It is there, and nobody tells more.
    Unknown,
}

/// How a value came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The device or its driver says so.
    Measured,
    /// Worked out from what they say: a difference over time, or a share of it.
    Estimated,
}

/// What is known of every accelerator, with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// How much of the time it works, of 1.
    Utilisation,
    /// Seconds of work so far.
    BusyTime,
    /// Bytes of its memory that are taken.
    MemoryUsed,
    /// Bytes of its memory.
    MemoryTotal,
    /// Degrees Celsius; of several sensors the one that its vendor calls the first.
    Temperature,
    /// Watts.
    Power,
    /// Joules so far.
    Energy,
    /// Hertz of its compute clock.
    Clock,
}

/// An accelerator, and how it is called.
#[derive(Clone, Copy, Debug)]
pub struct Accelerator<'a> {
    /// Its place, which stays the same from boot to boot: the address on the PCI bus, or the platform's name of it.
    pub accelerator: &'a str,
    /// Of what kind.
    pub kind: AcceleratorKind,
    /// Whose: `amd`, `google`, `intel`, `nvidia`, `rockchip`.
    pub vendor: &'a str,
    /// Its name, or vendor's and device's number where nobody tells a name.
    pub model: &'a str,
    /// The driver bound to it; empty without one.
    pub driver: &'a str,
    /// Its address on the PCI bus; empty if it is not on one.
    pub pci: &'a str,
    /// What the kernel calls it in this boot: `card1`, `accel0`; empty without a driver.
    pub device: &'a str,
}

/// One quantity of an accelerator at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Which.
    pub quantity: Quantity,
    /// How the number is to be read in the quantity's unit: `Scale::per(100)` for percent of a ratio.
    pub scale: Scale,
    /// How it came about.
    pub source: Source,
    /// The number, a temperature's in two's complement; none where it cannot be had now.
    pub value: Option<u64>,
}

/// Pushes what an accelerator is, its state and its figures: a quantity at most once for each source, in any order that
/// stays the same.
pub fn push(out: &mut Reading, accelerator: &Accelerator<'_>, state: AcceleratorState, figures: &[Figure]) {
    let Accelerator { accelerator, kind, vendor, model, driver, pci, device } = *accelerator;
    let [id, kind, vendor] = [("accelerator", accelerator), ("kind", kind.name()), ("vendor", vendor)];
    let info = [id, kind, vendor, ("model", model), ("driver", driver), ("pci", pci), ("device", device)];
    out.push("dsmil_accelerator_info", &info, FLAG, Some(1));
    for one in AcceleratorState::ALL {
        let labels = [id, kind, vendor, ("state", one.name())];
        out.push("dsmil_accelerator_state", &labels, FLAG, Some(u64::from(one == state)));
    }
    for Figure { quantity, scale, source, value } in figures {
        out.push(quantity.metric(), &[id, kind, vendor, ("source", source.name())], quantity.form(*scale), *value);
    }
}

const FLAG: Form = Form::gauge(Scale::ONE);

impl AcceleratorKind {
    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Npu => "npu",
            Self::Tpu => "tpu",
        }
    }
}

impl AcceleratorState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Active, Self::Suspended, Self::Lost, Self::Unknown];

    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Lost => "lost",
            Self::Unknown => "unknown",
        }
    }
}

impl Source {
    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Estimated => "estimated",
        }
    }
}

impl Quantity {
    /// Its metric's name.
    pub const fn metric(self) -> &'static str {
        match self {
            Self::Utilisation => "dsmil_accelerator_utilisation_ratio",
            Self::BusyTime => "dsmil_accelerator_busy_seconds_total",
            Self::MemoryUsed => "dsmil_accelerator_memory_used_bytes",
            Self::MemoryTotal => "dsmil_accelerator_memory_total_bytes",
            Self::Temperature => "dsmil_accelerator_temperature_celsius",
            Self::Power => "dsmil_accelerator_power_watts",
            Self::Energy => "dsmil_accelerator_energy_joules_total",
            Self::Clock => "dsmil_accelerator_clock_hertz",
        }
    }

    const fn form(self, scale: Scale) -> Form {
        match self {
            Self::BusyTime | Self::Energy => Form::counter(scale),
            Self::Temperature => Form::signed_gauge(scale),
            Self::Utilisation | Self::MemoryUsed | Self::MemoryTotal | Self::Power | Self::Clock => Form::gauge(scale),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::series;

    #[test]
    fn a_figure_without_a_value_is_a_series_and_one_state_is_true() {
        let mut reading = Reading::new();
        reading.begin();
        let card = Accelerator {
            accelerator: "0000:03:00.0",
            kind: AcceleratorKind::Gpu,
            vendor: "amd",
            model: "1002:744c",
            driver: "amdgpu",
            pci: "0000:03:00.0",
            device: "card1",
        };
        let figure = |quantity, scale, value| Figure { quantity, scale, source: Source::Measured, value };
        let figures = [
            figure(Quantity::Temperature, Scale::per(1000), Some((-4000i64).cast_unsigned())),
            figure(Quantity::Power, Scale::per(1_000_000), None),
        ];
        push(&mut reading, &card, AcceleratorState::Suspended, &figures);
        reading.complete();
        let of = "accelerator=\"0000:03:00.0\",kind=\"gpu\",vendor=\"amd\"";
        let seen: Vec<(String, Option<f64>)> = reading
            .metrics()
            .zip(reading.values())
            .map(|(m, bits)| (series(m), bits.map(|bits| m.value(bits))))
            .collect();
        let state = |state, value| (format!("dsmil_accelerator_state{{{of},state=\"{state}\"}}"), Some(value));
        assert_eq!(
            seen,
            [
                (
                    format!(
                        "dsmil_accelerator_info{{{of},model=\"1002:744c\",driver=\"amdgpu\",pci=\"0000:03:00.0\",device=\"card1\"}}"
                    ),
                    Some(1.0)
                ),
                state("active", 0.0),
                state("suspended", 1.0),
                state("lost", 0.0),
                state("unknown", 0.0),
                (format!("dsmil_accelerator_temperature_celsius{{{of},source=\"measured\"}}"), Some(-4.0)),
                (format!("dsmil_accelerator_power_watts{{{of},source=\"measured\"}}"), None),
            ]
        );
    }
}
