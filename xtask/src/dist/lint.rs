//! Packages looked over by those who know what is usual: lintian and rpmlint. What is left as it is stands in packaging/.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::release::Release;
use crate::workspace;

/// An error if there is anything to say of the packages in `folder` beyond our exceptions.
pub(super) fn check(release: &Release, folder: &Path, packages: &[PathBuf]) -> anyhow::Result<()> {
    let of_kind = |ending: &str| {
        let those = packages.iter().filter(|path| path.extension().is_some_and(|found| found == ending));
        those.map(|path| folder.join(path)).collect::<Vec<_>>()
    };
    let mut lintian = Command::new("lintian");
    // As root it warns that it is: it reads archives, and these are ours.
    lintian.args(["--allow-root", "--display-info", "--pedantic", "--fail-on", "error,warning,info,pedantic"]);
    // Code and keys read as text have words in them that look misspelt; others in each build.
    lintian.args(["--suppress-tags", "spelling-error-in-binary"]);
    run(lintian.args(of_kind("deb")), "packaging/lintian-overrides")?;

    let mut rpmlint = Command::new("rpmlint");
    let packaging = workspace::root().join("packaging");
    rpmlint.arg("--config").arg(packaging.join("rpmlint.toml"));
    if release.debug {
        rpmlint.arg("--rpmlintrc").arg(packaging.join("rpmlint.debug.rpmlintrc"));
    }
    run(rpmlint.arg("--strict").args(of_kind("rpm")), "packaging/rpmlint.toml")
}

/// An error with what a linter says, unless it has nothing against the packages.
fn run(linter: &mut Command, exceptions: &str) -> anyhow::Result<()> {
    let name = linter.get_program().to_string_lossy().into_owned();
    let output = linter.output().with_context(|| format!("cannot start {name}"))?;
    ensure!(
        output.status.success(),
        "{name} has something to say; mend it, or take it into {exceptions} with the reason:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
