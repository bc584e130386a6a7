//! How large the seeds of the fuzz targets may be: all of them lie in git, and are read whenever one fuzzes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const FOLDER: &str = "fuzz/seeds";
const BYTES_MAX: u64 = 2 << 20;

pub(super) fn check() -> Result<Vec<String>> {
    too_large(Path::new(FOLDER), BYTES_MAX)
}

/// What is said if the files of the folders in a folder have more bytes than that.
fn too_large(folder: &Path, most: u64) -> Result<Vec<String>> {
    let mut bytes = 0;
    for target in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        for seed in fs::read_dir(target?.path())? {
            bytes += seed?.metadata()?.len();
        }
    }
    let line =
        || format!("{}: {bytes} bytes, allowed are {most}: merge a corpus with --anew", folder.display());
    Ok(if bytes > most { vec![line()] } else { Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_weighed_together() {
        let folder = tempfile::tempdir().unwrap();
        for target in ["a", "b"] {
            fs::create_dir(folder.path().join(target)).unwrap();
            fs::write(folder.path().join(target).join("seed"), "bytes").unwrap();
        }
        assert_eq!(too_large(folder.path(), 10).unwrap(), [""; 0]);
        let broken = too_large(folder.path(), 9).unwrap();
        assert!(broken.len() == 1 && broken[0].contains(": 10 bytes, allowed are 9"), "{broken:?}");
    }
}
