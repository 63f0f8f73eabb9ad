//! Accelerators that are read through /sys: one file a driver family, one schema for all ([`schema`]).
//!
//! Each device has one sensor that speaks for it: that of its driver's family, and [`unclaimed`] for those that none of these drives.
//! NVIDIA's driver tells nothing below /sys: a probe asks its library, and says it in the same schema.
//!
//! A device's power state is read before its driver is asked anything; one that sleeps is not asked (`runtime_pm`). One that was
//! there in this boot and is gone, though nobody took it, is lost and not silent.

mod amd_gpu;
mod amd_npu;
mod coral;
mod derive;
mod device;
mod family;
mod intel_gpu;
mod intel_npu;
mod rockchip;
pub mod schema;
mod unclaimed;

#[cfg(test)]
mod tests;

use crate::sensor::Sensor;
use family::{Family, FamilySensor};
use unclaimed::Unclaimed;

const FAMILIES: [&Family; 6] =
    [&amd_gpu::FAMILY, &intel_gpu::FAMILY, &intel_npu::FAMILY, &amd_npu::FAMILY, &coral::FAMILY, &rockchip::FAMILY];

/// A sensor for each family and one for what is of none, in the order of their columns.
pub(crate) fn all() -> Vec<Box<dyn Sensor>> {
    let families = FAMILIES.map(|family| Box::new(FamilySensor::of(family)) as Box<dyn Sensor>);
    let unclaimed: Box<dyn Sensor> = Box::new(Unclaimed::default());
    families.into_iter().chain([unclaimed]).collect()
}
