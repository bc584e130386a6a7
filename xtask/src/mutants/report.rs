//! The score, and every survivor.

use std::collections::BTreeMap;
use std::fmt;

use super::JUDGES;
use super::explained::Explained;
use super::list::Mutant;
use super::results::{Fate, Results};

/// So many of the viable mutants of what judges drivers have to be found.
const FOUND_PERCENT_MIN: usize = 90;

/// Mutants by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Row {
    mutants: usize,
    tested: usize,
    engines: usize,
    own_tests: usize,
    timeouts: usize,
    survivors: usize,
    explained: usize,
    unviable: usize,
}

/// What is known of all mutants.
#[derive(Debug, Default)]
pub(super) struct Report {
    rows: BTreeMap<String, Row>,
    survivors: Vec<String>,
    explained: Vec<String>,
    timeouts: Vec<String>,
    /// Explained, and yet found.
    wrong: Vec<String>,
}

impl Report {
    pub(super) fn new(all: &[Mutant], results: &Results, explained: &Explained) -> Self {
        let mut report = Self::default();
        for mutant in all {
            let fate = results.get(mutant).map(|record| record.fate);
            report.add(mutant, fate, explained.why(mutant));
        }
        report
    }

    fn add(&mut self, mutant: &Mutant, fate: Option<Fate>, why: Option<String>) {
        let row = self.rows.entry(mutant.file.clone()).or_default();
        row.mutants += 1;
        let Some(fate) = fate else { return };
        row.tested += 1;
        let printed = mutant.printed.clone();
        match (fate, why) {
            (Fate::Survived, None) => {
                row.survivors += 1;
                self.survivors.push(printed);
            }
            (Fate::Survived, Some(why)) => {
                row.explained += 1;
                self.explained.push(format!("{printed}\n    {why}"));
            }
            (_, Some(why)) => self.wrong.push(format!("{printed}\n    {why}")),
            (_, None) => {}
        }
        match fate {
            Fate::Survived => {}
            Fate::Unviable => row.unviable += 1,
            Fate::Engines => row.engines += 1,
            Fate::OwnTests => row.own_tests += 1,
            Fate::Timeout => {
                row.timeouts += 1;
                self.timeouts.push(mutant.printed.clone());
            }
        }
    }

    /// Whether every survivor of a driver is explained, every explanation right, and enough of each judge is
    /// found.
    pub(super) fn is_good(&self) -> bool {
        let is_of_judge = |survivor: &String| JUDGES.iter().any(|package| survivor.starts_with(package));
        self.survivors.iter().all(is_of_judge)
            && self.wrong.is_empty()
            && JUDGES.iter().all(|package| self.total(package).is_enough())
    }

    fn total(&self, package: &str) -> Row {
        let mut total = Row::default();
        for (_, row) in self.rows.iter().filter(|(file, _)| file.starts_with(package)) {
            total.mutants += row.mutants;
            total.tested += row.tested;
            total.engines += row.engines;
            total.own_tests += row.own_tests;
            total.timeouts += row.timeouts;
            total.survivors += row.survivors;
            total.explained += row.explained;
            total.unviable += row.unviable;
        }
        total
    }

    fn lists(&self) -> [(&'static str, &[String]); 4] {
        [
            ("survivors without an explanation", &self.survivors),
            ("explained survivors", &self.explained),
            ("timeouts, which count as found", &self.timeouts),
            ("WRONG EXPLANATIONS: these are found", &self.wrong),
        ]
    }
}

impl Row {
    fn viable(&self) -> usize {
        self.tested - self.unviable
    }

    /// Whether enough of a judge is found.
    fn is_enough(&self) -> bool {
        self.found() * 100 >= self.viable() * FOUND_PERCENT_MIN
    }

    /// A loop that does not end is found by the gauntlet's own watch; what is left of timeouts may be of any
    /// judge.
    fn found(&self) -> usize {
        self.engines + self.own_tests + self.timeouts
    }

