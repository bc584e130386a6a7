//! Block statuses that tell parts of a unit apart, those that lie about a byte far behind their start, and
//! flushes that fail while sizes differ.

use std::sync::Arc;

use blk_core::sync::Mutex;
use blk_core::{
    Access, BlockDriver, BlockStatus, Disk, Error, ErrorKind, Extent, Limits, NativeFlags, Result, WriteFlags,
};
use blk_verify::{Policy, Verify};

const SIZE: u64 = 64 << 10;

/// A disk of fixed content, whose runs are told as they are given: where each ends, whether it is allocated,
/// and whether it is zero.
#[derive(Debug)]
struct Runs {
    bytes: Vec<u8>,
    told: Vec<(u64, bool, bool)>,
    alignment: u64,
    below: Option<Arc<Disk>>,
    /// A flush fails, and the disk is shorter from then on.
    shrinks: bool,
    is_short: Mutex<bool>,
}

impl Runs {
    fn new(data: &[u64], runs: &[(u64, bool, bool)]) -> Self {
        let mut bytes = vec![0; SIZE as usize];
        for at in data {
            bytes[*at as usize] = 7;
        }
        Self {
            bytes,
            told: runs.to_vec(),
            alignment: 1,
            below: None,
            shrinks: false,
            is_short: Mutex::new(false),
        }
    }

    fn disk(self) -> Arc<Disk> {
        Arc::new(Disk::new(self, Access::ReadWrite))
    }
}

impl BlockDriver for Runs {
    fn size(&self) -> u64 {
        if *self.is_short.lock() { SIZE - 512 } else { SIZE }
    }

