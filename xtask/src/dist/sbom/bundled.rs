//! Parts of a program that are no crates: C libraries within crates, and what the toolchain links.

use std::fs;
use std::process::Command;

use anyhow::Context;

use super::crates::{Known, Linked};
use super::{Component, license};
use crate::cargo;

/// A C library that a crate compiles.
struct Bundled {
    /// The crate.
    within: &'static str,
    name: &'static str,
    license: &'static str,
    version: Version,
}

/// Where its version stands.
enum Version {
    /// As text in a header of the crate.
    Header { file: &'static str, name: &'static str },
    /// Behind this, in the crate's own version.
    Build(&'static str),
}

const BUNDLED: [Bundled; 3] = [
    Bundled {
        within: "libsqlite3-sys",
        name: "sqlite",
        license: "blessing",
        version: Version::Header { file: "sqlite3/sqlite3.h", name: "SQLITE_VERSION" },
    },
    Bundled {
        within: "zstd-sys",
        name: "zstd",
        license: "BSD-3-Clause OR GPL-2.0-only",
        version: Version::Build("+zstd."),
    },
    Bundled {
        within: "aws-lc-sys",
        name: "aws-lc",
        license: "ISC AND (Apache-2.0 OR ISC)",
        version: Version::Header { file: "aws-lc/include/openssl/base.h", name: "AWSLC_VERSION_NUMBER_STRING" },
    },
];

/// All such parts of a program, each with the reference of what needs it.
pub(super) fn components(linked: &Linked, known: &Known) -> anyhow::Result<Vec<(String, Component)>> {
    let mut found = Vec::new();
    for library in &BUNDLED {
        for of in linked.crates.iter().filter(|of| of.name == library.within) {
            let version = match &library.version {
                Version::Build(before) => of.version.split_once(before).map(|(_, version)| version.to_owned()),
                Version::Header { file, name } => {
                    let path = known.folder(of)?.join(file);
                    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                    defined(&text, name)
                }
            };
            let version = version.with_context(|| format!("{} does not say its version", library.name))?;
            found.push((of.reference(), generic(library.name, &version, library.license)));
        }
    }
    found.push((linked.root.clone(), generic("glibc", &glibc()?, "LGPL-2.1-or-later")));
    found.push((linked.root.clone(), generic("rust-std", &rust()?, "MIT OR Apache-2.0")));
    Ok(found)
}

fn generic(name: &str, version: &str, license_text: &str) -> Component {
    Component {
        kind: "library",
        reference: format!("{name}@{version}"),
        name: name.into(),
        version: version.into(),
        hashes: vec![],
        licenses: license(license_text),
        purl: Some(format!("pkg:generic/{name}@{}", version.replace('+', "%2B"))),
    }
}

/// The text that a header defines a name as.
fn defined(header: &str, name: &str) -> Option<String> {
    let mut lines = header.lines().filter_map(|line| line.strip_prefix("#define ")?.strip_prefix(name));
    lines.find_map(|rest| Some(rest.trim().strip_prefix('"')?.split_once('"')?.0.to_owned()))
}

/// The version of the C library that is linked: Debian's where this is Debian, since it has fixes that the number alone hides.
fn glibc() -> anyhow::Result<String> {
    let debian = cargo::output(Command::new("dpkg-query").args(["--show", "--showformat=${Version}", "libc6-dev"]));
    if let Ok(version) = debian {
        return Ok(version.trim().to_owned());
    }
    let text = cargo::output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    Ok(text.trim().trim_start_matches("glibc ").to_owned())
}

fn rust() -> anyhow::Result<String> {
    let text = cargo::output(Command::new("rustc").arg("--version").current_dir(crate::workspace::root()))?;
    Ok(text.split(' ').nth(1).context("rustc does not say its version")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_a_header() {
        let header = "#define X_VERSION_NUMBER 3\n#define X_VERSION        \"3.54.1\"\n";
        assert_eq!(defined(header, "X_VERSION").as_deref(), Some("3.54.1"));
        assert_eq!(defined(header, "Y_VERSION"), None);
    }
}
