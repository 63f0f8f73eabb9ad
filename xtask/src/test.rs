//! `cargo xtask test`: the tree checked and the tests run, cheap things first.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use clap::Args as ClapArgs;

use crate::cargo::cargo;
use crate::step::Steps;
use crate::tidy;
use crate::{debian, docs, previous, probe, tools, tree, workspace};

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Run the long drills too (tests named long_…); takes two hours or so, one of them of load, and root.
    #[arg(long)]
    long: bool,
    /// For cargo-nextest: part of a test's name, `-p CRATE`, `-E EXPRESSION`; with any of these only tests run.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    filters: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    tools::ensure(&[tools::C_COMPILER, tools::NEXTEST, tools::PROMTOOL, tools::NODE_EXPORTER])?;
    if !names_packages(&args.filters) {
        tools::ensure(&tools::PEERS)?;
        tools::ensure(&[tools::SCHEMATHESIS])?;
    }
    let mut steps = Steps::new();
    if args.filters.is_empty() {
        cheap_checks(&mut steps, args.long)?;
        steps.loud("clippy", &mut cargo(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]));
        steps.quiet("rustdoc", &mut docs::rustdoc());
        steps.stage()?;
    }
    if args.long && args.filters.is_empty() {
        with_liboqs(&mut steps)?;
    }
    run_tests(&mut steps, args)?;
    if args.filters.is_empty() {
        doc_tests(&mut steps)?;
        // The program that has just been built: asking cargo for it alone would build its dependencies with other features.
        steps.quiet(
            "docs",
            Command::new(workspace::program("debug", docs::GENERATOR)).arg("--check").current_dir(workspace::root()),
        );
        steps.stage()?;
    }
    println!("\n{}", steps.summary());
    Ok(())
}

/// What takes seconds; all of it runs, so that one round tells everything.
fn cheap_checks(steps: &mut Steps, long: bool) -> anyhow::Result<()> {
    steps.check("tidy", || Ok(tidy::violations()?.iter().map(ToString::to_string).collect()));
    steps.quiet("fmt", &mut cargo(["fmt", "--all", "--check", "--", "--files-with-diff"]));
    if long {
        tools::ensure(&[tools::DENY])?;
    }
    if tools::DENY.find().is_some() {
        // Advisories are left out: they change without us, so the same commit would pass today and fail tomorrow.
        steps.quiet("deny", &mut cargo(["deny", "check", "bans", "licenses", "sources"]));
    } else {
        steps.skip("deny", "cargo-deny is not here; `cargo xtask test --long` installs it");
    }
    steps.stage()
}

/// The second implementation: its own tests, and the programs built with it, for the tests of whole fleets to put at one end.
fn with_liboqs(steps: &mut Steps) -> anyhow::Result<()> {
    tools::ensure(&tools::LIBOQS)?;
    steps.loud("liboqs tests", &mut cargo(["nextest", "run", "-p", "dsmil-crypto", "--features", "oqs"]));
    let features = "dsmil-agent/oqs,dsmil-aggregator/oqs";
    let mut build = cargo(["build", "-p", "dsmil-agent", "-p", "dsmil-aggregator", "--features", features]);
    steps.loud("liboqs build", &mut build);
    steps.stage()?;
    // Put aside before the programs of the same names are built without it.
    fs::create_dir_all(liboqs_builds())?;
    for program in ["dsmil-agent", "dsmil-aggregator"] {
        fs::copy(workspace::program("debug", program), liboqs_builds().join(program))?;
    }
    Ok(())
}

/// Where the programs are that were built with liboqs.
fn liboqs_builds() -> PathBuf {
    workspace::target().join("oqs")
}

