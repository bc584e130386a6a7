//! The dirty bitmaps that requests make. The reference has none: the model says what each may have.

use super::{Run, Step};
use crate::execute::Reply;
use crate::explain::{Scene, finding};
use crate::model::{ActEnded, BitmapChange, Bitmaps, FoundBitmap, Time};
use crate::oracle::content::failed;
use crate::promise::{Evidence, Promise, Violation};
use crate::refusal::{is_inside, may_refuse};
use crate::run::{bitmaps_in, kept_bitmaps};
use crate::scenario::{Config, OnBitmap, OnSnapshot, Request};
use blk_core::{Error, Extent};

/// What has happened to the bitmaps, in the order of requests.
#[derive(Debug)]
pub(super) struct Followed {
    bitmaps: Bitmaps,
    clock: Time,
}

impl Followed {
    /// Of a fresh disk.
    pub(super) fn of(config: &Config) -> Self {
        let mut bitmaps = Bitmaps::default();
        bitmaps.ignores_discards = !config.discard;
        Self { bitmaps, clock: 0 }
    }

    fn tick(&mut self) -> Time {
        self.clock += 1;
        self.clock
    }
}

/// A request that is being made.
#[derive(Debug)]
pub(super) struct Asked {
    issued: Time,
    /// What it changes.
    changes: Extent,
    change: Option<BitmapChange>,
}

impl Run<'_> {
    /// A request is issued.
    pub(super) fn begin_bitmaps(&mut self, request: Request) -> Asked {
        let now = self.followed.tick();
        let mut asked = Asked { issued: now, changes: Extent::default(), change: None };
        if !self.geometry.bitmaps {
            return asked;
        }
        let size = self.bench.reference().size();
        let bitmaps = &mut self.followed.bitmaps;
        match request {
            Request::Bitmap { act, slot } => {
                asked.change = act.change().map(|act| bitmaps.begin_act(now, act, slot));
            }
            Request::Resize { .. } => bitmaps.resizing(now),
            Request::Snapshot { act: OnSnapshot::Apply, slot } => {
                let held = self.bench.reference().slot(slot).ok().and_then(|found| found.disk_bytes);
                if let Some(held) = held {
                    bitmaps.resizing(now);
                    bitmaps.asked(now, Extent::new(0, size.max(held)));
                    asked.changes = Extent::new(0, held);
                }
            }
            _ if request.kind().changes_content() && is_inside(request, size) => {
                let (offset, length) = request.range().unwrap_or_default();
                asked.changes = Extent::new(offset, length);
                bitmaps.asked(now, asked.changes);
            }
            _ => {}
        }
        asked
    }

    /// It has been answered.
    pub(super) fn end_bitmaps(
        &mut self,
        number: u32,
        request: Request,
        asked: &Asked,
        replied: &Result<Reply, Error>,
    ) -> Step {
        if let Request::Bitmap { act, slot } = request {
            let is_known = self.followed.bitmaps.is_known(slot);
            let is_possible = asked.change.as_ref().map_or(is_known, |change| change.is_possible);
            self.judge_answer(request, is_possible, replied)
                .map_err(|violation| self.told(&violation.noticed_by(number)))?;
            self.end_act(asked, act, slot, replied.is_ok());
        }
        if !self.geometry.bitmaps {
            return Ok(());
        }
        let now = self.followed.tick();
        let size = self.bench.test().size();
        self.followed.bitmaps.resized(size);
        let is_ignored = self.followed.bitmaps.ignores_discards && matches!(request, Request::Discard { .. });
        if replied.is_ok() && !is_ignored {
            self.followed.bitmaps.followed(asked.issued, now, asked.changes);
        }
        Ok(())
    }

    fn end_act(&mut self, asked: &Asked, act: OnBitmap, slot: u8, is_done: bool) {
        let Some(change) = &asked.change else { return };
        debug_assert!(act != OnBitmap::Read, "a read changes nothing");
        let now = self.followed.tick();
        let ended = if is_done { ActEnded::Done } else { ActEnded::Refused };
        self.followed.bitmaps.end_act(now, change, slot, ended);
    }

    /// Judges the answer to a request about bitmaps.
    fn judge_answer(
        &self,
        request: Request,
        is_possible: bool,
        replied: &Result<Reply, Error>,
    ) -> crate::promise::Kept {
        let size = self.bench.test().size();
        match replied {
            Ok(_) if !is_possible => {
                let evidence = Evidence::Answer("None".to_owned());
                let what = "asks for what is not there, or is there already, and succeeded";
                Err(Violation::with(Promise::Answers, what, evidence))
            }
            Ok(Reply::Bitmap(slot, bits)) => {
                kept_bitmaps(self.followed.bitmaps.judge_bits(*slot, bits, size))
            }
            Ok(_) => Ok(()),
            Err(error) if may_refuse(request, size, is_possible, error.kind()) => Ok(()),
            Err(error) => {
                let evidence = Evidence::Answer(format!("{:?}", error.kind()));
                let what = format!("bitmap failed, with no fault at work: {error}");
                Err(Violation::with(Promise::Answers, what, evidence))
            }
        }
    }

    /// Something has been written to the disk that is no request of the scenario.
    pub(super) fn follow_more(&mut self, extent: Extent) {
        let (issued, now) = (self.followed.tick(), self.followed.tick());
        self.followed.bitmaps.asked(issued, extent);
        self.followed.bitmaps.followed(issued, now, extent);
    }

    /// The handle ends; a close saves the bitmaps.
    pub(super) fn begin_end(&mut self, kill: bool) {
        let now = self.followed.tick();
        if !kill {
            self.followed.bitmaps.begin_close(now);
        }
    }

    /// The image is open again.
    pub(super) fn after_end(&mut self, kill: bool) -> Step {
        let now = self.followed.tick();
        if !kill {
            self.followed.bitmaps.end_close(now, true);
            return Ok(());
        }
        if !self.geometry.bitmaps {
            return Ok(());
        }
        let (found, size) = self.found_bitmaps()?;
        let judged = kept_bitmaps(self.followed.bitmaps.judge_crash(&found, size, now));
        judged.map_err(|violation| self.told(&violation))?;
        self.followed.bitmaps.adopt(now, &found, size);
        Ok(())
    }

    /// All bitmaps have what was asked for.
    pub(super) fn judge_bitmaps(&self) -> Step {
        if !self.geometry.bitmaps {
            return Ok(());
        }
        let (found, size) = self.found_bitmaps()?;
        let judged = kept_bitmaps(self.followed.bitmaps.judge_live(&found, size));
        judged.map_err(|violation| finding(&violation, Scene::plain(&self.journal, size)))
    }

    fn found_bitmaps(&self) -> Result<(Vec<FoundBitmap>, u64), Box<crate::report::Finding>> {
        let disk = self.bench.test();
        let found = bitmaps_in(&disk).map_err(|error| failed("reading the dirty bitmaps", &error))?;
        Ok((found, disk.size()))
    }
}
