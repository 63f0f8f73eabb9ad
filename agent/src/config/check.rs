//! What of a configuration does not fit this host: for `dsmil-agent check` and the start.

use super::{AgentConfig, CredentialFacts};
use dsmil_crypto::files::FileError;
use dsmil_crypto::identity::IdentityError;
use serde::Serialize;
use std::path::Path;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The agent works, but not as it should.
    Warning,
    /// The agent cannot start or cannot connect.
    Error,
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The key in the configuration.
    pub key: &'static str,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// `f_type` of a tmpfs (linux/magic.h).
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// What the tmpfs must hold besides two databases.
const SPARE: u64 = 1 << 20;

impl AgentConfig {
    /// Looks at everything that the configuration names. Nothing found is good.
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.check_identity(&mut findings);
        self.check_spool(&mut findings);
        if let Some(folder) = self.socket.parent()
            && let Err(what) = is_writable(folder)
        {
            let remedy = format!("make {} writable by the agent's user, or set another path", folder.display());
            findings.push(Finding { severity: Severity::Error, key: "socket", what, remedy });
        }
        for (key, path) in
            [("root.proc", &self.root.proc), ("root.sys", &self.root.sys), ("root.rootfs", &self.root.rootfs)]
        {
            if !path.is_dir() {
                let (what, remedy) = (format!("{} is not a directory", path.display()), "mount it, or name another");
                findings.push(Finding { severity: Severity::Error, key, what, remedy: remedy.into() });
            }
        }
        findings
    }

    fn check_identity(&self, findings: &mut Vec<Finding>) {
        let mut add = |severity, key, what: String, remedy: String| {
            findings.push(Finding { severity, key, what, remedy });
        };
        let CredentialFacts { identity, trust } = self.credentials();
        if let Err(error) = identity {
            let remedy = match &error {
                IdentityError::File(FileError::KeyExposed { .. }) => {
                    "do that; `dsmil-agent join TOKEN --again` replaces a key that others may have read"
                }
                _ => "`dsmil-agent join TOKEN` makes it; a token is made by `dsmil-aggregator token create`",
            };
            add(Severity::Error, "identity.file", error.to_string(), remedy.into());
        }
        if let Err(error) = trust {
            let remedy = "`dsmil-agent join TOKEN --again` fetches it".into();
            add(Severity::Error, "identity.trust", error.to_string(), remedy);
        }
        for (key, path) in [("identity.file", &self.identity.file), ("identity.trust", &self.identity.trust)] {
            let folder = path.parent().unwrap_or(Path::new("."));
            if let Err(what) = is_writable(folder) {
                let what = format!("{what}: what is renewed cannot be kept");
                add(Severity::Error, key, what, format!("make {} writable by the agent's user", folder.display()));
            }
        }
        if self.join.is_empty() {
            let what =
                "no join port is named: the certificate cannot be renewed, and the agent is locked out when it ends";
            let remedy = "name the aggregators' join ports, as in `join = [\"aggregator.example:8101\"]`";
            add(Severity::Warning, "join", what.into(), remedy.into());
        }
    }

    fn check_spool(&self, findings: &mut Vec<Finding>) {
        let Some(folder) = self.spool.path.parent() else { return };
        // The agent makes the last folder itself: a tmpfs is empty after each boot.
        let folder = if folder.exists() { folder } else { folder.parent().unwrap_or(folder) };
        if let Err(what) = is_writable(folder) {
            let remedy = format!(
                "make {} on a tmpfs, writable by the agent's user (`mount -t tmpfs -o size={}M dsmil-ram …`)",
                folder.display(),
                self.spool.tmpfs_mib()
            );
            findings.push(Finding { severity: Severity::Error, key: "spool.path", what, remedy });
            return;
        }
        let Ok(fs) = rustix::fs::statfs(folder) else { return };
        #[allow(clippy::cast_sign_loss, reason = "a magic number of 32 bits")]
        let kind = fs.f_type as u64 & 0xFFFF_FFFF;
        if kind != TMPFS_MAGIC {
            let what = format!("{} is not on a tmpfs: every tick would be written to a disk", folder.display());
            let remedy = "mount a tmpfs there, or set a path that is on one".into();
            findings.push(Finding { severity: Severity::Warning, key: "spool.path", what, remedy });
        }
        #[allow(clippy::cast_sign_loss, reason = "a block has a size")]
        let size = fs.f_blocks.saturating_mul(fs.f_bsize as u64);
        let needed = 2 * (self.spool.capacity_mib << 20) + SPARE;
        if size < needed {
            let (has, needs) = (size >> 20, needed >> 20);
            let what = format!("{} holds {has} MiB, {needs} are needed", folder.display());
            let remedy = format!("`mount -o remount,size={needs}M` it, or set a smaller capacity");
            findings.push(Finding { severity: Severity::Warning, key: "spool.capacity_mib", what, remedy });
        }
    }
}

fn is_writable(folder: &Path) -> Result<(), String> {
    if !folder.is_dir() {
        return Err(format!("{} is not a directory", folder.display()));
    }
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
        .map_err(|error| format!("{} cannot be written: {error}", folder.display()))
}
