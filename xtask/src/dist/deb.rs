//! `.deb` packages, by dpkg-deb.
//!
//! Source: Debian Policy 4.6.2, chapters 5 (control files), 6 (maintainer scripts) and 12 (documents).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use super::contents::{self, Job};
use super::packages::Package;
use super::release::{MAINTAINER, REVISION, Release};
use super::staging::{Entry, Layout};
use crate::{cargo, elf, workspace};

/// Where scripts are.
const FOLDER: &str = "packaging/deb";
/// The scripts of a package with units.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Older ones do not know all that the units ask for: `ProcSubset=` came with 247 (Debian 11 has it).
const SYSTEMD: &str = "systemd (>= 247)";

/// Makes a package; says what it is called.
pub(super) fn build(job: &Job<'_>) -> anyhow::Result<PathBuf> {
    let Job { package, release, folder, staging, .. } = *job;
    let mut layout = contents::lay_out(job, &staging.join("deb").join(package.name))?;
    layout.compressed(&format!("{}/changelog.Debian", package.documents()), changelog(package, release)?.as_bytes())?;
    let overrides = overrides(package, release)?;
    layout.file(&format!("usr/share/lintian/overrides/{}", package.name), overrides.as_bytes(), 0o644)?;
    write_control(job, &layout)?;
    layout.date(release.time_s)?;

    let name = PathBuf::from(format!("{}_{}_{}.deb", package.name, version(release), release.machine.debian));
    let mut pack = Command::new("dpkg-deb");
    // What every dpkg can read; for drills, what is quick.
    pack.args(if release.debug { ["-Zgzip", "-z1"] } else { ["-Zxz", "-z6"] });
    pack.args(["--root-owner-group", "--build"]).arg(layout.root()).arg(folder.join(&name));
    // It takes the time of nothing in the package to be later than this, and lists files in one order.
    cargo::output(pack.env("SOURCE_DATE_EPOCH", release.time_s.to_string()))?;
    Ok(name)
}

fn version(release: &Release) -> String {
    format!("{}-{REVISION}", release.version)
}

/// What dpkg reads before it unpacks anything.
fn write_control(job: &Job<'_>, layout: &Layout) -> anyhow::Result<()> {
    let Job { package, release, .. } = job;
    let folder = layout.root().join("DEBIAN");
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |name: &str, text: &str, mode: u32| {
        let path = folder.join(name);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .with_context(|| format!("cannot write {}", path.display()))
    };
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    write("control", &control(package, release, &libraries(job)?, layout.entries()), 0o644)?;
    write("md5sums", &md5sums(layout)?, 0o644)?;
    for script in SCRIPTS {
        if let Some(text) = package.script(FOLDER, script)? {
            write(script, &text, 0o755)?;
        }
    }
    Ok(())
}

