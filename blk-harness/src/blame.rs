//! At which prefix of its requests a scenario begins to fail.

use std::time::Duration;

use crate::Outcome;
use crate::report::Signature;
use crate::scenario::Scenario;
use crate::watch::Deadline;

/// Prefixes of long scenarios that are tried.
const PREFIXES_MAX: usize = 40;

/// What a run of a prefix has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was found.
    Clean,
    /// Something else was found, or it cannot be run.
    Other,
    /// The same was found.
    Same,
}

/// The first requests of a scenario, and what they have come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// How many.
    pub requests: usize,
    /// What was found.
    pub verdict: Verdict,
}

/// Runs prefixes of `scenario`, which has shown a finding of `signature`: all of a short one; of a long one
/// a few, and those around the first that fails. Those that do not end within `time` are left out. Returns
/// them by length.
pub fn prefixes(
    mut judge: impl FnMut(&Scenario) -> Outcome,
    scenario: &Scenario,
    signature: &Signature,
    time: Duration,
) -> Vec<Prefix> {
    let deadline = Deadline::at(std::time::Instant::now() + time);
    let mut tried: Vec<Prefix> = Vec::new();
    let mut try_one = |requests: usize, tried: &mut Vec<Prefix>| {
        let mut prefix = scenario.clone();
        prefix.remove_requests(requests..scenario.requests.len());
        let Some(outcome) = deadline.run(|| judge(&prefix)) else { return false };
        let verdict = match outcome {
            Outcome::Clean => Verdict::Clean,
            Outcome::Finding(finding) if finding.signature == *signature => Verdict::Same,
            Outcome::Finding(_) | Outcome::Refused(_) => Verdict::Other,
        };
        tried.push(Prefix { requests, verdict });
        true
    };
    let count = scenario.requests.len();
    let step = count.div_ceil(PREFIXES_MAX).max(1);
    let mut coarse = (0..count).step_by(step).chain([count]);
    let mut goes_on = coarse.all(|requests| try_one(requests, &mut tried));
    while let Some(between) = first_same_gap(&tried).filter(|_| goes_on) {
        goes_on = try_one(between, &mut tried);
        tried.sort_by_key(|prefix| prefix.requests);
    }
    tried.sort_by_key(|prefix| prefix.requests);
    tried
}

/// The length of the shortest prefix that was tried and finds the same.
pub fn first_same(tried: &[Prefix]) -> Option<usize> {
    tried.iter().find(|prefix| prefix.verdict == Verdict::Same).map(|prefix| prefix.requests)
}

/// Half way between the first prefix that fails and the one before it.
fn first_same_gap(tried: &[Prefix]) -> Option<usize> {
    let at = tried.iter().position(|prefix| prefix.verdict == Verdict::Same)?;
    let (before, first) = (tried[at.checked_sub(1)?].requests, tried[at].requests);
    (first - before > 1).then(|| before + (first - before) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Finding;
    use crate::scenario::Request;

    #[test]
    fn of_a_long_scenario_the_first_request_that_fails_is_found_by_few_runs() {
        let requests = vec![Request::Flush; 3000];
        let scenario = Scenario { requests, ..Scenario::default() };
        let mut runs = 0;
        let judge = |prefix: &Scenario| {
            runs += 1;
            match prefix.requests.len() {
                0..=99 => Outcome::Clean,
                100..=1776 => Outcome::Refused(String::new()),
                _ => Outcome::Finding(Box::new(Finding::new(Signature::Size, ""))),
            }
        };
        let tried = prefixes(judge, &scenario, &Signature::Size, Duration::from_mins(1));
        assert_eq!(first_same(&tried), Some(1777));
        assert!(runs < 60 && tried.is_sorted_by_key(|prefix| prefix.requests), "{runs} {tried:?}");
        let verdict = |count| tried.iter().find(|prefix| prefix.requests == count).map(|it| it.verdict);
        assert_eq!((verdict(0), verdict(3000)), (Some(Verdict::Clean), Some(Verdict::Same)));
    }

    #[test]
    fn without_time_nothing_is_tried_and_nobody_is_blamed() {
        let judge = |_: &Scenario| Outcome::Clean;
        let tried = prefixes(judge, &Scenario::default(), &Signature::Size, Duration::from_secs(9));
        assert_eq!((tried.len(), first_same(&tried)), (1, None));
    }
}
