//! The units by systemd's own judgement: how far a service that is taken over could reach.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Tenths; systemd calls more than this "OK" at best.
const EXPOSURE: &str = "20";

/// The folder of all units.
fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd")
}

/// What of them has a name that ends so.
fn of_units(ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(units()).expect("the units");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}

fn services() -> Vec<PathBuf> {
    of_units(".service")
}

/// What probes of a kind may do beyond all of them.
fn rights() -> Vec<PathBuf> {
    of_units(".service.d").into_iter().map(|folder| folder.join("rights.conf")).collect()
}

/// The probes as systemd puts them together: the unit of all kinds, and a kind's rights.
fn probes(into: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_to_string(units().join("dsmil-probe@.service")).expect("the unit of all kinds");
    let whole = |rights: &PathBuf| {
        let unit = rights.parent().and_then(Path::file_stem).expect("dsmil-probe@KIND.service.d");
        let whole = into.join(unit);
        let more = std::fs::read_to_string(rights).expect("its rights");
        std::fs::write(&whole, format!("{all}\n{more}")).expect("a unit");
        whole
    };
    rights().iter().map(whole).collect()
}

#[test]
fn no_service_is_exposed_beyond_what_its_unit_gives_reasons_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let services = [services(), probes(folder.path())].concat();
    assert!(services.len() >= 7, "{services:?}");
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
        "PrivateDevices=no",
        "ProtectKernelLogs=no",
        "CapabilityBoundingSet=CAP_SYSLOG",
        "CapabilityBoundingSet=CAP_DAC_READ_SEARCH",
        "CapabilityBoundingSet=CAP_SYS_PTRACE",
        "CapabilityBoundingSet=CAP_SYS_RAWIO",
        "CapabilityBoundingSet=CAP_SYS_ADMIN",
        "SupplementaryGroups=disk",
    ];
    for service in services().into_iter().chain(rights()) {
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
