//! The same judgement with real threads: no schedule, no replay, but the memory model and the locks of the machine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use blk_core::Storage;
use blk_core::sync::Mutex;

use super::court::Court;
use super::{Images, RaceStats, judge_whole, lane};
use crate::engine::panic_finding;
use crate::generate::{Generator, Limits};
use crate::oracle::content::failed;
use crate::oracle::image;
use crate::report::Finding;
use crate::scenario::{Config, Request, Scenario, Turn};
use crate::space::Space;
use crate::target::{ImageTarget, legal_config};

/// What a stress does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StressOptions {
    /// Seed of the requests. What threads make of them differs from run to run.
    pub seed: u64,
    /// Threads.
    pub lanes: u8,
    /// Requests.
    pub requests: usize,
    /// The configuration of the image.
    pub config: Config,
}

/// Makes random requests from several threads at once, judges each answer and in the end the whole disk, checks the image,
/// and reopens it.
///
/// # Errors
/// What was found.
///
/// # Panics
/// If the image cannot be made.
pub fn stress(target: &dyn ImageTarget, options: &StressOptions) -> Result<RaceStats, Box<Finding>> {
    stress_with(target, &stress_scenario(target, options))
}

/// The requests that [`stress`] makes.
///
/// # Panics
/// If the configuration has an option that the driver does not have.
pub fn stress_scenario(target: &dyn ImageTarget, options: &StressOptions) -> Scenario {
    let legal = legal_config(target, &options.config).expect("a configuration of the driver");
    let config = Config { lanes: options.lanes.max(1), ..legal };
    let alone = Config { lanes: options.config.lanes, ..config.clone() };
    let requests = requests(target.space(), options, &alone);
    Scenario { config, requests, schedule: Vec::new() }
}

/// As [`stress`], with the requests of a scenario, from as many threads as it has lanes. Those that have to happen alone are
/// left out.
///
/// # Errors
/// What was found.
///
/// # Panics
/// If the image cannot be made.
pub fn stress_with(target: &dyn ImageTarget, scenario: &Scenario) -> Result<RaceStats, Box<Finding>> {
    let config = legal_config(target, &scenario.config).expect("a configuration of the driver");
    let images = Images::new(target, config).expect("an image for the stress");
    let storage: Arc<dyn Storage> = Arc::new(images.fresh.duplicate());
    let open =
        || images.prepared.open(Arc::clone(&storage)).map_err(|error| failed("opening the image", &error));
    let disk = open()?;
    let lanes = usize::from(scenario.config.lanes.max(1));
    let court = Court::new(Arc::clone(&images.initial), lanes, images.fill_bytes());
    court.load(&together(&scenario.requests));
    let panic = Mutex::new(None);
    std::thread::scope(|scope| {
        for lane in 0..lanes {
            let (court, disk, panic) = (&court, &disk, &panic);
            scope.spawn(move || {
                let driven = catch_unwind(AssertUnwindSafe(|| lane::drive(court, disk, lane, |_, _| ())));
                if let Err(payload) = driven {
                    panic.lock().get_or_insert(payload);
                }
            });
        }
    });
    if let Some(payload) = panic.into_inner() {
        return Err(court.explain(panic_finding(payload.as_ref())));
    }
    if let Some(finding) = court.take_finding() {
        return Err(finding);
    }
    judge_whole(&court, &disk)?;
    image::check(&disk)?;
    disk.close().map_err(|error| failed("closing the image", &error))?;
    drop(disk);
    judge_whole(&court, &open()?)?;
    let mut stats = court.stats();
    stats.schedules = 1;
    stats.interleaved = u64::from(stats.met > 0);
    Ok(stats)
}

/// Requests that may be in flight together.
fn requests(space: &'static Space, options: &StressOptions, config: &Config) -> Vec<Request> {
    let limits = Limits {
        disk_bytes_max: config.size_bytes,
        requests_min: 40,
        requests_max: 40,
        config: Some(config.clone()),
        ..Limits::racing()
    };
    let all = Generator::new(space, options.seed, limits).flat_map(|scenario| scenario.requests);
    all.filter(may_meet).take(options.requests).collect()
}

fn together(requests: &[Request]) -> Vec<(Request, Turn)> {
    requests.iter().filter(|request| may_meet(request)).map(|request| (*request, Turn::default())).collect()
}

fn may_meet(request: &Request) -> bool {
    !matches!(request, Request::Reopen { .. } | Request::Resize { .. })
}
