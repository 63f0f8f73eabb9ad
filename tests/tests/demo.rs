//! The demo as a user starts it: it ends by itself or at Ctrl-C, accounts for every tick and leaves nothing behind; and
//! if it is killed, its programs end with it.

use dsmil_runtime::clock::Clock;
use e2e::fleet::eventually;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

#[test]
fn the_demo_accounts_for_every_tick_and_leaves_nothing_behind() {
    let stage = Stage::new();
    let output = stage.demo(&["--hosts", "3", "--seconds", "15", "--json"]).output().expect("the demo starts");
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{log}", output.status);
    let last = out.lines().last().expect("a last line");
    let report: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}"));
    let number = |key: &str| report[key].as_u64().unwrap_or_else(|| panic!("{key} in {last}"));
    let lost: u64 = report["lost"].as_object().expect("losses").values().filter_map(Value::as_u64).sum();
    assert_eq!(number("hosts"), 4);
    assert_eq!(number("expected"), number("stored") + number("waiting") + lost);
    // 15 s, less the second in which each host starts and those that a busy machine is late.
    assert!((4 * 12..=4 * 20).contains(&number("stored")), "{last}");
    assert_eq!((number("waiting"), number("duplicates"), lost), (0, 0, 0), "{last}");
    assert!(report["wire_bytes_per_sample"].as_f64().is_some_and(|bytes| bytes > 0.0 && bytes < 40.0), "{last}");
    assert!(report["tick_to_queryable_ms"]["p99"].as_f64().is_some_and(|ms| ms > 0.0), "{last}");
    stage.assert_empty();
}

#[test]
fn ctrl_c_ends_it_in_order() {
    let stage = Stage::new();
    let mut demo = stage.demo(&["--hosts", "1"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    // Everything runs, and something was sampled.
    lines.find(|line| line.starts_with("up 2/2")).expect("two hosts are up");
    signal(&demo, Signal::INT);
    let last = lines.last().expect("a last line");
    let output = demo.wait_with_output().expect("an end");
    assert!(output.status.success(), "{}\n{last}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(last.contains("seconds of 2 hosts: ") && last.contains(" 0 waiting, 0 lost, 0 stored twice"), "{last}");
    stage.assert_empty();
}

#[tokio::test]
async fn a_killed_demo_takes_its_programs_along_and_the_next_one_tidies_up() {
    let (stage, clock) = (Stage::new(), Clock::real());
    let mut demo = stage.demo(&["--hosts", "1"]).stdout(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    lines.find(|line| line.starts_with("up ")).expect("everything runs");
    let programs = programs_in(stage.disk.path(), stage.ram.path());
    assert_eq!(programs.len(), 3, "aggregator, agent, simulator");
    demo.kill().expect("it ran");
    demo.wait().expect("it is gone");
    let gone = eventually(&clock, "the programs are gone", Duration::from_secs(10), || {
        std::future::ready(Ok(programs_in(stage.disk.path(), stage.ram.path()).is_empty()))
    });
    gone.await.expect("they end with the demo");

    let next = stage.demo(&["--seconds", "1"]).output().expect("the next one starts");
    assert!(next.status.success(), "{}", String::from_utf8_lossy(&next.stderr));
    stage.assert_empty();
}

#[test]
fn a_folder_that_is_no_tmpfs_is_refused_with_the_remedy() {
    let output = Command::new(env!("CARGO_BIN_EXE_dsmil-demo")).args(["--ram-dir", "/proc"]).output();
    let output = output.expect("the demo starts");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(log.contains("mount -t tmpfs tmpfs /proc"), "{log}");
}

/// Folders of this test alone for a demo to make its own in.
struct Stage {
    disk: TempDir,
    ram: TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self {
            disk: tempfile::tempdir().expect("a folder"),
            ram: tempfile::tempdir_in("/dev/shm").expect("a tmpfs"),
        };
        for folder in [&stage.disk, &stage.ram] {
            // If we are root, the demo's programs are somebody else.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(folder.path(), mode).expect("ours");
        }
        stage
    }

    fn demo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dsmil-demo"));
        command.args(args).env("DSMIL_DEMO_DISK", self.disk.path()).env("DSMIL_DEMO_RAM", self.ram.path());
        command
    }

    fn assert_empty(&self) {
        for folder in [&self.disk, &self.ram] {
            let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("it runs");
}

/// Process ids of the daemons, told by the folders in their command lines; a zombie has no command line.
fn programs_in(disk: &Path, ram: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let runs_there = |entry: &std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        [disk, ram].iter().any(|folder| line.contains(&*folder.to_string_lossy()))
    };
    processes.filter(runs_there).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
