//! Where two disks differ, and where the bytes are: in the guest, in the host file, and what a check says of
//! that.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blk_core::{Disk, Extent, RepairMode, Result, Storage};
use blk_harness::driver::Bench;
use blk_verify::Signature;

use crate::spec::Layer;

const SECTOR_BYTES: u64 = 512;
const PIECE_BYTES: u64 = 1 << 20;
/// Ranges and clusters that are listed.
const LISTED_MAX: usize = 8;
/// Looking for bytes ends after this long.
const SEARCH_MAX: Duration = Duration::from_secs(5);

/// Whether something is found about content: then the disks can be compared to see where.
pub(super) fn is_about_content(signature: &Signature) -> bool {
    matches!(signature, Signature::Content { .. })
}

/// What there is to say about how two disks differ; nothing if they do not. `layers` are those of the disk
/// under test.
pub(super) fn difference(bench: &dyn Bench, layers: &[Layer]) -> String {
    let (reference, test) = (bench.reference(), bench.test());
    let search = Search { reference, test, layers, until: Instant::now() + SEARCH_MAX };
    // What cannot be read now is no reason to leave out the report.
    search.describe().unwrap_or_else(|error| format!("  where:     cannot be told: {error}\n"))
}

struct Search<'a> {
    reference: Arc<Disk>,
    test: Arc<Disk>,
    layers: &'a [Layer],
    until: Instant,
}

