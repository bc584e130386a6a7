//! Opens an image that was left, by a crash or by a fault that is gone, and judges it: what is promised
//! whatever was asked before.
//!
//! | promise | what is done |
//! |---|---|
//! | C1 | it is opened for writing |
//! | C2 | it is checked: no corruption; what has leaked is repaired, which leaves nothing and changes no guest byte |
//! | C5 | follow-up requests, a flush, a whole compare and a check stay right |
//! | C6 | it is read twice |
//! | others | what others keep in the image is there, and nothing vouches for what is stale |
//! | recovery | one that writes is crashed at each of its operations, and must come to the same |
//!
//! C3 and C4, what the guest may see, depend on what was asked before: the model is asked about the content
//! that is found here.

use std::collections::HashSet;
use std::sync::Arc;

use blk_core::bytes::is_zero;
use blk_core::{Disk, Extent, MemoryStorage, Storage};
use blk_sim::{Durability, Host, Operation, SECTOR_BYTES, Settings, States, progress};

use crate::follow_up::{FIRST_NUMBER, FollowUps};
use crate::images::Images;
use crate::inspect::{leaks, repair};
use crate::journal::Journal;
use crate::model::{FoundBitmap, Mismatch, Model};
use crate::promise::{Kept, Promise, Violation};
use crate::run::{
    Found, Run, Scratch, Trouble, bitmaps_in, found_in, read_parts, slots_of, unread, unread_bitmaps,
};
use crate::scenario::Request;
use crate::statistics::{Counter, Statistics};

/// States that are tried for one operation of a recovery.
const RECOVERY_STATES_PER_OPERATION: usize = 32;

/// The bytes of a whole disk.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) bytes: MemoryStorage,
    pub(crate) size: u64,
}

/// What an image was found to be.
#[derive(Debug, Default)]
pub(crate) struct Analysis {
    /// What the disk shows, all of it.
    pub(crate) content: Content,
    /// What the snapshots hold that requests have made.
    pub(crate) snapshots: Found,
    /// The dirty bitmaps that requests have made.
    pub(crate) bitmaps: Vec<FoundBitmap>,
    pub(crate) leaks: u64,
    /// What is wrong with it whatever was asked before.
    pub(crate) violation: Option<Box<Violation>>,
}

/// Judges images of one configuration.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) images: &'a Images,
    pub(crate) journal: &'a Arc<Journal>,
    pub(crate) follow_ups: &'a FollowUps,
    /// One image in so many gets follow-up requests.
    pub(crate) follow_up_one_in: u64,
    /// One image in so many has its recovery crashed.
    pub(crate) recovery_one_in: u64,
    /// States that are tried for one recovery.
    pub(crate) recovery_states_max: usize,
    pub(crate) stats: &'a mut Statistics,
    pub(crate) scratch: &'a mut Scratch,
}

/// Whether a recovery that writes is to be crashed too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    First,
    Second,
}

