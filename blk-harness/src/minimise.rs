//! Makes a failing scenario as small and plain as it can be, as long as it fails **in the same way**.
//!
//! A smaller scenario counts only if the judge gives the same signature as for the first: otherwise a search
//! for one bug ends at another. What "smaller" means is one total order (`cost`): fewer requests, then
//! plainer kinds, then a configuration nearer to the usual one, then smaller geometry, lengths and offsets,
//! then fewer flags. Each accepted step goes down in it, so the search ends; it ends at a fixed point of all
//! passes, or when the tries are used up. Nothing is random: the same judge gives the same result.

mod configuration;
mod cost;
mod geometry;
mod requests;
mod search;
mod turns;

use crate::scenario::Scenario;
use crate::space::Space;
use search::Search;

/// How long to search, and where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How often the judge may be asked.
    pub tries_max: u64,
    /// The index of the request at which the scenario fails, if known: what comes after it is dropped at
    /// once.
    pub failing_request: Option<usize>,
}

impl Default for Options {
    /// 20,000 tries, nothing known.
    fn default() -> Self {
        Self { tries_max: 20_000, failing_request: None }
    }
}

/// What a minimisation found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minimised<S> {
    /// The smallest scenario that fails in the same way.
    pub scenario: Scenario,
    /// The way in which it fails.
    pub signature: S,
    /// How often the judge was asked.
    pub tries: u64,
    /// Whether no pass finds anything smaller; else the tries were used up, or the caller stopped.
    pub is_fixed_point: bool,
}

/// Minimises `scenario`, which is for a driver of `space`. `judge` runs a scenario and returns the signature
/// of its failure, or `None` if it passes.
///
/// Returns `None` if `scenario` itself passes.
pub fn minimise<S: Eq>(
    space: &'static Space,
    scenario: &Scenario,
    judge: impl FnMut(&Scenario) -> Option<S>,
    options: &Options,
) -> Option<Minimised<S>> {
    minimise_until(space, scenario, judge, options, || false)
}

/// As [`minimise`], and ends with what it has as soon as `should_stop`, which is asked before each try,
/// returns true.
pub fn minimise_until<S: Eq>(
    space: &'static Space,
    scenario: &Scenario,
    mut judge: impl FnMut(&Scenario) -> Option<S>,
    options: &Options,
    mut should_stop: impl FnMut() -> bool,
) -> Option<Minimised<S>> {
    let signature = judge(scenario)?;
    let mut is_same = |candidate: &Scenario| judge(candidate).as_ref() == Some(&signature);
    let mut search = Search::new(space, scenario.clone(), &mut is_same, &mut should_stop, options.tries_max);
    if let Some(index) = options.failing_request {
        requests::drop_after(&mut search, index);
    }
    requests::shorten_long(&mut search);
    requests::shortest_prefix(&mut search);
    loop {
        let before = search.best.clone();
        requests::remove(&mut search);
        configuration::simplify(&mut search);
        geometry::simplify(&mut search);
        requests::simplify(&mut search);
        requests::shorten_together(&mut search);
        turns::simplify(&mut search);
        if search.best == before {
            requests::remove_pairs(&mut search);
            turns::remove_retimed(&mut search);
        }
        if search.best == before || search.is_stopped() {
            break;
        }
    }
    let (tries, is_fixed_point) = (search.tries() + 1, !search.is_stopped());
    let scenario = search.best;
    Some(Minimised { scenario, signature, tries, is_fixed_point })
}
