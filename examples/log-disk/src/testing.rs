//! The driver as blk-harness tests it: fuzz targets and tests share this.

use std::sync::LazyLock;

use blk_harness::scenario::Config;
use blk_harness::space::{Geometry, Space};
use blk_harness::{FormatDriver, Suite, suites};

use crate::{BLOCK_SIZE, FORMAT};

/// What the format can be made with, which its list of options says, and where its edges are.
pub static SPACE: LazyLock<Space> = LazyLock::new(|| Space::of_format(FORMAT, Some(BLOCK_SIZE), geometry));

fn geometry(config: &Config) -> Geometry {
    let block = SPACE.number(config, BLOCK_SIZE).expect("the option has a default");
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
pub static DRIVER: FormatDriver = FormatDriver::new("log", FORMAT).space(|| &SPACE);

/// `log_sequence`, `log_crash`, `log_fault`, `log_race`.
pub static SUITES: [Suite; 4] = suites!(DRIVER, "log");
