//! From an image that finds something to the plainest one that still does.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use blk_core::{MemoryStorage, Storage};
use blk_harness::page::{Paper, Surroundings, Way};
use blk_harness::picture::{Look, Picture};
use blk_harness::repro::read_input;
use blk_harness::reproduce::{self, REPLAYS};
use blk_harness::{Finding, Signature, report};

use super::{ImageStats, Shrunk, judge, nearest_template, templates};

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
    let html = out.join(format!("{stem}.finding.html"));
    let command = format!("cargo xtask repro --target open_qcow2 {}", path.display());
    let text = page(&stem, &first, (template, &smallest), command);
    fs::write(&html, text).with_context(|| format!("cannot write {}", html.display()))?;
    println!("wrote {}", html.display());
    Ok(true)
}

/// The page about a finding of an image: there are no requests, but there is a template that it was made of.
pub fn page(stem: &str, report: &str, (template, smallest): (&str, &Shrunk), command: String) -> String {
    let (what, rest) = report.split_once('\n').unwrap_or((report, ""));
    let signature = Signature::Image { message: report::without_numbers(what) };
    let changes = smallest.changes.join("\n");
    let notes = format!("{rest}\nfrom template: {template}\n{changes}");
    let finding = Finding::new(signature, what).with_notes(notes.trim()).by("open");
    let look = |image: &[u8]| {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(image));
        let file = blk_qcow2::FORMAT.layout(&storage).ok().flatten().unwrap_or_default();
        Look { file, disk: Vec::new() }
    };
    let before = templates().iter().find(|known| known.name == template);
    let before = before.map(|template| look(&template.image)).unwrap_or_default();
    let picture = Picture { before, after: look(&smallest.image), requests: 0 };
    let others = format!("qemu-img check {stem}.qcow2\nqemu-io -c 'read 0 512' {stem}.qcow2");
    let ways = [Way::new("A command", command), Way::new("With QEMU's tools, beside the image", others)];
    Paper {
        name: stem,
        target: "open_qcow2",
        finding: &finding,
        scenario: None,
        around: &Surroundings { picture: Some(picture), blame: Vec::new() },
        ways: &ways,
    }
    .render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_page_with_both_maps_and_what_was_changed() {
        let plain = &templates()[0];
        let mut image = plain.image.clone();
        // A refcount table that lies nowhere: the layout of the image cannot be told.
        image[48..56].copy_from_slice(&(1_u64 << 50).to_be_bytes());
        let changes = vec!["image offset 0x30: <b>".to_owned()];
        let shrunk = Shrunk { image, changes };
        let text = page("image-x", "it <panics>\nat 7", (&plain.name, &shrunk), "replay".to_owned());
        for wanted in
            ["It &lt;panics&gt;.", "0x30: &lt;b&gt;", "The image file before", "refcount block", "open"]
        {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert!(!text.contains("aria-labelledby=\"requests\""));
    }
}
