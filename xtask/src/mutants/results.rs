//! What became of each mutant, kept between runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::list::Mutant;

/// How a mutant fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fate {
    /// It does not compile.
    Unviable,
    /// The gauntlet found it.
    Engines,
    /// The first part of the gauntlet did not, the tests of its own crate did.
    OwnTests,
    /// The tests did not end.
    Timeout,
    Survived,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) fate: Fate,
    /// Building and testing, seconds.
    pub(super) seconds: f64,
    /// Of the function when it was tested.
    hash: String,
    /// Of what judged.
    tester: String,
}

/// All records, written after every change.
#[derive(Debug)]
pub(super) struct Results {
    path: PathBuf,
    tester: String,
    records: BTreeMap<String, Record>,
}

impl Results {
    /// Reads what earlier runs found; nothing where there was none.
    pub(super) fn load(path: &Path, tester: &str) -> Result<Self> {
        let records = match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?,
            Err(_) => BTreeMap::new(),
        };
        Ok(Self { path: path.to_owned(), tester: tester.to_owned(), records })
    }

    /// What is known of today's mutant. A catch stands as long as the function stays as it is; a survivor
    /// only as long as those stay that did not find it.
    pub(super) fn get(&self, mutant: &Mutant) -> Option<&Record> {
        let record = self.records.get(&mutant.identity())?;
        let may_be_found_now = record.fate == Fate::Survived && record.tester != self.tester;
        (record.hash == mutant.hash && !may_be_found_now).then_some(record)
    }

    pub(super) fn knows(&self, mutant: &Mutant) -> bool {
        self.get(mutant).is_some()
    }

    pub(super) fn put(&mut self, mutant: &Mutant, fate: Fate, seconds: f64) -> Result<()> {
        let (hash, tester) = (mutant.hash.clone(), self.tester.clone());
        self.records.insert(mutant.identity(), Record { fate, seconds, hash, tester });
        fs::create_dir_all(self.path.parent().context("the results lie in a folder")?)?;
        // Never half a file, whenever this is stopped.
        let new = self.path.with_extension("new");
        fs::write(&new, serde_json::to_string_pretty(&self.records)?)?;
        fs::rename(&new, &self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::tests::three;
    use super::*;

    #[test]
    fn results_stand_until_the_function_or_for_survivors_the_judge_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/results.json");
        let text = "fn a() {\n    1 + 2 + 3\n}\nfn b() {\n    true\n}\n";
        let mutants = three(text);
        let mut results = Results::load(&path, "judge 1").unwrap();
        assert!(!results.knows(&mutants[0]));
        results.put(&mutants[0], Fate::Engines, 1.5).unwrap();
        results.put(&mutants[1], Fate::Survived, 2.5).unwrap();
        results.put(&mutants[2], Fate::Survived, 2.5).unwrap();
        let again = Results::load(&path, "judge 1").unwrap();
        assert!(mutants.iter().all(|mutant| again.knows(mutant)));
        assert_eq!(again.get(&mutants[0]).unwrap().fate, Fate::Engines);
        let changed = three(&text.replace("true", "!false"));
        assert!(again.knows(&changed[1]) && !again.knows(&changed[2]));
        let other_judge = Results::load(&path, "judge 2").unwrap();
        assert!(other_judge.knows(&mutants[0]));
        assert!(!other_judge.knows(&mutants[1]) && !other_judge.knows(&mutants[2]));
    }
}
