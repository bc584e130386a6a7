//! What is said when two disks differ.
//!
//! ```text
//! blkverify: read offset=0 bytes=512 contents mismatch at offset 0 (sector 0)
//!   request:   #18 read 0 512
//!   differing: 512 bytes in 1 sector, the first at offset 0 (sector 0)
//!   expected:  00000000: a5 c3 ...   what request #17 (write 0 4096) wrote to sector 0
//!   found:     00000000: 00 00 ...   zeroes
//! ```

use std::fmt::Write;

use blk_core::{Extent, bytes};

use crate::RequestKind;
use crate::journal::{Entry, Journal};
use crate::stamp::{self, Origin, Writer};

/// What disks are compared and reported by, bytes.
pub const SECTOR_BYTES: u64 = bytes::SECTOR_BYTES;
/// Bytes of each side that a report shows.
const SHOWN_BYTES: usize = 16;

/// What kind of failure it is. Offsets and numbers are left out, so that a smaller scenario can have the same
/// signature.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Signature {
    /// A read returned other bytes.
    Content {
        /// Which request noticed; `None` for the comparison at the end.
        request: Option<RequestKind>,
        /// What the wrong bytes were.
        found: OriginClass,
        /// What they should have been.
        expected: OriginClass,
    },
    /// One side succeeded, the other failed, or they failed in different ways.
    Result {
        /// Which request.
        request: RequestKind,
        /// The error of the disk under test, or that of the reference: its kind, in Rust's debug form.
        error: String,
    },
    /// The block status contradicts the content.
    Status {
        /// What it claimed.
        claim: &'static str,
    },
    /// The sizes differ.
    Size,
    /// The check of the image found something.
    Image {
        /// The first message, with its numbers taken out.
        message: String,
    },
    /// The image could not be opened, flushed or checked.
    Failed {
        /// What was tried.
        what: &'static str,
        /// The error's kind, in Rust's debug form.
        error: String,
    },
    /// A promise about crashes or failures of the storage is broken.
    Broken {
        /// Its name.
        promise: &'static str,
        /// How, with its numbers taken out; where an operation failed, the step of the driver that it
        /// belonged to.
        how: String,
    },
    /// The driver panicked.
    Panic {
        /// Its message, with its numbers taken out.
        message: String,
    },
}

/// What sort of bytes these are, seen from the place where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OriginClass {
    /// All zero.
    Zeroes,
    /// Written by a request, for this place.
    Written,
    /// Written by a request for another place.
    Misplaced,
    /// What was there before the first request, for this place.
    Initial,
    /// What was there before the first request, for another place.
    InitialMisplaced,
    /// Nothing that was ever written with stamps.
    Other,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub signature: Signature,
    /// The report, many lines.
    pub report: String,
    /// The request that noticed it, counted from 1 in the order of the run; 0 for the oracles at the end.
    pub request_number: u32,
}

/// Both sides' bytes of a range in which they differ.
#[derive(Debug, Clone, Copy)]
pub struct Sides<'a> {
    /// Disk address of the first byte of both.
    pub offset: u64,
    /// The bytes of the reference.
    pub reference: &'a [u8],
    /// The bytes of the disk under test.
    pub test: &'a [u8],
    /// Size of the disk.
    pub size: u64,
}

impl Sides<'_> {
    fn first_difference(&self) -> usize {
        bytes::first_difference(self.reference, self.test).expect("the caller has seen a difference")
    }

    fn counts(&self) -> (usize, usize) {
        let differing = |&index: &usize| -> bool { self.reference[index] != self.test[index] };
        let bytes = (0..self.test.len()).filter(differing).count();
        let mut sectors: Vec<u64> = (0..self.test.len())
            .filter(differing)
            .map(|index| (self.offset + index as u64) / SECTOR_BYTES)
            .collect();
        sectors.dedup();
        (bytes, sectors.len())
    }
}

/// The finding for differing content. `request` is the one that noticed, with its number; `None` at the end
/// of a run.
pub fn content_finding(
    journal: &Journal,
    request: Option<(u32, Entry)>,
    range: Extent,
    sides: Sides<'_>,
) -> Finding {
    let at = sides.first_difference();
    let address = sides.offset + at as u64;
    let (bytes, sectors) = sides.counts();
    let expected = describe(journal, sides.reference, sides, at);
    let found = describe(journal, sides.test, sides, at);
    let kind = request.map(|(_, request)| request.kind());
    let mut report = format!(
        "blkverify: {} offset={} bytes={} contents mismatch at offset {address} (sector {})\n",
        kind.map_or("read", RequestKind::name),
        range.offset,
        range.length,
        address / SECTOR_BYTES
    );
    match request {
        Some((number, request)) => {
            let _ = writeln!(report, "  request:   #{number} {request}");
        }
        None => report.push_str("  request:   none: comparison of the whole disk\n"),
    }
    let s = if sectors == 1 { "" } else { "s" };
    let _ = writeln!(
        report,
        "  differing: {bytes} of {} compared bytes, in {sectors} sector{s}",
        sides.test.len()
    );
    let _ = writeln!(report, "  expected:  {}  {}", dump(sides.reference, address, at), expected.text);
    let _ = writeln!(report, "  found:     {}  {}", dump(sides.test, address, at), found.text);
    let signature = Signature::Content { request: kind, found: found.class, expected: expected.class };
    Finding { signature, report, request_number: request.map_or(0, |(number, _)| number) }
}

