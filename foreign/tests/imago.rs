//! imago in the harness: generated scenarios. What crashes, faults and races find is in `findings.rs`.

use blk_harness::explore;
use foreign::testing::IMAGO_SUITES;

explore!(sequences, IMAGO_SUITES[0], seed 1, 1000 scenarios);
