//! Findings about two disks that differ, and the one renderer that makes text of a finding.
//!
//! ```text
//! blkverify: read offset=0 bytes=512 contents mismatch at offset 0 (sector 0)
//!   request:   #18 read 0 512
//!   differing: 512 of 512 compared bytes, in 1 sector
//!   expected:  00000000: a5 c3 ...   what request #17 (write 0 4096) wrote to sector 0
//!   found:     00000000: 00 00 ...   zeroes
//! ```
//!
//! A broken promise about crashes or failures of the storage begins with it, and says what was provoked:
//!
//! ```text
//! blkverify: C3, a sector holds what was last flushed to it, or what was written later: a sector holds what it must not
//!   differing: offset 0, sector 0
//!   expected:  00000000: ...  what request #1 (write 0 512) wrote to sector 0
//!   found:     00000000: ...  zeroes
//!   crash:     in request #2 (write 512 512), after operation 9 of the storage
//!   lost:      operation 8: write 1536..2048 (refcount block)
//!   persisted: operation 9: write 2048..2560 (L2 table)
//! ```

use std::fmt;

use blk_core::{Extent, bytes};

use crate::RequestKind;
use crate::finding::{
    Begun, Compared, Crash, Difference, Fate, Fault, Pending, Piece, Provoked, Side, Source,
};
use crate::journal::{Entry, Journal};
use crate::stamp::{self, Origin, Writer};

pub use crate::finding::{Finding, OriginClass, Signature};

/// What disks are compared and reported by, bytes.
pub const SECTOR_BYTES: u64 = bytes::SECTOR_BYTES;
/// Bytes of each side that a report shows.
const SHOWN_BYTES: usize = 16;

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

    fn counts(&self) -> (u64, u64) {
        let differing = |&index: &usize| -> bool { self.reference[index] != self.test[index] };
        let bytes = (0..self.test.len()).filter(differing).count();
        let mut sectors: Vec<u64> = (0..self.test.len())
            .filter(differing)
            .map(|index| (self.offset + index as u64) / SECTOR_BYTES)
            .collect();
        sectors.dedup();
        (bytes as u64, sectors.len() as u64)
    }
}

/// The finding for differing content. `request` is the one that noticed, with its number; `None` at the end
/// of a run.
pub fn content_finding(
    journal: &Journal,
    request: Option<(u32, Entry)>,
    asked: Extent,
    sides: Sides<'_>,
) -> Finding {
    let at = sides.first_difference();
    let address = sides.offset + at as u64;
    let (differing_bytes, differing_sectors) = sides.counts();
    let compared = Compared { asked, bytes: sides.test.len() as u64, differing_bytes, differing_sectors };
    let shown = |bytes| side(journal, bytes, sides.offset, at, sides.size);
    let (expected, found) = (shown(sides.reference), shown(sides.test));
    let kind = request.map(|(_, request)| request.kind());
    let signature =
        Signature::Content { request: kind, found: found.source.class(), expected: expected.source.class() };
    let what = format!("contents mismatch at offset {address} (sector {})", address / SECTOR_BYTES);
    Finding {
        request,
        request_number: request.map_or(0, |(number, _)| number),
        difference: Some(Box::new(Difference {
            compared: Some(compared),
            offset: address,
            expected: vec![expected],
            found,
        })),
        ..Finding::new(signature, what)
    }
}

/// A finding about a request whose outcome, not its data, is wrong.
pub fn request_finding(number: u32, request: impl Into<Entry>, signature: Signature, what: &str) -> Finding {
    Finding::new(signature, what).noticed_by(number, request)
}

/// What is said of sizes that differ.
pub fn sizes(reference: u64, test: u64) -> String {
    format!("the disk under test has {test} bytes, the reference {reference}")
}

/// A finding of an oracle.
pub fn oracle_finding(signature: Signature, what: &str, details: &str) -> Finding {
    Finding::new(signature, what).with_notes(details)
}

/// What a report shows of `bytes`, which lie at `offset` of a disk of `disk_bytes` bytes, from index `at` on.
pub fn side(journal: &Journal, bytes: &[u8], offset: u64, at: usize, disk_bytes: u64) -> Side {
    let sector = sector(journal, bytes, offset, at, disk_bytes);
    if at >= bytes.len() {
        return Side { bytes: Vec::new(), source: Source::PastEnd, sector };
    }
    let shown = &bytes[at..bytes.len().min(at + SHOWN_BYTES)];
    Side { bytes: shown.to_vec(), source: source(journal, bytes, offset, at, disk_bytes), sector }
}

/// The sector around index `at` of `bytes`, which lie at `offset`, as far as they reach; words have a source
/// each.
fn sector(journal: &Journal, bytes: &[u8], offset: u64, at: usize, disk_bytes: u64) -> Vec<Piece> {
    let address = offset + at as u64;
    let first = (address - address % SECTOR_BYTES).max(offset);
    let end = (address - address % SECTOR_BYTES + SECTOR_BYTES).min(offset + bytes.len() as u64);
    let mut pieces = Vec::new();
    let mut place = first;
    while place < end {
        let next = ((place & !7) + 8).min(end);
        let (from, to) = ((place - offset) as usize, (next - offset) as usize);
        let source = source(journal, &bytes[..to], offset, from, disk_bytes);
        Piece::push(&mut pieces, place, &bytes[from..to], source);
        place = next;
    }
    pieces
}

