//! From a finding to something that others can run: proven to be there each time, made small, and named.

use std::time::Duration;

use crate::Outcome;
use crate::minimise::{self, Minimised};
use crate::report::{Finding, OriginClass, Signature};
use crate::scenario::{Request, RequestKind, Scenario, text};
use crate::space::Space;

/// How often a finding is replayed to prove that it is deterministic.
pub const REPLAYS: u32 = 3;

/// What replays of one scenario came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Each found the same.
    Same(Box<Finding>),
    /// None found anything.
    Nothing,
    /// They came to different ends: the first, and one that differs from it.
    Varies(Outcome, Outcome),
    /// The scenario cannot be run; the text says why.
    Refused(String),
}

/// Replays `scenario` [`REPLAYS`] times. `judge` runs it anew each time.
pub fn prove(mut judge: impl FnMut(&Scenario) -> Outcome, scenario: &Scenario) -> Proof {
    let first = judge(scenario);
    for _ in 1..REPLAYS {
        let again = judge(scenario);
        if again != first {
            return Proof::Varies(first, again);
        }
    }
    match first {
        Outcome::Clean => Proof::Nothing,
        Outcome::Finding(finding) => Proof::Same(finding),
        Outcome::Refused(why) => Proof::Refused(why),
    }
}

/// Makes a scenario for a driver of `space` that was proven as small as it can be; `None` if it finds
/// something else than `finding` now. `should_stop` is asked before each try.
pub fn shrink(
    space: &'static Space,
    mut judge: impl FnMut(&Scenario) -> Outcome,
    scenario: &Scenario,
    finding: &Finding,
    should_stop: impl FnMut() -> bool,
) -> Option<Minimised<Signature>> {
    let failing_request = (finding.request_number as usize).checked_sub(1);
    let options = minimise::Options { failing_request, ..minimise::Options::default() };
    let signature = |candidate: &Scenario| match judge(candidate) {
        Outcome::Finding(finding) => Some(finding.signature),
        Outcome::Clean | Outcome::Refused(_) => None,
    };
    let smallest = minimise::minimise_until(space, scenario, signature, &options, should_stop)?;
    (smallest.signature == finding.signature).then_some(smallest)
}

/// One line about how far a scenario was shrunk, and in what time.
pub fn shrunk<S>(before: &Scenario, after: &Minimised<S>, time: Duration) -> String {
    format!(
        "shrunk: {} requests to {}, {} tries in {:.1} s{}",
        before.requests.len(),
        after.scenario.requests.len(),
        after.tries,
        time.as_secs_f64(),
        if after.is_fixed_point { "" } else { " (ended by time)" }
    )
}

/// A short name for a finding, fit for a file: what noticed it and what it is, such as
/// `read-shows-zeroes-4k`.
pub fn file_name(signature: &Signature, scenario: &Scenario) -> String {
    let what = match signature {
        Signature::Content { request, found, .. } => {
            let noticed = request.map_or("end", RequestKind::name);
            format!("{noticed} shows {}", shown(*found))
        }
        Signature::Result { request, error } => format!("{} {error}", request.name()),
        Signature::Status { claim } => format!("map {claim}"),
        Signature::Size => "size differs".to_owned(),
        Signature::Image { message } => format!("check {message}"),
        Signature::Failed { what, error } => format!("{what} {error}"),
        Signature::Broken { promise, how } => format!("{promise} {how}"),
        Signature::Panic { message } => format!("panic {message}"),
    };
    let place = scenario.requests.iter().rev().find_map(Request::range).map(|(offset, _)| offset);
    let place = place.map_or_else(String::new, |offset| format!(" {}", text::size(offset)));
    slug(&what) + &slug_end(&place)
}

fn shown(found: OriginClass) -> &'static str {
    match found {
        OriginClass::Zeroes => "zeroes",
        OriginClass::Written => "old data",
        OriginClass::Misplaced => "misplaced data",
        OriginClass::Initial => "initial content",
        OriginClass::InitialMisplaced => "misplaced initial content",
        OriginClass::Other => "other bytes",
    }
}

/// Letters and digits, with one `-` for whatever else stands between them: a few words.
pub fn slug(text: &str) -> String {
    const BYTES_MAX: usize = 40;
    let mut name = String::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        if !name.is_empty() && name.len() + word.len() >= BYTES_MAX {
            break;
        }
        if !name.is_empty() {
            name.push('-');
        }
        name.extend(word.chars().take(BYTES_MAX).map(|c| c.to_ascii_lowercase()));
    }
    name
}

fn slug_end(place: &str) -> String {
    let place = slug(place);
    if place.is_empty() { place } else { format!("-{place}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(number: u32) -> Outcome {
        let finding = Finding::new(Signature::Size, format!("report {number}"));
        Outcome::Finding(Box::new(Finding { request_number: 1, ..finding }))
    }

    #[test]
    fn what_changes_from_run_to_run_is_no_proof() {
        let scenario = Scenario::default();
        assert!(matches!(prove(|_| found(1), &scenario), Proof::Same(finding) if finding.what == "report 1"));
        assert_eq!(prove(|_| Outcome::Clean, &scenario), Proof::Nothing);
        let mut runs = 0;
        let varies = prove(
            |_| {
                runs += 1;
                found(runs)
            },
            &scenario,
        );
        assert_eq!(varies, Proof::Varies(found(1), found(2)));
    }

    #[test]
    fn a_finding_shrinks_to_the_request_that_makes_it() {
        let text = "blk-scenario 1\nread 0 512\nwrite 4k 4k\ndiscard 0 4k\nflush\n";
        let scenario = Scenario::from_text(text).unwrap();
        let discards = |scenario: &Scenario| {
            let has = scenario.requests.iter().any(|r| matches!(r, Request::Discard { .. }));
            if has { found(1) } else { Outcome::Clean }
        };
        let Outcome::Finding(finding) = discards(&scenario) else { panic!("it is there") };
        let smallest = shrink(&crate::space::PLAIN, discards, &scenario, &finding, || false).unwrap();
        assert_eq!(smallest.scenario.requests.len(), 1);
    }

    #[test]
    fn names_are_plain_words() {
        let scenario = Scenario::from_text("blk-scenario 1\nread 4k 512\nflush\n").unwrap();
        let request = Some(RequestKind::Read);
        let (found, expected) = (OriginClass::Zeroes, OriginClass::Written);
        let name = file_name(&Signature::Content { request, found, expected }, &scenario);
        assert_eq!(name, "read-shows-zeroes-4k");
        let message = format!("{} at ../{}", "index out of bounds: the len is", "x".repeat(300));
        let name = file_name(&Signature::Panic { message }, &Scenario::default());
        assert_eq!(name, "panic-index-out-of-bounds-the-len-is-at");
        let message = "x".repeat(300);
        assert!(file_name(&Signature::Panic { message }, &Scenario::default()).len() < 60);
    }
}
