//! What each program consists of, as CycloneDX 1.6: `NAME-VERSION.cdx.json`.
//!
//! Exactly the crates that cargo links for that program alone, as `cargo tree` resolves them, with the checksums of
//! Cargo.lock; and what comes along that is not Rust: C libraries within crates, glibc, the standard library. Written here
//! and not by cargo-cyclonedx, which resolves features for the workspace as a whole and knows none of the latter.
//!
//! Source: <https://cyclonedx.org/docs/1.6/json/>, <https://github.com/package-url/purl-spec>.

mod bundled;
pub(super) mod crates;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use super::packages::Package;
use super::release::Release;
use crate::cargo;
pub(super) use crates::Known;
use crates::Linked;

/// A part of a program.
#[derive(Clone, Debug, Serialize)]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    reference: String,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
}

/// Which part needs which.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// Writes the list of a package's program in `folder`, there; says what it is called.
pub(super) fn write(package: &Package, release: &Release, known: &Known, folder: &Path) -> anyhow::Result<PathBuf> {
    let linked = crates::linked(package.name)?;
    let mut components: Vec<_> = linked.crates.iter().map(|of| known.component(of)).collect::<Result<_, _>>()?;
    let mut edges = linked.edges.clone();
    for (needed_by, component) in bundled::components(&linked, known)? {
        edges.entry(needed_by).or_default().insert(component.reference.clone());
        components.push(component);
    }
    components.sort_by(|a, b| a.reference.cmp(&b.reference));
    let text = document(release, program(package, release, &linked, folder)?, components, &edges)?;
    let name = PathBuf::from(format!("{}-{}.cdx.json", package.name, release.version));
    fs::write(folder.join(&name), text).with_context(|| format!("cannot write {}", name.display()))?;
    Ok(name)
}

/// The program itself.
fn program(package: &Package, release: &Release, linked: &Linked, folder: &Path) -> anyhow::Result<Component> {
    let sum = cargo::output(Command::new("sha384sum").arg(package.name).current_dir(folder))?;
    let (sum, _) = sum.split_once(' ').context("sha384sum printed no sum")?;
    Ok(Component {
        kind: "application",
        reference: linked.root.clone(),
        name: package.name.into(),
        version: release.version.clone(),
        hashes: vec![hash("SHA-384", sum)],
        licenses: license("Apache-2.0"),
        purl: None,
    })
}

fn document(
    release: &Release,
    program: Component,
    components: Vec<Component>,
    edges: &Edges,
) -> anyhow::Result<String> {
    let dependency = |(of, on): (&String, &BTreeSet<String>)| json!({ "ref": of, "dependsOn": on });
    let mut date = Command::new("date");
    date.args(["--utc", "+%Y-%m-%dT%H:%M:%SZ", &format!("--date=@{}", release.time_s)]);
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": cargo::output(&mut date)?.trim(),
            "lifecycles": [{ "phase": "build" }],
            "component": program,
        },
        "components": components,
        "dependencies": edges.iter().map(dependency).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn hash(algorithm: &str, content: &str) -> Value {
    json!({ "alg": algorithm, "content": content })
}

/// A licence as an SPDX expression; crates of old have a slash for OR.
fn license(expression: &str) -> Vec<Value> {
    vec![json!({ "expression": expression.replace('/', " OR ").replace("  ", " ") })]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::packages::PACKAGES;

    #[test]
    fn a_program_has_the_crates_it_links_and_no_others() {
        let known = Known::ask().unwrap();
        let folder = crate::workspace::target().join("tmp-xtask-sbom");
        fs::create_dir_all(&folder).unwrap();
        let release = Release::of(None, false, None).unwrap();
        for package in &PACKAGES {
            fs::write(folder.join(package.name), "program").unwrap();
            let name = write(package, &release, &known, &folder).unwrap();
            let text = fs::read_to_string(folder.join(name)).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            let components = value["components"].as_array().unwrap();
            let has = |name: &str| components.iter().any(|component| component["name"] == name);
            assert!(has("glibc") && has("clap"), "{}", package.name);
            // A probe has no keys and no files, and it alone loads libraries.
            assert_eq!(has("sqlite") && has("aws-lc"), package.is_static, "{}", package.name);
            assert_eq!(has("libloading"), !package.is_static, "{}", package.name);
            assert_eq!(has("axum"), package.name == "dsmil-aggregator");
            assert!(!has("clap_derive") && !has("cc") && !has("proptest"), "what only builds or tests is not in it");
            for component in components {
                let name = component["name"].as_str().unwrap();
                let is_registry = component["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:cargo/"));
                assert_eq!(is_registry, component["hashes"].is_array(), "{name}");
                assert!(component["licenses"][0]["expression"].is_string(), "{name}");
            }
            let references: BTreeSet<_> = components.iter().map(|of| of["bom-ref"].as_str().unwrap()).collect();
            assert_eq!(references.len(), components.len(), "each is named once");
            let root = value["metadata"]["component"]["bom-ref"].as_str().unwrap();
            for dependency in value["dependencies"].as_array().unwrap() {
                let of = dependency["ref"].as_str().unwrap();
                assert!(of == root || references.contains(of), "{of}");
                let on = dependency["dependsOn"].as_array().unwrap();
                assert!(on.iter().all(|on| references.contains(on.as_str().unwrap())), "{of}");
            }
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn old_forms_of_licences_become_expressions() {
        assert_eq!(license("MIT/Apache-2.0")[0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(license("MIT / Apache-2.0")[0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(license("MIT OR Apache-2.0")[0]["expression"], "MIT OR Apache-2.0");
    }
}
