//! Laws about which crate may know which.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

use super::Violation;
use crate::cargo;
use crate::workspace;

/// What a crate's programs must never link, however far away: the crate, the packages, why.
const NEVER_LINKS: [(&str, &[&str], &str); 11] = [
    (
        "dsmil-authority",
        &["dsmil-protocol", "dsmil-crypto", "tokio", "mio", "quinn", "rustls", "aws-lc-rs", "rusqlite", "rustix"],
        "authority is pure: signatures are checked by whoever is handed in",
    ),
    (
        "dsmil-protocol",
        &[
            "tokio",
            "mio",
            "socket2",
            "quinn",
            "quinn-proto",
            "rustls",
            "rusqlite",
            "rustix",
            "hyper",
            "axum",
            "tracing-subscriber",
        ],
        "the protocol is pure: bytes and the time come in, bytes and decisions go out",
    ),
    (
        "dsmil-agent",
        &["dsmil-aggregator", "dsmil-store", "axum", "hyper"],
        "a host's program knows nothing of the centre's",
    ),
    (
        "dsmil-agent",
        &["dsmil-probe", "libloading"],
        "what a vendor's library does, it does to a process of its own: the agent asks over a socket",
    ),
    (
        "dsmil-probe",
        &["dsmil-agent", "dsmil-crypto", "quinn", "rustls", "rusqlite", "hyper"],
        "a probe has no network, no keys and no files",
    ),
    ("dsmil-store", &["dsmil-agent", "quinn", "rustls", "axum", "hyper"], "storage knows no peer"),
    ("dsmil-aggregator", &["dsmil-agent"], "the centre's program knows nothing of a host's"),
    (
        "dsmil-crypto",
        &["dsmil-protocol", "dsmil-runtime", "rusqlite", "axum"],
        "crypto serves every side and knows none",
    ),
    (
        "dsmil-runtime",
        &["dsmil-protocol", "dsmil-crypto", "quinn", "rusqlite"],
        "runtime serves every side and knows none",
    ),
    (
        "dsmil-salvage",
        &["dsmil-protocol", "dsmil-crypto", "dsmil-runtime", "rusqlite", "tokio"],
        "salvage reads bytes and knows nobody's tables",
    ),
    (
        "xtask",
        &[
            "dsmil-protocol",
            "dsmil-crypto",
            "dsmil-runtime",
            "dsmil-salvage",
            "dsmil-agent",
            "dsmil-aggregator",
            "dsmil-store",
            "dsmil-fuzz",
            "e2e",
            "tokio",
        ],
        "`cargo xtask` must start in seconds",
    ),
];

/// Who may name a package among its own dependencies (those for tests are free): the package, the crates, why.
const NAMED_ONLY_BY: [(&str, &[&str], &str); 12] = [
    (
        "tokio",
        &["dsmil-runtime", "dsmil-agent", "dsmil-store", "dsmil-aggregator", "dsmilctl", "e2e"],
        "what is pure stays so",
    ),
    (
        "quinn",
        &["dsmil-crypto", "dsmil-agent", "dsmil-aggregator", "e2e"],
        "only the two ends of the link have a transport",
    ),
    (
        "rustls",
        &["dsmil-crypto", "dsmil-aggregator", "dsmilctl", "e2e"],
        "TLS policy is made in crypto and handed out whole",
    ),
    ("aws-lc-rs", &["dsmil-crypto"], "only crypto names an algorithm"),
    ("rcgen", &["dsmil-crypto"], "only crypto issues certificates"),
    ("rusqlite", &["dsmil-agent", "dsmil-store", "e2e"], "SQL stays in the spool and the store"),
    ("nvml-wrapper", &["dsmil-probe"], "one program loads libraries"),
    ("dsmil-probe", &["e2e"], "it is asked, not linked, but for its reference"),
    ("axum", &["dsmil-aggregator"], "one program serves HTTP"),
    ("e2e", &[], "nothing shipped rests on tests"),
    ("dsmil-fuzz", &[], "nothing shipped rests on tests"),
    ("libfuzzer-sys", &["dsmil-fuzz"], "one program is a fuzzer"),
];

/// Packages and what they link.
pub(super) struct Graph {
    /// For each package by name: what it links (normal dependencies), versions merged.
    links: BTreeMap<String, BTreeSet<String>>,
    /// The workspace's crates, and where their manifests are.
    members: BTreeMap<String, String>,
}

/// What cargo says of the workspace; only the fields that are used.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dep>,
}

#[derive(Deserialize)]
struct Dep {
    pkg: String,
    dep_kinds: Vec<DepKind>,
}

#[derive(Deserialize)]
struct DepKind {
    /// None for a normal dependency, else "dev" or "build".
    kind: Option<String>,
}

/// Asks cargo.
pub(super) fn graph() -> anyhow::Result<Graph> {
    let args = ["metadata", "--format-version", "1", "--filter-platform", workspace::TARGET];
    parse(&cargo::output(&mut cargo::cargo(args))?, workspace::root())
}

