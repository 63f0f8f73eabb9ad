//! `check`.

use super::ConfigArgs;
use super::centre::block_on;
use super::output::{print, print_json};
use clap::Args;
use dsmil_aggregator::check::{self, Outcome};
use dsmil_runtime::config::Environment;
use std::process::ExitCode;

#[derive(Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let environment = Environment::of_process();
    let findings = block_on(async |clock, _| Ok(check::run(&args.config.config, &environment, clock).await))?;
    if args.json {
        print_json(&findings)?;
    } else {
        let mark = |outcome| match outcome {
            Outcome::Ok => "ok",
            Outcome::Warning => "warning",
            Outcome::Error => "error",
        };
        let lines = findings.iter().map(|f| format!("{:<7}  {:<18} {}\n", mark(f.outcome), f.subject, f.detail));
        print(&lines.collect::<String>())?;
    }
    let failed = findings.iter().any(|finding| finding.outcome == Outcome::Error);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
