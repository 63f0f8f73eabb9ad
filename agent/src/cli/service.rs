//! The service that the package installed: started by `join`, since a host that has joined is to be watched.

use serde::Serialize;
use std::path::Path;
use std::process::{Command, Stdio};

const UNIT: &str = "dsmil-agent.service";
/// There while systemd is the one that runs the services (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

/// What became of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Service {
    /// It runs, with what was written.
    Started,
    /// systemd could not start it.
    Failed,
    /// No systemd, no such unit, or no right to start it: somebody else does.
    NotOurs,
}

/// Starts the service, anew if it runs, and waits until it samples.
pub(super) fn restart() -> Service {
    let is_ours = rustix::process::geteuid().is_root() && Path::new(BOOTED).is_dir() && systemctl("cat");
    match is_ours && systemctl("enable") {
        false => Service::NotOurs,
        true if systemctl("restart") => Service::Started,
        true => Service::Failed,
    }
}

fn systemctl(verb: &str) -> bool {
    let mut command = Command::new("systemctl");
    command.args(["--quiet", verb, UNIT]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