impl Judge<'_> {
    /// Opens the image, reads, checks, repairs and uses it. What is done besides is chosen by its `origin`,
    /// [`Durability::origin`].
    pub(crate) fn analyse(&mut self, image: &MemoryStorage, origin: u64, depth: Depth) -> Analysis {
        let mut analysis = Analysis::default();
        analysis.violation = self.try_image(image, origin, depth, &mut analysis).err();
        analysis
    }

    fn try_image(
        &mut self,
        image: &MemoryStorage,
        origin: u64,
        depth: Depth,
        analysis: &mut Analysis,
    ) -> Kept {
        let host = Arc::new(Host::new(image.duplicate(), Settings::crashing()));
        let disk = self.open(host.clone(), origin)?;
        let recovery = host.take_log();
        host.stop_logging();
        analysis.content = self.read_twice(&disk)?;
        if self.images.geometry.snapshots {
            analysis.snapshots = found_in(&disk).map_err(|error| unread(&error))?;
        }
        if self.images.geometry.bitmaps {
            analysis.bitmaps = bitmaps_in(&disk).map_err(|error| unread_bitmaps(&error))?;
        }
        self.images.judge_kept_by_others(image, Some(&analysis.content.bytes))?;
        analysis.leaks = leaks(&disk, Promise::Consistent, "after the crash")?;
        let is_crashed = depth == Depth::First && (origin >> 40).is_multiple_of(self.recovery_one_in);
        if is_crashed && recovery.iter().any(|operation| !operation.change.is_sync()) {
            self.stats.add(Counter::Recoveries, 1);
            self.crash_recovery((image, origin), &recovery, &analysis.content)?;
        }
        if analysis.leaks > 0 {
            let host = Arc::new(Host::new(image.duplicate(), Settings::default()));
            let disk = self.open(host, origin)?;
            repair(&disk)?;
            self.stats.add(Counter::Repairs, 1);
            self.same(&disk, &analysis.content, Promise::Repair, "a repair changes what the guest sees")?;
        }
        if (origin >> 32).is_multiple_of(self.follow_up_one_in) {
            self.follow_up(disk, host, analysis, origin)?;
        }
        Ok(())
    }

    fn open(&mut self, host: Arc<Host>, origin: u64) -> Kept<Disk> {
        self.stats.add(Counter::Opens, 1);
        progress::at_request(FIRST_NUMBER);
        let opened = self.images.prepared.open_left(host, origin);
        opened.map_err(|error| Violation::new(Promise::Opens, format!("the image does not open: {error}")))
    }

    /// Crashes the recovery `log` of `image` at each of its operations: what is left recovers to the same
    /// `content`.
    fn crash_recovery(
        &mut self,
        (image, origin): (&MemoryStorage, u64),
        log: &[Operation],
        content: &Content,
    ) -> Kept {
        let memory = |error| Violation::memory(&error);
        let mut durability = Durability::hashing(image.duplicate(), SECTOR_BYTES).map_err(memory)?;
        let mut left = self.recovery_states_max;
        let mut seen = HashSet::new();
        for operation in log {
            // A repair may have thousands of operations, whose states take long to list.
            progress::step();
            if left == 0 {
                break;
            }
            if !durability.apply(operation).map_err(memory)? {
                continue;
            }
            let count_max = left.min(RECOVERY_STATES_PER_OPERATION);
            for kept in States::new(count_max, true, durability.count()).of(&durability) {
                let (state, hash) = durability.image(&kept).map_err(memory)?;
                if left == 0 || !seen.insert(hash) {
                    continue;
                }
                left -= 1;
                self.stats.add(Counter::RecoveryStates, 1);
                let since = durability.origin(&state).map_err(memory)?;
                let analysis = self.analyse(&state, origin.rotate_left(1) ^ since, Depth::Second);
                let place = durability.pending().last();
                let place = place.map_or_else(String::new, |operation| {
                    format!("{} {}..{}", operation.name, operation.extent.offset, operation.extent.end())
                });
                let note = format!("the second crash came after the recovery's {place}");
                if let Some(violation) = analysis.violation {
                    let what = format!("{} ({})", violation.what, violation.promise.name());
                    return Err(Box::new(Violation { what, ..*violation }).of(Promise::Recovery).note(note));
                }
                let what = "after a second crash, during recovery, the guest sees other bytes";
                content.compare(&analysis.content, what).map_err(|violation| violation.note(note))?;
            }
        }
        Ok(())
    }

    /// Goes on using the disk: this is what shows a cluster that is in use and counted as free.
    fn follow_up(&mut self, disk: Disk, host: Arc<Host>, analysis: &Analysis, origin: u64) -> Kept {
        let initial = Arc::new(analysis.content.bytes.duplicate());
        let size = analysis.content.size;
        let mut model = Model::new(initial, size, self.images.fill_bytes(), false);
        model.adopt_slots(0, slots_of(&analysis.snapshots));
        model.bitmaps.adopt(0, &analysis.bitmaps, size);
        let mut run = Run::new(self.images, host, Arc::clone(self.journal), model, 1);
        std::mem::swap(&mut run.scratch, self.scratch);
        run.disk = Some(Arc::new(disk));
        let requests = self.follow_ups.requests(origin);
        self.stats.add(Counter::FollowUps, requests.len() as u64);
        let followed = follow(&mut run, FIRST_NUMBER, requests);
        std::mem::swap(&mut run.scratch, self.scratch);
        followed?;
        let Some(disk) = &run.disk else { return Ok(()) };
        let leaks = leaks(disk, Promise::Works, "after follow-up requests")?;
        if leaks > analysis.leaks {
            let what = format!("follow-up requests leak: {} clusters before, {leaks} after", analysis.leaks);
            return Err(Violation::new(Promise::Works, what));
        }
        Ok(())
    }
}

/// Makes follow-up requests, flushes, and compares everything.
pub(crate) fn follow(run: &mut Run<'_>, first_number: u32, requests: &[Request]) -> Kept {
    for (number, request) in (first_number..).zip(requests.iter().chain([&Request::Flush])) {
        run.request(Some(number), *request).map_err(|violation| {
            followed_by(run, violation).of(Promise::Works).note(format!("the request: {request}"))
        })?;
    }
    run.observe_all().map_err(|violation| followed_by(run, violation).of(Promise::Works))
}

/// The violation, with the requests that were made before it and are none of the scenario.
pub(crate) fn followed_by(run: &Run<'_>, mut violation: Box<Violation>) -> Box<Violation> {
    let records = run.checker.records();
    let all = records.iter().filter(|record| record.number > run.last_number);
    violation.followed = all.map(|record| (record.number, record.request.into())).collect();
    violation
}

