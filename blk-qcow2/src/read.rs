//! Reading guest data.

use blk_core::storage::Step;
use blk_core::{Error, Result};

use crate::compress;
use crate::crypt::Located;
use crate::l2::{Cluster, Entry};
use crate::mapping::{Lookup, Run};
use crate::metadata::{Decompressed, Metadata};
use crate::offset::GuestOffset;
use crate::ondisk::CompressedDescriptor;
use crate::qcow2::Qcow2;
use crate::steps;

/// What an error calls compressed data.
pub(crate) const COMPRESSED_CLUSTER: &str = "compressed cluster";

impl Qcow2 {
    /// Fills `buf`. The lock is shared while mapping and data I/O go on, so no cluster is freed while it is
    /// read.
    pub(crate) fn read_guest(&self, offset: GuestOffset, buf: &mut [u8]) -> Result<()> {
        let _unchanged = match &self.crypt {
            None => None,
            Some(crypt) => {
                crypt.check_unlocked()?;
                Some(crypt.share(offset.with_length(buf.len() as u64)))
            }
        };
        let mut done = 0;
        while done < buf.len() {
            done += self.read_cached_runs(offset + done as u64, &mut buf[done..])?;
            if done < buf.len() {
                let at = offset + done as u64;
                let mut metadata = self.metadata.write();
                let run = metadata.find(at.with_length((buf.len() - done) as u64))?;
                // Other requests need not wait for the data.
                let metadata = metadata.downgrade();
                let end = done + run.length as usize;
                self.read_run(&metadata, run, at, &mut buf[done..end], &steps::READ_AIO)?;
                done = end;
            }
        }
        Ok(())
    }

