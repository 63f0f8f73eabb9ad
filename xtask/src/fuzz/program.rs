//! The programs of crate `dsmil-fuzz`, built so that they count coverage, and what they are told.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::runs::Run;
use crate::cargo::{self, succeed};
use crate::step;
use crate::workspace;

/// What makes LLVM count each edge in a byte, say where the edges are, and show comparisons to the fuzzer. These replace
/// the flags of .cargo/config.toml: the fuzzer is the one program that is not static.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
const PROFILE: &str = "fuzz";
/// Memory of the fuzzer, its corpus included, in MiB: far more than any target warrants.
const MEMORY_MIB: u32 = 1024;
/// Seconds that one input may take: the slowest takes a fraction of one.
const SECONDS: u32 = 20;
/// The last lines of a run that found something.
const LAST_LINES: usize = 60;
/// Bytes of a packed corpus that a repository should carry.
const MAX_CORPUS_LEN: u64 = 200_000;

/// A target, as the program tells it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) max_len: usize,
    pub(super) what: String,
}

/// The built programs and the folder they work in.
pub(super) struct Programs {
    fuzzer: PathBuf,
    corpus: PathBuf,
    work: PathBuf,
}

impl Programs {
    pub(super) fn build(folder: &Path) -> anyhow::Result<Self> {
        // What counts coverage links with libFuzzer alone, so the other program is an ordinary one.
        cargo::build(&["-p", "dsmil-fuzz", "--bin", "fuzz-corpus"])?;
        let args =
            ["build", "--profile", PROFILE, "-p", "dsmil-fuzz", "--features", "libfuzzer", "--bin", "dsmil-fuzz"];
        succeed(cargo::cargo(args).env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", folder))?;
        let fuzzer = folder.join(workspace::TARGET).join(PROFILE).join("dsmil-fuzz");
        Ok(Self { fuzzer, corpus: workspace::program("debug", "fuzz-corpus"), work: folder.join("work") })
    }

    /// All targets, in their order.
    pub(super) fn list(&self) -> anyhow::Result<Vec<Target>> {
        cargo::output(Command::new(&self.corpus).arg("list"))?.lines().map(target).collect()
    }

    /// Seeds, the repository's corpus and regressions join what earlier runs left.
    pub(super) fn unpack(&self, target: &Target) -> anyhow::Result<()> {
        succeed(Command::new(&self.corpus).args(["unpack", &target.name]).arg(self.work.join(&target.name)))
    }

    /// Fuzzes for so many minutes, or until something is found.
    pub(super) fn fuzz(&self, target: &Target, minutes: u32, artifacts: &Path) -> anyhow::Result<Run> {
        let work = self.work.join(&target.name);
        let (corpus, dictionary) = (work.join("corpus"), work.join("dictionary"));
        println!("\n{} for {minutes} min: {}", target.name, target.what);
        let mut command = self.fuzzer(target);
        // libFuzzer ends where a dictionary has no words.
        if fs::metadata(&dictionary).is_ok_and(|file| file.len() > 0) {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        command.arg(&corpus).args([
            format!("-max_len={}", target.max_len),
            format!("-max_total_time={}", 60 * minutes),
            format!("-artifact_prefix={}/{}-", artifacts.display(), target.name),
            "-print_final_stats=1".into(),
            // Nobody else writes into the corpus.
            "-reload=0".into(),
        ]);
        let started = step::now();
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot start the fuzzer")?;
        let mut log = fs::File::create(work.join("log")).context("cannot write the fuzzer's log")?;
        let mut run = Run::of(&target.name);
        let mut last = VecDeque::new();
        for line in BufReader::new(child.stderr.take().context("it was asked for")?).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            writeln!(log, "{line}")?;
            if run.take(&line) {
                println!("  {}", line.trim());
            }
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(line);
        }
        let status = child.wait()?;
        run.seconds = started.elapsed().as_secs();
        if !run.finds.is_empty() {
            last.iter().for_each(|line| println!("  {line}"));
        }
        ensure!(
            status.success() || !run.finds.is_empty(),
            "the fuzzer ended with {status}: see {}",
            work.join("log").display()
        );
        run.corpus = fs::read_dir(&corpus)?.count() as u64;
        Ok(run)
    }

    /// Keeps of a corpus what reaches something of its own, and packs it into the repository.
    pub(super) fn minimise(&self, target: &Target) -> anyhow::Result<()> {
        let work = self.work.join(&target.name);
        let (corpus, least, rest) = (work.join("corpus"), work.join("least"), work.join("merged-away"));
        // What an interrupted run left is of no use.
        for folder in [&least, &rest] {
            let _ = fs::remove_dir_all(folder);
        }
        fs::create_dir_all(&least).with_context(|| format!("cannot make {}", least.display()))?;
        let output = self
            .fuzzer(target)
            .args(["-set_cover_merge=1", "-max_len=1048576"])
            .args([&least, &corpus])
            .stdin(Stdio::null())
            .output()
            .context("cannot start the fuzzer")?;
        ensure!(output.status.success(), "merging failed: {}", String::from_utf8_lossy(&output.stderr));
        succeed(Command::new(&self.corpus).args(["pack", &target.name]).arg(&least))?;
        let packed = workspace::root().join("fuzz/corpus").join(format!("{}.corpus", target.name));
        let len = fs::metadata(&packed)?.len();
        if len > MAX_CORPUS_LEN {
            println!("  it has {len} bytes, more than a repository should carry ({MAX_CORPUS_LEN})");
        }
        fs::rename(&corpus, &rest)?;
        fs::rename(&least, &corpus)?;
        fs::remove_dir_all(&rest).with_context(|| format!("cannot clear {}", rest.display()))
    }

    /// The fuzzer with what holds for every start of it.
    fn fuzzer(&self, target: &Target) -> Command {
        let mut command = Command::new(&self.fuzzer);
        command.env("DSMIL_FUZZ_TARGET", &target.name).env("RUST_BACKTRACE", "1").args([
            format!("-rss_limit_mb={MEMORY_MIB}"),
            format!("-timeout={SECONDS}"),
            // Needs a sanitizer, and Rust has none of its own to need.
            "-detect_leaks=0".into(),
        ]);
        command
    }
}

/// A line of the list: name, longest input, what it tests.
fn target(line: &str) -> anyhow::Result<Target> {
    let mut fields = line.split('\t');
    let mut next = || fields.next().with_context(|| format!("cannot read the list of targets: {line:?}"));
    Ok(Target { name: next()?.into(), max_len: next()?.parse()?, what: next()?.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_list_is_a_target() {
        let read = target("frames\t4096\ta stream of bytes").unwrap();
        assert_eq!((read.name.as_str(), read.max_len, read.what.as_str()), ("frames", 4096, "a stream of bytes"));
        assert!(target("frames").is_err());
    }
}
