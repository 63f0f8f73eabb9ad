//! `units`: the sizes of the configuration for systemd.

use dsmil_aggregator::config::Config;
use dsmil_runtime::units::Units;
use std::path::Path;
use std::process::ExitCode;

/// The aggregator's own memory: a thousand hosts' streams, and the pages of its journal.
const PROGRAM_MIB: u64 = 2048;

/// Writes drop-ins for what the configuration says. Where there is no fleet yet, none are needed.
pub(super) fn run(config: &Path, folder: &Path) -> anyhow::Result<ExitCode> {
    if config.try_exists()? {
        units(&Config::load(config)?).write(folder)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn units(config: &Config) -> Units {
    let folder = |file: &Path| file.parent().unwrap_or(Path::new("/")).to_owned();
    let files = [&config.hot.path, &config.state, &config.warm.journal, &config.identity.endpoint_keys];
    let mut writes = files.map(|file| folder(file)).to_vec();
    writes.push(config.identity.issuers.clone());
    Units {
        service: "dsmil-aggregator.service",
        mount: r"mnt-dsmil\x2dram-aggregator.mount",
        owner: "dsmil-aggregator",
        tmpfs_mib: config.hot.tmpfs_mib(),
        program_mib: PROGRAM_MIB,
        writes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = include_str!("../../../../systemd/dsmil-aggregator.service");
    const MOUNT: &str = include_str!(r"../../../../systemd/mnt-dsmil\x2dram-aggregator.mount");

    fn of(more: &str) -> Units {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("aggregator.toml");
        std::fs::write(&path, format!("name = \"a\"\ntenant = \"t\"\n{more}")).expect("written");
        units(&Config::load(&path).expect("a configuration"))
    }

    #[test]
    fn the_shipped_units_fit_the_defaults() {
        let units = of("");
        let has = |text: &str, line: String| assert!(text.lines().any(|l| l == line), "no line {line}");
        has(MOUNT, format!("Options={}", units.mount_options()));
        has(SERVICE, format!("MemoryMax={}M", units.tmpfs_mib + units.program_mib));
    }

    #[test]
    fn a_larger_cache_gets_a_larger_tmpfs() {
        assert_eq!(of("[hot]\nmax_mib = 1000").tmpfs_mib, 2001);
    }
}
