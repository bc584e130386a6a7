//! `qemu-img bench` on the image that imago has filled, where there is a qemu-img.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::files::BLOCK_BYTES;
use crate::measure::{median, print, rate};

const REQUESTS: u64 = 30_000;
const ROUNDS: usize = 3;
/// From one request to the next, blocks: it has no random order, and a large odd step visits the disk in one
/// that is close.
const STEP_BLOCKS: u64 = 100_003;

pub(crate) fn run(image: &Path) -> Result<()> {
    if Command::new("qemu-img").arg("--version").output().is_err() {
        eprintln!("qemu-img is missing: qemu_read_4k and qemu_write_4k are not measured");
        return Ok(());
    }
    for (name, words) in [
        ("qemu_read_4k", &["-d", "1"][..]),
        ("qemu_write_4k", &["-d", "1", "-w"]),
        ("qemu_read_4k_16", &["-d", "16"]),
        ("qemu_uring_read_4k_16", &["-d", "16", "-i", "io_uring"]),
    ] {
        let rates: Result<Vec<f64>> = (0..ROUNDS).map(|_| bench(image, words)).collect();
        print(name, median(rates?));
    }
    Ok(())
}

fn bench(image: &Path, words: &[&str]) -> Result<f64> {
    let mut command = Command::new("qemu-img");
    command.args(["bench", "-f", "qcow2", "-t", "writeback"]).args(words);
    command.args(["-c", &REQUESTS.to_string(), "-s", &BLOCK_BYTES.to_string()]);
    command.args(["-S", &(STEP_BLOCKS * BLOCK_BYTES).to_string()]);
    let output = command.arg(image).output().context("cannot run qemu-img")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("qemu-img bench: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let seconds = seconds(&said).with_context(|| format!("qemu-img bench said no time: {said}"))?;
    Ok(rate(REQUESTS, Duration::from_secs_f64(seconds)))
}

/// `Run completed in 1.234 seconds.`
fn seconds(said: &str) -> Option<f64> {
    let words = said.lines().find_map(|line| line.strip_prefix("Run completed in "))?;
    words.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_found_among_the_words() {
        assert_eq!(seconds("Sending 3 requests\nRun completed in 1.250 seconds.\n"), Some(1.25));
        assert_eq!(seconds("qemu-img: no"), None);
    }
}
