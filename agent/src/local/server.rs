//! Answering: bounded lines, bounded time, bounded connections.

use super::{Document, Question, Reply, Trouble, TroubleCode, VERSION, Verb};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Bytes of a question, its line feed included: the longest valid one has 32.
const MAX_QUESTION_LEN: u64 = 256;
/// Connections served at once: a person, a monitoring script, and room for mistakes. More wait in the kernel.
const MAX_CONNECTIONS: usize = 8;
/// A connection lives this long at most: whoever does not ask or does not read must not hold a place.
const PATIENCE: Duration = Duration::from_secs(2);
/// Owner and group.
const MODE: u32 = 0o660;

/// Why the socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Another agent answers there.
    #[error("an agent is already running: it answers on {}", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is not a socket has its name.
    #[error("{} is not a socket: remove it, or set `socket` in agent.toml to another path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("cannot make the socket {}: its folder must exist and be writable by the agent's user", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot take connections any more.
    #[error("the local socket does not take connections any more")]
    Accept(#[source] io::Error),
}

/// A bound socket. Its file goes when it is dropped.
#[derive(Debug)]
pub struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl LocalSocket {
    /// Makes the socket, in place of one that nobody listens on any more. Needs a tokio runtime.
    pub fn bind(path: &Path) -> Result<Self, LocalError> {
        clear_the_way(path)?;
        let fail = |source| LocalError::Bind { path: path.to_owned(), source };
        let listener = UnixListener::bind(path).map_err(fail)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE)).map_err(fail)?;
        let inode = std::fs::symlink_metadata(path).map_err(fail)?.ino();
        Ok(Self { listener, path: path.to_owned(), inode })
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        // A newer agent may have made its own.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            // Nobody is left to tell; the next start clears it away.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn clear_the_way(path: &Path) -> Result<(), LocalError> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err(LocalError::NotASocket { path: path.to_owned() });
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(LocalError::Taken { path: path.to_owned() });
    }
    std::fs::remove_file(path).map_err(|source| LocalError::Bind { path: path.to_owned(), source })
}

/// Answers questions until the supervisor's stop. `answer` must return soon: it runs on the agent's one thread.
pub async fn serve(
    socket: LocalSocket,
    clock: Clock,
    supervisor: Supervisor,
    answer: Arc<dyn Fn(Verb) -> Reply + Send + Sync>,
) -> Result<(), LocalError> {
    let stop = supervisor.stop();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            (place, socket.listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = stop.requested() => return Ok(()),
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // Out of file descriptors, most likely: others will close theirs.
            Err(error) if error.raw_os_error().is_some_and(is_passing) => {
                clock.sleep(Duration::from_millis(100)).await;
                continue;
            }
            Err(error) => return Err(LocalError::Accept(error)),
        };
        let (clock, answer) = (clock.clone(), Arc::clone(&answer));
        supervisor.spawn("local-connection", OnFailure::Note, async move {
            let _place = place;
            tokio::select! {
                result = converse(stream, answer.as_ref()) => {
                    if let Err(error) = result {
                        // Whoever asked went away: their affair.
                        tracing::debug!(%error, "a local connection ended early");
                    }
                }
                () = clock.sleep(PATIENCE) => tracing::debug!("a local connection took too long"),
            }
            Ok::<(), std::convert::Infallible>(())
        });
    }
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EINTR: errors that pass (accept(2)).
fn is_passing(errno: i32) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::CONNABORTED, Errno::INTR]
        .iter()
        .any(|passing| passing.raw_os_error() == errno)
}

async fn converse(mut stream: UnixStream, answer: &(dyn Fn(Verb) -> Reply + Send + Sync)) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = Vec::new();
    BufReader::new(reader.take(MAX_QUESTION_LEN)).read_until(b'\n', &mut line).await?;
    let reply = understand(&line).map_or_else(Reply::Error, answer);
    let mut document = serde_json::to_vec(&Document { version: VERSION, reply })?;
    document.push(b'\n');
    writer.write_all(&document).await?;
    writer.shutdown().await
}

fn understand(line: &[u8]) -> Result<Verb, Trouble> {
    let trouble = |code, message: String| Trouble { code, message };
    let question: Question = serde_json::from_slice(line).map_err(|error| {
        let shape = r#"{"version":1,"verb":"status"}"#;
        let message = format!("a question is one line of at most {MAX_QUESTION_LEN} bytes like {shape}: {error}");
        trouble(TroubleCode::BadQuestion, message)
    })?;
    if question.version != VERSION {
        let message = format!("this agent speaks version {VERSION}, not {}", question.version);
        return Err(trouble(TroubleCode::UnknownVersion, message));
    }
    Verb::ALL.iter().copied().find(|verb| verb.name() == question.verb).ok_or_else(|| {
        let known: Vec<_> = Verb::ALL.iter().map(|verb| verb.name()).collect();
        let message = format!("{:?} is none of {}", question.verb, known.join(", "));
        trouble(TroubleCode::UnknownVerb, message)
    })
}
