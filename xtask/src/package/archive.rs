//! What is in the archive of a package: all that its sources name, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::published::Package;

/// The largest archive, in bytes. What is larger has come in by mistake: sources take a quarter of it.
const BYTES_MAX: u64 = 1 << 20;
/// What every package has.
const REQUIRED: [&str; 5] = ["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "src/lib.rs"];
/// What else may be in one: what cargo makes, sources, and descriptions of foreign drivers.
const ALLOWED: [&str; 5] = [".cargo_vcs_info.json", "Cargo.lock", "Cargo.toml.orig", "src/", "drivers/"];

/// What is missing in an archive, or too much.
pub(super) fn breaches(shell: &Shell, package: &Package, archive: &Path) -> Result<Vec<String>> {
    let bytes = fs::metadata(archive).with_context(|| format!("cannot read {}", archive.display()))?.len();
    let listed = cmd!(shell, "tar --list --gzip --file {archive}").quiet().read()?;
    let root = format!("{}-{}/", package.name, package.version);
    let files: BTreeSet<&str> = listed.lines().filter_map(|path| path.strip_prefix(&root)).collect();
    let read = |path: &str| {
        let path = package.folder().join(path);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut broken = files_breaches(&files);
    if bytes > BYTES_MAX {
        broken.push(format!("its archive has {bytes} bytes, more than {BYTES_MAX}"));
    }
    for source in files.iter().filter(|path| path.starts_with("src/") && is_rust(path)) {
        broken.extend(source_breaches(source, &read(source)?, &files));
    }
    println!("{:14} {:>4} files, {:>4} KiB packed", package.name, files.len(), bytes.div_ceil(1024));
    Ok(broken.iter().map(|what| format!("{}: {what}", package.name)).collect())
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

fn files_breaches(files: &BTreeSet<&str>) -> Vec<String> {
    let missing = REQUIRED.iter().filter(|required| !files.contains(*required));
    let mut broken: Vec<String> = missing.map(|name| format!("{name} is not packed")).collect();
    let is_allowed = |path: &str| {
        REQUIRED.contains(&path)
            || ALLOWED
                .iter()
                .any(|allowed| path == *allowed || allowed.ends_with('/') && path.starts_with(allowed))
    };
    let others = files.iter().filter(|path| !is_allowed(path));
    broken.extend(others.map(|path| format!("{path} is packed, and belongs to no package")));
    broken
}

/// What a source names that is not in the package: files that it includes, and modules.
fn source_breaches(source: &str, text: &str, files: &BTreeSet<&str>) -> Vec<String> {
    let folder = Path::new(source).parent().unwrap_or(Path::new(""));
    let mut broken = Vec::new();
    let mut has_path = false;
    for line in text.lines() {
        for named in included(line) {
            let is_there = within(&folder.join(named)).is_some_and(|path| files.contains(path.as_str()));
            if !is_there {
                broken.push(format!("{source} names {named}, which is not packed"));
            }
        }
        if let Some(module) = module(line)
            && !has_path
            && !candidates(source, module).iter().any(|path| files.contains(path.as_str()))
        {
            broken.push(format!("{source} has a module {module}, which is not packed"));
        }
        has_path = line.starts_with("#[path = ");
    }
    broken
}

/// The files that a line includes, seen from the folder of its own.
fn included(line: &str) -> impl Iterator<Item = &str> {
    let marks = ["include_str!(\"", "include_bytes!(\"", "#[path = \""];
    let is_comment = line.trim_start().starts_with("//");
    let behind = move |mark| line.split(mark).skip(1).filter(move |_| !is_comment);
    marks.into_iter().flat_map(behind).filter_map(|rest| rest.split('"').next())
}

/// The module in another file that a line declares. What stands inside of another module, and so is indented,
/// is not looked for.
fn module(line: &str) -> Option<&str> {
    let line = ["pub(crate) ", "pub(super) ", "pub "]
        .iter()
        .find_map(|visibility| line.strip_prefix(visibility))
        .unwrap_or(line);
    line.strip_prefix("mod ")?.strip_suffix(';')
}

/// The files in which a module of a source may be.
fn candidates(source: &str, module: &str) -> [String; 2] {
    let folder = match source.strip_suffix("/lib.rs").or_else(|| source.strip_suffix("/main.rs")) {
        Some(folder) => folder,
        None => source.strip_suffix("/mod.rs").or_else(|| source.strip_suffix(".rs")).unwrap_or(source),
    };
    [format!("{folder}/{module}.rs"), format!("{folder}/{module}/mod.rs")]
}

/// The path without `..`, if it does not leave the package.
fn within(path: &Path) -> Option<String> {
    let mut whole = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => whole.push(name),
            Component::ParentDir if whole.pop() => {}
            _ => return None,
        }
    }
    whole.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        let mut files = BTreeSet::from(REQUIRED);
        files.insert("src/disk.rs");
        files.insert("drivers/a.toml");
        assert_eq!(files_breaches(&files), [""; 0]);
        files.remove("README.md");
        files.insert("tests/a.rs");
        assert_eq!(files_breaches(&files).len(), 2);
    }

    #[test]
    fn what_sources_name_has_to_be_packed() {
        let files = BTreeSet::from(["src/lib.rs", "src/a.rs", "src/a/b.rs", "src/c/mod.rs", "README.md"]);
        let broken = |source: &str, text: &str| source_breaches(source, text, &files).len();
        assert_eq!(broken("src/lib.rs", "#![doc = include_str!(\"../README.md\")]\nmod a;\npub mod c;"), 0);
        assert_eq!(broken("src/a.rs", "pub(crate) mod b;\nuse x;\n    mod inside;"), 0);
        assert_eq!(broken("src/lib.rs", "include_bytes!(\"../tests/image\")"), 1);
        assert_eq!(broken("src/lib.rs", "include_str!(\"../../README.md\")"), 1);
        assert_eq!(broken("src/lib.rs", "// include_str!(\"../../README.md\")"), 0);
        assert_eq!(broken("src/lib.rs", "#[path = \"../tests/a.rs\"]\nmod tests;"), 1);
        assert_eq!(broken("src/lib.rs", "#[path = \"a/b.rs\"]\nmod other;\nmod gone;"), 1);
        assert_eq!(broken("src/c/mod.rs", "mod d;"), 1);
    }
}
