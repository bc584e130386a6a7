//! A copy of the workspace to break things in.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// The files that git knows or would know, relative to the root.
pub(crate) fn files(shell: &Shell) -> Result<Vec<PathBuf>> {
    let listed = cmd!(shell, "git ls-files --cached --others --exclude-standard").quiet().read()?;
    Ok(listed.lines().map(PathBuf::from).filter(|file| file.is_file()).collect())
}

/// Makes `tree` a copy of what git knows or would know, so that nothing that is tried there touches the real
/// tree. What is equal already is left alone, so that cargo does not build it again; build folders stay.
pub(crate) fn copy(shell: &Shell, tree: &Path) -> Result<()> {
    let files = files(shell)?;
    for file in &files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let target = tree.join(file);
        if fs::read(&target).is_ok_and(|there| there == bytes) {
            continue;
        }
        fs::create_dir_all(target.parent().context("a file lies in a folder")?)?;
        fs::write(&target, bytes).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    let kept: HashSet<PathBuf> = files.iter().map(|file| tree.join(file)).collect();
    remove_others(tree, &kept)
}

/// Removes files that are in the copy alone, but for build folders.
fn remove_others(folder: &Path, kept: &HashSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                remove_others(&path, kept)?;
            }
        } else if !kept.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_goes_and_build_folders_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a/kept.rs", "a/gone.rs", "a/target/built"] {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            fs::write(path(name), "x").unwrap();
        }
        remove_others(folder.path(), &HashSet::from([path("a/kept.rs")])).unwrap();
        assert!(path("a/kept.rs").exists() && path("a/target/built").exists());
        assert!(!path("a/gone.rs").exists());
    }
}
