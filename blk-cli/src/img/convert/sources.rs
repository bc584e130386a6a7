//! The images that are read, laid end to end.

use blk_core::{Disk, Error, Extent, Result};

use super::super::chain::Chain;
use super::super::image::Image;
use super::super::size::SECTOR_BYTES;

/// An image that is read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) image: Image,
    pub(super) chain: Chain,
}

impl Source {
    pub(super) fn new(image: Image) -> Self {
        let chain = Chain::of(&image);
        Self { image, chain }
    }

    fn disk(&self) -> &Disk {
        &self.image.disk
    }
}

/// What is known of a range of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has to be read.
    Data,
    /// It reads as zeroes.
    Zero,
    /// The backing file of the source determines it.
    Backing,
}

/// An error, and the name of the image and the offset in it that it is about.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) name: String,
    pub(super) offset: u64,
    pub(super) error: Error,
}

/// All sources as one range of bytes.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    /// Each with where it starts.
    sources: Vec<(u64, &'a Source)>,
    size: u64,
}

impl<'a> Sources<'a> {
    pub(super) fn new(sources: &'a [Source]) -> Self {
        let mut size = 0;
        let mut placed = Vec::with_capacity(sources.len());
        for source in sources {
            placed.push((size, source));
            size += source.image.size();
        }
        Self { sources: placed, size }
    }

    /// The sizes of all sources together.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// The part of `extent` at its start that lies in one source: the source, and where in it. `extent` is
    /// not empty.
    fn first_part(&self, extent: Extent) -> (&'a Source, Extent) {
        let index = self.sources.partition_point(|(start, _)| *start <= extent.offset) - 1;
        let (start, source) = self.sources[index];
        let at = extent.offset - start;
        (source, Extent::new(at, extent.length.min(source.image.size() - at)))
    }

    /// What is known of the start of `extent`, and for how far. Where the target lies over a disk, of `below`
    /// bytes, the sources are asked without their backing files.
    pub(super) fn status(
        &self,
        extent: Extent,
        below: Option<u64>,
    ) -> std::result::Result<(u64, Kind), Located> {
        let (source, part) = self.first_part(extent);
        let found = match below {
            Some(below) if part.offset < source.disk().size() => own_status(source.disk(), part, below),
            _ => source.chain.status(part).map(|status| {
                let kind = if status.zero { Kind::Zero } else { Kind::Data };
                (status.length, kind)
            }),
        };
        found.map_err(|error| Located { name: source.image.name.clone(), offset: part.offset, error })
    }

    /// Fills `buf`, which may reach over several sources.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> std::result::Result<(), Located> {
        let mut done = 0;
        while done < buf.len() {
            let rest = Extent::new(offset + done as u64, (buf.len() - done) as u64);
            let (source, part) = self.first_part(rest);
            let end = done + part.length as usize;
            source.image.read(part.offset, &mut buf[done..end]).map_err(|error| Located {
                name: source.image.name.clone(),
                offset: part.offset,
                error,
            })?;
            done = end;
        }
        Ok(())
    }

    /// Fills `buf` sector by sector. Those that cannot be read become zeroes; returns which, those in a row
    /// as one.
    pub(super) fn read_what_can_be(&self, offset: u64, buf: &mut [u8]) -> Vec<Lost> {
        let mut lost: Vec<Lost> = Vec::new();
        for (index, sector) in buf.chunks_mut(SECTOR_BYTES as usize).enumerate() {
            let at = offset + index as u64 * SECTOR_BYTES;
            if let Err(why) = self.read(at, sector) {
                sector.fill(0);
                match lost.last_mut() {
                    Some(before) if before.continues_at(&why) => before.length += sector.len() as u64,
                    _ => lost.push(Lost { length: sector.len() as u64, why }),
                }
            }
        }
        lost
    }
}

/// What the source's own layer says, for a target over a disk of `below` bytes. Both backing files are to be
/// alike, but that of the target may go on where the source shows zeroes.
fn own_status(disk: &Disk, part: Extent, below: u64) -> Result<(u64, Kind)> {
    let inside = part.length.min(disk.size() - part.offset);
    let status = disk.block_status(Extent::new(part.offset, inside))?;
    let end = disk.backing().map_or(0, |backing| backing.size());
    // Up to the sector that the backing file has in part.
    let alike = if below > end { end - end % SECTOR_BYTES } else { u64::MAX };
    let (length, kind) = match (status.zero, status.allocated) {
        (false, true) => (u64::MAX, Kind::Data),
        (false, false) if part.offset < alike => (alike - part.offset, Kind::Backing),
        (false, false) if part.offset < end => (SECTOR_BYTES, Kind::Data),
        (true, _) | (false, false) => (u64::MAX, Kind::Zero),
    };
    Ok((status.length.min(length), kind))
}

/// Bytes of an image that could not be read.
#[derive(Debug)]
pub(super) struct Lost {
    length: u64,
    /// Why the first of them could not.
    why: Located,
}

impl Lost {
    fn continues_at(&self, next: &Located) -> bool {
        self.why.name == next.name && self.why.offset + self.length == next.offset
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Located { name, offset, error } = &self.why;
        write!(
            f,
            "{} bytes at offset {offset} of '{name}' cannot be read and become zeroes: {error}",
            self.length
        )
    }
}
