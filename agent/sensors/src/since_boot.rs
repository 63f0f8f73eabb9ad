//! How long the host has been up, for sensors that read some things less often than others: they have no clock of their own, so
//! a test moves theirs by writing a file.
//!
//! Format: `/proc/uptime` of the kernel's `Documentation/filesystems/proc.rst`; its first number is seconds with two places.

use crate::root::Root;
use crate::text::{fields, hundredths};
use std::time::Duration;

/// Tells the time since boot; keeps its buffer.
#[derive(Debug, Default)]
pub(crate) struct SinceBoot {
    buffer: Vec<u8>,
}

impl SinceBoot {
    /// The time since boot, to a hundredth of a second; none on a host that does not tell it.
    pub(crate) fn read(&mut self, root: &Root) -> Option<Duration> {
        let text = root.proc("uptime", &mut self.buffer).ok()?;
        Some(Duration::from_millis(hundredths(fields(text).next()?)?.checked_mul(10)?))
    }
}

/// Something done every so often.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Every {
    last: Option<Duration>,
}

impl Every {
    /// Whether `period` has passed since this was last true. True the first time, where nobody tells the time, and where
    /// it went backwards, as it does in nothing but a test or a checkpointed container.
    pub(crate) fn is_due(&mut self, now: Option<Duration>, period: Duration) -> bool {
        // A tick comes a little early or late: what is due within half a second is due.
        let rested = |last: Duration, now: Duration| now.checked_sub(last).is_some_and(|rest| rest + SLACK < period);
        let resting = matches!((self.last, now), (Some(last), Some(now)) if rested(last, now));
        if !resting {
            self.last = now;
        }
        !resting
    }
}

const SLACK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn time_passes_as_the_file_says() {
        let tree = Tree::new();
        let mut time = SinceBoot::default();
        assert_eq!(time.read(&tree.root()), None);
        tree.proc("uptime", "12.34 99.00\n");
        assert_eq!(time.read(&tree.root()), Some(Duration::from_millis(12_340)));
        for bad in ["", "x", "184467440737095516.15 1"] {
            tree.proc("uptime", bad);
            assert_eq!(time.read(&tree.root()), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_due_is_due_once_a_period() {
        let mut every = Every::default();
        let mut due = |s: f64| every.is_due(Some(Duration::from_secs_f64(s)), Duration::from_secs(10));
        assert!(due(5.0), "the first time");
        assert!(!due(6.0) && !due(14.4));
        assert!(due(14.6), "a tick that comes a little early is the tick");
        assert!(!due(15.0));
        assert!(due(3.0), "back in time");
        assert!(Every::default().is_due(None, Duration::from_secs(10)), "nobody tells the time");
    }
}
