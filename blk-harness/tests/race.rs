//! The race engine on drivers with planted races: each is found, shrinks, and replays; the right driver
//! passes.

use std::sync::Arc;

use blk_core::storage::SyncGroup;
use blk_core::sync::Mutex;
use blk_core::{
    Access, BlockDriver, BlockStatus, DiscardFlags, Disk, Error, Extent, MemoryStorage, Result, Storage,
    WriteFlags, ZeroFlags,
};
use blk_harness::driver::{Driver, ImageMaker};
use blk_harness::exhaust::{Bounds, configs, units};
use blk_harness::generate::{Generator, Limits};
use blk_harness::minimise::{self, minimise};
use blk_harness::race::{RaceEngine, StressOptions, stress};
use blk_harness::runner::races;
use blk_harness::scenario::{Config, Scenario};
use blk_harness::space::PLAIN;
use blk_harness::statistics::Counter;
use blk_harness::{Outcome, Purpose, Suite};
use blk_verify::Signature;
use blk_verify::report::OriginClass;

/// A race that is planted in [`Plain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Race {
    None,
    /// A write reads a block, changes it and writes it back, without a lock.
    LostUpdate,
    /// Writes and discards take two locks, in different orders.
    Circle,
    /// Two writes at once are more than it expects.
    Panics,
    /// A discard says that it is done, and happens with the next request.
    Late,
    /// The status says zero where a write is under way.
    Status,
    /// A write stays in memory until the next one writes it behind, and a flush does not wait for that.
    Behind,
}

/// A disk that is its storage, byte for byte.
#[derive(Debug)]
struct Plain {
    storage: Arc<dyn Storage>,
    syncs: SyncGroup,
    size: u64,
    race: Race,
    locks: [Mutex<()>; 2],
    writing: Mutex<u32>,
    late: Mutex<Option<Extent>>,
    /// What [`Race::Behind`] has in memory: what waits to be written, and what is being written.
    behind: Mutex<[Vec<Kept>; 2]>,
}

/// A write that is in memory: its offset and its bytes.
type Kept = (u64, Vec<u8>);

const BLOCK_BYTES: u64 = 4096;

impl Plain {
    fn rewrite_blocks(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let start = offset / BLOCK_BYTES * BLOCK_BYTES;
        let end = (offset + buf.len() as u64).next_multiple_of(BLOCK_BYTES).min(self.size);
        let mut block = vec![0; (end - start) as usize];
        self.storage.read_at(start, &mut block)?;
        block[(offset - start) as usize..][..buf.len()].copy_from_slice(buf);
        self.storage.write_at(start, &block)
    }

    /// Writes what waits, without the lock: meanwhile it is read from memory.
    fn write_behind(&self) -> Result<()> {
        let Some(kept) = self.behind.lock()[0].pop() else { return Ok(()) };
        self.behind.lock()[1].push(kept.clone());
        let written = self.storage.write_at(kept.0, &kept.1);
        self.behind.lock()[1].retain(|writing| *writing != kept);
        written
    }

    fn settle_late(&self) -> Result<()> {
        let late = self.late.lock().take();
        late.map_or(Ok(()), |extent| self.storage.punch_hole(extent))
    }
}

