//! The conformance suite: what every driver owes, whatever its format. A driver crate runs it with one line:
//!
//! ```text
//! blk_core::testing::conformance(&MyMaker);
//! ```
//!
//! Each rule is a function that panics where the driver breaks it; all are tried, and those that are broken
//! are named. What a driver need not have (sizes of any byte, resize, discard, compressed writes, zeroes
//! without data) it refuses with [`crate::Error::Unsupported`],
//! [`crate::Error::InvalidOption`] or [`crate::Error::Misaligned`]; then the rule asks that nothing has
//! changed. The suite is itself tested by drivers with a planted bug each, which the rule that is meant for
//! it has to catch.

mod content;
mod durable;
mod model;
mod queued;
mod shape;
mod size;
mod subject;
mod vectored;
mod zeroes;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Access, Disk, Error, Result};

/// Makes disks of the driver under test. One medium lives as long as the maker's value for it.
pub trait Maker {
    /// What a disk is kept on.
    type Medium: Sync;

    /// A medium with a fresh disk of `size` zero bytes.
    ///
    /// # Errors
    /// [`crate::Error::InvalidOption`], [`crate::Error::Unsupported`] or [`crate::Error::Misaligned`] if the
    /// format has no disks of that size.
    fn make(&self, size: u64) -> Result<Self::Medium>;

    /// Opens the disk; an earlier handle has been dropped, closed before or not.
    fn open(&self, medium: &Self::Medium, access: Access) -> Result<Disk>;

    /// The size of the largest disk that is made, which stays almost empty. Bytes.
    fn large_bytes(&self) -> u64 {
        (1 << 33) + 513
    }

    /// Whether bytes that were flushed are there when the disk is opened anew without having been closed. Not
    /// so for a disk whose medium lives and dies with the handle.
    fn survives(&self) -> bool {
        true
    }
}

/// A rule by its name.
type Rule<M> = (&'static str, fn(&M));

fn rules<M: Maker>() -> Vec<Rule<M>> {
    vec![
        ("sizes", shape::disks_of_every_size_work_to_the_last_byte),
        ("large", shape::a_large_disk_keeps_its_ends_apart),
        ("outside", shape::requests_outside_the_disk_are_refused),
        ("read-only", shape::a_read_only_disk_refuses_to_change),
        ("status", shape::status_covers_the_disk_and_agrees),
        ("fresh", content::a_fresh_disk_reads_as_zeroes),
        ("odd", content::odd_ranges_keep_their_neighbours),
        ("edges", content::requests_across_the_edges_of_units),
        ("compressed", content::compressed_writes_are_right_or_refused),
        ("zeroes", zeroes::zeroes_are_zeroes_with_every_flag),
        ("allocated", zeroes::zeroes_that_may_not_unmap_stay_allocated),
        ("fast-zero", zeroes::refused_fast_zeroes_change_nothing),
        ("discard", zeroes::a_discard_leaves_old_bytes_or_zeroes),
        ("pieces", vectored::pieces_are_read_and_written_in_order),
        ("runs", vectored::runs_are_those_that_come_one_by_one),
        ("prefetch", vectored::a_prefetch_changes_nothing),
        ("grow", size::growing_shows_only_zeroes),
        ("allocate", size::what_is_gained_can_be_allocated),
        ("shrink", size::what_was_cut_off_does_not_come_back),
        ("reopen", durable::a_reopened_disk_keeps_everything),
        ("flush", durable::what_was_flushed_survives_a_kill),
        ("fua", durable::what_was_forced_survives_a_kill),
        ("queue", queued::requests_in_flight_are_answered_once),
        ("random", model::random_requests_agree_with_a_vector),
        ("threads", model::threads_on_disjoint_ranges_do_not_meet),
    ]
}

/// The names of the rules, in the order in which they are tried.
pub fn rule_names() -> Vec<&'static str> {
    rules::<Nobody>().into_iter().map(|(name, _)| name).collect()
}

/// Tries every rule.
///
/// # Panics
/// With the names of all rules that are broken, each with what broke it.
pub fn conformance<M: Maker>(maker: &M) {
    try_rules(maker, &rules::<M>());
}

/// Tries the rules of these names ([`rule_names`]) alone.
///
/// # Panics
/// As [`conformance`]; if there is no rule of a name.
pub fn conformance_to<M: Maker>(maker: &M, names: &[&str]) {
    let all = rules::<M>();
    for name in names {
        assert!(all.iter().any(|(known, _)| known == name), "no rule '{name}'; known are {:?}", rule_names());
    }
    let chosen: Vec<Rule<M>> = all.into_iter().filter(|(name, _)| names.contains(name)).collect();
    try_rules(maker, &chosen);
}

fn try_rules<M: Maker>(maker: &M, rules: &[Rule<M>]) {
    let mut broken = Vec::new();
    for (name, rule) in rules {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| rule(maker))) {
            let why = payload.downcast_ref::<String>().map(String::as_str);
            let why =
                why.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
            broken.push(format!("rule '{name}': {why}"));
        }
    }
    assert!(broken.is_empty(), "{} of {} rules are broken\n{}", broken.len(), rules.len(), broken.join("\n"));
}

/// A maker for whoever wants names only.
struct Nobody;

impl Maker for Nobody {
    type Medium = ();

    fn make(&self, _size: u64) -> Result<()> {
        Err(Error::unsupported("disks of nobody"))
    }

    fn open(&self, (): &(), _access: Access) -> Result<Disk> {
        Err(Error::unsupported("disks of nobody"))
    }
}

/// The size of most disks here: a few clusters of every usual cluster size, and a part of one.
const USUAL_BYTES: u64 = (1 << 20) + 512;

/// Bytes that differ from place to place and are never 0.
fn pattern(offset: u64, length: usize, salt: u8) -> Vec<u8> {
    (offset..offset + length as u64).map(|at| ((at ^ at >> 9) as u8 ^ salt) | 1).collect()
}

#[cfg(test)]
mod flat;
#[cfg(test)]
mod planted;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use flat::{Flat, flat};
