//! What every program says to `--help`.

use super::Page;
use anyhow::{Context, ensure};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// The programs of a user, and what they are called on the command line.
const PROGRAMS: [(&str, &str); 4] = [
    ("dsmil-agent", "dsmil-agent"),
    ("dsmil-aggregator", "dsmil-aggregator"),
    ("dsmilctl", "dsmilctl"),
    ("xtask", "cargo xtask"),
];
/// Verbs have verbs at most so deep.
const MAX_DEPTH: usize = 3;

/// The page of all programs and their verbs.
pub(super) fn page(programs: &Path) -> anyhow::Result<Page> {
    let mut body = String::new();
    for (file, name) in PROGRAMS {
        describe(&programs.join(file), name, &mut Vec::new(), &mut body)?;
    }
    // An ordinary build has no such program: it is linked in another way.
    section("dsmil-probe", 0, &trimmed(&dsmil_probe::command().render_long_help().to_string()), &mut body);
    let introduction = "What each program and each of its verbs says to `--help`.";
    Ok(Page::markdown("commands.md", "Commands", introduction, &body))
}

fn describe(program: &Path, name: &str, verbs: &mut Vec<String>, out: &mut String) -> anyhow::Result<()> {
    let help = help(program, verbs)?;
    let title = [&[name.to_owned()], verbs.as_slice()].concat().join(" ");
    section(&title, verbs.len(), &help, out);
    ensure!(verbs.len() < MAX_DEPTH, "{title} has verbs within verbs within verbs");
    for verb in subcommands(&help) {
        verbs.push(verb);
        describe(program, name, verbs, out)?;
        verbs.pop();
    }
    Ok(())
}

fn section(title: &str, depth: usize, help: &str, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{} {title}\n\n```text\n{}\n```\n\n", "#".repeat(2 + depth), help.trim_end());
}

fn help(program: &Path, verbs: &[String]) -> anyhow::Result<String> {
    // Without the environment: clap shows the values of variables that are set.
    let output = Command::new(program).args(verbs).arg("--help").env_clear().output();
    let output = output
        .with_context(|| format!("cannot start {}; `cargo build --workspace --bins` builds it", program.display()))?;
    ensure!(output.status.success(), "{} {} --help failed", program.display(), verbs.join(" "));
    let text = String::from_utf8(output.stdout).context("help is text")?;
    Ok(trimmed(&text))
}

/// clap leaves the spaces of its indentation on empty lines.
fn trimmed(help: &str) -> String {
    help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The verbs that a help text lists, `help` itself left out.
fn subcommands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_found() {
        let help = "X.\n\nUsage: x <COMMAND>\n\nCommands:\n  run    Run it.\n  check  Look\n         at it.\n  help   Print this\n\nOptions:\n  -h, --help";
        assert_eq!(subcommands(help), ["run", "check"]);
        assert!(subcommands("Usage: x\n\nOptions:\n  -h").is_empty());
    }
}
