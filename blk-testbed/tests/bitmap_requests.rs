//! Dirty bitmaps as requests on the unbroken driver: no false alarm, in any engine, and every act comes.

use std::collections::BTreeSet;

use blk_harness::Outcome;
use blk_harness::generate::{Generator, Limits};
use blk_harness::runner::{self, Purpose, Runner};
use blk_harness::scenario::{OnBitmap, Request, Scenario};
use blk_testbed::{QCOW2, Qcow2Target};

/// Scenarios of which several requests are about bitmaps.
fn scenarios(seed: u64, limits: Limits) -> impl Iterator<Item = Scenario> {
    let is_about = |request: &&Request| matches!(request, Request::Bitmap { .. });
    Generator::new(&QCOW2, seed, limits)
        .filter(move |scenario| scenario.requests.iter().filter(is_about).count() >= 3)
}

fn small() -> Limits {
    Limits { requests_max: 16, disk_bytes_max: 128 << 10, data_bytes_max: 32 << 10, ..Limits::failing() }
}

fn finds_nothing(runner: &mut dyn Runner, scenarios: impl Iterator<Item = Scenario>) {
    for scenario in scenarios {
        if let Outcome::Finding(finding) = runner.run(&scenario) {
            panic!("{}\n{scenario}", finding.report());
        }
    }
    assert_eq!(runner.missing(), None);
}

#[test]
fn seeded_scenarios_find_nothing_in_any_engine() {
    let target = &Qcow2Target;
    finds_nothing(
        &mut *runner::requests(target, Purpose::Fuzz),
        scenarios(1, Limits::sequential()).take(400),
    );
    finds_nothing(&mut *runner::crashes(target, Purpose::Fuzz), scenarios(2, small()).take(150));
    finds_nothing(&mut *runner::faults(target, Purpose::Fuzz), scenarios(3, small()).take(100));
    finds_nothing(&mut *runner::races(target, Purpose::Fuzz), scenarios(4, Limits::racing()).take(400));
}

#[test]
fn every_act_comes_and_bytes_have_it() {
    let mut acts = BTreeSet::new();
    for scenario in scenarios(5, small()).take(400) {
        assert!(scenario.fits_bytes(&QCOW2), "{scenario}");
        for request in &scenario.requests {
            if let Request::Bitmap { act, .. } = request {
                acts.insert(match act {
                    OnBitmap::Merge(_) => "merge".to_owned(),
                    act => format!("{act:?}"),
                });
            }
        }
    }
    assert_eq!(acts.len(), OnBitmap::ALL.len(), "{acts:?}");
}

fn outcome(requests: &str) -> Outcome {
    let text = format!("blk-scenario 1\nconfig size-bytes=1M cluster_size=65536\n{requests}");
    let scenario = Scenario::from_text(&text).unwrap();
    let mut runner = runner::requests(&Qcow2Target, Purpose::Replay);
    runner.run(&scenario)
}

/// What was saved is there, what was killed is refused and can be removed, and a snapshot makes all dirty.
#[test]
fn stories_of_bitmaps_are_told_as_they_are() {
    for requests in [
        "bitmap --add 0\nwrite 0 4k\nreopen\nbitmap --read 0\nwrite 512k 4k\nbitmap --read 0\n",
        "bitmap --add 0\nwrite 0 4k\nkill\nbitmap --read 0\nbitmap --clear 0\nbitmap --remove 0\nbitmap --add 0\n",
        "bitmap --add 0\nreopen\nkill\nbitmap --read 0\nwrite 0 4k\nbitmap --read 0\n",
        "bitmap --add 0\nwrite 0 4k\nbitmap --disable 0\nreopen\nwrite 512k 4k\nkill\nbitmap --read 0\n",
        "bitmap --add 0\nwrite 0 4k\nbitmap --add 1\nwrite 512k 4k\nbitmap --merge 0 1\nreopen\nbitmap --read 1\n",
        "bitmap --add 0\nsnapshot -c 0\ntruncate 2M\nsnapshot -a 0\nbitmap --read 0\nreopen\nbitmap --read 0\n",
        "bitmap --add 0\nwrite 960k 64k\ntruncate 512k\ntruncate 1M\nbitmap --read 0\nreopen\nbitmap --read 0\n",
        "bitmap --add 0\nbitmap --add 0\nbitmap --merge 2 0\nbitmap --remove 3\nbitmap --read 4\n",
    ] {
        match outcome(requests) {
            Outcome::Clean => {}
            other => panic!("{other:?}\n{requests}"),
        }
    }
}
