//! The same judgement with real threads: no schedule, no replay, but the memory model and the locks of the
//! machine.

use std::panic::resume_unwind;
use std::sync::Arc;

use blk_core::sync::Mutex;
use blk_sim::{Host, Settings, progress};

use crate::crash::live;
use crate::driver::{Driver, legal_config};
use crate::generate::{Generator, Limits};
use crate::images::Images;
use crate::journal::Journal;
use crate::model::Model;
use crate::promise::Kept;
use crate::report::Finding;
use crate::run::{Run, drive, guarded};
use crate::scenario::{Config, Request, Scenario, Turn};
use crate::space::Space;
use crate::statistics::{Counter, Statistics};
use crate::{Outcome, explain};

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

/// Makes random requests from several threads at once, judges each answer and in the end the whole disk,
/// checks the image, and reopens it.
///
/// # Errors
/// What was found.
///
/// # Panics
/// If the image cannot be made.
pub fn stress(target: &dyn Driver, options: &StressOptions) -> Result<Statistics, Box<Finding>> {
    stress_with(target, &stress_scenario(target, options))
}

/// The requests that [`stress`] makes.
///
/// # Panics
/// If the configuration has an option that the driver does not have.
pub fn stress_scenario(target: &dyn Driver, options: &StressOptions) -> Scenario {
    let legal = legal_config(target, &options.config).expect("a configuration of the driver");
    let config = Config { lanes: options.lanes.max(1), ..legal };
    let alone = Config { lanes: options.config.lanes, ..config.clone() };
    let requests = requests(target.space(), options, &alone);
    Scenario { config, requests, schedule: Vec::new() }
}

/// As [`stress`], with the requests of a scenario, from as many threads as it has lanes. Those that have to
/// happen alone are left out.
///
/// # Errors
/// What was found.
///
/// # Panics
/// If the image cannot be made.
pub fn stress_with(target: &dyn Driver, scenario: &Scenario) -> Result<Statistics, Box<Finding>> {
    let images = match Images::for_scenario(None, target, &scenario.config, u64::MAX) {
        Ok(images) => images,
        Err(Outcome::Finding(finding)) => return Err(finding),
        Err(outcome) => panic!("no image for the stress: {outcome:?}"),
    };
    let host = Arc::new(Host::new(images.fresh.duplicate(), Settings::default()));
    let model = Model::new(Arc::clone(&images.initial), images.size, images.fill_bytes(), true);
    let lanes = usize::from(scenario.config.lanes.max(1));
    let journal = Arc::new(Journal::new());
    let mut run = Run::new(&images, host, Arc::clone(&journal), model, lanes);
    let requests: Vec<(Request, Turn)> = scenario
        .requests
        .iter()
        .filter(|request| may_meet(request))
        .map(|request| (*request, Turn::default()))
        .collect();
    let checker = Arc::clone(&run.checker);
    let ran = guarded(|| Ok(in_threads(&mut run, lanes, &requests)), Err);
    match ran {
        Ok(Ok(())) => {}
        Ok(Err(violation)) => return Err(Box::new(live(&run, &journal, &violation).by("stress"))),
        Err(panic) => {
            let history = explain::history(&checker.records());
            return Err(Box::new(Finding { history, ..*panic }.by("stress")));
        }
    }
    let mut stats = checker.stats();
    stats.add(Counter::Scenarios, 1);
    stats.add(Counter::Interleaved, u64::from(stats.get(Counter::Met) > 0));
    Ok(stats)
}

fn in_threads(run: &mut Run<'_>, lanes: usize, requests: &[(Request, Turn)]) -> Kept {
    run.open()?;
    let disk = run.disk.clone().expect("nothing fails here");
    run.checker.load(None, requests);
    let (checker, fill_bytes) = (&run.checker, run.images.fill_bytes());
    let (panic, watched_by) = (Mutex::new(None), &progress::current());
    std::thread::scope(|scope| {
        for lane in 0..lanes {
            let (disk, panic) = (&disk, &panic);
            scope.spawn(move || {
                let driven = crate::run::caught(|| {
                    progress::along(watched_by.as_ref(), || {
                        drive(checker, disk, lane, fill_bytes, |_, _| ());
                    });
                });
                if let Err(payload) = driven {
                    panic.lock().get_or_insert(payload);
                }
            });
        }
    });
    drop(disk);
    if let Some(payload) = panic.into_inner() {
        resume_unwind(payload);
    }
    run.checker.take_violation()?;
    run.finish()
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

fn may_meet(request: &Request) -> bool {
    !matches!(
        request,
        Request::Reopen { .. }
            | Request::Resize { .. }
            | Request::Snapshot { .. }
            | Request::Amend { .. }
            | Request::Bitmap { .. }
    )
}
