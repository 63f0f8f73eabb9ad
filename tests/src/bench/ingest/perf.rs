//! Samples of a running program by `perf`, with the kernel's software clock: it needs no counters of the processor, which a
//! virtual machine often has not.

use std::io::ErrorKind;
use std::process::{Child, Command, Output, Stdio};

/// Samples a second of CPU time: a share of 10 % over ten seconds is within 0.5 %, and sampling costs less.
const HERTZ: &str = "499";

/// Where a thread was at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// The thread's name.
    pub(super) thread: String,
    /// The functions it was in, innermost first. Programs are built without frame pointers: of their functions only the
    /// first is certain.
    pub(super) frames: Vec<String>,
}

/// A recording that is under way.
pub(super) struct Recording {
    perf: Child,
    file: tempfile::NamedTempFile,
}

impl Recording {
    /// Begins to sample all threads of a process; otherwise why not.
    pub(super) fn start(pid: u32) -> Result<Self, String> {
        let file = tempfile::NamedTempFile::new().map_err(|error| format!("no file for samples: {error}"))?;
        let mut perf = Command::new("perf");
        perf.args(["record", "--event", "cpu-clock", "--freq", HERTZ, "--call-graph", "fp", "--pid", &pid.to_string()]);
        perf.arg("--output").arg(file.path());
        perf.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let perf = perf.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => "perf is not installed".to_owned(),
            _ => format!("perf cannot be started: {error}"),
        })?;
        Ok(Self { perf, file })
    }

    /// Ends it, and reads the samples; otherwise why there are none.
    pub(super) fn stop(self) -> Result<Vec<Sample>, String> {
        let pid = rustix::process::Pid::from_child(&self.perf);
        // It may have ended by itself, which its output explains.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let recorded = self.perf.wait_with_output().map_err(|error| format!("perf is lost: {error}"))?;
        let mut script = Command::new("perf");
        script.args(["script", "--fields", "comm,ip,sym", "--no-inline", "--input"]).arg(self.file.path());
        let told = script.output().map_err(|error| format!("perf cannot be started: {error}"))?;
        let samples = read(&String::from_utf8_lossy(&told.stdout));
        if samples.is_empty() { Err(complaint(&recorded, &told)) } else { Ok(samples) }
    }
}

/// What perf had to say, in one line.
fn complaint(recorded: &Output, told: &Output) -> String {
    let words = [&recorded.stderr, &told.stderr].map(|words| String::from_utf8_lossy(words).into_owned());
    let line = words.iter().flat_map(|words| words.lines()).find(|line| !line.trim().is_empty());
    format!("perf took no samples: {}", line.unwrap_or("without a word").trim())
}

/// Reads `perf script`: for each sample a line with the thread, then one line a function, `address name`, then an empty one.
fn read(text: &str) -> Vec<Sample> {
    let mut samples: Vec<Sample> = Vec::new();
    for line in text.lines() {
        if line.starts_with(char::is_whitespace) {
            let name = line.trim().split_once(' ').map(|(_, name)| name.to_owned());
            if let Some(sample) = samples.last_mut() {
                sample.frames.extend(name);
            }
        } else if !line.is_empty() {
            samples.push(Sample { thread: line.trim_end().to_owned(), frames: Vec::new() });
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read() {
        let text = "hot \n\t    ffffffff81 clear_page\n\t          5c2 memcpy\n\nwarm-writer \n\t 5c3 sqlite3Step (inlined)\n\n";
        let samples = read(text);
        assert_eq!(samples.len(), 2);
        assert_eq!(
            (samples[0].thread.as_str(), samples[0].frames.as_slice()),
            ("hot", &["clear_page", "memcpy"].map(String::from)[..])
        );
        assert_eq!(samples[1].frames, ["sqlite3Step (inlined)"]);
    }

    #[test]
    fn why_there_are_none_is_told() {
        assert!(Recording::start(u32::MAX >> 1).and_then(Recording::stop).is_err_and(|why| why.contains("perf")));
    }
}
