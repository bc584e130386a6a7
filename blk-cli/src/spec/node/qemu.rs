//! Where QEMU's options of a node are not the driver's own: they are turned into those.
//!
//! QEMU's names are an interface of its own, older than the drivers here: sizes of caches in bytes where the
//! driver counts slices, two names for one level, defaults that differ, options without effect here, and
//! rules that only its tools have. All that a format's list of options has besides is read by that list.

use blk_core::Result;

use crate::img::size::SECTOR_BYTES;
use crate::spec::options::NodeOptions;

/// Bytes of a slice of metadata where the image's clusters are not smaller.
const SLICE_BYTES_DEFAULT: u64 = 4096;
/// Slices that a cache has at least.
const SLICES_MIN: u64 = 2;
/// Slices that a cache has at most, as blk-qcow2 has it.
const SLICES_MAX: u64 = 1 << 20;
/// What the counts get where only the sum of both caches is given, in bytes.
const REFCOUNT_CACHE_BYTES_MIN: u64 = 4 * SLICE_BYTES_DEFAULT;

/// Turns QEMU's options of a format into the driver's.
pub(super) fn translate(driver: &str, options: &mut NodeOptions) -> Result<()> {
    match driver {
        "qcow2" => qcow2(options),
        "raw" => raw(options),
        "luks" => luks(options),
        _ => Ok(()),
    }
}

/// The window of QEMU's raw format has whole sectors.
fn raw(options: &mut NodeOptions) -> Result<()> {
    let Some(bytes) = options.take_size("size")? else { return Ok(()) };
    if !bytes.is_multiple_of(SECTOR_BYTES) {
        return Err(options.bad("size", format!("{bytes} is not a multiple of {SECTOR_BYTES}")));
    }
    options.set("size", bytes);
    Ok(())
}

/// A header in a file of its own is a node in QEMU.
fn luks(options: &mut NodeOptions) -> Result<()> {
    if !options.has_below("header") {
        return Ok(());
    }
    let mut header = options.take_below("header");
    let driver = header.take_text("driver").unwrap_or_else(|| "file".to_owned());
    let Some(name) = header.take_text("filename").filter(|_| driver == "file") else {
        return Err(options.bad("header", "it has to be a file: header.driver=file,header.filename=..."));
    };
    header.finish("file")?;
    // By this name it counts from where the program runs, not from the image's folder.
    options.set("header", format!("file:{name}").as_str());
    Ok(())
}

fn qcow2(options: &mut NodeOptions) -> Result<()> {
    caches(options)?;
    overlap_check(options)?;
    // Both are about when memory and space are given back, not about content.
    options.take_switch("discard-no-unref")?;
    options.take_number("cache-clean-interval", u64::MAX)?;
    options.fill("pass-discard-snapshot", "on");
    options.fill("pass-discard-other", "off");
    Ok(())
}

/// Sizes in bytes become numbers of slices.
fn caches(options: &mut NodeOptions) -> Result<()> {
    let entry = options.take_size("l2-cache-entry-size")?;
    if let Some(bytes) = entry {
        options.set("l2-cache-entry-size", bytes);
    }
    let (l2, refcount) = cache_sizes(options)?;
    for (name, bytes, slice) in [
        ("l2-cache-slices", l2, entry.unwrap_or(SLICE_BYTES_DEFAULT)),
        ("refcount-cache-slices", refcount, SLICE_BYTES_DEFAULT),
    ] {
        if let Some(bytes) = bytes {
            // A slice of no bytes is refused by the list.
            if options.has(name) {
                return Err(options.bad(name, "the size of the cache is given too"));
            }
            let slices = (bytes / slice.max(1)).clamp(SLICES_MIN, SLICES_MAX);
            options.set(name, slices);
        }
    }
    Ok(())
}

/// Bytes for the L2 tables and for the counts, where something is said about them.
fn cache_sizes(options: &mut NodeOptions) -> Result<(Option<u64>, Option<u64>)> {
    let all = options.take_size("cache-size")?;
    let l2 = options.take_size("l2-cache-size")?;
    let refcount = options.take_size("refcount-cache-size")?;
    let Some(all) = all else { return Ok((l2, refcount)) };
    match (l2, refcount) {
        (Some(_), Some(_)) => Err(options
            .bad("cache-size", "it is the sum of l2-cache-size and refcount-cache-size, which are given")),
        (Some(l2), None) if l2 > all => {
            Err(options.bad("l2-cache-size", format!("{l2} is more than cache-size, {all}")))
        }
        (None, Some(refcount)) if refcount > all => {
            Err(options.bad("refcount-cache-size", format!("{refcount} is more than cache-size, {all}")))
        }
        (Some(l2), None) => Ok((Some(l2), Some(all - l2))),
        (None, Some(refcount)) => Ok((Some(all - refcount), Some(refcount))),
        (None, None) => {
            let refcount = all.min(REFCOUNT_CACHE_BYTES_MIN);
            Ok((Some(all - refcount), Some(refcount)))
        }
    }
}

/// The level has two names.
fn overlap_check(options: &mut NodeOptions) -> Result<()> {
    let Some(template) = options.take_text("overlap-check.template") else { return Ok(()) };
    let short = options.take_text("overlap-check");
    if let Some(short) = short.filter(|short| *short != template) {
        let reason = format!("'{short}' contradicts overlap-check.template, '{template}'");
        return Err(options.bad("overlap-check", reason));
    }
    options.set("overlap-check", template.as_str());
    Ok(())
}
