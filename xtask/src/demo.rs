//! `cargo xtask demo`: a small fleet on this host's real metrics.
//!
//! This verb only sees to the prerequisites and builds; the demo itself is the program `dsmil-demo` of the crate `e2e`,
//! so that tests can run it too.

use std::process::Command;

use clap::Args as ClapArgs;

use crate::{cargo, tools, workspace};

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Simulated hosts beside this one: real uplink, session and spool, generated sensors.
    #[arg(long, value_name = "N")]
    hosts: Option<u32>,
    /// End after so many seconds; the exit code is 0 only if every tick is accounted for.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Make the last line of standard output one JSON object of figures.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The same arguments, for the program that understands them.
    fn pass_on(&self) -> Vec<String> {
        let mut args = Vec::new();
        if let Some(hosts) = self.hosts {
            args.extend(["--hosts".into(), hosts.to_string()]);
        }
        if let Some(seconds) = self.seconds {
            args.extend(["--seconds".into(), seconds.to_string()]);
        }
        if self.json {
            args.push("--json".into());
        }
        args
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

    #[test]
    fn arguments_are_passed_on() {
        let args = Args { hosts: Some(3), seconds: Some(20), json: true };
        assert_eq!(args.pass_on().join(" "), "--hosts 3 --seconds 20 --json");
        assert!(Args { hosts: None, seconds: None, json: false }.pass_on().is_empty());
    }
}