/// Ranges of sectors in which the disks differ, in order.
#[derive(Debug, Default)]
struct Differing {
    ranges: Vec<Extent>,
    bytes: u64,
    count: u64,
    /// Where the search ended, if that was early.
    ended_at: Option<u64>,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        Instant::now() > self.until
    }

    fn describe(&self) -> Result<String> {
        let mut text = String::new();
        let differing = self.differing()?;
        let Some(first) = differing.ranges.first() else { return Ok(text) };
        self.ranges(&mut text, &differing);
        let clusters = self.clusters(&differing.ranges)?;
        for (index, cluster) in clusters.iter().enumerate() {
            let head = if index == 0 { "clusters:" } else { "" };
            let _ = writeln!(text, "  {head:<10} {}", cluster.text);
        }
        let _ = writeln!(text, "  check:     {}", self.check(&clusters));
        let _ = writeln!(text, "  expected:  {}", self.expected(first.offset)?);
        Ok(text)
    }

    fn differing(&self) -> Result<Differing> {
        let size = self.reference.size().min(self.test.size());
        let mut found = Differing::default();
        let mut buffers = [vec![0; PIECE_BYTES as usize], vec![0; PIECE_BYTES as usize]];
        let mut at = 0;
        while at < size {
            if self.is_over() {
                found.ended_at = Some(at);
                break;
            }
            let rest = Extent::between(at, size);
            let zero =
                known_zero(&self.reference, rest).min(known_zero(&self.test, rest)) & !(PIECE_BYTES - 1);
            if zero > 0 {
                at += zero;
                continue;
            }
            let length = rest.length.min(PIECE_BYTES) as usize;
            let [expected, shown] = buffers.each_mut().map(|buffer| &mut buffer[..length]);
            self.reference.read(at, expected)?;
            self.test.read(at, shown)?;
            if expected != shown {
                found.add_piece(at, expected, shown);
            }
            at += length as u64;
        }
        Ok(found)
    }

    fn ranges(&self, text: &mut String, differing: &Differing) {
        for (index, range) in differing.ranges.iter().enumerate() {
            let head = if index == 0 { "guest:" } else { "" };
            let _ = writeln!(
                text,
                "  {head:<10} {} to {} ({} bytes, from sector {})",
                range.offset,
                range.end(),
                range.length,
                range.offset / SECTOR_BYTES
            );
        }
        let shown = differing.ranges.len() as u64;
        if differing.count > shown {
            let more = differing.count - shown;
            let _ = writeln!(text, "             and {more} more ranges, {} bytes in all", differing.bytes);
        }
        if let Some(at) = differing.ended_at {
            let size = self.test.size();
            let _ = writeln!(text, "             (looked at the first {at} of {size} bytes)");
        }
    }

    /// The clusters under the first ranges.
    fn clusters(&self, ranges: &[Extent]) -> Result<Vec<Cluster>> {
        let mut clusters: Vec<Cluster> = Vec::new();
        for range in ranges {
            let mut rest = *range;
            while !rest.is_empty() && clusters.len() < LISTED_MAX {
                let cluster = self.cluster(rest)?;
                let end = cluster.guest.end();
                rest = Extent::between(end.min(rest.end()), rest.end());
                if clusters.last().is_none_or(|last| last.guest.offset != cluster.guest.offset) {
                    clusters.push(cluster);
                }
            }
        }
        Ok(clusters)
    }

    fn cluster(&self, rest: Extent) -> Result<Cluster> {
        let unit = self.test.limits().zero_granularity.max(SECTOR_BYTES);
        let start = rest.offset / unit * unit;
        let guest = Extent::between(start, (start + unit).min(self.test.size()));
        let status = self.test.block_status(Extent::new(rest.offset, 1.max(guest.end() - rest.offset)))?;
        let name = self.layers.first().map_or("the image", |layer| layer.name.as_str());
        let host = status.host_offset.map(|offset| offset - offset.min(rest.offset - start));
        let place = |host: u64| format!("at host offset {host} ({host:#x}) of {name}");
        let what = match (status.allocated, status.zero, host) {
            (true, true, Some(host)) => format!("zeroes, with a cluster {}", place(host)),
            (true, true, None) => "zeroes, without a cluster".to_owned(),
            (true, false, Some(host)) => format!("data {}", place(host)),
            (true, false, None) if status.compressed => "compressed data".to_owned(),
            (true, false, None) => "data".to_owned(),
            (false, ..) => match self.layers.get(1) {
                Some(backing) => format!("unallocated: {} shows through", backing.name),
                None => "unallocated".to_owned(),
            },
        };
        Ok(Cluster {
            guest,
            host: host.map(|host| Extent::new(host, guest.length)),
            text: format!("guest {}: {what}", guest.offset),
        })
    }

    /// What a check says of these clusters, or of the image.
    fn check(&self, clusters: &[Cluster]) -> String {
        if self.test.as_check().is_none() {
            return "the format has none".to_owned();
        }
        let report = match self.test.check(RepairMode::None) {
            Ok(report) => report,
            Err(error) => return format!("it fails: {error}"),
        };
        if report.is_clean() {
            return "clean: the metadata is consistent, the content is not what it should be".to_owned();
        }
        let is_here = |offset: u64| {
            let hosts = clusters.iter().filter_map(|cluster| cluster.host);
            hosts.into_iter().any(|host| host.offset <= offset && offset < host.end())
        };
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            report.findings.iter().partition(|found| is_here(found.offset));
        let shown = here.first().or(elsewhere.first());
        let what =
            shown.map_or_else(String::new, |found| format!("{:#x}: {}; ", found.offset, found.message));
        let counts = format!("{} corruptions, {} leaks", report.corruptions, report.leaks);
        format!("{} of these clusters are named; {what}{counts} in all", here.len())
    }

    /// Where the sector that should be at `guest` is instead.
    fn expected(&self, guest: u64) -> Result<String> {
        let mut sector = vec![0; SECTOR_BYTES as usize];
        let length = (self.reference.size() - guest).min(SECTOR_BYTES) as usize;
        self.reference.read(guest, &mut sector[..length])?;
        let number = guest / SECTOR_BYTES;
        if sector.iter().all(|byte| *byte == sector[0]) {
            return Ok(format!(
                "sector {number} is {:#04x} throughout: it cannot be searched for",
                sector[0]
            ));
        }
        if let Some(at) = self.in_guest(&sector)? {
            let host =
                self.test.block_status(Extent::new(at, SECTOR_BYTES.min(self.test.size() - at)))?.host_offset;
            let host = host.map_or_else(String::new, |host| format!(", host offset {host:#x}"));
            return Ok(format!("the bytes of sector {number} are at guest offset {at}{host}"));
        }
        for layer in self.layers {
            let Some(storage) = &layer.storage else { continue };
            if let Some(at) = self.in_storage(&**storage, &sector)? {
                let name = &layer.name;
                return Ok(format!(
                    "the bytes of sector {number} are at host offset {at} ({at:#x}) of {name}, where no guest offset shows them"
                ));
            }
        }
        let how = if self.is_over() {
            " within the time for it"
        } else {
            "; compressed clusters were not searched"
        };
        Ok(format!("the bytes of sector {number} were not found anywhere{how}"))
    }

    fn in_guest(&self, sector: &[u8]) -> Result<Option<u64>> {
        let size = self.test.size();
        let mut buffer = vec![0; PIECE_BYTES as usize];
        let mut at = 0;
        while at < size && !self.is_over() {
            let rest = Extent::between(at, size);
            let zero = known_zero(&self.test, rest) & !(SECTOR_BYTES - 1);
            if zero > 0 {
                at += zero;
                continue;
            }
            let piece = &mut buffer[..rest.length.min(PIECE_BYTES) as usize];
            self.test.read(at, piece)?;
            if let Some(found) = find(piece, sector) {
                return Ok(Some(at + found));
            }
            at += piece.len() as u64;
        }
        Ok(None)
    }

    fn in_storage(&self, storage: &dyn Storage, sector: &[u8]) -> Result<Option<u64>> {
        let mut buffer = vec![0; PIECE_BYTES as usize];
        let mut at = 0;
        while let Some(run) = storage.run_at(at)?
            && !self.is_over()
        {
            let end = at + run.length;
            while run.data && at < end && !self.is_over() {
                let start = at / SECTOR_BYTES * SECTOR_BYTES;
                storage.read_at(start, &mut buffer)?;
                if let Some(found) = find(&buffer, sector) {
                    return Ok(Some(start + found));
                }
                at = start + PIECE_BYTES;
            }
            at = end.max(at);
        }
        Ok(None)
    }
}

