//! Where questions come from: the socket that systemd holds for us, or one of our own.
//!
//! systemd hands its socket over as standard input (systemd.exec(5), `StandardInput=socket`), which can be taken without trusting a
//! number in the environment.

use anyhow::{Context, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, sockopt};
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

/// Askers that wait while another one is served; more are turned away.
const BACKLOG: i32 = 4;
/// Owner and group, as systemd makes it.
const MODE: u32 = 0o660;

/// A socket that takes questions.
#[derive(Debug)]
pub(crate) struct Door(UnixListener);

impl Door {
    /// The socket that systemd holds.
    pub(crate) fn of_stdin() -> anyhow::Result<Self> {
        let fd = std::io::stdin().as_fd().try_clone_to_owned().context("there is no standard input")?;
        let is_unix = sockopt::socket_domain(&fd).is_ok_and(|family| family == AddressFamily::UNIX);
        let listens = sockopt::socket_acceptconn(&fd).unwrap_or(false);
        ensure!(
            is_unix && listens,
            "standard input is no socket that listens: let systemd start this, or give --socket"
        );
        Self::of(fd)
    }

    /// A socket of our own, in place of one that nobody listens on any more.
    pub(crate) fn bind(path: &Path) -> anyhow::Result<Self> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_dead_socket(path) => {
                std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
                UnixListener::bind(path)
            }
            bound => bound,
        };
        let listener = listener.with_context(|| format!("cannot make the socket {}", path.display()))?;
        std::fs::set_permissions(path, Permissions::from_mode(MODE))
            .with_context(|| format!("cannot change who may use {}", path.display()))?;
        Self::of(listener.into())
    }

    fn of(fd: OwnedFd) -> anyhow::Result<Self> {
        // Once more, by ourselves: whoever connects from now on is told that we are at the other end, and not who made the socket.
        rustix::net::listen(&fd, BACKLOG).context("cannot listen")?;
        let listener = UnixListener::from(fd);
        // Whoever knocked may be gone when the door is opened.
        listener.set_nonblocking(true).context("cannot set the socket up")?;
        Ok(Self(listener))
    }

    /// The next asker, if one comes within that time.
    pub(crate) fn wait(&self, within: Duration) -> anyhow::Result<Option<UnixStream>> {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let timeout = Timespec::try_from(within).context("no such time")?;
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error).context("cannot wait for questions"),
        }
        match self.0.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).context("cannot set the connection up")?;
                Ok(Some(stream))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => Ok(None),
            Err(error) => Err(error).context("cannot take connections"),
        }
    }
}

/// Whether it is a socket on which nobody listens.
fn is_dead_socket(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_for_owner_and_group_and_takes_the_place_of_a_dead_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rapl.sock");
        let first = Door::bind(&path).expect("a socket");
        assert_eq!(std::fs::metadata(&path).expect("a socket").permissions().mode() & 0o777, MODE);
        let error = Door::bind(&path).expect_err("somebody listens there");
        assert!(format!("{error:#}").contains("cannot make the socket"), "{error:#}");
        drop(first);
        let second = Door::bind(&path).expect("nobody listens there");
        assert!(second.wait(Duration::ZERO).expect("it can wait").is_none());
        let _asker = UnixStream::connect(&path).expect("it listens");
        assert!(second.wait(Duration::from_secs(60)).expect("it can wait").is_some());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "precious").expect("a file");
        // Connecting to it fails as it does to a dead socket.
        assert!(Door::bind(&path).is_err());
        assert_eq!(std::fs::read(&path).expect("it is there"), b"precious");
    }
}
