//! Instances of a card that is divided (MIG): the memory of each. What they compute is only measured for the card as a whole.

use super::card::Card;
use super::values::{self, Gpu};
use dsmil_sensors::Reading;
use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

/// Instances of a card that are read; there are seven at most.
const MAX_INSTANCES: u32 = 16;

/// Pushes a card's instances; a card that is not divided has none.
pub(super) fn push(gpu: &Device<'_>, card: &Card, out: &mut Reading) {
    if gpu.mig_mode().map_or(true, |mode| mode.current == 0) {
        return;
    }
    let count = gpu.mig_device_count().unwrap_or(0).min(MAX_INSTANCES);
    for instance in (0..count).filter_map(|index| gpu.mig_device_by_index(index).ok()) {
        let Ok((name, uuid)) = instance.name().and_then(|name| Ok((name, instance.uuid()?))) else { continue };
        // One that goes away while it is read is not there.
        let _ = push_instance(&instance, &name, &uuid, card, out);
    }
}

/// Pushes the instance of that name and number.
pub(super) fn push_instance(
    instance: &impl Gpu,
    name: &str,
    uuid: &str,
    card: &Card,
    out: &mut Reading,
) -> Result<(), NvmlError> {
    // "NVIDIA A100-SXM4-40GB MIG 1g.5gb"; the instance's number, dcgm-exporter's GPU_I_ID, is not among the calls that the crate has.
    let profile = name.rsplit_once("MIG ").map_or(name, |(_, profile)| profile);
    let mut labels = card.labels().to_vec();
    labels.extend([("GPU_I_PROFILE", profile), ("GPU_I_UUID", uuid)]);
    values::memory(instance, &labels, out).map(|_| ())
}
