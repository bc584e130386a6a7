//! The judges judged: drivers that are wrong in one place only, each given to every engine that promises to
//! notice.
//!
//! Each bug is the smallest that a judge can miss: one byte at the end of a read, a buffer that is left as it
//! was, a sync that is left out. A judge that looks a little less closely fails here. The table says which
//! promise of the judges a bug breaks, and no other promise may be the one that notices.

mod effort;
mod findings;
mod known;
mod ledger;
mod mirrors;
mod plain;
mod plants;
mod shrinking;
mod strays;
mod verdicts;

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use blk_core::{Access, Disk, Result, Storage};
use blk_harness::crash::{CrashEngine, CrashOptions};
use blk_harness::driver::{Driver, ImageMaker, Promises};
use blk_harness::fault::{FaultEngine, FaultOptions};
use blk_harness::promise::Promise;
use blk_harness::race::RaceEngine;
use blk_harness::scenario::{Config, Scenario};
use blk_harness::space;
use blk_harness::{Engine, MemoryDisk, Outcome, RunOptions};
use blk_verify::{Finding, Signature};
use ledger::{Ledger, Way};
use mirrors::Mirrors;
use plain::Plain;

/// Size of each disk at first.
const SIZE_BYTES: u64 = 16 << 10;

/// A driver with one bug.
#[derive(Debug, Clone, Copy)]
enum Planted {
    Plain(plain::Bug),
    Ledger(ledger::Bug, Way),
    Mirrors,
}

static IMAGE: LazyLock<Config> =
    LazyLock::new(|| Config { size_bytes: SIZE_BYTES, ..Config::default() }.with(space::UNIT, "1k"));

impl Driver for Planted {
    fn name(&self) -> &'static str {
        "planted"
    }

    fn image_config(&self) -> Option<&Config> {
        Some(&IMAGE)
    }

    fn promises(&self, _config: &Config) -> Promises {
        let reuses = matches!(self, Self::Ledger(..));
        Promises { rests_after_flush: true, reuses, ..Promises::default() }
    }

    fn images(&self, _config: &Config) -> Result<Box<dyn ImageMaker>> {
        Ok(Box::new(*self))
    }
}

impl ImageMaker for Planted {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        match self {
            Self::Plain(_) => storage.set_len(SIZE_BYTES),
            Self::Ledger(..) => Ledger::create(&**storage),
            Self::Mirrors => Mirrors::create(&**storage),
        }
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        match *self {
            Self::Plain(bug) => Ok(Disk::new(Plain::open(storage, bug)?, Access::ReadWrite)),
            Self::Ledger(bug, way) => Ok(Disk::new(Ledger::open(storage, bug, way)?, Access::ReadWrite)),
            Self::Mirrors => Ok(Disk::new(Mirrors::open(storage)?, Access::ReadWrite)),
        }
    }

    fn reference(&self) -> Result<Disk> {
        MemoryDisk::open(SIZE_BYTES)
    }
}

/// The engines, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Requests,
    Crashes,
    Faults,
    Races,
}

const ALL: [By; 4] = [By::Requests, By::Crashes, By::Faults, By::Races];

/// Those that look at the disk before it is closed.
const LIVE: [By; 3] = [By::Requests, By::Faults, By::Races];

impl By {
    fn run(self, target: Planted, scenario: &Scenario) -> Outcome {
        let target = &target;
        match self {
            Self::Requests => Engine::new(RunOptions::default()).run(target, scenario),
            Self::Crashes => CrashEngine::new(CrashOptions::default()).run(target, scenario),
            Self::Faults => FaultEngine::new(FaultOptions::default()).run(target, scenario),
            Self::Races => RaceEngine::new().run(target, scenario),
        }
    }
}

/// A bug with requests that meet it, and which engines have to notice, by which promise.
struct Row {
    target: Planted,
    requests: &'static str,
    noticed: Vec<(By, Promise)>,
}

fn row(target: Planted, requests: &'static str, engines: &[By], promise: Promise) -> Row {
    Row { target, requests, noticed: engines.iter().map(|engine| (*engine, promise)).collect() }
}

