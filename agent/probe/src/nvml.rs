//! NVIDIA's GPUs, by NVIDIA's management library; names and labels are dcgm-exporter's.
//!
//! Source: NVIDIA's "NVML API Reference" for the calls, dcgm-exporter's `etc/default-counters.csv` for the names. The library is
//! loaded at the first question and not at the start: it may crash.
//!
//! An open handle keeps a card awake for good. So the kernel is asked first, without the driver: while a card sleeps, the library
//! is not touched, since it attaches to every card there is. And where a card may sleep (`power/control` says `auto`) and was
//! found idle, everything is closed again for [`REST`], so that it can.

mod card;
#[cfg(any(test, feature = "reference"))]
mod example;
mod mig;
mod values;

#[cfg(any(test, feature = "reference"))]
pub(crate) use example::example;

use crate::nvidia;
use crate::source::{Source, is_partial};
use card::Card;
use dsmil_protocol::metric::Metric;
use dsmil_protocol::probe::{Fault, PciAddress, Text};
use dsmil_runtime::clock::Clock;
use dsmil_sensors::accelerators::schema::AcceleratorState;
use dsmil_sensors::root::Root;
use dsmil_sensors::{Reading, pci};
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The library's name, for the loader.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// A device's file that says whether it sleeps.
const STATUS: &str = "runtime_status";
/// Cards that are read: a machine has sixteen at most.
const MAX_CARDS: u32 = 64;
/// How long an idle card that may sleep is left alone: it falls asleep within seconds, and is looked at twice a minute.
const REST: Duration = Duration::from_secs(30);

/// Reads all of them.
pub(crate) struct Nvidia {
    library: OsString,
    clock: Clock,
    open: Option<Open>,
    rest_until: Duration,
    /// What there was to tell before the cards were left alone: it is still there, without values.
    last: Vec<Metric>,
}

/// The library with its handles.
struct Open {
    nvml: Nvml,
    /// How the host calls itself, when the library was opened.
    host: String,
    /// What does not change of each card, by its number; nothing of one that has not told yet.
    cards: Vec<Option<Card>>,
}

impl Nvidia {
    /// By that library, or by the one that the loader finds.
    pub(crate) fn new(library: Option<PathBuf>, clock: Clock) -> Self {
        let library = library.map_or_else(|| LIBRARY.into(), PathBuf::into_os_string);
        Self { library, clock, open: None, rest_until: Duration::ZERO, last: Vec::new() }
    }

    fn open(&mut self, root: &Root) -> Result<&mut Open, Fault> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let nvml = Nvml::builder().lib_path(&self.library).init();
                let nvml = nvml.map_err(|error| fault(&error, &self.library.to_string_lossy(), root))?;
                Open { nvml, host: nvidia::host_name(root), cards: Vec::new() }
            }
        };
        Ok(self.open.insert(open))
    }

    /// Reads every card. The second says whether one of them is at work.
    fn cards(&mut self, root: &Root, out: &mut Reading) -> (Result<(), Fault>, bool) {
        let library = self.library.to_string_lossy().into_owned();
        let Open { nvml, host, cards } = match self.open(root) {
            Ok(open) => open,
            Err(fault) => return (Err(fault), false),
        };
        let count = match nvml.device_count() {
            Ok(count) => count.min(MAX_CARDS),
            Err(error) => return (Err(fault(&error, &library, root)), false),
        };
        cards.resize_with(count as usize, || None);
        let (mut worst, mut at_work) = (None, false);
        for (index, known) in (0..count).zip(cards) {
            match read_card(nvml, host, index, known, out) {
                Ok(work) => at_work |= work,
                Err(error) => {
                    at_work = true; // It is in trouble and not idle.
                    let place = known.as_ref().map(|card| card.place).or_else(|| on_the_bus(root, index));
                    let fault = of_card(&error, place, &library, root);
                    let is_lost = matches!(fault, Fault::DeviceLost { .. });
                    let state = if is_lost { AcceleratorState::Lost } else { AcceleratorState::Unknown };
                    match (known, place) {
                        (Some(card), _) => card.push(state, &[], out),
                        (None, Some(place)) => card::push_unasked(place, state, out),
                        (None, None) => {}
                    }
                    worst = worst.or(Some(fault));
                }
            }
        }
        (worst.map_or(Ok(()), Err), at_work)
    }

    /// Says what there was before, without values, and which card sleeps: nobody is asked.
    fn push_unread(&self, root: &Root, on_bus: &[PciAddress], out: &mut Reading) {
        let state = |place: PciAddress| match pci::power(root, place, STATUS).as_deref() {
            Some("suspended") => AcceleratorState::Suspended,
            Some("active") => AcceleratorState::Active,
            _ => AcceleratorState::Unknown,
        };
        if self.last.is_empty() {
            return on_bus.iter().for_each(|place| card::push_unasked(*place, state(*place), out));
        }
        for metric in &self.last {
            let label = |wanted| metric.labels.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
            let value = match metric.name.as_str() {
                "dsmil_accelerator_info" => Some(1),
                "dsmil_accelerator_state" => {
                    let place = label("accelerator").and_then(|place| place.parse().ok());
                    place.map(|place| u64::from(label("state") == Some(state(place).name())))
                }
                _ => None,
            };
            out.repeat(metric, value);
        }
    }
}

