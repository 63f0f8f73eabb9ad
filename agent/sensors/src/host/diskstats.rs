//! `/proc/diskstats`: what the block devices did; node_exporter's collector `diskstats`, without what it asks of udev.
//!
//! Format: the kernel's `Documentation/admin-guide/iostats.rst`. Sectors are 512 bytes whatever the device's own are.

use crate::reading::{Form, Reading, label};
use crate::root::Root;
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, lines, unsigned};
use dsmil_protocol::metric::Scale;

const FILE: &str = "diskstats";

const COUNT: Form = Form::counter(Scale::ONE);
const BYTES: Form = Form::counter(Scale::times(512));
const TIME: Form = Form::counter(Scale::per(1000));

/// The columns after major, minor and name. Kernels before 4.18 have the first 11, before 5.5 the first 15.
const COLUMNS: [(&str, Form); 17] = [
    ("node_disk_reads_completed_total", COUNT),
    ("node_disk_reads_merged_total", COUNT),
    ("node_disk_read_bytes_total", BYTES),
    ("node_disk_read_time_seconds_total", TIME),
    ("node_disk_writes_completed_total", COUNT),
    ("node_disk_writes_merged_total", COUNT),
    ("node_disk_written_bytes_total", BYTES),
    ("node_disk_write_time_seconds_total", TIME),
    ("node_disk_io_now", Form::gauge(Scale::ONE)),
    ("node_disk_io_time_seconds_total", TIME),
    ("node_disk_io_time_weighted_seconds_total", TIME),
    ("node_disk_discards_completed_total", COUNT),
    ("node_disk_discards_merged_total", COUNT),
    ("node_disk_discarded_sectors_total", COUNT),
    ("node_disk_discard_time_seconds_total", TIME),
    ("node_disk_flush_requests_total", COUNT),
    ("node_disk_flush_requests_time_seconds_total", TIME),
];

/// Reads `/proc/diskstats`.
#[derive(Default)]
pub(crate) struct Diskstats {
    buffer: Vec<u8>,
}

impl Sensor for Diskstats {
    fn name(&self) -> &'static str {
        "diskstats"
    }

    fn source(&self) -> &'static str {
        "/proc/diskstats"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let text = root.proc(FILE, &mut self.buffer).map_err(SensorError::at(FILE))?;
        for (number, line) in lines(text) {
            let mut rest = fields(line);
            let device = rest.nth(2).ok_or(SensorError::Malformed { file: FILE, line: number })?;
            if is_left_out(device) {
                continue;
            }
            let device = label(device);
            for ((name, form), column) in COLUMNS.iter().zip(rest) {
                out.push(name, &[("device", &device)], *form, unsigned(column));
            }
        }
        Ok(())
    }
}

/// Partitions, loop, RAM and floppy disks: `^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`
fn is_left_out(device: &[u8]) -> bool {
    let digits = device.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return false;
    }
    let stem = &device[..device.len() - digits];
    matches!(stem, b"ram" | b"zram" | b"loop" | b"fd") || is_lettered_disk(stem) || is_nvme_partition(stem)
}

/// `(h|s|v|xv)d[a-z]`
fn is_lettered_disk(stem: &[u8]) -> bool {
    let Some((letter, kind)) = stem.split_last() else { return false };
    letter.is_ascii_lowercase() && matches!(kind, b"hd" | b"sd" | b"vd" | b"xvd")
}

/// `nvme\d+n\d+p`
fn is_nvme_partition(stem: &[u8]) -> bool {
    let Some(numbers) = stem.strip_prefix(b"nvme").and_then(|rest| rest.strip_suffix(b"p")) else { return false };
    let mut parts = numbers.split(|byte| *byte == b'n');
    let is_number = |part: Option<&[u8]>| part.is_some_and(|p| !p.is_empty() && p.iter().all(u8::is_ascii_digit));
    is_number(parts.next()) && is_number(parts.next()) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn the_default_filter_is_node_exporters() {
        for out in ["ram0", "zram1", "loop12", "fd0", "hda1", "sdz15", "vda1", "xvdb2", "nvme0n1p1", "nvme10n22p333"] {
            assert!(is_left_out(out.as_bytes()), "{out}");
        }
        for kept in [
            "sda",
            "sdaa",
            "sdaa1",
            "vdA1",
            "xvda",
            "nvme0n1",
            "nvme0p1",
            "nvmen1p1",
            "nvme0n1n2p1",
            "md0",
            "dm-0",
            "sr0",
            "mmcblk0p1",
            "mtdblock0",
            "1",
            "",
        ] {
            assert!(!is_left_out(kept.as_bytes()), "{kept}");
        }
    }

    #[test]
    fn old_and_new_kernels_are_read() {
        let tree = Tree::new();
        tree.proc(
            "diskstats",
            " 254       0 vda 45714 21573 3248810 19511 3369 26991 2396304 10834 0 6788 30772 4658 0 219816 423 121 2\n   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n   8       1 sda1 1 2 3 4 5 6 7 8 9 10 11\n",
        );
        let seen = tree.read(&mut Diskstats::default());
        assert_eq!(seen.error, None);
        assert_eq!(seen.names().len(), 17 + 11);
        assert_eq!(seen.value("node_disk_read_bytes_total{device=\"vda\"}"), Some(3_248_810.0 * 512.0));
        assert_eq!(seen.value("node_disk_io_time_weighted_seconds_total{device=\"vda\"}"), Some(30.772));
        assert_eq!(seen.value("node_disk_discarded_sectors_total{device=\"vda\"}"), Some(219_816.0));
        assert_eq!(seen.value("node_disk_io_now{device=\"sda\"}"), Some(9.0));
    }
}
