//! The state of a virtual machine: bytes behind the disk, in L2 tables of their own.
//!
//! ```text
//! L1 table: [ tables of the disk | tables of the state ]
//!           0                    ^ where the tables of the disk end
//! ```
//!
//! A snapshot keeps a copy of all of the L1 table, and with it the state. No backing file has one: what is
//! not allocated reads as zeroes. Whatever changes the number of tables that the disk has forgets the state,
//! which would begin elsewhere.
//!
//! Write order: as for guest data (see `metadata`). A cluster is always written whole: what is around the
//! written bytes is copied first, from memory.

use blk_core::{Error, Extent, Result, VmState};

use crate::grow::check_l1_entries;
use crate::l2::Cluster;
use crate::metadata::Metadata;
use crate::offset::GuestOffset;
use crate::qcow2::Qcow2;
use crate::steps;

/// No state reaches further: offsets of 63 bits.
const END_MAX: u64 = i64::MAX as u64;

impl VmState for Qcow2 {
    fn read_vm_state(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.noting(self.read_state_at(offset, buf))
    }

    fn write_vm_state(&self, offset: u64, buf: &[u8]) -> Result<()> {
        if buf.is_empty() { Ok(()) } else { self.noting(self.write_state_at(offset, buf)) }
    }
}

impl Qcow2 {
    fn read_state_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut metadata = self.metadata.write();
        let extent = metadata.vm_state_extent(offset, buf.len() as u64)?;
        self.read_state(&mut metadata, extent, buf)
    }

    fn write_state_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let _size_stays = self.resizing.lock();
        self.begin_unfollowed()?;
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        let extent = metadata.vm_state_extent(offset, buf.len() as u64)?;
        let entries = metadata.geometry.l1_entries(extent.end());
        check_l1_entries(entries)?;
        if entries > metadata.l1.len() as u64 {
            metadata.grow_l1_table(entries)?;
        }
        let mut rest = buf;
        for part in extent.parts(self.geometry.cluster_bytes()) {
            let (piece, others) = rest.split_at(part.length as usize);
            self.write_state_cluster(&mut metadata, part, piece)?;
            rest = others;
        }
        Ok(())
    }

    fn read_state(&self, metadata: &mut Metadata, extent: Extent, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let at = GuestOffset::new(extent.offset + done as u64);
            let run = metadata.find(at.to(GuestOffset::new(extent.end())))?;
            let end = done + run.length as usize;
            let part = &mut buf[done..end];
            if matches!(run.cluster, Cluster::Unallocated | Cluster::Reserved { .. }) {
                part.fill(0);
            } else {
                self.read_run(metadata, run, at, part, &steps::READ_AIO)?;
            }
            done = end;
        }
        Ok(())
    }

    /// Writes `piece` to `part` of one cluster.
    fn write_state_cluster(&self, metadata: &mut Metadata, part: Extent, piece: &[u8]) -> Result<()> {
        let geometry = self.geometry;
        let start = geometry.cluster_start(GuestOffset::new(part.offset));
        let whole = start.with_length(geometry.cluster_bytes());
        if part == whole {
            return self.write_whole(metadata, start, piece);
        }
        let mut content = vec![0; geometry.cluster_bytes() as usize];
        self.read_state(metadata, whole, &mut content)?;
        let from = (part.offset - whole.offset) as usize;
        content[from..from + piece.len()].copy_from_slice(piece);
        self.write_whole(metadata, start, &content)
    }

    fn write_whole(&self, metadata: &mut Metadata, at: GuestOffset, content: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < content.len() {
            done += self.write_exclusively(metadata, at + done as u64, &content[done..])?;
        }
        Ok(())
    }
}

impl Metadata {
    /// Where the state begins: with the first L2 table behind those of the disk. The largest disks leave no
    /// place for one.
    pub(crate) fn vm_state_start(&self) -> u64 {
        self.header.size.checked_next_multiple_of(self.geometry.l2_table_reach_bytes()).unwrap_or(u64::MAX)
    }

    /// `length` bytes of the state from `offset` on, where a disk would have them.
    fn vm_state_extent(&self, offset: u64, length: u64) -> Result<Extent> {
        let start = self.vm_state_start();
        let at =
            start.checked_add(offset).filter(|at| at.checked_add(length).is_some_and(|end| end <= END_MAX));
        let room = END_MAX.saturating_sub(start);
        at.map(|at| Extent::new(at, length)).ok_or(Error::OutOfRange { offset, length, size: room })
    }
}
