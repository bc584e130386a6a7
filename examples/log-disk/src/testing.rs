//! The driver as blk-harness tests it: fuzz targets and tests share this.

use blk_harness::{FormatDriver, Suite, suites};

use crate::FORMAT;

/// The driver under test: blocks of 512 bytes, so that few bytes are many blocks.
pub static DRIVER: FormatDriver = FormatDriver::new("log", FORMAT).create_options(&[("block_size", "512")]);

/// `log_sequence`, `log_crash`, `log_fault`, `log_race`.
pub static SUITES: [Suite; 4] = suites!(DRIVER, "log");
