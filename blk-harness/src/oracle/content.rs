//! The content oracle: every byte of the disk under test is that of the reference.

use std::fmt;

use blk_core::{Disk, Extent};

use crate::explain::{Scene, finding};
use crate::journal::Journal;
use crate::progress;
use crate::promise::Violation;
use crate::report::{self, Finding, Sides, Signature};
use crate::run::{found_in, judged, slots_of, unread};
use crate::verify::UNREAD;

/// Pieces of this size, bytes, stay in the processor's first-level cache on both sides.
pub(crate) const PIECE_BYTES: usize = 8 << 10;

/// Buffers for both sides, reused between runs.
#[derive(Default)]
pub(crate) struct Buffers {
    reference: Vec<u8>,
    test: Vec<u8>,
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers").field("bytes", &self.test.len()).finish_non_exhaustive()
    }
}

impl Buffers {
    /// Makes room for pieces of `length` bytes.
    fn grow(&mut self, length: usize) {
        if self.test.len() < length {
            self.reference.resize(length, 0);
            self.test.resize(length, 0);
        }
    }
}

/// Compares both disks whole. Returns the number of bytes, or the first difference. What lies behind the last
/// whole unit of the coarser request alignment no request can reach.
pub(crate) fn compare(
    journal: &Journal,
    reference: &Disk,
    test: &Disk,
    buffers: &mut Buffers,
) -> Result<u64, Box<Finding>> {
    compare_parts(journal, reference, test, buffers, &[Extent::new(0, reference.size())])
}

/// As [`compare`], for these parts of the disks alone: they come in order and do not overlap. What lies past
/// the end is no part of the disks.
pub(crate) fn compare_parts(
    journal: &Journal,
    reference: &Disk,
    test: &Disk,
    buffers: &mut Buffers,
    parts: &[Extent],
) -> Result<u64, Box<Finding>> {
    compare_in_pieces(journal, [reference, test], buffers, parts, PIECE_BYTES)
}

/// Compares the snapshots that requests have made.
pub(crate) fn compare_snapshots(
    journal: &Journal,
    [reference, test]: [&Disk; 2],
) -> Result<(), Box<Finding>> {
    if reference.as_snapshots().is_none() || test.as_snapshots().is_none() {
        return Ok(());
    }
    let told = |violation: Box<Violation>| finding(&violation, Scene::plain(journal, test.size()));
    let found = |disk: &Disk| found_in(disk).map_err(|error| told(unread(&error)));
    let (expected, found) = (found(reference)?, found(test)?);
    if found == expected {
        return Ok(());
    }
    judged(&found, &[slots_of(&expected)]).map(drop).map_err(told)
}

/// The same, `piece_bytes` at a time.
pub(crate) fn compare_in_pieces(
    journal: &Journal,
    [reference, test]: [&Disk; 2],
    buffers: &mut Buffers,
    parts: &[Extent],
    piece_bytes: usize,
) -> Result<u64, Box<Finding>> {
    let size = reference.size();
    if size != test.size() {
        let what = report::sizes(size, test.size());
        return Err(Box::new(report::oracle_finding(Signature::Size, &what, "")));
    }
    let alignment = reference.limits().request_alignment.max(test.limits().request_alignment);
    let piece = piece_bytes.max(alignment as usize);
    buffers.grow(piece);
    let size_end = size & !(alignment - 1);
    let (mut at, mut compared) = (0, 0);
    for part in parts {
        at = at.max(part.offset & !(alignment - 1));
        let end = part.end().min(size_end);
        while at < end {
            progress::step();
            let length = (size_end - at).min(piece as u64) as usize;
            let (expected, found) = (&mut buffers.reference[..length], &mut buffers.test[..length]);
            compare_piece(journal, [reference, test], at, [expected, found], "reading the whole disk")?;
            at += length as u64;
            compared += length as u64;
        }
    }
    Ok(compared)
}

/// Compares what both disks, reference and test, have from `at` on, as far as the buffers reach. `reading` is
/// what a failure of the disk under test is said of.
pub(crate) fn compare_piece(
    journal: &Journal,
    [reference, test]: [&Disk; 2],
    at: u64,
    [expected, found]: [&mut [u8]; 2],
    reading: &'static str,
) -> Result<(), Box<Finding>> {
    reference.read(at, expected).map_err(|error| failed("reading the reference", &error))?;
    found.fill(UNREAD);
    test.read(at, found).map_err(|error| failed(reading, &error))?;
    if expected == found {
        return Ok(());
    }
    let size = reference.size();
    let sides = Sides { offset: at, reference: expected, test: found, size };
    Err(Box::new(report::content_finding(journal, None, Extent::new(0, size), sides)))
}

/// The finding for something that has to succeed and did not.
pub(crate) fn failed(what: &'static str, error: &blk_core::Error) -> Box<Finding> {
    let signature = Signature::Failed { what, error: format!("{:?}", error.kind()) };
    Box::new(report::oracle_finding(signature, &format!("{what} failed"), &error.to_string()))
}
