//! Space: what is given back, what keeps its place, what is used again, and what a block status tells of a
//! place. It is asked of drivers that promise it ([`Promises`](crate::driver::Promises)), by their own block
//! status and behind their back in the storage.

use blk_core::{BlockStatus, DiscardFlags, Extent, Storage, WriteFlags, ZeroFlags};

use super::{Run, Step};
use crate::driver::promises::Was;
use crate::explain::{Scene, finding};
use crate::oracle::content::failed;
use crate::promise::{Promise, Violation};
use crate::report::{Finding, SECTOR_BYTES};
use crate::scenario::Request;

/// Runs of a block status that are looked at for one request.
const RUNS_MAX: usize = 64;
/// Bytes of a run that are read from the storage: from its start, and as many at its end.
const READ_BYTES: u64 = 4 << 10;
/// After so many rounds of writing and giving back, the storage is as long as it gets.
const ROUNDS_BEFORE: usize = 3;
/// So many rounds more do not make it longer.
const ROUNDS: usize = 8;

/// A run of a block status, and where it starts.
type Placed = (u64, BlockStatus);

/// What was noted before a request.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// What has a place in the storage, and has to keep it.
    places: Vec<Placed>,
}

impl Run<'_> {
    /// Notes what a request has to keep, and listens to what must not be written.
    pub(super) fn before(&self, request: Request) -> Before {
        let mut before = Before::default();
        if let Request::WriteZeroes { offset, length, unmap, no_fallback, .. } = request {
            if no_fallback && let Some(tap) = self.bench.storage() {
                tap.listen(true);
            }
            if !unmap && self.promises.zeroes_keep_place {
                before.places = self.runs(self.whole_units(offset, length));
                before.places.retain(|(_, run)| run.allocated && run.host_offset.is_some());
            }
        }
        before
    }

    /// Judges what a request that has succeeded has done to space.
    pub(super) fn judge_space(&self, number: u32, request: Request, before: &Before) -> Step {
        let broken = match request {
            Request::Discard { .. } | Request::WriteZeroes { .. } if self.has_snapshots => Ok(()),
            Request::Discard { offset, length } if self.promises.discard_gives_back => {
                self.judge_given_back(self.whole_units(offset, length), "a discard")
            }
            Request::WriteZeroes { offset, length, unmap, no_fallback, .. } => {
                let given_back = || {
                    if unmap && self.promises.unmap_gives_back {
                        self.judge_given_back(self.whole_units(offset, length), "zeroes that may unmap")
                    } else {
                        Ok(())
                    }
                };
                let kept = || before.places.iter().try_for_each(|place| self.judge_kept(*place));
                let unwritten =
                    || if no_fallback { self.judge_unwritten(Extent::new(offset, length)) } else { Ok(()) };
                given_back().and_then(|()| kept()).and_then(|()| unwritten())
            }
            Request::Status { offset, length } => self.judge_places(Extent::new(offset, length)),
            _ => Ok(()),
        };
        broken.map_err(|violation| self.told(&violation.noticed_by(number)))
    }

    /// After the flush that the scenario names: space that was given back is used again by a handle that has
    /// been at work, whose next open may forgive what it has lost. The disks show the same afterwards.
    pub(super) fn probe_reuse(&mut self, number: u32, request: Request) -> Step {
        self.flushes += u64::from(request == Request::Flush);
        let is_asked = request == Request::Flush && self.flushes == self.probe_flush;
        if !is_asked || !self.can_judge_reuse() {
            return Ok(());
        }
        self.judge_reuse(number)?;
        self.follow_more(self.probed_unit());
        (self.since.changed, self.last_write) = (Was::Surely, None);
        let unit = self.probed_unit();
        let zeroed = self.bench.reference().write_zeroes(unit, ZeroFlags::default());
        zeroed.map_err(|error| failed("giving a unit of the reference back", &error))
    }

    /// Whether it is promised that space is used again, and can be seen.
    pub(super) fn can_judge_reuse(&self) -> bool {
        self.promises.reuses && self.bench.storage().is_some() && !self.has_snapshots
    }

    /// Space that was given back is used again. It changes the disk under test, whose first unit is zero
    /// afterwards. `number` is the request after which it is asked; 0 for all.
    pub(super) fn judge_reuse(&self, number: u32) -> Step {
        let Some(storage) = self.bench.storage().filter(|_| self.promises.reuses) else { return Ok(()) };
        let length = || storage.len().map_err(|error| failed("asking for the length of the storage", &error));
        for round in 0..ROUNDS_BEFORE {
            self.take_and_give_back(round)?;
        }
        let before = length()?;
        for round in 0..ROUNDS {
            self.take_and_give_back(round)?;
        }
        let after = length()?;
        if after > before {
            let what = format!(
                "the storage grows from {before} to {after} bytes while a unit is written, given back and flushed {ROUNDS} times"
            );
            return Err(self.told(&Violation::new(Promise::Space, what).noticed_by(number)));
        }
        Ok(())
    }

    /// The first unit of the disk, as far as whole requests lie in it.
    fn probed_unit(&self) -> Extent {
        let test = self.bench.test();
        let alignment = test.limits().request_alignment;
        Extent::new(0, self.geometry.unit_bytes.min(test.size() & !(alignment - 1)))
    }

    /// Writes to the first unit, gives it back by a discard or by zeroes, and flushes.
    fn take_and_give_back(&self, round: usize) -> Step {
        let test = self.bench.test();
        let whole = self.probed_unit();
        let length = SECTOR_BYTES.max(test.limits().request_alignment).min(whole.length);
        if length == 0 {
            return Ok(());
        }
        let written = test.write(0, &vec![0x5e; length as usize], WriteFlags::default());
        written.map_err(|error| failed("writing a unit after all requests", &error))?;
        if round.is_multiple_of(2) && test.limits().can_discard {
            test.discard(whole, DiscardFlags::default())
        } else {
            test.write_zeroes(whole, ZeroFlags { may_unmap: true, ..ZeroFlags::default() })
        }
        .map_err(|error| failed("giving a unit back after all requests", &error))?;
        test.flush().map_err(|error| failed("flushing after all requests", &error))
    }

    pub(super) fn told(&self, violation: &Violation) -> Box<Finding> {
        finding(violation, Scene::plain(&self.journal, self.bench.test().size()))
    }

    /// What the disk under test says of a range; what it does not answer is no part of it.
    fn runs(&self, extent: Extent) -> Vec<Placed> {
        if extent.is_empty() {
            return Vec::new();
        }
        let mut at = extent.offset;
        let runs = self.bench.test().block_status_runs(extent, RUNS_MAX).unwrap_or_default();
        let placed = |run: BlockStatus| {
            let start = at;
            at += run.length;
            (start, run)
        };
        runs.into_iter().map(placed).collect()
    }

    /// The units that lie in a range as a whole; the last one of the disk ends with it.
    fn whole_units(&self, offset: u64, length: u64) -> Extent {
        let (unit, size) = (self.geometry.unit_bytes, self.bench.test().size());
        let end = offset.saturating_add(length).min(size);
        let start = offset.next_multiple_of(unit).min(end);
        let end = if end == size { end } else { end / unit * unit };
        Extent::between(start, end.max(start))
    }

    fn judge_given_back(&self, units: Extent, what: &str) -> Result<(), Box<Violation>> {
        for (at, run) in self.runs(units) {
            if run.has_data() || run.host_offset.is_some() {
                let what = format!(
                    "after {what} of {}..{}, {at} is still allocated in the storage",
                    units.offset,
                    units.end()
                );
                return Err(Violation::new(Promise::Space, what));
            }
        }
        Ok(())
    }

    /// What had a place has the same one, in its first unit and its last.
    fn judge_kept(&self, (at, run): Placed) -> Result<(), Box<Violation>> {
        let unit = self.geometry.unit_bytes;
        let last = (run.length - 1) / unit * unit;
        for within in [0, last] {
            let expected = run.host_offset.map(|host| host + within);
            let found = self.runs(Extent::new(at + within, unit.min(run.length - within)));
            let found = found.first().and_then(|(_, run)| run.host_offset);
            if found != expected {
                let what = format!(
                    "zeroes that may not unmap move {} from {expected:?} to {found:?} in the storage",
                    at + within
                );
                return Err(Violation::new(Promise::Space, what));
            }
        }
        Ok(())
    }

    fn judge_unwritten(&self, extent: Extent) -> Result<(), Box<Violation>> {
        let Some(tap) = self.bench.storage() else { return Ok(()) };
        let runs = self.runs(extent);
        // Whoever writes a part of what the host demands writes the rest of it as it was.
        let unit = self.host_alignment;
        let is_written = |(_, run): &&Placed| {
            run.host_offset.is_some_and(|host| {
                let (start, end) = (host.next_multiple_of(unit), (host + run.length) / unit * unit);
                start < end && tap.has_written(Extent::between(start, end))
            })
        };
        let written = runs.iter().find(is_written).map(|(at, _)| *at);
        tap.listen(false);
        match written {
            None => Ok(()),
            Some(at) => {
                let what = format!("zeroes that must not fall back to data are written as data at {at}");
                Err(Violation::new(Promise::Space, what))
            }
        }
    }

    /// What a block status tells of the storage is there.
    fn judge_places(&self, extent: Extent) -> Result<(), Box<Violation>> {
        let Some(storage) = self.bench.storage() else { return Ok(()) };
        for (at, run) in self.runs(extent) {
            let broken = |what: &str| Err(Violation::new(Promise::Places, format!("{what}, of {at}")));
            match run.host_offset {
                Some(_) if run.compressed => return broken("compressed data has a host offset"),
                None if run.has_data() && !run.compressed && self.promises.tells_host_offset => {
                    return broken("data that is not compressed has no host offset");
                }
                Some(host) if run.has_data() => {
                    let last = run.length.saturating_sub(READ_BYTES);
                    for (within, length) in [(0, run.length.min(READ_BYTES)), (last, run.length - last)] {
                        if !self.is_stored(&*storage, at + within, host + within, length) {
                            return broken("the storage has other bytes at a host offset");
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the storage has at `host` what the reference shows at `at`.
    fn is_stored(&self, storage: &dyn Storage, at: u64, host: u64, length: u64) -> bool {
        let (mut expected, mut found) = (vec![0; length as usize], vec![0; length as usize]);
        let is_known = self.bench.reference().read(at, &mut expected).is_ok();
        storage.read_at(host, &mut found).is_ok() && (!is_known || expected == found)
    }
}
