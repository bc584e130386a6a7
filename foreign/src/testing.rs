//! The drivers as the harness tests them: fuzz targets and tests share this.

use blk_harness::driver::Promises;
use blk_harness::generate::Limits;
use blk_harness::random::Random;
use blk_harness::runner::{self, Purpose, Runner};
use blk_harness::scenario::Value::{self, Number};
use blk_harness::scenario::{Config, OptionValues, Scenario};
use blk_harness::space::{Geometry, Kind, Knob, Space};
use blk_harness::{Outcome, Suite, Tolerant};
use blk_qcow2::CREATE_OPTIONS as CREATE;

use crate::image::{Foreign, MAKER};
use crate::known;
use crate::{imago, qcow2_rs};

const CLUSTER_BYTES: u64 = 64 << 10;

const COMPAT: Knob =
    Knob::of_option(CREATE, "compat", const { &[(1, Some(Value::name("0.10"))), (6, None)] });
const CLUSTER_SIZE: Knob = Knob::of_option(
    CREATE,
    "cluster_size",
    &[
        (6, Some(Number(512))),
        (2, Some(Number(1 << 10))),
        (6, Some(Number(4 << 10))),
        (2, Some(Number(16 << 10))),
        (3, None),
    ],
);
const REFCOUNT_BITS: Knob = Knob::of_option(
    CREATE,
    "refcount_bits",
    &[
        (8, None),
        (1, Some(Number(1))),
        (1, Some(Number(2))),
        (1, Some(Number(4))),
        (1, Some(Number(8))),
        (1, Some(Number(32))),
        (1, Some(Number(64))),
    ],
);
const PREALLOCATION: Knob = Knob::of_option_within(
    CREATE,
    "preallocation",
    Kind::Choice(&["off", "metadata"]),
    const { &[(7, None), (1, Some(Value::name("metadata")))] },
);
const MADE_BY: Knob = Knob::new(
    MAKER,
    Kind::Choice(&["blk", "own"]),
    Some(Value::name("blk")),
    const { &[(1, None), (1, Some(Value::name("own")))] },
);

/// What the scenario starts from, where that is no new image: one that QEMU's tools have made.
const IMAGE: Knob = Knob::new(
    "x-image",
    Kind::Choice(&[
        "off",
        "snapshots",
        "snapshots-v2",
        "snapshots-lazy",
        "compressed",
        "compressed-zstd",
        "features",
        "narrow",
        "wide",
        "preallocated",
    ]),
    Some(Value::Switch(false)),
    const {
        &[
            (30, None),
            (1, Some(Value::name("snapshots"))),
            (1, Some(Value::name("snapshots-v2"))),
            (2, Some(Value::name("compressed"))),
            (1, Some(Value::name("features"))),
            (1, Some(Value::name("narrow"))),
            (1, Some(Value::name("wide"))),
            (2, Some(Value::name("preallocated"))),
        ]
    },
);

/// Images of their own are of version 3, and preallocate nothing.
fn legalize(options: &mut OptionValues, config: &Config) {
    if options.is(MAKER, "own") {
        for name in ["compat", "preallocation", "x-image"] {
            options.remove(name);
        }
    }
    (blk_testbed::QCOW2.legalize)(options, config);
}

/// A disk that an image of others has is as large as it is, or larger.
fn tune(config: &mut Config, rng: &mut Random) {
    if !config.options.is(MAKER, "own") && config.options.get("x-image").is_some() {
        (blk_testbed::QCOW2.tune)(config, rng);
    }
}

fn geometry(config: &Config, alignment_bytes: u64) -> Geometry {
    let cluster = config.options.number("cluster_size").unwrap_or(CLUSTER_BYTES);
    Geometry {
        unit_bytes: cluster,
        table_reach_bytes: cluster / 8 * cluster,
        compressed_unit_bytes: None,
        alignment_bytes,
        size_is_file_length: false,
        snapshots: false,
        bitmaps: false,
        is_dense: false,
        amendments: &[],
    }
}

