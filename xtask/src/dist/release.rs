//! Which release is made: its version, its time, its machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::{cargo, workspace};

/// The packages' own revision, after the version of what is in them.
pub(super) const REVISION: &str = "1";

/// Who makes the packages. There is no address yet that anybody reads, and none is made up: `.invalid` says so (RFC 2606).
pub(super) const MAINTAINER: &str = "DSMIL Fleet <packages@dsmil.invalid>";

/// One release, in all of its packages.
#[derive(Debug)]
pub(super) struct Release {
    /// The workspace's version, with the suffix.
    pub(super) version: String,
    /// When its commit was made, as Unix seconds: the time of everything in a package (`SOURCE_DATE_EPOCH`,
    /// <https://reproducible-builds.org/specs/source-date-epoch/>).
    pub(super) time_s: u64,
    /// For drills: debug programs, packed quickly.
    pub(super) debug: bool,
    /// What the machine is called.
    pub(super) machine: Machine,
    /// The public key that its signatures are checked with; an unsigned one has none.
    pub(super) key: Option<PathBuf>,
}

/// What the machine is called that programs are built for and on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// By Debian.
    pub(super) debian: &'static str,
    /// By rpm.
    pub(super) rpm: &'static str,
}

impl Release {
    pub(super) fn of(suffix: Option<&Suffix>, debug: bool, key: Option<&Path>) -> anyhow::Result<Self> {
        let suffix = suffix.map_or("", |suffix| suffix.0.as_str());
        // The mark first: suffixes then order packages for drills as they order releases.
        let mark = if debug { "~debug" } else { "" };
        let version = format!("{}{mark}{suffix}", workspace::VERSION);
        Ok(Self { version, time_s: time_s()?, debug, machine: machine()?, key: key.map(Path::to_owned) })
    }
}

/// What is added to a version. Debian and rpm compare versions alike as long as only this is in them.
#[derive(Clone, Debug)]
pub(super) struct Suffix(String);

impl std::str::FromStr for Suffix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        ensure!(text.starts_with(['~', '+']), "begin it with ~ (before the release) or + (after it)");
        let odd = text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '~' | '+'));
        if let Some(odd) = odd {
            bail!("{odd:?} may not be in a version: letters, digits and . ~ + may");
        }
        Ok(Self(text.to_owned()))
    }
}

/// The time of the last commit, or what the environment says.
fn time_s() -> anyhow::Result<u64> {
    let said = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(said) => said,
        Err(_) => {
            let args = ["-c", "safe.directory=*", "log", "-1", "--format=%ct"];
            cargo::output(Command::new("git").args(args).current_dir(workspace::root()))
                .context("the time of the last commit is not known: set SOURCE_DATE_EPOCH to Unix seconds")?
        }
    };
    said.trim().parse().with_context(|| format!("{:?} are no Unix seconds", said.trim()))
}

fn machine() -> anyhow::Result<Machine> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(Machine { debian: "amd64", rpm: "x86_64" }),
        other => bail!("nobody has said yet what packages for {other} are called; see {}", file!()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_is_what_both_formats_take() {
        for good in ["~git20261122.053a891", "+fix.1", "~rc1"] {
            assert!(good.parse::<Suffix>().is_ok(), "{good}");
        }
        for bad in ["", "rc1", "~rc-1", "~a b", "~a/b", "~a_b", "~é"] {
            assert!(bad.parse::<Suffix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn packages_for_drills_are_older_than_the_release() {
        let release = Release::of(None, true, None).unwrap();
        assert_eq!(release.version, format!("{}~debug", workspace::VERSION));
        let earlier = Release::of(Some(&"~previous".parse().unwrap()), true, None).unwrap();
        // Both formats sort a tilde before the end.
        assert_eq!(earlier.version.strip_prefix(&release.version), Some("~previous"));
    }
}