impl Judge<'_> {
    /// What the disk shows, the same in two readings.
    fn read_twice(&mut self, disk: &Disk) -> Kept<Content> {
        let content = Content { bytes: MemoryStorage::new(), size: disk.size() };
        let memory = |error| Violation::memory(&error);
        content.bytes.set_len(content.size).map_err(memory)?;
        self.read(disk, &mut |at, found| {
            // Zeroes take no memory.
            if is_zero(found) { Ok(()) } else { content.bytes.write_at(at, found).map_err(memory) }
        })?;
        self.same(disk, &content, Promise::Stable, "reading twice gives different bytes")?;
        Ok(content)
    }

    /// Holds a whole disk against `content`.
    fn same(&mut self, disk: &Disk, content: &Content, promise: Promise, what: &'static str) -> Kept {
        if disk.size() != content.size {
            let what = format!("{what}: {} bytes and {}", content.size, disk.size());
            return Err(Violation::new(promise, what));
        }
        self.read(disk, &mut |at, found| match content.first_mismatch(at, found)? {
            Some(mismatch) => Err(Violation::bytes(promise, what, mismatch)),
            None => Ok(()),
        })
    }

    /// Reads all of a disk, in pieces that stay in the processor's cache.
    fn read(&mut self, disk: &Disk, judge: &mut dyn FnMut(u64, &[u8]) -> Kept) -> Kept {
        let whole = Extent::new(0, disk.size());
        read_parts(disk, &[whole], &mut self.scratch.buffer, judge).map_err(|trouble| match trouble {
            Trouble::Unread(error) => unreadable(&error),
            Trouble::Broken(violation) => violation,
        })
    }
}

impl Content {
    /// The first sector in which `found`, which lies at `at`, differs.
    fn first_mismatch(&self, at: u64, found: &[u8]) -> Kept<Option<Mismatch>> {
        if self.bytes.holds(at, found) {
            return Ok(None);
        }
        for (sector, found) in found.chunks(SECTOR_BYTES as usize).enumerate() {
            let offset = at + sector as u64 * SECTOR_BYTES;
            if !self.bytes.holds(offset, found) {
                let mut expected = vec![0; found.len()];
                let read = self.bytes.read_at(offset, &mut expected);
                read.map_err(|error| Violation::memory(&error))?;
                return Ok(Some(Mismatch { offset, found: found.to_vec(), possible: vec![expected] }));
            }
        }
        Ok(None)
    }

    /// Whether what a recovery came to after a second crash is this.
    fn compare(&self, other: &Self, what: &'static str) -> Kept {
        if self.size != other.size {
            let what = format!("{what}: {} bytes, not {}", other.size, self.size);
            return Err(Violation::new(Promise::Recovery, what));
        }
        let bytes = other.bytes.to_bytes(other.size).map_err(|error| Violation::memory(&error))?;
        match self.first_mismatch(0, &bytes)? {
            Some(mismatch) => Err(Violation::bytes(Promise::Recovery, what, mismatch)),
            None => Ok(()),
        }
    }
}

fn unreadable(error: &blk_core::Error) -> Box<Violation> {
    Violation::new(Promise::Content, format!("the disk cannot be read: {error}"))
}

/// A storage for an image that nothing happens to.
pub(crate) fn quiet(image: MemoryStorage) -> Arc<dyn Storage> {
    Arc::new(Host::new(image, Settings::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_differ_in_the_first_sector_that_does() {
        let bytes: Vec<u8> = (0..4096_u32).map(|at| (at / 512 + 1) as u8).collect();
        let content = Content { bytes: MemoryStorage::from_bytes(&bytes), size: 4096 };
        let mismatch = |at: u64, found: &[u8]| content.first_mismatch(at, found).unwrap();
        assert_eq!(mismatch(512, &bytes[512..3000]), None);
        let mut found = bytes.clone();
        (found[2000], found[2600]) = (99, 99);
        for at in [0, 512, 1536] {
            let mismatch = mismatch(at as u64, &found[at..3000]).expect("two sectors differ");
            assert_eq!(mismatch.offset, 1536, "{at}");
            assert!(mismatch.found == found[1536..2048] && mismatch.possible == [&bytes[1536..2048]]);
        }
        let cut = mismatch(2560, &found[2560..2700]).expect("a part of a sector differs");
        assert!(cut.offset == 2560 && cut.found.len() == 140);
        let other = Content { bytes: MemoryStorage::from_bytes(&found), size: 4096 };
        let promise =
            |one: &Content, other: &Content| one.compare(other, "differs").map_err(|broken| broken.promise);
        assert_eq!(promise(&content, &content), Ok(()));
        assert_eq!(promise(&content, &other), Err(Promise::Recovery));
        let longer = Content { bytes: MemoryStorage::from_bytes(&bytes), size: 4608 };
        assert_eq!(promise(&content, &longer), Err(Promise::Recovery));
    }
}
