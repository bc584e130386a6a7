//! Findings of each engine shrink to what makes them, in a bounded number of replays.

use std::sync::Arc;
use std::time::Instant;

use blk_core::{Access, Disk, Result, Storage};
use blk_harness::MemoryDisk;
use blk_harness::driver::{Driver, ImageMaker};
use blk_harness::generate::{Generator, Limits};
use blk_harness::minimise::{Options, minimise};
use blk_harness::runner::{self, Purpose, Runner};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::space::PLAIN;

use crate::plain::{Bug, Plain};

/// Replays that one finding may take. A fault finding replays up to some hundred runs each time.
const TRIES_MAX: u64 = 1500;
const BIG_BYTES: u64 = 1 << 30;

/// A disk as large as the scenario asks for.
#[derive(Debug, Clone, Copy)]
struct Sized(Bug);

#[derive(Debug)]
struct Images(Bug, u64);

impl Driver for Sized {
    fn name(&self) -> &'static str {
        "sized"
    }

    fn images(&self, config: &Config) -> Result<Box<dyn ImageMaker>> {
        Ok(Box::new(Images(self.0, config.size_bytes)))
    }
}

impl ImageMaker for Images {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        storage.set_len(self.1)
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        Ok(Disk::new(Plain::open(storage, self.0)?, Access::ReadWrite))
    }

    fn reference(&self) -> Result<Disk> {
        MemoryDisk::open(self.1)
    }
}

static LAST_BYTE: Sized = Sized(Bug::LastByteOfReads);
static NO_FLUSH: Sized = Sized(Bug::FlushIsForgotten);
static REACHES: Sized = Sized(Bug::FailedWriteReachesFurther);

/// What is shrunk: how large its disk is, and how many requests and lanes it has.
struct Long(u64, usize, u8);

impl Long {
    fn scenarios(&self) -> impl Iterator<Item = Scenario> {
        let Self(size_bytes, requests, lanes) = *self;
        let limits = Limits {
            requests_min: requests,
            requests_max: requests,
            disk_bytes_max: size_bytes,
            data_bytes_max: 64 << 10,
            lanes_max: lanes,
            config: Some(Config { size_bytes, lanes, ..Config::default() }),
            ..Limits::default()
        };
        Generator::new(&PLAIN, 11, limits).take(50)
    }
}

/// Shrinks what `runner` finds in the first long scenario in which it does, and says how far and in how many
/// replays.
fn shrunk(name: &str, start: impl Fn() -> Box<dyn Runner>, long: &Long) {
    let scenario = long.scenarios().find(|scenario| start().run(scenario).finding().is_some());
    let scenario = scenario.unwrap_or_else(|| panic!("{name} finds nothing"));
    let started = Instant::now();
    let mut runner = start();
    let signature =
        |scenario: &Scenario| runner.run(scenario).finding().map(|finding| finding.signature.clone());
    let smallest = minimise(&PLAIN, &scenario, signature, &Options::default()).expect("it was found before");
    let left = smallest.scenario.requests.len();
    println!("{name}: {} replays in {:?}, {left} requests left", smallest.tries, started.elapsed());
    assert!(smallest.is_fixed_point && smallest.tries <= TRIES_MAX, "{name}: {} replays", smallest.tries);
    assert!(left <= 3, "{name}: {}", smallest.scenario);
}

#[test]
fn a_finding_of_each_engine_shrinks_in_a_bounded_number_of_replays() {
    let smaller = Purpose::Minimise;
    shrunk("sequence", || runner::requests(&LAST_BYTE, smaller), &Long(BIG_BYTES, 200, 0));
    shrunk("crash", || runner::crashes(&NO_FLUSH, smaller), &Long(64 << 10, 40, 0));
    shrunk("fault", || runner::faults(&REACHES, smaller), &Long(256 << 10, 30, 0));
    shrunk("fault on a big disk", || runner::faults(&REACHES, smaller), &Long(BIG_BYTES, 30, 0));
    shrunk("race", || runner::races(&LAST_BYTE, smaller), &Long(256 << 10, 60, 3));
}
