//! What is found in a state: made plain, told, or passed over where it is known of the driver.

use std::any::Any;
use std::collections::HashMap;
use std::panic::resume_unwind;

use blk_core::Result;
use blk_sim::{Durability, Kept};

use super::explore::{Explorer, History, Judged};
use crate::explain::{self, Scene};
use crate::finding::Provoked;
use crate::known::Known;
use crate::model::Time;
use crate::promise::Violation;
use crate::report::Finding;
use crate::run::panic_finding;

/// States that are judged to make the set of what was lost smaller.
const SHRINK_MAX: usize = 300;
/// Known findings of one deviation that are made smaller, in one scenario: each takes as long as many states.
const SHRUNK_OF_ONE_MAX: u32 = 2;
/// Known findings of one scenario that are made smaller: that is enough of the scenario.
const SHRUNK_MAX: u32 = 16;

/// What was found in one history so far.
pub(super) struct Found<'a> {
    known: &'a Known<'a>,
    /// The first known finding, and the step that it was found after.
    first_known: Option<(Box<Finding>, Option<&'static str>)>,
    /// How many findings of a known deviation were made smaller.
    shrunk: HashMap<&'static str, u32>,
    /// How many findings turned out as known.
    count: u32,
}

impl<'a> Found<'a> {
    pub(super) fn new(known: &'a Known<'a>) -> Self {
        Self { known, first_known: None, shrunk: HashMap::new(), count: 0 }
    }

    /// Whether so much is known of this history that no more of it is judged.
    pub(super) fn is_enough(&self) -> bool {
        self.count >= SHRUNK_MAX
    }

    /// Whether a finding is to be made smaller: with all that it has lost it may be a known one. What is left
    /// of it may be another, so that is done a few times even so.
    fn is_shrunk(&mut self, finding: &Finding) -> bool {
        let Some(name) = self.known.explains(finding) else { return true };
        let count = self.shrunk.entry(name).or_default();
        *count += 1;
        *count <= SHRUNK_OF_ONE_MAX
    }

    /// The finding, unless it is known.
    fn unknown(&mut self, finding: Box<Finding>, step: Option<&'static str>) -> Option<Box<Finding>> {
        if !self.known.meets(&finding) {
            return Some(finding);
        }
        self.first_known.get_or_insert((finding, step));
        None
    }
}

impl Explorer<'_> {
    /// The first known finding: there was no other one.
    pub(super) fn known_at_last(&mut self) -> Option<Box<Finding>> {
        let (finding, step) = self.found.first_known.take()?;
        self.place.step = step;
        Some(finding)
    }

    /// The finding of a state in which a promise is broken; none if it is known.
    pub(super) fn broken(
        &mut self,
        history: &History,
        durability: &Durability,
        time: Time,
        (kept, violation): (Kept, Box<Violation>),
    ) -> Result<Option<Box<Finding>>> {
        let whole = self.explain(durability, &kept, &violation);
        if !self.found.is_shrunk(&whole) {
            return Ok(None);
        }
        let finding = self.plain(history, durability, time, kept, violation)?;
        self.found.count += 1;
        Ok(self.found.unknown(finding, self.place.step))
    }

    /// The same of a state in which the driver has panicked. What is not known goes on to whoever guards the
    /// run.
    pub(super) fn panicked(&mut self, payload: Box<dyn Any + Send>) -> Option<Box<Finding>> {
        let finding = self.place.tell(panic_finding(&*payload), self.journal);
        let finding = self.found.known.named(Box::new(finding));
        if self.found.unknown(finding, self.place.step).is_some() {
            resume_unwind(payload);
        }
        None
    }

    /// Loses as little as possible, as long as the same is wrong.
    fn plain(
        &mut self,
        history: &History,
        durability: &Durability,
        time: Time,
        mut kept: Kept,
        mut violation: Box<Violation>,
    ) -> Result<Box<Finding>> {
        let signature = self.explain(durability, &kept, &violation).signature;
        let mut tries = 0;
        let mut is_changed = true;
        while is_changed && tries < SHRINK_MAX {
            is_changed = false;
            for item in 0..kept.len() {
                if kept[item] || tries >= SHRINK_MAX {
                    continue;
                }
                kept[item] = true;
                tries += 1;
                match self.try_state(history, durability, time, &kept)? {
                    Judged::Broken(same) if self.explain(durability, &kept, &same).signature == signature => {
                        violation = same;
                        is_changed = true;
                    }
                    _ => kept[item] = false,
                }
            }
        }
        Ok(self.explain(durability, &kept, &violation))
    }

    fn explain(&self, durability: &Durability, kept: &Kept, violation: &Violation) -> Box<Finding> {
        let crash = self.place.crash(self.journal, explain::fates(durability, kept));
        let size = self.shadow.len() as u64;
        let scene = Scene { provoked: Some(Provoked::Crash(crash)), ..Scene::plain(self.journal, size) };
        let mut finding = explain::finding(violation, scene);
        finding.request = self.place.during(self.journal);
        finding.request_number = self.place.number;
        self.found.known.named(finding)
    }
}
