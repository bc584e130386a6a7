//! The page about a finding, beside its trace.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use blk_core::{Disk, Region, Storage};
use blk_harness::blame;
use blk_harness::page::{self, Paper, Surroundings, Way};
use blk_harness::picture::{self, Look};
use blk_harness::scenario::Scenario;
use blk_harness::watch::Deadline;

use super::keep::{Effort, Judge, Kept};
use crate::formats::registry;
use crate::spec::Layer;

/// What the replays for a page take at most.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Replays a finding a few times more, in a quarter of `time`. Where chance decides, one replay of a prefix
/// says nothing.
pub(super) fn surroundings(judge: &mut dyn Judge, kept: &Kept, time: Duration) -> Surroundings {
    let Some(scenario) = kept.scenario.as_ref().filter(|_| kept.is_proven) else {
        return Surroundings::default();
    };
    let time = (time / 4).min(TIME_MAX);
    let count = page::requests_before(&kept.finding, scenario);
    let deadline = Deadline::at(Instant::now() + time);
    let picture = deadline.run(|| judge.picture(scenario, count)).flatten();
    let blame = if kept.seen.is_some() {
        Vec::new()
    } else {
        let replay = |prefix: &Scenario| judge.judge(prefix, Effort::Replay);
        blame::prefixes(replay, scenario, &kept.finding.signature, time)
    };
    Surroundings { picture, blame }
}

/// Writes the page beside the trace `trace`, and returns its path.
pub(super) fn write(kept: &Kept, around: &Surroundings, trace: &Path) -> Result<PathBuf> {
    let name = trace.file_stem().unwrap_or_default().to_string_lossy();
    let mut ways: Vec<Way> = Vec::new();
    ways.extend(kept.replay.as_ref().map(|replay| Way::new("A command", replay)));
    for path in ["trace", "sh"].map(|extension| trace.with_extension(extension)) {
        ways.extend(std::fs::read_to_string(&path).ok().and_then(|text| Way::of_file(&path, text)));
    }
    ways.push(Way::new("How it was proven", kept.notes.join("\n")));
    let paper = Paper {
        name: &name,
        target: "blk verify",
        finding: &kept.finding,
        scenario: kept.scenario.as_ref(),
        around,
        ways: &ways,
    };
    let path = trace.with_extension("finding.html");
    std::fs::write(&path, paper.render()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// What an open image, the first of `layers`, looks like.
pub(super) fn look(disk: &Disk, layers: &[Layer]) -> Look {
    let file = layers.first().and_then(|layer| layout(layer.format, layer.storage.as_ref()?));
    Look { disk: picture::runs(disk).unwrap_or_default(), file: file.unwrap_or_default() }
}

fn layout(format: &str, storage: &Arc<dyn Storage>) -> Option<Vec<Region>> {
    registry().find(format).ok()?.layout(storage).ok()?
}
