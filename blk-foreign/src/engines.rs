//! What is asked of a foreign driver: by which engine, within which limits.

use anyhow::{Result, bail};
use blk_harness::Tolerant;
use blk_harness::driver::Driver;
use blk_harness::generate::Limits;
use blk_harness::runner::{self, Purpose, Runner};
use blk_harness::scenario::Config;

use crate::{ForeignDriver, MediumKind};

/// Units of allocation that the largest disk has at least.
const UNITS_MIN: u64 = 6;
/// The largest disk that is crashed, bytes, where it has [`CRASHED_UNITS`] units at least: what a crash
/// leaves is read whole.
const CRASHED_BYTES_MAX: u64 = 1 << 20;
/// With one unit alone, nothing of an allocation could be in the wrong place.
const CRASHED_UNITS: u64 = 4;

/// What is asked of a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Each answer is compared with a reference.
    Content,
    /// The storage crashes at each of its operations.
    Crash,
    /// Each operation of the storage fails.
    Fault,
    /// Several requests are in flight together.
    Race,
}

impl EngineKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Content, Self::Crash, Self::Fault, Self::Race];

    /// What it is called in arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Crash => "crash",
            Self::Fault => "fault",
            Self::Race => "race",
        }
    }

    /// The engine of a name.
    ///
    /// # Errors
    /// That there is none: all that there are are listed.
    pub fn parse(name: &str) -> Result<Self> {
        let Some(kind) = Self::ALL.into_iter().find(|kind| kind.name() == name) else {
            bail!("there is no engine '{name}'; there are {}", Self::ALL.map(Self::name).join(", "))
        };
        Ok(kind)
    }

    /// Whether it can be asked of a driver.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn suits(self, driver: ForeignDriver) -> Result<()> {
        if self != Self::Content && !driver.has_medium() {
            bail!(
                "crashes, faults and races need a medium that is ours, and '{}' has its image in a file, or keeps \
                 it for itself",
                driver.name()
            );
        }
        if self == Self::Race && driver.description().medium.kind != MediumKind::Nbd {
            bail!(
                "races need a medium over NBD: that of '{}' is mounted, and the kernel orders what it is asked for",
                driver.name()
            );
        }
        Ok(())
    }

    /// Its engine. Runs of many scenarios go on past known deviations, and count them; a replay shows them.
    pub fn runner(self, driver: &'static ForeignDriver, purpose: Purpose) -> Box<dyn Runner> {
        let engine = self.strict_runner(driver, purpose);
        match purpose {
            Purpose::Fuzz | Purpose::Minimise | Purpose::Exhaust => Box::new(Tolerant::new(engine, driver)),
            Purpose::Replay | Purpose::Complete => engine,
        }
    }

    /// Its engine, for which known deviations are findings as any other.
    pub fn strict_runner(self, driver: &'static ForeignDriver, purpose: Purpose) -> Box<dyn Runner> {
        match self {
            Self::Content => runner::requests(driver, purpose),
            // What is left is opened by a process each time: as few states of one scenario as of any other.
            Self::Crash if !driver.is_judged_by_ours() => runner::crashes(driver, Purpose::Fuzz),
            Self::Crash => runner::crashes(driver, purpose),
            Self::Fault => runner::faults(driver, purpose),
            Self::Race => runner::races(driver, purpose),
        }
    }

    /// What scenarios for it are generated within.
    pub fn limits(self, driver: ForeignDriver) -> Limits {
        let unit = driver.space().geometry(&Config::default()).unit_bytes;
        let (requests_max, disk_bytes_max) = match self {
            Self::Content => (40, (unit * UNITS_MIN).max(2 << 20)),
            Self::Crash | Self::Fault => {
                (12, (unit * UNITS_MIN).clamp(512 << 10, CRASHED_BYTES_MAX.max(unit * CRASHED_UNITS)))
            }
            Self::Race => {
                let disk_bytes_max = (unit * UNITS_MIN).clamp(64 << 10, CRASHED_BYTES_MAX);
                return Limits { disk_bytes_max, data_bytes_max: unit.max(64 << 10), ..Limits::racing() };
            }
        };
        // NBD resizes nothing.
        let limits = Limits { resizes: false, ..Limits::default() };
        Limits { requests_max, disk_bytes_max, data_bytes_max: 256 << 10, ..limits }
    }
}
