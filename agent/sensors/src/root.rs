//! The only opener of /proc and /sys, and the only caller of `statfs`.
//!
//! It works below directories given to it, so that every sensor is tested on a small tree of captured or hostile files
//! by the code that reads the real ones. Nothing it opens is kept open: a handle held on a device's file can keep the
//! device awake.

use dsmil_protocol::ids::BootId;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Dir, Mode, OFlags, RawDir};
use rustix::io::Errno;
use rustix::path::Arg;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Bytes read of one file. The largest honest ones (`diskstats` of 10,000 disks, `mountinfo` of 10,000 mounts) are
/// about 2 MB; an endless one (a pipe, a broken driver) must not fill the agent's memory.
pub const MAX_FILE_LEN: usize = 4 << 20;
/// Entries read of one directory; a /sys/class/net of 10,000 interfaces fits.
pub const MAX_DIR_ENTRIES: usize = 16_384;
/// Bytes of the file that holds one number or one word; sysfs attributes are at most a page.
const MAX_VALUE_LEN: usize = 4096;
/// Bytes read of where a link leads: names of devices are short, and one that is longer is none.
const MAX_LINK_LEN: usize = 256;
/// Bytes of a directory's entries asked for at once: a hundred descriptors' links.
const ENTRIES_LEN: usize = 4 << 10;
/// The first read's size: most files of /proc end before it, so they cost two system calls and one growth.
const FIRST_READ: usize = 4 << 10;

/// Where the host's files are.
#[derive(Debug)]
pub struct Root {
    proc: OwnedFd,
    sys: OwnedFd,
    sys_path: PathBuf,
    rootfs: PathBuf,
}

/// Why a file could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// It is not there: another kernel, or the device is gone.
    #[error("it does not exist on this host")]
    Missing,
    /// The kernel refused, or the device behind it did not answer.
    #[error("the kernel refused to read it")]
    Unreadable(#[source] Errno),
    /// It goes on past the limit.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// It was read, but does not hold what it should.
    #[error("its content is not what the kernel documents")]
    Malformed,
}

impl From<Errno> for RootError {
    fn from(errno: Errno) -> Self {
        match errno {
            // ENODEV and ENXIO: the device went away between listing and reading. EOPNOTSUPP: PSI switched off at boot.
            Errno::NOENT | Errno::NOTDIR | Errno::NODEV | Errno::NXIO | Errno::OPNOTSUPP => Self::Missing,
            other => Self::Unreadable(other),
        }
    }
}

/// Why there is no root to read below.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {path}: mount it, or name another directory")]
pub struct OpenRootError {
    path: PathBuf,
    source: Errno,
}

/// A filesystem's size, as `statfs(2)` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes of a block, the unit of the next three.
    pub block_len: u64,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks that an ordinary user may take.
    pub blocks_available: u64,
    /// All inodes.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
}

/// Where the kernel's process and system files are, unless a configuration says otherwise.
pub const HOST_PROC: &str = "/proc";
/// Where the kernel's device tree is, unless a configuration says otherwise.
pub const HOST_SYS: &str = "/sys";

impl Root {
    /// The host this program runs on.
    pub fn host() -> Result<Self, OpenRootError> {
        Self::at(HOST_PROC.as_ref(), HOST_SYS.as_ref(), "/".as_ref())
    }

