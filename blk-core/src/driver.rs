//! What a block driver is: the contract that every format and protocol implements.
//!
//! A driver sees only requests that [`crate::Disk`] has checked: inside the disk, aligned to
//! [`Limits::request_alignment`], not empty, and not writing when the disk is read-only. It answers with its result; it
//! never panics because of a request or because of bytes in an image.

use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use crate::{CheckReport, Compress, Disk, Error, Extent, Info, Overlay, RepairMode, Result, StorageRun};

/// Modifiers of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteFlags {
    /// The data must be on stable storage before the request succeeds.
    pub fua: bool,
    /// Store the data compressed; whole clusters only, and only where the format can.
    pub compressed: bool,
}

/// Modifiers of a write-zeroes request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ZeroFlags {
    /// The zeroes must be on stable storage before the request succeeds.
    pub fua: bool,
    /// Storage may be given back; without it an allocated range stays allocated.
    pub may_unmap: bool,
    /// Fail with [`Error::Unsupported`] rather than write zeroes as data.
    pub no_fallback: bool,
}

/// What a driver can take in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Offset and length of every request must be multiples of this. Bytes, a power of two.
    pub request_alignment: u64,
    /// The largest request, in bytes; [`Disk`] splits larger ones. A multiple of the alignment.
    pub transfer_bytes_max: u64,
    /// The unit in which zeroes cost no data, in bytes: the cluster size of a format that has clusters.
    pub zero_granularity: u64,
    /// The unit in which a discard has an effect, in bytes.
    pub discard_granularity: u64,
    /// Whether [`BlockDriver::write_zeroes`] may be called; if not, [`Disk`] writes zeroes as data.
    pub can_write_zeroes: bool,
    /// Whether [`BlockDriver::discard`] may be called; if not, [`Disk`] answers [`Error::Unsupported`].
    pub can_discard: bool,
    /// Whether the driver honours `fua` itself; if not, [`Disk`] flushes after the write.
    pub can_fua: bool,
}

impl Default for Limits {
    /// Byte-aligned requests of up to 1 GiB, everything supported but FUA.
    fn default() -> Self {
        Self {
            request_alignment: 1,
            transfer_bytes_max: 1 << 30,
            zero_granularity: 1,
            discard_granularity: 1,
            can_write_zeroes: true,
            can_discard: true,
            can_fua: false,
        }
    }
}

/// What the layer itself knows about the first `length` bytes of the extent that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockStatus {
    /// How many bytes, from the start of the extent, the answer holds for; at least 1, at most the extent, and a multiple of
    /// [`Limits::request_alignment`].
    pub length: u64,
    /// This layer determines the content; if not, the backing file does (or zeroes where there is none).
    pub allocated: bool,
    /// The bytes read as zeroes, and the driver knows without looking at them. Said of unallocated bytes only where there is
    /// no backing file.
    pub zero: bool,
    /// The bytes are stored compressed; they are allocated then, and have no `host_offset`.
    pub compressed: bool,
    /// Where the first byte lies in the layer's own storage, if it is allocated and lies there as plain bytes.
    pub host_offset: Option<u64>,
}

impl BlockStatus {
    /// Whether reading the bytes reads this layer's storage: it determines the content, and not by a mere mark.
    pub fn has_data(&self) -> bool {
        self.allocated && !self.zero
    }
}

/// A disk-image driver. See the module documentation for what a driver may rely on.
pub trait BlockDriver: Debug + Send + Sync {
    /// Size of the disk in bytes. Changes only through [`Resize`].
    fn size(&self) -> u64;

    /// What one request may be.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Fills `buf` with the bytes from `offset` on.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Writes `buf` at `offset`. On failure each of its bytes is old or new; all others are untouched.
    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()>;

