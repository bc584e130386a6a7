//! A foreign driver as a driver under test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use blk_core::{Error, Format};
use blk_harness::Finding;
use blk_harness::driver::{Bench, Driver, ImageBench, ImageMaker};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::space::Space;

use crate::asleep::Workers;
use crate::bench::FileBench;
use crate::cache::Cache;
use crate::daemon::Daemon;
use crate::description::{Description, MediumKind, OptionKind, OptionUse};
use crate::deviation::Deviation;
use crate::fuse;
use crate::images::ForeignImages;
use crate::process::{Process, is_there};
use crate::qmp::Port;
use crate::space;
use crate::template::Names;
use blk_harness::plant::Plant;

/// One scenario in so many ends with the driver's own check, a process that takes as long as a scenario does;
/// fewer where our driver of the same format checks each.
const ASKS_ONE_IN: u64 = 8;
const ASKS_ONE_IN_JUDGED: u64 = 16;

/// A driver in another process.
///
/// Drivers live as long as the process: their names and options are those of scenarios and reports.
#[derive(Debug, Clone, Copy)]
pub struct ForeignDriver(pub(crate) &'static Shared);

/// What all images of a driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) description: &'static Description,
    name: &'static str,
    space: &'static Space,
    /// Our driver of the same format, if there is one.
    pub(crate) judge: Option<&'static dyn Format>,
    pub(crate) plant: Option<Plant>,
    pub(crate) daemon: Arc<Daemon>,
    pub(crate) cache: Cache,
    opens: AtomicU64,
    pub(crate) workers: Arc<Workers>,
    /// Processes that were started for one open each.
    pub(crate) started: AtomicU64,
}

/// Finds the format of a name among those that the program has.
pub type Formats = fn(&str) -> Option<&'static dyn Format>;

fn no_formats(_: &str) -> Option<&'static dyn Format> {
    None
}

impl ForeignDriver {
    /// The driver that a description is about, which opens what a crash leaves by itself.
    ///
    /// # Errors
    /// A text that names the program that is missing, and the package that has it.
    pub fn new(description: Description) -> Result<&'static Self> {
        Self::with(description, no_formats, None)
    }

    /// The same; what a crash leaves is opened by our driver of the same format too, which is far faster.
    ///
    /// # Errors
    /// As [`ForeignDriver::new`].
    pub fn judged_by(description: Description, formats: Formats) -> Result<&'static Self> {
        Self::with(description, formats, None)
    }

    /// The same with a planted fault, which has to be found.
    ///
    /// # Errors
    /// As [`ForeignDriver::new`].
    pub fn planted(description: Description, formats: Formats, plant: Plant) -> Result<&'static Self> {
        Self::with(description, formats, Some(plant))
    }

    fn with(description: Description, formats: Formats, plant: Option<Plant>) -> Result<&'static Self> {
        for (program, package) in &description.programs {
            if !is_there(program) {
                bail!(
                    "driver '{}' needs the program {program}, which is not there: \
                     Debian's package {package} has it (apt-get install {package})",
                    description.name
                );
            }
        }
        if description.medium.kind == MediumKind::Fuse
            && let Some(refusal) = fuse::refusal()
        {
            bail!("driver '{}': {refusal}", description.name);
        }
        if description.process.argv.iter().any(|word| word.contains("{port}"))
            && let Err(error) = Port::bind()
        {
            let why = "its commands come over a port of 127.0.0.1, the loopback network, which cannot be had";
            bail!("driver '{}': {why}: {error}", description.name);
        }
        let description: &'static Description = Box::leak(Box::new(description));
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            description,
            name: space::keep(&description.name),
            space: space::of(description),
            judge: description.format.as_deref().and_then(formats),
            plant,
            daemon: Arc::default(),
            cache: Cache::default(),
            opens: AtomicU64::new(0),
            workers: Arc::default(),
            started: AtomicU64::new(0),
        }));
        Ok(Box::leak(Box::new(Self(shared))))
    }

    /// What its file says.
    pub fn description(&self) -> &'static Description {
        self.0.description
    }

    /// Whether our driver of the same format opens what a crash leaves too.
    pub fn is_judged_by_ours(&self) -> bool {
        self.0.judge.is_some()
    }

    /// How many of its processes were started so far.
    pub fn processes_started(&self) -> u64 {
        self.0.started.load(Ordering::Relaxed) + self.0.daemon.started()
    }

    /// Whether its storage can be crashed, and can fail.
    pub fn has_medium(&self) -> bool {
        matches!(self.description().medium.kind, MediumKind::Nbd | MediumKind::Fuse)
    }
}