impl BlockDriver for Plain {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.storage.read_at(offset, buf)?;
        for (at, bytes) in self.behind.lock().iter().flatten() {
            for (place, byte) in (*at..).zip(bytes) {
                let within = place.checked_sub(offset);
                if let Some(shown) = within.and_then(|within| buf.get_mut(within as usize)) {
                    *shown = *byte;
                }
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        blk_core::refuse_compressed(flags)?;
        match self.race {
            Race::Behind => {
                self.write_behind()?;
                self.behind.lock()[0].push((offset, buf.to_vec()));
                Ok(())
            }
            Race::LostUpdate => self.rewrite_blocks(offset, buf),
            Race::Circle => {
                let _held = (self.locks[0].lock(), self.locks[1].lock());
                self.storage.write_at(offset, buf)
            }
            Race::Panics => {
                *self.writing.lock() += 1;
                self.storage.write_at(offset, buf)?;
                let mut writing = self.writing.lock();
                assert!(*writing == 1, "{writing} writes at once");
                *writing -= 1;
                Ok(())
            }
            Race::Status => {
                self.storage.punch_hole(Extent::new(offset, buf.len() as u64))?;
                self.storage.write_at(offset, buf)
            }
            Race::None | Race::Late => self.storage.write_at(offset, buf),
        }
    }

    fn write_zeroes(&self, extent: Extent, _flags: ZeroFlags) -> Result<()> {
        self.storage.write_zeroes_at(extent)
    }

    fn discard(&self, extent: Extent, _flags: DiscardFlags) -> Result<()> {
        match self.race {
            Race::Circle => {
                let _held = (self.locks[1].lock(), self.locks[0].lock());
                self.storage.punch_hole(extent)
            }
            Race::Late => {
                self.settle_late()?;
                *self.late.lock() = Some(extent);
                Ok(())
            }
            _ => self.storage.punch_hole(extent),
        }
    }

    fn flush(&self) -> Result<()> {
        self.settle_late()?;
        self.write_behind()?;
        self.syncs.sync(&*self.storage)
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let mut bytes = vec![1; extent.length.min(512) as usize];
        self.storage.read_at(extent.offset, &mut bytes)?;
        let zero = self.race == Race::Status && bytes.iter().all(|byte| *byte == 0);
        let length = bytes.len() as u64;
        Ok(BlockStatus { length, allocated: true, zero, compressed: false, host_offset: None })
    }
}

/// [`Plain`] with a planted race.
#[derive(Debug, Clone, Copy)]
struct PlainTarget(Race);

#[derive(Debug)]
struct PlainImages(Race, u64);

impl Driver for PlainTarget {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn images(&self, config: &Config) -> Result<Box<dyn ImageMaker>> {
        Ok(Box::new(PlainImages(self.0, config.size_bytes)))
    }
}

impl ImageMaker for PlainImages {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        storage.set_len(self.1)
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        let (size, race) = (self.1, self.0);
        if storage.len()? < size {
            return Err(Error::corrupt("planted disk", 0, "too short"));
        }
        let (syncs, locks, writing, late, behind) = Default::default();
        Ok(Disk::new(Plain { storage, syncs, size, race, locks, writing, late, behind }, Access::ReadWrite))
    }

    fn reference(&self) -> Result<Disk> {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        storage.set_len(self.1)?;
        Self(Race::None, self.1).open(storage)
    }
}

fn judge(race: Race, scenario: &Scenario) -> Option<Signature> {
    match RaceEngine::new().run(&PlainTarget(race), scenario) {
        Outcome::Clean => None,
        Outcome::Finding(finding) => Some(finding.signature),
        Outcome::Refused(why) => panic!("{why}"),
    }
}

/// The first finding on a driver with `race`, as small as it gets.
fn smallest(race: Race) -> (Scenario, Signature) {
    let mut all = Generator::new(&PLAIN, 12, Limits::racing());
    let found = all.find(|scenario| judge(race, scenario).is_some()).expect("there is always another");
    assert!(all.index() < 2000, "found only after {} schedules", all.index());
    let small =
        minimise(&PLAIN, &found, |scenario| judge(race, scenario), &minimise::Options::default()).unwrap();
    (small.scenario, small.signature)
}

#[test]
fn the_right_driver_passes() {
    for scenario in Generator::new(&PLAIN, 1, Limits::racing()).take(3000) {
        assert_eq!(judge(Race::None, &scenario), None, "{scenario}");
    }
}

#[test]
fn a_lost_update_shrinks_to_two_writes_and_one_turn() {
    let (scenario, signature) = smallest(Race::LostUpdate);
    let Signature::Content { found, .. } = signature else { panic!("{signature:?}") };
    let turns = scenario.schedule.iter().filter(|turn| !turn.is_never()).count();
    // Where the bytes that come back were written by a request, that is one more: another finding has another
    // signature.
    let writes = if found == OriginClass::Written { 3 } else { 2 };
    assert_eq!((scenario.requests.len(), turns, scenario.config.lanes), (writes, 1, 2), "{scenario}");
    let mut in_order = scenario.clone();
    in_order.schedule.clear();
    assert_eq!(judge(Race::LostUpdate, &in_order), None, "{scenario}");
}

