//! `cargo blk findings`: what fuzzing has found so far.

use std::path::Path;

use anyhow::Result;

use crate::fuzz::ARTIFACTS;
use crate::ledger::{self, Entry, date};

/// Which findings.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Those of this fuzz target only.
    #[arg(long)]
    target: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Lists them, those first that were seen last. All is well, whatever there is.
///
/// # Errors
/// That the ledger cannot be read.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let mut entries = ledger::all(Path::new(ARTIFACTS))?;
    entries.retain(|entry| arguments.target.as_ref().is_none_or(|target| *target == entry.target));
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&entries)?);
    } else if entries.is_empty() {
        println!("nothing was found so far, as far as {ARTIFACTS} knows");
    } else {
        for entry in &entries {
            println!("{}", lines(entry));
        }
    }
    Ok(true)
}

/// An entry as a few lines.
fn lines(entry: &Entry) -> String {
    let seed = entry.seed.map_or_else(|| "unknown".to_owned(), |seed| seed.to_string());
    let input = entry.trace.as_ref().or(entry.artifact.as_ref());
    let input = input.map_or_else(String::new, |input| format!("  {}\n", input.display()));
    format!(
        "{} {}\n  {}\n  first seen {}, last seen {}, {} times, seed {seed}, {}\n{input}",
        entry.target,
        entry.name,
        entry.what,
        date(entry.first_seen),
        date(entry.last_seen),
        entry.times,
        size(entry)
    )
}

/// How large it was, and has become.
pub(crate) fn size(entry: &Entry) -> String {
    match (entry.requests, entry.shrunk) {
        (Some(requests), Some(shrunk)) => format!("{requests} requests, shrunk to {shrunk}"),
        (None, Some(shrunk)) => format!("shrunk to {shrunk} requests"),
        (Some(requests), None) => format!("{requests} requests, not shrunk"),
        (None, None) => "not shrunk".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_tells_when_and_how_large() {
        let entry = Entry {
            target: "mine".to_owned(),
            name: "read-shows-zeroes-0".to_owned(),
            what: "blkverify: read".to_owned(),
            last_seen: 60,
            times: 2,
            seed: Some(7),
            requests: Some(30),
            shrunk: Some(3),
            ..Entry::default()
        };
        assert_eq!(
            lines(&entry),
            "mine read-shows-zeroes-0\n  blkverify: read\n  first seen 1970-01-01 00:00, last seen 1970-01-01 \
             00:01, 2 times, seed 7, 30 requests, shrunk to 3\n"
        );
    }
}