/// What lintian is not to complain of; the reasons stay in the repository.
fn overrides(package: &Package, release: &Release) -> anyhow::Result<String> {
    let read = |name: &str| {
        let path = workspace::root().join("packaging").join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let always = package.lines_of(&read("lintian-overrides")?);
    let profile = if release.debug { "debug" } else { "release" };
    Ok(always + &package.lines_of(&read(&format!("lintian-overrides.{profile}"))?))
}

/// The packages of the libraries that its program is linked with.
fn libraries(job: &Job<'_>) -> anyhow::Result<Vec<String>> {
    if job.package.is_static {
        return Ok(Vec::new());
    }
    let glibc = elf::glibc(&job.folder.join(job.package.name))?;
    Ok(vec![format!("libc6 (>= {glibc})"), "libgcc-s1".to_owned()])
}

fn control(package: &Package, release: &Release, libraries: &[String], entries: &[Entry]) -> String {
    let mut fields = vec![
        ("Package", package.name.to_owned()),
        ("Version", version(release)),
        ("Architecture", release.machine.debian.to_owned()),
        ("Maintainer", MAINTAINER.to_owned()),
        ("Installed-Size", installed_kib(entries).to_string()),
    ];
    let systemd = (!package.files().is_empty()).then(|| SYSTEMD.to_owned());
    let others = package.depends.iter().map(|other| (*other).to_owned());
    let depends: Vec<String> = systemd.into_iter().chain(libraries.iter().cloned()).chain(others).collect();
    if !depends.is_empty() {
        fields.push(("Depends", depends.join(", ")));
    }
    if !package.recommends.is_empty() {
        fields.push(("Recommends", package.recommends.join(", ")));
    }
    if !package.suggests.is_empty() {
        fields.push(("Suggests", package.suggests.join(", ")));
    }
    fields.push(("Section", "admin".to_owned()));
    fields.push(("Priority", "optional".to_owned()));
    let lines =
        package.description.iter().map(|line| if line.is_empty() { " .".to_owned() } else { format!(" {line}") });
    let description: Vec<_> = std::iter::once(package.summary.to_owned()).chain(lines).collect();
    fields.push(("Description", description.join("\n")));
    fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

/// As policy 5.6.20 counts it: files in whole KiB, and one for anything else.
fn installed_kib(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.size.map_or(1, |bytes| bytes.div_ceil(1024))).sum()
}

/// Damage is told from change by these, `dpkg --verify` says; nobody trusts them.
fn md5sums(layout: &Layout) -> anyhow::Result<String> {
    let files = layout.entries().iter().filter(|entry| entry.size.is_some()).map(|entry| &entry.path);
    // Lines that end in NUL, since in other lines a backslash in a name would be escaped, and dpkg takes names as they are.
    let sums = cargo::output(Command::new("md5sum").args(["--zero", "--"]).args(files).current_dir(layout.root()))?;
    Ok(sums.replace('\0', "\n"))
}

/// One entry: what changed is in CHANGELOG.md, which is in the package as well.
fn changelog(package: &Package, release: &Release) -> anyhow::Result<String> {
    let mut date = Command::new("date");
    date.args(["--utc", "--rfc-email", &format!("--date=@{}", release.time_s)]).env("LC_ALL", "C");
    let (date, version) = (cargo::output(&mut date)?, version(release));
    Ok(format!(
        "{} ({version}) unstable; urgency=medium\n\n  * Release {}; changelog.gz says what is new.\n\n -- {MAINTAINER}  {}\n",
        package.name,
        release.version,
        date.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::packages::PACKAGES;

    #[test]
    fn control_has_what_policy_asks_for() {
        let release = Release::of(None, false, None).unwrap();
        let entries = [
            Entry { path: "etc/dsmil".into(), mode: 0o755, size: None },
            Entry { path: "usr/bin/x".into(), mode: 0o755, size: Some(1025) },
        ];
        let text = control(&PACKAGES[0], &release, &[], &entries);
        assert!(
            text.contains("\nInstalled-Size: 3\n") && text.contains("\nRecommends: dsmil-probe, dsmilctl\n"),
            "{text}"
        );
        let probe = control(&PACKAGES[1], &release, &["libc6 (>= 2.34)".to_owned()], &entries);
        assert!(probe.contains("\nDepends: systemd (>= 247), libc6 (>= 2.34), dsmil-agent\n"), "{probe}");
        assert!(text.contains(&format!("\nVersion: {}-1\n", workspace::VERSION)), "{text}");
        assert!(text.ends_with('\n') && !text.contains("\n\n"), "an empty line would end the paragraph: {text}");
    }

    #[test]
    fn no_name_is_left_open_in_a_script() {
        for package in &PACKAGES {
            for script in SCRIPTS {
                let Some(text) = package.script(FOLDER, script).unwrap() else { continue };
                assert!(!text.replace("dsmil-probe@", "").contains('@'), "{script}: {text}");
                let named = format!("'{}.service'", package.name);
                assert!(package.daemon.is_none() || text.contains(&named), "{script}: {text}");
            }
        }
    }
}