#[test]
fn a_circle_of_locks_is_a_finding() {
    let (scenario, signature) = smallest(Race::Circle);
    let what = "completing what is in flight";
    assert_eq!(signature, Signature::Failed { what, error: "Deadlock".to_owned() });
    assert_eq!(scenario.requests.len(), 2, "{scenario}");
}

#[test]
fn a_panic_of_one_of_two_is_a_finding() {
    let (scenario, signature) = smallest(Race::Panics);
    assert!(matches!(signature, Signature::Panic { .. }), "{signature:?}");
    assert_eq!(scenario.requests.len(), 2, "{scenario}");
}

#[test]
fn what_lands_late_is_a_finding_without_any_turn() {
    let (scenario, signature) = smallest(Race::Late);
    assert!(matches!(signature, Signature::Content { .. }), "{signature:?}");
    assert!(scenario.schedule.is_empty() && scenario.requests.len() <= 3, "{scenario}");
}

#[test]
fn a_status_may_claim_only_what_was_possible() {
    let (scenario, signature) = smallest(Race::Status);
    assert!(matches!(signature, Signature::Status { .. } | Signature::Content { .. }), "{signature:?}");
    assert!((2..=3).contains(&scenario.requests.len()), "{scenario}");
}

#[test]
fn a_flush_that_is_answered_while_what_it_answers_for_is_in_flight_is_a_finding() {
    // The first write is in memory; the second one writes it, and gives way to the flush while it does.
    let run = |turn: u8| {
        let text = format!("blk-scenario 1\nconfig lanes=2\nwrite 0 512\n@{turn} write 4k 512\nflush\n");
        judge(Race::Behind, &Scenario::from_text(&text).unwrap())
    };
    let found: Vec<Signature> = (1..12).filter_map(run).collect();
    let is_in_flight = |signature: &Signature| matches!(signature, Signature::Broken { how, .. } if how.ends_with("is in flight"));
    assert!(!found.is_empty() && found.iter().all(is_in_flight), "{found:?}");
}

#[test]
fn a_report_names_who_was_in_flight_with_whom() {
    let text = "blk-scenario 1\nconfig lanes=2\n@3 write 0 512\nwrite 512 512\nread 0 1k\n";
    let scenario = Scenario::from_text(text).unwrap();
    let outcome = RaceEngine::new().run(&PlainTarget(Race::LostUpdate), &scenario);
    let report = outcome.finding().expect("an update is lost").report();
    for line in [
        "contents mismatch at offset 512",
        "#1 write 0 512   in flight with #2 #3",
        "what request #2 (write 512 512) wrote",
    ] {
        assert!(report.contains(line), "{report}");
    }
}

#[test]
fn threads_pass_on_the_right_driver() {
    let config = Config { size_bytes: 64 << 10, ..Config::default() };
    let options = StressOptions { seed: 3, lanes: 3, requests: 2000, config };
    let stats =
        stress(&PlainTarget(Race::None), &options).unwrap_or_else(|finding| panic!("{}", finding.report()));
    assert!(stats.get(Counter::Requests) == 2000 && stats.get(Counter::BytesCompared) > 1 << 20, "{stats}");
}

static RIGHT: PlainTarget = PlainTarget(Race::None);

#[test]
fn everything_small_comes_with_every_schedule() {
    let suite = Suite::new("plain_race", |purpose| races(&RIGHT, purpose))
        .within(Limits::racing)
        .exhausting(|| configs(&PLAIN, 2)[..1].to_vec());
    let units = units(&suite, &Bounds { units: 2, length: 2, points: 3, step: 1 });
    assert_eq!(units.len(), 2);
    let mut runner = suite.start(Purpose::Exhaust);
    // 17 requests: each alone, and each pair of them under 4 times 4 schedules.
    assert_eq!(units[0].total(), 17 + 17 * 17);
    assert_eq!(units[0].run(&mut *runner, 1).unwrap(), 17 + 17 * 17 * 16);
    assert_eq!(runner.missing(), None);
}
