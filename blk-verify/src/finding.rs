//! What is found wrong with a disk, as data. [`crate::report`] has the one renderer that makes text of it.

use std::fmt;

use blk_core::{Extent, bytes};

use crate::RequestKind;
use crate::journal::Entry;
use crate::stamp::Writer;

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
    /// The engine that has found it; empty where a verifier alone has.
    pub engine: &'static str,
    /// The promise that is broken, if it is about crashes or failures of the storage.
    pub promise: Option<&'static str>,
    /// What is wrong, in one line.
    pub what: String,
    /// The request that noticed it, with its stamp number, as far as it is known.
    pub request: Option<(u32, Entry)>,
    /// The request that noticed it, counted from 1 in the order of the run; 0 for the oracles at the end.
    pub request_number: u32,
    /// The bytes that are wrong, if bytes are.
    pub difference: Option<Box<Difference>>,
    /// More lines: the errors of a check, the message of a panic.
    pub notes: Vec<String>,
    /// What was done to the storage under the disk, if something was.
    pub provoked: Option<Provoked>,
    /// Where in a run it was noticed, if more is known than the request.
    pub noticed: String,
    /// The last requests before it, and those in flight, where requests may be in flight together.
    pub history: Vec<Begun>,
    /// Requests that are none of the scenario, and were made of the disk after a crash or a fault, up to the
    /// one that noticed. Reports leave them out.
    pub followed: Vec<(u32, Entry)>,
}

impl Finding {
    /// A finding of which no more is known than this.
    pub fn new(signature: Signature, what: impl Into<String>) -> Self {
        Self {
            signature,
            engine: "",
            promise: None,
            what: what.into(),
            request: None,
            request_number: 0,
            difference: None,
            notes: Vec::new(),
            provoked: None,
            noticed: String::new(),
            history: Vec::new(),
            followed: Vec::new(),
        }
    }

    /// The text of it, many lines.
    pub fn report(&self) -> String {
        self.to_string()
    }

    /// The first line of its text.
    pub fn headline(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().to_owned()
    }

    /// The same, noticed by a request.
    #[must_use]
    pub fn noticed_by(self, number: u32, request: impl Into<Entry>) -> Self {
        Self { request: Some((number, request.into())), request_number: number, ..self }
    }

    /// The same with more lines.
    #[must_use]
    pub fn with_notes(mut self, text: &str) -> Self {
        self.notes.extend(text.lines().map(str::to_owned));
        self
    }

    /// The same, found by an engine. What an engine within it has named keeps its name.
    #[must_use]
    pub fn by(mut self, engine: &'static str) -> Self {
        if self.engine.is_empty() {
            self.engine = engine;
        }
        self
    }
}

/// Bytes that are not what they have to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What was asked for, or compared; `None` where one sector was judged.
    pub compared: Option<Compared>,
    /// Disk address of the first byte that is wrong.
    pub offset: u64,
    /// What may be there, from that address on: the likeliest first.
    pub expected: Vec<Side>,
    /// What is there.
    pub found: Side,
}

/// How much was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// What was asked for.
    pub asked: Extent,
    /// How many bytes were compared.
    pub bytes: u64,
    /// How many of them differ.
    pub differing_bytes: u64,
    /// In how many sectors.
    pub differing_sectors: u64,
}

/// The first bytes of one side of a difference, and who wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Some bytes; none where the disk ends before them.
    pub bytes: Vec<u8>,
    /// Where they come from.
    pub source: Source,
    /// The sector that they lie in, as far as it was looked at, by where its parts come from.
    pub sector: Vec<Piece>,
}

/// Bytes of a sector that come from one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Disk address of the first of them.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Where they come from.
    pub source: Source,
}

/// Where bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// They are zeroes.
    Zeroes,
    /// They are this byte, repeated.
    Repeated(u8),
    /// They have no stamp.
    Unknown,
    /// Their stamp names who wrote them.
    Stamped {
        /// Who.
        writer: Writer,
        /// The request, if it is remembered.
        request: Option<Entry>,
        /// The address that they were written for.
        address: u64,
        /// Whether they are there.
        is_here: bool,
    },
    /// The disk ends here.
    PastEnd,
}

impl Source {
    /// What sort of bytes these are.
    pub fn class(&self) -> OriginClass {
        match self {
            Self::Zeroes => OriginClass::Zeroes,
            Self::Repeated(_) | Self::Unknown | Self::PastEnd => OriginClass::Other,
            Self::Stamped { writer: Writer::Request(_), is_here: true, .. } => OriginClass::Written,
            Self::Stamped { writer: Writer::Request(_), .. } => OriginClass::Misplaced,
            Self::Stamped { writer: Writer::Initial(_), is_here: true, .. } => OriginClass::Initial,
            Self::Stamped { writer: Writer::Initial(_), .. } => OriginClass::InitialMisplaced,
        }
    }