fn parse(json: &str, root: &Path) -> anyhow::Result<Graph> {
    let metadata: Metadata = serde_json::from_str(json).context("cannot read what `cargo metadata` printed")?;
    let names: BTreeMap<_, _> = metadata.packages.iter().map(|package| (&package.id, &package.name)).collect();
    let mut links = BTreeMap::<String, BTreeSet<String>>::new();
    for node in &metadata.resolve.nodes {
        let linked = node.deps.iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        let linked = linked.filter_map(|dep| names.get(&dep.pkg)).map(|name| (*name).clone());
        let name = names.get(&node.id).context("`cargo metadata` resolves a package that it does not describe")?;
        links.entry((*name).clone()).or_default().extend(linked);
    }
    let members = metadata.packages.iter().filter(|package| metadata.workspace_members.contains(&package.id));
    let manifest =
        |path: &str| Path::new(path).strip_prefix(root).map_or(path.into(), |path| path.display().to_string());
    let members = members.map(|package| (package.name.clone(), manifest(&package.manifest_path))).collect();
    Ok(Graph { links, members })
}

/// Both tables, on the whole workspace.
pub(super) fn check(graph: &Graph) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut add = |name: &str, remedy: String| {
        let path = graph.members.get(name).cloned().unwrap_or_else(|| name.into());
        found.push(Violation { path, line: 1, law: "dependencies", remedy });
    };
    for (name, never, why) in NEVER_LINKS {
        for target in never {
            if let Some(way) = way(graph, name, target) {
                add(name, format!("{} must not be: {why}", way.join(" → ")));
            }
        }
    }
    for (package, allowed, why) in NAMED_ONLY_BY {
        for name in graph.members.keys().filter(|name| !allowed.contains(&name.as_str())) {
            if graph.links.get(name).is_some_and(|links| links.contains(package)) {
                add(name, format!("{name} must not depend on {package} itself: {why}"));
            }
        }
    }
    found
}

/// The shortest way by which `from` links `to`.
fn way<'a>(graph: &'a Graph, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut came_from = BTreeMap::from([(from, None)]);
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            let mut way: Vec<_> = std::iter::successors(Some(at), |at| came_from[at]).collect();
            way.reverse();
            return Some(way);
        }
        for next in graph.links.get(at).into_iter().flatten() {
            came_from.entry(next).or_insert_with(|| {
                queue.push_back(next);
                Some(at)
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(links: &[(&str, &[&str])]) -> Graph {
        let links: BTreeMap<_, BTreeSet<_>> = links
            .iter()
            .map(|(name, to)| ((*name).to_owned(), to.iter().map(|to| (*to).to_owned()).collect()))
            .collect();
        let members = links
            .keys()
            .filter(|name| name.starts_with("dsmil"))
            .map(|name| (name.clone(), format!("{name}/Cargo.toml")));
        Graph { members: members.collect(), links }
    }

    #[test]
    fn a_forbidden_package_is_found_however_far_away() {
        let found = check(&graph(&[("dsmil-protocol", &["serde", "zip"]), ("zip", &["io"]), ("io", &["tokio"])]));
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .to_string()
                .starts_with("dsmil-protocol/Cargo.toml:1: dependencies: dsmil-protocol → zip → io → tokio ")
        );
    }

    #[test]
    fn the_two_sides_do_not_know_each_other() {
        let found = check(&graph(&[("dsmil-agent", &["dsmil-store"]), ("dsmil-aggregator", &["dsmil-agent"])]));
        assert_eq!(found.len(), 2, "one in each direction: {found:?}");
    }

    #[test]
    fn a_package_is_named_by_its_owners_alone() {
        assert_eq!(check(&graph(&[("dsmil-ctl", &["aws-lc-rs"]), ("dsmil-crypto", &["aws-lc-rs"])])).len(), 1);
    }

    #[test]
    fn dependencies_for_tests_and_builds_are_free() {
        let json = r#"{
            "packages": [
                {"id": "p 1", "name": "dsmil-protocol", "manifest_path": "/r/protocol/Cargo.toml"},
                {"id": "t 1", "name": "tokio", "manifest_path": "/x/Cargo.toml"}],
            "workspace_members": ["p 1"],
            "resolve": {"nodes": [
                {"id": "p 1", "deps": [{"pkg": "t 1", "dep_kinds": [{"kind": "dev"}, {"kind": "build"}]}]},
                {"id": "t 1", "deps": []}]}
        }"#;
        assert!(check(&parse(json, Path::new("/r")).unwrap()).is_empty());
        let normal = json.replace(r#"{"kind": "build"}"#, r#"{"kind": null}"#);
        let found = check(&parse(&normal, Path::new("/r")).unwrap());
        assert_eq!(found.len(), 2, "pure, and not among tokio's owners: {found:?}");
        assert_eq!(found[0].path, "protocol/Cargo.toml");
    }
}
