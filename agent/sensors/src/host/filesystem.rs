//! `/proc/1/mountinfo` and `statfs(2)`: the space on the filesystems; node_exporter's collector `filesystem`.
//!
//! A `statfs` on a dead network server waits for ever. So filesystems that live elsewhere have a sensor of their own:
//! when it hangs, the local ones are still reported.

use crate::reading::{Form, Reading, label};
use crate::root::Root;
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, lines};
use dsmil_protocol::metric::Scale;

/// The host's mounts, not those of the agent's own sandbox.
const FILE: &str = "1/mountinfo";
/// Where process 1 is hidden from other users (`hidepid`).
const OWN_FILE: &str = "self/mountinfo";

/// node_exporter's default: `^(autofs|binfmt_misc|…|tracefs)$`
const LEFT_OUT_TYPES: [&[u8]; 25] = [
    b"autofs",
    b"binfmt_misc",
    b"bpf",
    b"cgroup",
    b"cgroup2",
    b"configfs",
    b"debugfs",
    b"devpts",
    b"devtmpfs",
    b"fusectl",
    b"hugetlbfs",
    b"iso9660",
    b"mqueue",
    b"nsfs",
    b"overlay",
    b"proc",
    b"procfs",
    b"pstore",
    b"rpc_pipefs",
    b"securityfs",
    b"selinuxfs",
    b"squashfs",
    b"erofs",
    b"sysfs",
    b"tracefs",
];
/// Types whose `statfs` asks another machine or another process, which may not answer.
const REMOTE_TYPES: [&[u8]; 16] = [
    b"nfs",
    b"nfs4",
    b"cifs",
    b"smb3",
    b"smbfs",
    b"ceph",
    b"9p",
    b"afs",
    b"lustre",
    b"glusterfs",
    b"gfs2",
    b"ocfs2",
    b"beegfs",
    b"gpfs",
    b"virtiofs",
    b"ncpfs",
];

/// Reads the filesystems of one of two kinds.
pub struct FilesystemSensor {
    remote: bool,
    buffer: Vec<u8>,
    mount_point: Vec<u8>,
    device: Vec<u8>,
}

impl FilesystemSensor {
    /// The filesystems on the host's own devices.
    pub fn local() -> Self {
        Self { remote: false, buffer: Vec::new(), mount_point: Vec::new(), device: Vec::new() }
    }

    /// The filesystems that another machine or a user's process serves.
    pub fn remote() -> Self {
        Self { remote: true, ..Self::local() }
    }
}

impl Sensor for FilesystemSensor {
    fn name(&self) -> &'static str {
        if self.remote { "filesystem_remote" } else { "filesystem" }
    }

    fn source(&self) -> &'static str {
        "/proc/1/mountinfo, statfs(2)"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let file = match root.proc(FILE, &mut self.buffer) {
            Ok(_) => FILE,
            Err(_) => root.proc(OWN_FILE, &mut self.buffer).map(|_| OWN_FILE).map_err(SensorError::at(OWN_FILE))?,
        };
        for (line, text) in lines(&self.buffer) {
            let mount = Mount::read(text).ok_or(SensorError::Malformed { file, line })?;
            if is_remote(mount.fs_type) != self.remote || LEFT_OUT_TYPES.contains(&mount.fs_type) {
                continue;
            }
            unescape(mount.mount_point, &mut self.mount_point);
            unescape(mount.source, &mut self.device);
            if !is_left_out(&self.mount_point) {
                push(root, &mount, &self.mount_point, &self.device, out);
            }
        }
        Ok(())
    }
}

/// What is needed of a line of mountinfo: `27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw`.
struct Mount<'a> {
    mount_point: &'a [u8],
    read_only: bool,
    fs_type: &'a [u8],
    source: &'a [u8],
}

impl<'a> Mount<'a> {
    fn read(line: &'a [u8]) -> Option<Self> {
        let mut rest = fields(line);
        let (mount_point, options) = (rest.nth(4)?, rest.next()?);
        // Any number of optional fields, then a dash.
        rest.by_ref().find(|field| *field == b"-")?;
        let (fs_type, source) = (rest.next()?, rest.next()?);
        let has_ro = |options: &[u8]| options.split(|byte| *byte == b',').any(|option| option == b"ro");
        let read_only = has_ro(options) || rest.next().is_some_and(has_ro);
        Some(Self { mount_point, read_only, fs_type, source })
    }
}

fn push(root: &Root, mount: &Mount<'_>, mount_point: &[u8], device: &[u8], out: &mut Reading) {
    let (device, fs_type, place) = (label(device), label(mount.fs_type), label(mount_point));
    let labels = [("device", &*device), ("mountpoint", &*place), ("fstype", &*fs_type)];
    let capacity = root.statfs(mount_point).ok();
    let failed = capacity.is_none();
    let block = capacity.and_then(|c| u32::try_from(c.block_len).ok());
    // While the size of a block is unknown, that of most filesystems: so a failure hardly ever changes the metric set.
    let blocks = Form::gauge(Scale::times(block.unwrap_or(4096)));
    let capacity = capacity.filter(|_| block.is_some());
    let count = Form::gauge(Scale::ONE);
    out.push("node_filesystem_size_bytes", &labels, blocks, capacity.map(|c| c.blocks));
    out.push("node_filesystem_free_bytes", &labels, blocks, capacity.map(|c| c.blocks_free));
    out.push("node_filesystem_avail_bytes", &labels, blocks, capacity.map(|c| c.blocks_available));
    out.push("node_filesystem_files", &labels, count, capacity.map(|c| c.files));
    out.push("node_filesystem_files_free", &labels, count, capacity.map(|c| c.files_free));
    out.push("node_filesystem_readonly", &labels, count, (!failed).then_some(u64::from(mount.read_only)));
    out.push("node_filesystem_device_error", &labels, count, Some(u64::from(failed)));
}

