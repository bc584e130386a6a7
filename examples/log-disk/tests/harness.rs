//! The driver in the harness: the rules, what was found before, and some generated scenarios of each engine.

use blk_harness::{conformance, explore, regressions};
use log_disk::testing::{DRIVER, SUITES};

conformance!(DRIVER);
regressions!("regressions", SUITES);
explore!(sequences, SUITES[0], seed 1, 2000 scenarios);
explore!(crashes, SUITES[1], seed 1, 100 scenarios);
explore!(faults, SUITES[2], seed 1, 30 scenarios);
explore!(races, SUITES[3], seed 1, 500 scenarios);