    /// A host whose /proc, /sys and / are elsewhere: in a container with the host's mounted, or in a test's tree.
    pub fn at(proc: &Path, sys: &Path, rootfs: &Path) -> Result<Self, OpenRootError> {
        let open = |path: &Path| {
            rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|source| OpenRootError { path: path.to_owned(), source })
        };
        Ok(Self { proc: open(proc)?, sys: open(sys)?, sys_path: sys.to_owned(), rootfs: rootfs.to_owned() })
    }

    /// Reads a file below /proc (`net/dev`) into `buffer`, which is emptied first and keeps its memory between reads.
    pub fn proc<'b>(&self, path: &str, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], RootError> {
        read(&self.proc, path, buffer, MAX_FILE_LEN)
    }

    /// Reads an attribute below /sys (`class/net/eth0/mtu`) into `buffer`, without the white space around it.
    pub fn sys<'b>(&self, path: &str, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], RootError> {
        read(&self.sys, path, buffer, MAX_VALUE_LEN).map(<[u8]>::trim_ascii)
    }

    /// Reads a file of the host's root filesystem (`etc/os-release`) into `buffer`.
    pub fn file<'b>(&self, path: &str, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], RootError> {
        read(rustix::fs::CWD, self.rootfs.join(path), buffer, MAX_FILE_LEN)
    }

    /// The names in a directory below /sys, sorted, at most [`MAX_DIR_ENTRIES`].
    pub fn list_sys(&self, path: &str) -> Result<Vec<String>, RootError> {
        list(&self.sys, path)
    }

    /// The names in a directory below /proc, as for [`Root::list_sys`].
    pub fn list_proc(&self, path: &str) -> Result<Vec<String>, RootError> {
        list(&self.proc, path)
    }

    /// Adds the ids of at most `limit` processes to `pids`, and says where to go on, or nothing after the last one: what
    /// this costs does not depend on how many processes there are. `from` is 0, or what an earlier call said.
    pub fn processes(&self, from: u64, limit: usize, pids: &mut Vec<u32>) -> Result<Option<u64>, RootError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut dir = Dir::new(rustix::fs::openat(&self.proc, ".", flags, Mode::empty())?)?;
        if from > 0 {
            dir.seek(i64::try_from(from).map_err(|_| RootError::Malformed)?)?;
        }
        let mut found = 0;
        // Beside the processes there are some hundred files; an endless directory ends too.
        for entry in dir.take(limit.saturating_add(MAX_DIR_ENTRIES)) {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) else { continue };
            pids.push(pid);
            found += 1;
            if found == limit {
                return Ok(u64::try_from(entry.offset()).ok().filter(|offset| *offset > 0));
            }
        }
        Ok(None)
    }

    /// Shows `visit` the names and targets of the links in a directory below /proc (`812/fd`), at most `limit` of them, a target
    /// cut after 256 bytes. What a link leads to is not touched: it may be on a dead server.
    pub fn links(&self, path: &str, limit: usize, mut visit: impl FnMut(&str, &[u8])) -> Result<(), RootError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&self.proc, path, flags, Mode::empty())?;
        let mut entries = [MaybeUninit::uninit(); ENTRIES_LEN];
        let mut entries = RawDir::new(&dir, &mut entries);
        let mut seen = 0;
        while seen < limit
            && let Some(entry) = entries.next()
        {
            let entry = entry?;
            let mut target = [MaybeUninit::uninit(); MAX_LINK_LEN];
            match rustix::fs::readlinkat_raw(&dir, entry.file_name(), &mut target) {
                Ok((target, _)) => {
                    seen += 1;
                    visit(&entry.file_name().to_string_lossy(), target);
                }
                // `.` and `..`; or closed meanwhile.
                Err(Errno::INVAL | Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Where a path below /sys leads once every link is followed, below /sys too: `class/net/eth0` is
    /// `devices/pci0000:00/0000:00:03.0/net/eth0`. Drivers are not asked.
    pub fn resolve_sys(&self, path: &str) -> Result<String, RootError> {
        let real = |path: &Path| path.canonicalize().map_err(|error| io_error(&error));
        let (top, place) = (real(&self.sys_path)?, real(&self.sys_path.join(path))?);
        let below = place.strip_prefix(&top).map_err(|_| RootError::Malformed)?;
        below.to_str().map(str::to_owned).ok_or(RootError::Malformed)
    }

    /// The size of the filesystem mounted at `mount_point`. It can wait for ever on a dead network server: call it on
    /// a thread that nothing waits for without a deadline.
    pub fn statfs(&self, mount_point: &[u8]) -> Result<Capacity, RootError> {
        let below = mount_point.strip_prefix(b"/").unwrap_or(mount_point);
        let stat = rustix::fs::statfs(self.rootfs.join(OsStr::from_bytes(below)))?;
        Ok(Capacity {
            block_len: u64::try_from(stat.f_bsize).map_err(|_| RootError::Malformed)?,
            blocks: stat.f_blocks,
            blocks_free: stat.f_bfree,
            blocks_available: stat.f_bavail,
            files: stat.f_files,
            files_free: stat.f_ffree,
        })
    }

    /// The kernel's identity of this boot.
    pub fn boot_id(&self) -> Result<BootId, RootError> {
        let mut buffer = Vec::new();
        let text = self.proc("sys/kernel/random/boot_id", &mut buffer)?.trim_ascii();
        std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(RootError::Malformed)
    }
}

fn list(below: impl AsFd, path: &str) -> Result<Vec<String>, RootError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(below, path, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if name == "." || name == ".." {
            continue;
        }
        if names.len() == MAX_DIR_ENTRIES {
            return Err(RootError::TooLarge(MAX_DIR_ENTRIES));
        }
        names.push(name.into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

fn io_error(error: &std::io::Error) -> RootError {
    error.raw_os_error().map_or(RootError::Malformed, |errno| Errno::from_raw_os_error(errno).into())
}

fn read(below: impl AsFd, path: impl Arg, buffer: &mut Vec<u8>, max_len: usize) -> Result<&[u8], RootError> {
    // Non-blocking: opening a named pipe in a hostile tree would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(below, path, flags, Mode::empty())?;
    buffer.clear();
    loop {
        if buffer.spare_capacity_mut().is_empty() {
            buffer.reserve(FIRST_READ.max(buffer.len()));
        }
        match rustix::io::read(&file, rustix::buffer::spare_capacity(buffer)) {
            Ok(0) => return Ok(buffer),
            Ok(_) if buffer.len() > max_len => {
                // The memory goes back too: one hostile file must not cost its size for ever.
                *buffer = Vec::new();
                return Err(RootError::TooLarge(max_len));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn a_file_is_read_whole_and_the_buffer_is_reused() {
        let tree = Tree::new();
        let long = "0123456789abcdef".repeat(4000);
        tree.proc("long", &long);
        tree.proc("short", "x\n");
        let root = tree.root();
        let mut buffer = Vec::new();
        assert_eq!(root.proc("long", &mut buffer), Ok(long.as_bytes()));
        let capacity = buffer.capacity();
        assert_eq!(root.proc("short", &mut buffer), Ok(b"x\n".as_slice()));
        assert_eq!(buffer.capacity(), capacity, "no memory is given back and taken again each second");
        assert_eq!(root.proc("none", &mut buffer), Err(RootError::Missing));
        assert_eq!(root.proc("", &mut buffer), Err(RootError::Missing));
    }

    #[test]
    fn an_endless_file_ends_at_the_limit() {
        let dev = Root::at("/dev".as_ref(), "/dev".as_ref(), "/".as_ref()).expect("every Linux has /dev");
        let mut buffer = Vec::new();
        assert_eq!(dev.proc("zero", &mut buffer), Err(RootError::TooLarge(MAX_FILE_LEN)));
        assert_eq!(buffer.capacity(), 0);
        assert_eq!(dev.sys("zero", &mut buffer), Err(RootError::TooLarge(MAX_VALUE_LEN)));
    }

    #[test]
    fn a_pipe_without_a_writer_does_not_hang() {
        let tree = Tree::new();
        let path = tree.path().join("proc/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
        assert_eq!(tree.root().proc("pipe", &mut Vec::new()), Ok(b"".as_slice()));
    }

    #[test]
    fn a_directory_is_listed_in_order() {
        let tree = Tree::new();
        tree.sys("class/net/eth1/mtu", "1500\n");
        tree.sys("class/net/eth0/mtu", " 9000\n");
        let root = tree.root();
        assert_eq!(root.list_sys("class/net"), Ok(vec!["eth0".to_string(), "eth1".to_string()]));
        assert_eq!(root.sys("class/net/eth0/mtu", &mut Vec::new()), Ok(b"9000".as_slice()));
        assert_eq!(root.list_sys("class/none"), Err(RootError::Missing));
        assert!(matches!(root.sys("class/net/eth0", &mut Vec::new()), Err(RootError::Unreadable(_))), "a directory");
    }

    #[test]
    fn processes_are_listed_a_few_at_a_time_and_each_once() {
        let tree = Tree::new();
        (1..=50).for_each(|pid| tree.proc(&format!("{pid}/stat"), "x"));
        tree.proc("meminfo", "x");
        tree.proc("4294967296/stat", "no process has such an id");
        let (root, mut pids, mut from, mut calls) = (tree.root(), Vec::new(), 0, 0);
        while let Some(next) = root.processes(from, 7, &mut pids).expect("a directory") {
            (from, calls) = (next, calls + 1);
        }
        pids.sort_unstable();
        assert_eq!((pids, calls), ((1..=50).collect(), 7));
    }

    #[test]
    fn links_are_followed_within_sys_and_nowhere_else() {
        let tree = Tree::new();
        tree.sys("devices/pci0000:00/0000:00:03.0/net/eth0/mtu", "1500\n");
        tree.link("sys/class/net/eth0", "../../devices/pci0000:00/0000:00:03.0/net/eth0");
        tree.link("sys/class/net/out", "../../../proc");
        tree.file("etc/os-release", b"ID=debian\n");
        let root = tree.root();
        assert_eq!(root.resolve_sys("class/net/eth0").as_deref(), Ok("devices/pci0000:00/0000:00:03.0/net/eth0"));
        assert_eq!(root.resolve_sys("class/net/out"), Err(RootError::Malformed));
        assert_eq!(root.resolve_sys("class/net/none"), Err(RootError::Missing));
        assert_eq!(root.file("etc/os-release", &mut Vec::new()), Ok(b"ID=debian\n".as_slice()));
    }

    #[test]
    fn links_are_read_and_not_followed() {
        let tree = Tree::new();
        tree.link("proc/7/fd/0", "/dev/null");
        tree.link("proc/7/fd/12", "/dev/dri/renderD128");
        tree.link("proc/7/fd/13", &"x".repeat(300));
        tree.proc("7/fd/plain", "");
        let links = |limit| {
            let mut links = Vec::new();
            let visit = |name: &str, target: &[u8]| links.push((name.to_owned(), target.len()));
            tree.root().links("7/fd", limit, visit).expect("a directory");
            links.sort();
            links
        };
        assert_eq!(links(9), [("0".into(), 9), ("12".into(), 19), ("13".into(), MAX_LINK_LEN)]);
        assert_eq!(links(2).len(), 2);
        assert_eq!(tree.root().links("8/fd", 9, |_, _| {}), Err(RootError::Missing));
    }

    #[test]
    fn a_filesystem_has_a_size_and_a_missing_one_has_not() {
        let tree = Tree::new();
        let root = tree.root();
        let size = root.statfs(b"/").expect("the tree is on a filesystem");
        assert!(size.block_len > 0 && size.blocks >= size.blocks_free);
        assert_eq!(root.statfs(b"/none"), Err(RootError::Missing));
        assert!(root.statfs(b"/a\0b").is_err(), "a path with a zero byte is refused, not cut");
    }

    #[test]
    fn the_boot_id_is_the_kernels() {
        let tree = Tree::new();
        tree.proc("sys/kernel/random/boot_id", "00112233-4455-6677-8899-aabbccddeeff\n");
        let id = tree.root().boot_id().expect("a boot id");
        assert_eq!(id.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        tree.proc("sys/kernel/random/boot_id", "\u{fffd}\n");
        assert_eq!(tree.root().boot_id(), Err(RootError::Malformed));
    }
}
