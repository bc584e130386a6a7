//! A driver with a bug, and what a report of the verifier leads to.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use cargo_blk::target_folder;

use super::machine::Images;

/// The format of the driver that has the bug.
pub(super) const FORMAT: &str = "careless";
/// The example of blk-cli that is the program with this format.
const EXAMPLE: &str = "careless";

const SECTOR_BYTES: u64 = 512;

/// Builds the program that serves. The one with the bug need not be fast.
pub(super) fn build(shell: &Shell, planted: bool) -> Result<PathBuf> {
    let target = target_folder(Path::new("."));
    let program = if planted {
        cmd!(shell, "cargo build -p blk-cli --example {EXAMPLE}").quiet().run()?;
        target.join("debug/examples").join(EXAMPLE)
    } else {
        cmd!(shell, "cargo build --release -p blk-cli --bin blk").quiet().run()?;
        target.join("release/blk")
    };
    program.canonicalize().with_context(|| format!("cannot find {}", program.display()))
}

/// Shows what both sides hold at the sector that a report names.
pub(super) fn explore(shell: &Shell, blk: &Path, images: &Images, report: &str) -> Result<()> {
    let Some(sector) = sector_of(report) else {
        println!("the report names no sector");
        return Ok(());
    };
    let Images { raw, test, .. } = images;
    let read = format!("read -v {} {SECTOR_BYTES}", sector * SECTOR_BYTES);
    for (format, image) in [("raw", raw), ("qcow2", test)] {
        println!("\n$ blk io -r -f {format} -c '{read}' {}", image.display());
        let shown = cmd!(shell, "{blk} io -r -f {format} -c {read} {image}").quiet().read()?;
        println!("{}", shortened(&shown));
    }
    Ok(())
}

/// The sector that is wrong.
fn sector_of(report: &str) -> Option<u64> {
    let (_, after) = report.split_once("(sector ")?;
    after.split(')').next()?.trim().parse().ok()
}

/// The first and the last lines of a sector.
fn shortened(shown: &str) -> String {
    const FIRST: usize = 4;
    const LAST: usize = 3;
    let lines: Vec<&str> = shown.lines().collect();
    if lines.len() <= FIRST + LAST + 1 {
        return shown.to_owned();
    }
    let (first, last) = (&lines[..FIRST], &lines[lines.len() - LAST..]);
    format!("{}\n[...]\n{}", first.join("\n"), last.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sector_is_found_in_a_report() {
        let line = "blkverify: read offset=0 bytes=512 contents mismatch at offset 4608 (sector 9)\nmore";
        assert_eq!(sector_of(line), Some(9));
        assert_eq!(sector_of("blkverify: flush failed"), None);
    }

    #[test]
    fn long_dumps_are_shortened() {
        let long: Vec<String> = (0..34).map(|line| line.to_string()).collect();
        assert_eq!(shortened(&long.join("\n")), "0\n1\n2\n3\n[...]\n31\n32\n33");
        assert_eq!(shortened("a\nb"), "a\nb");
    }
}
