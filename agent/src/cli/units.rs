//! `dsmil-agent units`: the sizes of the configuration for systemd.

use dsmil_agent::config::AgentConfig;
use dsmil_runtime::units::Units;
use std::path::Path;
use std::process::ExitCode;

/// The agent's own memory: eight times what it takes, for the hour after an outage.
const PROGRAM_MIB: u64 = 64;

/// Writes drop-ins for what the configuration says. A host that has not joined needs none.
pub(crate) fn run(config: &Path, folder: &Path) -> anyhow::Result<ExitCode> {
    if config.try_exists()? {
        units(&AgentConfig::load(config)?).write(folder)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn units(config: &AgentConfig) -> Units {
    let folder = |file: &Path| file.parent().unwrap_or(Path::new("/")).to_owned();
    Units {
        service: "dsmil-agent.service",
        mount: r"mnt-dsmil\x2dram-agent.mount",
        owner: "dsmil",
        tmpfs_mib: config.spool.tmpfs_mib(),
        program_mib: PROGRAM_MIB,
        writes: vec![folder(&config.spool.path), folder(&config.identity.file), folder(&config.identity.trust)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = include_str!("../../../systemd/dsmil-agent.service");
    const MOUNT: &str = include_str!(r"../../../systemd/mnt-dsmil\x2dram-agent.mount");

    fn of(more: &str) -> Units {
        let text = format!("host = \"h\"\ntenant = \"t\"\naggregators = [\"a:8100\"]\n{more}");
        units(&AgentConfig::parse(&text, Path::new("/etc/dsmil/agent.toml")).expect("a configuration"))
    }

    #[test]
    fn the_shipped_units_fit_the_defaults() {
        let units = of("");
        let has = |text: &str, line: String| assert!(text.lines().any(|l| l == line), "no line {line}");
        has(MOUNT, format!("Options={}", units.mount_options()));
        has(SERVICE, format!("MemoryMax={}M", units.tmpfs_mib + units.program_mib));
    }

    #[test]
    fn a_larger_spool_gets_a_larger_tmpfs() {
        assert_eq!(of("[spool]\ncapacity_mib = 1000").tmpfs_mib, 2001);
    }

    #[test]
    fn a_host_that_has_not_joined_needs_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        run(&folder.path().join("agent.toml"), &folder.path().join("units")).expect("nothing to do");
        assert!(!folder.path().join("units").exists());
    }
}