/// A cluster of the disk under test.
#[derive(Debug)]
struct Cluster {
    guest: Extent,
    host: Option<Extent>,
    text: String,
}

impl Differing {
    fn add_piece(&mut self, at: u64, expected: &[u8], shown: &[u8]) {
        let sectors = expected.chunks(SECTOR_BYTES as usize).zip(shown.chunks(SECTOR_BYTES as usize));
        for (index, (a, b)) in sectors.enumerate() {
            if a == b {
                continue;
            }
            let range = Extent::new(at + index as u64 * SECTOR_BYTES, a.len() as u64);
            self.bytes += range.length;
            match self.ranges.last_mut() {
                Some(last) if last.end() == range.offset => last.length += range.length,
                _ => {
                    self.count += 1;
                    if self.ranges.len() < LISTED_MAX {
                        self.ranges.push(range);
                    }
                }
            }
        }
    }
}

/// Where a sector stands among whole sectors.
fn find(bytes: &[u8], sector: &[u8]) -> Option<u64> {
    let found = bytes.chunks_exact(SECTOR_BYTES as usize).position(|chunk| chunk == sector)?;
    Some(found as u64 * SECTOR_BYTES)
}

/// How many bytes from the start of `extent` the disk calls zero; 0 if it does not know.
fn known_zero(disk: &Disk, extent: Extent) -> u64 {
    match disk.block_status(extent) {
        Ok(status) if status.zero || (!status.allocated && disk.backing().is_none()) => status.length,
        _ => 0,
    }
}