/// A finding about a request whose outcome, not its data, is wrong.
pub fn request_finding(number: u32, request: impl Into<Entry>, signature: Signature, what: &str) -> Finding {
    let request = request.into();
    let Extent { offset, length } = request.extent().unwrap_or_default();
    let report = format!(
        "blkverify: {} offset={offset} bytes={length} {what}\n  request:   #{number} {request}\n",
        request.kind().name()
    );
    Finding { signature, report, request_number: number }
}

/// What is said of sizes that differ.
pub fn sizes(reference: u64, test: u64) -> String {
    format!("the disk under test has {test} bytes, the reference {reference}")
}

/// A finding of an oracle.
pub fn oracle_finding(signature: Signature, what: &str, details: &str) -> Finding {
    let mut report = format!("blkverify: {what}\n");
    for line in details.lines() {
        let _ = writeln!(report, "  {line}");
    }
    Finding { signature, report, request_number: 0 }
}

/// Bytes as hex, from offset `at` of `side`.
pub fn dump(side: &[u8], address: u64, at: usize) -> String {
    let shown = &side[at..side.len().min(at + SHOWN_BYTES)];
    let hex: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{address:08x}: {:<47}", hex.join(" "))
}

#[derive(Debug)]
struct Description {
    class: OriginClass,
    text: String,
}

/// Where the bytes of `side`, which lies at `offset` of a disk of `disk_bytes` bytes, come from around index
/// `at`.
pub fn origin(
    journal: &Journal,
    side: &[u8],
    offset: u64,
    at: usize,
    disk_bytes: u64,
) -> (OriginClass, String) {
    let sides = Sides { offset, reference: side, test: side, size: disk_bytes };
    let described = describe(journal, side, sides, at);
    (described.class, described.text)
}

/// Where the bytes of `side` around index `at` come from.
fn describe(journal: &Journal, side: &[u8], sides: Sides<'_>, at: usize) -> Description {
    let near = origin_near(side, sides, at).filter(|(_, origin)| is_plausible(journal, *origin));
    let Some((address, origin)) = near else {
        let rest = &side[at..side.len().min(at + SHOWN_BYTES)];
        let (class, text) = if bytes::is_zero(rest) {
            (OriginClass::Zeroes, "zeroes".to_owned())
        } else if rest.iter().all(|byte| *byte == rest[0]) {
            (OriginClass::Other, format!("the byte {:#04x}, repeated", rest[0]))
        } else {
            (OriginClass::Other, "bytes without a stamp".to_owned())
        };
        return Description { class, text };
    };
    let here = origin.address == address;
    let place = format!("sector {}", origin.address / SECTOR_BYTES);
    let place = if here { place } else { format!("{place} (offset {})", origin.address) };
    match origin.writer {
        Writer::Request(number) => {
            let what =
                journal.request(number).map_or_else(|| "no longer remembered".to_owned(), |r| r.to_string());
            let class = if here { OriginClass::Written } else { OriginClass::Misplaced };
            Description { class, text: format!("what request #{number} ({what}) wrote to {place}") }
        }
        Writer::Initial(layer) => {
            let class = if here { OriginClass::Initial } else { OriginClass::InitialMisplaced };
            Description {
                class,
                text: format!("initial content of layer {layer} below the disk, of {place}"),
            }
        }
    }
}

/// Whether a request of that number was made: a word of which only a part was overwritten looks like the
/// stamp of another one.
fn is_plausible(journal: &Journal, origin: Origin) -> bool {
    let count = journal.request_count();
    match origin.writer {
        Writer::Request(number) => {
            u64::from(number) <= count
                || count >= u64::from(stamp::NUMBERS_END)
                || stamp::FOLLOW_UPS.contains(&number)
        }
        Writer::Initial(_) => true,
    }
}

/// The stamp that covers index `at`, or the next one of the same sector where that word is cut by the
/// compared range; with the disk address of its word.
fn origin_near(side: &[u8], sides: Sides<'_>, at: usize) -> Option<(u64, Origin)> {
    let word = (sides.offset + at as u64) & !7;
    let address = if word < sides.offset { word + 8 } else { word };
    let start = (address - sides.offset) as usize;
    let bytes = side.get(start..start + 8)?;
    stamp::decode(bytes.try_into().expect("eight bytes"), sides.size).map(|origin| (address, origin))
}

/// Takes the numbers out of a message, so that two messages about different places are alike.
pub fn without_numbers(message: &str) -> String {
    let mut plain = String::new();
    for word in message.split_whitespace() {
        let has_digit = word.contains(|character: char| character.is_ascii_digit());
        plain.push_str(if has_digit { "#" } else { word });
        plain.push(' ');
    }
    plain.trim_end().to_owned()
}
