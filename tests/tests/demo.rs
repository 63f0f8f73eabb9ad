//! The demo as a user starts it: it ends by itself, accounts for every tick and leaves nothing behind.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

#[test]
fn the_demo_accounts_for_every_tick_and_leaves_nothing_behind() {
    let (disk, ram) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir_in("/dev/shm").expect("a tmpfs"));
    open_to_all(disk.path());
    open_to_all(ram.path());
    let output = Command::new(env!("CARGO_BIN_EXE_dsmil-demo"))
        .args(["--hosts", "3", "--seconds", "15", "--json"])
        .env("DSMIL_DEMO_DISK", disk.path())
        .env("DSMIL_DEMO_RAM", ram.path())
        .output()
        .expect("the demo starts");
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
    for folder in [&disk, &ram] {
        let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_folder_that_is_no_tmpfs_is_refused_with_the_remedy() {
    let output = Command::new(env!("CARGO_BIN_EXE_dsmil-demo")).args(["--ram-dir", "/proc"]).output();
    let output = output.expect("the demo starts");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(log.contains("mount -t tmpfs tmpfs /proc"), "{log}");
}

/// If we are root, the demo's programs are somebody else.
fn open_to_all(folder: &Path) {
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
}
