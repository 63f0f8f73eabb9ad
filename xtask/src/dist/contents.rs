//! What both formats of a package have: program, units, documents, manual page.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::manual;
use super::packages::Package;
use super::release::Release;
use super::staging::Layout;
use crate::workspace;

/// Where the repository has what goes beside every program.
const COPYRIGHT: &str = "packaging/copyright";
const INSTALLATION: &str = "docs/installation.md";
const CHANGELOG: &str = "CHANGELOG.md";

/// A package that is to be made.
pub(super) struct Job<'a> {
    pub(super) package: &'a Package,
    pub(super) release: &'a Release,
    /// Where the programs are, and where the packages go.
    pub(super) folder: &'a Path,
    /// Where packages are laid out.
    pub(super) staging: &'a Path,
    /// The licences of others ([`super::notices`]).
    pub(super) notices: &'a str,
}

/// Lays a package out in `folder`.
pub(super) fn lay_out(job: &Job<'_>, folder: &Path) -> anyhow::Result<Layout> {
    let Job { package, release, .. } = job;
    let mut layout = Layout::new(folder.to_owned())?;
    let root = workspace::root();
    layout.copy(&job.folder.join(package.name), &format!("{}/{}", package.place, package.name), 0o755)?;
    for folder in package.daemon.as_ref().map_or(&[][..], |daemon| daemon.folders) {
        layout.folder(folder)?;
    }
    for file in package.files() {
        layout.copy(&root.join(file.from), file.to, file.mode)?;
    }
    let documents = package.documents();
    layout.folder(&documents)?;
    layout.copy(&root.join(COPYRIGHT), &format!("{documents}/copyright"), 0o644)?;
    layout.copy(&root.join(INSTALLATION), &format!("{documents}/installation.md"), 0o644)?;
    let changes = fs::read(root.join(CHANGELOG)).with_context(|| format!("cannot read {CHANGELOG}"))?;
    layout.compressed(&format!("{documents}/changelog"), &changes)?;
    layout.compressed(&format!("{documents}/third-party-licences.txt"), job.notices.as_bytes())?;
    if let Some(key) = release.key.as_ref().filter(|_| package.keeps_key) {
        layout.folder("usr/share/dsmil")?;
        layout.copy(key, "usr/share/dsmil/release.pub", 0o644)?;
    }
    if package.is_command() {
        let manual = manual::page(package, release)?;
        layout.compressed(&format!("usr/share/man/man1/{}.1", package.name), manual.as_bytes())?;
    }
    layout.date(release.time_s)?;
    Ok(layout)
}
