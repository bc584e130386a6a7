//! A driver with a planted bug. It lies here, and not with the other planted drivers, because the crates that
//! test drivers do not tell libFuzzer what they reach (`cargo-blk/src/cover.rs`), and this crate does: so the
//! canary shows that coverage leads to a bug, and not only that one is noticed and reported.

use blk_core::sync::Mutex;
use blk_core::{
    Access, BlockDriver, BlockStatus, DiscardFlags, Disk, Error, Extent, Resize, Result, WriteFlags,
    ZeroFlags,
};
use blk_harness::Suite;
use blk_harness::driver::FormatDriver;
use blk_harness::runner::requests;

/// Largest disk, bytes: it is held in memory whole.
const SIZE_BYTES_MAX: u64 = 64 << 20;
const BOUNDARY_BYTES: usize = 64 << 10;

static DRIVER: FormatDriver = FormatDriver::of_disk("canary", open);

/// The suite of the canary.
pub static SUITE: Suite =
    Suite::new("canary", |purpose| requests(&DRIVER, purpose)).with_expression("blk_fuzz::canary::SUITE");

fn open(size: u64) -> Result<Disk> {
    let disk = Canary::default();
    disk.resize(size)?;
    Ok(Disk::new(disk, Access::ReadWrite))
}

/// A disk in memory. A write that crosses a boundary of 64 KiB after any discard loses what lies behind the
/// boundary.
#[derive(Debug, Default)]
struct Canary(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    has_discarded: bool,
}

impl State {
    /// The bytes of a range, which lies inside the disk.
    fn part(&mut self, extent: Extent) -> &mut [u8] {
        &mut self.bytes[extent.offset as usize..extent.end() as usize]
    }
}

impl BlockDriver for Canary {
    fn size(&self) -> u64 {
        self.0.lock().bytes.len() as u64
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        buf.copy_from_slice(self.0.lock().part(Extent::new(offset, buf.len() as u64)));
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        blk_core::refuse_compressed(flags)?;
        let mut state = self.0.lock();
        let until_boundary = BOUNDARY_BYTES - offset as usize % BOUNDARY_BYTES;
        let mut kept = buf;
        if state.has_discarded && buf.len() > until_boundary {
            kept = &buf[..until_boundary];
        }
        state.part(Extent::new(offset, kept.len() as u64)).copy_from_slice(kept);
        Ok(())
    }

    fn write_zeroes(&self, extent: Extent, _flags: ZeroFlags) -> Result<()> {
        self.0.lock().part(extent).fill(0);
        Ok(())
    }

    fn discard(&self, extent: Extent, _flags: DiscardFlags) -> Result<()> {
        let mut state = self.0.lock();
        state.has_discarded = true;
        state.part(extent).fill(0);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let length = extent.length;
        Ok(BlockStatus { length, allocated: true, zero: false, compressed: false, host_offset: None })
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }
}

impl Resize for Canary {
    fn resize(&self, size: u64) -> Result<()> {
        if size > SIZE_BYTES_MAX {
            return Err(Error::NoSpace { what: "this driver holds at most 64 MiB".into() });
        }
        self.0.lock().bytes.resize(size as usize, 0);
        Ok(())
    }
}
