//! Asking other programs of the host: bounded in time and in what is read of them.

use dsmil_runtime::clock::Clock;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// How long a program may take: systemd answers in milliseconds, a journal of gigabytes in some seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a program printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Printed {
    pub(in super::super) text: String,
    /// More was there than is read.
    pub(in super::super) is_cut: bool,
}

/// Why a program printed nothing of use.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum CommandError {
    #[error("{program} is not there, or cannot be started")]
    Start {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} did not end within {} s", PATIENCE.as_secs())]
    Silent { program: String },
    #[error("{program} failed: {complaint}")]
    Failed { program: String, complaint: String },
}

/// Runs a program to its end and reads at most `max_len` bytes of what it prints.
pub(in super::super) async fn run(
    clock: &Clock,
    program: &str,
    args: &[&str],
    max_len: usize,
) -> Result<Printed, CommandError> {
    let mut command = Command::new(program);
    // Words and numbers as programs read them, no pager, and no question to whoever types.
    command.args(args).env("LC_ALL", "C").env("SYSTEMD_PAGER", "").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = |source| CommandError::Start { program: program.into(), source };
    let mut child = command.spawn().map_err(start)?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (out, err) = tokio::join!(read(out, max_len), read(err, COMPLAINT_LEN));
        (out, err, child.wait().await)
    };
    let (printed, complaint, status) = tokio::select! {
        done = work => done,
        () = clock.sleep(PATIENCE) => return Err(CommandError::Silent { program: program.into() }),
    };
    // Whoever is cut short ends by the pipe that nobody reads: that is no failure.
    if !printed.is_cut && !status.is_ok_and(|status| status.success()) {
        let complaint = complaint.text.trim().replace('\n', "; ");
        return Err(CommandError::Failed { program: program.into(), complaint });
    }
    Ok(printed)
}

/// Bytes of what a program complains that are worth reading.
const COMPLAINT_LEN: usize = 2 << 10;

async fn read(from: Option<impl AsyncRead + Unpin>, max_len: usize) -> Printed {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What was read before an error is what there is.
        let _ = from.take(max_len as u64 + 1).read_to_end(&mut bytes).await;
    }
    let is_cut = bytes.len() > max_len;
    bytes.truncate(max_len);
    Printed { text: String::from_utf8_lossy(&bytes).into_owned(), is_cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_printed_is_read_up_to_its_bound_and_failures_are_named() {
        let clock = Clock::real();
        let sh = |script| ["-c", script];
        let printed = run(&clock, "sh", &sh("printf hello"), 100).await.expect("it prints");
        assert_eq!(printed, Printed { text: "hello".into(), is_cut: false });
        let endless = run(&clock, "sh", &sh("while printf x; do :; done"), 100).await.expect("it is cut");
        assert_eq!((endless.text.len(), endless.is_cut), (100, true));
        let failed = run(&clock, "sh", &sh("echo no >&2; exit 3"), 100).await.expect_err("it fails");
        assert_eq!(failed.to_string(), "sh failed: no");
        let absent = run(&clock, "/nonexistent/x", &[], 100).await.expect_err("it is not there");
        assert!(absent.to_string().contains("is not there"), "{absent}");
    }
}
