//! What can be read of a host, one sensor a kernel interface, and the only opener of its kernel files.
//!
//! Names, labels and units are node_exporter's, checked against its release 1.5.0; what its default filters leave out
//! is left out here too, by the filters of release 1.9. Values stay the kernel's own integers, with a scale beside them.
//! Every file's format is documented in the kernel's `Documentation/filesystems/proc.rst` unless a sensor names another.
//!
//! A number that cannot be read is absent, the rest of its file is not. A file that cannot be read is the sensor's
//! verdict; where a host may well be without it, there is nothing to report. No text makes a sensor panic or take memory
//! without bound.

pub mod accelerators;
mod attributes;
#[cfg(any(test, feature = "tree"))]
pub mod comparison;
mod host;
mod line;
pub mod members;
pub mod pci;
mod reading;
pub mod root;
mod runtime_pm;
mod sensor;
mod since_boot;
mod text;
#[cfg(any(test, feature = "tree"))]
pub mod tree;
#[cfg(any(test, feature = "tree"))]
pub mod witness;

pub use host::FilesystemSensor;
pub use line::Line;
pub use reading::{Form, MAX_SENSOR_METRICS, MAX_SENSOR_TEXT, Reading};
pub use sensor::{Sensor, SensorError};

/// Every sensor that a host has without further rights, in the order of their columns.
pub fn all() -> Vec<Box<dyn Sensor>> {
    let mut all = host::all();
    all.extend(accelerators::all());
    all
}

#[cfg(test)]
mod tests;
