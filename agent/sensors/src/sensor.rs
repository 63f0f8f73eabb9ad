//! What a sensor is, and why one has not reported everything.

use crate::line::Line;
use crate::reading::Reading;
use crate::root::{Root, RootError};

/// Reads one of the kernel's interfaces.
///
/// A sensor keeps buffers between ticks, so that a tick takes no memory in the steady state.
pub trait Sensor: Send {
    /// The name under which its verdict is reported; node_exporter's collector of the same content, where there is one.
    fn name(&self) -> &'static str;

    /// What it reads, for the reference of all metrics.
    fn source(&self) -> &'static str;

    /// Seconds between two readings, unless the fleet's settings say otherwise: more than one where figures hardly ever change
    /// or where reading them costs much.
    fn interval_s(&self) -> u16 {
        1
    }

    /// Whether it has asked somebody who has not answered yet: then it is read at the next tick, whatever its interval.
    fn expects_answer(&self) -> bool {
        false
    }

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
    /// What a probe, or whoever asked it, has to say.
    #[error("{what}")]
    Told {
        /// What is wrong.
        what: Line,
        /// What to do about it.
        remedy: &'static str,
    },
}

impl SensorError {
    /// The error of reading `file`.
    pub(crate) fn at(file: &'static str) -> impl Fn(RootError) -> Self {
        move |error| match error {
            RootError::Missing => Self::Missing { file },
            source => Self::Unreadable { file, source },
        }
    }
}
