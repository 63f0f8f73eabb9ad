//! Space, commits and errors of each btrfs filesystem; node_exporter's collector `btrfs`.
//!
//! Format: the kernel's `fs/btrfs/sysfs.c` and the section on sysfs of the man page btrfs(5); sizes are in bytes, those of
//! devices in sectors. node_exporter, run as root, asks the filesystem itself (ioctl) for the errors of its devices; what
//! an ordinary user may read of them since Linux 5.14 is reported under a name of our own, as it does not say which device
//! is which.

use crate::attributes::Attributes;
use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, lines, unsigned};
use dsmil_protocol::metric::Scale;

const DIRECTORY: &str = "fs/btrfs";
const BYTES: Form = Form::gauge(Scale::ONE);
const SECTORS: Form = Form::gauge(Scale::times(512));
const GROUPS: [&str; 3] = ["data", "metadata", "system"];
/// Filesystems that are read, and devices of each: one costs some 0.5 ms, each device 10 µs.
const MAX_FILESYSTEMS: usize = 16;
const MAX_DEVICES: usize = 64;

/// Keys of `commit_stats`, since Linux 6.0. The names are those of node_exporter 1.10.
const COMMITS: [(&[u8], &str, Form); 4] = [
    (b"commits", "node_btrfs_commits_total", Form::counter(Scale::ONE)),
    (b"last_commit_ms", "node_btrfs_last_commit_seconds", Form::gauge(Scale::per(1000))),
    (b"max_commit_ms", "node_btrfs_max_commit_seconds", Form::gauge(Scale::per(1000))),
    (b"total_commit_ms", "node_btrfs_commit_seconds_total", Form::counter(Scale::per(1000))),
];
/// Keys of `error_stats` of a device, and the label of each.
const ERRORS: [(&[u8], &str); 5] = [
    (b"write_errs", "write"),
    (b"read_errs", "read"),
    (b"flush_errs", "flush"),
    (b"corruption_errs", "corruption"),
    (b"generation_errs", "generation"),
];

/// Reads `/sys/fs/btrfs`.
#[derive(Default)]
pub(crate) struct Btrfs {
    filesystem: Attributes,
}

impl Sensor for Btrfs {
    fn name(&self) -> &'static str {
        "btrfs"
    }

    fn source(&self) -> &'static str {
        "/sys/fs/btrfs"
    }

    /// Some fifty files a filesystem, about space that is given out by the gigabyte.
    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let names = match root.list_sys(DIRECTORY) {
            Err(RootError::Missing) => return Ok(()), // A kernel without btrfs.
            listed => listed.map_err(SensorError::at(DIRECTORY))?,
        };
        // A filesystem's directory is called by its UUID; beside it is `features`.
        for name in names.iter().filter(|name| name.contains('-')).take(MAX_FILESYSTEMS) {
            self.read_one(root, name, out);
        }
        Ok(())
    }
}

impl Btrfs {
    fn read_one(&mut self, root: &Root, name: &str, out: &mut Reading) {
        let place = format!("{DIRECTORY}/{name}");
        self.filesystem.enter(&[&place]);
        let uuid =
            self.filesystem.text(root, "metadata_uuid").map_or_else(|| name.to_owned(), |uuid| uuid.into_owned());
        let uuid = ("uuid", uuid.as_str());
        let label = self.filesystem.text(root, "label").unwrap_or_default();
        out.push("node_btrfs_info", &[uuid, ("label", &label)], BYTES, Some(1));
        let reserve = self.filesystem.unsigned(root, "allocation/global_rsv_size");
        out.push("node_btrfs_global_rsv_size_bytes", &[uuid], BYTES, reserve);
        for (_, line) in self.filesystem.bytes(root, "commit_stats").into_iter().flat_map(lines) {
            if let Some((key, number)) = pair(line)
                && let Some((_, metric, form)) = COMMITS.iter().find(|(known, ..)| *known == key)
            {
                out.push(metric, &[uuid], *form, unsigned(number));
            }
        }
        let devices = root.list_sys(&format!("{place}/devices")).unwrap_or_default();
        self.read_groups(root, &place, uuid, devices.len(), out);
        for device in devices.iter().take(MAX_DEVICES) {
            self.filesystem.enter(&[&place, "/devices/", device]);
            let size = self.filesystem.unsigned(root, "size");
            out.push("node_btrfs_device_size_bytes", &[uuid, ("device", device)], SECTORS, size);
        }
        for number in root.list_sys(&format!("{place}/devinfo")).unwrap_or_default().iter().take(MAX_DEVICES) {
            self.filesystem.enter(&[&place, "/devinfo/", number]);
            for (_, line) in self.filesystem.bytes(root, "error_stats").into_iter().flat_map(lines) {
                if let Some((key, count)) = pair(line)
                    && let Some((_, kind)) = ERRORS.iter().find(|(known, _)| *known == key)
                {
                    let labels = [uuid, ("devid", number), ("type", kind)];
                    out.push("dsmil_btrfs_device_errors_total", &labels, Form::counter(Scale::ONE), unsigned(count));
                }
            }
        }
    }

