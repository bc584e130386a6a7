//! imago in the harness: some generated scenarios.

use blk_harness::explore;
use foreign::testing::IMAGO_SUITES;

explore!(sequences, IMAGO_SUITES[0], seed 1, 1000 scenarios);
