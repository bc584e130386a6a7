//! The options of qcow2.

use blk_core::{Options, Result};

use super::{Format, Node};
use crate::spec::options::{NodeOptions, Value};

/// Bytes of a slice of metadata where the image's clusters are not smaller.
const SLICE_BYTES_DEFAULT: u64 = 4096;
/// Slices that a cache has at least.
const SLICES_MIN: u64 = 2;
/// Slices that a cache has at most, as blk-qcow2 has it.
const SLICES_MAX: u64 = 1 << 20;
/// What the counts get where only the sum of both caches is given, in bytes.
const REFCOUNT_CACHE_BYTES_MIN: u64 = 4 * SLICE_BYTES_DEFAULT;

/// What lies below an image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Backing {
    /// Nothing, whatever the image says.
    None,
    /// What the image says; these options come on top.
    FromImage(NodeOptions),
}

/// Parts of an image that writes can be checked against.
const OVERLAP_PARTS: [&str; 9] = [
    "main-header",
    "active-l1",
    "active-l2",
    "refcount-table",
    "refcount-block",
    "snapshot-table",
    "inactive-l1",
    "inactive-l2",
    "bitmap-directory",
];

pub(super) fn take(options: &mut NodeOptions, file: Box<Node>) -> Result<Format> {
    let mut passed = Options::new();
    take_caches(options, &mut passed)?;
    take_overlap_check(options, &mut passed)?;
    let backing = take_backing(options)?;
    if matches!(backing, Backing::None) {
        passed.set("backing", "off");
    }
    if let Some(lazy) = options.take_switch("lazy-refcounts")? {
        passed.set("lazy-refcounts", switch(lazy));
    }
    options.take_switch("discard-no-unref")?;
    options.take_number("cache-clean-interval", u64::MAX)?;
    for (name, usual) in [
        ("pass-discard-request", None),
        ("pass-discard-snapshot", Some(true)),
        ("pass-discard-other", Some(false)),
    ] {
        if let Some(passes) = options.take_switch(name)?.or(usual) {
            passed.set(name, switch(passes));
        }
    }
    if options.has("data-file") {
        return Err(options.bad("data-file", "not supported yet: external data files"));
    }
    if options.has("encrypt") {
        return Err(options.bad("encrypt", "not supported yet: encryption"));
    }
    // Our own: the image is opened only to be checked.
    if let Some(check) = options.take_switch("check")? {
        passed.set("check", switch(check));
    }
    Ok(Format { driver: "qcow2", options: passed, file, backing })
}

fn switch(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn take_backing(options: &mut NodeOptions) -> Result<Backing> {
    let below = options.take_below("backing");
    match options.take("backing") {
        None => Ok(Backing::FromImage(below)),
        Some(_) if !below.is_empty() => {
            Err(options.bad("backing", "it is given as a value and as a node with options"))
        }
        Some(Value::Null) => Ok(Backing::None),
        Some(Value::Text(text)) if text.is_empty() => Ok(Backing::None),
        Some(Value::Text(text)) => {
            let reason =
                format!("'{text}': there are no other nodes to refer to by name; null means no backing file");
            Err(options.bad("backing", reason))
        }
    }
}

/// Sizes in bytes become numbers of slices.
fn take_caches(options: &mut NodeOptions, passed: &mut Options) -> Result<()> {
    let entry = options.take_size("l2-cache-entry-size")?;
    if let Some(bytes) = entry {
        if !bytes.is_power_of_two() || !(512..=2 << 20).contains(&bytes) {
            let reason = format!("{bytes} is not a power of two from 512 to the cluster size");
            return Err(options.bad("l2-cache-entry-size", reason));
        }
        passed.set("l2-cache-entry-size", bytes);
    }
    let (l2, refcount) = cache_sizes(options)?;
    let slices = |bytes: u64, slice: u64| (bytes / slice).clamp(SLICES_MIN, SLICES_MAX);
    if let Some(bytes) = l2 {
        passed.set("l2-cache-slices", slices(bytes, entry.unwrap_or(SLICE_BYTES_DEFAULT)));
    }
    if let Some(bytes) = refcount {
        passed.set("refcount-cache-slices", slices(bytes, SLICE_BYTES_DEFAULT));
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
fn take_overlap_check(options: &mut NodeOptions, passed: &mut Options) -> Result<()> {
    let words = [("none", "none"), ("constant", "constant"), ("cached", "cached"), ("all", "all")];
    let short = options.take_choice("overlap-check", &words)?;
    let template = options.take_choice("overlap-check.template", &words)?;
    if let (Some(short), Some(template)) = (short, template)
        && short != template
    {
        let reason = format!("'{short}' contradicts overlap-check.template, '{template}'");
        return Err(options.bad("overlap-check", reason));
    }
    if let Some(level) = short.or(template) {
        passed.set("overlap-check", level);
    }
    for part in OVERLAP_PARTS {
        let name = format!("overlap-check.{part}");
        if let Some(is_on) = options.take_switch(&name)? {
            passed.set(&name, switch(is_on));
        }
    }
    Ok(())
}