    /// Reads until `buf` is full or a slice is not cached. Returns the bytes read.
    #[inline]
    fn read_cached_runs(&self, offset: GuestOffset, buf: &mut [u8]) -> Result<usize> {
        let mut metadata = self.metadata.read();
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let Lookup::Found(run) = metadata.lookup(at.with_length((buf.len() - done) as u64))? else {
                break;
            };
            let end = done + run.length as usize;
            self.read_run(&metadata, run, at, &mut buf[done..end], &steps::READ_AIO)?;
            done = end;
            if done < buf.len() && matches!(run.cluster, Cluster::Compressed(_)) {
                // Decompressing takes long: requests that wait for the lock get it in between.
                drop(metadata);
                metadata = self.metadata.read();
            }
        }
        Ok(done)
    }

    /// Reads what `run` is; `step` is what reading plain data is for.
    #[inline]
    pub(crate) fn read_run(
        &self,
        metadata: &Metadata,
        run: Run,
        at: GuestOffset,
        buf: &mut [u8],
        step: &'static Step,
    ) -> Result<()> {
        debug_assert!(buf.len() as u64 <= run.length, "a run is read no further than it goes");
        match run.cluster {
            Cluster::Data { host, .. } => {
                self.data_step(step);
                let host = host + metadata.geometry.in_cluster(at);
                match &self.crypt {
                    None => self.data.read_at(host.get(), buf),
                    Some(crypt) => crypt.read(&*self.data, Located { host, guest: at }, buf),
                }
            }
            Cluster::Zero { .. } => {
                buf.fill(0);
                Ok(())
            }
            Cluster::Unallocated | Cluster::Reserved { .. } => self.read_backing(at, buf),
            Cluster::Compressed(descriptor) => self.read_compressed(metadata, descriptor, at, buf),
        }
    }

    /// The content of unallocated clusters: the backing file's, and zeroes past its end.
    pub(crate) fn read_backing(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        let inside = self.backing.as_deref().map_or(0, |backing| bytes_inside(backing.size(), at, buf.len()));
        if let Some(backing) = self.backing.as_deref().filter(|_| inside > 0) {
            self.storage.step(&steps::READ_BACKING_AIO);
            backing.read(at.get(), &mut buf[..inside]).map_err(|error| error.below("read", at.get()))?;
        }
        buf[inside..].fill(0);
        Ok(())
    }

    fn read_compressed(
        &self,
        metadata: &Metadata,
        descriptor: CompressedDescriptor,
        at: GuestOffset,
        buf: &mut [u8],
    ) -> Result<()> {
        if buf.len() as u64 == metadata.geometry.cluster_bytes() {
            return self.decompress(metadata, descriptor, at, buf);
        }
        let from = metadata.geometry.in_cluster(at) as usize;
        debug_assert!(
            (from + buf.len()) as u64 <= metadata.geometry.cluster_bytes(),
            "it is read cluster by cluster"
        );
        // A large cluster is mostly read in small pieces: it is inflated once for all of them. Other requests
        // may inflate meanwhile.
        let kept = metadata.decompressed.lock().take();
        let content = match kept {
            Some(same) if same.descriptor == descriptor => same.content,
            other => {
                let mut content = other.map_or_else(Vec::new, |old| old.content);
                content.resize(metadata.geometry.cluster_bytes() as usize, 0);
                self.decompress(metadata, descriptor, at, &mut content)?;
                content
            }
        };
        buf.copy_from_slice(&content[from..from + buf.len()]);
        *metadata.decompressed.lock() = Some(Decompressed { descriptor, content });
        Ok(())
    }

    /// Decompresses the cluster of guest offset `at` into `content`, a whole cluster.
    fn decompress(
        &self,
        metadata: &Metadata,
        descriptor: CompressedDescriptor,
        at: GuestOffset,
        content: &mut [u8],
    ) -> Result<()> {
        assert_eq!(content.len() as u64, metadata.geometry.cluster_bytes(), "it is inflated as a whole");
        let extent = descriptor.extent().on_storage();
        let mut input = vec![0; extent.length as usize];
        self.storage.step(&steps::READ_COMPRESSED);
        self.storage.read_at(extent.offset, &mut input)?;
        compress::decompress(metadata.header.compression, &input, content).map_err(|error| Error::Corrupt {
            structure: COMPRESSED_CLUSTER,
            offset: extent.offset,
            reason: format!("for guest offset {:#x}: {error}", metadata.geometry.cluster_start(at)),
        })
    }

    /// The content of one guest cluster from `at` on, for copying it elsewhere; zeroes past the end of the
    /// disk.
    pub(crate) fn read_for_copy(
        &self,
        metadata: &Metadata,
        entry: Entry,
        at: GuestOffset,
        buf: &mut [u8],
    ) -> Result<()> {
        let inside = bytes_inside(self.size_bytes(), at, buf.len());
        let (inside, past) = buf.split_at_mut(inside);
        past.fill(0);
        self.read_entry(metadata, entry, at, inside, &steps::COW_READ)
    }

    /// Reads `buf` from `at` on, inside the cluster of `entry`; `step` is what reading plain data is for.
    pub(crate) fn read_entry(
        &self,
        metadata: &Metadata,
        entry: Entry,
        at: GuestOffset,
        buf: &mut [u8],
        step: &'static Step,
    ) -> Result<()> {
        let geometry = metadata.geometry;
        let mut done = 0;
        while done < buf.len() {
            let at = at + done as u64;
            let first = geometry.subcluster_of(at);
            let alike = geometry.bytes_to_end_of(at, entry.last_alike(first, geometry));
            let run = Run { cluster: entry.kind(first), length: alike.min((buf.len() - done) as u64) };
            let end = done + run.length as usize;
            self.read_run(metadata, run, at, &mut buf[done..end], step)?;
            done = end;
        }
        Ok(())
    }
}

/// How many of `length` bytes from `at` on lie on a disk of `size` bytes.
fn bytes_inside(size: u64, at: GuestOffset, length: usize) -> usize {
    usize::try_from(size.saturating_sub(at.get())).unwrap_or(usize::MAX).min(length)
}
