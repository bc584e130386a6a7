//! Conversations of NBD that our server has. Nothing may panic, hang or grow without bound, and what it says
//! or takes for said is right.
#![no_main]

use blk_fuzz::nbd::{Side, conversation, reproduce};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(init: blk_harness::fuzzing::begin_with(|input, out| reproduce(Side::Server, input, out)), |data: &[u8]| -> Corpus {
    conversation(Side::Server, data)
});