fn is_remote(fs_type: &[u8]) -> bool {
    REMOTE_TYPES.contains(&fs_type) || fs_type.starts_with(b"fuse")
}

/// node_exporter's default: `^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)`
fn is_left_out(mount_point: &[u8]) -> bool {
    let within = |dir: &[u8]| mount_point.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
    let below = |dir: &[u8]| mount_point.strip_prefix(dir).is_some_and(|rest| !rest.is_empty());
    within(b"/dev")
        || within(b"/proc")
        || within(b"/sys")
        || below(b"/run/credentials/")
        || below(b"/var/lib/docker/")
        || below(b"/var/lib/containers/storage/")
}

/// Undoes the kernel's `\040` for a space, and its like, into `out`.
fn unescape(field: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        match after.get(..3).filter(|_| *first == b'\\').and_then(octal) {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
}

fn octal(digits: &[u8]) -> Option<u8> {
    let value = digits
        .iter()
        .try_fold(0u16, |sum, digit| matches!(digit, b'0'..=b'7').then(|| sum * 8 + u16::from(digit - b'0')));
    u8::try_from(value?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;
    use proptest::prelude::*;

    const LINE: &str = "27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard\n";

    #[test]
    fn sizes_flags_and_labels() {
        let tree = Tree::new();
        std::fs::create_dir(tree.path().join("a b")).expect("a directory");
        tree.proc("1/mountinfo", &format!("{LINE}28 27 0:25 / /a\\040b ro - xfs /dev/disk\\134x rw\n29 27 0:26 / /gone rw - ext4 /dev/vdb rw\n30 27 0:4 / /proc rw - ext4 /dev/vdc rw\n31 27 0:5 / /x rw - tmpfs tmpfs rw,size=4k\n32 27 0:5 / /y rw - overlay overlay rw\n33 1 0:9 / /nfs rw - nfs4 server:/ rw\n"));
        let seen = tree.read(&mut FilesystemSensor::local());
        assert_eq!(seen.error, None);
        assert_eq!(seen.names().len(), 4 * 7, "{:?}", seen.names());
        let here = "{device=\"/dev/vda\",mountpoint=\"/\",fstype=\"ext4\"}";
        assert!(seen.value(&format!("node_filesystem_size_bytes{here}")).is_some_and(|bytes| bytes > 1e6));
        assert_eq!(seen.value(&format!("node_filesystem_readonly{here}")), Some(0.0));
        let spaced = "{device=\"/dev/disk\\x\",mountpoint=\"/a b\",fstype=\"xfs\"}";
        assert_eq!(seen.value(&format!("node_filesystem_readonly{spaced}")), Some(1.0));
        let gone = "{device=\"/dev/vdb\",mountpoint=\"/gone\",fstype=\"ext4\"}";
        assert_eq!(seen.value(&format!("node_filesystem_device_error{gone}")), Some(1.0));
        assert!(seen.has(&format!("node_filesystem_size_bytes{gone}")));
        assert_eq!(seen.value(&format!("node_filesystem_size_bytes{gone}")), None);
        let remote = tree.read(&mut FilesystemSensor::remote());
        assert_eq!(remote.names().len(), 7);
        assert!(remote.names()[0].contains("server:/"));
    }

    #[test]
    fn process_1_may_be_hidden_and_a_cut_line_is_a_verdict() {
        let tree = Tree::new();
        let missing = Some(SensorError::Missing { file: "self/mountinfo" });
        assert_eq!(tree.read(&mut FilesystemSensor::local()).error, missing);
        tree.proc("self/mountinfo", LINE);
        assert_eq!(tree.read(&mut FilesystemSensor::local()).names().len(), 7);
        tree.proc("1/mountinfo", &format!("{LINE}27 1 254:0 / / rw,relatime ext4 /dev/vda rw\n"));
        let malformed = Some(SensorError::Malformed { file: "1/mountinfo", line: 2 });
        assert_eq!(tree.read(&mut FilesystemSensor::local()).error, malformed);
    }

    #[test]
    fn the_default_filter_is_node_exporters() {
        for out in [
            "/dev",
            "/dev/shm",
            "/proc",
            "/sys/fs",
            "/run/credentials/a.service",
            "/var/lib/docker/x",
            "/var/lib/containers/storage/y/z",
        ] {
            assert!(is_left_out(out.as_bytes()), "{out}");
        }
        for kept in ["/", "/device", "/run", "/run/credentials", "/var/lib/docker", "/system", "dev"] {
            assert!(!is_left_out(kept.as_bytes()), "{kept}");
        }
    }

    proptest! {
        #[test]
        fn what_the_kernel_escapes_comes_back(path in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut escaped = Vec::new();
            for byte in &path {
                if matches!(byte, b' ' | b'\t' | b'\n' | b'\\' | b'#') {
                    escaped.extend_from_slice(format!("\\{byte:03o}").as_bytes());
                } else {
                    escaped.push(*byte);
                }
            }
            let mut out = Vec::new();
            unescape(&escaped, &mut out);
            prop_assert_eq!(&out, &path);
            unescape(&path, &mut out);
            prop_assert!(out.len() <= path.len());
        }
    }
}
