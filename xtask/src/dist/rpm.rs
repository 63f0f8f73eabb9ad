//! `.rpm` packages, by rpmbuild.
//!
//! Source: the manual of rpm 4.18, "Spec file syntax" and "Scriptlets", <https://rpm-software-management.github.io/rpm/manual/>.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::contents::{self, Job};
use super::packages::Package;
use super::release::{MAINTAINER, REVISION, Release};
use super::staging::Entry;
use crate::{cargo, elf};

/// Where scripts are.
const FOLDER: &str = "packaging/rpm";
/// The scripts of a package with units.
const SCRIPTS: [&str; 3] = ["post", "preun", "postun"];

/// Older ones do not know all that the units ask for: `ProcSubset=` came with 247.
const SYSTEMD: &str = "systemd >= 247";

/// Makes a package; says what it is called.
pub(super) fn build(job: &Job<'_>) -> anyhow::Result<PathBuf> {
    let Job { package, release, folder, staging, .. } = *job;
    let top = staging.join("rpm").join(package.name);
    let layout = contents::lay_out(job, &top.join("layout"))?;
    let spec = top.join(format!("{}.spec", package.name));
    let text = spec_file(job, layout.entries(), layout.root())?;
    fs::write(&spec, text).with_context(|| format!("cannot write {}", spec.display()))?;

    let mut pack = Command::new("rpmbuild");
    pack.args(["-bb", "--quiet", "--target", release.machine.rpm]);
    for (name, value) in settings(release) {
        pack.args(["--define", &format!("{name} {value}")]);
    }
    pack.args(["--define", &format!("_topdir {}", top.display())]);
    pack.args(["--define", &format!("_rpmdir {}", folder.display())]);
    cargo::output(pack.arg(&spec).env("SOURCE_DATE_EPOCH", release.time_s.to_string()))?;
    Ok(PathBuf::from(format!("{}-{}-{REVISION}.{}.rpm", package.name, release.version, release.machine.rpm)))
}

/// What rpmbuild is to do otherwise than a distribution's own build.
fn settings(release: &Release) -> [(&'static str, &'static str); 10] {
    [
        // Not in a folder of the machine's.
        ("_build_name_fmt", "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"),
        // Two builds give the same bytes: no clock, no host's name; no file is younger than the release.
        ("use_source_date_epoch_as_buildtime", "1"),
        ("clamp_mtime_to_source_date_epoch", "1"),
        ("source_date_epoch_from_changelog", "0"),
        ("_buildhost", "dsmil.invalid"),
        // The programs are packed as they were built: not stripped, not taken apart.
        ("__os_install_post", "%{nil}"),
        ("debug_package", "%{nil}"),
        ("_build_id_links", "none"),
        // What every rpm can read; for drills, what is quick.
        ("_binary_payload", if release.debug { "w1.gzdio" } else { "w6.xzdio" }),
        // A folder that the package does not own is the system's: nothing to complain of.
        ("_unpackaged_files_terminate_build", "1"),
    ]
}

fn spec_file(job: &Job<'_>, entries: &[Entry], layout: &Path) -> anyhow::Result<String> {
    let Job { package, release, .. } = job;
    let mut spec = format!(
        "Name: {}\nVersion: {}\nRelease: {REVISION}\nSummary: {}\nLicense: Apache-2.0\nPackager: {MAINTAINER}\n",
        package.name,
        release.version,
        capitalised(package.summary),
    );
    // Static programs need no library, and the generators of such lists would look for some.
    spec.push_str("AutoReqProv: no\n");
    if !package.is_static {
        let glibc = elf::glibc(&job.folder.join(package.name))?;
        spec.push_str(&format!("Requires: libc.so.6(GLIBC_{glibc})(64bit)\nRequires: libgcc_s.so.1()(64bit)\n"));
    }
    package.depends.iter().for_each(|other| spec.push_str(&format!("Requires: {other}\n")));
    if !package.files().is_empty() {
        // There before its own scripts run, too, where an image is made of nothing.
        spec.push_str(&format!("Requires: {SYSTEMD}\nRequires(post): {SYSTEMD}\n"));
    }
    package.recommends.iter().for_each(|other| spec.push_str(&format!("Recommends: {other}\n")));
    package.suggests.iter().for_each(|other| spec.push_str(&format!("Suggests: {other}\n")));
    spec.push_str(&format!("\n%description\n{}\n", package.description.join("\n")));
    spec.push_str(&format!("\n%install\ncp -a {}/. %{{buildroot}}/\n\n%files\n", layout.display()));
    entries.iter().for_each(|entry| spec.push_str(&files_line(package, entry)));
    for script in SCRIPTS {
        if let Some(text) = filled(package, script)? {
            spec.push_str(&format!("\n%{script}\n{text}"));
        }
    }
    spec.push_str(&changelog(release)?);
    Ok(spec)
}

/// How %files names a file or folder. A backslash would escape what follows it; `?` stands for any one character.
fn files_line(package: &Package, entry: &Entry) -> String {
    let kind = match entry.size {
        None => "%dir ",
        Some(_) if entry.path.starts_with(&package.documents()) => "%doc ",
        Some(_) => "",
    };
    format!("{kind}%attr({:04o},root,root) /{}\n", entry.mode, entry.path.replace('\\', "?"))
}

/// A script, its percent signs kept from being macros.
fn filled(package: &Package, script: &str) -> anyhow::Result<Option<String>> {
    Ok(package.script(FOLDER, script)?.map(|text| text.replace('%', "%%")))
}

fn capitalised(summary: &str) -> String {
    let mut rest = summary.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

/// One entry: what changed is in CHANGELOG.md, which is in the package as well.
fn changelog(release: &Release) -> anyhow::Result<String> {
    let mut date = Command::new("date");
    date.args(["--utc", "+%a %b %d %Y", &format!("--date=@{}", release.time_s)]).env("LC_ALL", "C");
    let (date, version) = (cargo::output(&mut date)?, &release.version);
    Ok(format!(
        "\n%changelog\n* {} {MAINTAINER} - {version}-{REVISION}\n- Release {version}; changelog.gz says what is new.\n",
        date.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::packages::PACKAGES;

    #[test]
    fn a_backslash_in_a_name_is_found_and_not_taken_for_an_escape() {
        let unit = Entry { path: r"usr/lib/a\x2db.mount".into(), mode: 0o644, size: Some(1) };
        assert_eq!(files_line(&PACKAGES[0], &unit), "%attr(0644,root,root) /usr/lib/a?x2db.mount\n");
        let folder = Entry { path: "etc/dsmil".into(), mode: 0o755, size: None };
        assert_eq!(files_line(&PACKAGES[0], &folder), "%dir %attr(0755,root,root) /etc/dsmil\n");
    }

    #[test]
    fn no_name_is_left_open_in_a_script() {
        for package in &PACKAGES {
            for script in SCRIPTS {
                let Some(text) = filled(package, script).unwrap() else { continue };
                assert!(!text.replace("dsmil-probe@", "").contains('@'), "{script}: {text}");
            }
        }
    }
}