fn plain_rows() -> Vec<Row> {
    use By::{Crashes, Faults, Races};
    use Promise::{Answers, Completed, Content, Durable, Opens, Works};
    use plain::Bug;
    let row = |bug, requests, engines: &[By], promise| row(Planted::Plain(bug), requests, engines, promise);
    vec![
        row(Bug::LastByteOfReads, "write 0 8k\nread 1k 1k", &ALL, Answers),
        row(Bug::ReadsLeaveTheBuffer, "write 0 4k\nread 0 4k\nread 0 4k\nread 0 4k", &ALL, Answers),
        row(Bug::ZeroesAreIgnored, "write 0 4k\nwrite -z 1k 1k", &LIVE, Answers),
        row(Bug::ZeroesAreIgnored, "write 0 4k\nwrite -z 1k 1k", &[Crashes], Works),
        row(Bug::DiscardsLeaveAByte, "write 0 4k\ndiscard 1k 1k", &ALL, Answers),
        row(Bug::WritesOneByteTooMany, "write 0 4k\nwrite 1k 1k", &LIVE, Answers),
        row(Bug::WritesOneByteTooMany, "write 0 4k\nwrite 1k 1k", &[Crashes], Works),
        row(Bug::StatusLies, "write 0 4k\nmap 0 4k", &ALL, Answers),
        // Only a medium that forgets a run together does that.
        self::row(Planted::Mirrors, "write 0 16k\nflush", &[Crashes], Opens),
        row(Bug::CloseIsForgotten, "write 0 4k\nreopen\nwrite 8k 512", &ALL, Durable),
        row(Bug::FlushIsForgotten, "write 0 4k\nflush\nwrite 8k 512", &ALL, Durable),
        row(Bug::FlushSyncsTooEarly, "write 8k 512\nflush\nwrite 0 4k", &ALL, Durable),
        row(Bug::FlushPunchesLate, "write 0 4k\nflush\nwrite 0 512", &[Crashes, Faults], Completed),
        row(Bug::DropWritesAfterClose, "write 0 4k\nreopen", &[Crashes, Faults, Races], Completed),
        row(Bug::FuaIsForgotten, "write -f 0 4k\nwrite 8k 512", &ALL, Durable),
        row(Bug::FailedSyncIsRepeated, "write 0 4k\nflush", &[Faults], Durable),
        row(Bug::FailedWriteBreaksReads, "write 0 4k\nflush", &[Faults], Content),
        row(Bug::FailedWriteIsDone, "write 0 4k\nread 0 4k", &[Faults], Content),
        row(Bug::FailedWriteReachesFurther, "write 0 4k\nwrite 1k 512", &[Faults], Durable),
    ]
}

fn ledger_rows() -> Vec<Row> {
    use By::{Crashes, Faults, Races, Requests};
    use Promise::{Answers, Consistent, Leaks, Opens, Recovery, Repair, Size, Stable, Surfaces, Works};
    use Way::{Dirty, Ordered};
    use ledger::Bug;
    let row = |bug, way, requests, engines: &[By], promise| {
        row(Planted::Ledger(bug, way), requests, engines, promise)
    };
    let rewrite = "write 0 2k\nflush\ndiscard 0 1k\nflush\nwrite 4k 1k\nflush";
    let few = "write 0 2k\nflush\nwrite 4k 1k";
    vec![
        row(Bug::HeaderInTwoParts, Ordered, "truncate 8k\nflush", &[Crashes], Opens),
        row(Bug::TableBeforeMap, Ordered, few, &[Crashes], Consistent),
        row(Bug::DataAreNotSynced, Dirty, rewrite, &[Crashes], Works),
        row(Bug::SizeIsNotFlushed, Ordered, "truncate 32k\nflush\nwrite 0 512", &[Crashes], Size),
        row(Bug::WriteGrows, Ordered, "write 0 512", &[Crashes, Faults, Races], Size),
        row(Bug::WriteGrows, Ordered, "write 0 512", &[Requests], Answers),
        row(Bug::CloseGrows, Ordered, "write 0 512", &[Crashes, Faults, Races], Size),
        row(Bug::CloseGrows, Ordered, "write 0 512", &[Requests], Answers),
        row(Bug::GrowthShowsOld, Ordered, "write 0 16k\ntruncate 8k\ntruncate 16k", &LIVE, Answers),
        row(Bug::FreedStaysMarked, Ordered, "write 0 8k\nflush\ndiscard 0 8k\nflush", &[Crashes], Leaks),
        row(Bug::LeakyImageLeaksOn, Ordered, few, &[Crashes], Works),
        row(Bug::RecoveryClearsTheBitFirst, Dirty, few, &[Crashes], Recovery),
        row(Bug::SecondLookDiffers, Ordered, few, &[Crashes, Faults], Stable),
        row(Bug::SecondLookIsLeftOut, Ordered, few, &[Crashes, Faults], Stable),
        row(Bug::SecondReadIsLeftOut, Ordered, "write 0 8k\nread 0 8k\nread 0 8k", &ALL, Answers),
        row(Bug::RepairTouchesTheGuest, Ordered, few, &[Crashes, Faults], Repair),
        row(Bug::RepairLeavesOne, Ordered, few, &[Crashes, Faults], Repair),
        row(Bug::FailedRepairClearsTheMap, Ordered, few, &[Faults], Consistent),
        row(Bug::DiscardLeaks, Ordered, "write 0 1k\ndiscard 0 1k", &[Requests, Races], Answers),
        row(Bug::CheckForgetsWhatWaits, Ordered, "write 0 1k\ndiscard 0 1k\ncheck", &ALL, Answers),
        row(Bug::FlushFails, Ordered, "flush\nflush\nflush", &ALL, Answers),
        row(Bug::RepairIgnoresSyncs, Ordered, few, &[Faults], Surfaces),
        row(Bug::LastSyncIsIgnored, Ordered, few, &[Faults], Surfaces),
        row(Bug::PoisonedCloseSucceeds, Ordered, few, &[Faults], Surfaces),
        row(Bug::FailedFlushMarksMany, Ordered, "write 0 8k\nflush\nwrite 12k 512", &[Faults], Leaks),
        row(Bug::FailedFlushBreaksTheHeader, Ordered, few, &[Faults], Opens),
        row(Bug::SyncIsRepeated, Ordered, few, &[Faults], Surfaces),
        row(Bug::FailedWriteBreaksFlushes, Ordered, few, &[Faults], Works),
        row(Bug::FailedFlushHalvesTheSize, Ordered, "truncate 24k\nflush", &[Faults], Size),
        row(
            Bug::AllocationIsUnlocked,
            Ordered,
            "@4 write 0 512\nwrite 512 512\nread 0 1k",
            &[Races],
            Answers,
        ),
        row(
            Bug::ReadsAreUnlocked,
            Ordered,
            "write 0 1k\nflush\n@5 read 0 1k\ndiscard 0 1k\nwrite 4k 1k",
            &[Races],
            Answers,
        ),
    ]
}

