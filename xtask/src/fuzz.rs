//! `cargo xtask fuzz`: the targets of crate `dsmil-fuzz` under libFuzzer, one after the other.
//!
//! Stable Rust counts coverage with the flags below, so no nightly toolchain is needed; they make a build of its own, in
//! target/fuzz. Corpora grow in target/fuzz/work; `--minimise` packs what of them is worth keeping into the repository.
//! Every run leaves a line in target/fuzz/runs.tsv, of which `--table` makes the table of docs/fuzzing.md.

mod program;
mod runs;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args as ClapArgs;

use crate::{step, tools, workspace};
use program::{Programs, Target};
use runs::{Run, Runs};

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Minutes for each target.
    #[arg(long, value_name = "N", default_value_t = 1)]
    minutes: u32,
    /// Go round and round until so many hours have passed; a target that has found something is left out.
    #[arg(long, value_name = "H")]
    hours: Option<u32>,
    /// Afterwards keep of each corpus what reaches something of its own, and pack it into fuzz/corpus.
    #[arg(long)]
    minimise: bool,
    /// Only list the targets.
    #[arg(long, conflicts_with_all = ["minimise", "table"])]
    list: bool,
    /// Only print the table of all runs so far.
    #[arg(long, conflicts_with = "minimise")]
    table: bool,
    /// Targets; all of them, if none is named. `--minutes 0 --minimise` only packs.
    targets: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut runs = Runs::load(folder().join("runs.tsv"))?;
    if args.table {
        print!("{}", runs.table());
        return Ok(());
    }
    tools::ensure(&[tools::C_COMPILER, tools::CXX_COMPILER])?;
    eprintln!("building the targets, counting coverage (many minutes the first time) …");
    let programs = Programs::build(&folder())?;
    let all = programs.list()?;
    if args.list {
        all.iter().for_each(|target| println!("{:<14} {}", target.name, target.what));
        return Ok(());
    }
    let chosen = choose(all, &args.targets)?;
    let done = go_round(args, &programs, &chosen, &mut runs)?;
    if args.minimise {
        chosen.iter().try_for_each(|target| programs.minimise(target))?;
    }
    conclude(&done)
}

/// One turn of every target, or as many as fit into the hours.
fn go_round(args: &Args, programs: &Programs, chosen: &[Target], runs: &mut Runs) -> anyhow::Result<Vec<Run>> {
    let whole = Duration::from_secs(3600 * u64::from(args.hours.unwrap_or(0)));
    let artifacts = workspace::root().join("fuzz").join("artifacts");
    fs::create_dir_all(&artifacts).with_context(|| format!("cannot make {}", artifacts.display()))?;

    let (started, mut done) = (step::now(), Vec::<Run>::new());
    chosen.iter().try_for_each(|target| programs.unpack(target))?;
    loop {
        let mut ran = false;
        for target in chosen.iter().filter(|_| args.minutes > 0) {
            if done.iter().any(|run| run.target == target.name && !run.finds.is_empty()) {
                continue;
            }
            let run = programs.fuzz(target, args.minutes, &artifacts)?;
            runs.add(&run)?;
            done.push(run);
            ran = true;
        }
        if !ran || started.elapsed() >= whole {
            return Ok(done);
        }
    }
}

/// Where builds and corpora are.
fn folder() -> PathBuf {
    workspace::target().join("fuzz")
}

/// The targets of these names, in their own order; all for none.
fn choose(all: Vec<Target>, names: &[String]) -> anyhow::Result<Vec<Target>> {
    for name in names {
        let known: Vec<_> = all.iter().map(|target| target.name.as_str()).collect();
        ensure!(known.contains(&name.as_str()), "there is no target `{name}`; there are {}", known.join(", "));
    }
    let is_chosen = |target: &Target| names.is_empty() || names.contains(&target.name);
    Ok(all.into_iter().filter(is_chosen).collect())
}

/// The table of what ran now, and every find with the command that repeats it; an error if there is one.
fn conclude(done: &[Run]) -> anyhow::Result<()> {
    if !done.is_empty() {
        print!("\n{}", runs::table_of(done));
    }
    let finds: Vec<_> = done.iter().flat_map(|run| run.finds.iter().map(|find| (&run.target, find))).collect();
    for (target, find) in &finds {
        println!("{find}\n    cargo run -p dsmil-fuzz --bin fuzz-corpus -- run {target} {find}");
    }
    if !finds.is_empty() {
        bail!("{} found: mend it, and keep the input as fuzz/regressions/TARGET/NAME-OF-THE-FAULT", finds.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_chosen_by_name_and_a_name_that_is_none_lists_those_there_are() {
        let all = || ["a", "b"].map(|name| Target { name: name.into(), max_len: 1, what: String::new() }).into();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let chosen = |wanted: &[&str]| choose(all(), &names(wanted)).map(|found| found.len());
        assert_eq!((chosen(&[]).unwrap(), chosen(&["b"]).unwrap()), (2, 1));
        assert!(chosen(&["c"]).unwrap_err().to_string().contains("there are a, b"));
    }
}
