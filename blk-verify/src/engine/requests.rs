//! Making one request of a scenario.

use blk_core::{Disk, Error, Extent, RepairMode, WriteFlags, ZeroFlags};

use super::{Run, Step};
use crate::oracle::image;
use crate::scenario::{Fill, Request};
use crate::stamp;
use crate::stats::ClusterKind;

/// Largest transfer of a request, bytes: longer ones are cut into pieces of this size.
const TRANSFER_BYTES: u64 = 4 << 20;

impl Run<'_> {
    pub(super) fn make(&mut self, request: Request) -> Step {
        let number = self.journal.enter(request);
        self.engine.stats.requests += 1;
        let before = self.kinds_at(request);
        let result = match request {
            Request::Reopen => return self.make_reopen(),
            Request::Check => return self.make_check(),
            _ => self.perform(number, request),
        };
        match result {
            Ok(()) => self.engine.stats.accepted += 1,
            Err(error @ (Error::Mismatch { .. } | Error::Poisoned { .. })) => {
                return Err(self.found("a request", &error));
            }
            // Both disks refused, or the difference is permitted.
            Err(_) => {}
        }
        for (before, after) in before.into_iter().zip(self.kinds_at(request)) {
            if let (Some(before), Some(after)) = (before, after) {
                self.engine.stats.transition(before, request.kind(), after);
            }
        }
        Ok(())
    }

    fn make_reopen(&mut self) -> Step {
        self.reopen()?;
        self.engine.stats.accepted += 1;
        self.verify()
    }

    fn make_check(&mut self) -> Step {
        let disk = self.disk();
        if disk.driver().as_check().is_some() {
            match disk.check(RepairMode::None) {
                Ok(checked) if checked.is_clean() => {}
                Ok(checked) => return Err(Box::new(image::finding(&checked))),
                Err(error) => return Err(self.found("checking the image", &error)),
            }
        }
        self.engine.stats.accepted += 1;
        Ok(())
    }

    fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("the verifier is there between reopens")
    }

    fn perform(&mut self, number: u32, request: Request) -> blk_core::Result<()> {
        match request {
            Request::Read { offset, length } => self.read(offset, length),
            Request::Write { offset, length, fill, fua } => {
                self.write(number, offset, length, fill, WriteFlags { fua, compressed: false })
            }
            Request::WriteCompressed { offset, length, fill } => {
                self.write(number, offset, length, fill, WriteFlags { fua: false, compressed: true })
            }
            Request::WriteZeroes { offset, length, unmap, no_fallback, fua } => {
                let flags = ZeroFlags { fua, may_unmap: unmap, no_fallback };
                self.disk().write_zeroes(Extent::new(offset, length), flags)
            }
            Request::Discard { offset, length } => self.disk().discard(Extent::new(offset, length)),
            Request::Flush => self.disk().flush(),
            Request::Status { offset, length } => self.map(offset, length),
            Request::Resize { size } => self.resize(size),
            Request::Reopen | Request::Check => unreachable!("made elsewhere"),
        }
    }

    /// Cuts a range into transfers, once it is known to lie on the disk: nothing is allocated for one that does not.
    fn transfers(&self, offset: u64, length: u64) -> blk_core::Result<impl Iterator<Item = Extent> + use<>> {
        let size = self.disk().size();
        let end = offset.checked_add(length).filter(|end| *end <= size);
        let end = end.ok_or(Error::OutOfRange { offset, length, size })?;
        let starts = (offset..end).step_by(TRANSFER_BYTES as usize);
        Ok(starts.map(move |at| Extent::new(at, (end - at).min(TRANSFER_BYTES))))
    }

    fn read(&mut self, offset: u64, length: u64) -> blk_core::Result<()> {
        for part in self.transfers(offset, length)? {
            let mut data = std::mem::take(&mut self.engine.data);
            grow(&mut data, part.length);
            let result = self.disk().read(part.offset, &mut data[..part.length as usize]);
            self.engine.data = data;
            result?;
            self.engine.stats.bytes_read += part.length;
            self.engine.stats.bytes_compared += part.length;
        }
        Ok(())
    }

    fn write(
        &mut self,
        number: u32,
        offset: u64,
        length: u64,
        fill: Fill,
        flags: WriteFlags,
    ) -> blk_core::Result<()> {
        let cluster_bytes = self.config.cluster_bytes();
        for part in self.transfers(offset, length)? {
            let mut data = std::mem::take(&mut self.engine.data);
            grow(&mut data, part.length);
            let buf = &mut data[..part.length as usize];
            match fill {
                Fill::Byte(byte) => buf.fill(byte),
                Fill::Stamp => stamp::fill(buf, part.offset, number),
            }
            if flags.compressed && fill == Fill::Stamp {
                keep_first_quarters(buf, cluster_bytes as usize);
            }
            let result = self.disk().write(part.offset, buf, flags);
            self.engine.data = data;
            result?;
        }
        Ok(())
    }

    /// Asks for the status of a range, piece by piece, as a map does.
    fn map(&mut self, offset: u64, length: u64) -> blk_core::Result<()> {
        const PIECES_MAX: usize = 1 << 16;
        let mut rest = Extent::new(offset, length);
        for _ in 0..PIECES_MAX {
            let status = self.disk().block_status(rest)?;
            if status.length >= rest.length {
                break;
            }
            rest = Extent::between(rest.offset + status.length, rest.end());
        }
        Ok(())
    }

    fn resize(&mut self, size: u64) -> blk_core::Result<()> {
        if size > self.engine.options.size_bytes_max {
            return Err(Error::NoSpace { what: "larger than this run allows".into() });
        }
        self.disk().resize(size)
    }

    /// The kinds of the clusters in which a request starts and ends; the second only where that is another one.
    fn kinds_at(&self, request: Request) -> [Option<ClusterKind>; 2] {
        let range = request.range().filter(|(_, length)| self.engine.options.track_kinds && *length > 0);
        let Some((first, length)) = range else { return [None; 2] };
        let cluster = |offset: u64| offset / self.config.cluster_bytes();
        let last = first.checked_add(length - 1).filter(|last| cluster(*last) != cluster(first));
        [self.kind_at(first), last.and_then(|last| self.kind_at(last))]
    }

    fn kind_at(&self, offset: u64) -> Option<ClusterKind> {
        let test = self.bench.test();
        let start = offset & !(test.limits().request_alignment - 1);
        let status = test.block_status(Extent::new(start, test.limits().request_alignment)).ok()?;
        Some(ClusterKind::of(&status))
    }
}

fn grow(data: &mut Vec<u8>, length: u64) {
    if (data.len() as u64) < length {
        data.resize(length as usize, 0);
    }
}

/// Makes stamped data compressible: of each cluster only the first quarter keeps its stamps.
fn keep_first_quarters(buf: &mut [u8], cluster_bytes: usize) {
    for cluster in buf.chunks_mut(cluster_bytes) {
        let kept = cluster.len().div_ceil(4);
        cluster[kept..].fill(0);
    }
}
