//! What the fuzz targets share that blk-harness does not have: hostile images, image specifications, what one
//! costs.

pub mod canary;
mod cost;
#[cfg(feature = "foreign")]
pub mod foreign;
#[cfg(feature = "nbd")]
pub mod nbd;

use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use blk_harness::fuzzing::{Speaker, stop};
use blk_harness::repro::InputTarget;
use blk_testbed::LuksStats;
use blk_testbed::hostile::{self, ImageStats};
use cost::Cost;
use libfuzzer_sys::Corpus;

#[derive(Default)]
struct Session {
    images: ImageStats,
    luks: LuksStats,
    /// Image specifications: refused, parsed, opened.
    specifications: [u64; 3],
    /// The most that an input has cost so far.
    cost_max: Cost,
    speaker: Speaker,
}

static SESSION: LazyLock<Mutex<Session>> = LazyLock::new(Mutex::default);

/// Runs an input as a qcow2 image; ends the process with a report if something is found.
pub fn image(data: &[u8]) -> Corpus {
    let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
    let (judged, cost) = cost::of(|| hostile::judge(data, &mut session.images));
    session.cost_max = session.cost_max.max(cost);
    if session.speaker.is_due() {
        session.say_images();
    }
    if let Some(report) = cost.excess(cost::image_bytes_max(data.len())) {
        stop("open_qcow2", &report, "the input is a qcow2 image")
    }
    match judged {
        Ok(true) => Corpus::Keep,
        Ok(false) => Corpus::Reject,
        Err(report) => stop("open_qcow2", &report, "the input is a qcow2 image"),
    }
}

/// Runs an input as a LUKS image; ends the process with a report if something is found.
pub fn luks(data: &[u8]) -> Corpus {
    let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
    let mut stats = session.luks;
    let (judged, cost) = cost::of(|| {
        stats = session.luks;
        blk_testbed::judge_luks(data, &mut stats)
    });
    session.luks = stats;
    session.cost_max = session.cost_max.max(cost);
    if session.speaker.is_due() {
        session.say_luks();
    }
    let kind = "the input is changes to a LUKS image";
    if let Some(report) = cost.excess(cost::image_bytes_max(data.len())) {
        stop("open_luks", &report, kind)
    }
    match judged {
        Ok(true) => Corpus::Keep,
        Ok(false) => Corpus::Reject,
        Err(report) => stop("open_luks", &report, kind),
    }
}

/// Finds once more what a LUKS image finds, and makes it small.
///
/// # Errors
/// As [`InputTarget::reproduce`].
pub fn reproduce_luks(input: &Path, out: &Path) -> anyhow::Result<bool> {
    let judge = |data: &[u8]| {
        let (judged, cost) = cost::of(|| blk_testbed::judge_luks(data, &mut LuksStats::default()));
        cost.excess(cost::image_bytes_max(data.len())).or(judged.err())
    };
    let show = |data: &[u8]| format!("{data:02x?}");
    let (name, kind) = ("open_luks", "changes to a LUKS image");
    InputTarget { name, kind, extension: "changes", judge: &judge, show: &show }.reproduce(input, out)
}

/// Runs an input as an image specification; ends the process with a report if it costs too much. `reach` says
/// whether it was refused (0), parsed (1) or opened (2).
pub fn specification(data: &[u8], reach: impl Fn(&[u8]) -> usize) -> Corpus {
    let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
    let (reached, cost) = cost::of(|| reach(data));
    session.cost_max = session.cost_max.max(cost);
    session.specifications[reached] += 1;
    if session.speaker.is_due() {
        session.say_specifications();
    }
    if let Some(report) = cost.excess(cost::BYTES_MAX) {
        stop("cli_spec", &report, "the input is an image specification")
    }
    Corpus::Keep
}

/// Finds once more what an image specification finds, and makes it small.
///
/// # Errors
/// As [`InputTarget::reproduce`].
pub fn reproduce_specification(
    input: &Path,
    out: &Path,
    reach: impl Fn(&[u8]) -> usize,
) -> anyhow::Result<bool> {
    let judge = |data: &[u8]| cost::of(|| reach(data)).1.excess(cost::BYTES_MAX);
    let show = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
    let (name, kind) = ("cli_spec", "an image specification");
    InputTarget { name, kind, extension: "specification", judge: &judge, show: &show }.reproduce(input, out)
}

impl Session {
    fn say_images(&mut self) {
        let mut counts = serde_json::to_value(self.images.clone()).unwrap_or_default();
        counts["image_mib_max"] = (self.cost_max.bytes >> 20).into();
        counts["image_ms_max"] = u64::try_from(self.cost_max.time.as_millis()).unwrap_or(u64::MAX).into();
        self.speaker.say(counts);
    }

    fn say_luks(&mut self) {
        let LuksStats { images, parsed, opened, compared } = self.luks;
        let percent = |count: u64| count * 100 / images.max(1);
        let counts = serde_json::json!({
            "images": images,
            "parsed_percent": percent(parsed),
            "opened_percent": percent(opened),
            "compared_percent": percent(compared),
            "image_mib_max": self.cost_max.bytes >> 20,
            "image_ms_max": u64::try_from(self.cost_max.time.as_millis()).unwrap_or(u64::MAX),
        });
        self.speaker.say(counts);
    }

    fn say_specifications(&mut self) {
        let [refused, parsed, opened] = self.specifications;
        let counts = serde_json::json!({
            "specifications": refused + parsed + opened,
            "parsed_percent": (parsed + opened) * 100 / (refused + parsed + opened).max(1),
            "opened_percent": opened * 100 / (refused + parsed + opened).max(1),
            "image_mib_max": self.cost_max.bytes >> 20,
        });
        self.speaker.say(counts);
    }
}

/// Defines a fuzz target that runs scenarios in a suite of the testbed.
#[macro_export]
macro_rules! scenario_target {
    ($name:literal) => {
        blk_harness::fuzz_target!(*blk_testbed::suite($name).expect("the testbed knows this suite"));
    };
    // What mutation makes stays within these limits.
    ($name:literal, $limits:expr) => {
        blk_harness::fuzz_target!(*blk_testbed::suite($name).expect("the testbed knows this suite"), $limits);
    };
}
