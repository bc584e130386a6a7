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
    refused(disk.discard(extent, DiscardFlags::default()));
    refused(disk.resize(2000));
}