    fn limits(&self) -> Limits {
        let granularity = self.alignment;
        Limits {
            request_alignment: self.alignment,
            zero_granularity: granularity,
            discard_granularity: granularity,
            native: NativeFlags::FUA,
            ..Limits::default()
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        buf.copy_from_slice(&self.bytes[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn write(&self, _offset: u64, _buf: &[u8], _flags: WriteFlags) -> Result<()> {
        Err(Error::unsupported("writing"))
    }

    fn flush(&self) -> Result<()> {
        *self.is_short.lock() |= self.shrinks;
        Err(Error::io("flush", 0, std::io::Error::from_raw_os_error(5)))
    }

    fn backing(&self) -> Option<&Arc<Disk>> {
        self.below.as_ref()
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let run = self.told.iter().find(|(end, ..)| *end > extent.offset);
        let (end, allocated, zero) = *run.unwrap_or(&(SIZE, true, false));
        let length = extent.length.min(end - extent.offset);
        Ok(BlockStatus { length, allocated, zero, compressed: false, host_offset: None })
    }
}

/// What a verifier tells of `asked`, whose reference has units of 4 KiB and the same content.
fn in_coarse_units(data: &[u64], runs: &[(u64, bool, bool)], asked: Extent) -> Result<BlockStatus> {
    let reference = Runs { alignment: 4096, ..Runs::new(data, &[]) }.disk();
    Verify::new(reference, Runs::new(data, runs).disk(), Policy::Fail).unwrap().block_status(asked)
}

#[test]
fn a_unit_of_several_parts_is_told_as_one() {
    let asked = Extent::new(4096, 8192);
    let flags = |status: BlockStatus| (status.length, status.allocated, status.zero);
    // Zeroes that are not allocated, then data.
    let runs = [(4096, true, false), (6144, false, true), (7168, true, false), (8192, false, true)];
    let data = [6200];
    assert_eq!(flags(in_coarse_units(&data, &runs, asked).unwrap()), (4096, true, false));
    // All is zero, and a part is allocated.
    let runs = [(4096, true, false), (6144, false, true), (8192, true, true)];
    assert_eq!(flags(in_coarse_units(&[], &runs, asked).unwrap()), (4096, true, true));
    // The last part reaches past the unit.
    let runs = [(4096, true, false), (6144, false, true), (9000, true, true)];
    assert_eq!(flags(in_coarse_units(&[], &runs, asked).unwrap()), (4096, true, true));
    // The first part is a byte long.
    let runs = [(4096, true, false), (4097, false, true), (9000, true, true)];
    assert_eq!(flags(in_coarse_units(&[], &runs, asked).unwrap()), (4096, true, true));
    // Nothing is allocated.
    let runs = [(4096, true, false), (6144, false, true), (8192, false, true), (9000, true, false)];
    assert_eq!(flags(in_coarse_units(&[], &runs, asked).unwrap()), (4096, false, true));
    // Whole units come first, and what follows is cut off.
    let runs = [(10_000, false, true), (SIZE, true, false)];
    assert_eq!(flags(in_coarse_units(&[11_000], &runs, asked).unwrap()), (4096, false, true));
}

#[test]
fn a_lie_is_told_with_the_byte_that_it_is_about() {
    for (allocated, zero, claim) in [(true, true, "zero"), (false, false, "unallocated")] {
        for at in [1500, 4100, 40_000] {
            let reference = Runs::new(&[at], &[]).disk();
            let test = Runs::new(&[at], &[(SIZE, allocated, zero)]).disk();
            let verify = Verify::new(reference, test, Policy::Fail).unwrap();
            let found = verify.block_status(Extent::new(1000, SIZE - 1000)).unwrap_err();
            let expected = format!("claims {claim} bytes at");
            let report = found.to_string();
            assert_eq!(found.kind(), ErrorKind::Mismatch);
            assert!(report.contains(&expected), "{report}");
            assert!(report.contains(&format!("differs from that at offset {at}\n")), "{at}: {report}");
        }
    }
}

#[test]
fn a_lie_in_the_second_part_of_a_unit_is_found() {
    let runs = [(4096, true, false), (5120, true, false), (8192, true, true)];
    let found = in_coarse_units(&[7000], &runs, Extent::new(4096, 4096)).unwrap_err();
    assert!(found.to_string().contains("at offset 7000\n"), "{found}");
}

/// Whoever goes on after a lie goes on with the next unit.
#[test]
fn of_a_unit_with_a_lie_nothing_is_claimed() {
    let reference = Runs { alignment: 4096, ..Runs::new(&[4500], &[]) }.disk();
    let test = Runs::new(&[4500], &[(4096, true, false), (5000, true, true)]).disk();
    let verify = Verify::new(reference, test, Policy::Report).unwrap();
    let told = verify.block_status(Extent::new(4096, 8192)).unwrap();
    assert_eq!((told.length, told.zero, told.allocated), (4096, false, true));
    assert!(verify.journal().has_findings());
}

/// The flush that both disks fail is the caller's to hear of, whatever else is wrong by then.
#[test]
fn a_flush_that_both_disks_fail_is_no_difference_of_sizes() {
    let reference = Runs::new(&[], &[]).disk();
    let test = Runs { shrinks: true, ..Runs::new(&[], &[]) }.disk();
    let verify = Verify::new(reference, test, Policy::Fail).unwrap();
    assert_eq!(verify.flush().unwrap_err().kind(), ErrorKind::Io);
    assert!(!verify.journal().has_findings());
}

/// A backing file is read in whole units of its own, wherever the status begins.
#[test]
fn what_is_not_allocated_shows_from_a_backing_file_of_coarser_units() {
    let data = [9001, 12_288, 13_999];
    let below = Runs { alignment: 4096, ..Runs::new(&data, &[]) }.disk();
    let status = |data: &[u64], asked| {
        let test = Runs { below: Some(Arc::clone(&below)), ..Runs::new(&[], &[(SIZE, false, false)]) };
        Verify::new(Runs::new(data, &[]).disk(), test.disk(), Policy::Fail).unwrap().block_status(asked)
    };
    for asked in [Extent::new(9000, 5000), Extent::new(8192, 5808), Extent::new(4096, 8192)] {
        assert_eq!(status(&data, asked).unwrap().length, asked.length);
        let lie = status(&[12_288, 13_999], asked).unwrap_err();
        assert!(lie.to_string().contains("at offset 9001\n"), "{lie}");
    }
}