    /// Whether bytes `distance` after those of this source come from the same place.
    fn continues(&self, other: &Self, distance: u64) -> bool {
        match (self, other) {
            (
                Self::Stamped { writer, address, is_here, .. },
                Self::Stamped {
                    writer: other_writer, address: other_address, is_here: other_is_here, ..
                },
            ) => {
                (writer, is_here) == (other_writer, other_is_here)
                    && *other_address == address.wrapping_add(distance)
            }
            _ => self == other,
        }
    }
}

impl Piece {
    /// Adds bytes behind `pieces`, to the last one if they come from the same place.
    pub(crate) fn push(pieces: &mut Vec<Self>, offset: u64, bytes: &[u8], source: Source) {
        match pieces.last_mut() {
            Some(last) if last.source.continues(&source, offset - last.offset) => last.bytes.extend(bytes),
            _ => pieces.push(Self { offset, bytes: bytes.to_vec(), source }),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Stamped { writer, request, address, is_here } = self else {
            return match self {
                Self::Zeroes => f.write_str("zeroes"),
                Self::Repeated(byte) => write!(f, "the byte {byte:#04x}, repeated"),
                Self::PastEnd => f.write_str("nothing: the disk ends here"),
                _ => f.write_str("bytes that no request wrote like that"),
            };
        };
        match (writer, request) {
            (Writer::Request(number), Some(request)) => {
                write!(f, "what request #{number} ({request}) wrote to ")?;
            }
            (Writer::Request(number), None) => {
                write!(f, "what request #{number} (no longer remembered) wrote to ")?;
            }
            (Writer::Initial(layer), _) => write!(f, "initial content of layer {layer} below the disk, of ")?,
        }
        write!(f, "sector {}", bytes::sector_of(*address))?;
        if *is_here { Ok(()) } else { write!(f, " (offset {address})") }
    }
}

/// What was done to the storage under a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provoked {
    /// A crash.
    Crash(Crash),
    /// An operation that fails.
    Fault(Fault),
}

/// The point of a crash, and the state that it left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// The request that had begun last; `None` while the image was opened.
    pub during: Option<(u32, Entry)>,
    /// The newest operation of the storage, counted from 1.
    pub operation: u64,
    /// What became of the operations that were not durable yet.
    pub pending: Vec<Pending>,
}

/// What a crash has made of an operation that was not durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// How it fared.
    pub fate: Fate,
    /// The operation, in words.
    pub operation: String,
    /// What of the image it is about; empty for a change of its length.
    pub extent: Extent,
}

/// How an operation fares in a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// All of it is there.
    Persisted,
    /// Nothing of it is there.
    Lost,
    /// Parts are there; these bytes of the image are not.
    Torn(Vec<Extent>),
}

/// An operation of the storage that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its number, counted from 1.
    pub operation: u64,
    /// How many there are in the run without faults.
    pub operations: u64,
    /// What it is, such as `Write`.
    pub kind: String,
    /// The step of the driver that it belongs to.
    pub step: String,
    /// What it is about; empty for one about nothing, such as a sync.
    pub extent: Extent,
    /// How it fails.
    pub how: String,
    /// The request that makes it, as a number and in words; `None` while the image is opened, and where
    /// requests are in flight together.
    pub during: Option<(u32, String)>,
    /// Whether requests are in flight together.
    pub is_in_flight: bool,
    /// The first request that failed because of it, as far as one has.
    pub surfaced: Option<(u32, String)>,
    /// Where the storage has crashed after a sync that failed: what became of the operations that were not
    /// durable yet.
    pub pending: Vec<Pending>,
}

/// A request that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Its stamp number.
    pub number: u32,
    /// The request, in words.
    pub request: String,
    /// Whether it has not completed.
    pub is_in_flight: bool,
    /// The numbers of those that it was in flight with.
    pub met: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_notices_a_finding_is_told_by_number_and_request() {
        let finding = Finding::new(Signature::Size, "").noticed_by(7, blk_core::Op::Flush);
        assert_eq!(finding.request_number, 7);
        assert!(
            finding.request.is_some_and(|(number, request)| number == 7 && request.kind().name() == "flush")
        );
    }

    #[test]
    fn the_headline_is_the_first_line() {
        let finding = Finding::new(Signature::Size, "the sizes differ").with_notes("one\ntwo");
        assert_eq!(finding.headline(), "blkverify: the sizes differ");
        assert_eq!(finding.report(), "blkverify: the sizes differ\n  one\n  two\n");
    }
}