/// Where the bytes of `side`, which lies at `offset` of a disk of `disk_bytes` bytes, come from around index
/// `at`.
pub fn source(journal: &Journal, side: &[u8], offset: u64, at: usize, disk_bytes: u64) -> Source {
    let near = origin_near(side, offset, at, disk_bytes).filter(|(_, origin)| is_plausible(journal, *origin));
    let Some((place, Origin { writer, address, .. })) = near else {
        let rest = &side[at..side.len().min(at + SHOWN_BYTES)];
        return if bytes::is_zero(rest) {
            Source::Zeroes
        } else if rest.iter().all(|byte| *byte == rest[0]) {
            Source::Repeated(rest[0])
        } else {
            Source::Unknown
        };
    };
    let request = match writer {
        Writer::Request(number) => journal.request(number),
        Writer::Initial(_) => None,
    };
    Source::Stamped { writer, request, address, is_here: address == place }
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
fn origin_near(side: &[u8], offset: u64, at: usize, disk_bytes: u64) -> Option<(u64, Origin)> {
    let word = (offset + at as u64) & !7;
    let address = if word < offset { word + 8 } else { word };
    let start = (address - offset) as usize;
    let bytes = side.get(start..start + 8)?;
    stamp::decode(bytes.try_into().expect("eight bytes"), disk_bytes).map(|origin| (address, origin))
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

/// The text of a finding, many lines.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compared = self.difference.as_ref().and_then(|difference| difference.compared);
        match (self.promise, self.request) {
            (Some(promise), _) => writeln!(f, "blkverify: {promise}: {}", self.what)?,
            // The request that was made when a driver panicked need not be the one to blame.
            _ if matches!(self.signature, Signature::Panic { .. }) => {
                writeln!(f, "blkverify: {}", self.what)?;
            }
            (None, request) if request.is_some() || compared.is_some() => {
                let kind = request.map_or(RequestKind::Read, |(_, request)| request.kind());
                let asked = compared.map(|compared| compared.asked);
                let asked = asked.or_else(|| request.and_then(|(_, request)| request.extent()));
                let Extent { offset, length } = asked.unwrap_or_default();
                writeln!(f, "blkverify: {} offset={offset} bytes={length} {}", kind.name(), self.what)?;
                match request {
                    Some((number, request)) => writeln!(f, "  request:   #{number} {request}")?,
                    None => writeln!(f, "  request:   none: comparison of the whole disk")?,
                }
            }
            (None, _) => writeln!(f, "blkverify: {}", self.what)?,
        }
        self.difference.iter().try_for_each(|difference| difference.fmt(f))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))?;
        self.provoked.iter().try_for_each(|provoked| provoked.fmt(f))?;
        if !self.noticed.is_empty() {
            writeln!(f, "  noticed:   {}", self.noticed)?;
        }
        let in_flight = self.history.iter().filter(|begun| begun.is_in_flight);
        in_flight
            .clone()
            .try_for_each(|begun| writeln!(f, "  in flight: #{} {}", begun.number, begun.request))?;
        self.history.iter().try_for_each(|begun| begun.fmt(f))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.compared {
            Some(Compared { bytes, differing_bytes, differing_sectors, .. }) => {
                let s = if *differing_sectors == 1 { "" } else { "s" };
                let sectors = format!("{differing_sectors} sector{s}");
                writeln!(f, "  differing: {differing_bytes} of {bytes} compared bytes, in {sectors}")?;
            }
            None => {
                writeln!(f, "  differing: offset {}, sector {}", self.offset, self.offset / SECTOR_BYTES)?;
            }
        }
        let or = std::iter::repeat("or:      ");
        for (name, side) in std::iter::once("expected:").chain(or).zip(&self.expected) {
            side.line(f, name, self.offset)?;
        }
        self.found.line(f, "found:   ", self.offset)
    }
}

impl Side {
    fn line(&self, f: &mut fmt::Formatter<'_>, name: &str, address: u64) -> fmt::Result {
        if self.bytes.is_empty() {
            return writeln!(f, "  {name}  {}", self.source);
        }
        let hex: Vec<String> = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(f, "  {name}  {address:08x}: {:<47}  {}", hex.join(" "), self.source)
    }
}

impl fmt::Display for Provoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash(crash) => crash.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let during = self.during.map_or_else(
            || "the first open".to_owned(),
            |(number, request)| format!("request #{number} ({request})"),
        );
        writeln!(f, "  crash:     in {during}, after operation {} of the storage", self.operation)?;
        self.pending.iter().try_for_each(|pending| pending.fmt(f))
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.fate {
            Fate::Persisted => "persisted:",
            Fate::Lost => "lost:     ",
            Fate::Torn(_) => "torn:     ",
        };
        write!(f, "  {word} {}", self.operation)?;
        if let Fate::Torn(lost) = &self.fate {
            f.write_str(", lost")?;
            lost.iter().try_for_each(|lost| write!(f, " {}..{}", lost.offset, lost.end()))?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, operations, kind, step, extent, how, .. } = self;
        write!(f, "  fault:     operation {operation} of {operations} fails: {kind}")?;
        if step != "none" {
            write!(f, " ({step})")?;
        }
        if !extent.is_empty() {
            write!(f, " at {:#x}, {} bytes", extent.offset, extent.length)?;
        }
        writeln!(f, ", {how}")?;
        let named = |(number, request): &(u32, String)| format!("request #{number} ({request})");
        if !self.is_in_flight {
            let during = self.during.as_ref().map_or_else(|| "the first open".to_owned(), named);
            writeln!(f, "  during:    {during}")?;
        }
        match &self.surfaced {
            Some(surfaced) if self.surfaced != self.during => {
                writeln!(f, "  surfaced:  in {}", named(surfaced))?;
            }
            _ => {}
        }
        self.pending.iter().try_for_each(|pending| pending.fmt(f))
    }
}

impl fmt::Display for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  begun:     #{} {}", self.number, self.request)?;
        if !self.met.is_empty() {
            f.write_str("   in flight with")?;
        }
        self.met.iter().try_for_each(|other| write!(f, " #{other}"))?;
        writeln!(f)
    }
}
