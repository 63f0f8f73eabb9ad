//! As whom the fleet's programs run: never as root.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

/// The user and group that Linux gives to whoever has no other, where no `nobody` is named.
const OVERFLOW: User = User { uid: 65_534, gid: 65_534 };

/// A user and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// Its group's.
    pub gid: u32,
}

impl User {
    /// Whom the programs run as: nothing if we are not root ourselves, else whoever typed sudo, else whoever owns the
    /// checkout that our own program lies in, else `nobody`.
    pub fn for_children() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let number = |name| std::env::var(name).ok()?.parse().ok();
        let sudo = number("SUDO_UID").zip(number("SUDO_GID")).map(|(uid, gid)| Self { uid, gid });
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let candidates = [sudo, owner_of_checkout(), named(&passwd, "nobody")];
        Some(candidates.into_iter().flatten().find(|user| user.uid != 0).unwrap_or(OVERFLOW))
    }

    /// Gives a file or folder to this user.
    pub fn own(self, path: &Path) -> std::io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
    }
}

fn owner_of_checkout() -> Option<User> {
    let program = std::env::current_exe().ok()?;
    let checkout = program.ancestors().find(|folder| folder.join("Cargo.lock").is_file())?;
    let owner = std::fs::metadata(checkout).ok()?;
    Some(User { uid: owner.uid(), gid: owner.gid() })
}

/// The user of that name in a text of the form passwd(5).
fn named(passwd: &str, name: &str) -> Option<User> {
    let mut fields = passwd
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    fields.next();
    Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name() {
        let passwd = "root:x:0:0:root:/r:/bin/sh\nnobody2:x:1:1::/:\nnobody:x:65534:65533:nobody:/:/bin/false\nbad:x\n";
        assert_eq!(named(passwd, "nobody"), Some(User { uid: 65_534, gid: 65_533 }));
        assert_eq!(named(passwd, "bad"), None);
        assert_eq!(named(passwd, "x"), None);
    }

    #[test]
    fn nothing_runs_as_root() {
        assert_ne!(User::for_children().map(|user| user.uid), Some(0));
    }
}
