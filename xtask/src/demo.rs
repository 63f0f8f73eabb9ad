//! `cargo xtask demo`: a small fleet on this host's real metrics.
//!
//! This verb only sees to the prerequisites and builds; the demo itself is the program `dsmil-demo` of the crate `e2e`,
//! so that tests can run it too.

use std::process::Command;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::{cargo, tools, workspace};

/// The bounds of `dsmil-demo`, asked here as well: what it would refuse is refused before minutes of building.
const MAX_HOSTS: u32 = 5000;
const MAX_SECONDS: u64 = 604_800;

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Simulated hosts beside this one: real uplink, session and spool, generated sensors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_HOSTS)))]
    hosts: Option<u32>,
    /// End after so many seconds; the exit code is 0 only if every tick is accounted for.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    seconds: Option<u64>,
    /// Make the last line of standard output one JSON object of figures.
    #[arg(long)]
    json: bool,
    /// Leave the folders with logs, configuration and data behind.
    #[arg(long)]
    keep: bool,
    /// A folder on a tmpfs, for spools and the hot cache [default: /dev/shm].
    #[arg(long, value_name = "DIR")]
    ram_dir: Option<PathBuf>,
    /// A folder on a disk, for the journal, identities and logs [default: $TMPDIR or /tmp].
    #[arg(long, value_name = "DIR")]
    disk_dir: Option<PathBuf>,
}

impl Args {
    /// The same arguments, for the program that understands them.
    fn pass_on(&self) -> Vec<OsString> {
        let values = [
            ("--hosts", self.hosts.map(|hosts| hosts.to_string().into())),
            ("--seconds", self.seconds.map(|seconds| seconds.to_string().into())),
            ("--ram-dir", self.ram_dir.clone().map(OsString::from)),
            ("--disk-dir", self.disk_dir.clone().map(OsString::from)),
        ];
        let values = values.into_iter().filter_map(|(flag, value)| Some([flag.into(), value?]));
        let switches = [("--json", self.json), ("--keep", self.keep)].into_iter().filter(|(_, on)| *on);
        values.flatten().chain(switches.map(|(flag, _)| flag.into())).collect()
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    tools::ensure(&[tools::C_COMPILER])?;
    eprintln!("building (several minutes the first time) …");
    let programs =
        ["dsmil-agent", "dsmil-aggregator", "dsmilctl", "dsmil-sim", "dsmil-demo"].map(|name| ["--bin", name]).concat();
    cargo::build(
        &[&["-p", "dsmil-agent", "-p", "dsmil-aggregator", "-p", "dsmilctl", "-p", "e2e"], &programs[..]].concat(),
    )?;
    Err(cargo::exec(Command::new(workspace::program("debug", "dsmil-demo")).args(args.pass_on())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn arguments_are_passed_on() {
        let passed_on = |typed: &str| {
            let cli = Cli::try_parse_from(typed.split(' ')).unwrap();
            cli.args.pass_on().join(" ".as_ref()).into_string().unwrap()
        };
        assert_eq!(passed_on("demo --json --seconds 20 --hosts 3"), "--hosts 3 --seconds 20 --json");
        assert_eq!(passed_on("demo --keep --disk-dir /a --ram-dir b"), "--ram-dir b --disk-dir /a --keep");
        assert_eq!(passed_on("demo"), "");
    }

    #[test]
    fn what_the_demo_would_refuse_is_refused_before_anything_is_built() {
        for typed in ["demo --hosts 5001", "demo --seconds 0", "demo --hosts", "demo --seconds 604801"] {
            assert!(Cli::try_parse_from(typed.split(' ')).is_err(), "{typed}");
        }
        let demo = std::fs::read_to_string(workspace::root().join("tests/src/demo/mod.rs")).unwrap();
        assert!(demo.contains(&format!("pub const MAX_HOSTS: u32 = {MAX_HOSTS};")), "the demo's own bound is another");
        assert!(demo.contains("pub const MAX_SECONDS: u64 = 604_800;"), "the demo's own bound is another");
    }
}
