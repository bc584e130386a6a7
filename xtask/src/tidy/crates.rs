//! Rules about crates of others, out of `deny.toml`: their licences, where they come from, which are banned,
//! and in how many versions they are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;
use xshell::{Shell, cmd};

const RULES: &str = "deny.toml";
const WORKSPACES: [&str; 7] = [
    "Cargo.toml",
    "fuzz/Cargo.toml",
    "peers/Cargo.toml",
    "examples/log-disk/Cargo.toml",
    "examples/log-disk/fuzz/Cargo.toml",
    "foreign/Cargo.toml",
    "foreign/fuzz/Cargo.toml",
];
/// What drivers of others rest on is their business: no crate is banned there. Nothing of ours depends on
/// these workspaces.
const UNDER_TEST: [&str; 3] = ["foreign/Cargo.toml", "foreign/fuzz/Cargo.toml", "peers/Cargo.toml"];

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Clone, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// None for those of ours.
    source: Option<String>,
}

pub(super) fn check(shell: &Shell) -> Result<Vec<String>> {
    let rules = toml::from_str(&fs::read_to_string(RULES)?).with_context(|| format!("in {RULES}"))?;
    let mut broken = BTreeSet::new();
    for manifest in WORKSPACES {
        let command = cmd!(shell, "cargo metadata --format-version 1 --locked --manifest-path {manifest}");
        let metadata: Metadata = serde_json::from_str(&command.quiet().ignore_stderr().read()?)?;
        broken.extend(breaches(&rules, &metadata.packages, !UNDER_TEST.contains(&manifest)));
        // The other workspaces build a part of the same.
        let is_first = manifest == WORKSPACES[0];
        for (name, versions) in twice(&metadata.packages).into_iter().filter(|_| is_first) {
            println!("tidy: {manifest}: {name} in versions {}", versions.join(", "));
        }
    }
    Ok(broken.into_iter().collect())
}

fn breaches(rules: &Rules, packages: &[Package], has_bans: bool) -> Vec<String> {
    let mut broken = Vec::new();
    for package in packages {
        let Some(source) = &package.source else { continue };
        let name = format!("{} {}", package.name, package.version);
        if has_bans && rules.bans.deny.iter().any(|banned| banned.name == package.name) {
            broken.push(format!("{name}: banned by {RULES}"));
        }
        let registry = source.strip_prefix("registry+");
        if !registry.is_some_and(|registry| rules.sources.allow_registry.iter().any(|one| one == registry)) {
            broken.push(format!("{name}: comes from {source}, which {RULES} does not allow"));
        }
        let license = package.license.as_deref().unwrap_or("none");
        if !is_allowed(license, &rules.licenses.allow) {
            broken.push(format!("{name}: its licence is {license}, which {RULES} does not allow"));
        }
    }
    broken
}

/// Whether a licence expression lets us choose allowed ones: `AND` of parts in brackets, each an `OR`; a `/`
/// is an `OR` of old.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let one_of = |choices: &str| {
        let choices = choices.trim().trim_start_matches('(').trim_end_matches(')').replace('/', " OR ");
        choices.split(" OR ").any(|license| allowed.contains(license.trim()))
    };
    expression.split(" AND ").all(one_of)
}

/// Crates of which there is more than one version.
fn twice(packages: &[Package]) -> BTreeMap<&str, Vec<&str>> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        crate::tools::enter_root().unwrap();
        toml::from_str(&fs::read_to_string(RULES).unwrap()).unwrap()
    }

    fn package(name: &str, license: &str, source: &str) -> Package {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: text(license),
            source: text(source),
        }
    }

    const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

    #[test]
    fn licences_can_be_chosen_and_must_all_be_kept() {
        let allowed = rules().licenses.allow;
        for good in ["MIT", "GPL-3.0 OR MIT", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND NCSA"] {
            assert!(is_allowed(good, &allowed), "{good}");
        }
        for bad in ["GPL-3.0", "none", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND CC-BY-4.0", ""] {
            assert!(!is_allowed(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn each_rule_catches_its_breach() {
        let rules = rules();
        assert_eq!(breaches(&rules, &[package("tokio", "MIT", REGISTRY)], false), [""; 0]);
        let breaches = |package: Package| breaches(&rules, &[package], true);
        assert_eq!(breaches(package("serde", "MIT", REGISTRY)), [""; 0]);
        assert_eq!(breaches(package("blk-core", "", "")), [""; 0]);
        assert_eq!(breaches(package("tokio", "MIT", REGISTRY)).len(), 1);
        assert_eq!(breaches(package("serde", "MIT", "git+https://example.com/serde")).len(), 1);
        assert_eq!(breaches(package("serde", "", REGISTRY)).len(), 1);
        let packages = [package("syn", "MIT", REGISTRY), package("syn", "MIT", REGISTRY)];
        assert_eq!(twice(&packages).len(), 1);
    }
}