fn scenario(requests: &str, lanes: u8) -> Scenario {
    let config = if lanes > 0 {
        format!("config size-bytes=16k lanes={lanes}\n")
    } else {
        "config size-bytes=16k\n".to_owned()
    };
    Scenario::from_text(&format!("blk-scenario 1\n{config}{requests}\n"))
        .expect("the requests are well-formed")
}

#[test]
fn space_is_looked_at_in_the_middle_where_a_scenario_says_so() {
    let target = Planted::Ledger(ledger::Bug::ShrinkStopsReuse, Way::Ordered);
    let by = |probe_flush: u8, requests: &str| {
        let mut scenario = scenario(requests, 0);
        scenario.config.probe_flush = probe_flush;
        let outcome = By::Requests.run(target, &scenario);
        outcome.finding().map(|finding| (broken(finding), finding.request_number))
    };
    let requests = "write 0 8k\nflush\ntruncate 8k\nflush\nread 0 8k";
    let space = Promise::Space.name();
    assert_eq!(by(0, requests), None, "the handle that is opened in the end forgives it");
    assert_eq!(by(1, requests), None, "nothing is wrong yet");
    assert_eq!(by(2, requests), Some((space, 4)));
    assert_eq!(by(3, requests), None, "there is no third flush");
}

/// The promise that a finding says is broken.
fn broken(finding: &Finding) -> &'static str {
    match &finding.signature {
        Signature::Broken { promise, .. } => promise,
        _ => Promise::Answers.name(),
    }
}

fn lanes(engine: By) -> u8 {
    if engine == By::Races { 3 } else { 0 }
}

#[test]
fn every_engine_notices_what_it_promises_to() {
    let mut missed = Vec::new();
    for Row { target, requests, noticed } in plain_rows().into_iter().chain(ledger_rows()) {
        for (engine, promise) in noticed {
            let outcome = engine.run(target, &scenario(requests, lanes(engine)));
            let by = outcome.finding().map(broken);
            if by != Some(promise.name()) {
                let requests = requests.replace('\n', "; ");
                missed.push(format!("{engine:?}: {target:?}: {requests}: {by:?}, not {promise:?}"));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn every_promise_has_a_bug_that_it_alone_notices() {
    let noticed: HashSet<Promise> = plain_rows()
        .iter()
        .chain(&ledger_rows())
        .flat_map(|row| row.noticed.iter().map(|(_, promise)| *promise))
        .collect();
    for promise in Promise::ALL {
        assert!(noticed.contains(&promise), "{promise:?}");
    }
}

#[test]
fn no_engine_complains_about_the_right_driver() {
    let right = [
        Planted::Plain(plain::Bug::None),
        Planted::Ledger(ledger::Bug::None, Way::Ordered),
        Planted::Ledger(ledger::Bug::None, Way::Dirty),
    ];
    let rows = plain_rows().into_iter().chain(ledger_rows());
    let requests: HashSet<&str> = rows.map(|row| row.requests).collect();
    for requests in requests {
        let has_resize = requests.contains("truncate");
        for target in right.iter().filter(|right| !has_resize || matches!(right, Planted::Ledger(..))) {
            for engine in ALL {
                let outcome = engine.run(*target, &scenario(requests, lanes(engine)));
                assert_eq!(outcome, Outcome::Clean, "{engine:?}, {target:?}: {requests}");
            }
        }
    }
}
