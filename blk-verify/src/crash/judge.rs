//! Judging what a crash has left: the clauses of the model that need no history.
//!
//! | clause | what is owed |
//! |---|---|
//! | C1 | the image opens for writing, and nothing panics |
//! | C2 | its check finds no corruption; a repair leaves nothing, and changes no guest byte |
//! | C5 | at least 50 further requests, a flush, a whole compare and a check stay right |
//! | C6 | reading twice gives the same bytes |
//!
//! C3 and C4, what the guest may see, depend on what was asked before the crash: `content` holds the answer against them. A
//! recovery that writes is itself crashed at each of its operations (`recovery`).

use std::sync::Arc;

use blk_core::{Disk, MemoryStorage, RepairMode, Storage};

use super::content::Content;
use super::drive::{self, Trouble};
use super::further::{FIRST_NUMBER, Further};
use super::violation::{Clause, Violation};
use super::{CrashStats, recovery};
use crate::medium::{Change, Medium};
use crate::oracle::image::worst;
use crate::perform::Performer;
use crate::target::Prepared;

/// What an image was found to be.
#[derive(Debug, Default)]
pub(crate) struct Analysis {
    /// What the disk shows.
    pub(crate) content: Content,
    pub(crate) leaks: u64,
    /// What is wrong with it whatever was asked before.
    pub(crate) violation: Option<Violation>,
}

/// Judges images of one configuration.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) prepared: &'a dyn Prepared,
    pub(crate) further: &'a Further,
    /// One image in so many is used further, by its hash.
    pub(crate) further_one_in: u64,
    /// What a compressed write fills with data in part.
    pub(crate) fill_bytes: u64,
    pub(crate) performer: &'a mut Performer,
    pub(crate) stats: &'a mut CrashStats,
}

/// Whether a recovery that writes is to be crashed too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    First,
    Second,
}

type Judged<T> = Result<T, Violation>;

impl Judge<'_> {
    /// Opens the image, reads, checks, repairs and uses it.
    pub(crate) fn analyse(&mut self, image: &MemoryStorage, hash: u64, depth: Depth) -> Analysis {
        let mut analysis = Analysis::default();
        analysis.violation = self.try_image(image, hash, depth, &mut analysis).err();
        analysis
    }

    fn try_image(
        &mut self,
        image: &MemoryStorage,
        hash: u64,
        depth: Depth,
        analysis: &mut Analysis,
    ) -> Judged<()> {
        let medium = Arc::new(Medium::new(image.duplicate()));
        let disk = self.open(&medium)?;
        let recovery = medium.take_log();
        medium.stop_logging();
        analysis.content = read_twice(&disk)?;
        analysis.leaks = check(&disk, "after the crash")?;
        if depth == Depth::First && recovery.iter().any(|operation| operation.change != Change::Sync) {
            self.stats.recoveries += 1;
            recovery::crash(self, image, &recovery, &analysis.content)?;
        }
        if analysis.leaks > 0 {
            self.repair(image, &analysis.content)?;
        }
        let is_used = (hash >> 32).is_multiple_of(self.further_one_in);
        if is_used { self.use_further(&disk, analysis, hash) } else { Ok(()) }
    }

    fn open(&mut self, medium: &Arc<Medium>) -> Judged<Disk> {
        self.stats.opens += 1;
        let storage: Arc<dyn Storage> = medium.clone();
        self.prepared
            .open(storage)
            .map_err(|error| Violation::new(Clause::Opens, format!("the image does not open: {error}")))
    }

    /// A repair leaves nothing to repair and changes no guest byte.
    fn repair(&mut self, image: &MemoryStorage, content: &Content) -> Judged<()> {
        let medium = Arc::new(Medium::new(image.duplicate()));
        let disk = self.open(&medium)?;
        let failed = |error| Violation::new(Clause::Check, format!("the image cannot be repaired: {error}"));
        disk.check(RepairMode::All).map_err(failed)?;
        let again = disk.check(RepairMode::None).map_err(failed)?;
        if !again.is_clean() {
            return Err(Violation::new(Clause::Check, format!("after a repair: {}", worst(&again))));
        }
        self.stats.repairs += 1;
        match content.first_mismatch(&disk).map_err(|error| unreadable(&error))? {
            None => Ok(()),
            Some(wrong) => {
                Err(Violation::new(Clause::Check, "a repair changes what the guest sees").with_bytes(wrong))
            }
        }
    }

    /// Goes on using the disk: this is what shows a cluster that is in use and counted as free.
    fn use_further(&mut self, disk: &Disk, analysis: &Analysis, hash: u64) -> Judged<()> {
        let mut content = analysis.content.clone();
        for (number, request) in (FIRST_NUMBER..).zip(self.further.requests(hash)) {
            drive::make(self.performer, disk, &mut content, number, *request, self.fill_bytes)
                .map_err(|trouble| further_trouble(trouble, &format!("{request}")))?;
            self.stats.further_requests += 1;
        }
        disk.flush().map_err(|error| further_trouble(Trouble::Failed(error), "flush"))?;
        if let Some(wrong) = content.first_mismatch(disk).map_err(|error| unreadable(&error))? {
            return Err(further_trouble(Trouble::Wrong(wrong), "the whole compare"));
        }
        let leaks = check(disk, "after further requests")
            .map_err(|violation| Violation { clause: Clause::Further, ..violation })?;
        if leaks > analysis.leaks {
            let what = format!("further requests leak: {} clusters before, {leaks} after", analysis.leaks);
            return Err(Violation::new(Clause::Further, what));
        }
        Ok(())
    }
}

fn further_trouble(trouble: Trouble, request: &str) -> Violation {
    match trouble {
        Trouble::Failed(error) => {
            Violation::new(Clause::Further, format!("a further request fails: {error}"))
                .with_note(format!("the request: {request}"))
        }
        Trouble::Wrong(wrong) => Violation::new(Clause::Further, "a further request meets wrong bytes")
            .with_note(format!("the request: {request}"))
            .with_bytes(wrong),
    }
}

/// What the disk shows, the same in two readings.
fn read_twice(disk: &Disk) -> Judged<Content> {
    let content = Content::read(disk).map_err(|error| unreadable(&error))?;
    match content.first_mismatch(disk).map_err(|error| unreadable(&error))? {
        None => Ok(content),
        Some(wrong) => {
            Err(Violation::new(Clause::Stable, "reading twice gives different bytes").with_bytes(wrong))
        }
    }
}

fn unreadable(error: &blk_core::Error) -> Violation {
    Violation::new(Clause::Content, format!("the disk cannot be read: {error}"))
}

/// Checks the image; returns how many clusters have leaked, which is allowed.
fn check(disk: &Disk, when: &str) -> Judged<u64> {
    if disk.as_check().is_none() {
        return Ok(0);
    }
    let report = disk
        .check(RepairMode::None)
        .map_err(|error| Violation::new(Clause::Check, format!("{when}, the check fails: {error}")))?;
    if report.corruptions == 0 && report.check_errors == 0 {
        return Ok(report.leaks + report.leaks_past_end);
    }
    Err(Violation::new(Clause::Check, format!("{when}: {}", worst(&report))))
}
