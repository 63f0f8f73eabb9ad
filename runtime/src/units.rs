//! What systemd has to know of a daemon's configuration: how large its tmpfs is, how much memory it may take, where it may
//! write. So each size is said once, in the configuration.
//!
//! A generator (`systemd.generator(7)`) writes them as drop-ins at boot and at each `systemctl daemon-reload`. Without one, or
//! with a configuration that cannot be read, the shipped units count as they are, and they fit the defaults.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// Before an administrator's own drop-ins, which begin with higher numbers or lie in /etc.
const DROP_IN: &str = "50-configuration.conf";

/// A daemon's service and tmpfs, and what its configuration asks of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units {
    /// The service.
    pub service: &'static str,
    /// The mount unit of its tmpfs.
    pub mount: &'static str,
    /// The user and group that both belong to.
    pub owner: &'static str,
    /// The size of the tmpfs, MiB.
    pub tmpfs_mib: u64,
    /// What the program itself may take, MiB. The tmpfs is charged to it too, since it is the one who fills it.
    pub program_mib: u64,
    /// Folders that it writes to. They need not exist.
    pub writes: Vec<PathBuf>,
}

impl Units {
    /// Writes the drop-ins into `folder`, the first that a generator is given.
    ///
    /// # Errors
    /// Where the folder cannot be written, or a name cannot be said in a unit file.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let service = self.service()?;
        for (unit, text) in [(self.service, service), (self.mount, self.mount())] {
            let folder = folder.join(format!("{unit}.d"));
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join(DROP_IN), text)?;
        }
        Ok(())
    }

    fn service(&self) -> io::Result<String> {
        let mut text = format!("[Service]\nMemoryMax={}M\n", self.tmpfs_mib.saturating_add(self.program_mib));
        for folder in &self.writes {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "ReadWritePaths={}", quoted(folder)?);
        }
        Ok(text)
    }

    fn mount(&self) -> String {
        format!("[Mount]\nOptions={}\n", self.mount_options())
    }

    /// As mount(8) takes them.
    pub fn mount_options(&self) -> String {
        let Self { tmpfs_mib, owner, .. } = self;
        format!("size={tmpfs_mib}m,nr_inodes=64,mode=0700,uid={owner},gid={owner},nosuid,nodev,noexec")
    }
}

/// A path for a list of paths in a unit file (systemd.syntax(7)): in quotes, `%` doubled, and a `-` before it, so that one
/// that does not exist does not stop the service.
fn quoted(path: &Path) -> io::Result<String> {
    let unsayable = || io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} cannot be named in a unit file"));
    let text = path.to_str().filter(|text| text.starts_with('/') && !text.contains(char::is_control));
    let text = text.ok_or_else(unsayable)?.replace('%', "%%").replace('\\', "\\\\").replace('"', "\\\"");
    Ok(format!("\"-{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(writes: &[&str]) -> Units {
        Units {
            service: "d.service",
            mount: r"mnt-d\x2dram.mount",
            owner: "d",
            tmpfs_mib: 129,
            program_mib: 64,
            writes: writes.iter().map(PathBuf::from).collect(),
        }
    }

    #[test]
    fn a_size_reaches_the_mount_and_the_limit_of_the_service() {
        let folder = tempfile::tempdir().expect("a folder");
        units(&["/srv/a b", "/srv/100%"]).write(folder.path()).expect("written");
        let read = |unit: &str| std::fs::read_to_string(folder.path().join(unit).join(DROP_IN)).expect("a drop-in");
        let service = "[Service]\nMemoryMax=193M\nReadWritePaths=\"-/srv/a b\"\nReadWritePaths=\"-/srv/100%%\"\n";
        assert_eq!(read("d.service.d"), service);
        let mount = "[Mount]\nOptions=size=129m,nr_inodes=64,mode=0700,uid=d,gid=d,nosuid,nodev,noexec\n";
        assert_eq!(read(r"mnt-d\x2dram.mount.d"), mount);
    }

    #[test]
    fn no_path_becomes_a_line_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        for bad in ["/srv/a\nUser=root", "srv/relative", ""] {
            assert!(units(&[bad]).write(folder.path()).is_err(), "{bad:?}");
        }
    }
}
