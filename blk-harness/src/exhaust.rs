//! All small scenarios of a driver: every sequence of a few requests over a few units of allocation, on top
//! of every kind of unit. Of drivers whose requests are in flight together, each sequence comes with every
//! schedule up to a bound.
//!
//! A unit of work is one way to make the units of allocation, in one configuration, and all sequences on top.
//! A sequence is judged from its last request on: what happens before it is judged in the shorter sequence
//! that it begins with.

use crate::Outcome;
use crate::generate::{Exhaustive, alphabet, setups};
use crate::scenario::{Backing, Config, Request, Scenario, Turn, Value};
use crate::space::Space;
use blk_verify::Finding;
use serde::{Deserialize, Serialize};

use crate::runner::Runner;
use crate::suite::Suite;

/// Largest disk that is tried: the engines hold several of each.
const SIZE_BYTES_MAX: u64 = 1 << 20;

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Units of allocation of the disk.
    pub units: u64,
    /// Requests on top of a set-up.
    pub length: u32,
    /// Of requests in flight together: each gives way after each of so many of its points.
    pub points: u8,
    /// Only every so many sequences; 1 is all of them.
    pub step: usize,
}

/// One unit of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    config: Config,
    setup: Vec<Request>,
    sequences: Exhaustive,
    /// Points at which requests give way; 0: they come one after the other.
    points: u8,
}

/// All units of work of a suite. Their order does not change, so that a number names one.
pub fn units(suite: &Suite, bounds: &Bounds) -> Vec<Unit> {
    let space = suite.space();
    let is_racing = suite.limits().lanes_max > 1;
    let configs = suite.configs().unwrap_or_else(|| configs(space, bounds.units));
    let units = configs.into_iter().flat_map(|config| {
        let sequences = sequences(space, &config, bounds.length);
        let mut setups = setups(space, &config);
        let mut config = config;
        if is_racing {
            // What matters is whether there is something below the requests that meet.
            setups.truncate(2);
            config.lanes = 2;
        }
        let points = if is_racing { bounds.points.max(1) } else { 0 };
        let unit = move |setup| Unit { config: config.clone(), setup, sequences: sequences.clone(), points };
        setups.into_iter().map(unit)
    });
    units.collect()
}

/// The configurations of a driver that names none: the usual one, and one for each other value that an option
/// is drawn with.
pub fn configs(space: &'static Space, units: u64) -> Vec<Config> {
    let mut all: Vec<Config> = Vec::new();
    let mut add = |config: Config| {
        let mut config = space.legal(&config);
        let unit_bytes = space.geometry(&config).unit_bytes;
        config.size_bytes = units * unit_bytes;
        if config.backing != Backing::None {
            config.backing_bytes = config.size_bytes - unit_bytes / 2;
        }
        if config.size_bytes <= SIZE_BYTES_MAX && !all.contains(&config) {
            all.push(config);
        }
    };
    let is_small = |value: &Value| matches!(value, Value::Number(bytes) if *bytes < 4096);
    let knob = space.unit.and_then(|unit| space.knob(unit));
    let small = knob.and_then(|knob| knob.drawn.iter().find_map(|(_, value)| value.clone().filter(is_small)));
    let mut usual = Config::default();
    if let (Some(knob), Some(value)) = (knob, small) {
        usual.options.set(knob.name, Some(value));
    }
    add(usual.clone());
    for knob in space.knobs {
        for (_, value) in knob.drawn {
            let mut config = usual.clone();
            config.options.set(knob.name, value.clone());
            add(config);
        }
    }
    if space.backing_option.is_some() {
        add(Config { backing: Backing::Raw, ..usual });
    }
    all
}

/// All sequences over a disk of `config`. A read leaves nothing that could be judged later; a flush leaves
/// everything.
fn sequences(space: &Space, config: &Config, length: u32) -> Exhaustive {
    let mut requests = alphabet(space, config);
    requests.retain(|request| !matches!(request, Request::Read { .. }));
    if space.geometry(config).compressed_unit_bytes.is_none() {
        requests.retain(|request| !matches!(request, Request::WriteCompressed { .. }));
    }
    requests.push(Request::Flush);
    Exhaustive::new(requests, length.max(1), config.clone())
}

impl Unit {
    /// How many sequences there are; each comes with every schedule.
    pub fn total(&self) -> u64 {
        self.sequences.total()
    }

    /// Runs every `step`-th sequence, from the first; returns how many scenarios that were.
    ///
    /// # Errors
    /// What was found, and the scenario that shows it.
    pub fn run(&self, runner: &mut dyn Runner, step: usize) -> Result<u64, Box<(Finding, Scenario)>> {
        let mut count = 0;
        for sequence in self.sequences.clone().step_by(step.max(1)) {
            let first = self.setup.len() + sequence.requests.len() - 1;
            let requests = self.setup.iter().chain(&sequence.requests).copied().collect();
            let config = self.config.clone();
            let mut scenario = Scenario { config, requests, schedule: Vec::new() };
            for turns in self.schedules(sequence.requests.len()) {
                for (index, points) in turns.into_iter().enumerate() {
                    scenario.set_turn(self.setup.len() + index, Turn::new(points, false, false));
                }
                count += 1;
                if let Outcome::Finding(finding) = runner.run_from(&scenario, first) {
                    return Err(Box::new((*finding, scenario)));
                }
            }
        }
        Ok(count)
    }

    /// The points at which the first two of `length` requests give way, 0 for never: every pair of them.
    fn schedules(&self, length: usize) -> Vec<Vec<u8>> {
        if self.points == 0 || length < 2 {
            return vec![Vec::new()];
        }
        (0..=self.points).flat_map(|first| (0..=self.points).map(move |second| vec![first, second])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::PLAIN;

    #[test]
    fn each_configuration_is_small_and_comes_once() {
        let configs = configs(&PLAIN, 2);
        let sizes: Vec<u64> = configs.iter().map(|config| config.size_bytes).collect();
        assert_eq!(sizes, [1 << 10, 2 << 10, 8 << 10, 32 << 10, 128 << 10]);
    }
}
