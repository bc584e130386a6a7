//! Rules about dependencies: which crate of the workspace may know which.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;
use xshell::{Shell, cmd};

/// Crates and the only crates of the workspace that they may depend on. Tests may depend on more.
const RULES: [(&str, &[&str]); 12] = [
    ("blk-core", &[]),
    ("blk-raw", &["blk-core"]),
    ("blk-luks", &["blk-core"]),
    ("blk-nbd", &["blk-core"]),
    // A format may use the crate of the header that its specification embeds.
    ("blk-qcow2", &["blk-core", "blk-luks"]),
    ("blk-verify", &["blk-core"]),
    ("blk-sim", &["blk-core"]),
    ("blk-page", &[]),
    ("blk-harness", &["blk-core", "blk-page", "blk-verify", "blk-sim"]),
    ("blk-foreign", &["blk-core", "blk-harness", "blk-nbd"]),
    ("cargo-blk", &["blk-page"]),
    ("xtask", &["cargo-blk"]),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// None for what the package itself needs.
    kind: Option<String>,
}

pub(super) fn check() -> Result<Vec<String>> {
    let shell = Shell::new()?;
    let metadata = cmd!(shell, "cargo metadata --no-deps --format-version 1").quiet().read();
    let metadata: Metadata = serde_json::from_str(&metadata.context("cannot read cargo's metadata")?)?;
    let mut broken = Vec::new();
    let edges = edges(&metadata);
    for (name, allowed) in RULES {
        broken.extend(breaches(name, allowed, &edges));
    }
    for package in &metadata.packages {
        let manifest = std::fs::read_to_string(&package.manifest_path)?;
        let table: toml::Table = manifest.parse()?;
        let inherits =
            table.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        if inherits != Some(true) {
            broken
                .push(format!("{}: does not inherit the workspace's lints", package.manifest_path.display()));
        }
    }
    Ok(broken)
}

/// Who depends on whom inside the workspace, tests left out.
fn edges(metadata: &Metadata) -> BTreeSet<(String, String)> {
    let members: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut edges = BTreeSet::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            if dependency.kind.as_deref() != Some("dev") && members.contains(dependency.name.as_str()) {
                edges.insert((package.name.clone(), dependency.name.clone()));
            }
        }
    }
    edges
}

fn breaches(name: &str, allowed: &[&str], edges: &BTreeSet<(String, String)>) -> Vec<String> {
    edges
        .iter()
        .filter(|(from, to)| from == name && !allowed.contains(&to.as_str()))
        .map(|(from, to)| format!("{from} depends on {to}; allowed are only {allowed:?}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_knows_another_is_a_breach() {
        let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let edges = BTreeSet::from([edge("blk-qcow2", "blk-core"), edge("blk-qcow2", "blk-raw")]);
        assert_eq!(breaches("blk-qcow2", &["blk-core"], &edges).len(), 1);
        assert!(breaches("blk-raw", &["blk-core"], &edges).is_empty());
    }

    #[test]
    fn the_workspace_keeps_the_rules() {
        assert_eq!(check().unwrap(), [""; 0]);
    }
}