    /// The space of each kind of block group, and of each profile (`raid1`) that such groups have.
    fn read_groups(&mut self, root: &Root, place: &str, uuid: (&str, &str), devices: usize, out: &mut Reading) {
        for kind in GROUPS {
            let group = ("block_group_type", kind);
            self.filesystem.enter(&[place, "/allocation/", kind]);
            let reserved = self.filesystem.unsigned(root, "bytes_reserved");
            out.push("node_btrfs_reserved_bytes", &[uuid, group], BYTES, reserved);
            for profile in root.list_sys(&format!("{place}/allocation/{kind}")).unwrap_or_default() {
                // Beside the profiles, which are directories, are the group's own files.
                self.filesystem.enter(&[place, "/allocation/", kind, "/", &profile]);
                let Some(total) = self.filesystem.unsigned(root, "total_bytes") else { continue };
                let labels = [uuid, group, ("mode", &profile)];
                out.push("node_btrfs_used_bytes", &labels, BYTES, self.filesystem.unsigned(root, "used_bytes"));
                out.push("node_btrfs_size_bytes", &labels, BYTES, Some(total));
                if let Some(ratio) = ratio(&profile, devices) {
                    out.push("node_btrfs_allocation_ratio", &labels, Form::gauge(ratio), Some(1));
                }
            }
        }
    }
}

/// `commits 12`
fn pair(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = fields(line);
    Some((fields.next()?, fields.next()?))
}

/// How much of the devices a profile takes for what is stored; nothing for one that is not known.
fn ratio(profile: &str, devices: usize) -> Option<Scale> {
    let parity = |parity: u32| {
        let all = u32::try_from(devices).ok()?;
        Some(Scale { multiply: all, divide: all.checked_sub(parity).filter(|data| *data > 0)? })
    };
    match profile {
        "single" | "raid0" => Some(Scale::ONE),
        "dup" | "raid1" | "raid10" => Some(Scale::times(2)),
        "raid1c3" => Some(Scale::times(3)),
        "raid1c4" => Some(Scale::times(4)),
        "raid5" => parity(1),
        "raid6" => parity(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    const PLACE: &str = "fs/btrfs/01234567-89ab-cdef-0123-456789abcdef";

    #[test]
    fn space_commits_and_errors() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut Btrfs::default()).error, None, "a kernel without btrfs");
        tree.sys("fs/btrfs/features/raid56", "0\n");
        for (file, text) in [
            ("label", "home\n"),
            ("allocation/global_rsv_size", "4096\n"),
            ("allocation/data/bytes_reserved", "1\n"),
            ("allocation/data/total_bytes", "100\n"),
            ("allocation/data/raid6/total_bytes", "100\n"),
            ("allocation/data/raid6/used_bytes", "60\n"),
            ("allocation/metadata/raid1c3/total_bytes", "9\n"),
            ("allocation/system/raid9/total_bytes", "9\n"),
            ("commit_stats", "commits 3\nlast_commit_ms 12\nanother 1\nx\n"),
            ("devinfo/1/error_stats", "write_errs 0\ncorruption_errs 17\n"),
            ("devices/sda/size", "8\n"),
            ("devices/sdb/size", "8\n"),
            ("devices/sdc/size", "8\n"),
        ] {
            tree.sys(&format!("{PLACE}/{file}"), text);
        }
        let seen = tree.read(&mut Btrfs::default());
        let value = |metric: &str, labels: &str| {
            seen.value(&format!("{metric}{{uuid=\"01234567-89ab-cdef-0123-456789abcdef\"{labels}}}"))
        };
        assert_eq!(seen.error, None);
        assert_eq!(value("node_btrfs_info", ",label=\"home\""), Some(1.0));
        let data = ",block_group_type=\"data\",mode=\"raid6\"";
        assert_eq!(
            (value("node_btrfs_size_bytes", data), value("node_btrfs_used_bytes", data)),
            (Some(100.0), Some(60.0))
        );
        assert_eq!(value("node_btrfs_allocation_ratio", data), Some(3.0), "three devices, two of them parity");
        let metadata = ",block_group_type=\"metadata\",mode=\"raid1c3\"";
        assert_eq!(value("node_btrfs_allocation_ratio", metadata), Some(3.0));
        let system = ",block_group_type=\"system\",mode=\"raid9\"";
        assert_eq!(value("node_btrfs_size_bytes", system), Some(9.0));
        assert_eq!(value("node_btrfs_allocation_ratio", system), None, "a profile of the future");
        assert_eq!(value("node_btrfs_device_size_bytes", ",device=\"sdc\""), Some(4096.0));
        assert_eq!(value("node_btrfs_last_commit_seconds", ""), Some(0.012));
        assert_eq!(value("dsmil_btrfs_device_errors_total", ",devid=\"1\",type=\"corruption\""), Some(17.0));
    }

    #[test]
    fn a_ratio_never_divides_by_nothing() {
        assert_eq!((ratio("raid5", 1), ratio("raid6", 2), ratio("raid5", 0)), (None, None, None));
        assert_eq!(ratio("raid5", 4), Some(Scale { multiply: 4, divide: 3 }));
    }
}
