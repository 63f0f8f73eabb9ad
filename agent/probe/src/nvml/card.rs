//! Who a card is: what its metrics' labels say, asked once.

use dsmil_protocol::probe::PciAddress;
use dsmil_sensors::Reading;
use dsmil_sensors::accelerators::schema::{Accelerator, AcceleratorKind, AcceleratorState, Figure, push};
use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

/// What does not change of a card while the library is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Card {
    /// Where it is.
    pub(super) place: PciAddress,
    gpu: String,
    uuid: String,
    bus_id: String,
    device: String,
    model: String,
    host: String,
}

impl Card {
    /// The card of that number, in the host that calls itself so.
    pub(super) fn of(device: &Device<'_>, index: u32, host: &str) -> Result<Self, NvmlError> {
        let pci = device.pci_info()?;
        // Of a number that no bus has, the card of the number 0: it is only shown.
        let byte = |number: u32| u8::try_from(number).unwrap_or_default();
        let place = pci.bus_id.parse().unwrap_or(PciAddress {
            domain: pci.domain,
            bus: byte(pci.bus),
            device: byte(pci.device),
            function: 0,
        });
        Ok(Self {
            place,
            gpu: index.to_string(),
            uuid: device.uuid()?,
            bus_id: pci.bus_id,
            // As dcgm-exporter names it: by the number of its file in /dev.
            device: format!("nvidia{}", device.minor_number().unwrap_or(index)),
            model: device.name()?,
            host: host.to_owned(),
        })
    }

    /// One that nobody has.
    #[cfg(any(test, feature = "reference"))]
    pub(super) fn example() -> Self {
        Self {
            place: PciAddress { domain: 0, bus: 0x3b, device: 0, function: 0 },
            gpu: "0".into(),
            uuid: "GPU-00000000-0000-0000-0000-000000000000".into(),
            bus_id: "00000000:3B:00.0".into(),
            device: "nvidia0".into(),
            model: "NVIDIA A100-SXM4-40GB".into(),
            host: "gpu-1".into(),
        }
    }

    /// dcgm-exporter's labels, in its order.
    pub(super) fn labels(&self) -> [(&str, &str); 6] {
        [
            ("gpu", &self.gpu),
            ("UUID", &self.uuid),
            ("pci_bus_id", &self.bus_id),
            ("device", &self.device),
            ("modelName", &self.model),
            // Its dashboards choose hosts by it.
            ("Hostname", &self.host),
        ]
    }

    /// Pushes it in the schema of all accelerators.
    pub(super) fn push(&self, state: AcceleratorState, figures: &[Figure], out: &mut Reading) {
        push_accelerator(self.place, &self.model, &self.device, state, figures, out);
    }
}

/// Pushes a card that the library was not asked about: nobody is to be woken for its name.
pub(super) fn push_unasked(place: PciAddress, state: AcceleratorState, out: &mut Reading) {
    push_accelerator(place, "", "", state, &[], out);
}

fn push_accelerator(
    place: PciAddress,
    model: &str,
    device: &str,
    state: AcceleratorState,
    figures: &[Figure],
    out: &mut Reading,
) {
    let place = place.to_string();
    let accelerator = Accelerator {
        accelerator: &place,
        kind: AcceleratorKind::Gpu,
        vendor: "nvidia",
        model,
        driver: "nvidia",
        pci: &place,
        device,
    };
    push(out, &accelerator, state, figures);
}
