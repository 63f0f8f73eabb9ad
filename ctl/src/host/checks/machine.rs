//! The machine that the agent runs on: memory, disks, kernel.

use super::super::facts::{Facts, Holds, Kernel, Memory, Volume};
use super::super::finding::Finding;
use super::super::screen::size;

/// Hundredths of the memory that are to be available: below, the kernel is about to choose whom it ends.
const MEMORY_PERCENT: u64 = 5;
/// Hundredths of its memory that the service may take before it is named.
const UNIT_PERCENT: u64 = 90;
/// Hundredths of a disk that are to be free.
const DISK_PERCENT: u64 = 5;
/// Bytes that renewing an identity takes at most: two files of some kilobytes, written beside the old ones.
const IDENTITY_BYTES: u64 = 1 << 20;

/// The host's memory, and the service's.
pub(super) fn memory(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(Memory { total_bytes, available_bytes }) = facts.memory {
        let what = format!("{} of {} available", size(available_bytes), size(total_bytes));
        found.push(if is_below(available_bytes, total_bytes, MEMORY_PERCENT) {
            let remedy = "`ps -eo rss,pid,comm --sort=-rss | head` shows who has it; the kernel ends somebody when it is used up";
            Finding::warning(MEMORY, format!("memory is nearly used up: {what}"), remedy)
        } else {
            Finding::ok(MEMORY, what)
        });
    }
    if let Some((current, most)) = facts.unit.as_ref().and_then(|unit| unit.memory)
        && !is_below(current, most, UNIT_PERCENT)
    {
        let what = format!("dsmil-agent.service takes {} of the {} that it may have", size(current), size(most));
        let remedy = "its spool is charged to it: bring the link up, or raise `spool.capacity_mib`, `systemctl daemon-reload` and \
                      `systemctl restart dsmil-agent`";
        found.push(Finding::warning(MEMORY, what, remedy));
    }
    found
}

/// Filesystems that matter.
pub(super) fn disk(facts: &Facts) -> Vec<Finding> {
    facts.volumes.iter().map(volume).collect()
}

fn volume(volume: &Volume) -> Finding {
    let Volume { path, holds, size_bytes, available_bytes } = volume;
    let path = path.display();
    let what = format!("{path}: {} of {} free", size(*available_bytes), size(*size_bytes));
    let remedy = format!(
        "`du -xh --max-depth=2 {path} | sort -h | tail` shows where it went; `journalctl --vacuum-size=200M` helps often"
    );
    match holds {
        Holds::Identity if *available_bytes < IDENTITY_BYTES => {
            Finding::trouble(DISK, format!("{what}: a renewed certificate cannot be kept there"), remedy)
        }
        Holds::System if is_below(*available_bytes, *size_bytes, DISK_PERCENT) => Finding::warning(DISK, what, remedy),
        _ => Finding::ok(DISK, what),
    }
}

/// What the kernel brings.
pub(super) fn kernel(facts: &Facts) -> Vec<Finding> {
    let Some(Kernel { release, has_pressure, has_cgroup2 }) = &facts.kernel else { return Vec::new() };
    let mut found = Vec::new();
    if !has_pressure {
        let what =
            "the kernel does not account pressure (PSI): how long work waits for CPU, memory and disks is not known";
        let remedy = "boot with `psi=1` on the kernel's command line (Debian: GRUB_CMDLINE_LINUX in /etc/default/grub, then `update-grub`)";
        found.push(Finding::warning(KERNEL, what, remedy));
    }
    if !has_cgroup2 {
        let what = "control groups are not in one hierarchy (cgroup v2): services are not accounted for";
        let remedy = "boot with `systemd.unified_cgroup_hierarchy=1` on the kernel's command line";
        found.push(Finding::warning(KERNEL, what, remedy));
    }
    if found.is_empty() {
        found.push(Finding::ok(KERNEL, format!("Linux {release} has what the sensors read")));
    }
    found
}

fn is_below(part: u64, whole: u64, percent: u64) -> bool {
    part.saturating_mul(100) < whole.saturating_mul(percent)
}

const MEMORY: &str = "memory";
const DISK: &str = "disk";
const KERNEL: &str = "kernel";
