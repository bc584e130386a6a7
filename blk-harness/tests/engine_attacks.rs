//! Attacks on the engine and the soak: what a run may overlook, and what it may take for wrong.

#[expect(dead_code, reason = "shared with other tests")]
#[path = "../../blk-verify/tests/common/odd.rs"]
mod odd;

use std::collections::BTreeMap;
use std::sync::Arc;

use blk_core::sync::Mutex;
use blk_core::{
    Access, BlockDriver, BlockStatus, DiscardFlags, Disk, Error, Extent, Limits, Resize, Result, WriteFlags,
    ZeroFlags,
};
use blk_harness::driver::{Bench, Driver};
use blk_harness::engine::{Soak, SoakOptions};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::testing::{Bug, Flat, FlatTarget};
use blk_harness::{Engine, Outcome, RunOptions};
use blk_verify::Signature;
use odd::Odd;

const SECTOR_BYTES: u64 = 512;

/// A large disk of which only the sectors that were written take room.
#[derive(Debug)]
struct Sparse {
    size: Mutex<u64>,
    sectors: Arc<Mutex<BTreeMap<u64, [u8; 512]>>>,
}

impl BlockDriver for Sparse {
    fn size(&self) -> u64 {
        *self.size.lock()
    }

    fn limits(&self) -> Limits {
        Limits { request_alignment: SECTOR_BYTES, ..Limits::default() }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        buf.fill(0);
        let sectors = self.sectors.lock();
        for (at, sector) in sectors.range(offset..offset + buf.len() as u64) {
            buf[(at - offset) as usize..][..512].copy_from_slice(sector);
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        blk_core::refuse_compressed(flags)?;
        let (sectors, _) = buf.as_chunks::<512>();
        self.sectors.lock().extend((offset..).step_by(512).zip(sectors.iter().copied()));
        Ok(())
    }

    fn write_zeroes(&self, extent: Extent, _flags: ZeroFlags) -> Result<()> {
        self.sectors.lock().retain(|at, _| !extent.range().contains(at));
        Ok(())
    }

    fn discard(&self, _extent: Extent, _flags: DiscardFlags) -> Result<()> {
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

impl Resize for Sparse {
    fn resize(&self, size: u64) -> Result<()> {
        self.sectors.lock().retain(|at, _| *at < size);
        *self.size.lock() = size;
        Ok(())
    }
}

/// Two large disks, of which the one under test loses the sectors from this address on, so many bytes, when
/// it is reopened.
#[derive(Debug, Clone, Copy)]
struct Forgetful(u64, u64);

#[derive(Debug)]
struct ForgetfulBench {
    reference: Arc<Disk>,
    test: Arc<Disk>,
    test_sectors: Arc<Mutex<BTreeMap<u64, [u8; 512]>>>,
    forgets: Extent,
}

impl Driver for Forgetful {
    fn name(&self) -> &'static str {
        "forgetful"
    }

    fn bench(&self, config: &Config) -> Result<Box<dyn Bench>> {
        let open = || {
            let sectors = Arc::new(Mutex::new(BTreeMap::new()));
            let sparse = Sparse { size: Mutex::new(config.size_bytes), sectors: Arc::clone(&sectors) };
            (Arc::new(Disk::new(sparse, Access::ReadWrite)), sectors)
        };
        let ((reference, _), (test, test_sectors)) = (open(), open());
        Ok(Box::new(ForgetfulBench { reference, test, test_sectors, forgets: Extent::new(self.0, self.1) }))
    }
}

impl Bench for ForgetfulBench {
    fn reference(&self) -> Arc<Disk> {
        Arc::clone(&self.reference)
    }

    fn test(&self) -> Arc<Disk> {
        Arc::clone(&self.test)
    }

    fn reopen(&mut self) -> Result<()> {
        self.test_sectors.lock().retain(|at, _| !self.forgets.range().contains(at));
        Ok(())
    }
}

fn run_large(target: Forgetful, requests: &str) -> Outcome {
    let requests = Scenario::from_text(&format!("blk-scenario 1\n{requests}")).unwrap().requests;
    let scenario = Scenario {
        config: Config { size_bytes: 16 << 30, ..Config::default() },
        requests,
        ..Scenario::default()
    };
    Engine::new(RunOptions::default()).run(&target, &scenario)
}

#[test]
fn what_a_large_disk_loses_is_found_where_requests_have_been() {
    for (forgets, requests) in [
        (9 << 30, "write 9G 4k"),
        ((9 << 30) + 3584, "write 9G 4k"),
        ((16 << 30) - 512, "write 17179868672 512\nread 0 512"),
        ((20 << 30) - 512, "truncate 20G\nwrite 21474835968 512\ndiscard 0 1G"),
        (5 << 30, "write 5G 512\nwrite -z 0 16G\nwrite 5G 512"),
    ] {
        let outcome = run_large(Forgetful(forgets, 512), requests);
        let finding = outcome.finding().unwrap_or_else(|| panic!("{requests}: {outcome:?}"));
        assert!(finding.report().contains(&format!("mismatch at offset {forgets}")), "{}", finding.report());
    }
    assert_eq!(run_large(Forgetful(0, 0), "write 9G 4k\ndiscard 1G 1M\ntruncate 12G"), Outcome::Clean);
}

#[test]
fn a_panic_names_the_request() {
    let scenario = Scenario::from_text("blk-scenario 1\nread 0 512\nwrite 1k 1536\nread 0 512").unwrap();
    let mut engine = Engine::new(RunOptions { track_kinds: false, ..RunOptions::default() });
    let outcome = engine.run(&FlatTarget(Bug::Panics), &scenario);
    let finding = outcome.finding().expect("a panic is a finding");
    assert!(matches!(finding.signature, Signature::Panic { .. }), "{finding:?}");
    assert_eq!(finding.request_number, 2);
    assert!(finding.report().contains("request #2 (write 1k 1536)"), "{}", finding.report());
}

/// Two right disks of which the one under test takes no discards, and whole units only.
#[derive(Debug)]
struct Choosy {
    alignment: u64,
}

#[derive(Debug)]
struct ChoosyBench(Arc<Disk>, Arc<Disk>);

impl Driver for Choosy {
    fn name(&self) -> &'static str {
        "choosy"
    }

    fn bench(&self, config: &Config) -> Result<Box<dyn Bench>> {
        let test = Odd::over(Flat::open(config.size_bytes, Bug::None)?)
            .aligned(self.alignment)
            .discards(|_, _| Err(Error::unsupported("discard")));
        Ok(Box::new(ChoosyBench(Flat::open(config.size_bytes, Bug::None)?, test.open())))
    }
}

impl Bench for ChoosyBench {
    fn reference(&self) -> Arc<Disk> {
        Arc::clone(&self.0)
    }

