//! What is read of a host, one sensor a kernel interface.
//!
//! Names, labels and units are node_exporter's, checked against its release 1.5.0; what its default filters leave out
//! is left out here too, by the filters of release 1.9. Values stay the kernel's own integers, with a scale beside them.
//! Every file's format is documented in the kernel's `Documentation/filesystems/proc.rst` unless a sensor names another.
//!
//! A number that cannot be read is absent, the rest of its file is not. A file that cannot be read is the sensor's
//! verdict. No text makes a sensor panic or take memory without bound.

mod diskstats;
mod filefd;
mod filesystem;
mod loadavg;
mod meminfo;
mod netdev;
mod netstat;
mod pressure;
mod reading;
mod sockstat;
mod stat;
mod text;
#[cfg(test)]
pub(crate) mod tree;
mod uname;
mod uptime;
mod vmstat;

pub use filesystem::FilesystemSensor;
pub use reading::{Form, MAX_SENSOR_METRICS, MAX_SENSOR_TEXT, Reading};

use crate::root::{Root, RootError};

/// Reads one of the kernel's interfaces.
///
/// A sensor keeps buffers between ticks, so that a tick takes no memory in the steady state.
pub trait Sensor: Send {
    /// The name under which its verdict is reported; node_exporter's collector of the same content, where there is one.
    fn name(&self) -> &'static str;

    /// Pushes every metric there is at this moment. On an error, what was pushed before it counts.
    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError>;
}

/// Why a sensor has not reported everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SensorError {
    /// The kernel has no such file.
    #[error("{file} does not exist: this kernel is built or booted without it")]
    Missing {
        /// The file, below /proc or /sys.
        file: &'static str,
    },
    /// The file could not be read.
    #[error("{file} cannot be read")]
    Unreadable {
        /// The file, below /proc or /sys.
        file: &'static str,
        /// What the kernel answered.
        #[source]
        source: RootError,
    },
    /// The file does not look as the kernel documents it.
    #[error("{file} line {line} is not what the kernel documents")]
    Malformed {
        /// The file, below /proc or /sys.
        file: &'static str,
        /// The line, from 1.
        line: usize,
    },
    /// More metrics than a sensor, or a metric set, may have; the first ones are reported.
    #[error("more metrics than fit: the first {reported} are reported")]
    TooMany {
        /// How many are reported.
        reported: usize,
    },
}

impl SensorError {
    /// The error of reading `file`.
    fn at(file: &'static str) -> impl Fn(RootError) -> Self {
        move |error| match error {
            RootError::Missing => Self::Missing { file },
            source => Self::Unreadable { file, source },
        }
    }
}

/// Every sensor that a host has without further rights, in the order of their columns.
pub fn all() -> Vec<Box<dyn Sensor>> {
    vec![
        Box::new(stat::Stat::default()),
        Box::new(loadavg::Loadavg::default()),
        Box::new(meminfo::Meminfo::default()),
        Box::new(vmstat::Vmstat::default()),
        Box::new(pressure::Pressure::default()),
        Box::new(diskstats::Diskstats::default()),
        Box::new(FilesystemSensor::local()),
        Box::new(FilesystemSensor::remote()),
        Box::new(netdev::Netdev::default()),
        Box::new(netstat::Netstat::default()),
        Box::new(sockstat::Sockstat::default()),
        Box::new(filefd::Filefd::default()),
        Box::new(uptime::Uptime::default()),
        Box::new(uname::Uname::default()),
    ]
}

#[cfg(test)]
mod tests;
