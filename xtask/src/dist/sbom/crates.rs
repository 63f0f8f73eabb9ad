//! Which crates a program links, from cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use serde::Deserialize;

use super::{Component, Edges, hash, license};
use crate::{cargo, workspace};

/// A crate of one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
}

/// What a program is linked of.
#[derive(Debug, Default)]
pub(in super::super) struct Linked {
    /// The program's own crate.
    pub(super) root: String,
    /// All others.
    pub(in super::super) crates: BTreeSet<Crate>,
    /// Which needs which, by reference.
    pub(super) edges: Edges,
}

impl Crate {
    /// Its name among components.
    pub(in super::super) fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// Asks cargo what it links for the program of a package alone: no macros, nothing that only builds or tests.
pub(in super::super) fn linked(package: &str) -> anyhow::Result<Linked> {
    let args = ["tree", "--quiet", "--locked", "--package", package, "--target", workspace::TARGET];
    let form = ["--edges", "normal,no-proc-macro", "--prefix", "depth", "--format", " {p}"];
    parse(&cargo::output(cargo::cargo(args).args(form))?)
}

/// Lines like `2 name v1.2.3 (path or *)`, where 2 is the depth.
fn parse(tree: &str) -> anyhow::Result<Linked> {
    let mut linked = Linked::default();
    let mut path: Vec<Crate> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let unread = || format!("cargo tree printed {line:?}");
        let mut words = line.split(' ');
        let depth: usize = words.next().and_then(|depth| depth.parse().ok()).with_context(unread)?;
        let name = words.next().with_context(unread)?.to_owned();
        let version = words.next().and_then(|version| version.strip_prefix('v')).with_context(unread)?.to_owned();
        let this = Crate { name, version };
        path.truncate(depth);
        linked.edges.entry(this.reference()).or_default();
        match path.last() {
            None => linked.root = this.reference(),
            Some(above) => {
                linked.edges.entry(above.reference()).or_default().insert(this.reference());
                linked.crates.insert(this.clone());
            }
        }
        path.push(this);
    }
    Ok(linked)
}

/// What is known of all crates of the workspace and its dependencies.
pub(in super::super) struct Known {
    packages: BTreeMap<(String, String), About>,
    /// SHA-256 of each crate from a registry, as Cargo.lock has it.
    checksums: BTreeMap<(String, String), String>,
}

#[derive(Clone, Debug)]
struct About {
    license: Option<String>,
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Known {
    /// Asks cargo and reads Cargo.lock.
    pub(in super::super) fn ask() -> anyhow::Result<Self> {
        let args = ["metadata", "--format-version", "1", "--locked", "--filter-platform", workspace::TARGET];
        let metadata: Metadata = serde_json::from_str(&cargo::output(&mut cargo::cargo(args))?)?;
        let packages = metadata.packages.into_iter().map(|package| {
            let folder = package.manifest_path.parent().map(PathBuf::from).unwrap_or_default();
            ((package.name, package.version), About { license: package.license, folder })
        });
        let lock: Lock = toml::from_str(&fs::read_to_string(workspace::root().join("Cargo.lock"))?)?;
        let checksum = |of: Locked| Some(((of.name, of.version), of.checksum?));
        Ok(Self { packages: packages.collect(), checksums: lock.package.into_iter().filter_map(checksum).collect() })
    }

    /// Where a crate's files are.
    pub(in super::super) fn folder(&self, of: &Crate) -> anyhow::Result<PathBuf> {
        Ok(self.about(of)?.folder.clone())
    }

    /// The licence of a crate from a registry; none of one of ours.
    pub(in super::super) fn registry_license(&self, of: &Crate) -> anyhow::Result<Option<&str>> {
        let about = self.about(of)?;
        let is_ours = !self.checksums.contains_key(&(of.name.clone(), of.version.clone()));
        Ok(if is_ours { None } else { Some(about.license.as_deref().unwrap_or("no licence named")) })
    }

    /// A crate as a component. What is ours is on no registry, so it has no address there.
    pub(super) fn component(&self, of: &Crate) -> anyhow::Result<Component> {
        let checksum = self.checksums.get(&(of.name.clone(), of.version.clone()));
        Ok(Component {
            kind: "library",
            reference: of.reference(),
            name: of.name.clone(),
            version: of.version.clone(),
            hashes: checksum.map(|sum| hash("SHA-256", sum)).into_iter().collect(),
            licenses: self.about(of)?.license.as_deref().map(license).unwrap_or_default(),
            // A plus sign of a version has to be encoded in such an address.
            purl: checksum.map(|_| format!("pkg:cargo/{}@{}", of.name, of.version.replace('+', "%2B"))),
        })
    }

    fn about(&self, of: &Crate) -> anyhow::Result<&About> {
        let about = self.packages.get(&(of.name.clone(), of.version.clone()));
        about.with_context(|| format!("cargo metadata does not know {}", of.reference()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_with_its_edges() {
        let tree = "0 a v1.0.0 (/x y/a)\n1 b v2.0.0+c.1\n2 c v3.0.0\n1 c v3.0.0 (*)\n";
        let linked = parse(tree).unwrap();
        assert_eq!(linked.root, "a@1.0.0");
        let edge = |of: &str| linked.edges[of].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(edge("a@1.0.0"), ["b@2.0.0+c.1", "c@3.0.0"]);
        assert_eq!(edge("b@2.0.0+c.1"), ["c@3.0.0"]);
        assert_eq!(linked.crates.len(), 2);
        assert!(parse("warning: x\n").is_err(), "what is not understood is not left out");
    }
}
