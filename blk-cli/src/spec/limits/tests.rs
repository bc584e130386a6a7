use blk_core::MemoryStorage;
use blk_core::storage::{Operation, TraceStorage};

use super::*;
use crate::spec::text;

fn limits(options: &str) -> Result<Limits> {
    let mut options = text::key_values(options)?;
    Limits::take(&mut options)
}

/// A storage of ones, and what is asked of it.
fn limited(options: &str, length: usize) -> (Arc<dyn Storage>, Arc<TraceStorage>) {
    let trace = Arc::new(TraceStorage::new(Arc::new(MemoryStorage::from_bytes(&vec![1; length])), 1000));
    let storage = limits(options).unwrap().over(Arc::clone(&trace) as Arc<dyn Storage>);
    (storage, trace)
}

#[test]
fn values_that_do_not_fit_together_are_named() {
    for (options, name) in [
        ("align=3", "align"),
        ("align=4G", "align"),
        ("align=512,max-transfer=1000", "max-transfer"),
        ("align=512,opt-write-zero=700", "opt-write-zero"),
        ("opt-write-zero=4k,max-write-zero=6k", "max-write-zero"),
        ("opt-discard=3G", "opt-discard"),
        ("opt-discard=3k,max-discard=4k", "max-discard"),
        ("max-discard=x", "max-discard"),
    ] {
        assert!(limits(options).unwrap_err().to_string().contains(name), "{options}");
    }
    assert_eq!(limits("align=0,max-transfer=0").unwrap(), Limits::default());
    limits("align=512,opt-write-zero=1536,max-write-zero=3072").unwrap();
}

#[test]
fn parts_cover_a_request_in_order() {
    for (offset, length) in [(0, 10), (1, 1), (1, 20), (3, 3), (4, 8), (5, 30), (7, 0)] {
        let extent = Extent::new(offset, length);
        let mut at = offset;
        for part in parts(extent, 4, 8) {
            assert_eq!(part.extent.offset, at);
            let fits = part.extent.offset.is_multiple_of(4) && part.extent.length.is_multiple_of(4);
            assert_eq!(part.is_whole, fits, "{part:?} of {extent:?}");
            assert!(part.extent.length <= 8);
            at = part.extent.end();
        }
        assert_eq!(at, extent.end());
    }
}

#[test]
fn all_that_reaches_the_storage_keeps_to_the_limits() {
    let (storage, trace) =
        limited("align=512,max-transfer=1024,opt-write-zero=2048,max-write-zero=4096", 20_000);
    storage.write_at(100, &[2; 3000]).unwrap();
    storage.write_zeroes_at(Extent::new(1000, 15_000)).unwrap();
    let mut all = vec![0; 20_000];
    storage.read_at(0, &mut all).unwrap();
    let expected = |at: usize| match at {
        100..1000 => 2,
        1000..16_000 => 0,
        _ => 1,
    };
    assert!(all.iter().enumerate().all(|(at, byte)| *byte == expected(at)));
    let mut zeroed = Vec::new();
    for entry in trace.entries() {
        let extent = entry.extent;
        match entry.operation {
            Operation::Read | Operation::Write => {
                let whole = extent.length.is_multiple_of(512) || extent.end() == 20_000;
                assert!(extent.offset.is_multiple_of(512) && whole && extent.length <= 1024, "{entry}");
            }
            Operation::WriteZeroes => zeroed.push((extent.offset, extent.length)),
            _ => {}
        }
    }
    assert_eq!(zeroed, [(2048, 4096), (6144, 4096), (10_240, 4096)]);
}

#[test]
fn a_last_unit_that_is_not_whole_does_not_make_the_storage_longer() {
    let (storage, _) = limited("align=4096", 5000);
    storage.write_at(4990, &[3; 10]).unwrap();
    assert_eq!(storage.len().unwrap(), 5000);
    storage.punch_hole(Extent::new(4000, 1_000_000)).unwrap();
    let mut end = [9; 1000];
    storage.read_at(4000, &mut end).unwrap();
    assert_eq!((storage.len().unwrap(), end), (5000, [0; 1000]));
    assert!(storage.zero_fast(Extent::new(0, 100), false).is_err());
    storage.zero_fast(Extent::new(0, 4096), true).unwrap();
}

/// A storage that remembers what is read to be written back.
#[derive(Debug)]
struct Steps(MemoryStorage, blk_core::sync::Mutex<Vec<&'static str>>);

impl blk_core::storage::PassThrough for Steps {
    fn inner(&self) -> &dyn Storage {
        &self.0
    }

    fn step(&self, step: &'static Step) {
        if step.name.starts_with("pwritev_rmw") {
            self.1.lock().push(step.name);
        }
    }
}

#[test]
fn what_is_read_to_be_written_back_is_told_in_order() {
    let steps =
        Arc::new(Steps(MemoryStorage::from_bytes(&vec![1; 40_000]), blk_core::sync::Mutex::default()));
    let storage = limits("align=4096").unwrap().over(Arc::clone(&steps) as Arc<dyn Storage>);
    let taken = || std::mem::take(&mut *steps.1.lock()).join(" ").replace("pwritev_rmw_", "");
    storage.write_at(0, &[2; 4096]).unwrap();
    assert_eq!(taken(), "");
    storage.write_at(100, &[2; 1000]).unwrap();
    assert_eq!(taken(), "head tail after_head after_tail");
    storage.write_at(0, &[2; 1000]).unwrap();
    assert_eq!(taken(), "tail after_tail");
    storage.write_at(100, &[2; 8192]).unwrap();
    assert_eq!(taken(), "head after_head tail after_tail");
    storage.write_zeroes_at(Extent::new(4196, 4000)).unwrap();
    assert_eq!(taken(), "head tail after_head after_tail");
    storage.write_zeroes_at(Extent::new(100, 20_000)).unwrap();
    assert_eq!(taken(), "head after_head tail after_tail");
    let mut all = vec![0; 40_000];
    storage.read_at(0, &mut all).unwrap();
    let expected = |at: usize| match at {
        0..100 => 2,
        100..20_100 => 0,
        _ => 1,
    };
    assert!(all.iter().enumerate().all(|(at, byte)| *byte == expected(at)));
}

#[test]
fn a_small_read_takes_little_whatever_the_alignment_is() {
    let null = super::super::null::NullStorage {
        size: 2 << 30,
        read_zeroes: true,
        latency: std::time::Duration::ZERO,
    };
    let trace = Arc::new(TraceStorage::new(Arc::new(null), 100));
    let storage = limits("align=1G").unwrap().over(Arc::clone(&trace) as Arc<dyn Storage>);
    let mut buf = [1; 512];
    storage.read_at((1 << 30) - 256, &mut buf).unwrap();
    assert_eq!(buf, [0; 512]);
    for entry in trace.entries() {
        assert!(entry.extent.length <= 8 << 20, "{entry}");
    }
    let (storage, _) = limited("align=8M", 10 << 20);
    storage.write_at((8 << 20) - 1, &[2, 3]).unwrap();
    let mut buf = [0; 4];
    storage.read_at((8 << 20) - 2, &mut buf).unwrap();
    assert_eq!(buf, [1, 2, 3, 1], "what is in two units");
}