impl Shared {
    /// The size of the disk that a configuration makes.
    pub(crate) fn size(&self, config: &Config) -> u64 {
        let alignment = self.description.geometry.size_alignment;
        config.size_bytes.max(1).next_multiple_of(alignment)
    }

    /// Starts a process for one open.
    pub(crate) fn start(&self, words: &[String]) -> blk_core::Result<Process> {
        self.started.fetch_add(1, Ordering::Relaxed);
        Ok(Process::start(words)?.working(&self.workers))
    }

    /// A number that no other open has.
    pub(crate) fn next(&self) -> u64 {
        self.opens.fetch_add(1, Ordering::Relaxed)
    }

    /// What placeholders stand for in all that is done with an image of this configuration.
    pub(crate) fn names(&self, config: &Config) -> Names {
        let mut names = Names::default()
            .with("size", self.size(config))
            .with("here", &self.description.here)
            .with("discard", if config.discard { "unmap" } else { "ignore" });
        for option in &self.description.options {
            let Some(value) = config.options.get(&option.name).or_else(|| self.usual(&option.name)) else {
                continue;
            };
            match option.when {
                OptionUse::Create => names.image_options.push(format!("{}={value}", option.name)),
                OptionUse::Open => {
                    // `on` may be a word of a choice.
                    let value = match option.kind {
                        OptionKind::Choice => value.to_string().into(),
                        _ => serde_json::to_value(value).unwrap_or_default(),
                    };
                    names.open_options.insert(option.name.clone(), value);
                }
            }
        }
        names
    }

    fn usual(&self, name: &str) -> Option<&'static blk_harness::scenario::Value> {
        self.space.knob(name)?.usual.as_ref()
    }
}

impl ForeignDriver {
    /// The known deviation that explains a finding, if one does.
    fn deviation(self, finding: &Finding, scenario: &Scenario) -> Option<&'static Deviation> {
        let unit_bytes = self.0.space.geometry(&scenario.config).unit_bytes;
        let known = &self.0.description.deviations;
        known.iter().find(|known| known.explains(finding, scenario, unit_bytes))
    }
}

impl Driver for ForeignDriver {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn space(&self) -> &'static Space {
        self.0.space
    }

    fn known(&self, finding: &Finding, scenario: &Scenario) -> Option<&'static str> {
        self.deviation(finding, scenario).map(|known| known.name.as_str())
    }

    fn asks_one_in(&self) -> u64 {
        if self.is_judged_by_ours() { ASKS_ONE_IN_JUDGED } else { ASKS_ONE_IN }
    }

    fn images(&self, config: &Config) -> blk_core::Result<Box<dyn ImageMaker>> {
        if !self.has_medium() {
            let what = format!(
                "crashes, faults and races of {}: its medium is no storage that could be simulated",
                self.0.name
            );
            return Err(Error::unsupported(what));
        }
        Ok(Box::new(ForeignImages::new(self.0, config.clone())))
    }

    fn bench(&self, config: &Config) -> blk_core::Result<Box<dyn Bench>> {
        if self.has_medium() {
            let memory = Arc::new(blk_core::MemoryStorage::new());
            return Ok(Box::new(ImageBench::new(self.images(config)?, memory)?));
        }
        Ok(Box::new(FileBench::new(self.0, config.clone())?))
    }
}
