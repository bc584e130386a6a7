//! A library that is preloaded into QEMU's tools while tests run, so that making a LUKS image takes
//! milliseconds: `quick_hash.c` says why.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

const SOURCE: &str = include_str!("quick_hash.c");

/// Builds the library in a folder, with the C compiler that zstd needs, too; returns where it is. No process
/// sees half of it: it gets its name once it is whole.
pub(super) fn build(shell: &Shell, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let (source, library) = (folder.join("quick_hash.c"), folder.join("quick_hash.so"));
    let unnamed = folder.join(format!("quick_hash.{}.so", std::process::id()));
    fs::write(&source, SOURCE)?;
    cmd!(shell, "cc -O2 -shared -fPIC -o {unnamed} {source}")
        .quiet()
        .run()
        .context("cannot build what QEMU's tools hash with")?;
    fs::rename(unnamed, &library)?;
    Ok(library)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn an_image_of_qemu_has_the_fewest_rounds() {
        // Not in the folder of the one that other tests run with.
        let folder = tempfile::tempdir().unwrap();
        let library = build(&Shell::new().unwrap(), folder.path()).unwrap();
        let run = |arguments: &str| {
            let mut command = Command::new("qemu-img");
            command.args(arguments.split(' ')).current_dir(folder.path()).env("LD_PRELOAD", &library);
            command.output()
        };
        let secret = "--object secret,id=s,data=abc";
        let Ok(made) = run(&format!("create -q -f luks {secret} -o key-secret=s,iter-time=10 a.luks 1M"))
        else {
            let is_required = std::env::var_os(crate::ci::REQUIRE_QEMU).is_some();
            assert!(!is_required, "qemu-img is required here and missing");
            return;
        };
        assert!(made.status.success(), "{made:?}");
        let info = String::from_utf8(run("info a.luks").unwrap().stdout).unwrap();
        assert!(info.contains("iters: 1000\n") && info.contains("master key iters: 1000\n"), "{info}");
    }
}
