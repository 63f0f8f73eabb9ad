//! The units by systemd's own judgement: how far a service that is taken over could reach.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Tenths; systemd calls more than this "OK" at best.
const EXPOSURE: &str = "20";

fn services() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd");
    let entries = std::fs::read_dir(folder).expect("the units");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "service")).collect()
}

#[test]
fn no_service_is_exposed_beyond_what_its_unit_gives_reasons_for() {
    let services = services();
    assert!(services.len() >= 4, "{services:?}");
    for service in services {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--no-pager", "--offline=true", "--threshold", EXPOSURE]).arg(&service);
        let output = match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return eprintln!("not run: systemd-analyze is not here; `cargo xtask test` installs it");
            }
            output => output.expect("it starts"),
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}:\n{said}", service.display());
        println!("{}", said.lines().last().unwrap_or_default());
    }
}

#[test]
fn each_setting_that_stands_open_has_a_reason_above_it() {
    // What systemd-analyze would have closed and these services need: the line before it says why.
    let open = [
        "ProtectHome=read-only",
        "ProtectProc=default",
        "ProcSubset=all",
        "PrivateNetwork=no",
        "User=root",
        "ProtectKernelTunables=no",
    ];
    for service in services() {
        let text = std::fs::read_to_string(&service).expect("a unit");
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| open.contains(line)) {
            assert!(
                lines[number - 1].starts_with('#'),
                "{}:{}: {line} without a reason",
                service.display(),
                number + 1
            );
        }
    }
}
