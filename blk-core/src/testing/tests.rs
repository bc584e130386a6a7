//! The suite itself is tested: right drivers of every shape pass, each planted bug is caught by the rule that is meant for it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::planted::{Bug, PlantedMaker, Shape};
use super::{conformance, rules};
use crate::Limits;

fn shape(change: impl FnOnce(&mut Limits)) -> Shape {
    let mut shape = Shape::default();
    change(&mut shape.limits);
    shape
}

#[test]
fn right_drivers_of_every_shape_pass() {
    for shape in [
        Shape::default(),
        shape(|limits| limits.request_alignment = 512),
        shape(|limits| limits.request_alignment = 4096),
        shape(|limits| limits.transfer_bytes_max = 8192),
        shape(|limits| limits.can_write_zeroes = false),
        shape(|limits| limits.can_discard = false),
        shape(|limits| limits.can_fua = false),
        Shape { strict: true, resizes: false, ..Shape::default() },
    ] {
        conformance(&PlantedMaker(Bug::None, shape));
    }
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

/// The one line that driver crates have: it stops at the first broken rule.
#[test]
fn conformance_itself_panics_for_each_bug() {
    for (bug, _) in Bug::ALL {
        assert!(catches(|| conformance(&PlantedMaker(bug, Shape::default()))), "{bug:?}");
    }
}
