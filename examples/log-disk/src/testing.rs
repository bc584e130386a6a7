//! The driver as blk-harness tests it: fuzz targets and tests share this.

use blk_harness::scenario::{Config, Value};
use blk_harness::space::{Geometry, Kind, Knob, Space, no_contradictions, not_tuned};
use blk_harness::{FormatDriver, Suite, suites};

use crate::FORMAT;

const BLOCK_SIZE: &str = "block_size";
/// What a disk has whose creation says nothing.
const BLOCK_BYTES_USUAL: u64 = 4096;

/// What the format can be made with, and where its edges are. Small blocks are drawn most: few bytes are many
/// of them then.
pub static SPACE: Space = Space {
    name: "log",
    knobs: &[Knob {
        name: BLOCK_SIZE,
        kind: Kind::PowerOfTwo { min: 512, max: 1 << 20 },
        usual: Some(Value::Number(BLOCK_BYTES_USUAL)),
        drawn: &[
            (6, Some(Value::Number(512))),
            (2, Some(Value::Number(BLOCK_BYTES_USUAL))),
            (1, Some(Value::Number(16 << 10))),
        ],
    }],
    ignored: &[],
    unit: Some(BLOCK_SIZE),
    has_backing: false,
    legalize: no_contradictions,
    geometry,
    tune: not_tuned,
};

fn geometry(config: &Config) -> Geometry {
    let block = config.options.number(BLOCK_SIZE).unwrap_or(BLOCK_BYTES_USUAL);
    // There are no tables, no compression, and requests of any byte.
    Geometry {
        unit_bytes: block,
        table_reach_bytes: block,
        compressed_unit_bytes: None,
        alignment_bytes: 1,
        ..Geometry::default()
    }
}

/// The driver under test.
pub static DRIVER: FormatDriver = FormatDriver::new("log", FORMAT).space(&SPACE);

/// `log_sequence`, `log_crash`, `log_fault`, `log_race`.
pub static SUITES: [Suite; 4] = suites!(DRIVER, "log");
