//! Tries `blk` where there is nothing else: no library, no shell, no folder.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// What is done there, and what the program has to say.
const STEPS: [(&str, &str); 9] = [
    ("--version", "blk "),
    ("img create -f qcow2 -o cluster_size=4k /a.qcow2 8M", "Formatting '/a.qcow2'"),
    ("io -c|write -P 7 1M 64k|-c|write -P 9 4095 2|/a.qcow2", "wrote 65536/65536 bytes at offset 1048576"),
    ("img convert -O qcow2 -c -o compression_type=zstd /a.qcow2 /b.qcow2", ""),
    ("img convert -O raw /b.qcow2 /c.raw", ""),
    ("img check /b.qcow2", "No errors were found on the image."),
    ("img compare /a.qcow2 /c.raw", "Images are identical."),
    ("io -r|-c|read -P 7 1M 64k|-c|read -P 9 4095 2|/c.raw", "read 65536/65536 bytes at offset 1048576"),
    ("verify --requests 20 /a.qcow2 /c.raw", "compared at the end percent  100.0"),
];

/// Copies the program into an empty folder, makes that its root, and has it create, write, convert, check,
/// compare, read and verify images there.
///
/// # Errors
/// The first step that fails, with what it has said; that this user may not change the root of a process.
pub(super) fn prove(program: &Path) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("blk-chroot-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let proven = prove_in(&folder, program);
    let removed = fs::remove_dir_all(&folder);
    proven?;
    removed.with_context(|| format!("cannot remove {}", folder.display()))
}

fn prove_in(folder: &Path, program: &Path) -> Result<()> {
    fs::copy(program, folder.join("blk")).with_context(|| format!("cannot copy {}", program.display()))?;
    for (line, expected) in STEPS {
        let output = run(folder, &words(line))?;
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || !said.contains(expected) {
            bail!("in an empty chroot, `blk {line}` ended with {} and said: {said}", output.status);
        }
    }
    Ok(())
}

/// The words of a line, which are parted by spaces or, where a word has some, by bars.
fn words(line: &str) -> Vec<&str> {
    match line.split_once(' ') {
        Some((first, rest)) if rest.contains('|') => [first].into_iter().chain(rest.split('|')).collect(),
        _ => line.split(' ').collect(),
    }
}

fn run(folder: &Path, words: &[&str]) -> Result<Output> {
    let is_root = rustix::process::geteuid().is_root();
    // Whoever is not root is so in a namespace of its own.
    let mut command = Command::new(if is_root { "chroot" } else { "unshare" });
    if !is_root {
        command.args(["--map-root-user", "chroot"]);
    }
    command.arg(folder).arg("/blk").args(words).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).output().context("cannot start chroot")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_spaces_are_parted_by_bars() {
        assert_eq!(words("img check /a"), ["img", "check", "/a"]);
        assert_eq!(words("io -c|read 0 1|/a"), ["io", "-c", "read 0 1", "/a"]);
    }

    /// What needs the libraries of the system does not start there: the folder really is all that there is.
    #[test]
    fn a_program_that_needs_libraries_fails() {
        let error = prove(&std::env::current_exe().unwrap()).unwrap_err().to_string();
        assert!(error.contains("in an empty chroot, `blk --version`"), "{error}");
    }
}