    /// Makes `extent` read as zeroes. On failure as for a write. A driver without it, as this default, has zeroes written to
    /// it as data.
    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        let _ = (extent, flags);
        Err(Error::unsupported("write zeroes without writing data"))
    }

    /// Tells that the bytes are no longer needed: each reads as it did, or as zero, and stays so until it is written.
    fn discard(&self, extent: Extent) -> Result<()> {
        let _ = extent;
        Err(Error::unsupported("discard"))
    }

    /// Puts everything that earlier completed requests wrote on stable storage.
    fn flush(&self) -> Result<()>;

    /// What this layer, without the layers below, knows about the start of `extent`.
    fn block_status(&self, extent: Extent) -> Result<BlockStatus>;

    /// What the host has for the start of `extent`, which [`BlockDriver::block_status`] calls stored as plain bytes: a hole there
    /// reads as zeroes although the format says data. `None` where it need not be asked, as nothing is likely to be a hole.
    fn host_run(&self, extent: Extent) -> Result<Option<StorageRun>> {
        let _ = extent;
        Ok(None)
    }

    /// The disk that shows where this layer has nothing.
    fn backing(&self) -> Option<&Arc<Disk>> {
        None
    }

    /// Writes all back and leaves the image as a clean one; called once, before the driver is dropped. A driver that is
    /// dropped without it leaves what a killed process leaves.
    fn close(&self) -> Result<()> {
        self.flush()
    }

    /// The ability to change the size, if the driver has it.
    fn as_resize(&self) -> Option<&dyn Resize> {
        None
    }

    /// The ability to check its own metadata, if the driver has it.
    fn as_check(&self) -> Option<&dyn Check> {
        None
    }

    /// The ability to compress apart from writing, if the driver has it.
    fn as_compress(&self) -> Option<&dyn Compress> {
        None
    }

    /// The ability to tell what the image is, if the driver has it.
    fn as_info(&self) -> Option<&dyn Info> {
        None
    }

    /// The abilities of a disk that can lie over another one, if the driver has them.
    fn as_overlay(&self) -> Option<&dyn Overlay> {
        None
    }
}

/// What a disk that grows allocates for the bytes that it gains. They read as zeroes in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preallocation {
    /// Nothing: space is found when the bytes are written.
    #[default]
    Off,
    /// The format's tables say where the bytes will be; the host need not have the space.
    Metadata,
    /// The host has the space too, without zeroes having been written where it can do that.
    Falloc,
    /// Zeroes have been written.
    Full,
}

impl FromStr for Preallocation {
    type Err = Error;

    /// Reads the name that QEMU's tools have for it.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "off" => Ok(Self::Off),
            "metadata" => Ok(Self::Metadata),
            "falloc" => Ok(Self::Falloc),
            "full" => Ok(Self::Full),
            _ => {
                let reason = format!("'{name}' is none of off, metadata, falloc, full");
                Err(Error::invalid_option("preallocation", reason))
            }
        }
    }
}

/// Changing the size of a disk.
pub trait Resize {
    /// Makes the disk `size` bytes long. Bytes that are gained read as zeroes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the driver cannot have that size; nothing has changed then. After any other error the
    /// disk has its old size or the new one, and says which.
    fn resize(&self, size: u64) -> Result<()>;

    /// Makes the disk `size` bytes long, which is not less than it has, and allocates what it gains.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the driver cannot allocate in that way; nothing has changed then. After any other error
    /// the disk has its old size, or the new one if the host does not let it go back.
    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        match preallocation {
            Preallocation::Off => self.resize(size),
            _ => Err(Error::unsupported("preallocation when the disk grows")),
        }
    }
}

/// Checking the metadata of an image.
pub trait Check {
    /// Walks all metadata and reports what is wrong, repairing what `repair` allows.
    fn check(&self, repair: RepairMode) -> Result<CheckReport>;
}

/// Helper for drivers without compressed writes.
pub fn refuse_compressed(flags: WriteFlags) -> Result<()> {
    if flags.compressed { Err(Error::unsupported("compressed write")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Mutex;
    use crate::{Access, ErrorKind};

    /// Only what a driver has to have.
    #[derive(Debug)]
    struct Least(Mutex<Vec<u8>>);

    impl BlockDriver for Least {
        fn size(&self) -> u64 {
            self.0.lock().len() as u64
        }

        fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            buf.copy_from_slice(&self.0.lock()[offset as usize..][..buf.len()]);
            Ok(())
        }

        fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
            refuse_compressed(flags)?;
            self.0.lock()[offset as usize..][..buf.len()].copy_from_slice(buf);
            Ok(())
        }

        fn flush(&self) -> Result<()> {
            Ok(())
        }

        fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
            let length = extent.length;
            Ok(BlockStatus { length, allocated: true, zero: false, compressed: false, host_offset: None })
        }
    }

    #[test]
    fn a_driver_that_cannot_zero_has_zeroes_written() {
        let disk = Disk::new(Least(Mutex::new(vec![1; 1000])), Access::ReadWrite);
        let extent = Extent::new(100, 300);
        disk.write_zeroes(extent, ZeroFlags { fua: true, ..ZeroFlags::default() }).unwrap();
        let mut read = [9; 1000];
        disk.read(0, &mut read).unwrap();
        assert!(read[..100] == [1; 100] && read[100..400] == [0; 300] && read[400..] == [1; 600]);
        let refused = |result: Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::Unsupported);
        refused(disk.write_zeroes(extent, ZeroFlags { no_fallback: true, ..ZeroFlags::default() }));
        refused(disk.discard(extent));
        refused(disk.resize(2000));
    }
}
