//! The suite itself is tested: right drivers of every shape pass, each planted bug is caught by the rule that
//! is meant for it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::planted::{Bug, PlantedMaker, Shape};
use super::{Maker, conformance, rules};
use crate::{Access, Disk, Limits, NativeFlags, PassThrough, Result};

fn shape(change: impl FnOnce(&mut Limits)) -> Shape {
    let mut shape = Shape::default();
    change(&mut shape.limits);
    shape
}

/// A filter that changes nothing.
#[derive(Debug)]
struct Nothing(Disk);

impl PassThrough for Nothing {
    fn inner(&self) -> &Disk {
        &self.0
    }
}

/// Puts [`Nothing`] over the disks of another maker.
struct Filtered<M>(M);

impl<M: Maker> Maker for Filtered<M> {
    type Medium = M::Medium;

    fn make(&self, size: u64) -> Result<Self::Medium> {
        self.0.make(size)
    }

    fn open(&self, medium: &Self::Medium, access: Access) -> Result<Disk> {
        self.0.open(medium, access).map(|disk| Disk::new(Nothing(disk), access))
    }
}

fn right_shapes() -> Vec<Shape> {
    vec![
        Shape::default(),
        shape(|limits| limits.request_alignment = 512),
        shape(|limits| limits.request_alignment = 4096),
        shape(|limits| limits.transfer_bytes_max = 8192),
        shape(|limits| (limits.can_write_zeroes, limits.native.fast_zero) = (false, false)),
        shape(|limits| limits.can_discard = false),
        shape(|limits| limits.native = NativeFlags::default()),
        shape(|limits| limits.memory_alignment = 512),
        shape(|limits| (limits.zero_bytes_max, limits.discard_bytes_max) = (8192, 4096)),
        Shape { strict: true, resizes: false, ..Shape::default() },
        Shape { queues: true, ..Shape::default() },
    ]
}

#[test]
fn right_drivers_of_every_shape_pass() {
    for shape in right_shapes() {
        conformance(&PlantedMaker(Bug::None, shape));
    }
}

#[test]
fn so_they_do_behind_a_filter() {
    for shape in right_shapes() {
        conformance(&Filtered(PlantedMaker(Bug::None, shape)));
    }
}

#[test]
fn a_filter_has_no_ability_of_its_own() {
    let maker = Filtered(PlantedMaker(Bug::None, Shape { resizes: false, ..Shape::default() }));
    let disk = maker.open(&maker.make(4096).unwrap(), Access::ReadWrite).unwrap();
    assert!(disk.as_resize().is_none() && disk.as_check().is_none() && disk.as_overlay().is_none());
}

fn catches(rule: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(rule)).is_err()
}

#[test]
fn every_planted_bug_is_caught_by_its_rule() {
    let mut missed = Vec::new();
    for (bug, meant) in Bug::ALL {
        let maker = PlantedMaker(bug, Shape::default());
        let all = rules();
        let (name, rule) = all.iter().find(|(name, _)| *name == meant).expect("a rule of that name");
        if !catches(|| rule(&maker)) {
            missed.push(format!("{bug:?} by {name}"));
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn every_rule_catches_a_bug() {
    for (name, _) in rules::<PlantedMaker>() {
        assert!(Bug::ALL.iter().any(|(_, meant)| *meant == name), "no bug is planted for the rule '{name}'");
    }
}

fn message(run: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("a rule is broken");
    payload.downcast_ref::<String>().expect("a text").clone()
}

/// The one line that driver crates have: it goes through all rules.
#[test]
fn conformance_names_each_broken_rule() {
    let names = super::rule_names();
    for (bug, meant) in Bug::ALL {
        let told = message(|| conformance(&PlantedMaker(bug, Shape::default())));
        let broken = names.iter().filter(|name| told.contains(&format!("rule '{name}': "))).count();
        assert!(
            told.starts_with(&format!("{broken} of {} rules are broken", names.len())),
            "{bug:?}: {told}"
        );
        assert!(told.contains(&format!("rule '{meant}': ")), "{bug:?}: {told}");
    }
}

#[test]
fn rules_can_be_chosen_by_name() {
    let right = PlantedMaker(Bug::None, Shape::default());
    super::conformance_to(&right, &["odd", "edges"]);
    for (bug, meant) in Bug::ALL {
        let maker = PlantedMaker(bug, Shape::default());
        assert!(message(|| super::conformance_to(&maker, &[meant])).starts_with("1 of 1 rules are broken"));
    }
    let unknown = message(|| super::conformance_to(&right, &["odder"]));
    assert!(unknown.contains("no rule 'odder'") && unknown.contains("\"odd\""), "{unknown}");
}
