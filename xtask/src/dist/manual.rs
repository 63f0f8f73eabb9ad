//! A program's manual page, from the generated page of all commands (docs/generated/commands.md), which is never stale.
//!
//! Source: man-pages(7), groff_man(7).

use std::fs;
use std::process::Command;

use anyhow::Context;

use super::packages::Package;
use super::release::Release;
use crate::{cargo, workspace};

const COMMANDS: &str = "docs/generated/commands.md";

/// The page of section 1.
pub(super) fn page(package: &Package, release: &Release) -> anyhow::Result<String> {
    let commands = fs::read_to_string(workspace::root().join(COMMANDS))
        .with_context(|| format!("cannot read {COMMANDS}; `cargo xtask docs` writes it"))?;
    let mut date = Command::new("date");
    date.args(["--utc", "+%Y-%m-%d", &format!("--date=@{}", release.time_s)]);
    let helps = helps(&commands, package.name);
    let (_, first) = helps.first().with_context(|| format!("{COMMANDS} says nothing of {}", package.name))?;
    let usage = first.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or(package.name);

    let mut page = format!(
        ".TH {} 1 {} \"DSMIL Fleet {}\" \"DSMIL Fleet\"\n",
        package.name.to_uppercase().replace('-', "\\-"),
        cargo::output(&mut date)?.trim(),
        release.version
    );
    page.push_str(&format!(".SH NAME\n{} \\- {}\n", escaped(package.name), escaped(package.summary)));
    page.push_str(&format!(".SH SYNOPSIS\n{}\n.SH DESCRIPTION\n", escaped(usage)));
    for line in package.description {
        page.push_str(&if line.is_empty() { ".PP\n".into() } else { format!("{}\n", escaped(line)) });
    }
    page.push_str(".SH COMMANDS\nWhat each of them says to \\-\\-help.\n");
    for (title, help) in helps {
        page.push_str(&format!(".SS {}\n.EX\n", escaped(title)));
        help.lines().for_each(|line| page.push_str(&format!("{}\n", escaped(line))));
        page.push_str(".EE\n");
    }
    page.push_str(&format!(".SH SEE ALSO\n/{}/installation.md\n", escaped(&package.documents())));
    Ok(page)
}

/// The headings of a program and its verbs, and what stands below each.
fn helps<'a>(commands: &'a str, program: &str) -> Vec<(&'a str, &'a str)> {
    let sections = commands.split("\n## ").flat_map(|part| part.split("\n### ")).flat_map(|part| part.split("\n#### "));
    let helps = sections.filter_map(|section| {
        let (title, rest) = section.split_once('\n')?;
        let (help, _) = rest.split_once("```text\n")?.1.split_once("\n```")?;
        Some((title, help))
    });
    helps.filter(|(title, _)| title.split(' ').next() == Some(program)).collect()
}

/// Text in which nothing is a request or an escape, and a hyphen is one that can be copied into a shell.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::packages::PACKAGES;

    #[test]
    fn a_page_has_every_verb_of_its_program_and_of_no_other() {
        let release = Release::of(None, false, None).unwrap();
        for package in PACKAGES.iter().filter(|package| package.is_command()) {
            let page = page(package, &release).unwrap();
            let titles: Vec<_> = page.lines().filter_map(|line| line.strip_prefix(".SS ")).collect();
            assert!(titles.len() > 2, "{titles:?}");
            assert!(titles.iter().all(|title| title.starts_with(&escaped(package.name))), "{titles:?}");
            assert_eq!(page.matches(".EX").count(), page.matches(".EE").count());
        }
    }

    #[test]
    fn nothing_in_a_help_text_is_a_request() {
        assert_eq!(escaped(".SH \\fB"), "\\&.SH \\efB");
        assert_eq!(escaped("'x --y"), "\\&'x \\-\\-y");
    }
}