    fn test(&self) -> Arc<Disk> {
        Arc::clone(&self.1)
    }

    fn reopen(&mut self) -> Result<()> {
        self.1.close()
    }
}

fn soak(target: &dyn Driver, size_bytes: u64) -> Result<Soak> {
    let config = Config { size_bytes, ..Config::default() };
    Soak::new(target, &config, SoakOptions { seed: 3, requests_per_round: 2000 })
}

#[test]
fn a_soak_of_a_disk_that_takes_whole_units_and_no_discards_finds_nothing() {
    for alignment in [1, 512, 4096, 65536] {
        let mut soak = soak(&Choosy { alignment }, (1 << 20) + 1).unwrap();
        soak.round().unwrap();
        let unit = alignment.max(SECTOR_BYTES);
        for request in soak.last_requests(2000) {
            let (offset, length) = request.range().unwrap();
            assert!(offset.is_multiple_of(unit) && length.is_multiple_of(unit), "{alignment}: {request}");
        }
    }
    assert!(soak(&Choosy { alignment: 65536 }, 8 * 65536 - 1).is_err(), "too small for its largest request");
    assert!(soak(&Choosy { alignment: 1 << 20 }, 16 << 20).is_err(), "too coarse for short requests");
}

#[test]
fn a_panic_during_a_soak_names_the_request() {
    let found = soak(&FlatTarget(Bug::Panics), 1 << 20).unwrap().round().unwrap_err();
    assert!(found.report().contains("write ") && found.request_number > 0, "{}", found.report());
}

#[test]
fn debug_output_of_engine_and_soak_is_short() {
    let mut engine = Engine::new(RunOptions::default());
    let scenario = Scenario::from_text("blk-scenario 1\nwrite 0 1M\nread 0 1M").unwrap();
    assert_eq!(engine.run(&FlatTarget(Bug::None), &scenario), Outcome::Clean);
    let text = format!("{engine:?}");
    assert!(text.len() < 4000 && text.contains("options"), "{} bytes", text.len());
    let mut soak = soak(&FlatTarget(Bug::None), 1 << 20).unwrap();
    soak.round().unwrap();
    let text = format!("{soak:?}");
    assert!(text.len() < 4000 && text.contains("Flat"), "{} bytes", text.len());
}
