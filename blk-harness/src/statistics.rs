//! What runs have reached: named counters, and tallies of what was met. A new statistic is one line
//! of [`Counter`].

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident = $key:literal, $text:literal;)*) => {
        /// A counter of [`Statistics`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Counter {
            $($(#[doc = $doc])* $name,)*
        }

        impl Counter {
            /// All counters, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its key in the form that programs read.
            pub fn key(self) -> &'static str {
                match self { $(Self::$name => $key),* }
            }

            /// What is counted, in words.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

counters! {
    /// Scenarios run.
    Scenarios = "scenarios", "scenarios";
    /// Of those, schedules in which a request gave way to another in its middle.
    Interleaved = "interleaved", "interleaved";
    /// Requests made.
    Requests = "requests", "requests";
    /// Requests that the disk did not refuse.
    Accepted = "accepted", "accepted";
    /// Requests that were in flight together with another.
    Met = "met", "in flight with another";
    /// Times that a request gave way to another.
    Switches = "switches", "switches";
    /// Points at which it could have.
    Points = "points", "points";
    /// Bytes read from the disk under test, by requests and oracles.
    BytesRead = "bytes_read", "bytes read";
    /// Bytes of those that were compared.
    BytesCompared = "bytes_compared", "bytes compared";
    /// Crash points that were judged: operations of the storage, and flushes.
    CrashPoints = "crash_points", "crash points";
    /// States judged, those that had been seen before in the same scenario included.
    States = "states", "states";
    /// Distinct images among them: each was opened, read and checked.
    Distinct = "distinct_states", "distinct states";
    /// Distinct images in which something that was pending had not persisted.
    WithLosses = "with_losses", "with losses";
    /// Images opened: also those for repairs and second crashes.
    Opens = "opens", "opens";
    /// Leaks that were repaired.
    Repairs = "repairs", "repairs";
    /// Recoveries that wrote.
    Recoveries = "recoveries", "recoveries";
    /// States of second crashes, during recovery.
    RecoveryStates = "recovery_states", "states of recoveries";
    /// Requests made of disks after a crash, or once a fault was gone.
    FollowUps = "further_requests", "follow-up requests";
    /// Operations of the storage in runs without faults.
    Operations = "operations", "operations";
    /// Faults that are possible: operations times the ways in which each can fail.
    PossibleFaults = "possible_faults", "possible faults";
    /// Faults that were tried, a run of the scenario each.
    Faults = "faults", "faults";
    /// Of those, the ones with which requests were in flight together.
    FaultsInFlight = "faults_in_flight", "faults with requests in flight";
    /// Faults that were not judged: the driver had made other operations than without faults.
    SkippedFaults = "skipped_faults", "skipped faults";
    /// Scenarios of which only a part of the possible faults was tried.
    Sampled = "sampled", "sampled scenarios";
    /// Faults with which some request failed, or a flush did.
    Surfaced = "surfaced", "surfaced";
    /// Faults with which the request in which they happened failed.
    FailedRequests = "failed_requests", "failed requests";
    /// Faults after which the handle refused everything.
    Poisoned = "poisoned", "poisoned";
    /// Faults after which the image had to be opened again.
    Reopened = "reopened", "reopened";
    /// Faults with which a failed sync lost what it was to write.
    LossySyncs = "lossy_syncs", "lossy syncs";
    /// Faults during a repair.
    RepairFaults = "repair_faults", "faults in repairs";
}

/// What is tallied, and by which key the number of different entries is told to programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tally {
    /// Kinds of cluster that were met; told by their names.
    Kinds,
    /// Kind before, request, kind after.
    Transitions,
    /// Two kinds of request that overlapped in flight, the earlier one first.
    Overlaps,
    /// Steps of the driver after whose operations a crash was judged.
    Steps,
    /// Steps of which an operation had not persisted.
    StepsLost,
    /// Steps of which an operation failed.
    StepsFaulted,
    /// Kinds of operation that failed.
    KindsFaulted,
    /// Known deviations of the driver, by the scenarios that have met them; told one by one.
    Known,
}

impl Tally {
    fn key(self) -> &'static str {
        match self {
            Self::Kinds => "kinds",
            Self::Transitions => "transitions",
            Self::Overlaps => "overlaps",
            Self::Steps => "steps",
            Self::StepsLost => "steps_lost",
            Self::StepsFaulted => "steps_faulted_max",
            Self::KindsFaulted => "kinds_faulted_max",
            Self::Known => "known",
        }
    }
}

