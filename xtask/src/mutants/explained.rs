//! Survivors that may survive, each with its reason: `xtask/mutants.toml`.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::EXPLAINED;
use super::list::Mutant;

/// Why a mutant cannot be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// Nobody can tell it from the original: speed and size aside, it does the same.
    Equivalent,
    /// What it changes happens only where the specification says that nothing comes.
    Unreachable,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Explanation {
    /// As cargo-mutants prints it, without line and column.
    name: String,
    /// Which of those of the same name in the file, from 1.
    #[serde(default = "first")]
    nth: usize,
    kind: Kind,
    why: String,
}

fn first() -> usize {
    1
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Explained {
    #[serde(default)]
    mutant: Vec<Explanation>,
}

impl Explained {
    pub(super) fn read(text: &str) -> Result<Self> {
        let explained: Self = toml::from_str(text).with_context(|| format!("in {EXPLAINED}"))?;
        let mut seen = HashSet::new();
        for explanation in &explained.mutant {
            if explanation.why.trim().is_empty() {
                bail!("{EXPLAINED}: '{}' has no reason", explanation.name);
            }
            if !seen.insert((&explanation.name, explanation.nth)) {
                bail!("{EXPLAINED}: '{}' is explained twice", explanation.name);
            }
        }
        Ok(explained)
    }

    fn of(&self, mutant: &Mutant) -> Option<&Explanation> {
        self.mutant
            .iter()
            .find(|explanation| explanation.name == mutant.name && explanation.nth == mutant.nth)
    }

    /// The reason why this mutant may survive.
    pub(super) fn why(&self, mutant: &Mutant) -> Option<String> {
        let explanation = self.of(mutant)?;
        let kind = match explanation.kind {
            Kind::Equivalent => "equivalent",
            Kind::Unreachable => "unreachable by specification",
        };
        Some(format!("{kind}: {}", explanation.why))
    }

    /// Explanations of mutants that do not exist, or no longer.
    pub(super) fn stale(&self, all: &[Mutant]) -> Vec<String> {
        let exists = |explanation: &&Explanation| {
            all.iter().any(|mutant| explanation.name == mutant.name && explanation.nth == mutant.nth)
        };
        let stale = self.mutant.iter().filter(|explanation| !exists(explanation));
        stale.map(|explanation| format!("{} #{}", explanation.name, explanation.nth)).collect()
    }

    /// The files whose mutants are explained.
    #[cfg(test)]
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.mutant.iter().map(|explanation| explanation.name.split(": ").next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::tests::three;
    use super::*;

    const TEXT: &str = r#"
        [[mutant]]
        name = "p/src/f.rs: replace + with - in a"
        nth = 2
        kind = "equivalent"
        why = "The sum is not used."
    "#;

    #[test]
    fn an_explanation_is_of_one_mutant() {
        let mutants = three("fn a() {}");
        let explained = Explained::read(TEXT).unwrap();
        assert_eq!(explained.why(&mutants[0]), None);
        assert_eq!(explained.why(&mutants[1]).unwrap(), "equivalent: The sum is not used.");
        assert_eq!(explained.stale(&mutants), [""; 0]);
        assert_eq!(explained.files().next(), Some("p/src/f.rs"));
    }

    #[test]
    fn what_does_not_exist_is_stale() {
        let mutants = three("fn a() {}");
        let third = Explained::read(&TEXT.replace("nth = 2", "nth = 3")).unwrap();
        assert_eq!(third.stale(&mutants), ["p/src/f.rs: replace + with - in a #3"]);
        let other = Explained::read(&TEXT.replace("in a", "in c")).unwrap();
        assert_eq!(other.stale(&mutants).len(), 1);
    }

    #[test]
    fn a_bad_list_is_refused() {
        assert!(Explained::read(&TEXT.replace("equivalent", "boring")).is_err());
        assert!(Explained::read(&TEXT.replace("The sum is not used.", " ")).is_err());
        assert!(Explained::read(&TEXT.replace("nth", "number")).is_err());
        assert!(Explained::read(&format!("{TEXT}{TEXT}")).is_err());
        assert!(Explained::read("").unwrap().stale(&[]).is_empty());
    }
}
