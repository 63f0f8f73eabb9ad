//! Asking an agent: blocking, for command lines.

use super::{Document, Question, Reply, VERSION, Verb};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest answer read: some thousand gaps take a few hundred KiB, the values of a host with 256 CPUs a few MiB.
const MAX_ANSWER_LEN: u64 = super::MAX_ANSWER_LEN as u64;
/// An agent that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no agent listens on {}", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The socket is there, but not for us.
    #[error("{} may not be opened by this user: use root, or a user of the socket's group", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The agent did not answer.
    #[error("the agent took the question and did not answer it within {} s", PATIENCE.as_secs())]
    Silent(#[source] std::io::Error),
    /// The agent answered something else.
    #[error("the answer is not one of this program's version: agent and dsmilctl are of different releases")]
    Malformed(#[source] serde_json::Error),
    /// The answer's version is another one.
    #[error("the agent answers in version {0}, this program reads version {VERSION}: upgrade the older one")]
    Version(u8),
}

/// Asks the agent at `socket`.
pub fn ask(socket: &Path, verb: Verb) -> Result<Reply, ClientError> {
    let mut stream = UnixStream::connect(socket).map_err(|source| {
        let path = socket.to_owned();
        match source.kind() {
            std::io::ErrorKind::PermissionDenied => ClientError::Forbidden { path, source },
            _ => ClientError::NotRunning { path, source },
        }
    })?;
    let line = exchange(&mut stream, verb).map_err(ClientError::Silent)?;
    let version: OnlyVersion = serde_json::from_slice(&line).map_err(ClientError::Malformed)?;
    if version.version != VERSION {
        return Err(ClientError::Version(version.version));
    }
    let document: Document = serde_json::from_slice(&line).map_err(ClientError::Malformed)?;
    Ok(document.reply)
}

/// What every version of an answer has.
#[derive(serde::Deserialize)]
struct OnlyVersion {
    version: u8,
}

fn exchange(stream: &mut UnixStream, verb: Verb) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let question = Question { version: VERSION, verb: verb.name().into() };
    let mut line = serde_json::to_vec(&question)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(MAX_ANSWER_LEN)).read_until(b'\n', &mut answer)?;
    Ok(answer)
}
