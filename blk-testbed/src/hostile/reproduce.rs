//! From an image that finds something to the plainest one that still does.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use blk_harness::repro::read_input;
use blk_harness::reproduce::{self, REPLAYS};

use super::{ImageStats, judge, nearest_template};

/// Proves a finding of an image, makes the image plain, and writes it: each byte that differs from the
/// nearest template and does not matter becomes that of the template. Returns whether something is found.
///
/// # Errors
/// What is wrong with the input; that the finding is not deterministic; what cannot be written.
pub fn reproduce(input: &Path, out: &Path) -> Result<bool> {
    let image = read_input(input)?;
    let report = |image: &[u8]| judge(image, &mut ImageStats::default()).err();
    let Some(first) = report(&image) else {
        println!("{}: nothing is found", input.display());
        return Ok(false);
    };
    for _ in 1..REPLAYS {
        if report(&image).as_ref() != Some(&first) {
            bail!("not deterministic");
        }
    }
    println!("proven: {REPLAYS} replays, the same report each time");
    let headline = first.lines().next().unwrap_or_default().to_owned();
    let mut still_fails = |image: &[u8]| report(image).is_some_and(|report| report.starts_with(&headline));
    let (template, smallest) = nearest_template(&image, &mut still_fails);
    println!("{first}\n\nfrom template: {template}");
    for change in &smallest.changes {
        println!("  {change}");
    }
    fs::create_dir_all(out)?;
    let stem = format!("image-{}", reproduce::slug(&headline));
    let path = out.join(format!("{stem}.qcow2"));
    fs::write(&path, &smallest.image).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(true)
}
