//! The crates of the workspace that are published, as cargo knows them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use xshell::{Shell, cmd};

/// A crate, as its manifest says.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    manifest_path: PathBuf,
    pub(crate) description: Option<String>,
    pub(crate) license: Option<String>,
    pub(crate) documentation: Option<String>,
    pub(crate) readme: Option<String>,
    pub(crate) rust_version: Option<String>,
    pub(crate) keywords: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) metadata: Value,
    /// Registries that it may go to; none of them: it is not published.
    publish: Option<Vec<String>>,
}

/// What a crate depends on.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// The versions that will do: `*` where the manifest says none.
    pub(crate) req: String,
    /// None for what the crate itself needs.
    pub(crate) kind: Option<String>,
    /// Where it lies, if it is no crate of a registry.
    pub(crate) path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

impl Package {
    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("."))
    }

    /// The name of its archive.
    pub(crate) fn archive(&self) -> String {
        format!("{}-{}.crate", self.name, self.version)
    }
}

/// All that are published, by name.
///
/// # Errors
/// That cargo cannot read a manifest.
pub(crate) fn packages(shell: &Shell) -> Result<Vec<Package>> {
    let metadata = cmd!(shell, "cargo metadata --no-deps --format-version 1 --locked").quiet().read();
    let metadata: Metadata = serde_json::from_str(&metadata.context("cannot read cargo's metadata")?)?;
    let is_published = |package: &Package| package.publish.as_ref().is_none_or(|to| !to.is_empty());
    let mut packages: Vec<Package> = metadata.packages.into_iter().filter(is_published).collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}