/// The key of an entry: up to three names.
pub type Names = [&'static str; 3];

const COUNTERS: usize = Counter::ALL.len();

/// Counts over all runs of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics {
    /// In the order of the counters.
    counts: [u64; COUNTERS],
    tallies: BTreeMap<(Tally, Names), u64>,
}

impl Default for Statistics {
    fn default() -> Self {
        Self { counts: [0; COUNTERS], tallies: BTreeMap::new() }
    }
}

impl Statistics {
    /// What a counter stands at.
    pub fn get(&self, counter: Counter) -> u64 {
        self.counts[counter as usize]
    }

    /// Adds to a counter.
    pub fn add(&mut self, counter: Counter, count: u64) {
        self.counts[counter as usize] += count;
    }

    /// Counts an entry of a tally.
    pub fn tally(&mut self, tally: Tally, names: Names) {
        self.tally_many(tally, names, 1);
    }

    /// Counts an entry of a tally so many times.
    pub fn tally_many(&mut self, tally: Tally, names: Names, count: u64) {
        *self.tallies.entry((tally, names)).or_default() += count;
    }

    /// The entries of a tally, with their counts.
    pub fn entries(&self, tally: Tally) -> impl Iterator<Item = (Names, u64)> {
        self.tallies
            .iter()
            .filter(move |((of, _), _)| *of == tally)
            .map(|((_, names), count)| (*names, *count))
    }

    /// How often an entry was counted.
    pub fn tallied(&self, tally: Tally, names: Names) -> u64 {
        self.tallies.get(&(tally, names)).copied().unwrap_or(0)
    }

    /// How many different entries a tally has.
    pub fn different(&self, tally: Tally) -> u64 {
        self.entries(tally).count() as u64
    }

    /// The counters that are not 0.
    fn counted(&self) -> impl Iterator<Item = (Counter, u64)> {
        Counter::ALL.iter().map(|counter| (*counter, self.get(*counter))).filter(|(_, count)| *count > 0)
    }

    /// Drops all entries of a tally.
    pub(crate) fn forget(&mut self, tally: Tally) {
        self.tallies.retain(|(of, _), _| *of != tally);
    }

    /// Adds another engine's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, others) in self.counts.iter_mut().zip(other.counts) {
            *mine += others;
        }
        for (entry, count) in &other.tallies {
            *self.tallies.entry(*entry).or_default() += count;
        }
    }

    /// The form that programs read: counters by their keys, and how many different entries each tally has;
    /// known deviations as `known_NAME`.
    pub fn summary(&self) -> Value {
        let mut summary: Map<String, Value> =
            self.counted().map(|(counter, count)| (counter.key().to_owned(), count.into())).collect();
        for counter in [Counter::Scenarios, Counter::Requests, Counter::Accepted] {
            summary.entry(counter.key()).or_insert_with(|| 0.into());
        }
        for ((tally, [name, ..]), count) in &self.tallies {
            let told = match tally {
                Tally::Known => {
                    summary.insert(format!("known_{name}"), (*count).into());
                    continue;
                }
                Tally::Kinds => self.entries(*tally).map(|([name, ..], _)| Value::from(name)).collect(),
                _ => self.different(*tally).into(),
            };
            summary.insert(tally.key().to_owned(), told);
        }
        summary.into()
    }
}

impl fmt::Display for Statistics {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counted().map(|(counter, count)| format!("{count} {}", counter.text()));
        let mut tallies: Vec<Tally> = self.tallies.keys().map(|(tally, _)| *tally).collect();
        tallies.dedup();
        let tallies = tallies
            .into_iter()
            .map(|tally| format!("{} {}", self.different(tally), tally.key().replace('_', " ")));
        f.write_str(&counts.chain(tallies).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_are_told_by_their_keys() {
        let mut one = Statistics::default();
        one.add(Counter::Requests, 3);
        one.tally(Tally::Kinds, ["data", "", ""]);
        let mut two = one.clone();
        two.tally(Tally::Transitions, ["data", "write", "data"]);
        two.add(Counter::Accepted, 2);
        two.tally(Tally::Known, ["late", "", ""]);
        one.merge(&two);
        assert_eq!(one.get(Counter::Requests), 6);
        assert_eq!(one.tallied(Tally::Kinds, ["data", "", ""]), 2);
        let expected = serde_json::json!({
            "scenarios": 0, "requests": 6, "accepted": 2, "kinds": ["data"], "transitions": 1, "known_late": 1
        });
        assert_eq!(one.summary(), expected);
        assert_eq!(one.to_string(), "6 requests, 2 accepted, 1 kinds, 1 transitions, 1 known");
    }
}
