//! What a disk shows after the requests of a script, as far as QEMU's documents say: the byte of each range,
//! or that it is open.

use std::collections::BTreeMap;

use super::cluster_bytes;
use blk_harness::scenario::{Backing, Config, Fill, OnSnapshot, Request};

/// The byte in the raw disk at the bottom.
pub(super) const BASE_BYTE: u8 = 0xbb;
/// The byte in every other cluster of the disk between.
pub(super) const MIDDLE_BYTE: u8 = 0xbf;

/// A range, and the byte that fills it; `None` where the content is left open, as after a discard.
type Piece = (u64, u64, Option<u8>);

/// What the disk shows, and where requests have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// In order, without gaps, from 0 to the size of the disk.
    pieces: Vec<Piece>,
    /// Where something was changed: there QEMU takes no compressed write.
    changed: Vec<(u64, u64)>,
    /// What snapshots hold.
    slots: BTreeMap<u8, Vec<Piece>>,
}

impl Content {
    /// What a fresh image shows.
    pub(super) fn of(config: &Config) -> Self {
        let size = config.size_bytes.next_multiple_of(512);
        let mut content =
            Self { pieces: vec![(0, size, Some(0))], changed: Vec::new(), slots: BTreeMap::new() };
        if super::start_image(config).is_some() {
            // What it shows is not known here, nor where QEMU takes compressed writes.
            content.set(0, size, None);
            content.changed.push((0, size));
        }
        let shown = config.backing_bytes.min(size);
        if matches!(config.backing, Backing::Raw | Backing::Chain) {
            content.set(0, shown, Some(BASE_BYTE));
        }
        if matches!(config.backing, Backing::Format | Backing::Chain) {
            let cluster = cluster_bytes(config);
            for index in (0..config.backing_bytes / cluster).step_by(2) {
                let start = index * cluster;
                content.set(start.min(size), (start + cluster).min(size), Some(MIDDLE_BYTE));
            }
        }
        content
    }

    pub(super) fn size(&self) -> u64 {
        self.pieces.last().map_or(0, |piece| piece.1)
    }

    /// Whether the image has snapshots, as far as is known.
    pub(super) fn has_snapshots(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Whether QEMU's tools take the request of a disk like this.
    pub(super) fn takes(&self, request: &Request, config: &Config) -> bool {
        if let Request::Resize { size } = request {
            // Zeroes over a longer backing file need version 3.
            let hides_backing =
                config.options.is("compat", "0.10") && config.backing != Backing::None && *size > self.size();
            return size.is_multiple_of(512) && !hides_backing;
        }
        let Some((offset, length)) = request.range() else { return true };
        let Some(end) = offset.checked_add(length).filter(|end| *end <= self.size()) else { return false };
        let cluster = cluster_bytes(config);
        let is_compressed = matches!(request, Request::WriteCompressed { .. });
        let is_aligned =
            offset.is_multiple_of(cluster) && (end.is_multiple_of(cluster) || end == self.size());
        // What is around a part decides whether it can be marked: that is not known here.
        let is_marked = matches!(request, Request::WriteZeroes { no_fallback: true, .. });
        if is_marked && (!is_aligned || config.options.is("compat", "0.10")) {
            return false;
        }
        let is_fresh = self.changed.iter().all(|(start, until)| *until <= offset || *start >= end);
        length > 0 && (!is_compressed || (is_aligned && is_fresh))
    }

    /// Takes in a request that is taken.
    pub(super) fn make(&mut self, request: &Request, config: &Config) {
        if let Some((offset, length)) = request.range().filter(|_| request.kind().changes_content()) {
            let cluster = cluster_bytes(config);
            self.changed.push((offset / cluster * cluster, (offset + length).next_multiple_of(cluster)));
        }
        match *request {
            Request::Write { offset, length, fill: Fill::Byte(byte), .. }
            | Request::WriteCompressed { offset, length, fill: Fill::Byte(byte) } => {
                self.set(offset, offset + length, Some(byte));
            }
            Request::WriteZeroes { offset, length, .. } => self.set(offset, offset + length, Some(0)),
            Request::Write { offset, length, .. }
            | Request::WriteCompressed { offset, length, .. }
            | Request::Discard { offset, length } => self.set(offset, offset + length, None),
            Request::Resize { size } => self.resize(size.next_multiple_of(512)),
            Request::Read { .. }
            | Request::Status { .. }
            | Request::Flush
            | Request::Reopen { .. }
            | Request::Check { .. }
            | Request::Amend { .. }
            | Request::Bitmap { .. } => {}
            Request::Snapshot { act, slot } => self.snapshot(act, slot),
        }
    }

    fn snapshot(&mut self, act: OnSnapshot, slot: u8) {
        match act {
            OnSnapshot::Create => drop(self.slots.entry(slot).or_insert_with(|| self.pieces.clone())),
            OnSnapshot::Delete => drop(self.slots.remove(&slot)),
            OnSnapshot::Read => {}
            OnSnapshot::Apply => {
                if let Some(pieces) = self.slots.get(&slot) {
                    self.pieces.clone_from(pieces);
                    self.changed.push((0, u64::MAX));
                }
            }
        }
    }

    /// The pieces of a range.
    pub(super) fn pieces(&self, offset: u64, length: u64) -> Vec<Piece> {
        let end = offset + length;
        let touched = self.pieces.iter().filter(|piece| piece.0 < end && piece.1 > offset);
        touched.map(|piece| (piece.0.max(offset), piece.1.min(end), piece.2)).collect()
    }

    fn set(&mut self, start: u64, end: u64, byte: Option<u8>) {
        if start >= end {
            return;
        }
        let size = self.size();
        let mut pieces = self.pieces(0, start);
        pieces.push((start, end, byte));
        pieces.extend(self.pieces(end, size.saturating_sub(end)));
        pieces.dedup_by(|next, last| {
            let same = last.2 == next.2;
            if same {
                last.1 = next.1;
            }
            same
        });
        self.pieces = pieces;
    }

    fn resize(&mut self, size: u64) {
        let old = self.size();
        self.pieces = self.pieces(0, size.min(old));
        if size > old {
            // What was cut off and a backing file has may show again: that is left open.
            self.pieces.push((old, size, None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_and_joined() {
        let config = Config { size_bytes: 4096, ..Config::default() };
        let mut content = Content::of(&config);
        content.set(512, 1024, Some(7));
        content.set(1024, 2048, Some(7));
        content.set(1500, 1600, None);
        let expected = [
            (0, 512, Some(0)),
            (512, 1500, Some(7)),
            (1500, 1600, None),
            (1600, 2048, Some(7)),
            (2048, 4096, Some(0)),
        ];
        assert_eq!(content.pieces, expected);
        assert_eq!(content.pieces(1590, 20), [(1590, 1600, None), (1600, 1610, Some(7))]);
        content.resize(1024);
        content.resize(1536);
        assert_eq!(content.pieces, [(0, 512, Some(0)), (512, 1024, Some(7)), (1024, 1536, None)]);
        assert!(content.pieces(0, 0).is_empty() && content.size() == 1536);
    }
}
