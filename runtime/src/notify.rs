//! What the service manager is told: that the program is up, that it is alive, how it stands.
//!
//! The protocol is `sd_notify(3)`'s: lines of `KEY=value` in one datagram to the socket that `$NOTIFY_SOCKET` names. Written
//! here and not taken from a crate because those wait for a manager that does not read, and nothing may hold up a tick.

use crate::clock::Clock;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How often a manager without a watchdog is told how the program stands.
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// Signs of life in a watchdog's time: one may be late and one lost.
const BEATS_IN_WATCHDOG: u32 = 3;
/// Bytes of a status: it is one line on somebody's screen.
const MAX_STATUS_LEN: usize = 512;

/// The service manager, or nobody where the program was started by hand.
#[derive(Debug)]
pub struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    beat_every: Duration,
}

impl Manager {
    /// Who started this process, by its environment (`$NOTIFY_SOCKET`, `$WATCHDOG_USEC`, `$WATCHDOG_PID`).
    pub fn from_env() -> Self {
        Self::of(|name| std::env::var_os(name))
    }

    /// As [`Manager::from_env`], from an environment that is given.
    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let socket = variable("NOTIFY_SOCKET").and_then(|name| match connect(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(?name, %error, "the service manager cannot be told anything");
                None
            }
        });
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        // A process that inherited the variables from the one that is watched is not watched itself.
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| is_ours).map(Duration::from_micros);
        Self { socket, beat_every: watchdog.map_or(STATUS_EVERY, |time| time / BEATS_IN_WATCHDOG) }
    }

    /// The program was asked to stop and does.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping\n");
    }

    /// Tells for ever that the program is up and how it stands, by what `beat` returns. A `beat` waits for a piece of the work
    /// that the program lives for: one that does not return is what a watchdog is there for.
    pub async fn keep_told<B: Future<Output = String>>(
        &self,
        clock: &Clock,
        mut beat: impl FnMut() -> B,
    ) -> Infallible {
        loop {
            let status = beat().await;
            self.send(&format!("READY=1\nWATCHDOG=1\nSTATUS={}\n", one_line(&status)));
            clock.sleep(self.beat_every).await;
        }
    }

    /// What does not get through is not sent again by itself: the next beat says all of it anew.
    fn send(&self, lines: &str) {
        let Some((socket, manager)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(lines.as_bytes(), manager) {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

/// A socket that never waits, and where the manager listens: a path, or a name after an `@` (unix(7), abstract).
fn connect(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// The first line of a status, cut to what a screen shows: a second line would be an assignment of its own.
fn one_line(status: &str) -> &str {
    let line = status.lines().next().unwrap_or_default();
    let mut end = line.len().min(MAX_STATUS_LEN);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use tokio::sync::Semaphore;

    /// A manager's end of the socket, and a program's view of it.
    fn manager(more: &[(&str, &str)]) -> (UnixDatagram, Manager, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_nonblocking(true).expect("a flag");
        let mut environment: HashMap<&str, OsString> = more.iter().map(|(k, v)| (*k, (*v).into())).collect();
        environment.insert("NOTIFY_SOCKET", path.into());
        (socket, Manager::of(|name| environment.get(name).cloned()), folder)
    }

    fn told(socket: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    #[tokio::test]
    async fn beats_are_a_third_of_the_watchdog_apart_and_then_it_stops() {
        const BEAT: Option<&str> = Some("READY=1\nWATCHDOG=1\nSTATUS=all is well\n");
        let (socket, manager, _folder) = manager(&[("WATCHDOG_USEC", "30000000")]);
        let (clock, hand) = Clock::manual();
        let beats = Semaphore::new(0);
        let script = async {
            for _ in 0..3 {
                beats.acquire().await.expect("open").forget();
                tokio::task::yield_now().await;
                assert_eq!(told(&socket).as_deref(), BEAT);
                hand.advance(Duration::from_secs(9));
                tokio::task::yield_now().await;
                assert_eq!(told(&socket), None, "not before a third of the time has passed");
                hand.advance(Duration::from_secs(1));
            }
        };
        let beat = || async {
            beats.add_permits(1);
            "all is well\nMAINPID=1".to_string()
        };
        tokio::select! {
            never = manager.keep_told(&clock, beat) => match never {},
            () = script => {}
        }
        while told(&socket).is_some() {}
        manager.stopping();
        assert_eq!(told(&socket).as_deref(), Some("STOPPING=1\nSTATUS=stopping\n"));
    }

    #[tokio::test]
    async fn nothing_is_said_while_the_work_stands_still() {
        let (socket, manager, _folder) = manager(&[]);
        let (clock, hand) = Clock::manual();
        tokio::select! {
            biased;
            never = manager.keep_told(&clock, std::future::pending::<String>) => match never {},
            () = async { hand.advance(Duration::from_secs(3600)) } => {}
        }
        assert_eq!(told(&socket), None);
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up() {
        let (_socket, manager, _folder) = manager(&[]);
        for _ in 0..10_000 {
            manager.stopping();
        }
    }

    #[test]
    fn nobody_is_told_where_nobody_asked_and_a_parents_watchdog_is_not_ours() {
        assert!(Manager::of(|_| None).socket.is_none());
        assert!(Manager::of(|name| (name == "NOTIFY_SOCKET").then(|| "relative".into())).socket.is_none());
        let (_socket, other, _folder) = manager(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "1")]);
        assert_eq!(other.beat_every, STATUS_EVERY);
    }

    #[test]
    fn a_status_is_one_short_line() {
        assert_eq!(one_line("up\nREADY=1"), "up");
        assert_eq!(one_line(""), "");
        let long = "ä".repeat(MAX_STATUS_LEN);
        assert!(one_line(&long).len() <= MAX_STATUS_LEN);
    }
}
