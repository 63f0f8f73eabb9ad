//! The disk that a chip of the driver `drivetemp` is in.
//!
//! Its temperature comes out of the disk itself. Asking starts the disk's rest anew, and nobody knows what every model does when it
//! is asked while it stands still (the kernel's `Documentation/hwmon/drivetemp.rst`). So a disk is asked only if it has done
//! other work since it was last asked: then it turns already, and rests no later than it would have.
//!
//! Format: `stat` of a block device, the kernel's `Documentation/block/stat.rst`. The question itself is no I/O that is counted there.

use crate::root::Root;
use crate::text::{fields, unsigned};

/// Where reads and writes that were done stand in `stat`, from 0.
const READS_AND_WRITES: [usize; 2] = [0, 4];

/// A disk's work.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// Its `stat`, below /sys.
    stat: Option<String>,
    buffer: Vec<u8>,
    /// Reads and writes at the last look.
    done: Option<u64>,
}

impl Disk {
    /// The disk whose chip is in `directory`.
    pub(super) fn below(root: &Root, directory: &str) -> Self {
        let block = format!("{directory}/device/block");
        let names = root.list_sys(&block).unwrap_or_default();
        Self { stat: names.first().map(|name| format!("{block}/{name}/stat")), ..Self::default() }
    }

    /// Whether it has read or written since the last look. Not at the first look, and not where nobody can tell.
    pub(super) fn is_at_work(&mut self, root: &Root) -> bool {
        let stat = self.stat.as_deref().and_then(|stat| root.sys(stat, &mut self.buffer).ok());
        let done = stat.and_then(|stat| {
            let columns: Vec<u64> = fields(stat).map_while(unsigned).collect();
            READS_AND_WRITES.iter().try_fold(0u64, |sum, at| sum.checked_add(*columns.get(*at)?))
        });
        let before = std::mem::replace(&mut self.done, done);
        before.is_some() && done.is_some() && before != done
    }
}