/// Builds everything at once, then runs it.
fn run_tests(steps: &mut Steps, args: &Args) -> anyhow::Result<()> {
    let mut nextest = cargo(["nextest", "run"]);
    if !names_packages(&args.filters) {
        // The same packages and kinds as the run needs, and the programs that whole-fleet tests start: one set of
        // features, so that no dependency is compiled twice.
        steps.loud("build", &mut cargo(["build", "--workspace", "--bins", "--tests"]));
        steps.stage()?;
        nextest.arg("--workspace").env("DSMIL_PROBE", probe::build("debug")?);
        if args.long {
            let machine = Machine::make(steps)?;
            nextest.env("DSMIL_DEBIAN", machine.debian).env("DSMIL_PACKAGES", machine.packages);
            nextest.env("DSMIL_PACKAGES_BEFORE", machine.before);
            tools::ensure(&[tools::CYCLONEDX, tools::PROMETHEUS])?;
            nextest.envs(tools::CYCLONEDX.find().map(|tool| ("DSMIL_CYCLONEDX", tool)));
        }
    }
    if args.long {
        nextest.args(["--profile", "long"]).env("DSMIL_LONG", "1").env("DSMIL_OQS", liboqs_builds());
    }
    if let Some(prometheus) = tools::PROMETHEUS.find().filter(|_| args.long) {
        nextest.env("DSMIL_PROMETHEUS", prometheus);
    }
    if let Some(promtool) = tools::PROMTOOL.find() {
        nextest.env("DSMIL_PROMTOOL", promtool);
    }
    if let Some(exporter) = tools::NODE_EXPORTER.find() {
        nextest.env("DSMIL_NODE_EXPORTER", exporter);
    }
    if let Some(node) = tools::NODE.find() {
        nextest.env("DSMIL_NODE", node);
    }
    if let Some(schemathesis) = tools::SCHEMATHESIS.find() {
        nextest.env("DSMIL_SCHEMATHESIS", schemathesis);
    }
    steps.loud("tests", nextest.args(&args.filters));
    steps.stage()
}

/// What the drills of packages and units boot, and what they install in it.
struct Machine {
    debian: PathBuf,
    packages: PathBuf,
    /// Those of the commit before, which an upgrade begins with.
    before: PathBuf,
}

impl Machine {
    /// Of the programs that have just been built.
    fn make(steps: &mut Steps) -> anyhow::Result<Self> {
        let (debian, before) = (debian::tree()?, previous::packages()?);
        // By cargo and not by this very program, which may have been built anew meanwhile.
        steps.loud("packages", &mut cargo(["xtask", "dist", "--debug"]));
        steps.stage()?;
        Ok(Self { debian, packages: workspace::target().join("dist-debug"), before })
    }
}

/// Whether the filters choose packages that need no other package's programs, so that the rest need not even be built.
fn names_packages(filters: &[String]) -> bool {
    let whole_fleets = filters.iter().any(|filter| filter.ends_with("e2e"));
    !whole_fleets
        && filters
            .iter()
            .any(|filter| matches!(filter.as_str(), "-p" | "--package") || filter.starts_with("--package="))
}

/// Examples in doc comments; without any, cargo would still spend a link per crate to find that out.
fn doc_tests(steps: &mut Steps) -> anyhow::Result<()> {
    let rust = tree::files(workspace::root())?.into_iter().filter(|path| path.ends_with(".rs"));
    let any = rust
        .filter_map(|path| fs::read_to_string(workspace::root().join(path)).ok())
        .any(|text| has_doc_example(&text));
    if any {
        steps.loud("doc tests", &mut cargo(["test", "--doc", "--workspace"]));
        steps.stage()?;
    }
    Ok(())
}

/// Whether a doc comment opens a code block that rustdoc would compile.
fn has_doc_example(text: &str) -> bool {
    let mut inside = false;
    for line in text.lines().map(str::trim_start) {
        let Some(fence) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim_start) else {
            inside = false;
            continue;
        };
        if let Some(info) = fence.strip_prefix("```") {
            let first = info.split([',', ' ']).next().unwrap_or_default();
            if !inside && matches!(first, "" | "rust" | "no_run" | "should_panic" | "compile_fail") {
                return true;
            }
            inside = !inside;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_of_packages_is_seen() {
        let names = |filters: &[&str]| names_packages(&filters.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>());
        assert!(names(&["-p", "dsmil-agent"]) && names(&["--package=dsmil-store"]));
        assert!(!names(&["-p", "e2e"]), "its tests start the programs of other packages, which must be fresh");
        assert!(!names(&["spool"]) && !names(&[]));
    }

    #[test]
    fn doc_examples_are_told_from_other_blocks() {
        assert!(has_doc_example("/// As in:\n/// ```\n/// one();\n/// ```\nfn one() {}"));
        assert!(has_doc_example("//! ```no_run\n//! one();\n//! ```"));
        assert!(!has_doc_example("/// ```text\n/// a → b\n/// ```\nfn one() {}"), "the closing fence opens nothing");
        assert!(!has_doc_example("let s = \"```\";"));
    }
}
