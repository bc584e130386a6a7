//! The proof of the harness for each driver that comes with us: a fault that is planted around it is found,
//! in a scenario in which nothing is found without it.

#[expect(dead_code, reason = "other tests run scenarios by it too")]
mod common;

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use blk_foreign::{EngineKind, MediumKind, Plant, description, names};
use blk_harness::Outcome;
use blk_harness::driver::Driver;
use blk_harness::generate::{Generator, Limits};
use blk_harness::runner::Purpose;
use common::{driver, limits};

/// Scenarios that are tried.
const SCENARIOS: usize = 300;
/// Drivers that are tried at a time.
const AT_A_TIME: usize = 2;

/// A fault, and by which engine it has to be found.
const PLANTS: [(Plant, EngineKind); 2] =
    [(Plant::WrongReply(3), EngineKind::Content), (Plant::LostSyncs(2), EngineKind::Crash)];

/// What was found.
struct Row {
    driver: &'static str,
    plant: Plant,
    engine: EngineKind,
    /// Scenarios until then.
    scenarios: usize,
    time: Duration,
    what: String,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { driver, plant, engine, scenarios, time, what } = self;
        let (engine, seconds) = (engine.name(), time.as_secs_f64());
        write!(f, "| {driver} | {plant} | {engine} | {scenarios} | {seconds:.1} | {what} |")
    }
}

/// Fewer requests, on smaller disks, where each is crashed at every operation.
fn limits_of(engine: EngineKind) -> Limits {
    match engine {
        EngineKind::Crash => Limits {
            requests_max: 6,
            disk_bytes_max: 256 << 10,
            data_bytes_max: Limits::default().data_bytes_max,
            ..limits()
        },
        _ => limits(),
    }
}

/// Runs scenarios until the fault is found; `None` where programs are missing.
fn find(name: &'static str, plant: Plant, engine: EngineKind) -> Option<Row> {
    let started = Instant::now();
    let (clean, planted) = (driver(name, None)?, driver(name, Some(plant))?);
    let mut runner = engine.runner(planted, Purpose::Fuzz);
    let generator = Generator::new(planted.space(), 1, limits_of(engine));
    for (number, scenario) in (1..).zip(generator.take(SCENARIOS)) {
        let Outcome::Finding(finding) = runner.run(&scenario) else { continue };
        let time = started.elapsed();
        let without = engine.runner(clean, Purpose::Fuzz).run(&scenario);
        if without != Outcome::Clean {
            println!("{name}: {plant} has nothing to do with {without:?}");
            continue;
        }
        let what = finding.headline().replace("blkverify: ", "");
        return Some(Row { driver: name, plant, engine, scenarios: number, time, what });
    }
    panic!("{name}: {plant}, and nobody has noticed: {}", runner.summary());
}

#[test]
fn a_planted_fault_is_found_in_every_driver() {
    let is_seen = |name: &str, plant| {
        let kind = description(name).unwrap().medium.kind;
        matches!(plant, Plant::WrongReply(_)) || matches!(kind, MediumKind::Nbd | MediumKind::Fuse)
    };
    let jobs: Vec<_> = names()
        .flat_map(|name| PLANTS.map(|(plant, engine)| (name, plant, engine)))
        .filter(|(name, plant, _)| is_seen(name, *plant))
        .collect();
    let (left, rows) = (Mutex::new(jobs.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some((name, plant, engine)) = left.lock().unwrap().next() else { break };
                    let row = find(name, *plant, *engine);
                    rows.lock().unwrap().extend(row);
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|row| (row.driver, row.plant.to_string()));
    println!("| driver | planted | engine | scenarios | s | what is found |\n|---|---|---|---|---|---|");
    for row in &rows {
        println!("{row}");
    }
    let is_everybody_tried = std::env::var_os("BLK_REQUIRE_QEMU").is_some();
    assert!(!is_everybody_tried || rows.len() == jobs.len(), "{} of {}", rows.len(), jobs.len());
}