/// Reads the card of that number. Whether it is at work.
fn read_card(
    nvml: &Nvml,
    host: &str,
    index: u32,
    known: &mut Option<Card>,
    out: &mut Reading,
) -> Result<bool, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let card = match known {
        Some(card) => card,
        None => known.insert(Card::of(&device, index, host)?),
    };
    let read = values::push(&device, card, out)?;
    mig::push(&device, card, out);
    card.push(AcceleratorState::Active, &read.figures, out);
    Ok(read.at_work)
}

impl Source for Nvidia {
    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), Fault> {
        let on_bus = nvidia::gpus(root);
        let is = |card: &PciAddress, file, what: &str| pci::power(root, *card, file).is_some_and(|value| value == what);
        let sleeps = on_bus.iter().any(|card| is(card, STATUS, "suspended"));
        if sleeps || self.clock.mono() < self.rest_until {
            self.open = None;
            self.push_unread(root, &on_bus, out);
            return Ok(());
        }
        let (outcome, at_work) = self.cards(root, out);
        let may_sleep = on_bus.iter().any(|card| is(card, "control", "auto"));
        if outcome.as_ref().is_err_and(|fault| !is_partial(fault)) {
            self.open = None; // Whatever it holds is of no use any more.
        } else if may_sleep && !at_work {
            self.open = None;
            self.rest_until = self.clock.mono() + REST;
            self.last = out.metrics().take(out.values().count()).cloned().collect();
        }
        outcome
    }
}

/// The card of that number, by its place on the bus: NVML numbers cards in that order.
fn on_the_bus(root: &Root, index: u32) -> Option<PciAddress> {
    nvidia::gpus(root).get(index as usize).copied()
}

/// What an error means that came from one card.
fn of_card(error: &NvmlError, place: Option<PciAddress>, library: &str, root: &Root) -> Fault {
    match (error, place) {
        (NvmlError::GpuLost, Some(device)) => Fault::DeviceLost { device },
        (NvmlError::ResetRequired, Some(device)) => Fault::ResetRequired { device },
        (error, _) => fault(error, library, root),
    }
}

/// What an error of the library means.
fn fault(error: &NvmlError, library: &str, root: &Root) -> Fault {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
            Fault::LibraryMissing { library: Text::of(library) }
        }
        NvmlError::DriverNotLoaded => Fault::DriverNotLoaded,
        NvmlError::LibRmVersionMismatch => {
            let mut buffer = Vec::new();
            let driver = root.sys("module/nvidia/version", &mut buffer).ok();
            Fault::VersionMismatch { driver: driver.map(|version| Text::of(&String::from_utf8_lossy(version))) }
        }
        NvmlError::NoPermission | NvmlError::OperatingSystem => Fault::NoPermission { to: Text::of("/dev/nvidiactl") },
        error => Fault::LibraryUnusable { what: Text::of(&error.to_string()) },
    }
}

#[cfg(test)]
mod tests;
