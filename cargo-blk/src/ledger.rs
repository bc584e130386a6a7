//! What fuzzing has found so far: findings with the same signature are one.
//!
//! The ledger is a file beside the artifacts. A run that finds something writes it there, and a reproduction
//! how small that has become.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::units;

const FILE: &str = "findings.json";

/// Findings of one signature.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    pub(crate) target: String,
    /// What they have in common.
    pub(crate) signature: String,
    /// A short name, and the first line of a report.
    pub(crate) name: String,
    pub(crate) what: String,
    /// Seconds since 1970, UTC.
    pub(crate) first_seen: u64,
    pub(crate) last_seen: u64,
    /// How often fuzzing has found it.
    pub(crate) times: u64,
    /// The seed of the process that has found it last.
    pub(crate) seed: Option<u64>,
    /// Requests of what was found last, and of the smallest scenario that shows it.
    pub(crate) requests: Option<u64>,
    pub(crate) shrunk: Option<u64>,
    /// What reproduces it: the artifact that was found last, and the smallest trace.
    pub(crate) artifact: Option<PathBuf>,
    pub(crate) trace: Option<PathBuf>,
}

impl Entry {
    /// A finding that is seen now.
    pub(crate) fn now(target: &str, signature: String, name: String, what: String) -> Self {
        let now = now();
        let target = target.to_owned();
        Self { target, signature, name, what, first_seen: now, last_seen: now, ..Self::default() }
    }

    /// What this one adds to what is known.
    fn join(&mut self, newer: Self) {
        self.last_seen = newer.last_seen.max(self.last_seen);
        self.times += newer.times;
        self.seed = newer.seed.or(self.seed);
        self.requests = newer.requests.or(self.requests);
        self.artifact = newer.artifact.or_else(|| self.artifact.take());
        if let Some(shrunk) = newer.shrunk.filter(|shrunk| self.shrunk.is_none_or(|known| *shrunk <= known)) {
            self.shrunk = Some(shrunk);
            self.trace = newer.trace.or_else(|| self.trace.take());
        }
        if !newer.name.is_empty() {
            (self.name, self.what) = (newer.name, newer.what);
        }
    }
}

/// All entries in a folder, those first that were seen last.
///
/// # Errors
/// That the file cannot be read, or is none of ours.
pub(crate) fn all(folder: &Path) -> Result<Vec<Entry>> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut entries: Vec<Entry> =
        serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.last_seen));
    Ok(entries)
}

/// Adds an entry, or what is new in it. Other processes wait.
///
/// # Errors
/// As [`all`]; what cannot be written.
pub(crate) fn add(folder: &Path, entry: Entry) -> Result<()> {
    fs::create_dir_all(folder)?;
    let lock = File::create(folder.join(".findings.lock"))?;
    lock.lock()?;
    let mut entries = all(folder)?;
    let is_same = |known: &&mut Entry| known.target == entry.target && known.signature == entry.signature;
    match entries.iter_mut().find(is_same) {
        Some(known) => known.join(entry),
        None => entries.push(entry),
    }
    let path = folder.join(FILE);
    replace(&path, &(serde_json::to_string_pretty(&entries)? + "\n"))
}

/// Replaces a file in one step: a reader sees the old content or the new.
///
/// # Errors
/// That it cannot be written.
pub(crate) fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("cannot replace {}", path.display()))
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// A time as `2026-11-30 23:10`, UTC.
pub(crate) fn date(seconds: u64) -> String {
    let (days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    let (year, month, day) = units::civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(signature: &str, seen: u64) -> Entry {
        Entry {
            target: "mine".to_owned(),
            signature: signature.to_owned(),
            first_seen: seen,
            last_seen: seen,
            times: 1,
            requests: Some(seen),
            ..Entry::default()
        }
    }

    #[test]
    fn findings_of_one_signature_are_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(all(folder.path()).unwrap(), []);
        for (signature, seen) in [("a", 10), ("b", 20), ("a", 30)] {
            add(folder.path(), entry(signature, seen)).unwrap();
        }
        let shrunk = |shrunk, trace: &str| Entry {
            shrunk: Some(shrunk),
            trace: Some(PathBuf::from(trace)),
            times: 0,
            requests: None,
            ..entry("b", 15)
        };
        add(folder.path(), shrunk(3, "small")).unwrap();
        add(folder.path(), shrunk(7, "larger")).unwrap();
        let entries = all(folder.path()).unwrap();
        let seen: Vec<_> = entries.iter().map(|it| (it.first_seen, it.last_seen, it.times)).collect();
        assert_eq!(seen, [(10, 30, 2), (20, 20, 1)]);
        assert_eq!((entries[1].shrunk, entries[1].requests), (Some(3), Some(20)));
        assert_eq!(entries[1].trace.as_deref(), Some(Path::new("small")));
    }

    #[test]
    fn what_is_no_ledger_is_named_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "no JSON").unwrap();
        let error = add(folder.path(), entry("a", 1)).unwrap_err();
        assert!(format!("{error:#}").contains(FILE), "{error:#}");
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), "no JSON");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let known = [
            (0, "1970-01-01 00:00"),
            (951_782_399, "2000-02-28 23:59"),
            (951_782_400, "2000-02-29 00:00"),
            (1_709_251_199, "2024-02-29 23:59"),
            (4_107_542_400, "2100-03-01 00:00"),
        ];
        for (seconds, text) in known {
            assert_eq!(date(seconds), text);
        }
    }
}