/// What images for imago are made with.
pub static IMAGO_SPACE: Space = Space {
    name: "imago",
    knobs: &[COMPAT, CLUSTER_SIZE, REFCOUNT_BITS, PREALLOCATION, MADE_BY, IMAGE],
    unit: Some("cluster_size"),
    legalize,
    tune,
    geometry: |config| geometry(config, 1),
    ..Space::WITHOUT_OPTIONS
};

/// What images for qcow2-rs are made with.
pub static QCOW2_RS_SPACE: Space = Space {
    name: "qcow2-rs",
    knobs: &[
        COMPAT,
        CLUSTER_SIZE,
        REFCOUNT_BITS,
        PREALLOCATION,
        MADE_BY,
        IMAGE,
        Knob::new(
            qcow2_rs::CACHED_SLICES,
            Kind::Number { max: 64 },
            Some(Number(0)),
            &[(3, None), (2, Some(Number(2))), (1, Some(Number(3))), (1, Some(Number(8)))],
        ),
    ],
    unit: Some("cluster_size"),
    legalize,
    tune,
    geometry: |config| geometry(config, 512),
    ..Space::WITHOUT_OPTIONS
};

/// imago.
pub static IMAGO: Foreign = Foreign {
    name: "imago",
    space: &IMAGO_SPACE,
    create: imago::create,
    open: imago::open,
    promises: Promises::NONE,
    known: known::IMAGO,
};

/// qcow2-rs.
pub static QCOW2_RS: Foreign = Foreign {
    name: "qcow2-rs",
    space: &QCOW2_RS_SPACE,
    create: qcow2_rs::create,
    open: qcow2_rs::open,
    promises: Promises::NONE,
    known: known::QCOW2_RS,
};

/// An engine that counts what is known of its driver; with `strict` in the environment variable `BLK_KNOWN`
/// it tells that as any other finding.
fn tolerant(driver: &'static Foreign, engine: Box<dyn Runner>) -> Box<dyn Runner> {
    let is_strict = std::env::var_os("BLK_KNOWN").is_some_and(|value| value == "strict");
    if is_strict { engine } else { Box::new(Tolerant::new(engine, driver)) }
}

/// A suite of `driver` that goes on past what is known of it.
macro_rules! suite {
    ($name:literal, $driver:ident, $engine:path) => {
        Suite::new($name, |purpose: Purpose| tolerant(&$driver, $engine(&$driver, purpose)))
            .of_space(|| $driver.space)
    };
}

/// `verify_imago`, `imago_crash`, `imago_fault`, `imago_race`.
pub static IMAGO_SUITES: [Suite; 4] = [
    suite!("verify_imago", IMAGO, runner::requests),
    suite!("imago_crash", IMAGO, runner::crashes),
    suite!("imago_fault", IMAGO, runner::faults),
    suite!("imago_race", IMAGO, runner::races).within(Limits::racing),
];

/// An engine that a driver does not allow.
#[derive(Debug)]
struct Refused(&'static str);

impl Runner for Refused {
    fn run(&mut self, _scenario: &Scenario) -> Outcome {
        Outcome::Refused(self.0.to_owned())
    }

    fn summary(&self) -> serde_json::Value {
        serde_json::json!({})
    }

    fn missing(&self) -> Option<&'static str> {
        Some(self.0)
    }
}

/// `verify_qcow2_rs`, `qcow2_rs_crash`, `qcow2_rs_fault`, `qcow2_rs_race`.
pub static QCOW2_RS_SUITES: [Suite; 4] = [
    suite!("verify_qcow2_rs", QCOW2_RS, runner::requests),
    suite!("qcow2_rs_crash", QCOW2_RS, runner::crashes),
    suite!("qcow2_rs_fault", QCOW2_RS, runner::faults),
    Suite::new("qcow2_rs_race", |_| Box::new(Refused(qcow2_rs::NO_RACES)))
        .of_space(|| QCOW2_RS.space)
        .within(Limits::racing),
];
