//! One question on one connection: asked at once, waited for as long as the caller can.

use dsmil_protocol::metric::SetId;
use dsmil_protocol::probe::{self, Answer, MAX_ANSWER_LEN, PREFIX_LEN, ProbeError, ProbeKind, ProbeReading, Question};
use dsmil_runtime::clock::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Bytes read at once: an ordinary answer is some hundred.
const PIECE: usize = 16 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// There is no such socket.
    #[error("there is no socket")]
    NoSocket,
    /// Nobody holds it.
    #[error("nobody listens")]
    Refused,
    /// It is not for us.
    #[error("the socket is closed to this user")]
    Forbidden,
    /// Too many wait before us.
    #[error("too many wait already")]
    Busy,
    /// The other end went without an answer.
    #[error("it ended without an answer")]
    Closed,
    /// What came is no answer to what was asked.
    #[error("what came is no answer")]
    Garbage(#[source] ProbeError),
    /// Anything else.
    #[error("the connection failed")]
    Other(#[source] std::io::Error),
}

/// A question that waits for its answer.
#[derive(Debug)]
pub(super) struct Call {
    stream: UnixStream,
    kind: ProbeKind,
    inbox: Vec<u8>,
    /// When it was asked.
    asked: Duration,
    /// Who answers, as it says itself; before that, as the kernel does.
    pid: Option<u32>,
    is_greeted: bool,
}

impl Call {
    /// Asks who is there and what it reads, without waiting for anything.
    pub(super) fn begin(path: &Path, kind: ProbeKind, known: Option<SetId>, now: Duration) -> Result<Self, CallError> {
        let mut stream = connect(path)?;
        let questions = [probe::question(Question::Hello), probe::question(Question::Read { known })].concat();
        stream.write_all(&questions).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => CallError::Closed,
            _ => CallError::Other(error),
        })?;
        let held_by = sockopt::socket_peercred(&stream).ok().map(|holder| holder.pid.as_raw_nonzero().get());
        let pid = held_by.and_then(|pid| u32::try_from(pid).ok());
        Ok(Self { stream, kind, inbox: Vec::new(), asked: now, pid, is_greeted: false })
    }

    /// When it was asked.
    pub(super) fn asked(&self) -> Duration {
        self.asked
    }

    /// The process that is to answer.
    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Waits for the answer until the monotonic clock reads `until`; none if it is not there by then.
    pub(super) fn wait(&mut self, clock: &Clock, until: Duration) -> Result<Option<ProbeReading>, CallError> {
        loop {
            while let Some(answer) = self.take().map_err(CallError::Garbage)? {
                match answer {
                    Answer::Hello { kind, pid } if kind == self.kind && !self.is_greeted => {
                        (self.pid, self.is_greeted) = (Some(pid), true);
                    }
                    Answer::Reading(reading) if self.is_greeted => return Ok(Some(reading)),
                    Answer::Hello { .. } | Answer::Reading(_) => return Err(CallError::Garbage(ProbeError::Malformed)),
                }
            }
            if !self.is_readable(until.saturating_sub(clock.mono()))? {
                return Ok(None);
            }
            self.receive()?;
        }
    }

    /// The next answer out of what has come.
    fn take(&mut self) -> Result<Option<Answer>, ProbeError> {
        let Some(body) = probe::body(&self.inbox, MAX_ANSWER_LEN)? else { return Ok(None) };
        let answer = probe::read_answer(body)?;
        self.inbox.drain(..PREFIX_LEN + body.len());
        Ok(Some(answer))
    }

    fn is_readable(&self, within: Duration) -> Result<bool, CallError> {
        let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
        let timeout = Timespec::try_from(within).map_err(|_| CallError::Other(ErrorKind::InvalidInput.into()))?;
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(CallError::Other(error.into())),
        }
    }

    /// Takes in what is there, a piece: who sends faster than is read waits in the kernel.
    fn receive(&mut self) -> Result<(), CallError> {
        let mut piece = [0; PIECE];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(CallError::Closed),
            Ok(length) => {
                self.inbox.extend_from_slice(&piece[..length]);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Err(CallError::Closed),
                _ => Err(CallError::Other(error)),
            },
        }
    }
}

/// A connection that never waits, not even to come about.
fn connect(path: &Path) -> Result<UnixStream, CallError> {
    let other = |error: Errno| CallError::Other(error.into());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(other)?;
    let address = SocketAddrUnix::new(path).map_err(other)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Ok(UnixStream::from(socket)),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(CallError::NoSocket),
        Err(Errno::CONNREFUSED) => Err(CallError::Refused),
        Err(Errno::ACCESS | Errno::PERM) => Err(CallError::Forbidden),
        Err(Errno::AGAIN) => Err(CallError::Busy),
        Err(error) => Err(other(error)),
    }
}