    fn line(&self, name: &str) -> String {
        let Self { mutants, tested, engines, own_tests, timeouts, survivors, explained, unviable } = self;
        format!(
            "| {name} | {mutants} | {tested} | {engines} | {own_tests} | {timeouts} | {survivors} | {explained} | {unviable} |"
        )
    }

    /// The score in words.
    fn score(&self, package: &str) -> String {
        let (viable, found) = (self.viable(), self.found());
        format!(
            "{package}: {} of {} mutants tested; {viable} viable; the engines find {} ({}), before or after the crate's own tests \
             are asked; all together {found} ({}), of those that are not equivalent {}; survivors {}, {} of them explained",
            self.tested,
            self.mutants,
            self.engines,
            percent(self.engines, viable),
            percent(found, viable),
            percent(found, viable - self.explained),
            self.survivors + self.explained,
            self.explained,
        )
    }
}

fn percent(part: usize, whole: usize) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let tenths = part * 1000 / whole;
    format!("{}.{} %", tenths / 10, tenths % 10)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| file | mutants | tested | engines | own tests | timeouts | survivors | explained | unviable |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for (file, row) in self.rows.iter().filter(|(_, row)| row.tested > 0) {
            writeln!(f, "{}", row.line(file))?;
        }
        writeln!(f, "{}", self.total("").line("all"))?;
        for (what, list) in self.lists().into_iter().filter(|(_, list)| !list.is_empty()) {
            writeln!(f, "\n{what}:\n")?;
            for line in list {
                writeln!(f, "- {line}")?;
            }
        }
        writeln!(f)?;
        for package in super::PACKAGES.into_iter().filter(|package| self.total(package).mutants > 0) {
            writeln!(f, "{}", self.total(package).score(package))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::tests::three;
    use super::*;

    fn report(fates: [Option<Fate>; 3], explained: Option<usize>) -> Report {
        let mut report = Report::default();
        for (index, mutant) in three("fn a() {}").iter().enumerate() {
            let why = (explained == Some(index)).then(|| "equivalent: because".to_owned());
            report.add(mutant, fates[index], why);
        }
        report
    }

    #[test]
    fn a_survivor_needs_an_explanation_and_what_is_found_has_none() {
        let fates = [Some(Fate::Engines), Some(Fate::Survived), Some(Fate::Timeout)];
        assert!(!report(fates, None).is_good());
        assert!(report(fates, Some(1)).is_good());
        assert!(!report(fates, Some(0)).is_good());
        assert!(report([None, None, Some(Fate::OwnTests)], Some(0)).is_good());
    }

    #[test]
    fn of_a_judge_nine_in_ten_are_enough() {
        for (found, is_good) in [(89, false), (90, true)] {
            let row = Row { mutants: 110, tested: 110, own_tests: found, unviable: 10, ..Row::default() };
            let rows = BTreeMap::from([("blk-sim/src/host.rs".to_owned(), row)]);
            let survivors = vec!["blk-sim/src/host.rs:1:1: replace f with ()".to_owned()];
            assert_eq!(Report { rows, survivors, ..Report::default() }.is_good(), is_good, "{found}");
        }
    }

    #[test]
    fn the_score_is_of_what_can_be_built() {
        let report = report([Some(Fate::Unviable), Some(Fate::Engines), Some(Fate::Survived)], None);
        let total = report.total("p");
        assert_eq!((total.viable(), total.found(), total.survivors), (2, 1, 1));
        assert!(total.score("p").contains("(50.0 %)"), "{}", total.score("p"));
        let text = report.to_string();
        assert!(text.contains("| p/src/f.rs | 3 | 3 | 1 | 0 | 0 | 1 | 0 | 1 |"), "{text}");
        assert!(text.contains("- p/src/f.rs:5:5: replace b -> bool with false"), "{text}");
    }
}
