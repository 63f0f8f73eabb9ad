//! The disk that a chip is in: of the drivers `drivetemp` and `nvme`.
//!
//! Its temperature comes out of the disk itself. Asking starts a disk's rest anew, and nobody knows what every model does when it is
//! asked while it stands still (the kernel's `Documentation/hwmon/drivetemp.rst`); an NVMe disk leaves the power state that it has
//! chosen for its idleness (`Documentation/admin-guide/kernel-parameters.txt`, `nvme_core.default_ps_max_latency_us`). So a disk is
//! asked only if it has done other work since the last look: then it is awake, and rests no later than it would have.
//!
//! Format: `stat` of a block device, the kernel's `Documentation/block/stat.rst`. The question itself is no I/O that is counted there.

use crate::root::Root;
use crate::text::{fields, unsigned};

/// Where reads and writes that were done stand in `stat`, from 0.
const READS_AND_WRITES: [usize; 2] = [0, 4];
/// Namespaces of an NVMe disk that are looked at: those that people use have one.
const MAX_PARTS: usize = 8;

/// A disk's work.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// The `stat` of each part of it, below /sys.
    stats: Vec<String>,
    buffer: Vec<u8>,
    /// Reads and writes at the last look.
    done: Option<u64>,
}

impl Disk {
    /// The disk whose chip is in `directory`: `device/block/sda`, or `device/nvme0n1` and its like.
    pub(super) fn below(root: &Root, directory: &str) -> Self {
        let names = |place: &str| root.list_sys(place).unwrap_or_default();
        let (device, block) = (format!("{directory}/device"), format!("{directory}/device/block"));
        let blocks = names(&block).into_iter().map(|name| format!("{block}/{name}/stat"));
        let spaces = names(&device).into_iter().filter(|name| name.starts_with("nvme"));
        let spaces = spaces.map(|name| format!("{device}/{name}/stat"));
        Self { stats: blocks.chain(spaces).take(MAX_PARTS).collect(), ..Self::default() }
    }

    /// Whether it has read or written since the last look. Not at the first look, and not where nobody can tell.
    pub(super) fn is_at_work(&mut self, root: &Root) -> bool {
        let mut done = None;
        for stat in &self.stats {
            let Ok(text) = root.sys(stat, &mut self.buffer) else { continue };
            let column = |at: usize| fields(text).nth(at).and_then(unsigned);
            let sum = READS_AND_WRITES.iter().try_fold(done.unwrap_or(0u64), |sum, at| sum.checked_add(column(*at)?));
            done = sum.or(done);
        }
        let before = std::mem::replace(&mut self.done, done);
        before.is_some() && done.is_some() && before != done
    }
}
